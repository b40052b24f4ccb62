//! Properties of a policy's lifecycle under arbitrary events of cloud, account, spec, process and clock.

use proptest::prelude::*;

use super::*;

/// Maximum age of the describe before a Modify (plan::memory::MAX_DESCRIBE_AGE).
const FRESH: u64 = 30;

#[derive(Clone, Debug)]
enum Happens {
    Drift(bool, Option<&'static str>),
    LookFails(Option<Kind>),
    ModifyFails(Option<(Kind, &'static str, bool)>),
    RegionsFail(Option<Kind>),
    RegionsAre(Vec<&'static str>),
    BackupsFail(Option<Kind>),
    /// Seconds until a Modify is visible; `None`: never.
    Visible(Option<u64>),
    Respec(Change),
    Manages(bool),
    Suspended(bool),
    Objective(Option<u64>),
    Restart(u64),
    ClockStep(i64),
    CompetingPolicy(bool),
    AccountReadiness(Option<Reason>),
    Pending,
    Paused(u64),
    Renewed,
    Requested,
    Backup(i64),
    BackupsGone,
    Passes(u64),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::CredentialsRejected,
        Kind::PermissionDenied,
        Kind::Throttled,
        Kind::InstanceNotFound,
        Kind::InstanceNotReady,
        Kind::NotSupported,
        Kind::InvalidRequest,
        Kind::CloudUnavailable,
        Kind::EndpointNotAllowed,
    ])
}

fn target() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["cn-shanghai", "cn-guangzhou", "cn-nowhere"])
}

fn happens() -> impl Strategy<Value = Happens> {
    let code = prop::sample::select(vec!["Code", "InvalidRegion", "ParamError"]);
    let closed = prop::sample::select(vec![
        Reason::AccountNotFound,
        Reason::AccountNotReady,
        Reason::CredentialsMissing,
        Reason::CredentialsRejected,
        Reason::EndpointNotAllowed,
        Reason::Suspended,
    ]);
    prop_oneof![
        3 => (any::<bool>(), prop::option::of(target())).prop_map(|(on, to)| Happens::Drift(on, to)),
        2 => prop::option::of(kind()).prop_map(Happens::LookFails),
        2 => prop::option::of((kind(), code, any::<bool>())).prop_map(Happens::ModifyFails),
        1 => prop::option::of(kind()).prop_map(Happens::RegionsFail),
        1 => prop::collection::vec(target(), 0..3).prop_map(Happens::RegionsAre),
        1 => prop::option::of(kind()).prop_map(Happens::BackupsFail),
        2 => prop::option::of(0_u64..200).prop_map(Happens::Visible),
        2 => target().prop_map(|to| Happens::Respec(on(to))),
        1 => Just(Happens::Respec(Change { active: false, cross_backup_region: None })),
        1 => any::<bool>().prop_map(Happens::Manages),
        1 => any::<bool>().prop_map(Happens::Suspended),
        1 => prop::option::of(60_u64..7200).prop_map(Happens::Objective),
        1 => (0_u64..5000).prop_map(Happens::Restart),
        1 => (-20_000_i64..20_000).prop_map(Happens::ClockStep),
        1 => any::<bool>().prop_map(Happens::CompetingPolicy),
        1 => prop::option::of(closed).prop_map(Happens::AccountReadiness),
        1 => Just(Happens::Pending),
        1 => (0_u64..300).prop_map(Happens::Paused),
        1 => Just(Happens::Renewed),
        1 => Just(Happens::Requested),
        1 => (-4000_i64..4000).prop_map(Happens::Backup),
        1 => Just(Happens::BackupsGone),
        8 => (0_u64..1500).prop_map(Happens::Passes),
    ]
}

/// A world, with an independent monotonic clock.
struct Life {
    w: World,
    lived: u64,
    /// Time and generation of a Describe that showed a difference and that no Modify has followed.
    seen: Option<(u64, i64)>,
    /// A sent change, and the time from which it is visible.
    underway: Option<(PolicyState, Option<u64>)>,
    modify_fails: Option<(Failure, bool)>,
    regions_fail: Option<Failure>,
    steps: u32,
}

impl Life {
    fn new(interval: u64) -> Self {
        let mut w = World::new(on("cn-shanghai"));
        w.desired.interval = Duration::from_secs(interval);
        Self { w, lived: 0, seen: None, underway: None, modify_fails: None, regions_fail: None, steps: 0 }
    }

