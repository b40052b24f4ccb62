//! A policy's life against a made-up cloud, in a time that is only a number: what is called when, and what status says.

mod life;

use std::time::Duration;

use jiff::Timestamp;

use super::memory::Memory;
use super::next::{Do, next};
use super::{Desired, Gate, Rival, Surroundings, after, conditions, events, since};
use crate::domain::condition::types;
use crate::domain::{Backup, Change, Facts, Failure, Kind, PolicyState, Reason, Truth};

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn failure(kind: Kind, code: &str) -> Failure {
    Failure { kind, action: "Act", code: code.to_owned(), message: None, request_id: None, retry_after: None }
}

fn on(target: &str) -> Change {
    Change { active: true, cross_backup_region: Some(target.to_owned()) }
}

/// The cloud, its account, and one policy in it.
struct World {
    now: Timestamp,
    state: PolicyState,
    /// What a Modify set, and when Describe shows it.
    pending: Option<(PolicyState, Option<Timestamp>)>,
    visible_after: Option<u64>,
    regions: Vec<String>,
    backups: Vec<Backup>,
    describe_fails: Option<Failure>,
    failing_looks: usize,
    modify_fails: Option<Failure>,
    backups_fail: Option<Failure>,
    around: Surroundings,
    desired: Desired,
    memory: Memory,
    stored: Facts,
    calls: Vec<(&'static str, Timestamp)>,
    writes: usize,
    told: Vec<&'static str>,
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
            interval: Duration::from_secs(600),
            objective: None,
            limit: 10,
            request: None,
            phase: 7_000,
        };
        let around = Surroundings { gate: Gate::Open, paused_until: None, rival: None, epoch: Some(1) };
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
            around,
            memory: Memory::new(Facts::default(), &desired, at(0), at(0)),
            desired,
            stored: Facts::default(),
            calls: Vec::new(),
            writes: 0,
            told: Vec::new(),
        }
    }

    /// One reconcile; the result says when the next one is due.
    fn turn(&mut self) -> Option<Timestamp> {
        for _ in 0..64 {
            self.memory.notice(&self.desired, self.around.epoch, self.now);
            let now = self.now;
            match next(&self.desired, &self.around, &self.memory, now) {
                Do::Look => {
                    self.calls.push(("describe", now));
                    let answer = self.describe();
                    self.memory.looked(&self.desired, answer, now, 1.0);
                }
                Do::AskRegions => {
                    self.calls.push(("regions", now));
                    let regions = Ok(self.regions.clone());
                    self.memory.told_regions(&self.desired, regions, now);
                }
                Do::Modify => {
                    self.calls.push(("modify", now));
                    self.modify();
                }
                Do::ReadBackups => {
                    self.calls.push(("backups", now));
                    self.memory.begin_reading(&self.desired, now);
                    let reading = match &self.backups_fail {
                        Some(failure) => Err(failure.clone()),
                        None => Ok(self.backups.clone()),
                    };
                    self.memory.read_backups(&self.desired, reading, now, 1.0);
                }
                Do::Wait(until) => {
                    if self.around.gate == Gate::Open && self.memory.next_look > now {
                        self.memory.handled_request();
                    }
                    self.report();
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
            self.memory.not_accepted(&self.desired, &change, failure, self.now, 1.0);
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
        let facts = conditions::report(&self.desired, &self.around, &self.memory, self.now);
        if facts.observed_generation.is_none() || facts == self.stored {
            return;
        }
        self.told.extend(events::between(&self.stored, &facts).iter().map(|h| h.reason));
        self.writes += 1;
        self.stored = facts.clone();
        self.memory.facts = facts;
    }

    /// Lives until then, waking whenever a turn asked for it.
    fn live(&mut self, seconds: i64) {
        let end = at(seconds);
        loop {
            let until = self.turn();
            match until {
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

    fn rpo(&self) -> (Truth, &str) {
        self.stored
            .condition(types::RECOVERY_POINT_MET)
            .map_or((Truth::Unknown, "absent"), |c| (c.status, c.reason.as_str()))
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

#[test]
fn a_new_policy_converges_in_one_turn_and_one_write() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    let names: Vec<_> = w.calls.iter().map(|(n, _)| *n).collect();
    assert_eq!(names, ["describe", "regions", "modify", "describe", "backups"]);
    assert_eq!((w.reason(), w.writes), ("InSync", 1));
    assert_eq!(w.told, ["PolicyModified"]);
    assert_eq!(w.stored.protected_since, Some(at(0)));
    assert_eq!(w.stored.synced_generation, Some(1));
    let ready = w.stored.condition(types::READY).unwrap();
    assert_eq!((ready.status, ready.observed_generation), (Truth::True, 1));
}

#[test]
fn at_rest_nothing_is_written_nor_modified_also_when_a_look_fails_now_and_then() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(600);
    let modifies = w.count("modify");
    for round in 1..=20 {
        w.failing_looks = usize::from(round % 10 == 0);
        w.live(600 + round * 600);
    }
    assert_eq!((w.writes, w.count("modify")), (1, modifies));
}

#[test]
fn drift_is_corrected_and_told_and_does_not_move_protected_since() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    w.drift_to(false);
    w.live(700);
    assert_eq!(w.reason(), "InSync");
    assert_eq!(w.stored.drift.corrections, 1);
    assert_eq!(w.stored.drift.last_difference.as_deref(), Some("active: desired true, found false"));
    assert_eq!(w.stored.protected_since, Some(at(0)));
    assert_eq!(w.told, ["PolicyModified", "DriftDetected", "PolicyModified", "DriftCorrected"]);
}

#[test]
fn three_corrections_in_an_hour_are_contested_until_the_hour_is_over() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    for round in 1..=3 {
        w.drift_to(false);
        w.live(round * 700);
    }
    assert!(w.has(types::CONTESTED) && w.reason() == "InSync");
    assert!(w.told.contains(&"Contested"));
    w.live(3 * 3600);
    assert!(!w.has(types::CONTESTED));
}

#[test]
fn observe_reports_drift_and_never_modifies() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.manages = false;
    w.live(3000);
    assert_eq!((w.reason(), w.count("modify"), w.writes), ("DriftDetected", 0, 1));
    assert!(w.has(types::STALLED));
    assert_eq!(
        w.stored.condition(types::READY).unwrap().message,
        "active: desired true, found false; crossBackupRegion: desired cn-shanghai, found none"
    );
    w.state =
        PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: None };
    w.live(4000);
    assert_eq!(w.reason(), "Observed");
}

#[test]
fn suspended_calls_nothing_and_writes_once() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.suspended = true;
    w.live(5000);
    assert_eq!((w.reason(), w.calls.len(), w.writes), ("Suspended", 0, 1));
    assert!(!w.has(types::RECONCILING) && !w.has(types::STALLED));
}

