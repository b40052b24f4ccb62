//! Transitions in any order, one effect each.

use std::fmt;

use super::drive::{Model, Reply};
use super::environment::{deliver_account, set_claim};
use super::properties::Violation;
use super::state::*;
use crate::domain::Kind;

/// Kinds of events that a scenario limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Depose,
    Crash,
    /// A Modify is lost, or its response.
    LoseModify,
    RefuseModify,
    FailLook,
    LoseWrite,
    /// An accepted change never takes effect.
    Drop,
    Drift,
    /// 31 s pass while calls are pending.
    Pause,
    Respec,
    Delete,
    Recreate,
    Account,
    /// Time advances to the next due reconcile.
    Tick,
}

/// Longer than `MAX_DESCRIBE_AGE`.
const PAUSE: i64 = 31;

pub const KINDS: usize = EventKind::Tick as usize + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Elect(usize),
    Depose(usize),
    /// The process restarts with the API server's present objects.
    Restart(usize),
    /// After the loss of the Lease, pending work is cancelled and discarded; the process waits for the Lease again.
    StandBy(usize),
    DeliverPolicy(ProcessId),
    DeliverAccount(usize),
    Reconcile(ProcessId),
    Answer(ProcessId, Reply),
    Effect(usize),
    Drop(usize),
    Drift(Value),
    Respec(usize, Spec),
    Delete(usize),
    Recreate(usize, Spec),
    Account(Account),
    Tick(i64),
    Pause,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Elect(replica) => write!(f, "replica {replica} takes the Lease"),
            Step::Depose(replica) => write!(f, "replica {replica} loses the Lease, and does not know it yet"),
            Step::Restart(replica) => write!(f, "replica {replica} ends, and starts anew"),
            Step::StandBy(replica) => write!(f, "replica {replica} forgets its term, and stands by"),
            Step::DeliverPolicy(id) => write!(f, "{id}: the watch brings the object"),
            Step::DeliverAccount(replica) => write!(f, "replica {replica}: the watch brings the account"),
            Step::Reconcile(id) => write!(f, "{id}: a turn begins"),
            Step::Answer(id, reply) => write!(f, "{id}: the answer comes: {reply:?}"),
            Step::Effect(flight) => write!(f, "Modify {flight} takes effect"),
            Step::Drop(flight) => write!(f, "Modify {flight} never takes effect"),
            Step::Drift(value) => write!(f, "somebody else sets the cloud to {value:?}"),
            Step::Respec(policy, spec) => write!(f, "policy {policy}: {spec:?}"),
            Step::Delete(policy) => write!(f, "policy {policy} is deleted"),
            Step::Recreate(policy, spec) => write!(f, "policy {policy} is created anew: {spec:?}"),
            Step::Account(account) => write!(f, "the account is {account:?}"),
            Step::Tick(seconds) => write!(f, "{seconds} s pass"),
            Step::Pause => write!(f, "{PAUSE} s pass in the middle of it"),
        }
    }
}

/// Events that a scenario permits besides the operator's own steps.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    pub name: &'static str,
    /// Initial value of the cloud.
    pub cloud: Value,
    /// Policies that are initially in sync.
    pub settled: Vec<Spec>,
    /// Policies that were just created, numbered after `settled`.
    pub new: Vec<Spec>,
    pub may: Vec<(EventKind, u8)>,
    /// Total budget of events, without ticks.
    pub faults: u8,
    pub drifts: Vec<Value>,
    pub specs: Vec<(usize, Spec)>,
    pub deletes: Vec<usize>,
    pub accounts: Vec<Account>,
    pub refusals: Vec<Kind>,
    pub describe_failures: Vec<Kind>,
}

