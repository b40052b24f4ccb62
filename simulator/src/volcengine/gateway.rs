//! The way of a request: through the faults of the network, the checks of the gateway, the action, and back.

use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::actions::{Action, Call, VERSION};
use super::auth::{self, Claim, Signed};
use super::envelope::Metadata;
use super::error::ApiError;
use super::params::Params;
use crate::answer::{self, Answer};
use crate::clock::later;
use crate::faults::{Effect, Facts, Malformed, Stage};
use crate::ledger::RequestRecord;
use crate::serve::Connection;
use crate::simulator::{CloudState, Simulator};

/// No request of this API comes near it.
const BODY_LIMIT: usize = 1 << 20;

/// What the gateway makes of a request.
enum Outcome {
    Told(Result<Value, ApiError>),
    Throttled(ApiError, Option<String>),
    Malformed(Malformed, u16),
}

impl Outcome {
    fn name(&self) -> &str {
        match self {
            Self::Told(Ok(_)) => "ok",
            Self::Told(Err(error)) | Self::Throttled(error, _) => &error.code,
            Self::Malformed(..) => "malformed",
        }
    }
}

/// A request under way, counted until it is dropped.
struct Visit {
    simulator: Simulator,
    parts: Parts,
    body: Bytes,
    facts: Facts,
    metadata: Metadata,
    number: u64,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.simulator.lock().ledger.end();
    }
}

pub(crate) async fn answer(State(simulator): State<Simulator>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let connection = parts.extensions.get::<ConnectInfo<Connection>>().map(|info| info.0.clone());
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        let date = simulator.now();
        let refusal = Err(ApiError::param("The request body is too large."));
        let (status, frame) = Metadata::default().wrap(&refusal, date);
        return Answer::new(status, frame.to_string(), date).send();
    };
    Visit::begin(simulator, parts, body).run(connection.as_ref()).await
}

impl Visit {
    fn begin(simulator: Simulator, parts: Parts, body: Bytes) -> Self {
        let signed = signed(&parts, &body);
        let claim = signed.header("authorization").and_then(|text| Claim::parse(text).ok());
        let fields: Option<Value> = serde_json::from_slice(&body).ok();
        let field = |name: &str| fields.as_ref().and_then(|fields| fields[name].as_str().map(str::to_owned));
        let facts = Facts {
            action: signed.query_value("Action"),
            instance_id: field("InstanceId"),
            access_key_id: claim.as_ref().map(|claim| claim.access_key_id.clone()),
        };
        let metadata = Metadata {
            action: facts.action.clone().unwrap_or_default(),
            version: signed.query_value("Version").unwrap_or_default(),
            region: claim.as_ref().map(|claim| claim.scope.region.clone()).unwrap_or_default(),
        };
        let header = |name: &str| signed.header(name).map(str::to_owned);
        let record = RequestRecord {
            number: 0,
            at: simulator.now(),
            method: parts.method.to_string(),
            action: facts.action.clone(),
            version: signed.query_value("Version"),
            region: claim.as_ref().map(|claim| claim.scope.region.clone()),
            access_key_id: facts.access_key_id.clone(),
            instance_id: facts.instance_id.clone(),
            client_token: field("ClientToken"),
            x_date: header("x-date"),
            signature: claim.as_ref().map(|claim| claim.signature.clone()),
            signed_headers: claim.as_ref().map(|claim| claim.signed_headers.join(";")),
            security_token: header("x-security-token"),
            host: header("host"),
            content_type: header("content-type"),
            user_agent: header("user-agent"),
            authentic: None,
            outcome: None,
            body: fields.unwrap_or_else(|| json!(String::from_utf8_lossy(&body))),
        };
        let number = simulator.lock().ledger.begin(record);
        Self { simulator, parts, body, facts, metadata, number }
    }

    fn take(&self, stage: Stage) -> Vec<Effect> {
        self.simulator.lock().faults.take(stage, &self.facts)
    }

    fn conclude(&self, outcome: &str) {
        self.simulator.lock().ledger.outcome(self.number, self.facts.action.as_deref(), outcome);
    }

    async fn run(self, connection: Option<&Connection>) -> Response {
        let mut skew = 0.0;
        for effect in self.take(Stage::Network) {
            match effect {
                Effect::Delay { seconds } => tokio::time::sleep(duration(seconds)).await,
                Effect::ClockSkew { seconds } => skew += seconds,
                Effect::Reset => {
                    self.conclude(effect.name());
                    return answer::reset(connection);
                }
                Effect::Redirect { ref location, status } => {
                    self.conclude(effect.name());
                    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
                    let answer = Answer::new(status, "", later(self.simulator.now(), skew));
                    return answer.with_header(header::LOCATION, location).send();
                }
                _ => {
                    self.conclude(effect.name());
                    return std::future::pending().await;
                }
            }
        }
        let now = self.simulator.now();
        let server_now = later(now, skew);
        let outcome = self.decide(now, server_now);
        let answer = self.answer(&outcome, server_now);
        match self.take(Stage::Answer).into_iter().next() {
            None => {
                self.conclude(outcome.name());
                answer.send()
            }
            Some(effect) => {
                self.conclude(effect.name());
                self.spoil(answer, effect, connection).await
            }
        }
    }

