//! Safety properties, checked whenever a call, status or finalizer leaves the operator; liveness properties of
//! `settle`.

use super::mutants::says_in_sync;
use super::state::*;
use crate::domain::condition::types;
use crate::plan::conflict::Refusal;
use crate::plan::deletion::Release;
use crate::plan::memory::MAX_DESCRIBE_AGE;

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
pub struct Violation {
    pub property: Property,
    pub why: String,
}

impl Violation {
    pub fn new(property: Property, why: impl Into<String>) -> Self {
        Self { property, why: why.into() }
    }
}

fn hold(holds: bool, property: Property, why: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(property, why())) }
}

/// Checks a Modify that is sent.
pub fn check_modify(state: &State, id: ProcessId, to: Value) -> Result<(), Violation> {
    let replica = &state.replicas[id.replica];
    let process = state.process(id);
    hold(replica.role == Role::Leads, Property::OnlyTheLeaderModifies, || {
        format!("{id}: {:?}", replica.role)
    })?;
    let seen = process.sees.as_ref();
    let wants = seen.and_then(|object| object.wants());
    hold(wants == Some(to), Property::ModifiesWhatIsWanted, || {
        format!("{id} sends {to:?}, and wants {wants:?}")
    })?;
    let is_deleted = seen.is_some_and(|object| object.deleted.is_some());
    let remembered = is_deleted && replica.credentials.is_some_and(|until| state.now < until);
    let is_allowed = replica.account == Account::Open || replica.account == Account::Gone && remembered;
    hold(is_allowed, Property::ModifiesWhereAllowed, || format!("{id}: {:?}", replica.account))?;
    let competitor =
        (0..POLICIES).filter(|policy| *policy != id.policy).find(|policy| ranks_before(state, id, *policy));
    hold(competitor.is_none(), Property::OnlyTheManagerModifies, || format!("{id} beside {competitor:?}"))?;
    let other = (0..POLICIES).find(|policy| *policy != id.policy && leaves_to(state, id, *policy));
    hold(other.is_none(), Property::OnlyTheManagerModifies, || {
        format!("{id} was refused, and has {other:?}")
    })?;
    let responses = &process.responses;
    let fresh = responses.seen.filter(|(at, _)| state.now - at <= MAX_DESCRIBE_AGE.as_secs().cast_signed());
    let differs = fresh.is_some_and(|(_, value)| !to.change().is_met_by(&value.state()));
    hold(differs, Property::ModifiesWhatDiffers, || format!("{id} sends {to:?} after {:?}", responses.seen))?;
    let generation = seen.map(|object| object.generation);
    let again = responses
        .accepted
        .is_some_and(|(at, accepted, of)| state.now - at < 60 && accepted == to && Some(of) == generation);
    hold(!again, Property::WaitsForAccepted, || format!("{id} sends {to:?} again"))
}

/// Whether the other policy manages the instance, by the knowledge of its last reconcile.
fn ranks_before(state: &State, id: ProcessId, policy: usize) -> bool {
    let other = state.process(ProcessId { policy, ..id });
    let own = state.process(id);
    let (Some(seen), Some(memory), Some(own_seen)) = (&other.sees, &other.memory, &own.sees) else {
        return false;
    };
    let claims = seen.spec.manages && memory.generation == seen.generation && memory.is_proven();
    let rank = (memory.refusal(), seen.created, policy);
    claims && rank < (own.claim.unwrap_or_default(), own_seen.created, id.policy)
}

