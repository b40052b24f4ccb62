//! The decisions under test, as shipped or with one guard removed.
//!
//! A guard is removed from outside: the function's input or result is changed to what it would be without the guard.
//! The shipped code therefore carries no test switch.

use jiff::Timestamp;

use crate::domain::condition::types;
use crate::domain::{Change, Facts, Failure, PolicyState, Reason};
use crate::plan::deletion::{self, Farewell, Reach};
use crate::plan::memory::Memory;
use crate::plan::next::{Do, next};
use crate::plan::{Desired, Effect, Gate, Surroundings, conditions};

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

    pub fn notice(self, memory: &mut Memory, desired: &Desired, epoch: Option<u64>, now: Timestamp) {
        let looked = memory.looked;
        if self.lack(Mutant::KeepsGeneration) {
            memory.generation = desired.generation;
        }
        memory.notice(desired, epoch, now);
        if self.lack(Mutant::KeepsLook) && memory.looked != looked {
            memory.looked = looked;
            memory.difference = None;
        }
    }

    pub fn next(self, desired: &Desired, around: &Surroundings, memory: &Memory, now: Timestamp) -> Do {
        let mut desired = desired.clone();
        desired.manages |= self.lack(Mutant::ManagesInObserve);
        desired.suspended &= !self.lack(Mutant::IgnoresSuspend);
        let mut memory = memory.clone();
        if self.lack(Mutant::IgnoresAge) && memory.correctable.is_some() {
            memory.correctable = Some(now);
        }
        match next(&desired, &self.around(around, Mutant::IgnoresRival), &memory, now) {
            Do::Wait(_) if self.lack(Mutant::WaitsForEver) => Do::Wait(None),
            step => step,
        }
    }

    pub fn report(self, desired: &Desired, around: &Surroundings, memory: &Memory, now: Timestamp) -> Facts {
        let mut facts = conditions::report(desired, around, memory, now);
        if self.lack(Mutant::MovesTransitions) {
            facts.conditions.iter_mut().for_each(|condition| condition.last_transition = now);
        }
        facts
    }

    pub fn farewell(
        self,
        desired: &Desired,
        around: &Surroundings,
        memory: &mut Memory,
        reach: Reach,
        now: Timestamp,
    ) -> Farewell {
        let mut desired = desired.clone();
        desired.disable_on_delete |= self.lack(Mutant::DisablesRetained);
        desired.manages |= self.lack(Mutant::DisablesForObserver);
        desired.suspended &= !self.lack(Mutant::DisablesForObserver);
        if self.lack(Mutant::ReleasesUnseen) {
            deletion::looked(memory);
        }
        if !self.lack(Mutant::NeverGivesUp) {
            deletion::notice(memory, reach, now);
        }
        deletion::next(&desired, &self.around(around, Mutant::DisablesForLoser), memory, reach, now)
    }

    fn around(self, around: &Surroundings, without_rival: Mutant) -> Surroundings {
        let mut around = around.clone();
        if self.lack(without_rival) {
            around.rival = None;
        }
        if self.lack(Mutant::IgnoresAccount) {
            around.gate = Gate::Open;
        }
        around
    }

    pub fn looked(
        self,
        memory: &mut Memory,
        desired: &Desired,
        answer: Result<PolicyState, Failure>,
        now: Timestamp,
    ) {
        let failed = answer.is_err();
        memory.looked(desired, answer, now, 1.0);
        if self.lack(Mutant::NeverCorrects) {
            memory.correctable = None;
        }
        if failed && self.lack(Mutant::RetriesAtOnce) {
            memory.next_look = now;
        }
    }

    pub fn accepted(self, memory: &mut Memory, desired: &Desired, change: &Change, now: Timestamp) {
        let correctable = memory.correctable;
        memory.accepted(desired, change, None, now);
        if self.lack(Mutant::KeepsDifference) {
            (memory.correctable, memory.next_look) = (correctable, now + HOUR);
        }
        if self.lack(Mutant::ForgetsAccepted) {
            memory.confirming = None;
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
            (memory.verdict, memory.difference) = (None, None);
        }
    }
}

const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_secs(3_600);

/// Whether status reports spec and cloud as equal.
pub fn says_in_sync(facts: &Facts) -> bool {
    let equal = [Reason::InSync.as_str(), Reason::Observed.as_str()];
    facts.condition(types::SYNCED).is_some_and(|c| equal.contains(&c.reason.as_str()))
}
