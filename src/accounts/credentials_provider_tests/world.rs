//! An account with temporary credentials, its cloud, and its API server.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cloud_simulator::{
    Effect, FaultSpec, KeySpec, OidcSpec, RequestRecord, RoleSpec, Settings, Simulator, TencentLimits,
    TencentSettings,
};
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::*;
use crate::accounts::identity::Identity;
use crate::accounts::{AccountClient, AccountKey, Deps, home_region};
use crate::clock::Clock;
use crate::cloud::{CallContext, EndpointRule, Site, service_transport};
use crate::cluster::secrets::Secrets;
use crate::cluster::testing;
use crate::plan::account::VerificationState;

pub const START: &str = "2026-11-22T12:00:00Z";
pub const ASSUME: &str = "AssumeRole";
pub const KEY: &str = "AKLTsupplySecretKey000001";
pub const OTHER_KEY: &str = "AKLTsupplySecretKey000002";
pub const SECRET: &str = "supply-secret-of-the-secret";
pub const TOKEN: &str = "supply-token-of-the-cluster-1";
pub const BOTH: [Site; 2] = [Site::Volcengine, Site::Tencent];

pub fn trusted(site: Site) -> &'static str {
    match site {
        Site::Tencent => "qcs::cam::uin/100000000001:roleName/trusted",
        _ => "trn:iam::2100000000:role/trusted",
    }
}

pub fn assumed(site: Site) -> &'static str {
    match site {
        Site::Tencent => "qcs::cam::uin/100000000001:roleName/assumed",
        _ => "trn:iam::2100000000:role/assumed",
    }
}

pub fn with_identity(site: Site) -> &'static str {
    if site == Site::Tencent { "AssumeRoleWithWebIdentity" } else { "AssumeRoleWithOIDC" }
}

/// An account with a role, in virtual time.
pub struct TestAccount {
    pub site: Site,
    pub cloud: Simulator,
    pub accounts: Accounts,
    pub account: Arc<Account>,
    /// The stored Secret; null if there is none.
    pub secret: Arc<Mutex<Value>>,
    pub token: PathBuf,
    pub woken: Arc<AtomicU64>,
    pub spec: Value,
    pub generation: i64,
}

impl TestAccount {
    pub fn new(site: Site) -> Self {
        Self::with_clock(site, 0)
    }

    /// Creates an account whose operator's clock is `hours` ahead of the cloud's.
    pub fn with_clock(site: Site, hours: i64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let start: jiff::Timestamp = START.parse().unwrap();
        let cloud = Simulator::new(cloud_simulator::Clock::from_tokio(start));
        for id in [KEY, OTHER_KEY] {
            cloud.put_key(KeySpec::new(id, SECRET)).unwrap();
        }
        let tencent = TencentSettings { limits: TencentLimits::Off, ..TencentSettings::default() };
        cloud.set_settings(Settings { tencent, ..Settings::default() });
        let tokens = [TOKEN.to_owned()].into();
        let oidc = Some(OidcSpec { tokens, ..OidcSpec::default() });
        cloud.put_role(RoleSpec { oidc, ..RoleSpec::new(trusted(site)) }).unwrap();
        cloud.put_role(RoleSpec::new(assumed(site))).unwrap();

        let secret = Arc::new(Mutex::new(secret_of(KEY)));
        let stored = secret.clone();
        let kube = testing::client(move |_| {
            let secret = stored.lock().unwrap().clone();
            let status = if secret.is_null() { StatusCode::NOT_FOUND } else { StatusCode::OK };
            async move { (status, secret) }
        });
        let token = std::env::temp_dir().join(format!("crbo-supply-{}-{number}", std::process::id()));
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let deps = Deps {
            secrets: Secrets::Cluster(kube),
            clock: Clock::from_tokio(start + SignedDuration::from_hours(hours)),
            rule: EndpointRule::new(&[]).unwrap(),
            transport: service_transport(cloud_simulator::router(cloud.clone())),
            own_namespace: "operator".to_owned(),
            identity: Identity {
                volcengine_token_file: Some(token.clone()),
                volcengine_sts: None,
                tencent_token_file: Some(token.clone()),
            },
            concurrency: 8,
            meters: Default::default(),
        };
        let woken = Arc::new(AtomicU64::new(0));
        let count = woken.clone();
        let trigger_account = move |_: &AccountKey| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let accounts = Accounts::new(deps, trigger_account, |_| {});
        let key = AccountKey { namespace: None, name: "shared".to_owned() };
        let account = accounts.register(&key, "uid", site.provider(), false);
        account.budget.reconfigure(10_000, 10_000);
        let spec = json!({
            "provider": site.provider(),
            "credentials": {"secretRef": {"name": "key"}},
            "assumeRole": {"role": assumed(site)},
        });
        let world = Self { site, cloud, accounts, account, secret, token, woken, spec, generation: 1 };
        world.store_spec();
        world
    }

