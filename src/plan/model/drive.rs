//! Reconcile of one policy as in `controllers/policy`: the same calls of `plan` in the same order, with a fake cloud
//! and a fake API server. It runs up to the next external call; other steps may happen before the response.

use super::environment::{reach, reconcile_env, set_claim};
use super::mutants::{Decisions, Mutant};
use super::properties::{
    Property, Violation, check_describe, check_modify, check_release, check_status, record_describe,
};
use super::state::*;
use crate::domain::{Failure, Kind};
use crate::plan::compact_state::compact;
use crate::plan::deletion::{self, FinalizeStep, switched_off};
use crate::plan::memory::Memory;
use crate::plan::next::NextAction;
use crate::plan::{Desired, Effect};

/// Upper bound on the steps of a reconcile.
const STEPS: usize = 64;

/// Result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    Good,
    /// The call has taken effect, or will, but its response is lost.
    Lost,
    /// The call never reached the cloud.
    Unsent,
    Refused(Kind),
}

/// The interned values of all states, and the decisions under test.
#[derive(Default)]
pub struct Model {
    pub memories: InternPool<Memory>,
    pub objects: InternPool<Object>,
    pub decisions: Decisions,
}

pub fn failure(kind: Kind) -> Failure {
    let code = match kind {
        Kind::InvalidRequest => "InvalidRegion".to_owned(),
        kind => format!("{kind:?}"),
    };
    Failure::by_code(kind, "Act", &code)
}

impl Model {
    /// Starts a reconcile.
    pub fn begin(&mut self, state: &mut State, id: ProcessId) -> Result<(), Violation> {
        let now = at(state.now);
        let as_of = at(state.replicas[id.replica].as_of);
        let process = state.process_mut(id);
        process.due = None;
        let object = process.sees.clone().expect("a turn of a policy that the watch has not brought");
        let memory = match &process.memory {
            Some(memory) => Memory::clone(memory),
            None => self.decisions.new_memory(object.status.clone(), &object.desired(), as_of, now),
        };
        self.go_on(state, id, object, memory, false)
    }

    fn go_on(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: Interned<Object>,
        memory: Memory,
        described: bool,
    ) -> Result<(), Violation> {
        match object.deleted {
            Some(_) => self.finalize(state, id, object, memory),
            None => self.converge(state, id, object, memory, described),
        }
    }

    fn converge(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: Interned<Object>,
        mut memory: Memory,
        described: bool,
    ) -> Result<(), Violation> {
        if object.finalizer != object.spec.disables {
            let wanted = Object { finalizer: object.spec.disables, ..Object::clone(&object) };
            self.write(state, id, object, memory, Writing::Finalizer, wanted);
            return Ok(());
        }
        let desired = object.desired();
        for _ in 0..STEPS {
            let now = at(state.now);
            let env = reconcile_env(state, id, &object, &memory);
            self.decisions.notice(&mut memory, &desired, env.access_generation, now);
            let step = match self.decisions.next(&desired, &env, &memory, now) {
                NextAction::Describe if described && memory.is_settled() => NextAction::Wait(Some(now)),
                step => step,
            };
            match step {
                NextAction::Describe => return self.look(state, id, object, memory, true),
                NextAction::ListRegions => {
                    self.wait_for(state, id, Reconcile { object, call: Call::Regions, described }, memory);
                    return Ok(());
                }
                NextAction::ListBackups => {
                    memory.listing_started(&desired, now);
                    memory.apply_listing(&desired, Ok(Vec::new()), now, 1.0);
                }
                NextAction::Modify if self.is_current(state, id, &object) => {
                    return self.send(state, id, object, memory, &desired, described);
                }
                NextAction::Modify => {
                    memory.superseded(&desired.change, Effect::None, now);
                    self.end(state, id, &object, memory, Some(state.now));
                    return Ok(());
                }
                NextAction::Wait(until) => {
                    self.report(state, id, object, memory, &desired, until.map(seconds));
                    return Ok(());
                }
            }
        }
        Err(Violation::new(Property::TurnsEnd, format!("a turn of {id} does not end")))
    }

