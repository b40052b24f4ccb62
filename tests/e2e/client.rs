//! Access to the API server through a client, because polling with kubectl would start a process for each request.

use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde_json::Value;

const OURS: &str = "crossregionbackup.io/v1alpha1";

/// Kind, plural, short name, apiVersion, and whether its objects have a namespace.
const KINDS: [(&str, &str, &str, &str, bool); 13] = [
    ("CrossRegionBackupPolicy", "crossregionbackuppolicies", "crbp", OURS, true),
    ("BackupInventory", "backupinventories", "bkinv", OURS, true),
    ("CloudAccount", "cloudaccounts", "cacct", OURS, true),
    ("ClusterCloudAccount", "clustercloudaccounts", "ccacct", OURS, false),
    ("Namespace", "namespaces", "ns", "v1", false),
    ("Secret", "secrets", "secret", "v1", true),
    ("ConfigMap", "configmaps", "configmap", "v1", true),
    ("ServiceAccount", "serviceaccounts", "sa", "v1", true),
    ("Event", "events", "events.events.k8s.io", "events.k8s.io/v1", true),
    ("Deployment", "deployments", "deployment", "apps/v1", true),
    ("Role", "roles", "role", "rbac.authorization.k8s.io/v1", true),
    ("RoleBinding", "rolebindings", "rolebinding", "rbac.authorization.k8s.io/v1", true),
    ("CustomResourceDefinition", "customresourcedefinitions", "crd", "apiextensions.k8s.io/v1", false),
];

/// Returns a client for a kubeconfig file. The client works only in the Tokio runtime of the test that created it.
///
/// # Errors
/// When the file is not a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    // Fails, harmlessly, if another test already installed the provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    // kube honours HTTPS_PROXY, but the API server listens on loopback.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

/// Returns the resource for a kind, plural or short name, and whether it is namespaced.
fn resource(name: &str) -> (ApiResource, bool) {
    let of =
        |&&(kind, plural, short, ..): &&(&str, &str, &str, &str, bool)| [kind, plural, short].contains(&name);
    let (kind, plural, _, version, namespaced) =
        KINDS.iter().find(of).unwrap_or_else(|| panic!("the table of kinds has no {name}"));
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    (ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural), *namespaced)
}

/// Returns the API of a kind. The namespace is ignored for cluster-scoped kinds.
pub fn api(client: &Client, kind: &str, namespace: &str) -> Api<DynamicObject> {
    match resource(kind) {
        (resource, true) => Api::namespaced_with(client.clone(), namespace, &resource),
        (resource, false) => Api::all_with(client.clone(), &resource),
    }
}

/// Returns an object as `kubectl get -o json` shows it: all stored fields, without managedFields.
///
/// # Errors
/// When the object does not exist, or the API server does not answer.
pub async fn get(client: &Client, kind: &str, namespace: &str, name: &str) -> Result<Value> {
    let path = format!("{}/{name}", path(kind, Some(namespace)));
    let mut object = read(client, &path).await.with_context(|| format!("{kind} {name}"))?;
    hide_managed_fields(&mut object);
    Ok(object)
}

/// Returns an object like [`get`], or None if it does not exist.
///
/// # Errors
/// When the API server does not answer.
pub async fn get_opt(client: &Client, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
    match get(client, kind, namespace, name).await {
        Err(error) if is_not_found(&error) => Ok(None),
        answer => answer.map(Some),
    }
}

/// Lists the objects of a kind, in one namespace or in all.
///
/// # Errors
/// When the API server does not answer.
pub async fn list(client: &Client, kind: &str, namespace: Option<&str>) -> Result<Vec<Value>> {
    let mut list = read(client, &path(kind, namespace)).await.with_context(|| kind.to_owned())?;
    let Value::Array(mut items) = list["items"].take() else { anyhow::bail!("no list of {kind}: {list}") };
    items.iter_mut().for_each(hide_managed_fields);
    Ok(items)
}

/// Returns whether the client's user may use a verb on a resource in one namespace.
///
/// # Errors
/// When the API server does not answer.
pub async fn may(client: &Client, verb: &str, group: &str, resource: &str, namespace: &str) -> Result<bool> {
    let text = |text: &str| Some(text.to_owned());
    let resource_attributes = ResourceAttributes {
        verb: text(verb),
        group: text(group),
        resource: text(resource),
        namespace: text(namespace),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(resource_attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Formats an Event as `reason: note`.
pub fn event_text(event: &Value) -> String {
    let of = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
    format!("{}: {}", of("reason"), of("note"))
}

fn path(kind: &str, namespace: Option<&str>) -> String {
    let (resource, namespaced) = resource(kind);
    DynamicObject::url_path(&resource, namespace.filter(|_| namespaced))
}

/// Reads raw JSON, because kube's types cannot parse every time that the API server stores.
async fn read(client: &Client, path: &str) -> Result<Value> {
    let request = http::Request::get(path).body(Vec::new())?;
    Ok(client.request(request).await?)
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}

fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}
