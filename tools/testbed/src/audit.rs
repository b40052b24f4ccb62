//! Reads the API server's audit log: the user, verb, object and status code of each request.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Audit policy: logs every request once, without its body, when its response is complete. A watch therefore appears when it
/// ends, and an entry may be written shortly after the client has its response.
pub const POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived", "ResponseStarted"],
  "rules": [{"level": "Metadata"}]
}
"#;

/// One request in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Event")]
pub struct AuditEntry {
    /// Username; for a ServiceAccount `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    pub user_agent: String,
    /// get, list, watch, create, update, patch, delete, deletecollection; for other paths the HTTP method.
    pub verb: String,
    /// Path and query; the query has the field manager, `watch=true`, and so on.
    pub request_uri: String,
    /// Empty for the core group and, like the next four fields, for paths that are no objects.
    pub group: String,
    pub resource: String,
    /// `status`, for example.
    pub subresource: String,
    pub namespace: String,
    /// Empty for a list, a watch, and a create with a generated name.
    pub name: String,
    /// The HTTP status; 0 when there was none.
    pub code: u16,
    /// When the API server received the request, RFC 3339 with microseconds.
    pub received: String,
}

impl AuditEntry {
    /// Whether the request could have changed something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

/// Selects the entries that match every field that is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    pub user: Option<&'a str>,
    pub verb: Option<&'a str>,
    /// Plural name, such as `secrets`; matches subresources too.
    pub resource: Option<&'a str>,
    pub subresource: Option<&'a str>,
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
    pub writes_only: bool,
}

impl AuditFilter<'_> {
    /// Whether the filter lets the entry through.
    #[must_use]
    pub fn matches(&self, entry: &AuditEntry) -> bool {
        let agrees = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);
        agrees(self.user, &entry.user)
            && agrees(self.verb, &entry.verb)
            && agrees(self.resource, &entry.resource)
            && agrees(self.subresource, &entry.subresource)
            && agrees(self.namespace, &entry.namespace)
            && agrees(self.name, &entry.name)
            && (!self.writes_only || entry.is_write())
    }
}

/// Reads the log so far, without a last line that is incomplete (lacks its line feed).
pub fn read(path: &Path, filter: &AuditFilter) -> Result<Vec<AuditEntry>> {
    let bytes = fs::read(path).with_context(|| format!("no audit log {}", path.display()))?;
    let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &bytes[..end]);
    let mut entries = Vec::new();
    // Most lines belong to other tests; parsing them all would dominate the time that a test spends on the log.
    let words = [filter.user, filter.namespace, filter.name].map(|word| word.unwrap_or_default());
    for line in complete.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if std::str::from_utf8(line).is_ok_and(|line| words.iter().any(|word| !line.contains(word))) {
            continue;
        }
        let entry: AuditEntry = serde_json::from_slice(line)
            .with_context(|| format!("not an audit event: {}", String::from_utf8_lossy(line)))?;
        if filter.matches(&entry) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The fields of an `audit.k8s.io/v1` Event that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: EventUser,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct EventUser {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        Self {
            user: event.user.username,
            user_agent: event.user_agent,
            verb: event.verb,
            request_uri: event.request_uri,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            code: event.response_status.code,
            received: event.request_received_timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = r#"{"kind":"Event","verb":"patch","requestURI":"/api/v1/namespaces/a/secrets/s?x=y",
        "user":{"username":"alice"},"objectRef":{"resource":"secrets","namespace":"a","name":"s","apiVersion":"v1"},
        "responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}"#;
    const HEALTH: &str = r#"{"verb":"get","requestURI":"/readyz","user":{"username":"bob"},
        "requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}"#;

    fn log() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = [PATCH, HEALTH].map(|event| event.replace('\n', ""));
        std::fs::write(file.path(), format!("{}\n{}\n{{\"verb\":", lines[0], lines[1])).unwrap();
        file
    }

    #[test]
    fn reads_complete_lines_only() {
        let entries = read(log().path(), &AuditFilter::default()).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].resource.as_str(), entries[0].code), ("secrets", 200));
        assert_eq!((entries[1].resource.as_str(), entries[1].code), ("", 0));
    }

    #[test]
    fn filters() {
        let count = |filter: AuditFilter| read(log().path(), &filter).unwrap().len();
        assert_eq!(count(AuditFilter { user: Some("alice"), writes_only: true, ..Default::default() }), 1);
        assert_eq!(count(AuditFilter { user: Some("bob"), writes_only: true, ..Default::default() }), 0);
        assert_eq!(
            count(AuditFilter { resource: Some("secrets"), verb: Some("get"), ..Default::default() }),
            0
        );
    }
}