    /// Creates an account with the operator's own identity instead of the Secret.
    pub fn in_cluster(site: Site, then_assumes: bool) -> Self {
        Self::in_cluster_with_clock(site, then_assumes, 0)
    }

    pub fn in_cluster_with_clock(site: Site, then_assumes: bool, hours: i64) -> Self {
        let mut world = Self::with_clock(site, hours);
        let mut identity = json!({"role": trusted(site)});
        if site == Site::Tencent {
            identity["providerId"] = json!("cls-supply");
        }
        world.spec["credentials"] = json!({"workloadIdentity": identity});
        if !then_assumes {
            world.spec["assumeRole"] = Value::Null;
        }
        world.store_spec();
        world
    }

    pub fn recipe(&self) -> ClientSpec {
        let spec = serde_json::from_value(self.spec.clone()).unwrap();
        self.accounts.recipe(&self.account.key, &spec, self.generation).unwrap()
    }

    /// Stores the `ClientSpec` as the account's controller does, so that calls can make the client themselves.
    pub fn store_spec(&self) {
        let recipe = self.recipe();
        self.accounts.update(&self.account, |change| change.store_spec(recipe, None));
    }

    pub async fn resolve_credentials(
        &self,
        why: CredentialsRequest<'_>,
    ) -> Result<ResolvedCredentials, CredentialsError> {
        self.accounts.resolve_credentials(&self.account, &self.recipe(), why).await
    }

    pub async fn due(&self) -> ResolvedCredentials {
        self.resolve_credentials(CredentialsRequest::Due)
            .await
            .unwrap_or_else(|_| panic!("there are no credentials"))
    }

    pub async fn refused(&self, why: CredentialsRequest<'_>) -> Failure {
        match self.resolve_credentials(why).await {
            Err(CredentialsError::Refused(failure)) => failure,
            Err(CredentialsError::Missing { text, .. } | CredentialsError::Unreadable(text)) => {
                panic!("{text}")
            }
            Ok(_) => panic!("there are credentials"),
        }
    }

    /// Runs one reconcile of the account, which renews credentials that are due.
    pub async fn reconcile(&self) {
        let resolved = self.due().await;
        self.accounts.install_credentials(&self.account, &self.recipe(), resolved);
    }

    /// Makes a call of the account to its Redis API.
    pub async fn call(&self) -> Result<(), Failure> {
        let spec = serde_json::from_value(self.spec.clone()).unwrap();
        let region = home_region(&spec).to_owned();
        AccountClient::Account(&self.accounts, &self.account, CallContext::default())
            .call(self.site.instances_action(), |client| {
                let region = region.clone();
                async move { client.verify(&region).await }
            })
            .await
    }

    pub fn fault(&self, action: &str, effect: Effect) {
        self.cloud.place_fault(FaultSpec::new(effect).on_action(action)).unwrap();
    }

    pub fn requests(&self, action: &str) -> Vec<RequestRecord> {
        let mut all = self.cloud.requests();
        all.retain(|request| request.action.as_deref() == Some(action));
        all
    }

    pub fn exchanges(&self) -> usize {
        self.requests(ASSUME).len()
    }

    /// Returns the requests to the Redis API.
    pub fn calls(&self) -> Vec<RequestRecord> {
        self.requests(self.site.instances_action())
    }

    /// Returns the ids of the keys that signed the requests to the Redis API, oldest first.
    pub fn signers(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.calls().into_iter().filter_map(|call| call.access_key_id).collect();
        ids.dedup();
        ids
    }

    /// Changes the last key that the STS issued.
    pub fn change_issued(&self, change: impl FnOnce(&mut KeySpec)) {
        let id = self.signers().pop().unwrap();
        let mut key = self.cloud.keys().into_iter().find(|key| key.access_key_id == id).unwrap();
        change(&mut key);
        self.cloud.put_key(key).unwrap();
    }

    pub fn verification(&self) -> VerificationState {
        self.account.memory().verification
    }
}

impl Drop for TestAccount {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.token);
    }
}

pub fn secret_of(id: &str) -> Value {
    use base64::Engine;
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"},
        "data": {"accessKeyId": encoded(id), "secretAccessKey": encoded(SECRET)},
    })
}
