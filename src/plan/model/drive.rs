//! Reconcile of one policy as in `controllers/policy`: the same calls of `plan` in the same order, with a fake cloud
//! and a fake API server. It runs up to the next external call; other steps may happen before the response.

use super::around::{reach, set_claim, surroundings};
use super::mutants::{Decisions, Mutant};
use super::properties::{
    Broken, Property, judge_look, judge_modify, judge_release, judge_status, witness_look,
};
use super::state::*;
use crate::domain::{Failure, Kind};
use crate::plan::deletion::{self, Farewell, switched_off};
use crate::plan::memory::Memory;
use crate::plan::next::Do;
use crate::plan::resting::rest;
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
pub struct World {
    pub memories: Pool<Memory>,
    pub objects: Pool<Object>,
    pub decisions: Decisions,
}

pub fn failure(kind: Kind) -> Failure {
    let code = match kind {
        Kind::InvalidRequest => "InvalidRegion".to_owned(),
        kind => format!("{kind:?}"),
    };
    Failure::by_code(kind, "Act", &code)
}

impl World {
    /// Starts a reconcile.
    pub fn begin(&mut self, state: &mut State, seat: Seat) -> Result<(), Broken> {
        let now = at(state.now);
        let as_of = at(state.replicas[seat.replica].as_of);
        let process = state.process_mut(seat);
        process.due = None;
        let object = process.sees.clone().expect("a turn of a policy that the watch has not brought");
        let memory = match &process.memory {
            Some(memory) => Memory::clone(memory),
            None => self.decisions.new_memory(object.status.clone(), &object.desired(), as_of, now),
        };
        self.go_on(state, seat, object, memory, false)
    }

    fn go_on(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: Held<Object>,
        memory: Memory,
        looked: bool,
    ) -> Result<(), Broken> {
        match object.deleted {
            Some(_) => self.say_farewell(state, seat, object, memory),
            None => self.converge(state, seat, object, memory, looked),
        }
    }

    fn converge(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: Held<Object>,
        mut memory: Memory,
        looked: bool,
    ) -> Result<(), Broken> {
        if object.finalizer != object.spec.disables {
            let wanted = Object { finalizer: object.spec.disables, ..Object::clone(&object) };
            self.write(state, seat, object, memory, Writing::Finalizer, wanted);
            return Ok(());
        }
        let desired = object.desired();
        for _ in 0..STEPS {
            let now = at(state.now);
            let around = surroundings(state, seat, &object, &memory);
            self.decisions.notice(&mut memory, &desired, around.epoch, now);
            let step = match self.decisions.next(&desired, &around, &memory, now) {
                Do::Look if looked && memory.is_settled() => Do::Wait(Some(now)),
                step => step,
            };
            match step {
                Do::Look => return self.look(state, seat, object, memory, true),
                Do::AskRegions => {
                    self.wait_for(state, seat, Turn { object, call: Call::Regions, looked }, memory);
                    return Ok(());
                }
                Do::ReadBackups => {
                    memory.begin_reading(&desired, now);
                    memory.read_backups(&desired, Ok(Vec::new()), now, 1.0);
                }
                Do::Modify if self.is_current(state, seat, &object) => {
                    return self.send(state, seat, object, memory, &desired, looked);
                }
                Do::Modify => {
                    memory.superseded(&desired.change, Effect::None, now);
                    self.end(state, seat, &object, memory, Some(state.now));
                    return Ok(());
                }
                Do::Wait(until) => {
                    self.report(state, seat, object, memory, &desired, until.map(seconds));
                    return Ok(());
                }
            }
        }
        Err(Broken::new(Property::TurnsEnd, format!("a turn of {seat} does not end")))
    }