impl Scenario {
    /// Returns all possible next steps.
    pub fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        let may =
            |kind: EventKind| state.left[kind as usize] > 0 && (kind == EventKind::Tick || state.faults > 0);
        for (number, replica) in state.replicas.iter().enumerate() {
            match replica.role {
                Role::StandsBy => {
                    steps.extend(state.leader().is_none().then_some(Step::Elect(number)));
                    continue;
                }
                Role::Leads => {
                    steps.extend(may(EventKind::Depose).then_some(Step::Depose(number)));
                    steps.extend(may(EventKind::Crash).then_some(Step::Restart(number)));
                }
                Role::Deposed => steps.push(Step::StandBy(number)),
            }
            let leads = replica.role == Role::Leads;
            if leads && replica.account != state.account {
                steps.push(Step::DeliverAccount(number));
            }
            for policy in 0..POLICIES {
                let id = ProcessId { replica: number, policy };
                if leads || state.process(id).reconcile.is_some() {
                    self.of_process(state, id, may, &mut steps);
                }
            }
        }
        for (number, flight) in state.flights.iter().enumerate() {
            if number > 0 && state.flights[number - 1] == *flight {
                continue;
            }
            steps.push(Step::Effect(number));
            if flight.by.is_none() && may(EventKind::Drop) {
                steps.push(Step::Drop(number));
            }
        }
        self.of_others(state, may, &mut steps);
        let idle = |process: &Process| {
            process.reconcile.is_none()
                && process.due.is_none_or(|due| process.sees.is_none() || due > state.now)
        };
        if let Some(leader) = state.leader() {
            let processes = &state.replicas[leader].processes;
            let due = processes.iter().filter(|p| p.sees.is_some()).filter_map(|p| p.due).min();
            if let Some(due) = due.filter(|_| may(EventKind::Tick) && processes.iter().all(idle)) {
                steps.push(Step::Tick(due - state.now));
            }
        }
        if may(EventKind::Pause) {
            steps.push(Step::Pause);
        }
        steps
    }

    fn of_process(
        &self,
        state: &State,
        id: ProcessId,
        may: impl Fn(EventKind) -> bool,
        steps: &mut Vec<Step>,
    ) {
        let process = state.process(id);
        let leads = state.replicas[id.replica].role == Role::Leads;
        if leads && process.sees != state.objects[id.policy] {
            steps.push(Step::DeliverPolicy(id));
        }
        match &process.reconcile {
            None => {
                let is_due = process.sees.is_some() && process.due.is_some_and(|due| due <= state.now);
                steps.extend((leads && is_due).then_some(Step::Reconcile(id)));
            }
            Some(reconcile) => {
                let mut answer = |reply| steps.push(Step::Answer(id, reply));
                answer(Reply::Good);
                match reconcile.call {
                    Call::Describe(_) if may(EventKind::FailLook) => {
                        self.describe_failures.iter().for_each(|kind| answer(Reply::Refused(*kind)));
                    }
                    Call::Describe(_) | Call::Regions => {}
                    Call::Modify(to) => {
                        let is_under_way = state.flights.contains(&InFlight { to, by: Some(id) });
                        if may(EventKind::LoseModify) {
                            answer(Reply::Lost);
                            if is_under_way {
                                answer(Reply::Unsent);
                            }
                        }
                        if is_under_way && may(EventKind::RefuseModify) {
                            self.refusals.iter().for_each(|kind| answer(Reply::Refused(*kind)));
                        }
                    }
                    Call::Write(..) if may(EventKind::LoseWrite) => answer(Reply::Lost),
                    Call::Write(..) => {}
                }
            }
        }
    }

    fn of_others(&self, state: &State, may: impl Fn(EventKind) -> bool, steps: &mut Vec<Step>) {
        if may(EventKind::Drift) {
            steps.extend(self.drifts.iter().filter(|v| **v != state.cloud).map(|v| Step::Drift(*v)));
        }
        for (policy, spec) in &self.specs {
            match &state.objects[*policy] {
                Some(object) if object.spec != *spec && may(EventKind::Respec) => {
                    steps.push(Step::Respec(*policy, *spec));
                }
                None if may(EventKind::Recreate) => steps.push(Step::Recreate(*policy, *spec)),
                _ => {}
            }
        }
        for policy in self.deletes.iter().filter(|_| may(EventKind::Delete)) {
            if state.objects[*policy].as_ref().is_some_and(|object| object.deleted.is_none()) {
                steps.push(Step::Delete(*policy));
            }
        }
        if may(EventKind::Account) {
            steps.extend(self.accounts.iter().filter(|a| **a != state.account).map(|a| Step::Account(*a)));
        }
    }
}

impl Model {
    /// Returns the state after the step.
    pub fn take(&mut self, before: &State, step: Step) -> Result<State, Violation> {
        let mut state = before.clone();
        if let Some(kind) = kind_of(before, step) {
            state.left[kind as usize] -= 1;
            state.faults -= u8::from(kind != EventKind::Tick);
        }
        self.apply(&mut state, step)?;
        Ok(state)
    }

    pub fn apply(&mut self, state: &mut State, step: Step) -> Result<(), Violation> {
        match step {
            Step::Elect(replica) => {
                state.replicas[replica].role = Role::Leads;
                state.replicas[replica].as_of = std::mem::take(&mut state.renewed);
                for policy in 0..POLICIES {
                    let id = ProcessId { replica, policy };
                    seed_claim(state, id);
                    if state.process(id).sees.is_some() {
                        state.wake(id, state.now);
                    }
                }
            }
            Step::Depose(replica) => {
                state.replicas[replica].role = Role::Deposed;
                state.renewed = state.now;
            }
            Step::Restart(replica) => restart(state, replica),
            Step::StandBy(replica) => stand_by(state, replica),
            Step::DeliverPolicy(id) => self.deliver_policy(state, id),
            Step::DeliverAccount(replica) => deliver_account(state, replica),
            Step::Reconcile(id) => return self.begin(state, id),
            Step::Answer(id, reply) => return self.answer(state, id, reply),
            Step::Effect(flight) => state.cloud = state.flights.remove(flight).to,
            Step::Drop(flight) => drop(state.flights.remove(flight)),
            Step::Drift(value) => state.cloud = value,
            Step::Account(account) => state.account = account,
            Step::Tick(seconds) => pass(state, seconds),
            Step::Pause => pass(state, PAUSE),
            Step::Respec(policy, spec) => {
                self.edit(state, policy, |object| object.spec = spec);
            }
            Step::Delete(policy) => {
                let now = state.now;
                self.edit(state, policy, |object| object.deleted = Some(now));
                if state.objects[policy].as_ref().is_some_and(|object| !object.finalizer) {
                    state.objects[policy] = None;
                }
            }
            Step::Recreate(policy, spec) => {
                // Same name, another UID.
                let object = new_object(10 + u8::try_from(policy).unwrap(), state.now, spec);
                state.objects[policy] = Some(self.objects.object(object));
            }
        }
        Ok(())
    }

