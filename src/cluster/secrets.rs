//! Reads Secrets by name. Their values are in secrecy's types from the moment they are read, and never appear in a
//! log line or an error.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::core::request::Request;
use kube::{Client, Resource};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{has_status_code, last_change};
use crate::telemetry::redact::SECRET_LEN_MAX;

/// Timeout of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A Secret that can be logged: its Debug output has names and keys, and no value.
#[derive(Clone, Debug)]
pub struct Secret {
    name: String,
    /// Time of the last change, as recorded by the API server.
    changed: Option<Timestamp>,
    data: BTreeMap<String, SecretSlice<u8>>,
}

impl Secret {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns when any writer created or last changed the Secret, as recorded by the API server, in whole seconds;
    /// `None` for a manifest.
    pub fn changed(&self) -> Option<Timestamp> {
        self.changed
    }
}

/// Reads a manifest as the API server does: `stringData` overrides `data`.
impl From<core::Secret> for Secret {
    fn from(secret: core::Secret) -> Self {
        let encoded = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        let plain = secret.string_data.unwrap_or_default().into_iter().map(|(key, s)| (key, s.into_bytes()));
        Self {
            changed: last_change(&secret.metadata),
            name: secret.metadata.name.unwrap_or_default(),
            data: encoded.chain(plain).map(|(key, value)| (key, SecretSlice::from(value))).collect(),
        }
    }
}

impl Secret {
    /// Reads a manifest, which may be encrypted by SOPS: an encrypted value need not be base64.
    ///
    /// # Errors
    /// The manifest is no Secret. The error has no details, since they may repeat a value.
    pub fn from_manifest(value: &Value) -> Result<Self, NotASecret> {
        let mut value = value.clone();
        let mut encrypted = Map::new();
        if let Some(Value::Object(data)) = value.get_mut("data") {
            data.retain(|key, value| {
                let is_encrypted = value.as_str().is_some_and(|text| placeholder(text).is_some());
                if is_encrypted {
                    encrypted.insert(key.clone(), value.take());
                }
                !is_encrypted
            });
        }
        let secret: core::Secret = serde_json::from_value(value).map_err(|_| NotASecret)?;
        let mut secret = Self::from(secret);
        for (key, value) in encrypted {
            let value = value.as_str().unwrap_or_default().as_bytes().to_vec();
            secret.data.entry(key).or_insert_with(|| SecretSlice::from(value));
        }
        Ok(secret)
    }

    /// Describes the placeholder that one of these keys has instead of a value.
    pub fn placeholder_of<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
        let text = |key| std::str::from_utf8(self.data.get(key)?.expose_secret()).ok();
        keys.into_iter().filter_map(text).find_map(|text| placeholder(text.trim_ascii()))
    }
}

/// The manifest is no Secret.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("data must be base64, and stringData text, for each key")]
pub struct NotASecret;

