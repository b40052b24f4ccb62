//! Writes the operator's parts of an object: its status and its finalizers. Each write carries the resourceVersion
//! that it was computed from, since only that protects a new object of the same name: the status subresource ignores
//! a wrong UID.

use std::fmt::Debug;
use std::time::Duration;

use kube::Resource;
use kube::api::{Api, GetParams, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{OPERATOR_NAME, has_status_code};

/// Timeout of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Outcome of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied<K> {
    /// The object as the API server returned it, with its new resourceVersion.
    Written(K),
    /// Nothing was written, as the object has changed since it was read; contains its present state. `None`: the
    /// object was deleted, or replaced by one with another UID, and there is nothing left to write to.
    Stale(Option<K>),
}

/// A write that failed for another reason than an outdated resourceVersion.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("no answer from the API server within {CALL_TIMEOUT:?}")]
    Timeout,
    /// The object was not read from an API server.
    #[error("the object has no {0}")]
    Incomplete(&'static str),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Maximum length of an error's text in a log line, in characters.
const MAX_ERROR_CHARS: usize = 512;

impl StatusError {
    /// Whether the API server refused the write for a reason that lasts until somebody changes something: an
    /// admission policy or webhook, a quota, a missing permission, a size. Otherwise it did not answer, or the
    /// request can be retried.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Timeout => false,
            Self::Incomplete(_) => true,
            Self::Api(kube::Error::Api(status)) => {
                let retried = [401, 408, 409, 429].contains(&status.code);
                // A webhook that cannot be called is reported as an internal error, with this cause.
                let causes = status.details.iter().flat_map(|details| &details.causes);
                let is_webhook =
                    causes.into_iter().any(|cause| cause.message.contains("failed calling webhook"));
                is_webhook || (400..500).contains(&status.code) && !retried
            }
            Self::Api(_) => false,
        }
    }

    /// Returns a short text for logs: kube's own text repeats the whole answer.
    pub fn log_text(&self) -> String {
        let text = match self {
            Self::Api(kube::Error::Api(status)) => {
                format!("{} {}: {}", status.code, status.reason, status.message)
            }
            other => other.to_string(),
        };
        text.chars().take(MAX_ERROR_CHARS).collect()
    }
}

/// Applies `status` by server-side apply: fields of an earlier status that are missing in this one are removed.
///
/// # Errors
/// The API server did not answer, or refused for another reason than a change of the object. A write that timed out
/// may have happened; then the next one is stale.
pub async fn apply_status<K>(api: &Api<K>, object: &K, status: Value) -> Result<Applied<K>, StatusError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let WriteTarget { name, resource_version } = WriteTarget::of(object)?;
    let mut metadata = json!({"name": name, "resourceVersion": resource_version});
    if let Some(namespace) = &object.meta().namespace {
        metadata["namespace"] = json!(namespace);
    }
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    });
    let params = PatchParams::apply(OPERATOR_NAME).force();
    let written = with_timeout(api.patch_status(name, &params, &Patch::Apply(&body))).await;
    resolve_conflict(api, object, written).await
}

/// Replaces the whole status, whoever owns its fields: server-side apply keeps fields that somebody else has added,
/// by hand for example. `object` is as the API server last returned it; its status is read again, since it may have
/// fields that the types lack.
///
/// # Errors
/// As [`apply_status`].
pub async fn replace_status<K>(api: &Api<K>, object: &K, status: &Value) -> Result<Applied<K>, StatusError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let WriteTarget { name, resource_version } = WriteTarget::of(object)?;
    let Some(found) = get_json(api, object).await? else { return Ok(Applied::Stale(None)) };
    if found["metadata"]["resourceVersion"] != resource_version {
        return reread(api, object).await;
    }
    let patch = merge_patch(&found["status"], status);
    let body = json!({"metadata": {"resourceVersion": resource_version}, "status": patch});
    let params = PatchParams { field_manager: Some(OPERATOR_NAME.to_owned()), ..PatchParams::default() };
    let written = with_timeout(api.patch_status(name, &params, &Patch::Merge(&body))).await;
    resolve_conflict(api, object, written).await
}

/// Returns the merge patch (RFC 7386) that turns `from` into `to`.
fn merge_patch(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = to.iter().filter(|(key, value)| from.get(*key) != Some(value)).map(|(key, value)| {
        let patch = from.get(key).map_or_else(|| value.clone(), |before| merge_patch(before, value));
        (key.clone(), patch)
    });
    Value::Object(gone.chain(changed).collect())
}