#[test]
fn a_late_change_is_modifying_until_it_is_visible() {
    let mut w = World::new(on("cn-shanghai"));
    w.visible_after = Some(20);
    w.turn();
    assert_eq!(w.reason(), "Modifying");
    assert!(w.has(types::RECONCILING));
    w.live(40);
    assert_eq!((w.reason(), w.count("modify")), ("InSync", 1));
    assert_eq!(w.times("describe"), [0, 0, 1, 2, 4, 8, 16, 30]);
}

#[test]
fn a_change_that_never_shows_is_stalled_after_three_attempts_then_tried_once_an_interval() {
    let mut w = World::new(on("cn-shanghai"));
    w.visible_after = None;
    w.live(240);
    assert_eq!((w.reason(), w.count("modify")), ("Modifying", 3));
    assert!(w.has(types::STALLED) && !w.has(types::RECONCILING));
    assert!(w.told.contains(&"ModifyNotVisible"));
    let writes = w.writes;
    w.calls.clear();
    w.live(240 + 3 * 600);
    assert_eq!((w.count("modify"), w.count("describe")), (3, 6));
    assert_eq!(w.writes, writes + 3, "each attempt is a lastModification of its own");
}

#[test]
fn a_third_value_is_drift_and_is_not_fought_without_end() {
    let mut w = World::new(on("cn-shanghai"));
    w.visible_after = Some(0);
    let mut turns = 0;
    // A cloud that stores another region than it was told.
    while turns < 50 {
        w.turn();
        w.state =
            PolicyState { active: true, cross_backup_region: Some("cn-other".to_owned()), ttl_days: None };
        if let Some((state, _)) = &mut w.pending {
            state.cross_backup_region = Some(format!("cn-other-{turns}"));
        }
        turns += 1;
        w.now = after(w.now, Duration::from_secs(1));
    }
    assert!(w.count("modify") <= 4, "{} changes in 50 s", w.count("modify"));
}

