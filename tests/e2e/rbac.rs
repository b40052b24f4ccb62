//! The operator is granted exactly the rights that it uses.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use cloud_simulator::Policy;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testbed::{AuditFilter, ControlPlane, Options, wait_until};

use crate::client;
use crate::harness::{self, LIMIT, OPERATOR_NAMESPACE, POLICY, Stage};
use crate::tools::{documents, read};

/// Rights in the form `secrets get`.
type Rights = BTreeSet<String>;

/// Returns the rights that a file of deploy/ grants by its Roles and ClusterRoles.
fn granted(file: &str) -> Result<Rights> {
    let mut rights = Rights::new();
    for object in documents(&read(file)?)? {
        for rule in object["rules"].as_array().into_iter().flatten() {
            let each = |field: &str| {
                rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
            };
            for resource in each("resources") {
                rights.extend(each("verbs").map(|verb| format!("{resource} {verb}")));
            }
        }
    }
    Ok(rights)
}

/// Returns the rights that the operator has used, from the audit log.
fn used(plane: &ControlPlane) -> Result<Rights> {
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_NAMESPACE}");
    let entries = plane.audit_entries(&AuditFilter { user: Some(&user), ..AuditFilter::default() })?;
    let right = |entry: &testbed::AuditEntry| match entry.subresource.as_str() {
        "" => format!("{} {}", entry.resource, entry.verb),
        part => format!("{}/{part} {}", entry.resource, entry.verb),
    };
    let on_objects = entries.iter().filter(|entry| !entry.resource.is_empty());
    Ok(on_objects.map(right).collect())
}

const OBJECTS: [(&str, &str); 4] =
    [("crbp", POLICY), ("bkinv", "all"), ("cacct", "prod"), ("ccacct", "shared")];

/// Changes the status of each resource and causes conflicts, after which the operator reads again. A repeated drift
/// updates the count of its Event.
async fn stir(stage: &Stage<'_>, round: usize) -> Result<()> {
    let suspend = round.is_multiple_of(2);
    for (kind, name) in OBJECTS {
        let patch = json!({"spec": {"suspend": suspend}}).to_string();
        stage.run(["patch", kind, name, "--type=merge", "-p", &patch]).await?;
    }
    if !suspend {
        stage.drift(Policy::default())?;
        stage.request_now("crbp", POLICY, &round.to_string()).await?;
    }
    Ok(())
}

/// Writes each resource without a pause for as long as the future is polled, so that the operator's writes meet
/// conflicts.
async fn meddle(stage: &Stage<'_>) -> Result<()> {
    let all = OBJECTS.map(|(kind, name)| (client::api(&stage.client, kind, &stage.namespace), name));
    let params = PatchParams::default();
    for round in 0_u64.. {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"round": round.to_string()}}}));
        let writes = all.iter().map(|(api, name)| api.patch_metadata(name, &params, &patch));
        futures::future::try_join_all(writes).await?;
    }
    Ok(())
}

#[tokio::test]
async fn each_right_that_deploy_grants_is_used_and_no_other_is_needed() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    harness::install(&plane).await?;
    let mut stage = Stage::on(&plane, "rights").await?;
    stage.watches_all = true;
    stage.flag("--leader-elect=true");
    stage.apply_account().await?;
    let mut shared = stage.account_manifest();
    shared["kind"] = json!("ClusterCloudAccount");
    shared["metadata"] = json!({"name": "shared"});
    shared["spec"]["allowedNamespaces"] = json!({"from": "All"});
    stage.apply(shared).await?;
    stage
        .apply(json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory",
            "metadata": {"name": "all", "namespace": stage.namespace},
            "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account"},
        }))
        .await?;
    stage.start_operator().await?;
    stage.apply_policy(json!({"deletionPolicy": "Disable"})).await?;
    stage.until_reason("InSync").await?;

    let granted = granted("deploy/operator-rbac.yaml")?;
    let unused = || -> Result<Rights> { Ok(granted.difference(&used(&plane)?).cloned().collect()) };
    let mut round = 0;
    let stirring = wait_until(2 * LIMIT, "every right to be used", async || {
        stir(&stage, round).await?;
        round += 1;
        // The audit log records a watch when it ends.
        let unused: Vec<_> = unused()?.into_iter().filter(|right| !right.ends_with(" watch")).collect();
        if unused.is_empty() { Ok(Some(())) } else { bail!("not used: {unused:?}") }
    });
    tokio::select! {
        all_used = stirring => all_used.with_context(|| stage.log_tail())?,
        ended = meddle(&stage) => return ended,
    }
    stage.operator().terminate(LIMIT).await?;
    wait_until(LIMIT, "the end of every watch", async || {
        let unused = unused()?;
        if unused.is_empty() { Ok(Some(())) } else { bail!("not used: {unused:?}") }
    })
    .await?;
    let more: Vec<_> = used(&plane)?.difference(&granted).cloned().collect();
    ensure!(more.is_empty(), "used and not granted: {more:?}");
    Ok(())
}

#[test]
fn a_namespaced_operator_is_granted_no_more_than_one_of_the_cluster() -> Result<()> {
    let (whole, limited) = (granted("deploy/operator-rbac.yaml")?, granted("deploy/namespaced/role.yaml")?);
    let of_cluster =
        |right: &String| right.starts_with("clustercloudaccounts") || right.starts_with("namespaces");
    let of_lease = |right: &String| right.starts_with("leases");
    let expected: Rights = whole.into_iter().filter(|right| !of_cluster(right) && !of_lease(right)).collect();
    ensure!(limited == expected, "{limited:?}\n{expected:?}");
    Ok(())
}
