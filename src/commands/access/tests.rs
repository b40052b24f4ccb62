use serde_json::{Value, json};

use super::*;
use crate::cloud::service_transport;

fn account(spec: Value) -> Value {
    let mut value = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CloudAccount",
        "metadata": {"name": "prod", "namespace": "payments"},
        "spec": {"provider": "Volcengine", "credentials": {"secretRef": {"name": "key"}}},
    });
    value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    value
}

fn secret() -> core::Secret {
    let secret = json!({
        "metadata": {"name": "key", "namespace": "payments"},
        "stringData": {"accessKeyId": "AKLTTestTestTestTest01", "secretAccessKey": "TheSecretKeyOfThisTest"},
    });
    serde_json::from_value(secret).unwrap()
}

/// Resolves the account of these files; `held` is a Secret from another source.
async fn resolved(
    files: &[(&str, Value)],
    held: Option<core::Secret>,
) -> Result<ResolvedAccount, (Reason, String)> {
    let mut given = ManifestsSource::default();
    for (kind, value) in files {
        given.take(kind, "payments", value);
    }
    let transport =
        service_transport(axum::Router::new().fallback(|| async { r#"{"Result": {"Instances": []}}"# }));
    let rule = EndpointRule::new(&["elsewhere.example".to_owned()]).unwrap();
    let access = Access::through(transport, rule, Clock::system(), None, &SourceArgs::default(), given);
    if let Some(secret) = held {
        access.held.put("payments", secret.into());
    }
    let key = AccountKey { namespace: Some("payments".to_owned()), name: "prod".to_owned() };
    access.resolve(&key).await.access
}

#[tokio::test]
async fn only_with_a_secret_of_the_files_does_a_file_say_where_credentials_go() {
    let role = json!({"assumeRole": {"role": "trn:iam::2100000000:role/x"}});
    for (spec, field) in [
        (json!({"endpoint": "https://elsewhere.example"}), "spec.endpoint"),
        (json!({"stsEndpoint": "https://elsewhere.example"}), "spec.stsEndpoint"),
        (role, "spec.assumeRole"),
    ] {
        let file = ("CloudAccount", account(spec));
        for held in [None, Some(secret())] {
            let refused = resolved(std::slice::from_ref(&file), held).await.err().unwrap();
            assert_eq!(refused.0, Reason::EndpointNotAllowed);
            assert!(
                refused.1.starts_with(&format!("CloudAccount prod: {field} is set by a file")),
                "{}",
                refused.1
            );
        }
    }
    let elsewhere = ("CloudAccount", account(json!({"endpoint": "https://elsewhere.example"})));
    let own = ("Secret", serde_json::to_value(secret()).unwrap());
    assert!(resolved(&[elsewhere, own], None).await.is_ok());
}
