//! Lifecycle of a policy against a fake cloud and a fake clock: calls and status over time.

mod converging;
mod failing;
mod glancing;
mod life;
mod ranking;
mod recovery;

use std::time::Duration;

use jiff::Timestamp;

use super::compact_state::{CompactState, InSyncState, compact};
use super::conflict::Refusal;
use super::memory::Memory;
use super::next::{NextAction, next};
use super::{
    AccountReadiness, CompetingPolicy, Desired, Effect, ReconcileEnv, after, conditions, events, since,
};
use crate::domain::condition::types;
use crate::domain::{Backup, Change, ConditionStatus, Facts, Failure, Kind, PolicyState, Reason};

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn failure(kind: Kind, code: &str) -> Failure {
    Failure::by_code(kind, "Act", code)
}

fn on(target: &str) -> Change {
    Change { active: true, cross_backup_region: Some(target.to_owned()) }
}

/// The cloud, its account, and one policy.
struct World {
    now: Timestamp,
    state: PolicyState,
    /// A sent change, and the time from which Describe shows it.
    pending: Option<(PolicyState, Option<Timestamp>)>,
    visible_after: Option<u64>,
    regions: Vec<String>,
    backups: Vec<Backup>,
    describe_fails: Option<Failure>,
    failing_looks: usize,
    modify_fails: Option<Failure>,
    backups_fail: Option<Failure>,
    env: ReconcileEnv,
    desired: Desired,
    memory: Memory,
    stored: Facts,
    calls: Vec<(&'static str, Timestamp)>,
    writes: usize,
    told: Vec<&'static str>,
    /// Time of the next shared listing.
    round: Timestamp,
    /// Compact state since the last reconcile, until another event arrives, and the interval in force at that time.
    laid: Option<(InSyncState, Duration)>,
    /// Response to the first describe of this reconcile.
    first_answer: Option<PolicyState>,
    /// Number of reconciles that the fast path could have served.
    glances: usize,
}

impl World {
    fn new(change: Change) -> Self {
        let desired = Desired {
            generation: 1,
            created: at(0),
            change,
            manages: true,
            suspended: false,
            disable_on_delete: false,
            deleted: false,
            interval: Duration::from_secs(600),
            objective: None,
            limit: 10,
            request: None,
            poll_offset: 7_000,
        };
        let env = ReconcileEnv {
            readiness: AccountReadiness::Open,
            paused_until: None,
            competitor: None,
            access_generation: Some(1),
        };
        Self {
            now: at(0),
            state: PolicyState::default(),
            pending: None,
            visible_after: Some(0),
            regions: vec!["cn-shanghai".to_owned(), "cn-guangzhou".to_owned()],
            backups: Vec::new(),
            describe_fails: None,
            failing_looks: 0,
            modify_fails: None,
            backups_fail: None,
            env,
            memory: Memory::new(Facts::default(), &desired, at(0), at(0)),
            desired,
            stored: Facts::default(),
            calls: Vec::new(),
            writes: 0,
            told: Vec::new(),
            round: at(7),
            laid: None,
            first_answer: None,
            glances: 0,
        }
    }

    /// Applies a shared listing.
    fn shared_reading(&mut self) {
        self.round = after(self.round, self.desired.interval);
        if self.env.readiness == AccountReadiness::Open && !self.desired.suspended {
            self.calls.push(("backups", self.now));
            let reading = self.reading();
            self.memory.apply_listing(&self.desired, reading, self.now, 1.0);
            self.laid = None;
        }
    }

    fn reading(&self) -> Result<Vec<Backup>, Failure> {
        match &self.backups_fail {
            Some(failure) => Err(failure.clone()),
            None => Ok(self.backups.clone()),
        }
    }

    /// Runs one reconcile and returns the next one's time. Asserts that the fast path, where it applies, has the same
    /// result.
    fn turn(&mut self) -> Option<Timestamp> {
        let (calls, writes, now) = (self.calls.len(), self.writes, self.now);
        let is_open = self.env.readiness == AccountReadiness::Open && self.env.competitor.is_none();
        let is_free = self.env.paused_until.is_none_or(|until| until <= now);
        let laid = self.laid.take().filter(|(_, interval)| *interval == self.desired.interval);
        let laid = laid.filter(|_| is_open && is_free && self.desired.request == self.stored.handled_request);
        let step = laid
            .as_ref()
            .and_then(|(l, _)| l.fast_path(&self.desired, self.env.access_generation, None, now));
        self.first_answer = None;
        let until = self.whole_turn();
        match (step, laid) {
            (Some(NextAction::Wait(expected)), _) => {
                assert_eq!((until, self.calls.len(), self.writes), (expected, calls, writes));
            }
            (Some(NextAction::Describe), Some((mut laid, _))) => {
                assert_eq!(self.calls[calls], ("describe", now));
                let is_told = |state: &PolicyState| laid.apply_if_unchanged(&self.desired, state, None, now);
                if self.first_answer.as_ref().is_some_and(is_told) {
                    self.glances += 1;
                    let expected = laid.until(&self.desired, None);
                    assert_eq!((until, self.calls.len(), self.writes), (expected, calls + 1, writes));
                    let held = self.laid.as_ref().map(|(held, _)| format!("{held:?}"));
                    assert_eq!(held, Some(format!("{laid:?}")));
                }
            }
            _ => {}
        }
        until
    }

