//! Safety properties, checked whenever a call, status or finalizer leaves the operator; liveness properties of
//! `settle`.

use super::mutants::says_in_sync;
use super::state::*;
use crate::domain::condition::types;
use crate::plan::conflict::Refusal;
use crate::plan::deletion::Release;
use crate::plan::memory::FRESHNESS;

/// Property that a counterexample breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// A replica that lost the Lease sends no Modify.
    OnlyTheLeaderModifies,
    /// A Modify carries the newest spec that the sender knows: never in Observe, suspended, or deleted with Retain.
    ModifiesWhatIsWanted,
    /// No Modify through an account that is suspended, not allowed or deleted.
    ModifiesWhereAllowed,
    /// No Modify by a policy that another one outranks.
    OnlyTheManagerModifies,
    /// Each Modify follows a Describe of the last 30 s that showed a difference.
    ModifiesWhatDiffers,
    /// An accepted change is awaited before it is sent again.
    WaitsForAccepted,
    /// A failed Describe is not repeated at once.
    WaitsAfterFailure,
    /// `InSync` is reported only for an observation of this generation and UID.
    SaysWhatWasSeen,
    /// A finalizer is removed only if the reported reason is true.
    ReleasesWithReason,
    /// Every reconcile ends.
    TurnsEnd,
    /// Once faults stop, deletions complete.
    DeletionEnds,
    /// Once faults stop, desired and cloud state become equal.
    BecomesEqual,
    /// Once faults stop, the conditions become true.
    TellsTheTruth,
    /// After that, nothing is written.
    ComesToRest,
}

#[derive(Clone, Debug)]
pub struct Broken {
    pub property: Property,
    pub why: String,
}

impl Broken {
    pub fn new(property: Property, why: impl Into<String>) -> Self {
        Self { property, why: why.into() }
    }
}

fn hold(holds: bool, property: Property, why: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(property, why())) }
}

/// Checks a Modify that is sent.
pub fn judge_modify(state: &State, seat: Seat, to: Value) -> Result<(), Broken> {
    let replica = &state.replicas[seat.replica];
    let process = state.process(seat);
    hold(replica.role == Role::Leads, Property::OnlyTheLeaderModifies, || {
        format!("{seat}: {:?}", replica.role)
    })?;
    let seen = process.sees.as_ref();
    let wants = seen.and_then(|object| object.wants());
    hold(wants == Some(to), Property::ModifiesWhatIsWanted, || {
        format!("{seat} sends {to:?}, and wants {wants:?}")
    })?;
    let is_deleted = seen.is_some_and(|object| object.deleted.is_some());
    let remembered = is_deleted && replica.credentials.is_some_and(|until| state.now < until);
    let is_allowed = replica.account == Account::Open || replica.account == Account::Gone && remembered;
    hold(is_allowed, Property::ModifiesWhereAllowed, || format!("{seat}: {:?}", replica.account))?;
    let rival = (0..POLICIES)
        .filter(|policy| *policy != seat.policy)
        .find(|policy| ranks_before(state, seat, *policy));
    hold(rival.is_none(), Property::OnlyTheManagerModifies, || format!("{seat} beside {rival:?}"))?;
    let other = (0..POLICIES).find(|policy| *policy != seat.policy && leaves_to(state, seat, *policy));
    hold(other.is_none(), Property::OnlyTheManagerModifies, || {
        format!("{seat} was refused, and has {other:?}")
    })?;
    let witness = &process.witness;
    let fresh = witness.seen.filter(|(at, _)| state.now - at <= FRESHNESS.as_secs().cast_signed());
    let differs = fresh.is_some_and(|(_, value)| !to.change().is_met_by(&value.state()));
    hold(differs, Property::ModifiesWhatDiffers, || format!("{seat} sends {to:?} after {:?}", witness.seen))?;
    let generation = seen.map(|object| object.generation);
    let again = witness
        .accepted
        .is_some_and(|(at, accepted, of)| state.now - at < 60 && accepted == to && Some(of) == generation);
    hold(!again, Property::WaitsForAccepted, || format!("{seat} sends {to:?} again"))
}

/// Whether the other policy manages the instance, by the knowledge of its last reconcile.
fn ranks_before(state: &State, seat: Seat, policy: usize) -> bool {
    let other = state.process(Seat { policy, ..seat });
    let own = state.process(seat);
    let (Some(seen), Some(memory), Some(own_seen)) = (&other.sees, &other.memory, &own.sees) else {
        return false;
    };
    let claims = seen.spec.manages && memory.generation == seen.generation && memory.is_proven();
    let rank = (memory.refusal(), seen.created, policy);
    claims && rank < (own.claim.unwrap_or_default(), own_seen.created, seat.policy)
}