/// Describes a value that a tool should have replaced: an encrypted one, or a template's placeholder. No key of a
/// cloud looks like one: keys consist of letters, digits and `+/=_-.` throughout.
fn placeholder(text: &str) -> Option<&'static str> {
    let begins = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    let encloses =
        |open: &str, close: &str| text.split_once(open).is_some_and(|(_, rest)| rest.contains(close));
    // Helm, Jinja and Argo CD; envsubst, Flux and kustomize; argocd-vault-plugin, and placeholders for people to fill
    // in.
    let is_template = encloses("{{", "}}")
        || encloses("${", "}")
        || encloses("$(", ")")
        || encloses("<path:", ">")
        || (text.starts_with('<') && text.ends_with('>'))
        || text.strip_prefix('$').is_some_and(is_variable);
    if begins(&["ENC["]) {
        // Values of hiera-eyaml have this prefix as well.
        Some("the value is encrypted by SOPS")
    } else if begins(&["$ANSIBLE_VAULT;"]) {
        Some("the value is encrypted by ansible-vault")
    } else if begins(&["-----BEGIN AGE ", "age-encryption.org/"]) {
        Some("the value is encrypted by age")
    } else if begins(&["-----BEGIN PGP "]) {
        Some("the value is encrypted by PGP")
    } else if begins(&["ref+", "secretref+", "vault:", "op://", "arn:aws:"]) {
        Some("the value is a reference to another store")
    } else if is_template {
        Some("the value is a template's placeholder")
    } else {
        None
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The Secret could not be read; it may exist.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no answer from the API server within {CALL_TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Without details, since they may repeat a value.
    #[error("the API server's answer is no Secret")]
    Malformed,
}

/// A value that cannot be a credential. The error names Secret and key, and never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Secret {secret}, key {key}: {problem}")]
pub struct InvalidCredential {
    pub secret: String,
    pub key: String,
    pub problem: &'static str,
}

/// Source of Secrets.
#[derive(Clone)]
pub enum Secrets {
    Cluster(Client),
    /// Secrets that were read before, or never were in a cluster: those of manifests, and of the environment.
    InMemory(InMemory),
}

/// In-memory Secrets by namespace and name.
#[derive(Clone, Default)]
pub struct InMemory(Arc<Mutex<HashMap<(String, String), Secret>>>);

impl InMemory {
    pub fn put(&self, namespace: &str, secret: Secret) {
        let key = (namespace.to_owned(), secret.name.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, secret);
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Secret> {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }
}

impl Secrets {
    /// Returns the Secret, or `None` if there is none.
    ///
    /// # Errors
    /// The API server refuses, or does not answer.
    pub async fn read(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ReadError> {
        match self {
            Self::Cluster(client) => read_secret(client, namespace, name).await,
            Self::InMemory(held) => Ok(held.get(namespace, name)),
        }
    }
}

/// Reads a Secret; `None` if the API server answers 404.
///
/// # Errors
/// The API server refuses, or does not answer.
pub async fn read_secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, ReadError> {
    let request = Request::new(core::Secret::url_path(&(), Some(namespace)))
        .get(name, &kube::api::GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    // `Api::get` would log an answer that it cannot parse, including values.
    let text =
        match timeout(CALL_TIMEOUT, client.request_text(request)).await.map_err(|_| ReadError::Timeout)? {
            Ok(text) => SecretString::from(text),
            Err(error) if has_status_code(&error, 404) => return Ok(None),
            Err(kube::Error::FromUtf8(_)) => return Err(ReadError::Malformed),
            Err(error) => return Err(error.into()),
        };
    let secret: core::Secret =
        serde_json::from_str(text.expose_secret()).map_err(|_| ReadError::Malformed)?;
    Ok(Some(secret.into()))
}

/// Returns the value under `key` without surrounding white space; `None` if the Secret has no such key.
///
/// # Errors
/// The value is empty, encrypted or a placeholder, too long, not ASCII, or has control characters inside.
pub fn credential(secret: &Secret, key: &str) -> Result<Option<SecretString>, InvalidCredential> {
    let Some(value) = secret.data.get(key) else { return Ok(None) };
    let bad = |problem| InvalidCredential { secret: secret.name.clone(), key: key.to_owned(), problem };
    let value = value.expose_secret().trim_ascii();
    let text = std::str::from_utf8(value);
    if let Some(problem) = text.ok().and_then(placeholder) {
        return Err(bad(problem));
    }
    match text {
        Ok("") => Err(bad("the value is empty")),
        Ok(text) if text.len() > SECRET_LEN_MAX => Err(bad("the value is longer than 8192 bytes")),
        Ok(text) if text.is_ascii() => {
            if text.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(bad("the value has control characters, such as a line break, inside"));
            }
            Ok(Some(SecretString::from(text)))
        }
        _ => Err(bad("the value has characters that are not ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::{Method, StatusCode};
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::{self, refusal};

    async fn read(status: StatusCode, answer: Value) -> Result<Option<Secret>, ReadError> {
        let client = testing::client(move |call| {
            assert_eq!(
                (call.method, call.path.as_str()),
                (Method::GET, "/api/v1/namespaces/payments/secrets/volc-prod")
            );
            let answer = answer.clone();
            async move { (status, answer) }
        });
        read_secret(&client, "payments", "volc-prod").await
    }

    fn secret(value: &[u8]) -> Secret {
        core::Secret {
            metadata: kube::api::ObjectMeta { name: Some("volc-prod".to_owned()), ..Default::default() },
            data: Some(BTreeMap::from([("accessKeyId".to_owned(), k8s_openapi::ByteString(value.to_vec()))])),
            ..core::Secret::default()
        }
        .into()
    }

    #[tokio::test(start_paused = true)]
    async fn reads_a_secret_and_shows_no_value_of_it() {
        let answer = json!({
            "metadata": {"name": "volc-prod", "resourceVersion": "5"}, "data": {"accessKeyId": "QUtMVC1jYW5hcnk="},
        });
        let secret = read(StatusCode::OK, answer).await.unwrap().unwrap();
        assert_eq!(secret.name(), "volc-prod");
        assert_eq!(credential(&secret, "accessKeyId").unwrap().unwrap().expose_secret(), "AKLT-canary");
        assert!(credential(&secret, "sessionToken").unwrap().is_none());
        let shown = format!("{secret:?}");
        assert!(
            shown.contains("accessKeyId") && !shown.contains("canary") && !shown.contains("65, 75"),
            "{shown}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn tells_a_missing_secret_from_one_that_cannot_be_read() {
        assert!(read(StatusCode::NOT_FOUND, json!({"code": 404})).await.unwrap().is_none());
        let (code, body) = refusal(StatusCode::FORBIDDEN, "Forbidden", "not you");
        assert!(matches!(read(code, body).await, Err(ReadError::Api(_))));
        let error =
            read(StatusCode::OK, json!({"metadata": {}, "data": {"key": "canary!"}})).await.unwrap_err();
        assert!(matches!(error, ReadError::Malformed));
        assert!(!format!("{error} {error:?}").contains("canary"));
        let silent = testing::client(|_| std::future::pending());
        assert!(matches!(read_secret(&silent, "payments", "volc-prod").await, Err(ReadError::Timeout)));
    }

    #[test]
    fn cuts_surrounding_white_space() {
        for value in ["AKLT x+/=", " AKLT x+/=\n", "\r\n\tAKLT x+/=\r\n"] {
            let found = credential(&secret(value.as_bytes()), "accessKeyId").unwrap().unwrap();
            assert_eq!(found.expose_secret(), "AKLT x+/=");
        }
    }

    #[test]
    fn refuses_what_no_credential_is_without_repeating_it() {
        for (value, problem) in [
            (b"".as_slice(), "empty"),
            (b" \n\t", "empty"),
            (b"canary\nsecond", "control"),
            (b"canary\0", "control"),
            (b"canary\x7f", "control"),
            ("canary\u{a0}".as_bytes(), "not ASCII"),
            ("\u{feff}canary".as_bytes(), "not ASCII"),
            (b"canary\xff", "not ASCII"),
            ("canary".repeat(1366).as_bytes(), "longer than 8192 bytes"),
        ] {
            let error = credential(&secret(value), "accessKeyId").unwrap_err();
            let text = error.to_string();
            assert!(
                text.starts_with("Secret volc-prod, key accessKeyId: ") && text.contains(problem),
                "{text}"
            );
            assert!(!format!("{text}{error:?}").contains("canary"));
        }
    }

    /// Examples from the documentation of each tool.
    const PLACEHOLDERS: [&str; 18] = [
        "ENC[AES256_GCM,data:p673w==,iv:YY=,aad:UQ=,tag:A=,type:str]",
        "ENC[PKCS7,MIIBeQYJKoZIhvcNAQcDoIIBajCCAWYCAQAx]",
        "$ANSIBLE_VAULT;1.1;AES256\n6231333832\n",
        "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----",
        "-----BEGIN PGP MESSAGE-----\n\nhQEM\n-----END PGP MESSAGE-----",
        "age-encryption.org/v1\n-> X25519 abc",
        "{{ .Values.accessKeyId }}",
        "{{- required \"key\" .Values.key | quote -}}",
        "prefix-{{ key }}",
        "${ACCESS_KEY_ID}",
        "${ACCESS_KEY_ID:=none}",
        "$(ACCESS_KEY_ID)",
        "$ACCESS_KEY_ID",
        "ref+vault://secret/cloud#/accessKeyId",
        "<path:secret/data/cloud#accessKeyId>",
        "<your access key id>",
        "vault:secret/data/cloud#accessKeyId",
        "op://infra/cloud/accessKeyId",
    ];

    #[test]
    fn what_a_tool_was_to_replace_is_no_credential() {
        for value in PLACEHOLDERS {
            for value in [value.to_owned(), format!(" {value}\n")] {
                let error = credential(&secret(value.as_bytes()), "accessKeyId").unwrap_err();
                let text = error.to_string();
                assert!(
                    text.starts_with("Secret volc-prod, key accessKeyId: the value is "),
                    "{value}: {text}"
                );
                assert!(!text.contains(&value.trim()[..5]), "{text}");
            }
        }
    }

    /// Shapes that the clouds document, and other values from letters, digits and the special characters of base64
    /// and JWT.
    #[test]
    fn what_clouds_issue_is_a_credential() {
        for value in [
            "AKLTYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo",
            "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE",
            "AKAPMjEwMDAwMDAwMA==",
            "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE",
            "WkdVM01qVTNOalk0TkdFMk5HUXdNMkl4WXpZME5qZz0=",
            "STSeyJBY2NvdW50SWQiOjIxMDAwMDAwMDB9.abc_DEF-0+1/2==",
            "enc-0123456789",
            "vault0123456789",
            "refA+B/C==",
        ] {
            let found = credential(&secret(value.as_bytes()), "accessKeyId").unwrap().unwrap();
            assert_eq!(found.expose_secret(), value);
        }
    }

    #[test]
    fn an_encrypted_manifest_is_read_and_known_by_its_values() {
        let encrypted = PLACEHOLDERS[0];
        let manifest = |field: &str, id: &str| json!({"metadata": {"name": "volc-prod"}, field: {"accessKeyId": id, "other": "b2xk"}, "sops": {"mac": "x"}});
        let base64 = STANDARD.encode(encrypted);
        for value in
            [manifest("data", encrypted), manifest("data", &base64), manifest("stringData", encrypted)]
        {
            let secret = Secret::from_manifest(&value).unwrap();
            assert_eq!(
                secret.placeholder_of(["other", "accessKeyId"]),
                Some("the value is encrypted by SOPS")
            );
            assert_eq!(secret.placeholder_of(["other", "missing"]), None);
            assert!(credential(&secret, "accessKeyId").is_err());
        }
        let overridden = json!({"metadata": {}, "data": {"a": encrypted}, "stringData": {"a": "plain"}});
        let secret = Secret::from_manifest(&overridden).unwrap();
        assert_eq!(credential(&secret, "a").unwrap().unwrap().expose_secret(), "plain");
        for wrong in
            [json!({"data": {"a": "canary!"}}), json!({"data": {"a": 7}}), json!({"data": "ENC["}), json!([])]
        {
            assert!(Secret::from_manifest(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_string_data_of_a_manifest() {
        let manifest: core::Secret = serde_json::from_value(json!({
            "metadata": {"name": "volc-prod"}, "data": {"a": "b2xk", "b": "b2xk"}, "stringData": {"a": "new"},
        }))
        .unwrap();
        let secret = Secret::from(manifest);
        assert_eq!(credential(&secret, "a").unwrap().unwrap().expose_secret(), "new");
        assert_eq!(credential(&secret, "b").unwrap().unwrap().expose_secret(), "old");
    }
}
