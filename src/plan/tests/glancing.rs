//! Fast path: each reconcile in the lifecycle tests compares it with a full one.

use proptest::prelude::*;

use super::*;

#[test]
fn nearly_all_looks_at_a_policy_at_rest_are_glances() {
    for objective in [None, Some(Duration::from_secs(86_400))] {
        let mut world = World::new(on("cn-shanghai"));
        world.desired.objective = objective;
        world.backups = vec![backup("b-1", -60)];
        world.live(60);
        let (looks, writes) = (world.count("describe"), world.writes);
        for turn in 1..=20 {
            // A listing without changes is not even delivered.
            world.round = at(600 * (turn + 2));
            world.live(60 + 600 * turn);
        }
        let looks = world.count("describe") - looks;
        let expected = if objective.is_some() { 1 } else { 20 };
        assert!(looks == 20 && world.glances >= expected, "{} of {looks}", world.glances);
        assert!(objective.is_some() || world.writes == writes);
    }
}

#[test]
fn a_drift_is_no_glance() {
    let mut world = World::new(on("cn-shanghai"));
    world.live(60);
    world.round = at(100_000);
    world.live(1_300);
    assert_eq!(world.glances, 2);
    world.drift_to(false);
    world.live(1_900);
    assert_eq!((world.glances, world.count("modify"), world.reason()), (2, 2, "InSync"));
    world.state.ttl_days = Some(30);
    world.live(2_500);
    assert_eq!(
        world.stored.policy.as_ref().unwrap().ttl_days,
        Some(30),
        "told though nothing is to be modified"
    );
}

/// Events between two reconciles.
#[derive(Clone, Debug)]
enum Happens {
    Pass(i64),
    Drift(bool),
    Retention(i64),
    Target(bool),
    Backup,
    Lost,
    Unreadable(bool),
    Unreachable(usize),
    Epoch,
    Interval(u64),
    Objective(Option<u64>),
    Request(u8),
    Restart,
    Suspend(bool),
    CompetingPolicy(bool),
    ClockBack(i64),
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    prop_oneof![
        6 => (1i64..2_000).prop_map(Pass),
        1 => any::<bool>().prop_map(Drift),
        1 => (1i64..3).prop_map(Retention),
        1 => any::<bool>().prop_map(Target),
        2 => Just(Backup),
        1 => Just(Lost),
        1 => any::<bool>().prop_map(Unreadable),
        1 => (1usize..4).prop_map(Unreachable),
        1 => Just(Epoch),
        1 => (60u64..1_200).prop_map(Interval),
        1 => prop::option::of(60u64..4_000).prop_map(Objective),
        1 => (0u8..3).prop_map(Request),
        1 => Just(Restart),
        1 => any::<bool>().prop_map(Suspend),
        1 => any::<bool>().prop_map(CompetingPolicy),
        1 => (1i64..900).prop_map(ClockBack),
    ]
}

impl World {
    fn happen(&mut self, happens: &Happens) {
        let seconds = self.now.as_second() - START;
        match happens {
            Happens::Pass(more) => self.live(seconds + more),
            Happens::Drift(active) => self.drift_to(*active),
            Happens::Retention(days) => self.state.ttl_days = Some(*days),
            Happens::Target(near) => {
                let target = if *near { "cn-shanghai" } else { "cn-guangzhou" };
                self.respec(|desired| desired.change = on(target));
            }
            Happens::Backup => self.backups.push(backup(&format!("b-{seconds}"), seconds)),
            Happens::Lost => drop(self.backups.pop()),
            Happens::Unreadable(fails) => {
                self.backups_fail = fails.then(|| failure(Kind::CloudUnavailable, "HTTP 503"));
            }
            Happens::Unreachable(looks) => self.failing_looks = *looks,
            Happens::Epoch => {
                self.env.access_generation =
                    self.env.access_generation.map(|access_generation| access_generation + 1)
            }
            Happens::Interval(seconds) => self.desired.interval = Duration::from_secs(*seconds),
            Happens::Objective(seconds) => {
                self.respec(|desired| desired.objective = seconds.map(Duration::from_secs));
            }
            Happens::Request(number) => self.desired.request = Some(number.to_string()),
            Happens::Restart => self.restart(self.now),
            Happens::Suspend(suspended) => self.respec(|desired| desired.suspended = *suspended),
            Happens::CompetingPolicy(competitor) => {
                self.env.competitor = competitor.then_some(CompetingPolicy { name: None })
            }
            Happens::ClockBack(by) => self.now = at((seconds - by).max(0)),
        }
    }
}

/// [`World::turn`] contains the assertions.
fn after_all(all: &[Happens]) {
    let mut world = World::new(on("cn-shanghai"));
    world.backups = vec![backup("b-0", -60)];
    world.live(30);
    for one in all {
        world.happen(one);
    }
    world.live(world.now.as_second() - START + 3_000);
}

#[test]
fn a_clock_set_back_before_a_deadline_is_no_glance() {
    let all = [
        Happens::Target(false),
        Happens::Pass(473),
        Happens::Objective(Some(1_305)),
        Happens::Target(true),
        Happens::Pass(1_026),
        Happens::Lost,
        Happens::Pass(488),
        Happens::ClockBack(210),
    ];
    after_all(&all);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_glance_has_the_result_of_a_whole_look(all in prop::collection::vec(happens(), 1..40)) {
        after_all(&all);
    }
}
