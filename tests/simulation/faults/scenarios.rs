//! Scenarios: the lives of policies, as data.

use cloud_simulator::{Effect, Policy, ThrottleStyle};
use serde_json::{Value, json};

use super::steps::{SECOND, Step};
use crate::harness::fleet::{OTHER_TARGET, TARGET};
use crate::harness::measurements::{DESCRIBE, MODIFY, REGIONS};

pub struct Scenario {
    pub name: &'static str,
    /// Index in the list of scenarios.
    pub number: usize,
    /// The cloud's policy at the start; `None`: the instance does not exist.
    pub cloud: Option<Policy>,
    /// Seconds until an accepted change is visible.
    pub visible_after: f64,
    /// Steps, with their delays in milliseconds after the previous one.
    pub steps: Vec<(u64, Step)>,
    /// The cloud's policy at the end; `None`: it depends on state that a restart loses.
    pub end: Option<Policy>,
    /// Whether no policy ever wants a Modify.
    pub leaves_alone: bool,
}

/// Calls `$tests!` with the names of all scenarios, by group; each is a function below. The compiler warns of an
/// unlisted one as dead code.
macro_rules! each_scenario {
    ($tests:ident) => {
        $tests! {
            // From creation to Ready, and what a spec asks for later.
            core {
                created
                changed
                drift
                visible_late
                disabled
                two
            }
            // Policies that must leave the instance alone.
            restrained {
                in_sync
                observed
                suspended_and_deleted
                retained
            }
            // Settings that change back and forth, and dependencies of a policy.
            surroundings {
                resumed
                observed_then_managed
                account_suspended_and_back
                account_removed_and_back
                not_allowed_and_allowed_again
                the_elder_may_not_modify_and_the_younger_manages
                the_elder_turns_to_an_account_that_does_not_exist_and_the_younger_takes_over
                rotated
                instance_appears
                beside_an_inventory
                changed_between_two_tries
                throttled_between_look_and_change
                changed_while_it_is_throttled
            }
            // Deletions, and what follows them.
            ends {
                namesake
                retained_at_last
                the_elder_disables_and_the_younger_takes_over
                namespace_torn_down
            }
            // Scenarios whose outcome differs when the operator acts on stale data.
            needing_the_latest {
                drift_while_the_account_is_suspended
            }
        }
    };
}
pub(super) use each_scenario;

/// Generates a module with one test per scenario, which runs the check on it.
macro_rules! suite {
    ($suite:ident: $($name:ident)* => $check:ident) => {
        mod $suite {
            use super::*;

            $(
                #[test]
                fn $name() {
                    $check(&Scenario::named(stringify!($name)));
                }
            )*
        }
    }
}
pub(super) use suite;

macro_rules! list {
    ($($group:ident { $($name:ident)* })*) => {
        const ALL: &[(&str, fn() -> Scenario)] = &[$($((stringify!($name), $name)),*),*];
    };
}
each_scenario!(list);

impl Scenario {
    /// Returns the scenario with this name.
    ///
    /// # Panics
    /// If it is not listed.
    pub fn named(name: &str) -> Self {
        let number = ALL.iter().position(|(listed, _)| *listed == name);
        let number = number.unwrap_or_else(|| panic!("no scenario has the name {name}"));
        let (name, scenario) = ALL[number];
        Self { name, number, ..scenario() }
    }
}

fn life(steps: Vec<(u64, Step)>) -> Scenario {
    Scenario {
        name: "",
        number: 0,
        cloud: Some(Policy::default()),
        visible_after: 0.0,
        steps,
        end: Some(wanted()),
        leaves_alone: false,
    }
}

fn create(spec: Value) -> (u64, Step) {
    (500, Step::Create("one", spec))
}

fn change(after: u64, spec: Value) -> (u64, Step) {
    (after, Step::Change("one", spec))
}

fn wanted() -> Policy {
    Policy::to_region(TARGET)
}

fn elsewhere() -> Policy {
    Policy::to_region(OTHER_TARGET)
}

/// Returns an inactive policy that had this target before.
fn off(target: &str) -> Policy {
    Policy { active: false, ..Policy::to_region(target) }
}

const PAUSE: u64 = 8_000;

