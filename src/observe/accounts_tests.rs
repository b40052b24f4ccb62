use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::cloud::service_transport;
use crate::cluster::testing;

#[tokio::test]
async fn a_departure_told_late_does_not_take_the_namesake_along() {
    let rule = EndpointRule::new(&[]).unwrap();
    let transport = service_transport(axum::Router::new());
    let kube = testing::client(|_| async { (StatusCode::NOT_FOUND, Value::Null) });
    let accounts = Accounts::new(kube, Clock::system(), rule, transport, 1, |_| {}, |_| {});
    let key = AccountKey { namespace: "payments".to_owned(), name: "prod".to_owned() };
    accounts.enter(&key, "first", "Volcengine", false);
    accounts.enter(&key, "second", "Volcengine", false);
    accounts.leave(&key, "first");
    assert!(accounts.view(&key).is_some());
    accounts.leave(&key, "second");
    assert!(accounts.view(&key).is_none());
}

#[tokio::test]
async fn a_client_made_anew_for_a_resource_is_looked_at_by_the_account_s_controller() {
    let rule = EndpointRule::new(&[]).unwrap();
    let transport = service_transport(axum::Router::new());
    // Two keys, in base64.
    let data = json!({"accessKeyId": "a2V5", "secretAccessKey": "a2V5"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "data": data});
    let kube = testing::client(move |_| {
        let secret = secret.clone();
        async { (StatusCode::OK, secret) }
    });
    let woken = Arc::new(AtomicU64::new(0));
    let count = woken.clone();
    let wake = move |_: &AccountKey| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let accounts = Accounts::new(kube, Clock::system(), rule, transport, 1, wake, |_| {});
    let key = AccountKey { namespace: "payments".to_owned(), name: "prod".to_owned() };
    let account = accounts.enter(&key, "uid", "Volcengine", false);
    let spec = json!({"provider": "Volcengine", "credentials": {"secretRef": {"name": "key"}}});
    let stored = serde_json::from_value(json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CloudAccount", "metadata": {"name": "prod"}, "spec": spec,
    }));
    let recipe = accounts.recipe(&stored.unwrap(), "payments").unwrap();
    accounts.update(&account, |change| change.keep(recipe));
    assert!(accounts.read_again(&account).await.is_some());
    assert_eq!(woken.load(Ordering::Relaxed), 1);
}
