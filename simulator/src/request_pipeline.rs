//! The request pipeline: network faults, the gateway's checks, the action, and the response.

use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::clock::later;
use crate::error::ApiError;
use crate::faults::{Effect, Malformed, RequestAttributes, Stage, ThrottleStyle};
use crate::keys::Keys;
use crate::model::KeySpec;
use crate::request::Signed;
use crate::request_log::RequestRecord;
use crate::serve::Connection;
use crate::simulator::{CloudState, Simulator};

/// One cloud's parsing, checks and responses; the methods are in the order of their calls.
pub(crate) trait Gateway: Send + Sync + Sized {
    type Action: Copy + Send;

    const BODY_LIMIT: usize;
    const CONTENT_TYPE: &'static str;
    /// Field of a response that holds an action's result.
    const RESULT: &'static str;

    /// Reads the request's unverified claims; completes the record, which has the fields of every HTTP request.
    fn read(request: Signed<'_>, record: &mut RequestRecord) -> Self;

    /// Refuses a request before its signature is checked.
    fn screen(&self, request: Signed<'_>) -> Result<(), ApiError>;

    /// Returns the role of a call that is proved by no signature but by parameters that its action checks; empty if it
    /// names none. `None` for calls that must be signed.
    fn unsigned_role(&self, request: Signed<'_>) -> Option<&str>;

    fn authenticate<'k>(
        &self,
        request: Signed<'_>,
        keys: &'k Keys,
        server_now: Timestamp,
    ) -> Result<&'k KeySpec, ApiError>;

    /// Returns the requested action, if the key that signed the request may call it.
    fn permit(&self, request: Signed<'_>, key: Option<&KeySpec>) -> Result<Self::Action, ApiError>;

    /// Applies the cloud's own limits, in addition to those of the account.
    fn limit(&self, _account: u64, _state: &mut CloudState, _now: Timestamp) -> Result<(), ApiError> {
        Ok(())
    }

    fn act(
        &self,
        call: Admitted<'_, Self::Action>,
        state: &mut CloudState,
        now: Timestamp,
    ) -> Result<Value, ApiError>;

    /// Wraps a result or an error in the documented envelope.
    fn wrap(&self, outcome: Result<Value, ApiError>, date: Timestamp) -> (StatusCode, Value);

    fn throttled(style: ThrottleStyle) -> ApiError;

    /// Returns the refusal for the account's configured limit.
    fn account_throttled(style: ThrottleStyle) -> ApiError {
        Self::throttled(style)
    }

    fn too_large() -> ApiError;

    /// Returns a result whose fields all have other types than documented.
    fn wrong_types() -> Value;
}

/// A request that passed the gateway.
pub(crate) struct Admitted<'a, A> {
    pub action: A,
    pub account: u64,
    /// Key that signed the request.
    pub key: Option<KeySpec>,
    pub body: &'a [u8],
}

/// Decision of the gateway on a request.
enum Outcome {
    Responded(Result<Value, ApiError>),
    Throttled(ApiError, Option<String>),
    Malformed(Malformed, u16),
}

impl Outcome {
    fn name(&self) -> &str {
        match self {
            Self::Responded(Ok(_)) => "ok",
            Self::Responded(Err(error)) | Self::Throttled(error, _) => &error.code,
            Self::Malformed(..) => "malformed",
        }
    }
}

/// A request in progress, counted as in flight until it is dropped.
struct PendingRequest<G> {
    simulator: Simulator,
    gateway: G,
    parts: Parts,
    body: Bytes,
    facts: RequestAttributes,
    number: u64,
}

impl<G> Drop for PendingRequest<G> {
    fn drop(&mut self) {
        self.simulator.lock().ledger.end();
    }
}

pub(crate) async fn answer<G: Gateway>(simulator: Simulator, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let connection = parts.extensions.get::<ConnectInfo<Connection>>().map(|info| info.0.clone());
    let Ok(body) = axum::body::to_bytes(body, G::BODY_LIMIT).await else {
        let date = simulator.now();
        let request = Signed::new(&parts, b"");
        let gateway = G::read(request, &mut RequestRecord::of(request, date));
        return wrap_response(&gateway, Err(G::too_large()), date).send();
    };
    PendingRequest::<G>::begin(simulator, parts, body).run(connection.as_ref()).await
}

impl<G: Gateway> PendingRequest<G> {
    fn begin(simulator: Simulator, parts: Parts, body: Bytes) -> Self {
        let request = Signed::new(&parts, &body);
        let mut record = RequestRecord::of(request, simulator.now());
        let gateway = G::read(request, &mut record);
        let facts = RequestAttributes {
            action: record.action.clone(),
            instance_id: record.instance_id.clone(),
            access_key_id: record.access_key_id.clone(),
        };
        let number = simulator.lock().ledger.begin(record);
        Self { simulator, gateway, parts, body, facts, number }
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
                    let date = later(self.simulator.now(), skew);
                    let answer = Answer::new(status, G::CONTENT_TYPE, "", date);
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
        let name = outcome.name().to_owned();
        let answer = self.answer(outcome, server_now);
        match self.take(Stage::Answer).into_iter().next() {
            None => {
                self.conclude(&name);
                answer.send()
            }
            Some(effect) => {
                self.conclude(effect.name());
                self.spoil(answer, effect, connection).await
            }
        }
    }

    /// Decides on the request under one lock of the state, at one moment.
    fn decide(&self, now: Timestamp, server_now: Timestamp) -> Outcome {
        let mut guard = self.simulator.lock();
        let state = &mut *guard;
        state.world.advance(now);
        let call = match self.admit(state, server_now) {
            Ok(call) => call,
            Err(error) => return Outcome::Responded(Err(error)),
        };
        if let Some(bucket) = state.buckets.get_mut(&call.account)
            && !bucket.pass(now)
        {
            let refusal = G::account_throttled(bucket.limit.style);
            return Outcome::Throttled(refusal, bucket.limit.retry_after.clone());
        }
        if let Err(refusal) = self.gateway.limit(call.account, state, now) {
            return Outcome::Throttled(refusal, None);
        }
        match state.faults.take(Stage::Gateway, &self.facts).into_iter().next() {
            Some(Effect::Throttle { style, retry_after }) => {
                Outcome::Throttled(G::throttled(style), retry_after)
            }
            Some(Effect::Malformed { shape, status }) => Outcome::Malformed(shape, status),
            Some(Effect::Error { status, code, message, code_n }) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Outcome::Responded(Err(ApiError { status, code: code.into(), code_n, message }))
            }
            _ => Outcome::Responded(self.gateway.act(call, state, now)),
        }
    }

    fn admit(
        &self,
        state: &mut CloudState,
        server_now: Timestamp,
    ) -> Result<Admitted<'_, G::Action>, ApiError> {
        let request = Signed::new(&self.parts, &self.body);
        self.gateway.screen(request)?;
        if let Some(role) = self.gateway.unsigned_role(request) {
            let action = self.gateway.permit(request, None)?;
            // No account's, if the role does not exist; the action refuses the call then.
            let account = state.roles.get(role).map_or(0, |role| role.account_id);
            return Ok(Admitted { action, account, key: None, body: &self.body });
        }
        let verdict = self.gateway.authenticate(request, &state.keys, server_now);
        state.ledger.authentic(self.number, verdict.is_ok());
        let key = verdict?;
        let action = self.gateway.permit(request, Some(key))?;
        Ok(Admitted { action, account: key.account_id, key: Some(key.clone()), body: &self.body })
    }

