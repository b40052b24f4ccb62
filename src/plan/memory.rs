//! What the operator remembers of one policy between looks, and how each answer of the cloud changes it.
//!
//! The facts are what status tells; the rest is how to go on, and is lost with the process without harm:
//! after a start the next look brings it back.

use std::time::Duration;

use jiff::Timestamp;

use super::backups::Known;
use super::conflict::Refusal;
use super::pace::{LONGEST, PERSON_LONGEST, after_failure, next_turn};
use super::readings::BackupMemory;
use super::{Desired, after, since, whole};
use crate::domain::condition::types;
use crate::domain::facts::Cause;
use crate::domain::{Change, Class, Facts, Failure, Kind, PolicyState, Reason};

/// After so many changes that never became visible, the pace is one attempt per interval.
pub const PATIENCE: u32 = 3;
/// A difference is corrected only so shortly after the Describe that showed it.
pub const FRESHNESS: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub facts: Facts,
    /// The generation that all below belongs to.
    pub generation: i64,
    /// The account's epoch, as far as one was seen.
    pub epoch: Option<u64>,
    /// When the policy was last described successfully.
    pub last_good: Option<Timestamp>,
    /// Whether a look failed since.
    pub failed_since: bool,
    /// Whether a look has ended in this generation, well or not.
    pub looked: bool,
    pub next_look: Timestamp,
    pub failures: u32,
    /// Why the last look failed, where that will pass.
    pub look_failure: Option<Failure>,
    pub verdict: Option<Verdict>,
    /// The difference that the last good look showed.
    pub difference: Option<String>,
    /// A Describe showed a difference at this time, and no Modify has followed it.
    pub correctable: Option<Timestamp>,
    /// The difference was known when the last attempt to correct it failed.
    pub uncorrected: bool,
    pub confirming: Option<Confirming>,
    pub not_taken: u32,
    pub regions: Regions,
    /// A Modify that was sent and not answered: it may have taken effect.
    pub unanswered: Option<(Change, Change)>,
    /// The difference is drift, to be counted once it is corrected.
    pub drifted: bool,
    /// Whether a Describe was refused as PermissionDenied or InstanceNotFound, and none has succeeded since.
    pub look_refusal: Refusal,
    /// `facts.policy` is from another generation, as an earlier process left it: it is no proof of access, since the account may
    /// be another one.
    pub unproven: bool,
    /// `facts.modify_refused` is from an earlier process: account or Secret may have changed since.
    pub refusal_unchecked: bool,
    pub request: Request,
    pub backups: BackupMemory,
    pub deletion: super::deletion::DeletionMemory,
    /// What was last seen in sync.
    pub(super) synced: Option<Change>,
}

/// Why the policy is not in sync although the cloud answered, or because it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Failed(Failure),
    RegionNotAvailable { wanted: String, available: Vec<String> },
}

/// An accepted change that is not visible yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirming {
    pub from: Change,
    pub to: Change,
    pub accepted: Timestamp,
    /// How many looks did not show it yet.
    pub looks: usize,
}

/// The regions that the instance can copy to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Regions {
    /// To be asked before a target is set.
    #[default]
    Unknown,
    /// The cloud does not say: the change is sent all the same.
    NotTold,
    Told,
    /// A Modify was refused in a way that could be the region's fault: ask again, to name the cause.
    Recheck,
}

/// The annotation's value that is being acted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub pending: Option<String>,
    /// The account's verification was asked for on its behalf.
    pub forwarded: bool,
}

