//! Uses of a shared account by an allowed namespace.

use anyhow::{Result, ensure};
use cloud_simulator::{BackupSpec, Policy};
use serde_json::json;

use super::scene::{LABEL, Scene};
use crate::checks::{With, expect};
use crate::harness::{POLICY, condition};

const BACKUPS: &str = "BackupInventory";

#[tokio::test]
async fn policies_and_inventories_work_through_it() -> Result<()> {
    let scene = Scene::shared("works").await?;
    let account_id = scene.account_id;
    scene.cloud.put_backup(BackupSpec { account_id, ..BackupSpec::new("works-1", &scene.instance, 60.0) })?;
    scene.patch_account(json!({"permissions": {"accountInventory": true}})).await?;
    let account = scene.until_account("CredentialsVerified").await?;
    expect(&account, "True", "CredentialsVerified", With::Nothing)?;
    ensure!(account["status"]["accessKeyIdHint"] == "AKLT…0077", "{account:#}");

    scene.put_policy(POLICY, json!({})).await?;
    let policy = scene.until_policy("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    ensure!(scene.modifies() == 1 && scene.held()? == Policy::to_region("cn-shanghai"));
    ensure!(policy["status"]["lastModification"]["cause"] == "SpecChanged", "{policy:#}");
    scene.put_inventory("one", json!({})).await?;
    scene.put_inventory("all", json!({"scope": "Account"})).await?;
    for name in ["one", "all"] {
        let inventory = scene.until_reason(BACKUPS, name, "Listed").await?;
        expect(&inventory, "True", "Listed", With::Nothing)?;
        ensure!(inventory["status"]["total"] == 1, "{inventory:#}");
    }
    let all = scene.get(BACKUPS, "all").await?;
    ensure!(all["status"]["instances"][0]["instanceId"] == scene.instance.as_str(), "{all:#}");
    Ok(())
}

#[tokio::test]
async fn from_all_and_an_empty_selector_allow_every_namespace() -> Result<()> {
    let scene = Scene::shared("everybody").await?;
    scene.allow_namespace(false).await?;
    scene.put_policy(POLICY, json!({})).await?;
    scene.until_not_allowed("CrossRegionBackupPolicy", POLICY, "it does not allow this namespace").await?;
    let allow = |allowed| json!({"allowedNamespaces": allowed});
    scene.patch_account(allow(json!({"from": "All", "selector": null}))).await?;
    scene.until_policy("InSync").await?;
    scene
        .patch_account(allow(json!({"from": "Selector", "selector": {"matchLabels": {LABEL: "nobody"}}})))
        .await?;
    scene.until_policy("AccountNotAllowed").await?;
    scene.patch_account(allow(json!({"selector": {"matchLabels": null}}))).await?;
    scene.until_policy("InSync").await?;
    let account = scene.get("ClusterCloudAccount", &scene.account).await?;
    ensure!(
        account["spec"]["allowedNamespaces"] == json!({"from": "Selector", "selector": {}}),
        "{account:#}"
    );
    Ok(())
}

#[tokio::test]
async fn a_reference_without_a_kind_is_to_the_namespaces_own_account() -> Result<()> {
    let scene = Scene::shared("kind").await?;
    let reference = json!({"accountRef": {"name": scene.account}});
    scene.put_policy(POLICY, reference.clone()).await?;
    scene.put_inventory("one", reference).await?;
    let wanted = format!("CloudAccount {} does not exist in this namespace", scene.account);
    for (kind, name) in [("CrossRegionBackupPolicy", POLICY), (BACKUPS, "one")] {
        let object = scene.until_reason(kind, name, "AccountNotFound").await?;
        ensure!(object["spec"]["accountRef"]["kind"] == "CloudAccount", "{object:#}");
        ensure!(condition(&object, "Ready")["message"] == wanted, "{object:#}");
    }
    ensure!(scene.sent() == 0);
    let reference = json!({"spec": {"accountRef": {"kind": "ClusterCloudAccount"}}});
    scene.patch("CrossRegionBackupPolicy", POLICY, reference.clone()).await?;
    scene.patch(BACKUPS, "one", reference).await?;
    scene.until_policy("InSync").await?;
    scene.until_reason(BACKUPS, "one", "Listed").await?;
    Ok(())
}

#[tokio::test]
async fn an_account_that_comes_later_is_awaited() -> Result<()> {
    let scene = Scene::new("later").await?;
    scene.put_policy(POLICY, json!({})).await?;
    let policy = scene.until_policy("AccountNotFound").await?;
    expect(&policy, "False", "AccountNotFound", With::Reconciling)?;
    let wanted = format!("ClusterCloudAccount {} does not exist", scene.account);
    ensure!(condition(&policy, "Ready")["message"] == wanted, "{policy:#}");
    scene.put(scene.account_manifest()).await?;
    scene.until_policy("CredentialsMissing").await?;
    scene.put_secret(json!({"accessKeyId": scene.key, "secretAccessKey": super::scene::SECRET_KEY})).await?;
    scene.until_policy("InSync").await.map(drop)
}

#[tokio::test]
async fn kubectl_shows_it_as_the_contract_says() -> Result<()> {
    let scene = Scene::shared("columns").await?;
    scene.until_account("CredentialsVerified").await?;
    let table = scene.kubectl().run(["get", "ccacct", &scene.account]).await?;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(lines[0] == ["NAME", "PROVIDER", "READY", "REASON", "AGE"], "{table}");
    ensure!(
        lines[1][..4] == [scene.account.as_str(), "Volcengine", "True", "CredentialsVerified"],
        "{table}"
    );
    let wide = scene.kubectl().run(["get", "clustercloudaccounts", &scene.account, "-o", "wide"]).await?;
    let header: Vec<_> = wide.lines().next().unwrap_or_default().split_whitespace().collect();
    ensure!(header == ["NAME", "PROVIDER", "READY", "REASON", "AGE", "MESSAGE"], "{wide}");
    ensure!(wide.contains("the cloud accepted the credentials"), "{wide}");
    let category = scene.kubectl().run(["get", "crossregionbackup", "-A", "-o", "name"]).await?;
    ensure!(
        category.contains(&format!("clustercloudaccount.crossregionbackup.io/{}", scene.account)),
        "{category}"
    );
    Ok(())
}

#[tokio::test]
async fn a_suspended_account_suspends_its_resources_and_they_come_back_at_once() -> Result<()> {
    let scene = Scene::synced("suspended", json!({})).await?;
    scene.put_inventory("one", json!({})).await?;
    scene.until_reason(BACKUPS, "one", "Listed").await?;
    let before = scene.get("CrossRegionBackupPolicy", POLICY).await?;
    scene.patch_account(json!({"suspend": true})).await?;
    let account = scene.until_account("Suspended").await?;
    expect(&account, "Unknown", "Suspended", With::Nothing)?;
    let policy = scene.until_policy("Suspended").await?;
    expect(&policy, "Unknown", "Suspended", With::Nothing)?;
    ensure!(policy["status"]["policy"] == before["status"]["policy"], "{policy:#}");
    expect(&scene.until_reason(BACKUPS, "one", "Suspended").await?, "Unknown", "Suspended", With::Nothing)?;
    let sent = scene.sent();
    scene
        .patch("CrossRegionBackupPolicy", POLICY, json!({"spec": {"crossBackupRegion": "cn-guangzhou"}}))
        .await?;
    scene.until_policy("Suspended").await?;
    // Without access the policy still reports only Suspended.
    scene.allow_namespace(false).await?;
    scene.patch("CrossRegionBackupPolicy", POLICY, json!({"spec": {"resyncInterval": "20m"}})).await?;
    scene.until_policy("Suspended").await?;
    ensure!(scene.sent() == sent, "nothing is sent while it is suspended");
    scene.patch_account(json!({"suspend": false})).await?;
    scene.until_policy("AccountNotAllowed").await?;
    ensure!(scene.sent() == sent, "nor while the namespace is not allowed");
    scene.allow_namespace(true).await?;
    scene.until_policy("InSync").await?;
    scene.until_reason(BACKUPS, "one", "Listed").await?;
    ensure!(scene.held()? == Policy::to_region("cn-guangzhou"));
    Ok(())
}
