//! Faults of a cloud, and the calls that meet them.

use cloud_simulator::{Effect, FaultSpec, Malformed, ThrottleStyle};
use fastrand::Rng;
use serde_json::json;

use crate::harness::TestCluster;
use crate::harness::fleet::Fleet;
use crate::harness::measurements::{BACKUPS, DESCRIBE, MODIFY, REGIONS, VERIFY};

/// All actions that the operator calls for policies.
pub const ACTIONS: [&str; 5] = [DESCRIBE, MODIFY, REGIONS, BACKUPS, VERIFY];

/// Class of a failure by its remedy, as in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A slow but good response: no failure.
    Slow,
    Passing,
    Throttled,
    NeedsPerson,
    /// An accepted change becomes visible late or never.
    Late,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub name: &'static str,
    pub class: Class,
    /// Reason of Synced when every describe meets the fault for long.
    pub reason: &'static str,
    trouble: FaultKind,
}

#[derive(Clone, Debug)]
enum FaultKind {
    Effects(Vec<Effect>),
    /// Visibility of the accepted changes of some instances, in the simulator's format.
    Visibility(serde_json::Value),
}

fn fault(name: &'static str, class: Class, reason: &'static str, effect: Effect) -> Fault {
    Fault { name, class, reason, trouble: FaultKind::Effects(vec![effect]) }
}

fn passing(name: &'static str, effect: Effect) -> Fault {
    fault(name, Class::Passing, "CloudUnavailable", effect)
}

fn throttled(name: &'static str, style: ThrottleStyle, retry_after: Option<&str>) -> Fault {
    let retry_after = retry_after.map(str::to_owned);
    fault(name, Class::Throttled, "Throttled", Effect::Throttle { style, retry_after })
}

fn error(status: u16, code: &str) -> Effect {
    Effect::Error { status, code: code.to_owned(), message: "no".to_owned(), code_n: None }
}

fn person(status: u16, code: &'static str, reason: &'static str) -> Fault {
    fault(code, Class::NeedsPerson, reason, error(status, code))
}

fn malformed(shape: Malformed) -> Effect {
    Effect::Malformed { shape, status: 200 }
}

/// Returns the simulator's faults of single calls, with error codes of every class.
pub fn all() -> Vec<Fault> {
    vec![
        fault("slow", Class::Slow, "InSync", Effect::Delay { seconds: 1.5 }),
        passing("500", error(500, "InternalError")),
        passing("503", error(503, "ServiceUnavailableTemp")),
        passing("InternalError as 400", error(400, "InternalError")),
        passing("an error as 200", error(200, "InternalServiceTimeout")),
        passing("an unknown code", error(400, "SomethingNew")),
        fault(
            "InstanceStatusNotMatch",
            Class::Passing,
            "InstanceNotReady",
            error(400, "InstanceStatusNotMatch"),
        ),
        passing("too slow", Effect::Delay { seconds: 15.0 }),
        passing("hang", Effect::Hang { after_effect: false }),
        passing("hang after the effect", Effect::Hang { after_effect: true }),
        passing("reset", Effect::Reset),
        passing("lost answer", Effect::LostResponse),
        passing("truncated", Effect::Truncated),
        passing("drips", Effect::SlowBody { seconds: 30.0, pieces: 10 }),
        passing("a page of a proxy", Effect::Malformed { shape: Malformed::Html, status: 502 }),
        passing("not JSON", malformed(Malformed::NotJson)),
        passing("wrong shape", malformed(Malformed::WrongShape)),
        passing("empty", malformed(Malformed::Empty)),
        passing("redirect", Effect::Redirect { location: "http://127.0.0.1:9/".to_owned(), status: 302 }),
        // The response's Date corrects the next signature.
        fault("clock ahead", Class::Passing, "InSync", Effect::ClockSkew { seconds: 1200.0 }),
        throttled("429", ThrottleStyle::Flow429, None),
        throttled("429, Retry-After 3", ThrottleStyle::Flow429, Some("3")),
        throttled("429, Retry-After 45", ThrottleStyle::Flow429, Some("45")),
        throttled("throttled as 400", ThrottleStyle::Account400, None),
        throttled("throttled as 200", ThrottleStyle::Account200, None),
        person(403, "AccessDenied", "PermissionDenied"),
        person(401, "InvalidAccessKey", "CredentialsRejected"),
        person(404, "InstanceNotExist", "InstanceNotFound"),
        person(400, "ParamError", "InvalidRequest"),
        person(400, "InvalidOperator", "NotSupported"),
    ]
}

