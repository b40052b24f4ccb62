//! Requests of a tenant that the API server refuses.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{CRBP, Tenant};
use crate::harness::{OPERATOR_NAMESPACE, POLICY};
use crate::sharing::scene::{self, Scene};

#[tokio::test]
async fn it_cannot_read_secrets_of_others() -> Result<()> {
    let owner = Scene::synced("read-owner", json!({})).await?;
    let tenant = Tenant::with_account(&owner, "read-tenant", "nobody").await?;
    ensure!(tenant.run(&["get", "secret", "own", "-o", "name"]).await?.contains("secret/own"));
    for namespace in [OPERATOR_NAMESPACE, &owner.namespace] {
        tenant.is_forbidden(&["get", "secret", &owner.secret, "-n", namespace]).await?;
        tenant.is_forbidden(&["get", "secrets", "-n", namespace]).await?;
        tenant.is_forbidden(&["get", "secrets", "-n", namespace, "--watch"]).await?;
        tenant.is_forbidden(&["delete", "secret", &owner.secret, "-n", namespace]).await?;
        tenant.is_forbidden(&["get", "crbp,cacct,bkinv,events", "-n", namespace]).await?;
    }
    tenant.is_forbidden(&["get", "secrets", "-A"]).await
}

#[tokio::test]
async fn it_cannot_read_or_write_shared_accounts() -> Result<()> {
    let owner = Scene::synced("write-owner", json!({})).await?;
    let tenant = Tenant::of(&owner, "write-tenant", &owner.account).await?;
    let account = owner.account.as_str();
    let own = owner.plane.file("write-tenant.json");
    let mut mine = owner.account_manifest();
    mine["metadata"]["name"] = json!("of-the-tenant");
    std::fs::write(&own, mine.to_string())?;
    let all = json!({"spec": {"allowedNamespaces": {"from": "All"}}}).to_string();
    let ready = json!({"status": {"conditions": []}}).to_string();
    for args in [
        ["get", "ccacct"].as_slice(),
        &["get", "ccacct", account],
        &["describe", "ccacct", account],
        &["create", "-f", &own.display().to_string()],
        &["delete", "ccacct", account],
        &["patch", "ccacct", account, "--type=merge", "-p", &all],
        &["patch", "ccacct", account, "--subresource=status", "--type=merge", "-p", &ready],
        &["annotate", "ccacct", account, "crossregionbackup.io/reconcile-requested-at=now"],
    ] {
        tenant.is_forbidden(args).await?;
    }
    // A tenant may use a shared account that it cannot read.
    owner.add_instance("redis-write-tenant")?;
    tenant
        .apply(&[owner.policy("write-tenant", POLICY, json!({"instanceId": "redis-write-tenant"}))])
        .await?;
    tenant.until(&owner, CRBP, POLICY, "InSync").await.map(drop)
}

#[tokio::test]
async fn it_cannot_label_its_namespace_into_an_account() -> Result<()> {
    let owner = Scene::synced("label-owner", json!({})).await?;
    let tenant = Tenant::with_account(&owner, "label-tenant", "nobody").await?;
    tenant.apply(&[owner.policy("label-tenant", POLICY, json!({}))]).await?;
    tenant.until(&owner, CRBP, POLICY, "AccountNotAllowed").await?;
    let label = format!("{}={}", scene::LABEL, owner.account);
    let patch = json!({"metadata": {"labels": {scene::LABEL: owner.account}}}).to_string();
    let file = owner.plane.file("label-tenant.json");
    std::fs::write(&file, scene::namespace("label-tenant-2", &owner.account).to_string())?;
    for args in [
        ["label", "namespace", "label-tenant", "--overwrite", &label].as_slice(),
        &["patch", "namespace", "label-tenant", "--type=merge", "-p", &patch],
        &["create", "-f", &file.display().to_string()],
        &["delete", "namespace", "label-tenant"],
        &["label", "namespace", &owner.namespace, "--overwrite", "uses-account=nobody"],
    ] {
        tenant.is_forbidden(args).await?;
    }
    // The administrator's label has the effect that the tenant's own would have had.
    let sent = owner.sent_with(&owner.key, "*");
    tenant.proves_that_the_operator_works(&owner).await?;
    ensure!(owner.sent_with(&owner.key, "*") == sent);
    owner.put_namespace("label-tenant", &owner.account).await?;
    tenant.until(&owner, CRBP, POLICY, "Conflict").await.map(drop)
}

#[tokio::test]
async fn it_cannot_forge_status() -> Result<()> {
    let owner = Scene::synced("forge-owner", json!({})).await?;
    let tenant = Tenant::with_account(&owner, "forge-tenant", "nobody").await?;
    // Forged status that would prove access to the owner's instance.
    let status = json!({
        "observedGeneration": 1, "syncedGeneration": 1,
        "policy": {"active": true, "crossBackupRegion": "cn-shanghai"}, "conditions": [],
    });
    let mut policy = owner.policy("forge-tenant", POLICY, json!({"accountRef": {"name": "own"}}));
    policy["status"] = status.clone();
    tenant.apply(&[policy]).await?;
    let stored = tenant.until(&owner, CRBP, POLICY, "InstanceNotFound").await?;
    ensure!(stored["status"]["policy"].is_null(), "{stored:#}");
    let patch = json!({ "status": status }).to_string();
    for kind in ["crbp", "bkinv", "cacct"] {
        let name = if kind == "cacct" { "own" } else { POLICY };
        let namespace = tenant.namespace.as_str();
        let args =
            ["patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", &patch];
        tenant.is_forbidden(&args).await?;
        for verb in ["update", "patch"] {
            let plural = match kind {
                "crbp" => "crossregionbackuppolicies",
                "bkinv" => "backupinventories",
                _ => "cloudaccounts",
            };
            ensure!(tenant.may(verb, plural).await?, "{verb} {plural}");
            let args = ["auth", "can-i", verb, plural, "--subresource=status", "-n", namespace];
            let said = String::from_utf8(tenant.kubectl.output(args).await?.stdout)?;
            ensure!(said.trim() == "no", "{verb} {plural}/status: {said}");
        }
    }
    // A write to the main resource does not change status either.
    tenant.run(&["patch", "crbp", POLICY, "--type=merge", "-p", &patch]).await?;
    tenant.proves_that_the_operator_works(&owner).await?;
    ensure!(owner.get_in("forge-tenant", CRBP, POLICY).await?["status"]["policy"].is_null());
    ensure!(scene::says(&owner.get(CRBP, POLICY).await?, "InSync"));
    Ok(())
}