    fn edit(&mut self, state: &mut State, policy: usize, change: impl FnOnce(&mut Object)) {
        if let Some(object) = &state.objects[policy] {
            let mut object = Object::clone(object);
            object.generation += 1;
            change(&mut object);
            state.objects[policy] = Some(self.objects.object(object));
        }
    }

    fn deliver_policy(&mut self, state: &mut State, id: ProcessId) {
        let object = state.objects[id.policy].clone();
        let (now, process) = (state.now, state.process_mut(id));
        let same = process.sees.as_ref().map(|o| o.uid) == object.as_ref().map(|o| o.uid);
        process.sees = object;
        // Discards the state of a deleted object; a running reconcile does so at its end.
        if !same && process.reconcile.is_none() {
            set_claim(state, id, None);
            let process = state.process_mut(id);
            *process = Process { sees: process.sees.take(), ..Process::default() };
        }
        if state.process(id).sees.is_some() {
            state.wake(id, now);
        }
    }
}

/// Returns the kind whose budget the step uses.
fn kind_of(state: &State, step: Step) -> Option<EventKind> {
    Some(match step {
        Step::Depose(_) => EventKind::Depose,
        Step::Restart(replica) if state.replicas[replica].role == Role::Leads => EventKind::Crash,
        Step::Answer(_, Reply::Good) => return None,
        Step::Answer(id, reply) => match (&state.process(id).reconcile.as_ref()?.call, reply) {
            (Call::Describe(_) | Call::Regions, _) => EventKind::FailLook,
            (Call::Write(..), _) => EventKind::LoseWrite,
            (Call::Modify(_), Reply::Refused(_)) => EventKind::RefuseModify,
            (Call::Modify(_), _) => EventKind::LoseModify,
        },
        Step::Drop(_) => EventKind::Drop,
        Step::Drift(_) => EventKind::Drift,
        Step::Respec(..) => EventKind::Respec,
        Step::Delete(_) => EventKind::Delete,
        Step::Recreate(..) => EventKind::Recreate,
        Step::Account(_) => EventKind::Account,
        Step::Pause => EventKind::Pause,
        Step::Tick(_) => EventKind::Tick,
        _ => return None,
    })
}

fn pass(state: &mut State, seconds: i64) {
    state.now += seconds;
    let now = state.now;
    for process in state.replicas.iter_mut().flat_map(|replica| &mut replica.processes) {
        process.responses.pass(now);
    }
}

/// Returns a policy that was never described.
pub fn new_object(uid: u8, created: i64, spec: Spec) -> Object {
    let status = crate::domain::Facts::default();
    Object { uid, created, generation: 1, spec, deleted: None, finalizer: false, status }
}

/// Restores the claim from the stored status, before the first reconcile.
fn seed_claim(state: &mut State, id: ProcessId) {
    let sees = state.process(id).sees.clone();
    let proven = sees.filter(|object| object.spec.manages && object.status.policy.is_some());
    let is_known = state.replicas[id.replica].account != Account::Gone;
    set_claim(state, id, proven.filter(|_| is_known).map(|object| object.refusal()));
}

/// Restarts the process, with a new watch.
fn restart(state: &mut State, replica: usize) {
    if state.replicas[replica].role == Role::Leads {
        state.renewed = state.now;
    }
    let sees = state.objects.clone();
    forget_all(state, replica, state.account, sees);
}

/// Keeps only the objects delivered by the watch, which may be old.
fn stand_by(state: &mut State, replica: usize) {
    let sees = state.replicas[replica].processes.clone().map(|process| process.sees);
    forget_all(state, replica, state.replicas[replica].account, sees);
}

/// Discards all processes of a replica; their pending calls lose their receiver.
fn forget_all(
    state: &mut State,
    replica: usize,
    account: Account,
    sees: [Option<Interned<Object>>; POLICIES],
) {
    for flight in &mut state.flights {
        flight.by = flight.by.filter(|id| id.replica != replica);
    }
    state.flights.sort();
    let processes = sees.map(|sees| Process { sees, ..Process::default() });
    state.replicas[replica] = Replica {
        role: Role::StandsBy,
        account,
        access_generation: 0,
        credentials: None,
        as_of: 0,
        processes,
    };
}