impl Memory {
    /// `as_of`: when the facts of the stored status were true. After a longer absence than the interval the look is due at
    /// once, as it is for whatever was not in sync.
    pub fn new(facts: Facts, desired: &Desired, as_of: Timestamp, now: Timestamp) -> Self {
        let mut facts = facts.credible(desired.generation, now);
        let fresh = is_settled(&facts, desired.generation) && since(as_of, now) <= desired.interval;
        let known = facts.backups.as_ref().map(Known::from_summary).unwrap_or_default();
        let read = facts.backups.is_some() && since(as_of, now) <= desired.interval;
        let synced = if facts.synced_generation == Some(desired.generation) {
            Some(desired.change.clone())
        } else {
            facts.policy.as_ref().map(Change::from).filter(|_| facts.protected_since.is_some())
        };
        let difference = facts.policy.as_ref().and_then(|p| desired.change.difference(p));
        // A drift that was told before is not told again.
        let drifted = difference.is_some()
            && facts.synced_generation == Some(desired.generation)
            && facts.drift.last_difference == difference;
        let is_new = facts.observed_generation != Some(desired.generation);
        let is_same_spec = facts.observed_generation.is_some_and(|observed| desired.is_spec_of(observed));
        let synced_reason = facts.condition(types::SYNCED).filter(|_| facts.modify_refused.is_none());
        let look_refusal = synced_reason.map_or(Refusal::None, |synced| Refusal::of_reason(&synced.reason));
        facts.modify_refused = facts.modify_refused.filter(|_| is_same_spec);
        let mut memory = Self {
            generation: desired.generation,
            epoch: None,
            last_good: facts.policy.is_some().then_some(as_of),
            failed_since: false,
            looked: fresh,
            next_look: if fresh { next_turn(desired.phase, desired.interval, now) } else { now },
            failures: 0,
            look_failure: None,
            verdict: None,
            difference,
            correctable: None,
            uncorrected: false,
            confirming: None,
            not_taken: 0,
            regions: Regions::Unknown,
            unanswered: None,
            drifted,
            look_refusal,
            unproven: !is_same_spec && facts.policy.is_some(),
            refusal_unchecked: facts.modify_refused.is_some(),
            request: Request::default(),
            backups: BackupMemory {
                known,
                read: facts.backups.is_some().then_some(as_of),
                tried: facts.backups.is_some(),
                due: (!read).then_some(now),
                ..BackupMemory::default()
            },
            deletion: super::deletion::DeletionMemory::default(),
            synced,
            facts,
        };
        if is_new {
            memory.recall_for_another_spec(desired, now);
        }
        memory
    }

    /// What status tells is told of an earlier spec, which may have had another target. It has no room for all backups: the one that
    /// it calls the recovery point counts on where the cloud's policy is the one wanted, until the next reading.
    fn recall_for_another_spec(&mut self, desired: &Desired, now: Timestamp) {
        let told = self.facts.recovery_point.clone();
        self.retarget(desired);
        let is_same = desired.change.active && self.facts.policy.is_some() && self.difference.is_none();
        if is_same && self.facts.recovery_point.is_none() {
            self.facts.recovery_point = told;
        }
        self.backups.due = Some(now);
    }

    /// Whether nothing is under way that the next look would bring to an end.
    pub fn is_settled(&self) -> bool {
        self.correctable.is_none() && self.confirming.is_none() && self.regions != Regions::Recheck
    }

    /// Takes in what changed about the resource, its surroundings and the clock since the last time.
    pub fn notice(&mut self, desired: &Desired, epoch: Option<u64>, now: Timestamp) {
        self.never_ahead_of(desired, now);
        if self.generation != desired.generation {
            if !desired.is_spec_of(self.generation) {
                self.facts.modify_refused = None;
            }
            self.generation = desired.generation;
            self.looked = false;
            self.confirming = self.confirming.take().filter(|c| c.to == desired.change);
            self.retarget(desired);
            self.start_afresh(now);
            if self.backups.is_old(desired, now) {
                self.backups.due = Some(now);
            }
        }
        if let Some(epoch) = epoch
            && self.epoch.replace(epoch).is_some_and(|before| before != epoch)
        {
            self.account_changed(now);
        }
        let unhandled = desired.request.is_some() && desired.request != self.facts.handled_request;
        if unhandled && self.request.pending != desired.request {
            self.request = Request { pending: desired.request.clone(), forwarded: false };
            self.facts.modify_refused = None;
            self.start_afresh(now);
            self.backups.due = Some(now);
        }
        if !unhandled {
            self.request = Request::default();
        }
    }

