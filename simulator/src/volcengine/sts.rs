//! The actions of STS, version 2018-01-01. They take their parameters from the query and from a form.

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};
use serde_json::{Value, json};

use super::error;
use super::signing::query_pairs;
use crate::error::ApiError;
use crate::model::KeySpec;
use crate::redact::is_form;
use crate::request::Signed;
use crate::roles::{Grant, RoleSpec, grant};
use crate::simulator::CloudState;

pub(super) const VERSION: &str = "2018-01-01";
pub(super) const SERVICE: &str = "sts";

const KEY_PREFIX: &str = "AKTP";
const LEAST_SECONDS: i64 = 900;
const DEFAULT_SECONDS: i64 = 3600;
const LONGEST_POLICY: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    AssumeRole,
    AssumeRoleWithOidc,
}

impl Action {
    pub fn named(name: &str, version: &str) -> Option<Self> {
        match name {
            "AssumeRole" if version == VERSION => Some(Self::AssumeRole),
            "AssumeRoleWithOIDC" if version == VERSION => Some(Self::AssumeRoleWithOidc),
            _ => None,
        }
    }
}

/// Parameters by name; an empty one counts as absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub fn read(request: Signed<'_>) -> Self {
        let mut pairs = query_pairs(request.query);
        if is_form(request) {
            pairs.extend(query_pairs(&String::from_utf8_lossy(request.body)));
        }
        Self(pairs)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| error::missing_parameter(name))
    }
}

/// Runs a call; `caller` is the key that signed it.
pub(super) fn run(
    action: Action,
    caller: Option<&KeySpec>,
    params: &Params,
    state: &mut CloudState,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let name = params.required("RoleTrn")?;
    let session = params.required("RoleSessionName")?;
    let well_formed = |letter: char| letter.is_ascii_alphanumeric() || ".-_@".contains(letter);
    if !(2..=64).contains(&session.len()) || !session.chars().all(well_formed) {
        return Err(error::sts_parameter("RoleSessionName must be 2 to 64 characters of [A-Za-z0-9.-_@]."));
    }
    if params.text("Policy").is_some_and(|policy| policy.chars().count() > LONGEST_POLICY) {
        return Err(error::sts_parameter("Policy must not be longer than 2048 characters."));
    }
    let token = match action {
        Action::AssumeRole => None,
        Action::AssumeRoleWithOidc => Some(params.required("OIDCToken")?),
    };
    if token.is_some_and(|token| !(4..=65_536).contains(&token.chars().count())) {
        return Err(error::sts_parameter("OIDCToken must be 4 to 65536 characters."));
    }
    let role = state.roles.get(name).ok_or_else(|| error::role_not_exist(name))?;
    let seconds = duration(params, role)?;
    let claims = match token {
        None => {
            let trusted = caller.is_some_and(|key| role.trusts(key, params.text("ExternalId")));
            trusted.then_some(None).ok_or_else(|| error::untrusted(name))?
        }
        Some(token) => Some(role.accepts(None, token, now).map_err(error::invalid_oidc_token)?),
    };
    let made = grant(&mut state.keys, role, KEY_PREFIX, session, seconds, now);
    let mut result = json!({
        "Credentials": credentials(&made, action, now),
        "AssumedRoleUser": {
            "AssumedRoleId": format!("{}:{session}", role.short_name()),
            "Trn": format!("trn:sts::{}:assumed-role/{}/{session}", role.account_id, role.short_name()),
        },
    });
    if let Some(claims) = claims {
        let at =
            |second: Option<i64>| second.and_then(|second| Timestamp::from_second(second).ok()).map(time);
        result["OIDCTokenInfo"] = json!({
            "Subject": claims.subject,
            "Issuer": claims.issuer,
            "ClientIds": claims.audiences,
            "ExpirationTime": at(claims.expires),
            "IssuanceTime": at(claims.issued),
        });
    }
    Ok(result)
}

fn duration(params: &Params, role: &RoleSpec) -> Result<i64, ApiError> {
    let most = role.max_duration_seconds;
    let seconds = params.text("DurationSeconds").map_or(Ok(DEFAULT_SECONDS), str::parse);
    seconds.ok().filter(|seconds| (LEAST_SECONDS..=most).contains(seconds)).ok_or_else(|| {
        error::sts_parameter(format!("DurationSeconds must be between {LEAST_SECONDS} and {most}."))
    })
}

fn credentials(made: &Grant, action: Action, now: Timestamp) -> Value {
    let expiry = match action {
        Action::AssumeRole => "ExpiredTime",
        Action::AssumeRoleWithOidc => "Expiration",
    };
    let mut credentials = json!({
        "CurrentTime": time(now),
        "AccessKeyId": made.access_key_id,
        "SecretAccessKey": made.secret_access_key,
        "SessionToken": made.session_token,
    });
    credentials[expiry] = json!(time(made.expires_at));
    credentials
}

/// Formats a time as in the samples, which use China's time.
fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::fixed(tz::offset(8))).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}
