//! Parsed requests to the API server.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::time::Instant;
use tower::BoxError;

use super::target::Target;
use super::{READ_VERSION, RecordedRequest};
use crate::harness::history::{Received, ReceivedFrom};

pub struct ParsedRequest {
    pub verb: &'static str,
    pub target: Target,
    pub query: Query,
    pub body: Value,
    pub is_apply: bool,
    pub metadata_only: bool,
}

impl ParsedRequest {
    pub async fn read(request: Request<kube::client::Body>) -> Result<Self, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let target = Target::of(head.uri.path()).ok_or("no such path")?;
        let query = Query::of(head.uri.query().unwrap_or_default());
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        Ok(Self {
            verb: verb(&head.method, &target, &query),
            target,
            query,
            body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? },
            is_apply: header("content-type").starts_with("application/apply-patch"),
            metadata_only: header("accept").contains("as=PartialObjectMetadata"),
        })
    }

    pub fn seen(&self) -> RecordedRequest {
        RecordedRequest {
            at: Instant::now(),
            verb: self.verb,
            resource: self.target.full_resource(),
            name: self.target.name.clone().unwrap_or_default(),
            continues: self.query.get("continue").is_some(),
            code: 0,
            object: Bytes::new(),
        }
    }

    pub fn received(&self, how: ReceivedFrom, object: Bytes) -> Received {
        Received { resource: self.target.resource.clone(), how, object }
    }
}

pub struct Query(BTreeMap<String, String>);

impl Query {
    fn of(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn verb(method: &Method, target: &Target, query: &Query) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::DELETE => "delete",
        Method::PATCH => "patch",
        Method::PUT => "update",
        _ if target.name.is_some() => "get",
        _ if query.get("limit") == Some("1") => READ_VERSION,
        _ if query.get("watch") == Some("true") => "watch",
        _ => "list",
    }
}
