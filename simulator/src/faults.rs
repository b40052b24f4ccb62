//! Faults: the requests they match, how these are counted, and the effects on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a throttled request is refused. Volcengine's documents leave it open; the first three were reported by users
/// of the real cloud. The others are Tencent's codes, and Flow429 to Volcengine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ThrottleStyle {
    /// HTTP 429 FlowLimitExceeded.
    #[default]
    Flow429,
    /// HTTP 400 AccountFlowLimitExceeded.
    Account400,
    /// HTTP 200 with an AccountFlowLimitExceeded error inside.
    Account200,
    /// RequestLimitExceeded.
    RequestLimit,
    /// RequestLimitExceeded.UinLimitExceeded.
    UinLimit,
    /// RequestLimitExceeded.IPLimitExceeded.
    IpLimit,
    /// RequestLimitExceeded.GlobalRegionUinLimitExceeded.
    GlobalRegionUinLimit,
}

/// A body that is not the documented one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Malformed {
    /// A web page of a proxy.
    Html,
    /// Text that starts like JSON.
    NotJson,
    /// JSON, but an array.
    WrongShape,
    /// The envelope with a Result whose fields have other types.
    WrongTypes,
    Empty,
}

/// Effect on a matched request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// The envelope with this error; `status` 200 is possible.
    Error {
        status: u16,
        code: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        code_n: Option<i64>,
    },
    Throttle {
        #[serde(default)]
        style: ThrottleStyle,
        /// Retry-After header, sent as it is.
        #[serde(default)]
        retry_after: Option<String>,
    },
    Malformed {
        shape: Malformed,
        #[serde(default = "ok_status")]
        status: u16,
    },
    /// The normal response, followed by this many bytes of padding inside the JSON document.
    Oversized {
        #[serde(default = "oversized_bytes")]
        bytes: u64,
    },
    Redirect {
        location: String,
        #[serde(default = "redirect_status")]
        status: u16,
    },
    /// Delays the request, then handles it as usual.
    Delay { seconds: f64 },
    /// Never responds; with `after_effect` the request takes effect first.
    Hang {
        #[serde(default)]
        after_effect: bool,
    },
    /// Resets the connection, without a response and without an effect.
    Reset,
    /// The request takes effect, then the connection is reset without a response.
    LostResponse,
    /// Sends the response over `seconds`, in `pieces`.
    SlowBody {
        seconds: f64,
        #[serde(default = "drip_pieces")]
        pieces: usize,
    },
    /// Content-Length announces more than is sent before the connection closes.
    Truncated,
    /// The response is about another instance.
    WrongInstance { instance_id: String },
    /// The server's clock is this much ahead (behind when negative) of the simulator's.
    ClockSkew { seconds: f64 },
}

fn ok_status() -> u16 {
    200
}

fn oversized_bytes() -> u64 {
    64 << 20
}

fn redirect_status() -> u16 {
    302
}

fn drip_pieces() -> usize {
    10
}

/// Point of a request at which an effect takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the request is read.
    Network,
    /// At the gateway's flow control: after signature and permission, before the service.
    Gateway,
    /// When the response is known.
    Answer,
}

impl Effect {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Delay { .. } | Self::ClockSkew { .. } | Self::Reset | Self::Redirect { .. } => {
                Stage::Network
            }
            Self::Hang { after_effect: false } => Stage::Network,
            Self::Error { .. } | Self::Throttle { .. } | Self::Malformed { .. } => Stage::Gateway,
            Self::Hang { after_effect: true }
            | Self::LostResponse
            | Self::Oversized { .. }
            | Self::SlowBody { .. }
            | Self::Truncated
            | Self::WrongInstance { .. } => Stage::Answer,
        }
    }

    /// Returns whether other effects of the same stage may add to this one.
    fn combines(&self) -> bool {
        matches!(self, Self::Delay { .. } | Self::ClockSkew { .. })
    }

    /// Returns the name in the counters of outcomes.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::Throttle { .. } => "throttle",
            Self::Malformed { .. } => "malformed",
            Self::Oversized { .. } => "oversized",
            Self::Redirect { .. } => "redirect",
            Self::Delay { .. } => "delay",
            Self::Hang { .. } => "hang",
            Self::Reset => "reset",
            Self::LostResponse => "lostResponse",
            Self::SlowBody { .. } => "slowBody",
            Self::Truncated => "truncated",
            Self::WrongInstance { .. } => "wrongInstance",
            Self::ClockSkew { .. } => "clockSkew",
        }
    }

    /// Returns the reason why the effect is impossible, if it is.
    fn invalid_reason(&self) -> Option<&'static str> {
        let status_ok = |status: u16| (200..=599).contains(&status);
        let seconds_ok = |seconds: f64| seconds.is_finite() && (0.0..=1e9).contains(&seconds);
        match self {
            Self::Error { status, .. } | Self::Malformed { status, .. } if !status_ok(*status) => {
                Some("status must be 200 to 599")
            }
            Self::Redirect { status, .. } if !(300..=399).contains(status) => {
                Some("status must be 300 to 399")
            }
            Self::Redirect { location: text, .. } | Self::Throttle { retry_after: Some(text), .. }
                if http::HeaderValue::from_str(text).is_err() =>
            {
                Some("the text cannot be a header's value")
            }
            Self::Delay { seconds } | Self::SlowBody { seconds, .. } if !seconds_ok(*seconds) => {
                Some("seconds must be 0 to 1e9")
            }
            Self::ClockSkew { seconds } if !seconds_ok(seconds.abs()) => Some("seconds must be -1e9 to 1e9"),
            _ => None,
        }
    }
}

