//! Accounts, Secrets, instances and in-memory state of others that a tenant tries to use.

use anyhow::{Context, Result, ensure};
use cloud_simulator::Policy;
use serde_json::{Value, json};

use super::{BKINV, CRBP, Tenant, names_none_of};
use crate::checks::message;
use crate::harness::{OPERATOR_NAMESPACE, POLICY};
use crate::objects::FINALIZER;
use crate::sharing::scene::{SECRET_KEY, Scene, says, secret_manifest};

#[tokio::test]
async fn it_cannot_use_an_account_of_another_namespace() -> Result<()> {
    let owner = Scene::new("borrow-owner").await?;
    let data = json!({"accessKeyId": owner.key, "secretAccessKey": SECRET_KEY});
    owner.put(secret_manifest(&owner.namespace, "prod", data)).await?;
    owner.put(owner.own_account(&owner.namespace, "prod")).await?;
    let reference = json!({"accountRef": {"name": "prod"}});
    owner.put_policy(POLICY, reference.clone()).await?;
    owner.until_policy("InSync").await?;
    let tenant = Tenant::with_account(&owner, "borrow-tenant", "nobody").await?;
    let sent = owner.sent_with(&owner.key, "*");
    let off = json!({"accountRef": {"name": "prod"}, "active": false, "deletionPolicy": "Disable"});
    tenant
        .apply(&[
            owner.policy("borrow-tenant", POLICY, off),
            owner.inventory("borrow-tenant", "one", reference),
            owner.inventory(
                "borrow-tenant",
                "all",
                json!({"accountRef": {"name": "prod"}, "scope": "Account"}),
            ),
        ])
        .await?;
    for (kind, name) in [(CRBP, POLICY), (BKINV, "one"), (BKINV, "all")] {
        let object = tenant.until(&owner, kind, name, "AccountNotFound").await?;
        ensure!(
            message(&object) == "CloudAccount prod does not exist in this namespace",
            "{}",
            message(&object)
        );
    }
    for name in ["borrow-owner/prod", "../borrow-owner/prod", "prod.borrow-owner:x"] {
        let mut policy = owner.policy("borrow-tenant", "other", json!({"accountRef": {"name": name}}));
        let refused = tenant.apply(&[policy.clone()]).await.err().context("was taken")?;
        ensure!(format!("{refused:#}").contains("spec.accountRef.name"), "{refused:#}");
        policy["spec"]["accountRef"] = json!({"name": "prod", "namespace": owner.namespace});
        ensure!(tenant.apply(&[policy]).await.is_err(), "a namespace is no part of a reference");
    }
    tenant.run(&["delete", "crbp", POLICY, "--wait=false"]).await?;
    tenant.proves_that_the_operator_works(&owner).await?;
    ensure!(owner.sent_with(&owner.key, "*") == sent && owner.held()?.active);
    Ok(())
}

#[tokio::test]
async fn it_cannot_use_a_secret_of_another_namespace() -> Result<()> {
    let owner = Scene::synced("secret-owner", json!({})).await?;
    let data = json!({"accessKeyId": owner.key, "secretAccessKey": SECRET_KEY});
    owner.put(secret_manifest(&owner.namespace, "prod", data)).await?;
    let tenant = Tenant::with_account(&owner, "secret-tenant", "nobody").await?;
    let sent = owner.sent_with(&owner.key, "*");
    let account = |name: &str, secret: &str| {
        let mut account = owner.own_account("secret-tenant", name);
        account["spec"]["credentials"]["secretRef"]["name"] = json!(secret);
        account
    };
    for name in [
        format!("{OPERATOR_NAMESPACE}/{}", owner.secret),
        format!("../{OPERATOR_NAMESPACE}/{}", owner.secret),
        "..".to_owned(),
        format!("../../namespaces/{}/secrets/prod", owner.namespace),
        format!("%2e%2e%2f{}", owner.secret),
        format!("{}?x=", owner.secret),
    ] {
        let refused = tenant.apply(&[account("other", &name)]).await.err().context("was taken")?;
        ensure!(format!("{refused:#}").contains("spec.credentials.secretRef.name"), "{name}: {refused:#}");
    }
    let mut elsewhere = account("other", "prod");
    elsewhere["spec"]["credentials"]["secretRef"]["namespace"] = json!(owner.namespace);
    ensure!(tenant.apply(&[elsewhere]).await.is_err(), "a namespace is no part of a reference");

    // A name in its own namespace refers to its own Secret.
    for (name, secret) in [("of-owner", "prod"), ("of-operator", owner.secret.as_str())] {
        tenant.apply(&[account(name, secret)]).await?;
        let told = tenant.until(&owner, "CloudAccount", name, "CredentialsMissing").await?;
        ensure!(message(&told) == format!("Secret {secret} does not exist"), "{}", message(&told));
        tenant.apply(&[tenant.secret(secret)]).await?;
        let told = tenant.until(&owner, "CloudAccount", name, "CredentialsVerified").await?;
        ensure!(told["status"]["accessKeyIdHint"] == "AKLT…0033", "{told:#}");
    }
    ensure!(owner.sent_with(&owner.key, "*") == sent);
    Ok(())
}