    fn say_farewell(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: Held<Object>,
        mut memory: Memory,
    ) -> Result<(), Broken> {
        if !object.finalizer {
            self.end(state, seat, &object, memory, None);
            return Ok(());
        }
        let desired = switched_off(&object.desired());
        let now = at(state.now);
        let around = surroundings(state, seat, &object, &memory);
        self.decisions.notice(&mut memory, &desired, around.epoch, now);
        let reach = reach(state, seat);
        match self.decisions.farewell(&desired, &around, &mut memory, reach, now) {
            Farewell::Look => return self.look(state, seat, object, memory, true),
            Farewell::Modify if self.is_current(state, seat, &object) => {
                return self.send(state, seat, object, memory, &desired, true);
            }
            Farewell::Modify => {
                memory.superseded(&desired.change, Effect::None, now);
                self.end(state, seat, &object, memory, Some(state.now));
            }
            Farewell::Wait(until) => {
                self.report(state, seat, object, memory, &desired, until.map(seconds));
            }
            Farewell::Release(release) => {
                judge_release(state, seat, &object, &release)?;
                let wanted = Object { finalizer: false, ..Object::clone(&object) };
                self.write(state, seat, object, memory, Writing::Release, wanted);
            }
        }
        Ok(())
    }

    fn look(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: Held<Object>,
        memory: Memory,
        looked: bool,
    ) -> Result<(), Broken> {
        judge_look(state, seat, &object)?;
        let call = Call::Look(state.cloud);
        self.wait_for(state, seat, Turn { object, call, looked }, memory);
        Ok(())
    }

    fn send(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: Held<Object>,
        memory: Memory,
        desired: &Desired,
        looked: bool,
    ) -> Result<(), Broken> {
        let to = Value::of(&desired.change);
        judge_modify(state, seat, to)?;
        state.process_mut(seat).witness.seen = None;
        state.flights.push(Flight { to, by: Some(seat) });
        state.flights.sort();
        self.wait_for(state, seat, Turn { object, call: Call::Modify(to), looked }, memory);
        Ok(())
    }

    /// Ends the reconcile with a status write, if the status changes.
    fn report(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: Held<Object>,
        mut memory: Memory,
        desired: &Desired,
        until: Option<i64>,
    ) {
        let around = surroundings(state, seat, &object, &memory);
        let facts = self.decisions.report(desired, &around, &memory, at(state.now));
        if facts.observed_generation.is_none() || facts == object.status {
            if facts.observed_generation.is_some() {
                memory.facts = facts;
            }
            self.end(state, seat, &object, memory, until);
            return;
        }
        let wanted = Object { status: facts, ..Object::clone(&object) };
        self.write(state, seat, object, memory, Writing::Status(until), wanted);
    }

    fn write(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: Held<Object>,
        memory: Memory,
        what: Writing,
        wanted: Object,
    ) {
        let call = Call::Write(what, self.objects.object(wanted));
        self.wait_for(state, seat, Turn { object, call, looked: false }, memory);
    }

    fn wait_for(&mut self, state: &mut State, seat: Seat, turn: Turn, memory: Memory) {
        let process = state.process_mut(seat);
        process.memory = Some(self.memories.memory(memory));
        process.turn = Some(turn);
    }

    /// Compacts and expands the state, as between real reconciles; discards it if the object is gone.
    pub fn end(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: &Object,
        memory: Memory,
        until: Option<i64>,
    ) {
        let (resting, others) = rest(memory, &object.status, &object.desired(), at(state.now));
        let memory = resting.wake(object.status.clone(), others);
        let is_there = state.process(seat).sees.as_ref().is_some_and(|seen| seen.uid == object.uid);
        if !is_there {
            let sees = state.process_mut(seat).sees.clone();
            let due = sees.as_ref().map(|_| state.now);
            set_claim(state, seat, None);
            *state.process_mut(seat) = Process { sees, due, ..Process::default() };
            return;
        }
        if let Some(until) = until {
            state.wake(seat, until);
        }
        let process = state.process_mut(seat);
        process.turn = None;
        process.memory = Some(self.memories.memory(memory));
    }

