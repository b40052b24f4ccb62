//! Validation of shared accounts: invalid specs are refused at `kubectl apply` with a message that names the field;
//! errors that only the operator can detect are reported in status.

use anyhow::{Context, Result, bail, ensure};
use kube::api::{Patch, PatchParams, ValidationDirective};
use serde_json::{Value, json};

use super::scene::{LABEL, Scene, says};
use crate::checks::{With, expect, message};
use crate::harness::{OPERATOR_NAMESPACE, POLICY};

const VOLC_ROLE: &str = "trn:iam::2100000000:role/backup";
const TENCENT_ROLE: &str = "qcs::cam::uin/100000000:roleName/backup";
const ONLY_THERE: &str = "selector is required with from: Selector, and allowed there only";
const NO_STS: &str = "provider BytePlus has neither assumeRole nor workloadIdentity";
const ROLE_OF: &str = "must be one of the provider";
const PROVIDER_ID: &str =
    "workloadIdentity.providerId is required with provider Tencent, and allowed there only";
const EXACTLY_ONE: &str = "credentials must have exactly one of secretRef and workloadIdentity";
const DURATION: &str = "assumeRole.duration must be 15m to 12h";

fn identity(role: &str) -> Value {
    json!({"workloadIdentity": {"role": role}})
}

fn assume(more: Value) -> Value {
    let mut role = json!({"role": VOLC_ROLE});
    if let (Some(role), Value::Object(more)) = (role.as_object_mut(), more) {
        role.extend(more);
    }
    json!({"assumeRole": role})
}

/// Merges as kubectl does: `null` removes a field.
fn with(mut manifest: Value, spec: Value) -> Value {
    for (field, value) in spec.as_object().into_iter().flatten() {
        manifest["spec"][field] = value.clone();
    }
    if let Some(spec) = manifest["spec"].as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
    manifest
}

/// Returns the API server's reason for refusing a manifest.
async fn refusal(scene: &Scene, manifest: &Value) -> Result<String> {
    let kind = manifest["kind"].as_str().unwrap_or_default();
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    let strict = Some(ValidationDirective::Strict);
    let params =
        PatchParams { dry_run: true, field_validation: strict, ..PatchParams::apply("tests").force() };
    match scene.api(kind, &scene.namespace).patch(name, &params, &Patch::Apply(manifest)).await {
        Ok(_) => bail!("was taken: {manifest:#}"),
        Err(error) => Ok(error.to_string()),
    }
}

/// Checks that each change of a valid manifest is refused with these words.
async fn refused(scene: &Scene, good: &Value, cases: Vec<(Value, &[&str])>) -> Result<()> {
    for (spec, words) in cases {
        let told = refusal(scene, &with(good.clone(), spec.clone())).await?;
        for word in words {
            ensure!(told.contains(word), "{spec}: {word:?} is not in: {told}");
        }
    }
    scene.put(good.clone()).await
}

#[tokio::test]
async fn whom_an_account_is_shared_with_is_to_be_said() -> Result<()> {
    let scene = Scene::new("schema-allowed").await?;
    let allow = |allowed: Value| json!({"allowedNamespaces": allowed});
    let cases: Vec<(Value, &[&str])> = vec![
        (allow(Value::Null), &["spec.allowedNamespaces", "Required value"]),
        (allow(json!({})), &["spec.allowedNamespaces.from", "Required value"]),
        (allow(json!({"from": "Same"})), &["spec.allowedNamespaces.from", "All", "Selector"]),
        (allow(json!({"from": "All", "selector": {}})), &["spec.allowedNamespaces.selector", ONLY_THERE]),
        (allow(json!({"from": "Selector"})), &["spec.allowedNamespaces.selector", ONLY_THERE]),
        (allow(json!({"from": "All", "names": ["a"]})), &["names"]),
        (json!({"permissions": {"manage": "yes"}}), &["spec.permissions.manage", "boolean"]),
        (json!({"permissions": {"delete": true}}), &["delete"]),
    ];
    refused(&scene, &scene.account_manifest(), cases).await?;
    let mut long = scene.account_manifest();
    long["metadata"]["name"] = json!("a".repeat(64));
    // Applies this manifest with kubectl, as a user does.
    let told = format!("{:#}", scene.kubectl().apply(&long.to_string()).await.err().context("was taken")?);
    ensure!(told.contains("metadata.name must be at most 63 characters"), "{told}");

    let stored = scene.get("ClusterCloudAccount", &scene.account).await?;
    ensure!(
        stored["spec"]["permissions"] == json!({"manage": true, "accountInventory": false}),
        "{stored:#}"
    );
    let other = scene.patch_account(json!({"provider": "BytePlus"})).await;
    let told = format!("{:#}", other.err().context("the provider was changed")?);
    ensure!(told.contains("provider is immutable"), "{told}");
    let half = scene.patch_account(json!({"permissions": {"accountInventory": true}})).await;
    half.context("one permission alone")
}

