//! Secrets, as the API server gives them: the values of their keys, and the whole answer.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use secrecy::ExposeSecret;
use serde_json::json;
use tower::service_fn;

use super::run;
use crate::cloud::Credentials;
use crate::cluster::secrets::{Secret, credential, read_secret};
use crate::telemetry::redact::{HIDDEN, LONGEST, SHORTEST};

const NAME: &str = "volc-prod";
const KEYS: [&str; 3] = ["accessKeyId", "secretAccessKey", "sessionToken"];
/// A shorter value may well be a part of what is shown anyhow.
const TELLING: usize = 12;

pub fn secrets(data: &[u8]) {
    let value = STANDARD.encode(data);
    let stored = json!({
        "metadata": {"name": NAME},
        "data": {"accessKeyId": value, "secretAccessKey": value, "sessionToken": value},
    });
    let secret =
        read(stored.to_string().into_bytes()).expect("a Secret of any bytes is one").expect("it is there");
    // What is shown is the same whatever the values are.
    let other = read(br#"{"metadata":{"name":"volc-prod"},"data":{"accessKeyId":"","secretAccessKey":"","sessionToken":""}}"#.to_vec());
    let other = other.expect("a Secret of empty values is one").expect("it is there");
    assert_eq!(format!("{secret:?}"), format!("{other:?}"));
    for key in KEYS {
        check(&secret, key, data);
    }
    match read(data.to_vec()) {
        Ok(Some(secret)) => check(&secret, "accessKeyId", data),
        Ok(None) => {}
        Err(told) => assert_silent(&format!("{told} {told:?}"), data),
    }
}

fn check(secret: &Secret, key: &str, data: &[u8]) {
    match credential(secret, key) {
        Ok(Some(value)) => {
            let value = value.expose_secret();
            assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{key} fits no header");
            assert!(!value.is_empty() && value.len() <= LONGEST, "{key} has {} bytes", value.len());
            let credentials = Credentials::new(value, value, Some(value));
            assert_silent(&format!("{credentials:?}"), value.as_bytes());
            if value.len() >= SHORTEST {
                cleaned(&credentials, value);
            }
        }
        Ok(None) => {}
        Err(bad) => {
            let words = bad.to_string();
            assert!(words.starts_with(&format!("Secret {}, key {key}: the value ", bad.secret)), "{words}");
            assert_silent(&format!("{bad} {bad:?}"), data);
        }
    }
}

/// What a cloud says of a value, as it is and as a member of its JSON.
fn cleaned(credentials: &Credentials, value: &str) {
    let redactor = credentials.redactor();
    for said in [value.to_owned(), json!({"key": value}).to_string(), STANDARD.encode(value)] {
        let shown = redactor.clean(format!("the cloud says {said}.").chars());
        assert!(shown.contains(HIDDEN) || shown.contains('…'), "it is not replaced: {shown}");
        // No value has a control character: what stands around it makes none.
        let rest = shown.replace(HIDDEN, "\0");
        assert!(!rest.contains(value), "it is repeated: {rest}");
    }
}

fn assert_silent(shown: &str, data: &[u8]) {
    let value = String::from_utf8_lossy(data.trim_ascii());
    let telling = value.len() >= TELLING && !"the value has control characters inside".contains(&*value);
    assert!(!telling || !shown.contains(&*value), "it is repeated: {shown}");
}

fn read(answer: Vec<u8>) -> Result<Option<Secret>, crate::cluster::secrets::ReadError> {
    let service = service_fn(move |_: Request<kube::client::Body>| {
        let response = Response::new(Body::from(answer.clone()));
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    run(async { read_secret(&kube::Client::new(service, "default"), "payments", NAME).await })
}