/// Whether the stored statuses report a refused Modify of this policy and none of the other one, which manages by this
/// replica's present knowledge; a new leader may have an older view.
fn leaves_to(state: &State, seat: Seat, policy: usize) -> bool {
    let other = state.process(Seat { policy, ..seat });
    let (Some(own), Some(seen)) = (&state.process(seat).sees, &other.sees) else { return false };
    let is_of_now = |object: &Object| object.status.observed_generation == Some(object.generation);
    // A later accepted Modify ends a refusal before status reports it.
    let memory = state.process(seat).memory.as_ref();
    let is_accepted = memory.is_some_and(|memory| memory.facts.modification != own.status.modification);
    let is_refused = own.status.modify_refused.is_some() && is_of_now(own) && !is_accepted;
    let told = other.memory.as_ref().map_or(Refusal::None, |memory| memory.refusal());
    let other_is_refused = seen.refusal().max(told) == Refusal::Known;
    let other_manages =
        other.claim.is_some() && seen.spec.manages && seen.status.policy.is_some() && is_of_now(seen);
    // A changed account ends a refusal.
    state.replicas[seat.replica].epoch == 0 && is_refused && other_manages && !other_is_refused
}

/// Checks a Describe that is sent.
pub fn judge_look(state: &State, seat: Seat, object: &Object) -> Result<(), Broken> {
    let now = (state.now, object.generation, state.replicas[seat.replica].epoch);
    let hasty = state.process(seat).witness.failed == Some(now);
    hold(!hasty, Property::WaitsAfterFailure, || format!("{seat} asks again at once"))
}

/// Records the response to a Describe; `None`: it failed.
pub fn witness_look(state: &mut State, seat: Seat, object: &Object, answer: Option<Value>) {
    let (now, epoch) = (state.now, state.replicas[seat.replica].epoch);
    let witness = &mut state.process_mut(seat).witness;
    let Some(value) = answer else {
        witness.failed = Some((now, object.generation, epoch));
        return;
    };
    witness.failed = None;
    let stays = witness.last.is_some_and(|(last, _)| last == value);
    let waits = |(_, to, _): &(i64, Value, i64)| stays && !to.change().is_met_by(&value.state());
    witness.accepted = witness.accepted.filter(waits);
    witness.seen = Some((now, value));
    witness.last = Some((value, object.deleted.is_some()));
    let proven = (object.uid, object.generation);
    if object.is_met_by(&value.state()) && !state.proven.contains(&proven) {
        state.proven.push(proven);
        state.proven.sort_unstable();
    }
}

/// Checks a status write.
pub fn judge_status(state: &State, seat: Seat, wanted: &Object) -> Result<(), Broken> {
    let Some(synced) = wanted.status.condition(types::SYNCED).filter(|_| says_in_sync(&wanted.status)) else {
        return Ok(());
    };
    let of = (wanted.uid, synced.observed_generation);
    hold(state.proven.contains(&of), Property::SaysWhatWasSeen, || {
        format!("{seat} says {} of generation {}, which was not seen so", synced.reason, of.1)
    })?;
    let told = wanted.status.policy.as_ref();
    let is_equal = told.is_some_and(|policy| wanted.is_met_by(policy));
    let is_of_now = synced.observed_generation == wanted.generation;
    hold(!is_of_now || is_equal, Property::SaysWhatWasSeen, || {
        format!("{seat} says {}, and shows {told:?}", synced.reason)
    })
}

/// Checks the removal of a finalizer.
pub fn judge_release(state: &State, seat: Seat, object: &Object, release: &Release) -> Result<(), Broken> {
    let replica = &state.replicas[seat.replica];
    let process = state.process(seat);
    let has_reason = match release {
        Release::Retained => !object.spec.disables,
        Release::Disabled => process.witness.last == Some((Value::Off, true)),
        Release::Skipped(_) => {
            let loses = (0..POLICIES).any(|policy| policy != seat.policy && state.objects[policy].is_some());
            let is_closed = matches!(replica.account, Account::Suspended | Account::NotAllowed);
            object.wants().is_none() || is_closed || loses
        }
        Release::Abandoned(_) => object.deleted.is_some_and(|since| state.now - since >= 300),
    };
    hold(has_reason, Property::ReleasesWithReason, || format!("{seat}: {release:?}"))
}