    fn jitter(&mut self) -> f64 {
        self.steps = self.steps.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.steps) / f64::from(u32::MAX)
    }

    fn happen(&mut self, what: Happens) {
        let w = &mut self.w;
        let fail = |kind| failure(kind, "Code");
        match what {
            Happens::Drift(active, to) => {
                self.underway = None;
                w.state =
                    PolicyState { active, cross_backup_region: to.map(str::to_owned), ttl_days: Some(7) };
            }
            Happens::LookFails(kind) => w.describe_fails = kind.map(fail),
            Happens::ModifyFails(how) => {
                self.modify_fails = how.map(|(kind, code, effect)| (failure(kind, code), effect));
            }
            Happens::RegionsFail(kind) => self.regions_fail = kind.map(fail),
            Happens::RegionsAre(all) => w.regions = all.into_iter().map(str::to_owned).collect(),
            Happens::BackupsFail(kind) => w.backups_fail = kind.map(fail),
            Happens::Visible(after) => w.visible_after = after,
            Happens::Respec(change) => w.respec(|d| d.change = change),
            Happens::Manages(manages) => w.respec(|d| d.manages = manages),
            Happens::Suspended(suspended) => w.respec(|d| d.suspended = suspended),
            Happens::Objective(seconds) => w.respec(|d| d.objective = seconds.map(Duration::from_secs)),
            Happens::Restart(away) => {
                let as_of = w.now;
                w.now = after(w.now, Duration::from_secs(away));
                self.lived += away;
                self.seen = None;
                w.restart(as_of);
            }
            Happens::ClockStep(seconds) => w.now += jiff::SignedDuration::from_secs(seconds),
            Happens::CompetingPolicy(there) => {
                w.env.competitor = there.then_some(CompetingPolicy { name: None })
            }
            Happens::AccountReadiness(reason) => {
                w.env.readiness =
                    reason.map_or(AccountReadiness::Open, |r| AccountReadiness::Closed(r, "why".to_owned()));
                w.env.access_generation = w.env.access_generation.map(|e| e + 1);
            }
            Happens::Pending => {
                w.env.readiness = AccountReadiness::Pending(after(w.now, Duration::from_secs(10)))
            }
            Happens::Paused(seconds) => {
                w.env.paused_until = Some(after(w.now, Duration::from_secs(seconds)));
            }
            Happens::Renewed => w.env.access_generation = w.env.access_generation.map(|e| e + 1),
            Happens::Requested => w.desired.request = Some(format!("at {}", self.lived)),
            Happens::Backup(age) => {
                let began = w.now.as_second() - START - age;
                w.backups.push(backup(&format!("b-{}", self.lived), began));
            }
            Happens::BackupsGone => w.backups.clear(),
            Happens::Passes(seconds) => self.live(seconds),
        }
        self.turn();
    }

    /// Like [`World::turn`], and checks each step.
    fn turn(&mut self) -> Option<Timestamp> {
        for _ in 0..64 {
            let w = &mut self.w;
            let now = w.now;
            if matches!(w.env.readiness, AccountReadiness::Pending(until) if until <= now) {
                w.env.readiness =
                    AccountReadiness::Closed(Reason::AccountNotReady, "not verified yet".to_owned());
            }
            w.memory.notice(&w.desired, w.env.access_generation, now);
            let step = next(&w.desired, &w.env, &w.memory, now);
            if !matches!(step, NextAction::Wait(_)) {
                assert!(w.env.readiness == AccountReadiness::Open && !w.desired.suspended, "{step:?}");
                assert!(w.env.paused_until.is_none_or(|until| until <= now), "{step:?} past Retry-After");
            }
            match step {
                NextAction::Describe => self.look(),
                NextAction::ListRegions => {
                    w.calls.push(("regions", now));
                    let answer = self.regions_fail.clone().map_or(Ok(w.regions.clone()), Err);
                    w.memory.regions_listed(&w.desired, answer, now);
                }
                NextAction::Modify => self.modify(),
                NextAction::ListBackups => {
                    w.calls.push(("backups", now));
                    w.memory.listing_started(&w.desired, now);
                    let reading = w.backups_fail.clone().map_or(Ok(w.backups.clone()), Err);
                    let jitter = self.jitter();
                    self.w.memory.apply_listing(&self.w.desired, reading, now, jitter);
                }
                NextAction::Wait(until) => {
                    if w.env.readiness == AccountReadiness::Open && w.memory.next_describe > now {
                        w.memory.handled_request();
                    }
                    w.report();
                    self.check_status();
                    return until;
                }
            }
        }
        panic!("a turn does not end: {:?}", self.w.calls.iter().rev().take(64).collect::<Vec<_>>());
    }

    fn look(&mut self) {
        if let Some((state, Some(visible))) = &self.underway
            && *visible <= self.lived
        {
            self.w.state = state.clone();
            self.underway = None;
        }
        let jitter = self.jitter();
        let w = &mut self.w;
        w.calls.push(("describe", w.now));
        let answer = w.describe_fails.clone().map_or(Ok(w.state.clone()), Err);
        if let Ok(state) = &answer {
            let differs = w.desired.change.difference(state).is_some();
            self.seen = differs.then_some((self.lived, w.desired.generation));
        }
        w.memory.described(&w.desired, answer, w.now, jitter);
    }

    fn modify(&mut self) {
        let jitter = self.jitter();
        let w = &mut self.w;
        w.calls.push(("modify", w.now));
        assert!(w.desired.manages && w.env.competitor.is_none(), "who does not manage does not modify");
        let (at, generation) =
            self.seen.take().expect("no Describe showed a difference since the last Modify");
        assert_eq!(generation, w.desired.generation, "the difference was one from another spec");
        assert!(self.lived - at <= FRESH, "the difference was seen {} s ago", self.lived - at);
        let change = w.desired.change.clone();
        let failed = self.modify_fails.clone();
        if failed.as_ref().is_none_or(|(_, takes_effect)| *takes_effect) {
            let state = PolicyState {
                active: change.active,
                cross_backup_region: change.cross_backup_region.clone(),
                ttl_days: Some(7),
            };
            self.underway = Some((state, w.visible_after.map(|s| self.lived + s)));
        }
        match failed {
            Some((failure, _)) => w.memory.not_accepted(
                &w.desired,
                &change,
                failure.clone(),
                Effect::of(&failure),
                w.now,
                jitter,
            ),
            None => w.memory.accepted(&w.desired, &change, None, w.now),
        }
    }

    fn check_status(&self) {
        let stored = &self.w.stored;
        assert!(!(self.w.has(types::RECONCILING) && self.w.has(types::STALLED)), "{stored:#?}");
        if let (Some(ready), Some(synced)) = (stored.condition(types::READY), stored.condition(types::SYNCED))
        {
            assert_eq!(
                (ready.status, &ready.reason, &ready.message),
                (synced.status, &synced.reason, &synced.message)
            );
            let settled = ready.status == ConditionStatus::True || ready.reason == "Suspended";
            let waits = self.w.has(types::RECONCILING) || self.w.has(types::STALLED);
            assert_eq!(waits, !settled, "{stored:#?}");
        }
        assert!(stored.observed_generation.is_none_or(|g| g <= self.w.desired.generation));
    }

    /// Advances time and runs due reconciles. Like timers, it waits for durations, independent of the wall clock.
    fn live(&mut self, seconds: u64) {
        let end = self.lived + seconds;
        let mut turns = 0;
        loop {
            let until = self.turn();
            turns += 1;
            assert!(turns <= seconds + 10, "it never rests");
            let now = self.w.now;
            let wait = until.map_or(u64::MAX, |until| {
                assert!(until > now, "it asks to be woken in the past");
                since(now, until).as_secs().max(1)
            });
            let step = wait.min(end - self.lived);
            self.w.now = after(now, Duration::from_secs(step));
            self.lived += step;
            if self.lived >= end {
                return;
            }
        }
    }

    fn is_in_sync(&self) -> bool {
        let told = self.w.reason() == "InSync"
            && self.w.stored.observed_generation == Some(self.w.desired.generation);
        told && self.w.desired.change.is_met_by(&self.w.state)
    }

    /// Ends all faults, with only those notifications that a real operator would get.
    fn heal(&mut self) {
        let w = &mut self.w;
        w.describe_fails = None;
        w.backups_fail = None;
        w.visible_after = Some(0);
        w.regions = ["cn-shanghai", "cn-guangzhou", "cn-nowhere"].map(str::to_owned).to_vec();
        w.env.competitor = None;
        w.env.paused_until = None;
        if w.env.readiness != AccountReadiness::Open {
            w.env.readiness = AccountReadiness::Open;
            w.env.access_generation = w.env.access_generation.map(|e| e + 1);
        }
        if !w.desired.manages || w.desired.suspended {
            w.respec(|d| (d.manages, d.suspended) = (true, false));
        }
        self.modify_fails = None;
        self.regions_fail = None;
        if let Some((_, visible)) = &mut self.underway {
            *visible = visible.map(|at| at.min(self.lived));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_life_is_safe_and_ends_well(
        interval in prop::sample::select(vec![2_u64, 60, 600, 7200]),
        all in prop::collection::vec(happens(), 0..40),
    ) {
        let mut life = Life::new(interval);
        for what in all {
            life.happen(what);
        }
        life.heal();
        // At most one poll interval for a failure that needs a person, or one backoff, and one change that first counts
        // as not taken.
        let bound = interval.clamp(300, 3600) + 150 + interval;
        let end = life.lived + bound;
        life.turn();
        while !life.is_in_sync() && life.lived < end {
            life.live(10.min(bound));
        }
        prop_assert!(life.is_in_sync(), "{} after {} s", life.w.reason(), bound);

        // After that, nothing changes any more.
        if life.w.desired.objective.is_none() && life.w.stored.drift.recent.len() < 3 {
            life.live(2 * interval + 600);
            let (writes, modifies, looks) = (life.w.writes, life.w.count("modify"), life.w.count("describe"));
            life.live(10 * interval);
            prop_assert_eq!((life.w.writes, life.w.count("modify")), (writes, modifies));
            let described = life.w.count("describe") - looks;
            prop_assert!((9..=11).contains(&described), "{} looks in 10 intervals", described);
        }
    }
}
