//! The lives of policies, as data.

use cloud_simulator::{Effect, Policy, ThrottleStyle};
use serde_json::{Value, json};

use super::steps::{SECOND, Step};
use crate::controllers::world::figures::{DESCRIBE, MODIFY, REGIONS};
use crate::controllers::world::fleet::{OTHER_TARGET, TARGET};

pub struct Scenario {
    pub name: &'static str,
    /// Of the instance at the beginning; `None`: there is no instance.
    pub cloud: Option<Policy>,
    /// A change of it can be seen so many seconds after it was accepted.
    pub visible_after: f64,
    /// Milliseconds after the one before, and what happens then.
    pub steps: Vec<(u64, Step)>,
    /// What the cloud holds at the end; `None`: it depends on what is forgotten.
    pub end: Option<Policy>,
    /// Nobody ever wants anything modified.
    pub leaves_alone: bool,
    /// Who does not know the latest does something else.
    pub needs_the_latest: bool,
}

fn life(name: &'static str, steps: Vec<(u64, Step)>) -> Scenario {
    Scenario {
        name,
        cloud: Some(Policy::default()),
        visible_after: 0.0,
        steps,
        end: Some(wanted()),
        leaves_alone: false,
        needs_the_latest: false,
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

/// An inactive policy that had this target before.
fn off(target: &str) -> Policy {
    Policy { active: false, ..Policy::to_region(target) }
}

const PAUSE: u64 = 8_000;

/// The cloud lets nobody of the account call for so many seconds.
fn throttled(retry_after: &str) -> Effect {
    Effect::Throttle { style: ThrottleStyle::Flow429, retry_after: Some(retry_after.to_owned()) }
}

/// A call that fails in passing.
fn broken() -> Effect {
    let (code, message) = ("InternalError".to_owned(), "no".to_owned());
    Effect::Error { status: 500, code, message, code_n: None }
}

/// From creation to Ready, and what a spec asks for later.
pub fn core() -> Vec<Scenario> {
    vec![
        life("created", vec![create(json!({"recoveryPointObjective": "26h"}))]),
        Scenario {
            end: Some(off(OTHER_TARGET)),
            ..life(
                "changed",
                vec![
                    create(json!({})),
                    change(PAUSE, json!({"crossBackupRegion": OTHER_TARGET})),
                    // In the midst of the change before.
                    change(15, json!({"crossBackupRegion": TARGET})),
                    change(60, json!({"crossBackupRegion": OTHER_TARGET})),
                    change(PAUSE, json!({"active": false})),
                ],
            )
        },
        life(
            "drift",
            vec![
                create(json!({})),
                (PAUSE, Step::Drift(elsewhere())),
                (70_000, Step::Drift(Policy::default())),
            ],
        ),
        Scenario { visible_after: 10.0, ..life("visible late", vec![create(json!({}))]) },
        Scenario {
            end: Some(off(TARGET)),
            ..life(
                "disabled",
                vec![create(json!({"deletionPolicy": "Disable"})), (PAUSE, Step::Delete("one"))],
            )
        },
        Scenario {
            end: Some(elsewhere()),
            ..life(
                "two",
                vec![
                    create(json!({})),
                    (2_000, Step::Create("two", json!({"crossBackupRegion": OTHER_TARGET}))),
                    (PAUSE, Step::Delete("one")),
                ],
            )
        },
    ]
}

/// Policies that shall leave the instance alone.
pub fn restrained() -> Vec<Scenario> {
    let alone = |scenario| Scenario { leaves_alone: true, ..scenario };
    vec![
        alone(Scenario { cloud: Some(wanted()), ..life("in sync", vec![create(json!({}))]) }),
        alone(Scenario {
            end: Some(elsewhere()),
            ..life(
                "observed",
                vec![create(json!({"managementPolicy": "Observe"})), (PAUSE, Step::Drift(elsewhere()))],
            )
        }),
        alone(Scenario {
            end: Some(Policy::default()),
            ..life(
                "suspended and deleted",
                vec![
                    create(json!({"suspend": true, "deletionPolicy": "Disable"})),
                    (PAUSE, Step::Delete("one")),
                ],
            )
        }),
        alone(Scenario {
            cloud: Some(wanted()),
            ..life("retained", vec![create(json!({})), (PAUSE, Step::Delete("one"))])
        }),
        alone(Scenario {
            cloud: Some(wanted()),
            needs_the_latest: true,
            end: Some(elsewhere()),
            ..life(
                "drift while the account is suspended",
                vec![
                    create(json!({})),
                    (PAUSE, Step::ChangeAccount(json!({"suspend": true}))),
                    (PAUSE, Step::Drift(elsewhere())),
                ],
            )
        }),
    ]
}

/// What is switched to and fro, and what a policy depends on.
pub fn surroundings() -> Vec<Scenario> {
    vec![
        life(
            "resumed",
            vec![
                create(json!({})),
                change(PAUSE, json!({"suspend": true})),
                (1_000, Step::Drift(elsewhere())),
                change(PAUSE, json!({"suspend": false})),
            ],
        ),
        life(
            "observed, then managed",
            vec![
                create(json!({"managementPolicy": "Observe"})),
                change(PAUSE, json!({"managementPolicy": "Manage"})),
            ],
        ),
        life(
            "account suspended and back",
            vec![
                create(json!({})),
                (PAUSE, Step::ChangeAccount(json!({"suspend": true}))),
                (1_000, Step::Drift(elsewhere())),
                (PAUSE, Step::ChangeAccount(json!({"suspend": false}))),
            ],
        ),
        life(
            "account removed and back",
            vec![
                create(json!({})),
                (PAUSE, Step::DeleteAccount),
                (1_000, Step::Drift(elsewhere())),
                (PAUSE, Step::RestoreAccount),
            ],
        ),
        life(
            "not allowed and allowed again",
            vec![
                (200, Step::ShareAccount),
                create(json!({"accountRef": {"kind": "ClusterCloudAccount", "name": "first"}})),
                (PAUSE, Step::Permit(false)),
                (1_000, Step::Drift(elsewhere())),
                (PAUSE, Step::Permit(true)),
            ],
        ),
        Scenario {
            end: Some(elsewhere()),
            ..life(
                "the elder may not modify and the younger manages",
                vec![
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
                ],
            )
        },
        Scenario {
            end: Some(elsewhere()),
            ..life(
                "the elder turns to an account that does not exist and the younger takes over",
                vec![
                    create(json!({})),
                    (2_000, Step::Create("two", json!({"crossBackupRegion": OTHER_TARGET}))),
                    change(PAUSE, json!({"accountRef": {"kind": "CloudAccount", "name": "missing"}})),
                ],
            )
        },
        life("rotated", vec![create(json!({})), (PAUSE, Step::Rotate), (1_000, Step::Drift(elsewhere()))]),
        Scenario { cloud: None, ..life("instance appears", vec![create(json!({})), (PAUSE, Step::Appear)]) },
        life(
            "beside an inventory",
            vec![(400, Step::CreateInventory), create(json!({})), (PAUSE, Step::Drift(elsewhere()))],
        ),
        Scenario {
            end: Some(elsewhere()),
            ..life(
                "changed between two tries",
                vec![
                    (200, Step::Spoil(MODIFY, broken())),
                    create(json!({})),
                    // The next try comes a second after the first at the soonest.
                    change(600, json!({"crossBackupRegion": OTHER_TARGET})),
                ],
            )
        },
        life(
            "throttled between look and change",
            vec![(200, Step::Spoil(REGIONS, throttled("45"))), create(json!({}))],
        ),
        Scenario {
            cloud: Some(wanted()),
            leaves_alone: true,
            ..life(
                "changed while it is throttled",
                vec![
                    create(json!({})),
                    (PAUSE, Step::Spoil(DESCRIBE, throttled("120"))),
                    // Meanwhile it is looked at.
                    change(61_000, json!({"recoveryPointObjective": "26h"})),
                ],
            )
        },
    ]
}

/// Deletions, and what follows them.
pub fn ends() -> Vec<Scenario> {
    vec![
        Scenario {
            end: Some(elsewhere()),
            ..life(
                "namesake",
                vec![
                    create(json!({})),
                    (50, Step::Delete("one")),
                    (1, Step::Create("one", json!({"crossBackupRegion": OTHER_TARGET}))),
                ],
            )
        },
        Scenario {
            cloud: Some(wanted()),
            leaves_alone: true,
            ..life(
                "retained at last",
                vec![
                    create(json!({"deletionPolicy": "Disable"})),
                    change(PAUSE, json!({"deletionPolicy": "Retain"})),
                    (20_000, Step::Delete("one")),
                ],
            )
        },
        Scenario {
            end: Some(elsewhere()),
            ..life(
                "the elder disables and the younger takes over",
                vec![
                    create(json!({"deletionPolicy": "Disable"})),
                    (2_000, Step::Create("two", json!({"crossBackupRegion": OTHER_TARGET}))),
                    (PAUSE, Step::Delete("one")),
                ],
            )
        },
        Scenario {
            cloud: Some(wanted()),
            end: None,
            ..life(
                "namespace torn down",
                vec![
                    create(json!({"deletionPolicy": "Disable"})),
                    (PAUSE, Step::DeleteAccountAndSecret),
                    (0, Step::Delete("one")),
                ],
            )
        },
    ]
}