    fn whole_turn(&mut self) -> Option<Timestamp> {
        for _ in 0..64 {
            self.memory.notice(&self.desired, self.env.access_generation, self.now);
            let now = self.now;
            match next(&self.desired, &self.env, &self.memory, now) {
                NextAction::Describe => {
                    self.calls.push(("describe", now));
                    let answer = self.describe();
                    self.first_answer = self.first_answer.take().or_else(|| answer.clone().ok());
                    self.memory.described(&self.desired, answer, now, 1.0);
                }
                NextAction::ListRegions => {
                    self.calls.push(("regions", now));
                    let regions = Ok(self.regions.clone());
                    self.memory.regions_listed(&self.desired, regions, now);
                }
                NextAction::Modify => {
                    self.calls.push(("modify", now));
                    self.modify();
                }
                NextAction::ListBackups => {
                    self.calls.push(("backups", now));
                    self.memory.listing_started(&self.desired, now);
                    let reading = self.reading();
                    self.memory.apply_listing(&self.desired, reading, now, 1.0);
                }
                NextAction::Wait(until) => {
                    if self.env.readiness == AccountReadiness::Open && self.memory.next_describe > now {
                        self.memory.handled_request();
                    }
                    self.report();
                    self.compact();
                    return until;
                }
            }
        }
        panic!("a turn does not end: {:?}", self.calls);
    }

    fn describe(&mut self) -> Result<PolicyState, Failure> {
        if self.failing_looks > 0 {
            self.failing_looks -= 1;
            return Err(failure(Kind::CloudUnavailable, "HTTP 503"));
        }
        if let Some(failure) = &self.describe_fails {
            return Err(failure.clone());
        }
        if let Some((state, Some(visible))) = &self.pending
            && *visible <= self.now
        {
            self.state = state.clone();
            self.pending = None;
        }
        Ok(self.state.clone())
    }

    fn modify(&mut self) {
        let change = self.desired.change.clone();
        if let Some(failure) = self.modify_fails.clone() {
            self.memory.not_accepted(
                &self.desired,
                &change,
                failure.clone(),
                Effect::of(&failure),
                self.now,
                1.0,
            );
            return;
        }
        let state = PolicyState {
            active: change.active,
            cross_backup_region: change.cross_backup_region.clone(),
            ttl_days: Some(7),
        };
        let visible = self.visible_after.map(|s| after(self.now, Duration::from_secs(s)));
        self.pending = Some((state, visible));
        self.memory.accepted(&self.desired, &change, Some("r-1".to_owned()), self.now);
    }

    fn report(&mut self) {
        let facts = conditions::report(&self.desired, &self.env, &self.memory, self.now);
        if facts.observed_generation.is_none() || facts == self.stored {
            return;
        }
        self.told.extend(events::between(&self.stored, &facts).iter().map(|h| h.reason));
        self.writes += 1;
        self.stored = facts.clone();
        self.memory.facts = facts;
    }

    /// Compacts and expands the state, as between real reconciles.
    fn compact(&mut self) {
        let lay = || compact(self.memory.clone(), &self.stored, &self.desired, self.now);
        self.laid = match lay().0 {
            CompactState::InSync(settled) => Some((settled, self.desired.interval)),
            _ => None,
        };
        let (resting, others) = lay();
        self.memory = resting.expand(self.stored.clone(), others);
    }

    /// Runs until `seconds`, with all requested requeues.
    fn live(&mut self, seconds: i64) {
        let end = at(seconds);
        loop {
            let until = self.turn();
            match until.into_iter().chain([self.round.max(self.now)]).min() {
                Some(until) if until <= end && until >= self.round => {
                    self.now = until;
                    self.shared_reading();
                }
                Some(until) if until <= end => {
                    assert!(until > self.now, "a turn asks to be woken in the past");
                    self.now = until;
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    fn respec(&mut self, change: impl FnOnce(&mut Desired)) {
        self.desired.generation += 1;
        change(&mut self.desired);
    }

    fn restart(&mut self, as_of: Timestamp) {
        self.memory = Memory::new(self.stored.clone(), &self.desired, as_of, self.now);
        self.laid = None;
    }

    fn reason(&self) -> &str {
        self.stored.condition(types::SYNCED).map_or("", |c| &c.reason)
    }

    fn has(&self, kind: &str) -> bool {
        self.stored.condition(kind).is_some()
    }

    fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|(name, _)| *name == call).count()
    }

    fn times(&self, call: &str) -> Vec<i64> {
        self.calls.iter().filter(|(n, _)| *n == call).map(|(_, t)| t.as_second() - START).collect()
    }

    fn rpo(&self) -> (ConditionStatus, &str) {
        self.stored
            .condition(types::RECOVERY_POINT_MET)
            .map_or((ConditionStatus::Unknown, "absent"), |c| (c.status, c.reason.as_str()))
    }

    fn drift_to(&mut self, active: bool) {
        self.state.active = active;
    }
}

fn backup(id: &str, seconds: i64) -> Backup {
    Backup {
        backup_point_id: id.to_owned(),
        status: "Available".to_owned(),
        target_region: Some("cn-shanghai".to_owned()),
        start_time: Some(at(seconds)),
        ..Backup::default()
    }
}
