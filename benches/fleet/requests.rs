//! Counts the operator's requests to the API server.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use testbed::{AuditEntry, AuditFilter, ControlPlane};

use crate::harness::OPERATOR_NAMESPACE;

/// Counts of one window of time.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    pub status_writes: u64,
    pub events: u64,
    /// Reads and writes of the Lease.
    pub lease: u64,
    pub other_writes: u64,
    /// A watch counts when it ends.
    pub reads: u64,
    /// All requests, by `verb resource/subresource`.
    pub by_kind: BTreeMap<String, u64>,
}

impl Requests {
    /// Counts the operator's requests in the window from the API server's audit log; metrics do not have the user.
    pub fn within(plane: &ControlPlane, from: Timestamp, to: Timestamp) -> Result<Self> {
        let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_NAMESPACE}");
        let mut counted = Self::default();
        for entry in plane.audit_entries(&AuditFilter { user: Some(&user), ..AuditFilter::default() })? {
            let received: Timestamp = entry.received.parse()?;
            if from <= received && received < to {
                counted.count(&entry);
            }
        }
        Ok(counted)
    }

    fn count(&mut self, entry: &AuditEntry) {
        let counter = match entry.resource.as_str() {
            "leases" => &mut self.lease,
            "events" => &mut self.events,
            _ if entry.subresource == "status" && entry.is_write() => &mut self.status_writes,
            _ if entry.is_write() => &mut self.other_writes,
            _ => &mut self.reads,
        };
        *counter += 1;
        let part = if entry.subresource.is_empty() { "" } else { "/" };
        let kind = format!("{} {}{part}{}", entry.verb, entry.resource, entry.subresource);
        *self.by_kind.entry(kind).or_default() += 1;
    }
}

/// Returns the number of status writes of our kinds and of Event writes so far, from the API server's metric
/// `apiserver_request_total`. The metric has no user, but only the operator writes these.
pub async fn writes_by_metric(kube: &kube::Client) -> Result<u64> {
    let text = kube.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let mut written = 0.0;
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let has = |label: &str| line.contains(label);
        let status = has("group=\"crossregionbackup.io\"") && has("subresource=\"status\"");
        let events = has("group=\"events.k8s.io\"");
        let read = ["GET", "LIST", "WATCH"].iter().any(|verb| has(&format!("verb=\"{verb}\"")));
        if (status || events) && !read {
            let value = line.rsplit_once(' ').map(|(_, value)| value).unwrap_or_default();
            written += value.parse::<f64>().with_context(|| line.to_owned())?;
        }
    }
    Ok(written as u64)
}
