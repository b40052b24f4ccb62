//! Objects as the watches read them, valid or not, with any status, and the decisions based on them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use kube::core::{ObjectList, PartialObjectMeta};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use cross_region_backup_operator::api::account::{AnyAccount, CloudAccountStatus};
use cross_region_backup_operator::api::inventory::BackupInventoryStatus;
use cross_region_backup_operator::api::{
    BackupInventory, CloudAccount, ClusterCloudAccount, CrossRegionBackupPolicy, duration,
};
use cross_region_backup_operator::controllers::cached::{Cacheable, Cached};
use cross_region_backup_operator::controllers::guarded::Guarded;
use cross_region_backup_operator::controllers::inventory::convert::credible;
use cross_region_backup_operator::controllers::inventory::desired::{scope_of, selector_of};
use cross_region_backup_operator::controllers::policy::convert::{
    condition_from, condition_to, facts_from, status_from,
};
use cross_region_backup_operator::controllers::policy::desired::desired_of;
use cross_region_backup_operator::controllers::sharing::fault;
use cross_region_backup_operator::controllers::unreadable::{with_parse_error, words};
use cross_region_backup_operator::domain::condition::{self, types};
use cross_region_backup_operator::domain::{Failure, Kind, PolicyState};
use cross_region_backup_operator::plan::compact_state::compact;
use cross_region_backup_operator::plan::memory::Memory;
use cross_region_backup_operator::plan::polling::DEFAULT_INTERVAL;
use cross_region_backup_operator::plan::{AccountReadiness, ReconcileEnv, conditions, events, next};

const NOW: &str = "2026-11-22T12:00:00Z";
/// Upper bound on the characters of the message about an unreadable object.
const MESSAGE_MAX: usize = 400;

pub fn objects(data: &[u8]) {
    policy(data);
    if let Some(inventory) = read::<BackupInventory>(data) {
        scope_of(&inventory.spec, now());
        selector_of(&inventory.spec);
        let status = inventory.status.unwrap_or_default();
        let conditions = status.conditions.iter().map(condition_from).collect();
        let conditions = condition::credible(conditions, &types::OF_INVENTORY, now());
        let conditions = conditions.iter().map(condition_to).collect();
        assert_writable(&BackupInventoryStatus { conditions, ..credible(status) });
    }
    account::<CloudAccount>(data);
    account::<ClusterCloudAccount>(data);
    metadata::<Secret>(data);
    metadata::<Namespace>(data);
}

/// Asserts that a status is unchanged after it is written and read. Times are written in whole seconds.
fn assert_writable<S: Serialize + DeserializeOwned>(status: &S) {
    let written = serde_json::to_value(status).expect("a status is JSON");
    let told: S = serde_json::from_value(written.clone()).expect("what is written is read");
    assert_eq!(serde_json::to_value(told).expect("a status is JSON"), written);
}

/// Reads an object as the watches of Secrets and Namespaces do, in a list.
fn metadata<K>(data: &[u8])
where
    PartialObjectMeta<K>: Resource<DynamicType = ()> + DeserializeOwned + Clone,
{
    let Ok(object @ Value::Object(_)) = serde_json::from_slice::<Value>(data) else { return };
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [object]});
    serde_json::from_value::<ObjectList<Guarded<PartialObjectMeta<K>>>>(list).ok();
}

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// Returns the object as the stores hold it. If it cannot be read, checks how that is reported.
fn read<K: Cacheable>(data: &[u8]) -> Option<K> {
    let cached: Cached<K> = serde_json::from_slice(data).ok()?;
    let guarded: Guarded<K> = serde_json::from_slice(data).ok()?;
    match &cached.0 {
        Ok(lean) => {
            let expand = lean.expand();
            let (_, spec, status) = expand.clone().into_parts();
            let (_, before, status_before) = guarded.0.expect("both are read alike").into_parts();
            assert!(spec == before && status == status_before, "packing has changed it: {expand:?}");
            Some(expand)
        }
        Err(invalid) => {
            unreadable(invalid, data);
            None
        }
    }
}

fn account<K>(data: &[u8])
where
    K: Resource<DynamicType = ()> + DeserializeOwned + AnyAccount,
{
    let Ok(guarded) = serde_json::from_slice::<Guarded<K>>(data) else { return };
    match &guarded.0 {
        Ok(account) => {
            let settings = account.settings();
            duration::call_timeout(&settings.request_timeout);
            if let Some((allowed, _)) = account.sharing() {
                fault(allowed);
            }
            let status = account.status().cloned().unwrap_or_default();
            let conditions = status.conditions.iter().map(condition_from).collect();
            let conditions = condition::credible(conditions, &types::OF_ACCOUNT, now());
            let conditions = conditions.iter().map(condition_to).collect();
            assert_writable(&CloudAccountStatus { conditions, ..status });
        }
        Err(invalid) => unreadable(invalid, data),
    }
}

/// Asserts that an unreadable object is reported once, in a short plain message, whatever its status contains.
fn unreadable(invalid: &InvalidObject, data: &[u8]) {
    let words = words(invalid);
    assert!(!words.chars().any(char::is_control), "{words:?}");
    assert!(words.chars().count() <= MESSAGE_MAX, "{words}");
    let mut stored: Value = serde_json::from_slice(data).expect("what was read is JSON");
    let main = [types::READY, types::SYNCED];
    if let Some(status) = with_parse_error(&stored["status"], invalid, &main, now()) {
        stored["status"] = status;
        assert_eq!(
            with_parse_error(&stored["status"], invalid, &main, now()),
            None,
            "it would be told again"
        );
    }
}

/// Runs a policy's first reconcile after a start, with responses of the cloud.
fn policy(data: &[u8]) {
    let Some(policy) = read::<CrossRegionBackupPolicy>(data) else { return };
    let interval = duration::interval(&policy.spec.resync_interval).unwrap_or(DEFAULT_INTERVAL);
    let desired = desired_of(&policy, interval, false);
    let status = policy.status.unwrap_or_default();
    let told = facts_from(&status, &policy.spec.instance_id);
    let env = ReconcileEnv {
        readiness: AccountReadiness::Open,
        paused_until: None,
        competitor: None,
        access_generation: Some(1),
    };
    let mut memory = Memory::new(told.clone(), &desired, now(), now());
    let synced = desired.change.clone();
    let other = PolicyState { active: !synced.active, cross_backup_region: None, ttl_days: None };
    let states = [
        PolicyState {
            active: synced.active,
            cross_backup_region: synced.cross_backup_region,
            ttl_days: Some(7),
        },
        other,
    ];
    let unavailable = Failure::new(Kind::CloudUnavailable, "Act", "HTTP 500");
    let [same, other] = states.map(Ok);
    for answer in [same.clone(), other, same, Err(unavailable)] {
        memory.notice(&desired, env.access_generation, now());
        next::next(&desired, &env, &memory, now());
        memory.described(&desired, answer, now(), 0.5);
        let new = conditions::report(&desired, &env, &memory, now());
        events::between(&told, &new);
        assert_writable(&status_from(&new));
    }
    let (resting, others) = compact(memory.clone(), &told, &desired, now());
    resting.expand(told, others);
}