/// A fault: the requests that it matches, and its effect on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultSpec {
    /// Any action when absent; the next two fields likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Number of matching requests that pass first.
    #[serde(default)]
    pub after: u64,
    /// Number of requests that are affected; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Probability with which a request is affected; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Seed of the random outcome of `probability`.
    #[serde(default)]
    pub seed: u64,
    pub effect: Effect,
}

impl FaultSpec {
    /// Returns a fault that affects every request, without limit.
    pub fn new(effect: Effect) -> Self {
        Self {
            action: None,
            instance_id: None,
            access_key_id: None,
            after: 0,
            count: None,
            probability: None,
            seed: 0,
            effect,
        }
    }

    pub fn on_action(mut self, action: impl Into<String>) -> Self {
        self.action = Some(action.into());
        self
    }

    pub fn on_instance(mut self, instance_id: impl Into<String>) -> Self {
        self.instance_id = Some(instance_id.into());
        self
    }

    pub fn on_key(mut self, access_key_id: impl Into<String>) -> Self {
        self.access_key_id = Some(access_key_id.into());
        self
    }

    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    pub fn after(mut self, skipped: u64) -> Self {
        self.after = skipped;
        self
    }

    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        self.probability = Some(probability);
        self.seed = seed;
        self
    }

    fn matches(&self, facts: &RequestAttributes) -> bool {
        let agrees = |wanted: &Option<String>, found: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| found.as_ref() == Some(wanted))
        };
        agrees(&self.action, &facts.action)
            && agrees(&self.instance_id, &facts.instance_id)
            && agrees(&self.access_key_id, &facts.access_key_id)
    }
}

/// Attributes that a fault can match, as the request claims them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestAttributes {
    pub action: Option<String>,
    pub instance_id: Option<String>,
    pub access_key_id: Option<String>,
}

/// A placed fault and its counters.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultState {
    pub id: u64,
    #[serde(flatten)]
    pub spec: FaultSpec,
    /// Number of requests that matched, including those that passed.
    pub matched: u64,
    /// Number of requests that were affected.
    pub fired: u64,
    #[serde(skip)]
    rng: fastrand::Rng,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    placed: BTreeMap<u64, FaultState>,
    last_id: u64,
}

impl Faults {
    pub fn place(&mut self, spec: FaultSpec) -> Result<u64, &'static str> {
        if let Some(invalid_reason) = spec.effect.invalid_reason() {
            return Err(invalid_reason);
        }
        if spec.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err("probability must be 0 to 1");
        }
        self.last_id += 1;
        let rng = fastrand::Rng::with_seed(spec.seed);
        let state = FaultState { id: self.last_id, spec, matched: 0, fired: 0, rng };
        self.placed.insert(self.last_id, state);
        Ok(self.last_id)
    }

    pub fn list(&self) -> Vec<FaultState> {
        self.placed.values().cloned().collect()
    }

    pub fn remove(&mut self, id: u64) -> bool {
        self.placed.remove(&id).is_some()
    }

    pub fn clear(&mut self) {
        self.placed.clear();
    }

    /// Returns the effects on a request at this stage, in the order of their placing, and counts them: all that
    /// combine, and the first that does not.
    pub fn take(&mut self, stage: Stage, facts: &RequestAttributes) -> Vec<Effect> {
        let mut taken = Vec::new();
        let mut settled = false;
        for fault in self.placed.values_mut() {
            let effect = &fault.spec.effect;
            if effect.stage() != stage || (settled && !effect.combines()) || !fault.spec.matches(facts) {
                continue;
            }
            fault.matched += 1;
            let spent = fault.spec.count.is_some_and(|count| fault.fired >= count);
            if fault.matched <= fault.spec.after || spent {
                continue;
            }
            if fault.spec.probability.is_some_and(|p| fault.rng.f64() >= p) {
                continue;
            }
            fault.fired += 1;
            settled |= !effect.combines();
            taken.push(effect.clone());
        }
        taken
    }
}
