//! Metrics over the lives of resources.

use std::time::Duration;

use futures::future::pending;
use serde_json::json;
use tokio::time::sleep;

use crate::harness::TestCluster;
use crate::harness::fleet::{API, API_VERSION, Fleet, OTHER_TARGET};

const FLEET: Fleet = Fleet { policies: 2, backups: 3, ..Fleet::DEFAULT };
const A_WHILE: Duration = Duration::from_secs(5);

impl TestCluster {
    fn scrape(&self) -> String {
        let mut out = Vec::new();
        self.meters.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Returns the values of the series with this name and these labels, in the order of the scrape.
    fn series(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let is_wanted = |line: &&str| {
            let of = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            of && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse().unwrap();
        self.scrape().lines().filter(is_wanted).map(value).collect()
    }

    fn has(&self, line: &str) {
        let text = self.scrape();
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }

    async fn a_while(&self) {
        sleep(A_WHILE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_scrape_tells_of_resources_as_long_as_there_are_any() {
    let mut cluster = TestCluster::new();
    cluster.install(&FLEET);
    cluster.create(&FLEET, 0..2);
    cluster.api.patch(&FLEET.path(0), &json!({"spec": {"recoveryPointObjective": "26h"}}));
    cluster.api.create(
        &format!("{API}/namespaces/first-0/backupinventories"),
        json!({
            "apiVersion": API_VERSION, "kind": "BackupInventory", "metadata": {"name": "all"},
            "spec": {
                "accountRef": {"kind": "CloudAccount", "name": "first"}, "region": "cn-beijing", "scope": "Account",
                "includeDetails": false, "limit": 50, "refreshInterval": "10m", "suspend": false,
            },
        }),
    );
    cluster.start_when(pending());
    cluster.a_while().await;
    // A standby replica reports what is stored, which is only specs so far.
    cluster.has("crossregionbackup_leader 0");
    cluster.has(
        r#"crossregionbackup_policy_info{namespace="first-0",name="first-00000",account="first-0/first",region="cn-beijing",instance_id="redis-first00000",target_region="cn-shanghai",management_policy="Manage"} 1"#,
    );
    cluster.has(r#"crossregionbackup_policy_recovery_point_objective_seconds{namespace="first-0",name="first-00000"} 93600"#);
    for unknown in [
        "recovery_point_timestamp_seconds",
        "last_sync_timestamp_seconds",
        "drift_corrections_total",
        "backups",
    ] {
        assert!(cluster.series(&format!("crossregionbackup_policy_{unknown}"), &[]).is_empty(), "{unknown}");
    }
    cluster.kill();

    cluster.start(cluster.clock.now());
    cluster.a_while().await;
    let now = cluster.clock.now().as_second() as f64;
    cluster.has("crossregionbackup_leader 1");
    let first = [("name", "first-00000")];
    for (kind, reason) in [("Ready", "InSync"), ("Synced", "InSync"), ("RecoveryPointMet", "WithinObjective")]
    {
        cluster.has(&format!(
            r#"crossregionbackup_policy_condition{{namespace="first-0",name="first-00000",type="{kind}",status="True",reason="{reason}"}} 1"#
        ));
    }
    assert_eq!(
        cluster.series("crossregionbackup_policy_condition", &first).len(),
        3,
        "one for each condition"
    );
    let of = |cluster: &TestCluster, name: &str| {
        cluster.series(&format!("crossregionbackup_policy_{name}"), &first)
    };
    let age = now - of(&cluster, "recovery_point_timestamp_seconds")[0];
    assert!((3600.0..3620.0).contains(&age), "{age}");
    let synced = now - of(&cluster, "last_sync_timestamp_seconds")[0];
    assert!((0.0..A_WHILE.as_secs_f64()).contains(&synced), "{synced}");
    assert_eq!(of(&cluster, "drift_corrections_total"), [0.0]);
    assert_eq!(of(&cluster, "backups"), [3.0, 0.0, 0.0, 0.0], "Available, and three that are always told");
    assert_eq!(cluster.series("crossregionbackup_policy_recovery_point_objective_seconds", &[]).len(), 1);
    let account = [("account", "first-0/first")];
    assert_eq!(cluster.series("crossregionbackup_account_poll_interval_seconds", &account), [600.0]);
    assert_eq!(cluster.series("crossregionbackup_disable_abandoned_total", &account), [0.0]);
    cluster.has(
        r#"crossregionbackup_account_condition{kind="CloudAccount",namespace="first-0",name="first",type="Ready",status="True",reason="CredentialsVerified"} 1"#,
    );
    cluster.has(
        r#"crossregionbackup_cloud_requests_total{provider="Volcengine",account="first-0/first",action="ModifyCrossRegionBackupPolicy",outcome="ok"} 2"#,
    );
    cluster.has(
        r#"crossregionbackup_inventory_condition{namespace="first-0",name="all",type="Ready",status="True",reason="Listed"} 1"#,
    );
    assert_eq!(cluster.series("crossregionbackup_inventory_backups", &[("status", "Available")]), [6.0]);
    assert_eq!(cluster.series("crossregionbackup_inventory_unprotected_instances", &[]), [0.0]);
    assert_eq!(cluster.series("crossregionbackup_inventory_newest_timestamp_seconds", &[]).len(), 1);
    for (kind, statuses) in [("CrossRegionBackupPolicy", 2.0), ("CloudAccount", 1.0)] {
        let writes = cluster.series("crossregionbackup_status_writes_total", &[("kind", kind)]);
        assert!(writes[0] >= statuses, "{kind}: {writes:?}");
        assert!(
            !cluster
                .series("crossregionbackup_reconcile_total", &[("kind", kind), ("result", "ok")])
                .is_empty()
        );
    }
    assert!(
        cluster
            .series("crossregionbackup_cloud_request_budget_wait_seconds_count", &[("priority", "change")])
            [0]
            > 0.0
    );

    // A condition has one series, also after its status has changed.
    cluster.api.patch(&FLEET.path(0), &json!({"spec": {"suspend": true}}));
    cluster.a_while().await;
    assert_eq!(cluster.series("crossregionbackup_policy_condition", &[first[0], ("type", "Ready")]).len(), 1);
    cluster.has(
        r#"crossregionbackup_policy_condition{namespace="first-0",name="first-00000",type="Ready",status="Unknown",reason="Suspended"} 1"#,
    );

    cluster.api.patch(&FLEET.path(1), &json!({"spec": {"active": false}}));
    cluster.a_while().await;
    cluster.has(
        r#"crossregionbackup_policy_info{namespace="first-0",name="first-00001",account="first-0/first",region="cn-beijing",instance_id="redis-first00001",target_region="",management_policy="Manage"} 1"#,
    );

    // Deleted resources leave no series behind.
    for number in 0..2 {
        cluster.api.delete(&FLEET.path(number));
    }
    cluster.api.delete(&format!("{API}/namespaces/first-0/backupinventories/all"));
    cluster.api.delete(&format!("{API}/namespaces/first-0/cloudaccounts/first"));
    cluster.a_while().await;
    let text = cluster.scrape();
    assert!(!text.contains("first"), "{text}");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn right_after_a_start_status_tells_all_but_the_last_look() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start_when(pending());
    cluster.a_while().await;
    assert_eq!(cluster.series("crossregionbackup_policy_recovery_point_timestamp_seconds", &[]).len(), 2);
    assert_eq!(cluster.series("crossregionbackup_policy_backups", &[]).len(), 8);
    assert!(cluster.series("crossregionbackup_policy_last_sync_timestamp_seconds", &[]).is_empty());
    cluster.kill();
    cluster.start(cluster.clock.now());
    sleep(Duration::from_secs(601)).await;
    assert_eq!(cluster.series("crossregionbackup_policy_last_sync_timestamp_seconds", &[]).len(), 2);
    // A describe that shows a difference is no sync.
    let before = cluster.series("crossregionbackup_policy_last_sync_timestamp_seconds", &[]);
    cluster.api.patch(
        &FLEET.path(0),
        &json!({"spec": {"managementPolicy": "Observe", "crossBackupRegion": OTHER_TARGET}}),
    );
    cluster.a_while().await;
    assert_eq!(cluster.series("crossregionbackup_policy_last_sync_timestamp_seconds", &[]), before);
    cluster.stop().await;
}
