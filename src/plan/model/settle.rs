//! Liveness: continues a state without faults. All pending calls succeed, all watch events are delivered, and each
//! reconcile runs when it is due.

use std::collections::HashSet;

use super::drive::{Model, Reply};
use super::properties::{Property, Violation};
use super::state::*;
use super::steps::Step;
use crate::domain::Reason;
use crate::domain::condition::types;
use crate::plan::hash_of;
use crate::plan::memory::Memory;

/// Maximum time to confirm an accepted change.
const CONFIRMED: i64 = 60;
/// Time without writes after that.
const QUIET: i64 = 2 * INTERVAL;
/// Upper bound on the steps to quiescence.
const STEPS: usize = 400;

/// A broken property, and the steps that led to it.
pub type FailedPath = (Vec<Step>, Violation);

#[derive(Default)]
pub struct LivenessCheck {
    /// Quiescent states from which the properties hold.
    well: HashSet<u64>,
}

impl LivenessCheck {
    pub fn check(&mut self, world: &mut Model, from: &State) -> Result<(), FailedPath> {
        let mut state = from.clone();
        let mut trace = Vec::new();
        let since = from.now;
        // The longest timer of each policy: a change by one policy is observed by the next at its own poll.
        let policies = state.objects.iter().flatten().count().max(1) as i64;
        let soon = since + policies * INTERVAL + CONFIRMED;
        let mut good_since_then = false;
        for _ in 0..STEPS {
            let step = match fault_free(&state) {
                Some(step) => step,
                None => {
                    if state.now == since && !self.well.insert(hash_of(&core(&state))) {
                        return Ok(());
                    }
                    let due = next_due(&state).unwrap_or(i64::MAX);
                    if due > soon && !good_since_then {
                        is_well(&state).map_err(|broken| (trace.clone(), broken))?;
                        good_since_then = true;
                    }
                    if due > soon + QUIET {
                        return Ok(());
                    }
                    Step::Tick(due - state.now)
                }
            };
            trace.push(step);
            let writes = matches!(step, Step::Answer(id, _)
                if !matches!(state.process(id).reconcile.as_ref().map(|t| &t.call), Some(Call::Describe(_) | Call::Regions)));
            if good_since_then && writes {
                let broken =
                    Violation::new(Property::ComesToRest, "something is written although all was well");
                return Err((trace, broken));
            }
            world.apply(&mut state, step).map_err(|broken| (trace.clone(), broken))?;
        }
        Err((trace, Violation::new(Property::TurnsEnd, "it does not come to rest")))
    }
}

/// Drops the parts that only matter with faults.
fn core(state: &State) -> State {
    State { left: Default::default(), faults: 0, ..state.clone() }
}

/// Returns the next step without faults; `None`: only time passes.
pub fn fault_free(state: &State) -> Option<Step> {
    let deposed = state.replicas.iter().position(|replica| replica.role == Role::Deposed);
    if let Some(deposed) = deposed {
        return Some(Step::StandBy(deposed));
    }
    if state.account == Account::Throttled {
        return Some(Step::Account(Account::Open));
    }
    if !state.flights.is_empty() {
        return Some(Step::Effect(0));
    }
    let Some(replica) = state.leader() else { return Some(Step::Elect(0)) };
    if state.replicas[replica].account != state.account {
        return Some(Step::DeliverAccount(replica));
    }
    let seats = || (0..POLICIES).map(|policy| ProcessId { replica, policy });
    if let Some(id) = seats().find(|id| state.process(*id).sees != state.objects[id.policy]) {
        return Some(Step::DeliverPolicy(id));
    }
    if let Some(id) = seats().find(|id| state.process(*id).reconcile.is_some()) {
        return Some(Step::Answer(id, Reply::Good));
    }
    let is_due =
        |process: &Process| process.sees.is_some() && process.due.is_some_and(|due| due <= state.now);
    seats().find(|id| is_due(state.process(*id))).map(Step::Reconcile)
}

fn next_due(state: &State) -> Option<i64> {
    let processes = &state.replicas[state.leader()?].processes;
    processes.iter().filter(|process| process.sees.is_some()).filter_map(|process| process.due).min()
}

/// Checks that desired and cloud state are equal, and that status is true.
fn is_well(state: &State) -> Result<(), Violation> {
    let Some(leader) = state.leader() else { return Ok(()) };
    let processes = &state.replicas[leader].processes;
    // A policy with proven access competes for the instance, even while suspended.
    let has_proof = |memory: &Interned<Memory>| memory.is_proven();
    let claims = |policy: &usize| {
        let manages = state.objects[*policy].as_ref().is_some_and(|object| object.spec.manages);
        manages && processes[*policy].memory.as_ref().is_some_and(has_proof)
    };
    let refusal = |memory: &Interned<Memory>| memory.refusal();
    let rank = |policy: &usize| {
        let created = state.objects[*policy].as_ref().map(|object| object.created);
        (processes[*policy].memory.as_ref().map(refusal), created, *policy)
    };
    let manager = (0..POLICIES).filter(claims).min_by_key(rank);
    for (policy, object) in state.objects.iter().enumerate() {
        let Some(object) = object else { continue };
        if object.deleted.is_some() {
            return Err(Violation::new(Property::DeletionEnds, format!("policy {policy} is still there")));
        }
        let is_met = object.is_met_by(&state.cloud.state());
        let is_open = state.account == Account::Open;
        if is_open && manager == Some(policy) && !object.spec.suspended && !is_met {
            let why =
                format!("policy {policy} wants {:?}, the cloud has {:?}", object.spec.value, state.cloud);
            return Err(Violation::new(Property::BecomesEqual, why));
        }
        let expected = match state.account.reason() {
            _ if object.spec.suspended => Reason::Suspended,
            Some(reason) => reason,
            None if object.spec.manages && manager != Some(policy) => Reason::Conflict,
            None if object.spec.manages => Reason::InSync,
            None if is_met => Reason::Observed,
            None => Reason::DriftDetected,
        };
        let synced = object.status.condition(types::SYNCED);
        let said = synced.filter(|c| c.observed_generation == object.generation).map(|c| c.reason.as_str());
        let told = object.status.policy.as_ref();
        let shows = !is_open || object.spec.suspended || told == Some(&state.cloud.state());
        if said != Some(expected.as_str()) || !shows {
            let why = format!(
                "policy {policy} says {said:?} of {told:?}, and it is {expected:?}, {:?}",
                state.cloud
            );
            return Err(Violation::new(Property::TellsTheTruth, why));
        }
    }
    Ok(())
}
