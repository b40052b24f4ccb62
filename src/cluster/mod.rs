//! Client side of Kubernetes: connection, leader election, list and watch, Events, Secrets, and writes to status and
//! finalizers.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub mod connect;
pub mod elector;
pub mod events;
pub mod failure_log;
pub mod list_watch;
pub mod reachability;
pub mod secrets;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;

/// Name of the operator in Kubernetes: its field manager, and its Lease.
pub const OPERATOR_NAME: &str = "cross-region-backup-operator";

/// Whether the API server answered with this HTTP status.
pub fn has_status_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Returns when any writer created or last changed the object, apart from its status, as the API server recorded it
/// in `managedFields`, in whole seconds; `None` if the object was not read from an API server.
pub fn last_change(metadata: &ObjectMeta) -> Option<Timestamp> {
    let fields = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let changed = fields.filter_map(|entry| entry.time.as_ref());
    changed.chain(&metadata.creation_timestamp).map(|time| time.0).max()
}

/// Describes a failed call to the API server for people: the API server's message, or the chain of causes. The texts
/// of kube's errors repeat the whole Status of an answer in Rust's Debug format.
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(kube::Error::Api(status)) = error.downcast_ref() {
            texts.push(status.message.clone());
            break;
        }
        // An error that wraps another one mostly repeats its text.
        let source = error.source();
        let text = error.to_string();
        let own = match source.map(ToString::to_string) {
            Some(of_source) => {
                text.strip_suffix(&*of_source).unwrap_or(&text).trim_end_matches([':', ' ']).to_owned()
            }
            None => text,
        };
        if !own.is_empty() && !matches!(&*own, "ServiceError" | "HyperError") {
            texts.push(own);
        }
        next = source;
    }
    texts.join(": ")
}

/// Parses a resourceVersion as a number; those of one resource type can be compared as numbers (Kubernetes API
/// concepts, since 1.35; etcd's revisions before). Returns `None` if it is no number.
pub fn resource_version(text: &str) -> Option<u128> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_change_is_the_latest_of_creation_and_fields_without_the_status() {
        let changed =
            |metadata| last_change(&serde_json::from_value(metadata).unwrap()).map(|t| t.to_string());
        let entry = |time: &str, subresource: &str| {
            let entry = json!({"manager": "kubectl", "operation": "Update", "time": time});
            match subresource {
                "" => entry,
                of => json!({"manager": "m", "operation": "Apply", "time": time, "subresource": of}),
            }
        };
        assert_eq!(changed(json!({})), None);
        let created = json!({"creationTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(changed(created.clone()).as_deref(), Some("2026-01-01T00:00:00Z"));
        let mut edited = created;
        edited["managedFields"] = json!([
            entry("2026-01-02T00:00:00Z", ""),
            entry("2026-01-01T12:00:00Z", ""),
            entry("2026-01-03T00:00:00Z", "status"),
            {"manager": "no time"},
        ]);
        assert_eq!(changed(edited).as_deref(), Some("2026-01-02T00:00:00Z"));
    }

    #[test]
    fn a_cause_is_told_once_and_without_a_dump() {
        let status = kube::core::Status {
            message: "leases is forbidden".to_owned(),
            reason: "Forbidden".to_owned(),
            code: 403,
            ..kube::core::Status::default()
        };
        let api = kube::Error::Api(status.boxed());
        assert!(api.to_string().contains("ApiError"), "{api}");
        assert_eq!(cause(&api), "leases is forbidden");
        assert_eq!(
            cause(&kube::runtime::watcher::Error::InitialListFailed(api)),
            "failed to perform initial object list: leases is forbidden"
        );
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(cause(&kube::Error::Service(Box::new(refused))), "connection refused");
    }
}
