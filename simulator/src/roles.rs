//! Roles, the identities that they trust, and the temporary keys that they grant.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{later, whole_second};
use crate::jwt::{self, Claims};
use crate::keys::Keys;
use crate::model::{DEFAULT_ACCOUNT, KeySpec};

/// Identity tokens that a role accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OidcSpec {
    /// Required ProviderId (Tencent); any when absent.
    pub provider_id: Option<String>,
    /// Required audience, among those of the token.
    pub audience: Option<String>,
    pub issuer: Option<String>,
    pub subject: Option<String>,
    /// Accepted tokens; every JWT when empty. A JWT's signature is not verified.
    pub tokens: BTreeSet<String>,
}

impl OidcSpec {
    /// Returns whether only JWTs are accepted.
    fn wants_jwt(&self) -> bool {
        self.tokens.is_empty() || self.audience.is_some() || self.issuer.is_some() || self.subject.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RoleSpec {
    /// A TRN or a QCS name, compared literally.
    pub role: String,
    pub account_id: u64,
    /// At least 1. 12 hours by default, the most that Tencent Cloud documents (DurationSeconds is 1 to 43200 there);
    /// Volcengine documents 900 to the role's maximum, and no maximum of that.
    pub max_duration_seconds: i64,
    pub external_id: Option<String>,
    /// Access keys of any account that may assume the role; every key of its own account when empty.
    pub trusted_keys: BTreeSet<String>,
    pub oidc: Option<OidcSpec>,
}

impl Default for RoleSpec {
    fn default() -> Self {
        Self {
            role: String::new(),
            account_id: DEFAULT_ACCOUNT,
            max_duration_seconds: 43_200,
            external_id: None,
            trusted_keys: BTreeSet::new(),
            oidc: None,
        }
    }
}

impl RoleSpec {
    /// Returns a role that every key of its account may assume.
    pub fn new(role: impl Into<String>) -> Self {
        Self { role: role.into(), ..Self::default() }
    }

    /// Returns the last part of the name.
    pub(crate) fn short_name(&self) -> &str {
        self.role.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn trusts(&self, key: &KeySpec, external_id: Option<&str>) -> bool {
        let trusted = if self.trusted_keys.is_empty() {
            key.account_id == self.account_id
        } else {
            self.trusted_keys.contains(&key.access_key_id)
        };
        trusted && self.external_id.as_deref().is_none_or(|wanted| external_id == Some(wanted))
    }

    /// Returns the token's claims. `provider` is only known to Tencent Cloud.
    ///
    /// # Errors
    /// The reason why the role does not accept the token.
    pub(crate) fn accepts(
        &self,
        provider: Option<&str>,
        token: &str,
        now: Timestamp,
    ) -> Result<Claims, &'static str> {
        // SDKs differ: Volcengine's for Go and all of Tencent's send a token file as it is, Volcengine's for Python
        // trims it. The clouds' reaction is not documented; a client must not rely on their leniency.
        if token.ends_with('\n') {
            return Err("the token ends with a newline, which is no part of it");
        }
        let oidc = self.oidc.as_ref().ok_or("the role trusts no identity provider")?;
        if provider.is_some_and(|id| oidc.provider_id.as_deref().is_some_and(|wanted| wanted != id)) {
            return Err("the role trusts another identity provider");
        }
        if !oidc.tokens.is_empty() && !oidc.tokens.contains(token) {
            return Err("the token is not one of the role's identity provider");
        }
        let claims = match jwt::claims(token) {
            Some(claims) => claims,
            None if oidc.wants_jwt() => return Err("the token is no JWT"),
            None => return Ok(Claims::default()),
        };
        let differs =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_some_and(|text| text != found);
        if differs(&oidc.issuer, &claims.issuer) {
            return Err("the token has another issuer");
        }
        if oidc.audience.as_ref().is_some_and(|wanted| !claims.audiences.contains(wanted)) {
            return Err("the token is meant for another audience");
        }
        if differs(&oidc.subject, &claims.subject) {
            return Err("the token has another subject");
        }
        if claims.not_before.is_some_and(|start| now.as_second() < start) {
            return Err("the token is not valid yet");
        }
        match claims.expires {
            Some(end) if now.as_second() >= end => Err("the token has expired"),
            None if oidc.wants_jwt() => Err("the token has no expiry"),
            _ => Ok(claims),
        }
    }
}

/// Temporary credentials of an assumed role.
pub(crate) struct Grant {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub expires_at: Timestamp,
}

/// Creates a temporary key of the role's account; its id begins with `prefix`.
pub(crate) fn grant(
    keys: &mut Keys,
    role: &RoleSpec,
    prefix: &str,
    session: &str,
    seconds: i64,
    now: Timestamp,
) -> Grant {
    let random = || Uuid::new_v4().simple().to_string();
    let made = Grant {
        access_key_id: format!("{prefix}{}", random()),
        secret_access_key: random(),
        session_token: format!("STS{}{}==", random(), random()),
        // Responses report whole seconds, and the key must not outlive the reported time.
        expires_at: whole_second(later(now, seconds as f64)),
    };
    let spec = KeySpec {
        session_token: Some(made.session_token.clone()),
        account_id: role.account_id,
        user: format!("{}/{session}", role.short_name()),
        ..KeySpec::new(&made.access_key_id, &made.secret_access_key)
    };
    keys.grant(spec, made.expires_at, now);
    made
}

#[derive(Debug, Default)]
pub(crate) struct Roles(BTreeMap<String, RoleSpec>);

impl Roles {
    pub fn put(&mut self, spec: RoleSpec) {
        self.0.insert(spec.role.clone(), spec);
    }

    pub fn get(&self, role: &str) -> Option<&RoleSpec> {
        self.0.get(role)
    }

    pub fn remove(&mut self, role: &str) -> bool {
        self.0.remove(role).is_some()
    }

    pub fn list(&self) -> Vec<RoleSpec> {
        self.0.values().cloned().collect()
    }
}
