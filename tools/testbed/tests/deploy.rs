//! Tests of the manifests in deploy/: the API server accepts them, and their RBAC grants the intended rights and no others.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testbed::{Kubectl, shared, wait_until};

const OPERATOR: &str = "system:serviceaccount:cross-region-backup-operator:cross-region-backup-operator";
const OWN: &str = "cross-region-backup-operator";
const GROUP: &str = "crossregionbackup.io";
const LEASES: &str = "coordination.k8s.io";

async fn apply(kubectl: &Kubectl, files: &[&str]) -> Result<()> {
    for file in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file);
        let output = kubectl.output(["apply", "-f", &path.display().to_string()]).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        // Violations of Pod Security and deprecations are only warnings on stderr.
        assert!(output.status.success() && stderr.is_empty(), "{file}: {stderr}");
    }
    Ok(())
}

/// Whether RBAC lets the user do this. Uses an access review, as `kubectl auth can-i` needs the kinds to be installed.
async fn may(
    kubectl: &Kubectl,
    user: &str,
    namespace: &str,
    verb: &str,
    group: &str,
    what: &str,
) -> Result<bool> {
    // resource, resource/subresource, or resource:name
    let (what, name) = what.split_once(':').unwrap_or((what, ""));
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": group,
                "resource": resource, "subresource": subresource, "name": name,
            },
        },
    });
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), review.to_string())?;
    let answer: Value = kubectl.json(["create", "-f", &file.path().display().to_string()]).await?;
    answer["status"]["allowed"].as_bool().context("a review without an answer")
}

#[tokio::test]
async fn the_operator_may_do_its_work_and_nothing_else() -> Result<()> {
    let kubectl = shared().await?.kubectl();
    apply(kubectl, &["namespace.yaml", "operator-rbac.yaml", "deployment.yaml"]).await?;
    let operator_may = async |namespace: &str, verb: &str, group: &str, what: &str| {
        may(kubectl, OPERATOR, namespace, verb, group, what).await
    };

    for (verb, group, what) in [
        ("watch", GROUP, "crossregionbackuppolicies"),
        ("patch", GROUP, "crossregionbackuppolicies"),
        ("patch", GROUP, "crossregionbackuppolicies/status"),
        ("watch", GROUP, "cloudaccounts"),
        ("patch", GROUP, "cloudaccounts/status"),
        ("watch", GROUP, "clustercloudaccounts"),
        ("patch", GROUP, "clustercloudaccounts/status"),
        ("watch", "", "namespaces"),
        ("get", "", "secrets"),
        ("create", "events.k8s.io", "events"),
        ("patch", "events.k8s.io", "events"),
    ] {
        assert!(operator_may("default", verb, group, what).await?, "it may not {verb} {what}");
    }
    for (verb, group, what) in [
        ("create", GROUP, "crossregionbackuppolicies"),
        ("update", GROUP, "crossregionbackuppolicies"),
        ("delete", GROUP, "crossregionbackuppolicies"),
        ("patch", GROUP, "cloudaccounts"),
        ("patch", GROUP, "clustercloudaccounts"),
        ("patch", "", "namespaces"),
        ("create", "", "secrets"),
        ("patch", "", "secrets"),
        ("delete", "", "secrets"),
        ("create", "", "pods"),
        ("create", "", "serviceaccounts/token"),
        ("get", LEASES, "leases:cross-region-backup-operator"),
    ] {
        assert!(!operator_may("default", verb, group, what).await?, "it may {verb} {what}");
    }
    assert!(operator_may(OWN, "create", LEASES, "leases").await?);
    assert!(operator_may(OWN, "update", LEASES, "leases:cross-region-backup-operator").await?);
    assert!(!operator_may(OWN, "update", LEASES, "leases:of-somebody-else").await?);
    Ok(())
}

#[tokio::test]
async fn users_get_the_kinds_with_the_roles_that_they_have() -> Result<()> {
    let kubectl = shared().await?.kubectl();
    let tenant = "tenant";
    apply(kubectl, &["user-roles.yaml"]).await?;
    kubectl.run(["create", "namespace", tenant]).await?;
    for role in ["view", "edit", "admin"] {
        // The user has the role's name.
        let (cluster_role, user) = (format!("--clusterrole={role}"), format!("--user={role}"));
        kubectl.run(["create", "rolebinding", role, &cluster_role, &user, "-n", tenant]).await?;
        wait_until(
            Duration::from_secs(60),
            format!("the kinds' rules in the ClusterRole {role}"),
            async || {
                let views = may(kubectl, role, tenant, "list", GROUP, "crossregionbackuppolicies").await?;
                let edits = may(kubectl, role, tenant, "delete", GROUP, "cloudaccounts").await?;
                Ok((views && edits == (role != "view")).then_some(()))
            },
        )
        .await?;
        let writes_status =
            may(kubectl, role, tenant, "patch", GROUP, "crossregionbackuppolicies/status").await?;
        assert!(!writes_status, "{role} may write status");
        for verb in ["get", "create"] {
            let shares = may(kubectl, role, tenant, verb, GROUP, "clustercloudaccounts").await?;
            assert!(!shares, "{role} may {verb} what is shared");
        }
    }
    assert!(!may(kubectl, "view", tenant, "get", "", "secrets").await?, "view may read Secrets");
    assert!(!may(kubectl, "view", tenant, "create", GROUP, "cloudaccounts").await?, "view may create");
    Ok(())
}