/// Adds or removes one finalizer, and keeps the others, which are read from the API server: `object` may lack them.
/// Returns `object` itself if nothing has to change. A terminating object gets no new finalizer, as the API server
/// would refuse it; it is returned as it is.
///
/// # Errors
/// As [`apply_status`].
pub async fn set_finalizer<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
    present: bool,
) -> Result<Applied<K>, StatusError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let has = object.meta().finalizers.iter().flatten().any(|f| f == finalizer);
    if has == present || (present && object.meta().deletion_timestamp.is_some()) {
        return Ok(Applied::Written(object.clone()));
    }
    let WriteTarget { name, resource_version } = WriteTarget::of(object)?;
    let Some(mut found) = get_json(api, object).await? else { return Ok(Applied::Stale(None)) };
    if found["metadata"]["resourceVersion"] != resource_version {
        return reread(api, object).await;
    }
    let mut finalizers = match found["metadata"]["finalizers"].take() {
        Value::Array(finalizers) => finalizers,
        _ => Vec::new(),
    };
    finalizers.retain(|f| f != finalizer);
    if present {
        finalizers.push(json!(finalizer));
    }
    // A merge patch replaces the whole list; the resourceVersion ensures that it is the list that was read. A JSON
    // patch with a test would be answered with 422, which has other causes as well.
    let body = json!({"metadata": {"resourceVersion": resource_version, "finalizers": finalizers}});
    let params = PatchParams { field_manager: Some(OPERATOR_NAME.to_owned()), ..PatchParams::default() };
    let written = with_timeout(api.patch(name, &params, &Patch::Merge(&body))).await;
    resolve_conflict(api, object, written).await
}

struct WriteTarget<'a> {
    name: &'a str,
    resource_version: &'a str,
}

impl<'a> WriteTarget<'a> {
    fn of<K: Resource<DynamicType = ()>>(object: &'a K) -> Result<Self, StatusError> {
        let meta = object.meta();
        Ok(Self {
            name: meta.name.as_deref().ok_or(StatusError::Incomplete("name"))?,
            resource_version: meta
                .resource_version
                .as_deref()
                .ok_or(StatusError::Incomplete("resourceVersion"))?,
        })
    }
}

/// Reads the object again if a write was refused as outdated.
async fn resolve_conflict<K>(
    api: &Api<K>,
    object: &K,
    written: Result<K, StatusError>,
) -> Result<Applied<K>, StatusError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    match written {
        Ok(written) => Ok(Applied::Written(written)),
        Err(StatusError::Api(error)) if has_status_code(&error, 404) => Ok(Applied::Stale(None)),
        Err(StatusError::Api(error)) if has_status_code(&error, 409) => reread(api, object).await,
        Err(error) => Err(error),
    }
}

/// Returns the object as it is stored, with fields unknown to the types; `None` if no object has that name.
///
/// # Errors
/// As [`apply_status`].
pub async fn get_json<K>(api: &Api<K>, object: &K) -> Result<Option<Value>, StatusError>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let meta = object.meta();
    let name = meta.name.as_deref().ok_or(StatusError::Incomplete("name"))?;
    let request = kube::core::Request::new(K::url_path(&(), meta.namespace.as_deref()))
        .get(name, &GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    let client = api.clone().into_client();
    match with_timeout(client.request(request)).await {
        Err(StatusError::Api(error)) if has_status_code(&error, 404) => Ok(None),
        found => found.map(Some),
    }
}

async fn reread<K>(api: &Api<K>, object: &K) -> Result<Applied<K>, StatusError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let now = with_timeout(api.get_opt(WriteTarget::of(object)?.name)).await?;
    Ok(Applied::Stale(now.filter(|now| now.meta().uid == object.meta().uid)))
}