#[tokio::test]
async fn it_cannot_use_a_shared_account_that_does_not_allow_it() -> Result<()> {
    let owner = Scene::synced("use-owner", json!({})).await?;
    owner.patch_account(json!({"permissions": {"accountInventory": true}})).await?;
    owner.put_inventory("all", json!({"scope": "Account"})).await?;
    owner.until_reason(BKINV, "all", "Listed").await?;
    let tenant = Tenant::with_account(&owner, "use-tenant", "nobody").await?;
    let sent = owner.sent_with(&owner.key, "*");
    let of = |name: &str, spec: Value| owner.policy("use-tenant", name, spec);
    tenant
        .apply(&[
            of("manages", json!({"crossBackupRegion": "cn-guangzhou"})),
            of("observes", json!({"managementPolicy": "Observe"})),
            of("disables", json!({"active": false, "deletionPolicy": "Disable"})),
            owner.inventory("use-tenant", "one", json!({})),
            owner.inventory("use-tenant", "all", json!({"scope": "Account"})),
        ])
        .await?;
    let all = [(CRBP, "manages"), (CRBP, "observes"), (CRBP, "disables"), (BKINV, "one"), (BKINV, "all")];
    for (kind, name) in all {
        let object = tenant.until(&owner, kind, name, "AccountNotAllowed").await?;
        let wanted = format!("ClusterCloudAccount {}: it does not allow this namespace", owner.account);
        ensure!(message(&object) == wanted, "{}", message(&object));
    }
    // Reconcile requests, which make the operator poll at once where access is allowed.
    let now = "crossregionbackup.io/reconcile-requested-at=now";
    tenant.run(&["annotate", "crbp,bkinv", "--all", now]).await?;
    for (kind, name) in all {
        owner
            .until_in("use-tenant", kind, name, "the request", |o| {
                o["status"]["lastHandledReconcileAt"] == "now"
            })
            .await?;
    }
    tenant.run(&["delete", "crbp", "disables", "--timeout=30s"]).await?;
    tenant.proves_that_the_operator_works(&owner).await?;
    ensure!(owner.sent_with(&owner.key, "*") == sent && owner.held()? == Policy::to_region("cn-shanghai"));
    ensure!(says(&owner.get(CRBP, POLICY).await?, "InSync"));
    Ok(())
}

#[tokio::test]
async fn it_cannot_take_over_an_instance_that_its_own_key_does_not_reach() -> Result<()> {
    let owner = Scene::shared("take-owner").await?;
    // The tenant's policy is older: among policies with access to the instance, the oldest would manage.
    let tenant = Tenant::with_account(&owner, "take-tenant", "nobody").await?;
    let mine = |name: &str| {
        let spec = json!({"accountRef": {"name": "own"}, "crossBackupRegion": "cn-guangzhou", "deletionPolicy": "Disable"});
        owner.policy("take-tenant", name, spec)
    };
    tenant.apply(&[mine("older")]).await?;
    let older = tenant.until(&owner, CRBP, "older", "InstanceNotFound").await?;
    owner
        .wait("the next second", {
            let created: jiff::Timestamp =
                older["metadata"]["creationTimestamp"].as_str().unwrap_or_default().parse()?;
            move || jiff::Timestamp::now().as_second() > created.as_second()
        })
        .await?;
    owner.put_policy(POLICY, json!({})).await?;
    owner.until_policy("InSync").await?;
    tenant.apply(&[mine("younger")]).await?;
    tenant.until(&owner, CRBP, "younger", "InstanceNotFound").await?;
    // A denied describe does not prove access either.
    owner.cloud.deny(&tenant.key, ["DescribeCrossRegionBackupPolicy".to_owned()].into())?;
    tenant.run(&["annotate", "crbp", "older", "crossregionbackup.io/reconcile-requested-at=now"]).await?;
    tenant.until(&owner, CRBP, "older", "PermissionDenied").await?;
    owner.cloud.allow(&tenant.key, ["DescribeCrossRegionBackupPolicy".to_owned()].into())?;

    let policy = owner.ask(CRBP, POLICY, "now").await?;
    ensure!(says(&policy, "InSync"), "{policy:#}");
    ensure!(owner.logged(&["Ready has changed", "namespace=take-owner ", "Conflict"]).is_empty());
    for name in ["older", "younger"] {
        tenant.run(&["delete", "crbp", name, "--timeout=30s"]).await?;
    }
    ensure!(owner.sent_with(&tenant.key, "ModifyCrossRegionBackupPolicy") == 0);
    ensure!(owner.held()? == Policy::to_region("cn-shanghai"));
    names_none_of(&tenant.reads().await?, &[&owner.namespace, &owner.account, &owner.secret, &owner.key])
}