#[test]
fn a_lost_answer_is_found_by_the_next_look_and_recorded() {
    let mut w = World::new(on("cn-shanghai"));
    w.modify_fails = Some(failure(Kind::CloudUnavailable, "connection reset"));
    w.turn();
    assert_eq!(w.reason(), "CloudUnavailable");
    assert!(w.stored.modification.is_none());
    w.state =
        PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: None };
    w.live(60);
    assert_eq!((w.reason(), w.count("modify")), ("InSync", 1));
    assert_eq!(w.stored.modification.as_ref().unwrap().request_id, None);
}

#[test]
fn an_unavailable_target_is_named_with_those_that_are_and_nothing_is_modified() {
    let mut w = World::new(on("cn-nowhere"));
    w.turn();
    assert_eq!((w.reason(), w.count("modify")), ("RegionNotAvailable", 0));
    assert_eq!(
        w.stored.condition(types::READY).unwrap().message,
        "cn-nowhere is not available as target of this instance; available: cn-guangzhou, cn-shanghai"
    );
    w.respec(|d| d.change = on("cn-guangzhou"));
    w.turn();
    assert_eq!(w.reason(), "InSync");
}

#[test]
fn a_refused_region_is_asked_for_again_before_the_blame() {
    let mut w = World::new(on("cn-shanghai"));
    w.modify_fails = Some(failure(Kind::InvalidRequest, "InvalidRegion"));
    w.turn();
    assert_eq!((w.reason(), w.count("regions")), ("InvalidRequest", 2));
    w.regions.clear();
    w.memory.regions = super::memory::Regions::NotTold;
    w.live(1300);
    assert_eq!(w.reason(), "RegionNotAvailable");
}

#[test]
fn a_missing_instance_is_waited_for_ten_minutes_then_stalled_by_the_clock() {
    let mut w = World::new(on("cn-shanghai"));
    w.describe_fails = Some(failure(Kind::InstanceNotFound, "InstanceNotExist"));
    w.live(590);
    assert_eq!(w.reason(), "InstanceNotFound");
    assert!(w.has(types::RECONCILING));
    let gaps: Vec<_> = w.times("describe").windows(2).map(|p| p[1] - p[0]).collect();
    assert!(gaps.iter().all(|gap| *gap <= 60), "{gaps:?}");
    w.live(601);
    assert!(w.has(types::STALLED));
    let looks = w.count("describe");
    w.live(601 + 6000);
    assert!((9..=12).contains(&(w.count("describe") - looks)), "then once an interval");
}

#[test]
fn passing_failures_are_told_only_when_the_last_good_look_is_old() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.live(1190);
    assert_eq!((w.reason(), w.writes), ("InSync", 1));
    w.live(1250);
    assert_eq!((w.reason(), w.writes), ("CloudUnavailable", 2));
    let ready = w.stored.condition(types::READY).unwrap();
    assert_eq!((ready.status, ready.message.as_str()), (Truth::Unknown, "Act: timeout"));
    w.live(9000);
    assert_eq!(w.writes, 2, "nothing more is written while it lasts");
    w.respec(|d| d.limit = 5);
    w.turn();
    assert_eq!(w.writes, 3, "a new generation is told at once");
}

#[test]
fn needs_a_person_is_told_at_once_and_looked_at_once_an_interval() {
    for (kind, reason) in [
        (Kind::PermissionDenied, "PermissionDenied"),
        (Kind::InvalidRequest, "InvalidRequest"),
        (Kind::NotSupported, "NotSupported"),
    ] {
        let mut w = World::new(on("cn-shanghai"));
        w.turn();
        w.describe_fails = Some(failure(kind, "Code"));
        w.live(6100);
        assert_eq!((w.reason(), w.writes), (reason, 2));
        assert!(w.count("describe") <= 13);
        assert!(w.has(types::STALLED));
    }
}

#[test]
fn a_modify_refused_needs_a_person_and_ranks_behind() {
    let mut w = World::new(on("cn-shanghai"));
    w.modify_fails = Some(failure(Kind::PermissionDenied, "AccessDenied"));
    w.live(100);
    assert_eq!(w.reason(), "PermissionDenied");
    assert!(w.memory.refused.is_some());
    w.modify_fails = None;
    w.around.epoch = Some(2);
    w.turn();
    assert_eq!(w.reason(), "InSync");
    assert!(w.memory.refused.is_none());
}