/// Returns a fault that throttles all calls of the account for `retry_after` seconds.
fn throttled(retry_after: &str) -> Effect {
    Effect::Throttle { style: ThrottleStyle::Flow429, retry_after: Some(retry_after.to_owned()) }
}

/// Returns a transient error of one call.
fn broken() -> Effect {
    let (code, message) = ("InternalError".to_owned(), "no".to_owned());
    Effect::Error { status: 500, code, message, code_n: None }
}

fn created() -> Scenario {
    life(vec![create(json!({"recoveryPointObjective": "26h"}))])
}

fn changed() -> Scenario {
    Scenario {
        end: Some(off(OTHER_TARGET)),
        ..life(vec![
            create(json!({})),
            change(PAUSE, json!({"crossBackupRegion": OTHER_TARGET})),
            // During the previous change.
            change(15, json!({"crossBackupRegion": TARGET})),
            change(60, json!({"crossBackupRegion": OTHER_TARGET})),
            change(PAUSE, json!({"active": false})),
        ])
    }
}

fn drift() -> Scenario {
    life(vec![create(json!({})), (PAUSE, Step::Drift(elsewhere())), (70_000, Step::Drift(Policy::default()))])
}

fn visible_late() -> Scenario {
    Scenario { visible_after: 10.0, ..life(vec![create(json!({}))]) }
}

fn disabled() -> Scenario {
    Scenario {
        end: Some(off(TARGET)),
        ..life(vec![create(json!({"deletionPolicy": "Disable"})), (PAUSE, Step::Delete("one"))])
    }
}

fn two() -> Scenario {
    Scenario {
        end: Some(elsewhere()),
        ..life(vec![
            create(json!({})),
            (2_000, Step::Create("two", json!({"crossBackupRegion": OTHER_TARGET}))),
            (PAUSE, Step::Delete("one")),
        ])
    }
}

fn in_sync() -> Scenario {
    Scenario { leaves_alone: true, cloud: Some(wanted()), ..life(vec![create(json!({}))]) }
}

fn observed() -> Scenario {
    Scenario {
        leaves_alone: true,
        end: Some(elsewhere()),
        ..life(vec![create(json!({"managementPolicy": "Observe"})), (PAUSE, Step::Drift(elsewhere()))])
    }
}

fn suspended_and_deleted() -> Scenario {
    Scenario {
        leaves_alone: true,
        end: Some(Policy::default()),
        ..life(vec![
            create(json!({"suspend": true, "deletionPolicy": "Disable"})),
            (PAUSE, Step::Delete("one")),
        ])
    }
}

fn retained() -> Scenario {
    Scenario {
        leaves_alone: true,
        cloud: Some(wanted()),
        ..life(vec![create(json!({})), (PAUSE, Step::Delete("one"))])
    }
}

fn drift_while_the_account_is_suspended() -> Scenario {
    Scenario {
        leaves_alone: true,
        cloud: Some(wanted()),
        end: Some(elsewhere()),
        ..life(vec![
            create(json!({})),
            (PAUSE, Step::ChangeAccount(json!({"suspend": true}))),
            (PAUSE, Step::Drift(elsewhere())),
        ])
    }
}

fn resumed() -> Scenario {
    life(vec![
        create(json!({})),
        change(PAUSE, json!({"suspend": true})),
        (1_000, Step::Drift(elsewhere())),
        change(PAUSE, json!({"suspend": false})),
    ])
}

fn observed_then_managed() -> Scenario {
    life(vec![
        create(json!({"managementPolicy": "Observe"})),
        change(PAUSE, json!({"managementPolicy": "Manage"})),
    ])
}

fn account_suspended_and_back() -> Scenario {
    life(vec![
        create(json!({})),
        (PAUSE, Step::ChangeAccount(json!({"suspend": true}))),
        (1_000, Step::Drift(elsewhere())),
        (PAUSE, Step::ChangeAccount(json!({"suspend": false}))),
    ])
}

fn account_removed_and_back() -> Scenario {
    life(vec![
        create(json!({})),
        (PAUSE, Step::DeleteAccount),
        (1_000, Step::Drift(elsewhere())),
        (PAUSE, Step::RestoreAccount),
    ])
}