/// Returns faults of a response's content, for actions whose good response has content.
pub fn of_content() -> Vec<Fault> {
    let other = Effect::WrongInstance { instance_id: "redis-other".to_owned() };
    vec![
        passing("wrong types", malformed(Malformed::WrongTypes)),
        passing("another instance", other),
        passing("too large", Effect::Oversized { bytes: 64 << 20 }),
    ]
}

/// Returns a fault that is any of these with equal probability.
pub fn mixed(name: &'static str, faults: &[Fault]) -> Fault {
    let effects = faults.iter().flat_map(|fault| match &fault.trouble {
        FaultKind::Effects(effects) => effects.clone(),
        FaultKind::Visibility(_) => Vec::new(),
    });
    Fault {
        name,
        class: Class::Passing,
        reason: "CloudUnavailable",
        trouble: FaultKind::Effects(effects.collect()),
    }
}

/// Returns changes that become visible late, which is no fault of a call.
pub fn of_visibility() -> Vec<Fault> {
    let late = |name, visibility| Fault {
        name,
        class: Class::Late,
        reason: "Modifying",
        trouble: FaultKind::Visibility(visibility),
    };
    vec![
        late("seen after 20 s", json!({"afterSeconds": 20})),
        late("seen after 90 s", json!({"afterSeconds": 90})),
        late("never seen", json!("never")),
    ]
}

/// Fault of one account's calls.
#[derive(Clone, Debug)]
pub struct FaultCase {
    pub fault: Fault,
    pub actions: Vec<&'static str>,
    /// Percentage of the account's calls, or of its instances, that meet the fault.
    pub percent: u8,
}

impl FaultCase {
    /// Injects the fault.
    pub fn begin(&self, cluster: &TestCluster, fleet: &Fleet, seed: u64) {
        match &self.fault.trouble {
            FaultKind::Effects(effects) => {
                let probability = f64::from(self.percent) / 100.0 / effects.len() as f64;
                for (number, effect) in effects.iter().enumerate() {
                    for (row, action) in self.actions.iter().enumerate() {
                        let fault = FaultSpec::new(effect.clone()).on_key(fleet.key()).on_action(*action);
                        let seed = seed.wrapping_mul(31) + (100 * row + number) as u64;
                        cluster.cloud.place_fault(fault.with_probability(probability, seed)).unwrap();
                    }
                }
            }
            FaultKind::Visibility(visibility) => {
                let mut dice = Rng::with_seed(seed);
                for number in (0..fleet.policies).filter(|_| dice.u8(..100) < self.percent) {
                    let patch = json!({"visibility": visibility});
                    cluster.cloud.patch_instance(&fleet.instance(number), patch).unwrap();
                }
            }
        }
    }

    /// Restores visibility; faults of calls are cleared for all accounts at once.
    pub fn end(&self, cluster: &TestCluster, fleet: &Fleet) {
        if self.fault.class == Class::Late {
            for number in 0..fleet.policies {
                let patch = json!({"visibility": "atOnce"});
                cluster.cloud.patch_instance(&fleet.instance(number), patch).unwrap();
            }
        }
    }

    /// Formats the fault for failure messages.
    pub fn label(&self) -> String {
        let actions =
            if self.actions.len() == ACTIONS.len() { "any call".to_owned() } else { self.actions.join(", ") };
        format!("{} % {} at {actions}", self.percent, self.fault.name)
    }
}
