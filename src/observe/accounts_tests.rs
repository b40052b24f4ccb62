use http::StatusCode;
use serde_json::Value;

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
