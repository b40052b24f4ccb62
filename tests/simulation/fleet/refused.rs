//! An account whose key may not list all of its backups, such as one for a single project: each policy lists its own,
//! and the budget has to allow for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::{API, API_VERSION, Fleet};
use crate::harness::measurements::{BACKUPS, DESCRIBE};

const FLEET: Fleet = Fleet {
    policies: 58,
    backups: 14,
    requests_per_second: 1,
    interval: "1m",
    in_sync: true,
    ..Fleet::DEFAULT
};

/// Creates a fleet whose newest backups meet its objective, and whose key may not list them together; starts the
/// controllers.
async fn started(fleet: &Fleet, inventories: &[Value]) -> (TestCluster, Instant) {
    let mut cluster = TestCluster::new();
    cluster.install(fleet);
    cluster.cloud.deny(&fleet.key(), [format!("{BACKUPS}/*")].into()).unwrap();
    cluster.start(cluster.clock.now());
    for inventory in inventories {
        let collection = format!("{API}/namespaces/{}/backupinventories", fleet.namespace(0));
        cluster.api.create(&collection, inventory.clone());
    }
    let start = Instant::now();
    for number in 0..fleet.policies {
        let mut policy = fleet.manifest(number);
        policy["spec"]["recoveryPointObjective"] = json!("2400h");
        cluster.api.create(&fleet.collection(number), policy);
    }
    (cluster, start)
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|c| c["type"] == kind)).unwrap_or(&Value::Null)
}

/// Returns reason and message of the account's Ready condition.
fn ready_condition(cluster: &TestCluster, fleet: &Fleet) -> (String, String) {
    let account =
        cluster.api.get(&format!("{API}/namespaces/{}/cloudaccounts/{}", fleet.namespace(0), fleet.name));
    let text = |field: &str| condition(&account, "Ready")[field].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

/// Returns the times of an action's calls, by instance.
fn times(
    cluster: &TestCluster,
    fleet: &Fleet,
    since: Instant,
    action: &str,
) -> BTreeMap<String, Vec<Instant>> {
    let mut times = BTreeMap::<String, Vec<Instant>>::new();
    for call in cluster.calls_of(fleet, since).into_iter().filter(|call| call.action == action) {
        if (0..fleet.policies).any(|number| fleet.instance(number) == call.instance) {
            times.entry(call.instance).or_default().push(call.at);
        }
    }
    times
}

/// Checks that each instance is described, and its backups are listed, about once per interval and never much later.
fn goes_on(cluster: &TestCluster, fleet: &Fleet, since: Instant, interval: Duration) {
    let rounds = since.elapsed().as_secs_f64() / interval.as_secs_f64();
    for action in [DESCRIBE, BACKUPS] {
        let times = times(cluster, fleet, since, action);
        assert_eq!(times.len(), fleet.policies, "{action}");
        let longest = times.values().flat_map(|times| times.windows(2)).map(|pair| pair[1] - pair[0]).max();
        let counts: Vec<_> = times.values().map(Vec::len).collect();
        println!("{action}: {:?}..={:?}, {longest:?}", counts.iter().min(), counts.iter().max());
        assert!(longest.unwrap() < interval.mul_f64(1.5), "{action}: {longest:?}");
        for count in counts {
            assert!((count as f64 - rounds).abs() <= 1.5, "{action}: {count} in {rounds} intervals");
        }
    }
}

/// Checks that no status has reported the recovery point as not met or unknown.
fn never_flipped(cluster: &TestCluster) {
    for write in cluster.status_writes() {
        let policy: Value = serde_json::from_slice(&write.object).unwrap();
        let met = condition(&policy, "RecoveryPointMet");
        assert!(met["status"] == "True", "{}: {met}", write.name);
    }
}

async fn all_ready(cluster: &TestCluster, fleet: &Fleet, most: Duration) {
    let start = Instant::now();
    let all = |cluster: &TestCluster| (0..fleet.policies).all(|number| cluster.is_ready(fleet, number));
    cluster.until("all are Ready", most, all).await;
    println!("{} policies are Ready after {:?}", fleet.policies, start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn where_the_accounts_listing_is_refused_looks_and_readings_have_what_each_of_them_needs() {
    let (mut cluster, start) = started(&FLEET, &[]).await;
    // Two calls per policy; describes that are due again meanwhile leave them four fifths of the budget.
    all_ready(&cluster, &FLEET, Duration::from_secs(2 * 58 * 5 / 4 + 10)).await;
    assert_eq!(
        ready_condition(&cluster, &FLEET),
        (
            "BudgetTooSmall".to_owned(),
            "the request budget allows one look at each resource every 1m56s; at their own intervals the resources need \
             2 requests per second"
                .to_owned()
        )
    );
    let interval = Duration::from_secs(116);
    sleep(2 * interval).await;
    let settled = Instant::now();
    let writes = cluster.writes().len();
    sleep(10 * interval).await;
    goes_on(&cluster, &FLEET, settled, interval);
    assert_eq!(cluster.writes().len(), writes, "nothing changes");
    cluster.stop().await;
    cluster.start(cluster.clock.now());
    let restarted = Instant::now();
    sleep(10 * interval).await;
    goes_on(&cluster, &FLEET, restarted + 2 * interval, interval);
    never_flipped(&cluster);
    let whole = cluster.calls_of(&FLEET, start).into_iter();
    let whole = whole.filter(|call| call.action == BACKUPS && call.instance.is_empty()).count();
    assert!(whole <= 3, "tried at each start, and once an hour: {whole}");
}

#[tokio::test(start_paused = true)]
async fn inventories_beside_take_their_part_where_the_accounts_listing_is_refused() {
    let fleet = Fleet { policies: 500, requests_per_second: 5, ..FLEET };
    let inventory = |name: &str, spec: Value| {
        let mut inventory = json!({
            "apiVersion": API_VERSION, "kind": "BackupInventory", "metadata": {"name": name},
            "spec": {
                "accountRef": {"kind": "CloudAccount", "name": fleet.name}, "region": "cn-beijing",
                "includeDetails": false, "limit": 50, "refreshInterval": "10m", "suspend": false,
            },
        });
        inventory["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        inventory
    };
    // Of an instance without a policy.
    let of_one = json!({"scope": "Instance", "instanceId": fleet.instance(fleet.policies)});
    let inventories = [inventory("all", json!({"scope": "Account"})), inventory("one", of_one)];
    let (mut cluster, _) = started(&fleet, &inventories).await;
    cluster.add_instance(&fleet, fleet.policies);
    all_ready(&cluster, &fleet, Duration::from_secs(1000 / 5 * 5 / 4 + 10)).await;
    // 1,000 calls of the policies; each inventory makes one, every 10 minutes.
    let (reason, message) = ready_condition(&cluster, &fleet);
    assert_eq!(reason, "BudgetTooSmall");
    assert!(message.contains("every 3m21s;") && message.contains("need 17 requests"), "{message}");
    let interval = Duration::from_millis(200_140);
    sleep(2 * interval).await;
    let settled = Instant::now();
    sleep(6 * interval).await;
    goes_on(&cluster, &fleet, settled, interval);
    never_flipped(&cluster);
    let of = |name: &str| {
        let path = format!("{API}/namespaces/{}/backupinventories/{name}", fleet.namespace(0));
        condition(&cluster.api.get(&path), "Ready")["reason"].clone()
    };
    assert_eq!([of("all"), of("one")], ["PermissionDenied", "Listed"]);
    cluster.stop().await;
}