    fn finalize(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: Interned<Object>,
        mut memory: Memory,
    ) -> Result<(), Violation> {
        if !object.finalizer {
            self.end(state, id, &object, memory, None);
            return Ok(());
        }
        let desired = switched_off(&object.desired());
        let now = at(state.now);
        let env = reconcile_env(state, id, &object, &memory);
        self.decisions.notice(&mut memory, &desired, env.access_generation, now);
        let reach = reach(state, id);
        match self.decisions.next_finalize_step(&desired, &env, &mut memory, reach, now) {
            FinalizeStep::Describe => return self.look(state, id, object, memory, true),
            FinalizeStep::Modify if self.is_current(state, id, &object) => {
                return self.send(state, id, object, memory, &desired, true);
            }
            FinalizeStep::Modify => {
                memory.superseded(&desired.change, Effect::None, now);
                self.end(state, id, &object, memory, Some(state.now));
            }
            FinalizeStep::Wait(until) => {
                self.report(state, id, object, memory, &desired, until.map(seconds));
            }
            FinalizeStep::Release(release) => {
                check_release(state, id, &object, &release)?;
                let wanted = Object { finalizer: false, ..Object::clone(&object) };
                self.write(state, id, object, memory, Writing::Release, wanted);
            }
        }
        Ok(())
    }

    fn look(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: Interned<Object>,
        memory: Memory,
        described: bool,
    ) -> Result<(), Violation> {
        check_describe(state, id, &object)?;
        let call = Call::Describe(state.cloud);
        self.wait_for(state, id, Reconcile { object, call, described }, memory);
        Ok(())
    }

    fn send(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: Interned<Object>,
        memory: Memory,
        desired: &Desired,
        described: bool,
    ) -> Result<(), Violation> {
        let to = Value::of(&desired.change);
        check_modify(state, id, to)?;
        state.process_mut(id).responses.seen = None;
        state.flights.push(InFlight { to, by: Some(id) });
        state.flights.sort();
        self.wait_for(state, id, Reconcile { object, call: Call::Modify(to), described }, memory);
        Ok(())
    }

    /// Ends the reconcile with a status write, if the status changes.
    fn report(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: Interned<Object>,
        mut memory: Memory,
        desired: &Desired,
        until: Option<i64>,
    ) {
        let env = reconcile_env(state, id, &object, &memory);
        let facts = self.decisions.report(desired, &env, &memory, at(state.now));
        if facts.observed_generation.is_none() || facts == object.status {
            if facts.observed_generation.is_some() {
                memory.facts = facts;
            }
            self.end(state, id, &object, memory, until);
            return;
        }
        let wanted = Object { status: facts, ..Object::clone(&object) };
        self.write(state, id, object, memory, Writing::Status(until), wanted);
    }

    fn write(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: Interned<Object>,
        memory: Memory,
        what: Writing,
        wanted: Object,
    ) {
        let call = Call::Write(what, self.objects.object(wanted));
        self.wait_for(state, id, Reconcile { object, call, described: false }, memory);
    }

    fn wait_for(&mut self, state: &mut State, id: ProcessId, reconcile: Reconcile, memory: Memory) {
        let process = state.process_mut(id);
        process.memory = Some(self.memories.memory(memory));
        process.reconcile = Some(reconcile);
    }

    /// Compacts and expands the state, as between real reconciles; discards it if the object is gone.
    pub fn end(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: &Object,
        memory: Memory,
        until: Option<i64>,
    ) {
        let (resting, others) = compact(memory, &object.status, &object.desired(), at(state.now));
        let memory = resting.expand(object.status.clone(), others);
        let is_there = state.process(id).sees.as_ref().is_some_and(|seen| seen.uid == object.uid);
        if !is_there {
            let sees = state.process_mut(id).sees.clone();
            let due = sees.as_ref().map(|_| state.now);
            set_claim(state, id, None);
            *state.process_mut(id) = Process { sees, due, ..Process::default() };
            return;
        }
        if let Some(until) = until {
            state.wake(id, until);
        }
        let process = state.process_mut(id);
        process.reconcile = None;
        process.memory = Some(self.memories.memory(memory));
    }

