//! Validity of the operator's watch cache: connections that drop silently, and an etcd restored from an older copy.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cloud_simulator::Policy;
use serde_json::{Value, json};
use testbed::{ControlPlane, Options, wait_until};

use crate::harness::{OPERATOR_NAMESPACE, POLICY, Stage, condition, install};
use crate::process::{get, until_healthy};
use crate::proxy::Proxy;
use crate::replicas::{leads, until_logged};

const OPERATOR: (&str, &str) = (OPERATOR_NAMESPACE, OPERATOR_NAMESPACE);
/// A watch may be silent for 45 s at most; then the operator lists again.
const NOTICED: Duration = Duration::from_secs(50);
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the policy is InSync with this target in the cloud, and returns how long that took.
async fn follows(stage: &Stage<'_>, target: &str) -> Result<Duration> {
    let begun = Instant::now();
    let is_followed = |policy: &Value| {
        let ready = condition(policy, "Ready");
        policy["spec"]["crossBackupRegion"] == target
            && policy["status"]["policy"]["crossBackupRegion"] == target
            && ready["reason"] == "InSync"
            && ready["observedGeneration"] == policy["metadata"]["generation"]
    };
    wait_until(PATIENCE, format!("InSync with {target}"), async || {
        let policy = stage.policy().await?;
        let held = stage.held()? == Policy::to_region(target);
        Ok((held && is_followed(&policy)).then_some(()))
    })
    .await?;
    Ok(begun.elapsed())
}

#[tokio::test]
async fn a_changed_spec_is_acted_on_within_50_s_of_swallowed_connections_by_one_replica_and_by_two()
-> Result<()> {
    let alone = Stage::new("swallowed-alone").await?;
    let led = Stage::new("swallowed-led").await?;
    led.grant_lease().await?;
    let proxy = Proxy::start(alone.plane).await?;
    let through = proxy.kubeconfig(alone.plane, OPERATOR.0, OPERATOR.1).await?;
    let one = alone.another_operator_by("one", &through, &["--leader-elect=false"])?;
    let first = led.another_operator_by("first", &through, &[])?;
    until_logged(&first, ": leading").await?;
    let second = led.another_operator_by("second", &through, &[])?;
    until_logged(&second, "standing by").await?;
    for stage in [&alone, &led] {
        stage.apply_account().await?;
        stage.apply_policy(json!({})).await?;
        stage.until_reason("InSync").await?;
    }
    for replica in [&one, &first, &second] {
        until_healthy(replica).await?;
    }

    proxy.swallow();
    for stage in [&alone, &led] {
        stage.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
    }
    let followed = tokio::try_join!(follows(&alone, "cn-guangzhou"), follows(&led, "cn-guangzhou"));
    let (by_one, by_two) = followed.map_err(|error| one.with_log(&first.with_log(&error)))?;
    println!("acted on by one replica after {by_one:?}, by two after {by_two:?}");
    ensure!(by_one < NOTICED && by_two < NOTICED, "{by_one:?} and {by_two:?}");
    // The Lease is renewed over new connections, long before its term ends.
    ensure!(leads(&first) && !leads(&second), "{}", first.log_tail());
    ensure!(!first.log().contains("no longer leading"), "{}", first.log_tail());
    for replica in [&one, &first, &second] {
        until_healthy(replica).await?;
    }
    Ok(())
}

#[tokio::test]
async fn readyz_says_since_when_what_is_watched_is_old() -> Result<()> {
    let stage = Stage::new("view-cut").await?;
    let proxy = Proxy::start(stage.plane).await?;
    let through = proxy.kubeconfig(stage.plane, OPERATOR.0, OPERATOR.1).await?;
    let operator = stage.another_operator_by("cut", &through, &["--leader-elect=false"])?;
    stage.apply_account().await?;
    until_healthy(&operator).await?;
    proxy.cut();
    let words = "the list of CrossRegionBackupPolicy in namespace view-cut is as of 20";
    let cut = Instant::now();
    wait_until(PATIENCE, "503", async || {
        let answer = get(&operator, "/readyz").await?;
        Ok((answer.contains(" 503 ") && answer.contains(words)).then_some(()))
    })
    .await
    .map_err(|error| operator.with_log(&error))?;
    ensure!(cut.elapsed() < NOTICED, "{:?}", cut.elapsed());
    Ok(())
}

#[tokio::test]
async fn an_etcd_restored_from_an_older_copy_is_followed_by_one_replica_and_by_two() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    install(&plane).await?;
    let mut alone = Stage::on(&plane, "restored-alone").await?;
    let mut led = Stage::on(&plane, "restored-led").await?;
    (alone.may_be_refused, led.may_be_refused) = (true, true);
    for stage in [&alone, &led] {
        stage.apply_account().await?;
        stage.grant_lease().await?;
        stage.apply_policy(json!({})).await?;
    }
    // The policies are in sync when the copy is made, so that the restored status is correct for that time.
    let mut early = Vec::new();
    for stage in [&alone, &led] {
        early.push(stage.another_operator("early", OPERATOR, &["--leader-elect=false"]).await?);
        stage.until_reason("InSync").await?;
    }
    drop(early);
    let copy = plane.copy_data().await?;

    let one = alone.another_operator("one", OPERATOR, &["--leader-elect=false"]).await?;
    let mut two = Vec::new();
    for name in ["first", "second"] {
        two.push(led.another_operator(name, OPERATOR, &[]).await?);
        until_logged(&two[two.len() - 1], if name == "first" { ": leading" } else { "standing by" }).await?;
    }
    for stage in [&alone, &led] {
        stage.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
        follows(stage, "cn-guangzhou").await?;
    }

    plane.restore_data(&copy).await?;
    let (by_one, by_two) = tokio::try_join!(follows(&alone, "cn-shanghai"), follows(&led, "cn-shanghai"))?;
    println!("followed by one replica after {by_one:?}, by two after {by_two:?}");
    ensure!(by_one < NOTICED && by_two < NOTICED, "{by_one:?} and {by_two:?}");
    // Later changes are observed at once, although their resourceVersions were used before the restore.
    for stage in [&alone, &led] {
        stage.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
        let took = follows(stage, "cn-guangzhou").await?;
        ensure!(took < Duration::from_secs(10), "{took:?}");
        let policy = stage.policy().await?;
        ensure!(policy["metadata"]["name"] == POLICY, "{policy:#}");
    }
    until_healthy(&one).await
}