fn not_allowed_and_allowed_again() -> Scenario {
    life(vec![
        (200, Step::ShareAccount),
        create(json!({"accountRef": {"kind": "ClusterCloudAccount", "name": "first"}})),
        (PAUSE, Step::Permit(false)),
        (1_000, Step::Drift(elsewhere())),
        (PAUSE, Step::Permit(true)),
    ])
}

fn the_elder_may_not_modify_and_the_younger_manages() -> Scenario {
    Scenario {
        end: Some(elsewhere()),
        ..life(vec![
            (200, Step::AddAccount),
            (0, Step::DenyModify),
            create(json!({})),
            (
                2_000,
                Step::Create(
                    "two",
                    json!({
                        "crossBackupRegion": OTHER_TARGET,
                        "accountRef": {"kind": "CloudAccount", "name": SECOND},
                    }),
                ),
            ),
            (PAUSE, Step::Drift(Policy::default())),
        ])
    }
}

fn the_elder_turns_to_an_account_that_does_not_exist_and_the_younger_takes_over() -> Scenario {
    Scenario {
        end: Some(elsewhere()),
        ..life(vec![
            create(json!({})),
            (2_000, Step::Create("two", json!({"crossBackupRegion": OTHER_TARGET}))),
            change(PAUSE, json!({"accountRef": {"kind": "CloudAccount", "name": "missing"}})),
        ])
    }
}

fn rotated() -> Scenario {
    life(vec![create(json!({})), (PAUSE, Step::Rotate), (1_000, Step::Drift(elsewhere()))])
}

fn instance_appears() -> Scenario {
    Scenario { cloud: None, ..life(vec![create(json!({})), (PAUSE, Step::Appear)]) }
}

fn beside_an_inventory() -> Scenario {
    life(vec![(400, Step::CreateInventory), create(json!({})), (PAUSE, Step::Drift(elsewhere()))])
}

fn changed_between_two_tries() -> Scenario {
    Scenario {
        end: Some(elsewhere()),
        ..life(vec![
            (200, Step::InjectFault(MODIFY, broken())),
            create(json!({})),
            // The retry comes a second after the first attempt, or later.
            change(600, json!({"crossBackupRegion": OTHER_TARGET})),
        ])
    }
}

fn throttled_between_look_and_change() -> Scenario {
    life(vec![(200, Step::InjectFault(REGIONS, throttled("45"))), create(json!({}))])
}

fn changed_while_it_is_throttled() -> Scenario {
    Scenario {
        cloud: Some(wanted()),
        leaves_alone: true,
        ..life(vec![
            create(json!({})),
            (PAUSE, Step::InjectFault(DESCRIBE, throttled("120"))),
            // It is polled meanwhile.
            change(61_000, json!({"recoveryPointObjective": "26h"})),
        ])
    }
}

fn namesake() -> Scenario {
    Scenario {
        end: Some(elsewhere()),
        ..life(vec![
            create(json!({})),
            (50, Step::Delete("one")),
            (1, Step::Create("one", json!({"crossBackupRegion": OTHER_TARGET}))),
        ])
    }
}

fn retained_at_last() -> Scenario {
    Scenario {
        cloud: Some(wanted()),
        leaves_alone: true,
        ..life(vec![
            create(json!({"deletionPolicy": "Disable"})),
            change(PAUSE, json!({"deletionPolicy": "Retain"})),
            (20_000, Step::Delete("one")),
        ])
    }
}

fn the_elder_disables_and_the_younger_takes_over() -> Scenario {
    Scenario {
        end: Some(elsewhere()),
        ..life(vec![
            create(json!({"deletionPolicy": "Disable"})),
            (2_000, Step::Create("two", json!({"crossBackupRegion": OTHER_TARGET}))),
            (PAUSE, Step::Delete("one")),
        ])
    }
}

fn namespace_torn_down() -> Scenario {
    Scenario {
        cloud: Some(wanted()),
        end: None,
        ..life(vec![
            create(json!({"deletionPolicy": "Disable"})),
            (PAUSE, Step::DeleteAccountAndSecret),
            (0, Step::Delete("one")),
        ])
    }
}