    /// A clock that is set back leaves times that are still to come behind: looks would be put off until then, and what was
    /// seen long ago would count as seen now.
    fn never_ahead_of(&mut self, desired: &Desired, now: Timestamp) {
        let latest = after(now, desired.interval.max(LONGEST));
        self.next_look = self.next_look.min(latest);
        self.backups.due = self.backups.due.map(|due| due.min(latest));
        self.last_good = self.last_good.map(|good| good.min(now));
        self.backups.read = self.backups.read.map(|read| read.min(now));
        if let Some(waiting) = &mut self.confirming {
            waiting.accepted = waiting.accepted.min(now);
        }
        if self.correctable.is_some_and(|seen| seen > now) {
            self.correctable = None;
            self.next_look = now;
        }
    }

    /// Whether the policy's account has been proved to reach the instance.
    pub fn is_proven(&self) -> bool {
        self.facts.policy.is_some() && !self.unproven
    }

    /// After a start with a changed spec: no Describe has ended yet that could prove what an earlier process had proved.
    pub fn awaits_proof(&self) -> bool {
        self.unproven && !self.looked
    }

    /// What ranks the policy behind those that the cloud did not refuse.
    pub fn refusal(&self) -> Refusal {
        self.look_refusal.max(Refusal::known(self.facts.modify_refused.is_some()))
    }

    /// Takes in when account or Secret last changed, once after a start: a refusal from before that time counts no more.
    /// Later changes are noticed as such.
    pub fn check_refusal(&mut self, changed: Option<Timestamp>, now: Timestamp) {
        self.refusal_unchecked = false;
        let refused = self.facts.modify_refused.as_ref();
        if refused.is_some_and(|refused| changed.is_some_and(|changed| refused.time < changed)) {
            self.account_changed(now);
        }
    }

    /// Another account: what was seen through the old one proves nothing.
    pub fn forget_proof(&mut self) {
        self.unproven = false;
        self.facts.policy = None;
        self.difference = None;
        self.last_good = None;
    }

    /// Other credentials, or an account that lets calls through again: worth a look for what is not in sync, and a reading
    /// where the last one failed. The rest keeps its turns, or each rotation of a key would ask the cloud about everything.
    fn account_changed(&mut self, now: Timestamp) {
        self.facts.modify_refused = None;
        let in_sync =
            self.verdict.is_none() && self.look_failure.is_none() && is_settled(&self.facts, self.generation);
        if !in_sync {
            self.start_afresh(now);
        }
        if self.backups.unread || !self.backups.tried {
            self.backups.due = Some(now);
        }
    }

    fn start_afresh(&mut self, now: Timestamp) {
        self.next_look = now;
        self.failures = 0;
        self.look_failure = None;
        self.verdict = None;
        self.uncorrected = false;
        self.correctable = None;
        self.not_taken = 0;
        self.regions = Regions::Unknown;
        self.deletion.looked = false;
        self.backups.failures = 0;
    }

    /// The spec's target decides which copies count.
    fn retarget(&mut self, desired: &Desired) {
        self.drifted = false;
        self.backups.doubt = None;
        self.facts.recovery_point = self.backups.known.recovery_point(&desired.change);
        if self.synced.as_ref() != Some(&desired.change) {
            self.facts.protected_since = None;
        }
        self.difference = self.facts.policy.as_ref().and_then(|p| desired.change.difference(p));
    }

    /// The answer to a Describe. `dice`: random in 0..1.
    pub fn looked(
        &mut self,
        desired: &Desired,
        answer: Result<PolicyState, Failure>,
        now: Timestamp,
        dice: f64,
    ) {
        self.looked = true;
        match answer {
            Ok(state) => self.saw(desired, state, now),
            Err(failure) => {
                if matches!(failure.kind, Kind::PermissionDenied | Kind::InstanceNotFound) {
                    self.look_refusal = Refusal::Known;
                }
                self.failed_since = true;
                // What an earlier look showed is no ground for a change any more; or else it would ask for a look at once,
                // again and again, as soon as it is too old.
                self.correctable = None;
                self.pace(desired, &failure, now, dice);
                match failure.kind.class() {
                    Class::Passing | Class::Throttled => self.look_failure = Some(failure),
                    Class::NeedsPerson => {
                        self.look_failure = None;
                        self.uncorrected = false;
                        self.verdict = Some(Verdict::Failed(failure));
                    }
                }
            }
        }
    }