async fn with_timeout<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, StatusError> {
    Ok(timeout(CALL_TIMEOUT, call).await.map_err(|_| StatusError::Timeout)??)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, StatusCode};
    use k8s_openapi::api::core::v1::Node;
    use k8s_openapi::api::policy::v1::PodDisruptionBudget;

    use super::*;
    use crate::cluster::testing::{self, Call, refusal};

    const FINALIZER: &str = "crossregionbackup.io/disable-on-delete";

    fn object(uid: &str, version: &str, finalizers: &[&str]) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {
            "name": "sessions", "namespace": "payments", "uid": uid, "resourceVersion": version, "finalizers": finalizers,
        }}))
        .unwrap()
    }

    /// Answers writes with `write` and reads with `read`, and records the calls.
    fn server(
        write: (StatusCode, Value),
        read: (StatusCode, Value),
    ) -> (kube::Client, Arc<Mutex<Vec<Call>>>) {
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let client = testing::client({
            let calls = calls.clone();
            move |call| {
                let answer = if call.method == Method::GET { read.clone() } else { write.clone() };
                calls.lock().unwrap().push(call);
                async move { answer }
            }
        });
        (client, calls)
    }

    fn found(object: &PodDisruptionBudget) -> (StatusCode, Value) {
        (StatusCode::OK, serde_json::to_value(object).unwrap())
    }

    fn conflict() -> (StatusCode, Value) {
        refusal(StatusCode::CONFLICT, "Conflict", "the object has been modified")
    }

    fn gone() -> (StatusCode, Value) {
        refusal(StatusCode::NOT_FOUND, "NotFound", "not found")
    }

    async fn apply(client: kube::Client) -> Result<Applied<PodDisruptionBudget>, StatusError> {
        let api = Api::<PodDisruptionBudget>::namespaced(client, "payments");
        apply_status(&api, &object("u1", "7", &[]), json!({"observedGeneration": 3})).await
    }

    #[tokio::test(start_paused = true)]
    async fn applies_the_status_to_the_version_that_it_was_computed_from() {
        let after = object("u1", "8", &[]);
        let (client, calls) = server(found(&after), gone());
        assert_eq!(apply(client).await.unwrap(), Applied::Written(after));
        let calls = calls.lock().unwrap();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].method, Method::PATCH);
        assert_eq!(calls[0].path, "/apis/policy/v1/namespaces/payments/poddisruptionbudgets/sessions/status");
        assert!(calls[0].query.contains("force=true"), "{}", calls[0].query);
        assert!(calls[0].query.contains("fieldManager=cross-region-backup-operator"), "{}", calls[0].query);
        assert_eq!(calls[0].content_type, "application/apply-patch+yaml");
        assert_eq!(
            calls[0].body,
            json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": "sessions", "namespace": "payments", "resourceVersion": "7"},
                "status": {"observedGeneration": 3},
            })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_else_has_added_is_taken_out() {
        let after = object("u1", "9", &[]);
        let stored = json!({
            "metadata": {"name": "sessions", "resourceVersion": "8"},
            "status": {"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2], "f": {"g": 1}, "h": 1},
        });
        let (client, calls) = server(found(&after), (StatusCode::OK, stored));
        let api = Api::<PodDisruptionBudget>::namespaced(client, "payments");
        let wanted = json!({"a": 1, "b": {"c": 1}, "e": [1], "h": {"i": 1}});
        let replaced = replace_status(&api, &object("u1", "8", &[]), &wanted).await;
        assert_eq!(replaced.unwrap(), Applied::Written(after));
        let calls = calls.lock().unwrap();
        assert_eq!(calls[1].path, "/apis/policy/v1/namespaces/payments/poddisruptionbudgets/sessions/status");
        assert_eq!(calls[1].content_type, "application/merge-patch+json");
        assert_eq!(
            calls[1].body,
            json!({
                "metadata": {"resourceVersion": "8"},
                "status": {"b": {"d": null}, "e": [1], "f": null, "h": {"i": 1}},
            })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_scoped_object_has_no_namespace() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n", "resourceVersion": "1"}})).unwrap();
        let (client, calls) = server((StatusCode::OK, serde_json::to_value(&node).unwrap()), gone());
        apply_status(&Api::all(client), &node, json!({})).await.unwrap();
        let calls = calls.lock().unwrap();
        assert_eq!(calls[0].path, "/api/v1/nodes/n/status");
        assert_eq!(calls[0].body["metadata"], json!({"name": "n", "resourceVersion": "1"}));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outdated_write_brings_the_object_as_it_is_now() {
        let now = object("u1", "9", &[]);
        let (client, _) = server(conflict(), found(&now));
        assert_eq!(apply(client).await.unwrap(), Applied::Stale(Some(now)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_namesake_and_a_deleted_object_are_gone() {
        let (client, _) = server(conflict(), found(&object("u2", "9", &[])));
        assert_eq!(apply(client).await.unwrap(), Applied::Stale(None));
        let (client, _) = server(conflict(), gone());
        assert_eq!(apply(client).await.unwrap(), Applied::Stale(None));
        let (client, calls) = server(gone(), gone());
        assert_eq!(apply(client).await.unwrap(), Applied::Stale(None));
        assert_eq!(calls.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn other_refusals_and_silence_are_errors() {
        let (client, _) = server(refusal(StatusCode::FORBIDDEN, "Forbidden", "not you"), gone());
        assert!(matches!(apply(client).await, Err(StatusError::Api(_))));
        let client = testing::client(|_| std::future::pending());
        assert!(matches!(apply(client).await, Err(StatusError::Timeout)));
        let unread = PodDisruptionBudget::default();
        let api = Api::namespaced(testing::client(|_| std::future::pending()), "payments");
        assert!(matches!(apply_status(&api, &unread, json!({})).await, Err(StatusError::Incomplete("name"))));
    }

    #[test]
    fn what_lasts_is_told_from_what_passes() {
        let error = |code: u16, cause: Value| {
            let status = json!({
                "kind": "Status", "status": "Failure", "code": code, "reason": "Reason", "message": "no",
                "details": {"causes": [cause]},
            });
            StatusError::Api(kube::Error::Api(serde_json::from_value(status).unwrap()))
        };
        for (code, is_refusal) in [
            (400, true),
            (401, false),
            (403, true),
            (404, true),
            (408, false),
            (409, false),
            (413, true),
            (422, true),
            (429, false),
            (500, false),
            (503, false),
            (504, false),
        ] {
            assert_eq!(error(code, json!({})).is_refusal(), is_refusal, "{code}");
        }
        let webhook = json!({"message": "failed calling webhook \"a.b.c\": connection refused"});
        assert!(error(500, webhook).is_refusal());
        assert!(!StatusError::Timeout.is_refusal() && StatusError::Incomplete("name").is_refusal());
        assert_eq!(error(403, json!({})).log_text(), "403 Reason: no");
    }

    async fn finalize(
        before: &PodDisruptionBudget,
        present: bool,
    ) -> (Applied<PodDisruptionBudget>, Vec<Call>) {
        let after = object("u1", "8", &["after"]);
        let (client, calls) = server(found(&after), found(before));
        let api = Api::<PodDisruptionBudget>::namespaced(client, "payments");
        // Cached objects have no other finalizers.
        let mut cached = before.clone();
        cached.metadata.finalizers.iter_mut().for_each(|all| all.retain(|f| f == FINALIZER));
        let applied = set_finalizer(&api, &cached, FINALIZER, present).await.unwrap();
        let calls = calls.lock().unwrap().clone();
        (applied, calls)
    }

    #[tokio::test(start_paused = true)]
    async fn a_finalizer_comes_and_goes_beside_others() {
        let (applied, calls) = finalize(&object("u1", "7", &["other/one"]), true).await;
        assert_eq!(applied, Applied::Written(object("u1", "8", &["after"])));
        assert_eq!(calls[1].path, "/apis/policy/v1/namespaces/payments/poddisruptionbudgets/sessions");
        assert_eq!(calls[1].content_type, "application/merge-patch+json");
        assert_eq!(
            calls[1].body["metadata"],
            json!({"resourceVersion": "7", "finalizers": ["other/one", FINALIZER]})
        );
        let (_, calls) = finalize(&object("u1", "7", &["a/b", FINALIZER, "c/d"]), false).await;
        assert_eq!(calls[1].body["metadata"]["finalizers"], json!(["a/b", "c/d"]));
        let (_, calls) = finalize(&object("u1", "7", &[FINALIZER]), false).await;
        assert_eq!(calls[1].body["metadata"]["finalizers"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_where_nothing_changes_or_the_object_is_terminating() {
        let with = object("u1", "7", &[FINALIZER]);
        assert!(finalize(&with, true).await.1.is_empty());
        assert!(finalize(&object("u1", "7", &["other/one"]), false).await.1.is_empty());
        let mut terminating: PodDisruptionBudget = object("u1", "7", &["other/one"]);
        terminating.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let (applied, calls) = finalize(&terminating, true).await;
        assert!(calls.is_empty());
        terminating.metadata.finalizers = Some(Vec::new());
        assert_eq!(applied, Applied::Written(terminating.clone()));
        terminating.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        assert_eq!(finalize(&terminating, false).await.1.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_finalizer_patch_can_be_outdated_too() {
        let now = object("u1", "9", &[]);
        for (version, calls_made) in [("7", 2), ("9", 3)] {
            let (client, calls) = server(conflict(), found(&now));
            let api = Api::<PodDisruptionBudget>::namespaced(client, "payments");
            let applied = set_finalizer(&api, &object("u1", version, &[]), FINALIZER, true).await.unwrap();
            assert_eq!(applied, Applied::Stale(Some(now.clone())));
            assert_eq!(calls.lock().unwrap().len(), calls_made);
        }
    }
}