#[test]
fn a_difference_grown_old_and_a_failing_look_are_no_reason_to_look_without_end() {
    let mut w = World::new(on("cn-shanghai"));
    w.around.rival = Some(Rival { name: None });
    w.live(5);
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.live(60);
    w.around.rival = None;
    w.calls.clear();
    w.live(61);
    assert!(w.count("describe") <= 1, "{:?}", w.calls);
}

#[test]
fn a_clock_set_back_puts_no_look_off() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(700);
    w.now = at(-86_400);
    w.drift_to(false);
    w.live(-86_400 + 600);
    assert_eq!((w.reason(), w.stored.drift.corrections), ("InSync", 1));
    // What was seen before the step is not seen now.
    w.around.paused_until = Some(at(-86_400 + 2000));
    w.drift_to(false);
    w.live(-86_400 + 1300);
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.live(-86_400 + 2900);
    assert_eq!(w.reason(), "CloudUnavailable");
}

#[test]
fn an_instance_that_is_not_ready_is_retried() {
    let mut w = World::new(on("cn-shanghai"));
    w.modify_fails = Some(failure(Kind::InstanceNotReady, "InstanceStatusNotMatch"));
    w.live(20);
    assert_eq!(w.reason(), "InstanceNotReady");
    assert!(w.has(types::RECONCILING));
    w.modify_fails = None;
    w.live(400);
    assert_eq!(w.reason(), "InSync");
}

#[test]
fn a_change_that_keeps_failing_is_tried_less_and_less() {
    for kind in [Kind::InstanceNotReady, Kind::CloudUnavailable, Kind::Throttled] {
        let mut w = World::new(on("cn-shanghai"));
        w.modify_fails = Some(failure(kind, "Code"));
        w.live(3600);
        assert!((10..=30).contains(&w.count("modify")), "{kind:?}: {} in an hour", w.count("modify"));
        w.modify_fails = None;
        w.live(4000);
        assert_eq!(w.reason(), "InSync");
        w.drift_to(false);
        w.modify_fails = Some(failure(kind, "Code"));
        w.live(4300);
        let times = w.times("modify");
        let first = times.iter().position(|t| *t > 4000).unwrap();
        assert!(times[first + 1] - times[first] <= 2, "the pace begins anew: {times:?}");
    }
}

#[test]
fn the_loser_of_a_conflict_looks_and_never_modifies() {
    let mut w = World::new(on("cn-shanghai"));
    w.around.rival = Some(Rival { name: Some("elder".to_owned()) });
    w.live(2000);
    assert_eq!((w.reason(), w.count("modify")), ("Conflict", 0));
    assert!(w.stored.condition(types::READY).unwrap().message.contains("elder"));
    assert!(w.count("describe") > 2);
    w.around.rival = None;
    w.turn();
    w.live(2700);
    assert_eq!(w.reason(), "InSync");
}

#[test]
fn closed_gates_call_nothing_and_say_why() {
    for (reason, status, kind) in [
        (Reason::AccountNotFound, Truth::False, Some(types::RECONCILING)),
        (Reason::AccountNotReady, Truth::False, Some(types::RECONCILING)),
        (Reason::CredentialsMissing, Truth::False, Some(types::RECONCILING)),
        (Reason::CredentialsRejected, Truth::False, Some(types::STALLED)),
        (Reason::EndpointNotAllowed, Truth::False, Some(types::STALLED)),
        (Reason::Suspended, Truth::Unknown, None),
    ] {
        let mut w = World::new(on("cn-shanghai"));
        w.around.gate = Gate::Closed(reason, "why".to_owned());
        w.live(3000);
        assert_eq!((w.reason(), w.calls.len(), w.writes), (reason.as_str(), 0, 1));
        assert_eq!(w.stored.condition(types::READY).unwrap().status, status);
        for other in [types::RECONCILING, types::STALLED] {
            assert_eq!(w.has(other), kind == Some(other), "{reason:?} {other}");
        }
    }
}

#[test]
fn the_objective_is_met_read_again_before_the_deadline_and_exceeded_by_the_clock() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.objective = Some(Duration::from_secs(900));
    w.backups = vec![backup("b-1", -60)];
    w.live(800);
    assert_eq!(w.rpo(), (Truth::True, "WithinObjective"));
    w.live(835);
    assert_eq!(w.times("backups").last(), Some(&810), "30 s before the deadline");
    w.live(841);
    assert_eq!(w.rpo(), (Truth::False, "ObjectiveExceeded"));
    assert!(w.told.contains(&"RecoveryPointExceeded"));
    assert_eq!(w.reason(), "InSync", "it is no part of Ready");
    w.backups.push(backup("b-2", 850));
    w.live(1300);
    assert_eq!(w.rpo(), (Truth::True, "WithinObjective"));
    assert!(w.told.contains(&"RecoveryPointRestored"));
}

