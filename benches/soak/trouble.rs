//! Temporary faults of the simulated cloud.

use std::time::Duration;

use cloud_simulator::{DEFAULT_ACCOUNT, Effect, FaultSpec, Malformed, RateLimit, Simulator, ThrottleStyle};
use fastrand::Rng;
use serde_json::json;

use crate::scene::instance;

const ACTIONS: [&str; 4] = [
    "DescribeCrossRegionBackupPolicy",
    "ModifyCrossRegionBackupPolicy",
    "DescribeCrossRegionBackups",
    "DescribeAvailableCrossRegion",
];

#[derive(Clone, Debug)]
enum What {
    Fault(Box<FaultSpec>),
    /// The instance is not Running, and cannot be modified.
    Scaling(usize),
    /// Modifies of the instance become visible late.
    Late(usize),
    /// The cloud throttles the account to a low rate.
    Limit,
}

#[derive(Clone, Debug)]
pub struct Trouble {
    pub name: String,
    pub length: Duration,
    what: What,
}

/// Undoes a trouble.
pub enum Remedy {
    Fault(u64),
    Instance(usize),
    Limit,
}

impl Trouble {
    fn new(name: impl Into<String>, what: What) -> Self {
        Self { name: name.into(), length: Duration::ZERO, what }
    }

    /// Chooses the target of the fault and its duration.
    pub fn somewhere(mut self, rng: &mut Rng, instances: usize) -> Self {
        self.length = Duration::from_millis(rng.u64(500..6_000));
        match &mut self.what {
            What::Fault(fault) => {
                fault.seed = rng.u64(..);
                // Half of the faults hit only some requests, so that an operation can fail midway.
                fault.probability = rng.bool().then_some(0.5);
                fault.action = rng.bool().then(|| ACTIONS[rng.usize(0..ACTIONS.len())].to_owned());
            }
            What::Scaling(number) | What::Late(number) => *number = rng.usize(0..instances),
            What::Limit => {}
        }
        self
    }

    pub fn begin(&self, cloud: &Simulator) -> anyhow::Result<Remedy> {
        Ok(match &self.what {
            What::Fault(fault) => Remedy::Fault(cloud.place_fault(fault.as_ref().clone())?),
            What::Scaling(number) => {
                cloud.patch_instance(&instance(*number), json!({"status": "Scaling"}))?;
                Remedy::Instance(*number)
            }
            What::Late(number) => {
                let late = json!({"visibility": {"afterSeconds": 3}});
                cloud.patch_instance(&instance(*number), late)?;
                Remedy::Instance(*number)
            }
            What::Limit => {
                let limit = RateLimit {
                    per_second: 5.0,
                    burst: None,
                    style: ThrottleStyle::Flow429,
                    retry_after: None,
                };
                cloud.set_rate_limit(DEFAULT_ACCOUNT, Some(limit));
                Remedy::Limit
            }
        })
    }
}

impl Remedy {
    pub fn apply(&self, cloud: &Simulator) -> anyhow::Result<()> {
        match self {
            Self::Fault(id) => cloud.remove_fault(*id)?,
            Self::Instance(number) => {
                let sound = json!({"status": "Running", "visibility": "atOnce"});
                cloud.patch_instance(&instance(*number), sound)?;
            }
            Self::Limit => cloud.set_rate_limit(DEFAULT_ACCOUNT, None),
        }
        Ok(())
    }
}

/// Returns one fault of each kind.
pub fn all() -> Vec<Trouble> {
    let mut effects: Vec<(String, Effect)> = Vec::new();
    for (status, code) in [
        (500, "InternalError"),
        (503, "ServiceUnavailableTemp"),
        (403, "AccessDenied"),
        (401, "SignatureDoesNotMatch"),
        (400, "InstanceNotExist"),
        (400, "InstanceStatusNotMatch"),
        (400, "InvalidOperator"),
        (400, "ParamError"),
        (418, "NoSuchCodeYet"),
    ] {
        let effect =
            Effect::Error { status, code: code.to_owned(), message: "for a while".to_owned(), code_n: None };
        effects.push((code.to_owned(), effect));
    }
    for style in [ThrottleStyle::Flow429, ThrottleStyle::Account400, ThrottleStyle::Account200] {
        effects.push((
            format!("throttled, {style:?}"),
            Effect::Throttle { style, retry_after: Some("1".into()) },
        ));
    }
    let shapes =
        [Malformed::Html, Malformed::NotJson, Malformed::WrongShape, Malformed::WrongTypes, Malformed::Empty];
    for shape in shapes {
        effects.push((format!("malformed, {shape:?}"), Effect::Malformed { shape, status: 200 }));
    }
    for seconds in [2.0, 7.0] {
        effects.push((format!("answers {seconds} s late"), Effect::Delay { seconds }));
        effects.push((format!("answers over {seconds} s"), Effect::SlowBody { seconds, pieces: 10 }));
    }
    for after_effect in [false, true] {
        effects.push((format!("hangs, effect {after_effect}"), Effect::Hang { after_effect }));
    }
    for seconds in [3600.0, -3600.0] {
        effects.push((format!("clock {seconds} s off"), Effect::ClockSkew { seconds }));
    }
    let elsewhere = Effect::Redirect { location: "http://127.0.0.1:1/".to_owned(), status: 302 };
    effects.push(("redirects".to_owned(), elsewhere));
    effects.push(("resets".to_owned(), Effect::Reset));
    effects.push(("loses answers".to_owned(), Effect::LostResponse));
    effects.push(("cuts answers short".to_owned(), Effect::Truncated));
    let other = Effect::WrongInstance { instance_id: instance(0) };
    effects.push(("speaks of another instance".to_owned(), other));
    let mut all: Vec<_> = effects
        .into_iter()
        .map(|(name, effect)| Trouble::new(name, What::Fault(FaultSpec::new(effect).into())))
        .collect();
    // Limited to five: each response is 9 MiB, and this process generates it.
    let oversized = FaultSpec::new(Effect::Oversized { bytes: 9 << 20 }).times(5);
    all.push(Trouble::new("answers are too large", What::Fault(oversized.into())));
    all.push(Trouble::new("an instance does not run", What::Scaling(0)));
    all.push(Trouble::new("a change shows late", What::Late(0)));
    all.push(Trouble::new("5 requests a second", What::Limit));
    all
}