/// Whether the stored statuses report a refused Modify of this policy and none of the other one, which manages by this
/// replica's present knowledge; a new leader may have an older view.
fn leaves_to(state: &State, id: ProcessId, policy: usize) -> bool {
    let other = state.process(ProcessId { policy, ..id });
    let (Some(own), Some(seen)) = (&state.process(id).sees, &other.sees) else { return false };
    let is_of_now = |object: &Object| object.status.observed_generation == Some(object.generation);
    // A later accepted Modify ends a refusal before status reports it.
    let memory = state.process(id).memory.as_ref();
    let is_accepted = memory.is_some_and(|memory| memory.facts.modification != own.status.modification);
    let is_refused = own.status.modify_refused.is_some() && is_of_now(own) && !is_accepted;
    let told = other.memory.as_ref().map_or(Refusal::None, |memory| memory.refusal());
    let other_is_refused = seen.refusal().max(told) == Refusal::Known;
    let other_manages =
        other.claim.is_some() && seen.spec.manages && seen.status.policy.is_some() && is_of_now(seen);
    // A changed account ends a refusal.
    state.replicas[id.replica].access_generation == 0 && is_refused && other_manages && !other_is_refused
}

/// Checks a Describe that is sent.
pub fn check_describe(state: &State, id: ProcessId, object: &Object) -> Result<(), Violation> {
    let now = (state.now, object.generation, state.replicas[id.replica].access_generation);
    let hasty = state.process(id).responses.failed == Some(now);
    hold(!hasty, Property::WaitsAfterFailure, || format!("{id} asks again at once"))
}

/// Records the response to a Describe; `None`: it failed.
pub fn record_describe(state: &mut State, id: ProcessId, object: &Object, answer: Option<Value>) {
    let (now, access_generation) = (state.now, state.replicas[id.replica].access_generation);
    let responses = &mut state.process_mut(id).responses;
    let Some(value) = answer else {
        responses.failed = Some((now, object.generation, access_generation));
        return;
    };
    responses.failed = None;
    let stays = responses.last.is_some_and(|(last, _)| last == value);
    let waits = |(_, to, _): &(i64, Value, i64)| stays && !to.change().is_met_by(&value.state());
    responses.accepted = responses.accepted.filter(waits);
    responses.seen = Some((now, value));
    responses.last = Some((value, object.deleted.is_some()));
    let proven = (object.uid, object.generation);
    if object.is_met_by(&value.state()) && !state.proven.contains(&proven) {
        state.proven.push(proven);
        state.proven.sort_unstable();
    }
}

/// Checks a status write.
pub fn check_status(state: &State, id: ProcessId, wanted: &Object) -> Result<(), Violation> {
    let Some(synced) = wanted.status.condition(types::SYNCED).filter(|_| says_in_sync(&wanted.status)) else {
        return Ok(());
    };
    let of = (wanted.uid, synced.observed_generation);
    hold(state.proven.contains(&of), Property::SaysWhatWasSeen, || {
        format!("{id} says {} of generation {}, which was not seen so", synced.reason, of.1)
    })?;
    let told = wanted.status.policy.as_ref();
    let is_equal = told.is_some_and(|policy| wanted.is_met_by(policy));
    let is_of_now = synced.observed_generation == wanted.generation;
    hold(!is_of_now || is_equal, Property::SaysWhatWasSeen, || {
        format!("{id} says {}, and shows {told:?}", synced.reason)
    })
}

/// Checks the removal of a finalizer.
pub fn check_release(
    state: &State,
    id: ProcessId,
    object: &Object,
    release: &Release,
) -> Result<(), Violation> {
    let replica = &state.replicas[id.replica];
    let process = state.process(id);
    let has_reason = match release {
        Release::Retained => !object.spec.disables,
        Release::Disabled => process.responses.last == Some((Value::Off, true)),
        Release::Skipped(_) => {
            let loses = (0..POLICIES).any(|policy| policy != id.policy && state.objects[policy].is_some());
            let is_closed = matches!(replica.account, Account::Suspended | Account::NotAllowed);
            object.wants().is_none() || is_closed || loses
        }
        Release::Abandoned(_) => object.deleted.is_some_and(|since| state.now - since >= 300),
    };
    hold(has_reason, Property::ReleasesWithReason, || format!("{id}: {release:?}"))
}