#[test]
fn without_a_backup_the_objective_is_unknown_and_then_missed() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.objective = Some(Duration::from_secs(3600));
    w.live(3500);
    assert_eq!(w.rpo(), (Truth::Unknown, "NoBackupYet"));
    w.live(3601);
    assert_eq!(w.rpo(), (Truth::False, "NoBackupYet"));
}

#[test]
fn backups_that_cannot_be_read_make_it_unknown_after_two_intervals() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.objective = Some(Duration::from_secs(360_000));
    w.backups = vec![backup("b-1", -60)];
    w.turn();
    w.backups_fail = Some(failure(Kind::PermissionDenied, "AccessDenied"));
    w.live(1190);
    assert_eq!(w.rpo(), (Truth::True, "WithinObjective"));
    w.live(1210);
    assert_eq!(w.rpo(), (Truth::Unknown, "BackupsUnknown"));
    assert_eq!(w.reason(), "InSync", "not permitted to list backups is no failure of the policy");
    assert!(w.stored.recovery_point.is_some(), "what was observed is kept");
}

#[test]
fn a_recovery_point_goes_backwards_only_after_a_second_reading() {
    let mut w = World::new(on("cn-shanghai"));
    w.backups = vec![backup("b-1", -120), backup("b-2", -60)];
    w.turn();
    w.backups.pop();
    w.live(300);
    assert_eq!(w.times("backups"), [0, 7, 7]);
    assert_eq!(w.stored.recovery_point.as_ref().unwrap().backup_point_id, "b-1");
    assert_eq!(w.stored.backups.as_ref().unwrap().total, 1);
}

#[test]
fn another_target_counts_other_copies_at_once() {
    let mut w = World::new(on("cn-shanghai"));
    w.backups = vec![backup("b-1", -60)];
    w.turn();
    assert!(w.stored.recovery_point.is_some());
    w.now = at(50);
    w.respec(|d| d.change = on("cn-guangzhou"));
    w.turn();
    assert_eq!((w.reason(), w.stored.recovery_point.clone()), ("InSync", None));
    assert_eq!(w.stored.protected_since, Some(at(50)));
    w.respec(|d| d.change = Change { active: false, cross_backup_region: None });
    w.turn();
    assert_eq!((w.reason(), w.stored.protected_since), ("InSync", None));
    w.respec(|d| d.change = on("cn-shanghai"));
    w.turn();
    assert!(w.stored.recovery_point.is_some(), "older copies count again");
}

#[test]
fn a_restart_looks_at_its_own_phase_or_at_once_after_a_longer_absence() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(700);
    w.calls.clear();
    w.restart(at(695));
    w.turn();
    assert!(w.calls.is_empty());
    w.now = at(2000);
    w.restart(at(700));
    w.turn();
    assert_eq!(w.count("describe"), 1);
    assert_eq!((w.count("modify"), w.writes), (0, 1));
}

#[test]
fn a_request_is_looked_at_now_and_told_also_when_the_look_fails() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(50);
    w.calls.clear();
    w.desired.request = Some("one".to_owned());
    w.turn();
    assert_eq!((w.count("describe"), w.count("backups")), (1, 1));
    assert_eq!(w.stored.handled_request.as_deref(), Some("one"));
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.desired.request = Some("two".to_owned());
    w.turn();
    assert_eq!(w.stored.handled_request.as_deref(), Some("two"));
    assert_eq!(w.reason(), "InSync");
    w.around.paused_until = Some(at(200));
    w.desired.request = Some("three".to_owned());
    w.calls.clear();
    assert_eq!(w.turn().map(|t| since(at(50), t)), Some(Duration::from_secs(150)), "not past Retry-After");
    assert!(w.calls.is_empty());
}

#[test]
fn a_drift_that_was_told_before_a_restart_is_not_told_again() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.manages = false;
    w.state =
        PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: None };
    w.turn();
    w.drift_to(false);
    w.live(700);
    let writes = w.writes;
    assert_eq!(w.told, ["DriftDetected"]);
    w.restart(at(690));
    w.live(2000);
    assert_eq!((w.told.len(), w.writes), (1, writes));
}