#[tokio::test]
async fn a_conflict_names_nothing_of_the_other_namespace() -> Result<()> {
    const NAME: &str = "policy-of-the-owner";
    let owner = Scene::shared("rival-owner").await?;
    owner.put_policy(NAME, json!({})).await?;
    let older = owner.until_reason(CRBP, NAME, "InSync").await?;
    // A key that has access to the same instance.
    let tenant = Tenant::of(&owner, "rival-tenant", "nobody").await?;
    owner.put_key(&tenant.key, SECRET_KEY)?;
    tenant.apply(&[tenant.secret("own"), owner.own_account("rival-tenant", "own")]).await?;
    let spec = json!({"accountRef": {"name": "own"}, "crossBackupRegion": "cn-guangzhou", "deletionPolicy": "Disable"});
    tenant.apply(&[owner.policy("rival-tenant", POLICY, spec)]).await?;
    let policy = tenant.until(&owner, CRBP, POLICY, "Conflict").await?;
    let wanted = "a CrossRegionBackupPolicy of another namespace manages this instance";
    ensure!(message(&policy) == wanted, "{}", message(&policy));
    tenant.run(&["delete", "crbp", POLICY, "--timeout=30s"]).await?;
    ensure!(owner.sent_with(&tenant.key, "ModifyCrossRegionBackupPolicy") == 0);
    let after = owner.ask(CRBP, NAME, "now").await?;
    ensure!(after["status"]["conditions"] == older["status"]["conditions"], "{after:#}");
    let all = tenant.reads().await?;
    ensure!(all.contains("DisableSkipped"), "{all}");
    names_none_of(&all, &[NAME, &owner.namespace, &owner.account, &owner.secret, &owner.key])
}

#[tokio::test]
async fn it_cannot_use_the_credentials_last_seen_of_an_account_that_is_gone() -> Result<()> {
    let owner = Scene::synced("gone-owner", json!({})).await?;
    let tenant = Tenant::with_account(&owner, "gone-tenant", "nobody").await?;
    let spec = json!({"deletionPolicy": "Disable"});
    tenant.apply(&[owner.policy("gone-tenant", POLICY, spec.clone())]).await?;
    let policy = tenant.until(&owner, CRBP, POLICY, "AccountNotAllowed").await?;
    ensure!(policy["metadata"]["finalizers"] == json!([FINALIZER]), "{policy:#}");
    owner
        .put_policy("disables", json!({"deletionPolicy": "Disable", "crossBackupRegion": "cn-shanghai"}))
        .await?;
    owner.until_reason(CRBP, "disables", "Conflict").await?;
    owner.delete("ClusterCloudAccount", &owner.account).await?;
    tenant.until(&owner, CRBP, POLICY, "AccountNotFound").await?;
    let sent = owner.sent();
    tenant.run(&["delete", "crbp", POLICY, "--wait=false"]).await?;
    // A policy that is created only now, and one on an account of the tenant's own with the name of the deleted one.
    let mut late = owner.policy("gone-tenant", "late", spec.clone());
    late["metadata"]["finalizers"] = json!([FINALIZER]);
    tenant.apply(&[late, owner.own_account("gone-tenant", &owner.account)]).await?;
    tenant.until(&owner, CRBP, "late", "AccountNotFound").await?;
    tenant.run(&["delete", "crbp", "late", "--wait=false"]).await?;
    let mut own = owner.policy("gone-tenant", "namesake", spec);
    own["spec"]["accountRef"] = json!({"name": owner.account});
    tenant.apply(&[own]).await?;
    tenant.until(&owner, CRBP, "namesake", "CredentialsMissing").await?;
    tenant.run(&["delete", "crbp", "namesake", "--wait=false"]).await?;

    tenant.proves_that_the_operator_works(&owner).await?;
    ensure!(owner.sent() == sent && owner.held()?.active);
    // The owner's own policies can still disable.
    owner.delete(CRBP, POLICY).await?;
    owner.delete(CRBP, "disables").await?;
    owner.until_gone(CRBP, "disables").await?;
    ensure!(owner.sent() > sent && !owner.held()?.active);
    Ok(())
}