    /// Everything that needs the world, done at one moment.
    fn decide(&self, now: Timestamp, server_now: Timestamp) -> Outcome {
        let mut guard = self.simulator.lock();
        let state = &mut *guard;
        state.world.settle(now);
        let Caller { account, action } = match self.admit(state, server_now) {
            Ok(caller) => caller,
            Err(error) => return Outcome::Told(Err(error)),
        };
        if let Some(bucket) = state.buckets.get_mut(&account)
            && !bucket.pass(now)
        {
            return Outcome::Throttled(
                ApiError::throttled(bucket.limit.style),
                bucket.limit.retry_after.clone(),
            );
        }
        match state.faults.take(Stage::Gateway, &self.facts).into_iter().next() {
            Some(Effect::Throttle { style, retry_after }) => {
                return Outcome::Throttled(ApiError::throttled(style), retry_after);
            }
            Some(Effect::Malformed { shape, status }) => return Outcome::Malformed(shape, status),
            Some(Effect::Error { status, code, message, code_n }) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Outcome::Told(Err(ApiError { status, code: code.into(), code_n, message }));
            }
            _ => {}
        }
        let result = Params::parse(&self.body).and_then(|params| {
            Call {
                world: &mut state.world,
                replays: &mut state.replays,
                ledger: &mut state.ledger,
                account,
                region: &self.metadata.region,
                params: &params,
                now,
                quirks: state.settings.quirks,
            }
            .run(action)
        });
        Outcome::Told(result)
    }

    /// The gateway's checks, in the order of its errors.
    fn admit(&self, state: &mut CloudState, server_now: Timestamp) -> Result<Caller, ApiError> {
        if self.parts.method != http::Method::POST {
            return Err(ApiError::method_not_allowed(self.parts.method.as_str()));
        }
        let Metadata { action: name, version, region } = &self.metadata;
        for (value, parameter) in [(name, "Action"), (version, "Version")] {
            if value.is_empty() {
                return Err(ApiError::missing_parameter(parameter));
            }
        }
        let request = signed(&self.parts, &self.body);
        let verdict = auth::authenticate(request, |id| state.keys.get(id), server_now);
        state.ledger.authentic(self.number, verdict.is_ok());
        let (claim, key) = verdict?;
        if !claim.scope.service.eq_ignore_ascii_case("redis") {
            return Err(ApiError::service_not_found(&claim.scope.service));
        }
        let action = Action::named(name)
            .filter(|_| version == VERSION)
            .ok_or_else(|| ApiError::invalid_action_or_version(name, version))?;
        let account = key.account_id;
        if key.denied.contains(name) || key.denied.contains("*") {
            let who =
                format!("[trn:iam::{account}:user/{}] with accesskey [{}]", key.user, key.access_key_id);
            let instance = self.facts.instance_id.as_deref().unwrap_or("*");
            let resource = format!("trn:redis:{region}:{account}:instance/{instance}");
            return Err(ApiError::access_denied(&who, name, &resource));
        }
        let json = request.header("content-type").is_some_and(|text| text.starts_with("application/json"));
        if !json {
            return Err(ApiError::param("Content-Type must be application/json."));
        }
        Ok(Caller { account, action })
    }

    fn answer(&self, outcome: &Outcome, date: Timestamp) -> Answer {
        match outcome {
            Outcome::Told(result) => {
                let (status, frame) = self.metadata.wrap(result, date);
                Answer::new(status, frame.to_string(), date)
            }
            Outcome::Throttled(error, retry_after) => {
                let (status, frame) = self.metadata.wrap(&Err(error.clone()), date);
                let answer = Answer::new(status, frame.to_string(), date);
                match retry_after {
                    Some(value) => answer.with_header(header::RETRY_AFTER, value),
                    None => answer,
                }
            }
            Outcome::Malformed(shape, status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::OK);
                let mut answer = Answer::new(status, self.malformed(*shape, date), date);
                if *shape == Malformed::Html {
                    answer.content_type = "text/html; charset=utf-8";
                }
                answer
            }
        }
    }

    fn malformed(&self, shape: Malformed, date: Timestamp) -> String {
        match shape {
            Malformed::Html => {
                "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>".into()
            }
            Malformed::NotJson => r#"{"ResponseMetadata": {"RequestId": "#.into(),
            Malformed::WrongShape => "[1, 2, 3]".into(),
            Malformed::WrongTypes => {
                let result = json!({
                    "InstanceId": 5, "Active": "yes", "CrossBackupRegion": ["cn-shanghai"], "TTL": "seven",
                    "Total": "many", "Backups": {}, "TargetRegionIds": "cn-shanghai",
                    "TotalInstancesNum": {}, "Instances": "none",
                });
                self.metadata.wrap(&Ok(result), date).1.to_string()
            }
            Malformed::Empty => String::new(),
        }
    }

    /// Spoils an answer whose request has had its effect.
    async fn spoil(self, answer: Answer, effect: Effect, connection: Option<&Connection>) -> Response {
        match effect {
            Effect::LostResponse => answer::reset(connection),
            Effect::Truncated => answer.truncate(),
            Effect::SlowBody { seconds, pieces } => answer.drip(duration(seconds), pieces),
            Effect::Oversized { bytes } => answer.inflate(bytes),
            Effect::WrongInstance { instance_id } => {
                let body = rename_instances(&answer.body, &instance_id);
                Answer { body, ..answer }.send()
            }
            _ => std::future::pending().await,
        }
    }
}

struct Caller {
    account: u64,
    action: Action,
}

fn signed<'a>(parts: &'a Parts, body: &'a [u8]) -> Signed<'a> {
    Signed {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The answer with every InstanceId of its Result replaced.
fn rename_instances(body: &Bytes, instance_id: &str) -> Bytes {
    fn rename(value: &mut Value, instance_id: &str) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    if name == "InstanceId" {
                        *field = json!(instance_id);
                    } else {
                        rename(field, instance_id);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| rename(item, instance_id)),
            _ => {}
        }
    }
    let Ok(mut frame) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    if let Some(result) = frame.get_mut("Result") {
        rename(result, instance_id);
    }
    Bytes::from(frame.to_string())
}
