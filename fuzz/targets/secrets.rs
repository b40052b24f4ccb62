//! Secrets from the API server: the values of their keys, and the whole response.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use secrecy::ExposeSecret;
use serde_json::json;
use tower::service_fn;

use super::run;
use cross_region_backup_operator::cloud::Credentials;
use cross_region_backup_operator::cluster::secrets::{Secret, credential, read_secret};
use cross_region_backup_operator::telemetry::redact::{
    REDACTED, SECRET_LEN_MAX, SECRET_LEN_MIN, access_key_id_hint,
};

const NAME: &str = "volc-prod";
const KEYS: [&str; 3] = ["accessKeyId", "secretAccessKey", "sessionToken"];

pub fn secrets(data: &[u8]) {
    let value = STANDARD.encode(data);
    let stored = json!({
        "metadata": {"name": NAME},
        "data": {"accessKeyId": value, "secretAccessKey": value, "sessionToken": value},
    });
    let secret =
        read(stored.to_string().into_bytes()).expect("a Secret of any bytes is one").expect("it is there");
    // The debug output does not depend on the values.
    let other = read(br#"{"metadata":{"name":"volc-prod"},"data":{"accessKeyId":"","secretAccessKey":"","sessionToken":""}}"#.to_vec());
    let other = other.expect("a Secret of empty values is one").expect("it is there");
    assert_eq!(format!("{secret:?}"), format!("{other:?}"));
    for key in KEYS {
        check(&secret, key);
    }
    match read(data.to_vec()) {
        Ok(Some(secret)) => check(&secret, "accessKeyId"),
        Ok(None) => {}
        // The error does not depend on the response.
        Err(error) => {
            let other = read(b"?".to_vec()).map(drop).expect_err("a question mark is no Secret");
            assert_eq!(format!("{error} {error:?}"), format!("{other} {other:?}"));
        }
    }
}

fn check(secret: &Secret, key: &str) {
    match credential(secret, key) {
        Ok(Some(value)) => {
            let value = value.expose_secret();
            assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{key} fits no header");
            assert!(!value.is_empty() && value.len() <= SECRET_LEN_MAX, "{key} has {} bytes", value.len());
            let credentials = Credentials::new(value, value, Some(value));
            let shown = format!("{credentials:?}");
            match access_key_id_hint(value) {
                Some(_) => assert!(!shown.contains(value), "it is repeated: {shown}"),
                None => assert_eq!(shown, format!("{:?}", Credentials::new("?", "?", Some("?")))),
            }
            if value.len() >= SECRET_LEN_MIN {
                cleaned(&credentials, value);
            }
        }
        Ok(None) => {}
        Err(bad) => {
            // `problem` is `'static`: no value can be in it.
            assert_eq!(bad.to_string(), format!("Secret {}, key {key}: {}", bad.secret, bad.problem));
            assert!(bad.problem.starts_with("the value "), "{bad}");
        }
    }
}

/// Asserts that the redactor hides a value in a cloud's text: as it is, in JSON, and in base64.
fn cleaned(credentials: &Credentials, value: &str) {
    let redactor = credentials.redactor();
    for said in [value.to_owned(), json!({"key": value}).to_string(), STANDARD.encode(value)] {
        let shown = redactor.clean(format!("the cloud says {said}.").chars());
        assert!(shown.contains(REDACTED) || shown.contains('…'), "it is not replaced: {shown}");
        // No value has a control character, so this replacement cannot produce one.
        let rest = shown.replace(REDACTED, "\0");
        assert!(!rest.contains(value), "it is repeated: {rest}");
    }
}

fn read(
    answer: Vec<u8>,
) -> Result<Option<Secret>, cross_region_backup_operator::cluster::secrets::ReadError> {
    let service = service_fn(move |_: Request<kube::client::Body>| {
        let response = Response::new(Body::from(answer.clone()));
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    run(async { read_secret(&kube::Client::new(service, "default"), "payments", NAME).await })
}