    fn saw(&mut self, desired: &Desired, state: PolicyState, now: Timestamp) {
        let difference = desired.change.difference(&state);
        let value = Change::from(&state);
        self.facts.policy = Some(state);
        self.last_good = Some(now);
        self.failed_since = false;
        // Looks that succeed between changes that fail must not bring the pace of these back to its beginning.
        if difference.is_none() || !self.uncorrected {
            self.failures = 0;
        }
        self.look_failure = None;
        (self.look_refusal, self.unproven) = (Refusal::None, false);
        let confirming = self.confirming.take();
        self.difference = difference;
        match (self.difference.clone(), confirming) {
            (None, _) => self.in_sync(desired, now),
            (Some(_), Some(mut waiting)) if waiting.from == value => {
                waiting.looks += 1;
                self.verdict = None;
                match self.confirmation_at(&waiting) {
                    Some(at) => {
                        self.next_look = at;
                        self.confirming = Some(waiting);
                    }
                    None => self.gave_up_confirming(desired, now),
                }
                return;
            }
            (Some(difference), Some(_)) => {
                // Neither the old value nor ours: drift. It counts as an attempt as well, so that a cloud that stores
                // something else than it was told is not told so without end.
                self.drift(difference, now);
                self.gave_up_confirming(desired, now);
                return;
            }
            (Some(difference), None) => self.out_of_sync(desired, difference, now),
        }
        self.next_look = next_turn(desired.phase, desired.interval, now);
    }

    fn in_sync(&mut self, desired: &Desired, now: Timestamp) {
        if let Some((from, to)) = self.unanswered.take() {
            self.modified(desired, from, to, None, now);
        }
        let ours = self.facts.modification.as_ref().is_some_and(|m| {
            m.cause == Cause::Drift && self.facts.drift.last_time.is_none_or(|seen| seen <= m.time)
        });
        if self.drifted && ours {
            let drift = &mut self.facts.drift;
            drift.corrections = drift.corrections.saturating_add(1);
            drift.recent.push(whole(now));
            if drift.recent.len() > 3 {
                drift.recent.remove(0);
            }
        }
        self.drifted = false;
        self.verdict = None;
        self.uncorrected = false;
        self.correctable = None;
        self.not_taken = 0;
        self.regions = Regions::Unknown;
        self.facts.synced_generation = Some(desired.generation);
        if !desired.change.active {
            self.facts.protected_since = None;
        } else if self.synced.as_ref() != Some(&desired.change) || self.facts.protected_since.is_none() {
            self.facts.protected_since = Some(whole(now));
        }
        self.synced = Some(desired.change.clone());
    }

    /// Notes a drift, once for as long as it stays the same.
    fn drift(&mut self, difference: String, now: Timestamp) {
        let new = !self.drifted || self.facts.drift.last_difference.as_ref() != Some(&difference);
        if new {
            self.drifted = true;
            self.facts.drift.last_time = Some(whole(now));
            self.facts.drift.last_difference = Some(difference);
        }
    }

    fn out_of_sync(&mut self, desired: &Desired, difference: String, now: Timestamp) {
        let was_synced = self.facts.synced_generation == Some(desired.generation);
        if was_synced && self.unanswered.is_none() {
            self.drift(difference, now);
        }
        self.unanswered = None;
        if !self.uncorrected {
            self.verdict = None;
        }
        self.correctable = Some(now);
    }

    /// When to look again after a failure.
    pub(super) fn pace(&mut self, desired: &Desired, failure: &Failure, now: Timestamp, dice: f64) {
        (self.next_look, self.failures) = after_failure(desired.cadence(), self.failures, failure, now, dice);
    }

    pub(super) fn persons_turn(&self, desired: &Desired, now: Timestamp) -> Timestamp {
        next_turn(desired.phase, desired.interval.min(PERSON_LONGEST), now)
    }

    /// The annotation's value was acted on.
    pub fn handled_request(&mut self) {
        if let Some(value) = self.request.pending.take() {
            self.facts.handled_request = Some(value);
        }
    }
}

/// Whether status says of this generation that it is in sync.
fn is_settled(facts: &Facts, generation: i64) -> bool {
    let settled = [Reason::InSync.as_str(), Reason::Observed.as_str()];
    facts.observed_generation == Some(generation)
        && facts.condition(types::SYNCED).is_some_and(|c| settled.contains(&c.reason.as_str()))
}
