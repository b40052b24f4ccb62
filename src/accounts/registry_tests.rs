use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::cloud::service_transport;
use crate::cluster::secrets::Secrets;
use crate::cluster::testing;

fn deps(kube: kube::Client) -> Deps {
    Deps {
        secrets: Secrets::Cluster(kube),
        clock: Clock::system(),
        rule: EndpointRule::new(&[]).unwrap(),
        transport: service_transport(axum::Router::new()),
        own_namespace: "operator".to_owned(),
        identity: Identity::default(),
        concurrency: 1,
        meters: Default::default(),
    }
}

#[tokio::test]
async fn a_departure_told_late_does_not_take_the_namesake_along() {
    let kube = testing::client(|_| async { (StatusCode::NOT_FOUND, Value::Null) });
    let accounts = Accounts::new(deps(kube), |_| {}, |_| {});
    let key = AccountKey { namespace: Some("payments".to_owned()), name: "prod".to_owned() };
    accounts.register(&key, "first", "Volcengine", false);
    accounts.register(&key, "second", "Volcengine", false);
    accounts.unregister(&key, "first");
    assert!(accounts.view(&key).is_some());
    accounts.unregister(&key, "second");
    assert!(accounts.view(&key).is_none());
}

/// Credentials that the cloud rejects.
fn rejected() -> Credentials {
    Credentials::new("key", "key", None)
}

/// An account with a Secret; `reads` counts the reads of it.
fn supplied(
    reads: &Arc<AtomicU64>,
    trigger_account: impl Fn(&AccountKey) + Send + Sync + 'static,
) -> (Accounts, Arc<Account>) {
    // Both values are `key`, in base64.
    let data = json!({"accessKeyId": "a2V5", "secretAccessKey": "a2V5"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "data": data});
    let reads = reads.clone();
    let kube = testing::client(move |_| {
        reads.fetch_add(1, Ordering::Relaxed);
        let secret = secret.clone();
        async {
            tokio::task::yield_now().await;
            (StatusCode::OK, secret)
        }
    });
    let accounts = Accounts::new(deps(kube), trigger_account, |_| {});
    let key = AccountKey { namespace: Some("payments".to_owned()), name: "prod".to_owned() };
    let account = accounts.register(&key, "uid", "Volcengine", false);
    let spec = json!({"provider": "Volcengine", "credentials": {"secretRef": {"name": "key"}}});
    let recipe = accounts.recipe(&key, &serde_json::from_value(spec).unwrap(), 1).unwrap();
    accounts.update(&account, |change| change.store_spec(recipe, None));
    (accounts, account)
}

#[tokio::test]
async fn a_client_made_anew_for_a_resource_is_looked_at_by_the_account_s_controller() {
    let woken = Arc::new(AtomicU64::new(0));
    let count = woken.clone();
    let trigger_account = move |_: &AccountKey| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let (accounts, account) = supplied(&Arc::default(), trigger_account);
    assert!(accounts.replace_rejected(&account, &rejected()).await.unwrap().is_some());
    assert_eq!(woken.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn calls_that_are_rejected_together_share_a_reading_of_the_secret() {
    let reads = Arc::new(AtomicU64::new(0));
    let (accounts, account) = supplied(&reads, |_| {});
    let rejected = rejected();
    let all =
        futures::future::join_all((0..100).map(|_| accounts.replace_rejected(&account, &rejected))).await;
    assert!(all.iter().all(|read| matches!(read, Ok(Some(_)))));
    // The first call's read had begun when the other calls were rejected.
    assert_eq!(reads.load(Ordering::Relaxed), 2);
    assert!(accounts.replace_rejected(&account, &rejected).await.unwrap().is_some());
    assert_eq!(reads.load(Ordering::Relaxed), 3, "a later rejection has its own");
}

#[tokio::test]
async fn a_turn_with_an_account_that_is_gone_replaced_or_suspended_calls_nothing() {
    let kube = testing::client(|_| async { (StatusCode::NOT_FOUND, Value::Null) });
    let accounts = Accounts::new(deps(kube), |_| {}, |_| {});
    let key = AccountKey { namespace: None, name: "shared".to_owned() };
    accounts.register(&key, "first", "Volcengine", false);
    assert!(accounts.is_active(&key, "first"));
    accounts.record_sharing(&key, "first", None, true);
    assert!(!accounts.is_active(&key, "first"));
    accounts.record_sharing(&key, "first", None, false);
    assert!(!accounts.is_active(&key, "first"), "its controller lifts it, when it has what is new");
    accounts.register(&key, "second", "Volcengine", false);
    assert!(!accounts.is_active(&key, "first") && accounts.is_active(&key, "second"));
    accounts.unregister(&key, "second");
    assert!(!accounts.is_active(&key, "second"));
}
