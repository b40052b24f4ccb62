//! The request budget of a shared account is divided by namespace first.

use anyhow::{Result, ensure};
use cloud_simulator::{InstanceSpec, Policy};
use serde_json::json;

use super::scene::Scene;
use crate::checks::DESCRIBE;

const MANY: usize = 50;

#[tokio::test]
async fn a_namespace_with_one_policy_does_not_wait_for_another_one_s_fifty() -> Result<()> {
    let scene = Scene::new("fair-many").await?;
    scene.put_namespace("fair-one", &scene.account).await?;
    let account_id = scene.account_id;
    let add = |id: &str| {
        let policy = Policy::to_region("cn-shanghai");
        let spec = InstanceSpec { account_id, policy, ..InstanceSpec::new(id, "cn-beijing") };
        scene.cloud.put_instance(spec)
    };
    for number in 0..MANY {
        let instance = format!("redis-fair-many-{number}");
        add(&instance)?;
        scene
            .put(scene.policy(&scene.namespace, &format!("many-{number}"), json!({"instanceId": instance})))
            .await?;
    }
    add("redis-fair-one")?;
    // One call per policy takes some 6 s for the many.
    let mut account = scene.account_manifest();
    account["spec"]["requestBudget"] = json!({"requestsPerSecond": 8, "burst": 1});
    scene.put_secret(json!({"accessKeyId": scene.key, "secretAccessKey": super::scene::SECRET_KEY})).await?;
    scene.put(account).await?;
    scene.wait("the many to be under way", || scene.asked(DESCRIBE) >= 5).await?;
    let all = || scene.requests(|r| r.access_key_id.as_deref() == Some(&scene.key));
    let before = all().len();
    scene.put(scene.policy("fair-one", "one", json!({"instanceId": "redis-fair-one"}))).await?;
    let place = || all().iter().position(|r| r.instance_id.as_deref() == Some("redis-fair-one"));
    scene.wait("a look at the one", || place().is_some()).await?;
    let turns = place().unwrap_or_default().saturating_sub(before);
    // Requests that pass until the operator has received the policy, and one more.
    ensure!(turns <= 8, "the many had {turns} turns before its first");
    let looks = scene.asked(DESCRIBE);
    ensure!(looks < MANY, "the many were done before it");
    let in_sync = |o: &serde_json::Value| super::scene::says(o, "InSync");
    scene.until_in("fair-one", "CrossRegionBackupPolicy", "one", "InSync", in_sync).await?;
    // Every policy of the other namespace is polled too.
    scene.wait("a look at each", || scene.asked(DESCRIBE) > MANY).await
}