#[tokio::test]
async fn where_the_credentials_come_from_is_one_thing() -> Result<()> {
    let scene = Scene::new("schema-sources").await?;
    let secret = json!({"name": "s"});
    let volcengine = json!({"role": VOLC_ROLE});
    let of = |credentials: Value| json!({"credentials": credentials});
    let tencent = |credentials: Value| json!({"provider": "Tencent", "credentials": credentials});
    let cases: Vec<(Value, &[&str])> = vec![
        (of(json!({})), &["spec.credentials", EXACTLY_ONE]),
        (
            of(json!({"secretRef": secret, "workloadIdentity": volcengine})),
            &["spec.credentials", EXACTLY_ONE],
        ),
        (of(identity(TENCENT_ROLE)), &["spec.credentials.workloadIdentity.role", ROLE_OF]),
        (of(identity("arn:aws:iam::1:role/x")), &["spec.credentials.workloadIdentity.role"]),
        (
            of(json!({"workloadIdentity": {"role": VOLC_ROLE, "providerId": "cls-abcdefgh"}})),
            &["spec.credentials.workloadIdentity.providerId", PROVIDER_ID],
        ),
        (tencent(identity(TENCENT_ROLE)), &["spec.credentials.workloadIdentity.providerId", PROVIDER_ID]),
        (
            tencent(json!({"workloadIdentity": {"role": VOLC_ROLE, "providerId": "cls-abcdefgh"}})),
            &["spec.credentials.workloadIdentity.role", ROLE_OF],
        ),
        (json!({"provider": "BytePlus", "credentials": identity(VOLC_ROLE)}), &["spec.provider", NO_STS]),
        (
            with(json!({"spec": {"provider": "BytePlus"}}), assume(json!({})))["spec"].clone(),
            &["spec.provider", NO_STS],
        ),
        (json!({"tencent": {"site": "China"}}), &["spec.tencent", "provider Tencent only"]),
    ];
    refused(&scene, &scene.account_manifest(), cases).await?;

    // A namespace's own account cannot use the operator's own identity.
    let own = scene.own_account(&scene.namespace, "own");
    let cases: Vec<(Value, &[&str])> = vec![
        (
            of(identity(VOLC_ROLE)),
            &["spec.credentials.workloadIdentity", "allowed in a ClusterCloudAccount only"],
        ),
        (json!({"allowedNamespaces": {"from": "All"}}), &["allowedNamespaces"]),
        (json!({"permissions": {"manage": true}}), &["permissions"]),
    ];
    refused(&scene, &own, cases).await
}

