//! Credentials of one account: the key pair, the session token of temporary credentials, and the identity token that
//! replaces a key pair where a cloud trusts its issuer.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::telemetry::redact::{Redactor, access_key_id_hint};

/// Key pair and optional session token. Cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    access_key_id: String,
    secret: SecretString,
    token: Option<SecretString>,
    /// Proof for which an STS issued these temporary credentials.
    issued_for: Option<Proof>,
}

/// Proof of identity that an STS exchanges for temporary credentials. Cheap to clone.
#[derive(Clone)]
pub enum Proof {
    Credentials(Credentials),
    Token(IdentityToken),
}

impl Proof {
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        match self {
            Self::Credentials(credentials) => Some(credentials),
            Self::Token(_) => None,
        }
    }

    pub(super) fn redactor(&self) -> Redactor<'_> {
        let mut redactor = Redactor::default();
        self.hide_in(&mut redactor);
        redactor
    }

    fn hide_in<'a>(&'a self, redactor: &mut Redactor<'a>) {
        match self {
            Self::Credentials(credentials) => credentials.hide_in(redactor),
            Self::Token(token) => redactor.hide_secret(token.value()),
        }
    }
}

impl Credentials {
    /// Creates credentials; an empty token counts as none.
    pub fn new(access_key_id: &str, secret: &str, token: Option<&str>) -> Self {
        Self::of(access_key_id, secret, token, None)
    }

    /// Creates credentials that an STS issued for `proof`, whose values are redacted as well.
    pub(super) fn temporary(access_key_id: &str, secret: &str, token: &str, proof: Proof) -> Self {
        Self::of(access_key_id, secret, Some(token), Some(proof))
    }

    fn of(access_key_id: &str, secret: &str, token: Option<&str>, issued_for: Option<Proof>) -> Self {
        Self(Arc::new(Inner {
            access_key_id: access_key_id.to_owned(),
            secret: SecretString::from(secret),
            token: token.filter(|t| !t.is_empty()).map(SecretString::from),
            issued_for,
        }))
    }

    /// Returns the redactor for cloud messages about calls with these credentials: it hides their values, and those of
    /// the proof they were obtained with.
    pub fn redactor(&self) -> Redactor<'_> {
        let mut redactor = Redactor::default();
        self.hide_in(&mut redactor);
        redactor
    }

    fn hide_in<'a>(&'a self, redactor: &mut Redactor<'a>) {
        redactor.hide_access_key_id(&self.0.access_key_id);
        redactor.hide_secret(self.0.secret.expose_secret());
        if let Some(token) = &self.0.token {
            redactor.hide_secret(token.expose_secret());
        }
        if let Some(proof) = &self.0.issued_for {
            proof.hide_in(redactor);
        }
    }

    /// Returns a form such as `AKLT…XyZ9`; `None` for an id that is too short to be shown in part, or does not look
    /// like one.
    pub fn access_key_id_hint(&self) -> Option<String> {
        access_key_id_hint(&self.0.access_key_id)
    }

    /// Returns the SHA-256 over the three values, each with its length; for comparison only, never to be shown.
    pub fn fingerprint(&self) -> [u8; 32] {
        let token = self.0.token.as_ref().map_or("", |t| t.expose_secret());
        let mut hash = Sha256::new();
        for part in [&self.0.access_key_id, self.0.secret.expose_secret(), token] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().into()
    }

    pub(super) fn access_key_id(&self) -> &str {
        &self.0.access_key_id
    }

    pub(super) fn secret(&self) -> &SecretString {
        &self.0.secret
    }

    pub(super) fn token(&self) -> Option<&SecretString> {
        self.0.token.as_ref()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.access_key_id_hint().as_deref().unwrap_or("hidden"))
    }
}

/// A token that proves an identity to a cloud's STS: a JWT such as that of a ServiceAccount. Cheap to clone.
#[derive(Clone)]
pub struct IdentityToken(Arc<SecretString>);

impl IdentityToken {
    /// Reads the text of a token file. Surrounding white space, such as a newline at the end, is no part of a JWT and
    /// is trimmed. `None` if nothing else is left.
    pub fn new(text: &str) -> Option<Self> {
        let token = text.trim();
        (!token.is_empty()).then(|| Self(Arc::new(SecretString::from(token))))
    }

    pub(super) fn value(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityToken(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_values_apart_wherever_their_borders_are() {
        let of = |id, secret, token| Credentials::new(id, secret, token).fingerprint();
        assert_eq!(of("fpr-idfpr", "fpr-key", None), of("fpr-idfpr", "fpr-key", None));
        assert_eq!(
            of("fpr-id", "fpr-key", None),
            of("fpr-id", "fpr-key", Some("")),
            "an empty token is none"
        );
        let all = [
            of("fpr-id", "fpr-key", None),
            of("fpr-idf", "pr-key", None),
            of("fpr-id", "fpr-", Some("key")),
            of("fpr-", "idfpr-key", None),
            of("fpr-id", "fpr-key", Some("fpr-token")),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|other| other != one), "{i}");
        }
    }

    #[test]
    fn debug_shows_the_hint_alone() {
        let shown = format!(
            "{:?}",
            Credentials::new("AKLTdebugdebug00XyZ9", "debug-secret-1", Some("debug-token-1"))
        );
        assert_eq!(shown, "Credentials(AKLT…XyZ9)");
        assert_eq!(format!("{:?}", Credentials::new("short", "debug-secret-2", None)), "Credentials(hidden)");
    }

    #[test]
    fn an_identity_token_is_trimmed_and_shown_nowhere() {
        assert!(["", " ", "\n\t "].iter().all(|text| IdentityToken::new(text).is_none()));
        let text = "eyJ0cmltbWVk.identity.token";
        let token = IdentityToken::new(&format!(" {text}\r\n")).unwrap();
        assert_eq!((token.value(), format!("{token:?}").as_str()), (text, "IdentityToken(hidden)"));
    }

    #[test]
    fn temporary_credentials_hide_what_they_were_obtained_with() {
        let token = IdentityToken::new("eyJsaW5lYWdl.identity.token").unwrap();
        let first = Credentials::temporary(
            "AKTPfirst00000000001",
            "first-secret-of-two",
            "first-token-of-two",
            Proof::Token(token),
        );
        let proof = Proof::Credentials(first);
        let second = Credentials::temporary(
            "AKTPsecond0000000002",
            "second-secret-of-two",
            "second-token-of-two",
            proof,
        );
        let said = "AKTPsecond0000000002 second-secret-of-two second-token-of-two AKTPfirst00000000001 first-secret-of-two \
                    first-token-of-two eyJsaW5lYWdl.identity.token AKTPother00000000003";
        assert_eq!(
            second.redactor().clean(said.chars()),
            "AKTP…0002 [redacted] [redacted] AKTP…0001 [redacted] [redacted] [redacted] AKTPother00000000003"
        );
    }
}