    /// Delivers the response that the reconcile waits for.
    pub fn answer(&mut self, state: &mut State, seat: Seat, reply: Reply) -> Result<(), Broken> {
        let turn = state.process_mut(seat).turn.take().expect("an answer that nobody waits for");
        let memory = state.process(seat).memory.as_ref().expect("a turn without a memory");
        let mut memory = Memory::clone(memory);
        let Turn { object, call, looked } = turn;
        let now = at(state.now);
        let desired = match object.deleted {
            Some(_) => switched_off(&object.desired()),
            None => object.desired(),
        };
        match call {
            Call::Write(what, wanted) => {
                return self.written(state, seat, object, memory, (what, wanted), reply);
            }
            Call::Look(value) => {
                let answer = match reply {
                    Reply::Refused(kind) => Err(failure(kind)),
                    Reply::Lost | Reply::Unsent => Err(failure(Kind::CloudUnavailable)),
                    Reply::Good => Ok(value.state()),
                };
                witness_look(state, seat, &object, answer.as_ref().ok().map(|_| value));
                self.decisions.looked(&mut memory, &desired, answer, now);
                if object.deleted.is_some() {
                    deletion::looked(&mut memory);
                }
            }
            Call::Regions => {
                let all = [Value::Shanghai, Value::Guangzhou];
                let all = all.into_iter().filter_map(|value| value.change().cross_backup_region);
                memory.told_regions(&desired, Ok(all.collect()), now);
            }
            Call::Modify(to) => {
                let flight = state.flights.iter().position(|f| *f == Flight { to, by: Some(seat) });
                match (reply, flight) {
                    (Reply::Refused(_) | Reply::Unsent, Some(flight)) => drop(state.flights.remove(flight)),
                    (_, Some(flight)) => state.flights[flight].by = None,
                    (_, None) => {}
                }
                state.flights.sort();
                match reply {
                    Reply::Good => {
                        let accepted = (state.now, to, object.generation);
                        state.process_mut(seat).witness.accepted = Some(accepted);
                        self.decisions.accepted(&mut memory, &desired, &desired.change, now);
                    }
                    Reply::Lost | Reply::Unsent if !self.is_current(state, seat, &object) => {
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
        if !self.is_current(state, seat, &object) {
            self.end(state, seat, &object, memory, Some(state.now));
            return Ok(());
        }
        self.go_on(state, seat, object, memory, looked)
    }

    /// Applies a write; like a resourceVersion precondition, it requires the object that it was computed from.
    fn written(
        &mut self,
        state: &mut State,
        seat: Seat,
        object: Held<Object>,
        mut memory: Memory,
        (what, wanted): (Writing, Held<Object>),
        reply: Reply,
    ) -> Result<(), Broken> {
        let stored = state.objects[seat.policy].clone();
        if stored.as_ref() != Some(&object) {
            // The conflict response carries the present object, unless it is deleted or replaced under the same name.
            if let Some(stored) = stored.filter(|stored| stored.uid == object.uid) {
                state.process_mut(seat).sees = Some(stored);
            }
            self.end(state, seat, &object, memory, Some(state.now));
            return Ok(());
        }
        if let Writing::Status(_) = what {
            judge_status(state, seat, &wanted)?;
        }
        let gone = wanted.deleted.is_some() && !wanted.finalizer;
        state.objects[seat.policy] = Some(wanted.clone()).filter(|_| !gone);
        if reply == Reply::Lost {
            self.end(state, seat, &object, memory, Some(state.now));
            return Ok(());
        }
        if !gone {
            state.process_mut(seat).sees = Some(wanted.clone());
        }
        match what {
            Writing::Finalizer => self.go_on(state, seat, wanted, memory, false)?,
            Writing::Release => self.end(state, seat, &wanted, memory, None),
            Writing::Status(until) => {
                memory.facts = wanted.status.clone();
                self.end(state, seat, &wanted, memory, until);
            }
        }
        Ok(())
    }

    /// Whether this replica leads, and the watch has delivered no newer spec.
    fn is_current(&self, state: &State, seat: Seat, object: &Object) -> bool {
        let leads = state.replicas[seat.replica].role == Role::Leads;
        let newest = |seen: &Held<Object>| seen.uid == object.uid && seen.generation <= object.generation;
        let is_newest = state.process(seat).sees.as_ref().is_some_and(newest);
        (leads || self.decisions.lack(Mutant::SendsDeposed))
            && (is_newest || self.decisions.lack(Mutant::SendsOutdated))
    }
}
