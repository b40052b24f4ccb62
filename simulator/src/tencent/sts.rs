//! The actions of STS, version 2018-08-13.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error;
use super::params::Params;
use crate::error::ApiError;
use crate::model::KeySpec;
use crate::roles::{RoleSpec, grant};
use crate::simulator::CloudState;

pub(super) const VERSION: &str = "2018-08-13";
pub(super) const SERVICE: &str = "sts";

const KEY_PREFIX: &str = "AKID";
const DEFAULT_SECONDS: i64 = 7200;
const MOST_SECONDS: i64 = 43_200;

const WITH_KEY: &[&str] = &[
    "RoleArn",
    "RoleSessionName",
    "DurationSeconds",
    "Policy",
    "ExternalId",
    "Tags",
    "SourceIdentity",
    "SerialNumber",
    "TokenCode",
];
const WITH_TOKEN: &[&str] =
    &["ProviderId", "WebIdentityToken", "RoleArn", "RoleSessionName", "DurationSeconds"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    AssumeRole,
    AssumeRoleWithWebIdentity,
}

impl Action {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "AssumeRole" => Some(Self::AssumeRole),
            "AssumeRoleWithWebIdentity" => Some(Self::AssumeRoleWithWebIdentity),
            _ => None,
        }
    }
}

/// Runs a call; `caller` is the key that signed it.
pub(super) fn run(
    action: Action,
    caller: Option<&KeySpec>,
    body: &[u8],
    state: &mut CloudState,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let known = match action {
        Action::AssumeRole => WITH_KEY,
        Action::AssumeRoleWithWebIdentity => WITH_TOKEN,
    };
    let params = Params::parse(body, known)?;
    let token = match action {
        Action::AssumeRole => None,
        Action::AssumeRoleWithWebIdentity => {
            Some((params.required_text("ProviderId")?, params.required_text("WebIdentityToken")?))
        }
    };
    let name = params.required_text("RoleArn")?;
    let session = params.required_text("RoleSessionName")?;
    let well_formed = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if !(2..=128).contains(&session.len()) || !session.chars().all(well_formed) {
        return Err(error::sts_parameter("RoleSessionName must be 2 to 128 characters of [\\w+=,.@_-]."));
    }
    let role = state.roles.get(name).ok_or_else(|| error::role_not_found(name))?;
    let seconds = duration(&params, role)?;
    match token {
        None => {
            let external_id = params.text("ExternalId")?;
            if !caller.is_some_and(|key| role.trusts(key, external_id)) {
                return Err(error::sts_unauthorized("AssumeRole", name));
            }
        }
        Some((provider, token)) => {
            role.accepts(Some(provider), token, now).map_err(error::web_identity_token)?;
        }
    }
    let made = grant(&mut state.keys, role, KEY_PREFIX, session, seconds, now);
    Ok(json!({
        "Credentials": {
            "Token": made.session_token,
            "TmpSecretId": made.access_key_id,
            "TmpSecretKey": made.secret_access_key,
        },
        "ExpiredTime": made.expires_at.as_second(),
        "Expiration": made.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }))
}

fn duration(params: &Params, role: &RoleSpec) -> Result<i64, ApiError> {
    let most = role.max_duration_seconds.min(MOST_SECONDS);
    // The default must not make a role with a lower maximum refuse the call.
    let seconds = params.integer("DurationSeconds")?.unwrap_or(DEFAULT_SECONDS.min(most));
    if !(1..=most).contains(&seconds) {
        return Err(error::over_time(most));
    }
    Ok(seconds)
}