    /// Delivers the response that the reconcile waits for.
    pub fn answer(&mut self, state: &mut State, id: ProcessId, reply: Reply) -> Result<(), Violation> {
        let reconcile = state.process_mut(id).reconcile.take().expect("an answer that nobody waits for");
        let memory = state.process(id).memory.as_ref().expect("a turn without a memory");
        let mut memory = Memory::clone(memory);
        let Reconcile { object, call, described } = reconcile;
        let now = at(state.now);
        let desired = match object.deleted {
            Some(_) => switched_off(&object.desired()),
            None => object.desired(),
        };
        match call {
            Call::Write(what, wanted) => {
                return self.written(state, id, object, memory, (what, wanted), reply);
            }
            Call::Describe(value) => {
                let answer = match reply {
                    Reply::Refused(kind) => Err(failure(kind)),
                    Reply::Lost | Reply::Unsent => Err(failure(Kind::CloudUnavailable)),
                    Reply::Good => Ok(value.state()),
                };
                record_describe(state, id, &object, answer.as_ref().ok().map(|_| value));
                self.decisions.described(&mut memory, &desired, answer, now);
                if object.deleted.is_some() {
                    deletion::described(&mut memory);
                }
            }
            Call::Regions => {
                let all = [Value::Shanghai, Value::Guangzhou];
                let all = all.into_iter().filter_map(|value| value.change().cross_backup_region);
                memory.regions_listed(&desired, Ok(all.collect()), now);
            }
            Call::Modify(to) => {
                let flight = state.flights.iter().position(|f| *f == InFlight { to, by: Some(id) });
                match (reply, flight) {
                    (Reply::Refused(_) | Reply::Unsent, Some(flight)) => drop(state.flights.remove(flight)),
                    (_, Some(flight)) => state.flights[flight].by = None,
                    (_, None) => {}
                }
                state.flights.sort();
                match reply {
                    Reply::Good => {
                        let accepted = (state.now, to, object.generation);
                        state.process_mut(id).responses.accepted = Some(accepted);
                        self.decisions.accepted(&mut memory, &desired, &desired.change, now);
                    }
                    Reply::Lost | Reply::Unsent if !self.is_current(state, id, &object) => {
                        memory.superseded(&desired.change, Effect::Possible, now);
                    }
                    Reply::Lost | Reply::Unsent => {
                        let failure = failure(Kind::CloudUnavailable);
                        self.decisions.not_accepted(
                            &mut memory,
                            &desired,
                            &desired.change,
                            failure,
                            Effect::Possible,
                            now,
                        );
                    }
                    Reply::Refused(kind) => {
                        let failure = failure(kind);
                        self.decisions.not_accepted(
                            &mut memory,
                            &desired,
                            &desired.change,
                            failure,
                            Effect::None,
                            now,
                        );
                    }
                }
            }
        }
        if !self.is_current(state, id, &object) {
            self.end(state, id, &object, memory, Some(state.now));
            return Ok(());
        }
        self.go_on(state, id, object, memory, described)
    }

    /// Applies a write; like a resourceVersion precondition, it requires the object that it was computed from.
    fn written(
        &mut self,
        state: &mut State,
        id: ProcessId,
        object: Interned<Object>,
        mut memory: Memory,
        (what, wanted): (Writing, Interned<Object>),
        reply: Reply,
    ) -> Result<(), Violation> {
        let stored = state.objects[id.policy].clone();
        if stored.as_ref() != Some(&object) {
            // The conflict response carries the present object, unless it is deleted or replaced under the same name.
            if let Some(stored) = stored.filter(|stored| stored.uid == object.uid) {
                state.process_mut(id).sees = Some(stored);
            }
            self.end(state, id, &object, memory, Some(state.now));
            return Ok(());
        }
        if let Writing::Status(_) = what {
            check_status(state, id, &wanted)?;
        }
        let gone = wanted.deleted.is_some() && !wanted.finalizer;
        state.objects[id.policy] = Some(wanted.clone()).filter(|_| !gone);
        if reply == Reply::Lost {
            self.end(state, id, &object, memory, Some(state.now));
            return Ok(());
        }
        if !gone {
            state.process_mut(id).sees = Some(wanted.clone());
        }
        match what {
            Writing::Finalizer => self.go_on(state, id, wanted, memory, false)?,
            Writing::Release => self.end(state, id, &wanted, memory, None),
            Writing::Status(until) => {
                memory.facts = wanted.status.clone();
                self.end(state, id, &wanted, memory, until);
            }
        }
        Ok(())
    }

    /// Whether this replica leads, and the watch has delivered no newer spec.
    fn is_current(&self, state: &State, id: ProcessId, object: &Object) -> bool {
        let leads = state.replicas[id.replica].role == Role::Leads;
        let newest = |seen: &Interned<Object>| seen.uid == object.uid && seen.generation <= object.generation;
        let is_newest = state.process(id).sees.as_ref().is_some_and(newest);
        (leads || self.decisions.lack(Mutant::SendsDeposed))
            && (is_newest || self.decisions.lack(Mutant::SendsOutdated))
    }
}