    fn answer(&self, outcome: Outcome, date: Timestamp) -> Answer {
        match outcome {
            Outcome::Responded(result) => wrap_response(&self.gateway, result, date),
            Outcome::Throttled(error, retry_after) => {
                let answer = wrap_response(&self.gateway, Err(error), date);
                match retry_after {
                    Some(value) => answer.with_header(header::RETRY_AFTER, &value),
                    None => answer,
                }
            }
            Outcome::Malformed(shape, status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                let content_type = match shape {
                    Malformed::Html => "text/html; charset=utf-8",
                    _ => G::CONTENT_TYPE,
                };
                Answer::new(status, content_type, self.malformed(shape, date), date)
            }
        }
    }

    fn malformed(&self, shape: Malformed, date: Timestamp) -> String {
        let wrapped = |result| self.gateway.wrap(Ok(result), date).1.to_string();
        match shape {
            Malformed::Html => {
                "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>".into()
            }
            Malformed::NotJson => wrapped(json!({})).chars().take(24).collect(),
            Malformed::WrongShape => "[1, 2, 3]".into(),
            Malformed::WrongTypes => wrapped(G::wrong_types()),
            Malformed::Empty => String::new(),
        }
    }

    /// Applies a fault to the response of a request that took effect.
    async fn spoil(self, answer: Answer, effect: Effect, connection: Option<&Connection>) -> Response {
        match effect {
            Effect::LostResponse => answer::reset(connection),
            Effect::Truncated => answer.truncate(),
            Effect::SlowBody { seconds, pieces } => answer.drip(duration(seconds), pieces),
            Effect::Oversized { bytes } => answer.inflate(bytes),
            Effect::WrongInstance { instance_id } => {
                let body = rename_instances(&answer.body, G::RESULT, &instance_id);
                Answer { body, ..answer }.send()
            }
            _ => std::future::pending().await,
        }
    }
}

fn wrap_response<G: Gateway>(gateway: &G, outcome: Result<Value, ApiError>, date: Timestamp) -> Answer {
    let (status, frame) = gateway.wrap(outcome, date);
    Answer::new(status, G::CONTENT_TYPE, frame.to_string(), date)
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Replaces every InstanceId in the response's result.
fn rename_instances(body: &Bytes, result: &str, instance_id: &str) -> Bytes {
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
    if let Some(result) = frame.get_mut(result) {
        rename(result, instance_id);
    }
    Bytes::from(frame.to_string())
}
