//! Tests of the control plane's features that the operator's tests rely on.

use std::time::Duration;

use anyhow::{Result, anyhow};
use testbed::{AuditFilter, ControlPlane, Options, User, shared, wait_until};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn namespaces_come_and_go_and_the_audit_log_says_who_did_it() -> Result<()> {
    let control_plane = shared().await?;
    let kubectl = control_plane.kubectl();
    kubectl.run(["create", "namespace", "short-lived"]).await?;

    let created = AuditFilter { verb: Some("create"), resource: Some("namespaces"), ..Default::default() };
    let entry = wait_until(SOON, "the creation in the audit log", async || {
        let entries = control_plane.audit_entries(&AuditFilter { name: Some("short-lived"), ..created })?;
        Ok(entries.into_iter().next())
    })
    .await?;
    assert_eq!((entry.user.as_str(), entry.code), ("admin", 201));
    assert!(entry.is_write());

    kubectl.run(["delete", "namespace", "short-lived", "--wait=false"]).await?;
    wait_until(SOON, "the namespace to vanish", async || {
        let found = kubectl.output(["get", "namespace", "short-lived"]).await?;
        Ok((!found.status.success()).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_service_account_has_the_rights_of_its_roles_only() -> Result<()> {
    let control_plane = shared().await?;
    let kubectl = control_plane.kubectl();
    let namespace = "restricted";
    kubectl.run(["create", "namespace", namespace]).await?;
    kubectl.run(["create", "serviceaccount", "reader", "-n", namespace]).await?;
    let reader = control_plane.service_account_kubeconfig(namespace, "reader").await?;
    let reader = kubectl.with_kubeconfig(reader);
    let secrets = ["get", "secrets", "-n", namespace];

    let refused = reader.run(secrets).await.unwrap_err().to_string();
    assert!(refused.contains("system:serviceaccount:restricted:reader"), "{refused}");

    kubectl.run("create role reader --verb=list --resource=secrets -n restricted".split(' ')).await?;
    kubectl
        .run(
            "create rolebinding reader --role=reader --serviceaccount=restricted:reader -n restricted"
                .split(' '),
        )
        .await?;
    assert!(reader.json(secrets).await?["items"].is_array());
    Ok(())
}

#[tokio::test]
async fn cluster_roles_are_aggregated() -> Result<()> {
    let kubectl = shared().await?.kubectl();
    kubectl
        .apply(
            r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: more-to-view
  labels: {rbac.authorization.k8s.io/aggregate-to-view: "true"}
rules:
  - {apiGroups: [example.org], resources: [wells], verbs: [get]}
"#,
        )
        .await?;
    wait_until(SOON, "the rule in the ClusterRole view", async || {
        let view = kubectl.json(["get", "clusterrole", "view"]).await?.to_string();
        Ok(view.contains("example.org").then_some(()))
    })
    .await
}

#[tokio::test]
async fn the_data_and_the_address_outlive_a_restart_of_the_api_server() -> Result<()> {
    let options = Options { users: vec![User::new("tenant").in_group("tenants")], ..Default::default() };
    let control_plane = ControlPlane::start(options).await?;
    let kubectl = control_plane.kubectl();
    kubectl.run(["create", "namespace", "kept"]).await?;
    let server = control_plane.server();

    control_plane.stop_apiserver().await?;
    let refused = kubectl.run(["get", "--raw", "/readyz"]).await;
    assert!(refused.is_err(), "a stopped API server answered");

    control_plane.start_apiserver().await?;
    assert_eq!(control_plane.server(), server);
    kubectl.run(["get", "namespace", "kept"]).await?;

    let tenant = kubectl.with_kubeconfig(control_plane.user_kubeconfig("tenant")?);
    let refused = tenant.run(["get", "namespaces"]).await.unwrap_err().to_string();
    assert!(refused.contains(r#"User "tenant" cannot list"#), "{refused}");
    wait_until(SOON, "the refusal in the audit log", async || {
        let by_tenant =
            AuditFilter { user: Some("tenant"), resource: Some("namespaces"), ..Default::default() };
        let codes: Vec<u16> =
            control_plane.audit_entries(&by_tenant)?.iter().map(|entry| entry.code).collect();
        if codes == [403] { Ok(Some(())) } else { Err(anyhow!("{codes:?}")) }
    })
    .await?;

    let folder = control_plane.file("");
    drop(control_plane);
    assert!(!folder.exists(), "the folder is still there");
    Ok(())
}
