//! The decisions under test, as shipped or with one guard removed.
//!
//! A guard is removed from outside: the function's input or result is changed to what it would be without the guard.
//! The shipped code therefore carries no test switch.

use jiff::Timestamp;

use crate::domain::condition::types;
use crate::domain::{Change, Facts, Failure, PolicyState, Reason};
use crate::plan::deletion::{self, AccountAccess, FinalizeStep};
use crate::plan::memory::Memory;
use crate::plan::next::{NextAction, next};
use crate::plan::{AccountReadiness, Desired, Effect, ReconcileEnv, conditions};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// `next` treats every policy as managing.
    ManagesInObserve,
    /// `next` ignores `suspend`.
    IgnoresSuspend,
    /// `next` ignores the competing policy.
    IgnoresRival,
    /// `next` treats every account as ready.
    IgnoresAccount,
    /// `next` treats an old Describe as fresh.
    IgnoresAge,
    /// The difference stays correctable after its Modify was accepted.
    KeepsDifference,
    /// An accepted change is not awaited.
    ForgetsAccepted,
    /// A new generation is treated as the one that was described.
    KeepsGeneration,
    /// A new generation counts as described.
    KeepsLook,
    /// A stored status counts for every generation.
    TrustsOldStatus,
    /// A restart discards the record of a refused Modify.
    ForgetsRefusal,
    /// A failed Describe is due again at once.
    RetriesAtOnce,
    /// A difference is not recorded as correctable.
    NeverCorrects,
    /// A condition's lastTransitionTime changes although its status does not.
    MovesTransitions,
    /// `next` waits without a timer.
    WaitsForEver,
    /// A change without a response is not described again.
    TrustsUnanswered,
    /// `deletionPolicy: Retain` is treated as `Disable`.
    DisablesRetained,
    /// Deletion trusts observations from before it.
    ReleasesUnseen,
    /// Deletion is never abandoned.
    NeverGivesUp,
    /// Deletion disables for a policy that only observes or is suspended.
    DisablesForObserver,
    /// Deletion ignores the competing policy.
    DisablesForLoser,
    /// In the driver, not in `plan`: a replica whose Lease expired continues to send.
    SendsDeposed,
    /// In the driver: a reconcile continues with its initial spec although the watch has delivered another.
    SendsOutdated,
}

/// The shipped decisions without the mutant's guard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decisions(pub Option<Mutant>);

impl Decisions {
    pub fn lack(self, guard: Mutant) -> bool {
        self.0 == Some(guard)
    }

    pub fn new_memory(self, mut facts: Facts, desired: &Desired, as_of: Timestamp, now: Timestamp) -> Memory {
        if self.lack(Mutant::TrustsOldStatus) && facts.observed_generation.is_some() {
            facts.observed_generation = Some(desired.generation);
        }
        if self.lack(Mutant::ForgetsRefusal) {
            facts.modify_refused = None;
        }
        Memory::new(facts, desired, as_of, now)
    }

    pub fn notice(
        self,
        memory: &mut Memory,
        desired: &Desired,
        access_generation: Option<u64>,
        now: Timestamp,
    ) {
        let described = memory.described;
        if self.lack(Mutant::KeepsGeneration) {
            memory.generation = desired.generation;
        }
        memory.notice(desired, access_generation, now);
        if self.lack(Mutant::KeepsLook) && memory.described != described {
            memory.described = described;
            memory.difference = None;
        }
    }

    pub fn next(self, desired: &Desired, env: &ReconcileEnv, memory: &Memory, now: Timestamp) -> NextAction {
        let mut desired = desired.clone();
        desired.manages |= self.lack(Mutant::ManagesInObserve);
        desired.suspended &= !self.lack(Mutant::IgnoresSuspend);
        let mut memory = memory.clone();
        if self.lack(Mutant::IgnoresAge) && memory.difference_seen.is_some() {
            memory.difference_seen = Some(now);
        }
        match next(&desired, &self.env(env, Mutant::IgnoresRival), &memory, now) {
            NextAction::Wait(_) if self.lack(Mutant::WaitsForEver) => NextAction::Wait(None),
            step => step,
        }
    }

    pub fn report(self, desired: &Desired, env: &ReconcileEnv, memory: &Memory, now: Timestamp) -> Facts {
        let mut facts = conditions::report(desired, env, memory, now);
        if self.lack(Mutant::MovesTransitions) {
            facts.conditions.iter_mut().for_each(|condition| condition.last_transition = now);
        }
        facts
    }

    pub fn next_finalize_step(
        self,
        desired: &Desired,
        env: &ReconcileEnv,
        memory: &mut Memory,
        reach: AccountAccess,
        now: Timestamp,
    ) -> FinalizeStep {
        let mut desired = desired.clone();
        desired.disable_on_delete |= self.lack(Mutant::DisablesRetained);
        desired.manages |= self.lack(Mutant::DisablesForObserver);
        desired.suspended &= !self.lack(Mutant::DisablesForObserver);
        if self.lack(Mutant::ReleasesUnseen) {
            deletion::described(memory);
        }
        if !self.lack(Mutant::NeverGivesUp) {
            deletion::notice(memory, reach, now);
        }
        deletion::next(&desired, &self.env(env, Mutant::DisablesForLoser), memory, reach, now)
    }

    fn env(self, env: &ReconcileEnv, without_rival: Mutant) -> ReconcileEnv {
        let mut env = env.clone();
        if self.lack(without_rival) {
            env.competitor = None;
        }
        if self.lack(Mutant::IgnoresAccount) {
            env.readiness = AccountReadiness::Open;
        }
        env
    }

    pub fn described(
        self,
        memory: &mut Memory,
        desired: &Desired,
        answer: Result<PolicyState, Failure>,
        now: Timestamp,
    ) {
        let failed = answer.is_err();
        memory.described(desired, answer, now, 1.0);
        if self.lack(Mutant::NeverCorrects) {
            memory.difference_seen = None;
        }
        if failed && self.lack(Mutant::RetriesAtOnce) {
            memory.next_describe = now;
        }
    }

    pub fn accepted(self, memory: &mut Memory, desired: &Desired, change: &Change, now: Timestamp) {
        let difference_seen = memory.difference_seen;
        memory.accepted(desired, change, None, now);
        if self.lack(Mutant::KeepsDifference) {
            (memory.difference_seen, memory.next_describe) = (difference_seen, now + HOUR);
        }
        if self.lack(Mutant::ForgetsAccepted) {
            memory.pending_change = None;
        }
    }

    pub fn not_accepted(
        self,
        memory: &mut Memory,
        desired: &Desired,
        change: &Change,
        failure: Failure,
        effect: Effect,
        now: Timestamp,
    ) {
        memory.not_accepted(desired, change, failure, effect, now, 1.0);
        if self.lack(Mutant::TrustsUnanswered) {
            (memory.sync_error, memory.difference) = (None, None);
        }
    }
}

const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_secs(3_600);

/// Whether status reports spec and cloud as equal.
pub fn says_in_sync(facts: &Facts) -> bool {
    let equal = [Reason::InSync.as_str(), Reason::Observed.as_str()];
    facts.condition(types::SYNCED).is_some_and(|c| equal.contains(&c.reason.as_str()))
}