#[tokio::test]
async fn a_role_is_taken_on_within_bounds() -> Result<()> {
    let scene = Scene::new("schema-roles").await?;
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"assumeRole": {}}), &["spec.assumeRole.role", "Required value"]),
        (assume(json!({"role": TENCENT_ROLE})), &["spec.assumeRole.role", "must be one of the provider"]),
        (assume(json!({"role": "backup"})), &["spec.assumeRole.role"]),
        (
            assume(json!({"role": format!("{VOLC_ROLE}{}", "x".repeat(256))})),
            &["spec.assumeRole.role", "256"],
        ),
        (assume(json!({"duration": "14m"})), &["spec.assumeRole.duration", DURATION]),
        (assume(json!({"duration": "12h1s"})), &["spec.assumeRole.duration", DURATION]),
        (assume(json!({"duration": "an hour"})), &["spec.assumeRole.duration"]),
        (assume(json!({"externalId": "x".repeat(129)})), &["spec.assumeRole.externalId", "128"]),
        (assume(json!({"sessionName": "x"})), &["spec.assumeRole.sessionName"]),
        (assume(json!({"sessionName": "with a space"})), &["spec.assumeRole.sessionName"]),
        (assume(json!({"sessionName": "x".repeat(65)})), &["spec.assumeRole.sessionName", "64"]),
        (json!({"stsEndpoint": "ftp://sts.volcengineapi.com"}), &["spec.stsEndpoint"]),
        (json!({"stsEndpoint": "https://sts.volcengineapi.com/path"}), &["spec.stsEndpoint"]),
        (json!({"requestTimeout": "61s"}), &["spec.requestTimeout", "1s to 60s"]),
    ];
    refused(&scene, &scene.account_manifest(), cases.clone()).await?;
    refused(&scene, &scene.own_account(&scene.namespace, "own"), cases).await?;

    // Valid specs are stored with their defaults. They are suspended, since this test is not about requests.
    for (number, duration) in ["15m", "12h"].iter().enumerate() {
        let mut account = with(scene.account_manifest(), assume(json!({"duration": duration})));
        account["metadata"]["name"] = json!(format!("{}-{number}", scene.account));
        account["spec"]["suspend"] = json!(true);
        scene.put(account).await?;
    }
    scene.put(with(with(scene.account_manifest(), assume(json!({}))), json!({"suspend": true}))).await?;
    let stored = scene.get("ClusterCloudAccount", &scene.account).await?;
    let defaults = json!({"role": VOLC_ROLE, "duration": "1h", "sessionName": OPERATOR_NAMESPACE});
    ensure!(stored["spec"]["assumeRole"] == defaults, "{stored:#}");
    Ok(())
}

#[tokio::test]
async fn an_invalid_selector_selects_nothing_until_it_is_corrected() -> Result<()> {
    let scene = Scene::synced("schema-selector", json!({})).await?;
    let expression =
        |operator: &str, values: Value| json!([{"key": LABEL, "operator": operator, "values": values}]);
    let sent = scene.sent();
    let field = "spec.allowedNamespaces.selector.";
    let cases = [
        (
            json!({"matchLabels": null, "matchExpressions": expression("Equals", json!([scene.account]))}),
            "matchExpressions needs the operator In, NotIn, Exists or DoesNotExist",
        ),
        (
            json!({"matchExpressions": expression("In", json!([]))}),
            "matchExpressions needs values with In and NotIn",
        ),
        (
            json!({"matchExpressions": expression("NotIn", Value::Null)}),
            "matchExpressions needs values with In and NotIn",
        ),
        (
            json!({"matchExpressions": expression("Exists", json!(["x"]))}),
            "matchExpressions takes no values with Exists and DoesNotExist",
        ),
        (
            json!({"matchLabels": {"no key": "x"}, "matchExpressions": null}),
            "matchLabels has a key that no label can have",
        ),
    ];
    for (number, (selector, why)) in cases.into_iter().enumerate() {
        scene.patch_account(json!({"allowedNamespaces": {"selector": selector}})).await?;
        let wanted = format!("{field}{why}");
        let account = scene
            .until("ClusterCloudAccount", &scene.account, &wanted, |o| {
                says(o, "InvalidRequest") && message(o) == wanted
            })
            .await?;
        expect(&account, "False", "InvalidRequest", With::Stalled)?;
        scene.ask("CrossRegionBackupPolicy", POLICY, &format!("{number}")).await?;
        scene
            .until_not_allowed("CrossRegionBackupPolicy", POLICY, "it does not allow this namespace")
            .await?;
    }
    ensure!(scene.sent() == sent);
    let right = json!({"matchLabels": null, "matchExpressions": expression("In", json!([scene.account]))});
    scene.patch_account(json!({"allowedNamespaces": {"selector": right}})).await?;
    scene.until_account("CredentialsVerified").await?;
    scene.until_policy("InSync").await?;
    ensure!(scene.sent() > sent);
    Ok(())
}
