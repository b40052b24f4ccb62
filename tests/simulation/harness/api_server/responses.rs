//! Responses of the API server, and their entries in the history.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, StreamExt, stream};
use http::Response;
use serde_json::{Value, json};

use super::request::ParsedRequest;
use super::store::{Change, Page, Refusal};
use super::{ApiServer, READ_VERSION};
use crate::harness::history::{EntryKind, ReceivedFrom};
use crate::harness::link::ProcessLink;

pub enum ResponseBody {
    Object(Bytes),
    Page(Page),
    Changes(UnboundedReceiver<Change>),
}

impl ApiServer {
    pub(super) fn respond(
        &self,
        request: &Arc<ParsedRequest>,
        answer: Result<ResponseBody, Refusal>,
        wire: &ProcessLink,
    ) -> Response<Body> {
        let whole = |bytes: &Bytes| if request.metadata_only { metadata(bytes) } else { bytes.clone() };
        let response = Response::builder().header("content-type", "application/json");
        let response = match answer {
            Ok(ResponseBody::Object(object)) => response.body(Body::from(whole(&object))),
            Ok(ResponseBody::Page(page)) => response.body(Body::from(list(&page, whole))),
            Ok(ResponseBody::Changes(changes)) => {
                response.body(Body::from_stream(self.clone().events(changes, request, wire)))
            }
            Err(refusal) => {
                let retry_after = refusal.retry_after.map(|seconds| seconds.to_string());
                let response = response.status(refusal.code);
                let response = match retry_after {
                    Some(seconds) => response.header("retry-after", seconds),
                    None => response,
                };
                response.body(Body::from(refusal.status()))
            }
        };
        response.unwrap()
    }
}

/// Records the objects that a response carries to the process.
pub fn record_received(wire: &ProcessLink, request: &ParsedRequest, answer: &ResponseBody) {
    match answer {
        ResponseBody::Object(object) => {
            wire.note(|| EntryKind::Received(request.received(ReceivedFrom::Answered, object.clone())))
        }
        ResponseBody::Page(_) if request.verb == READ_VERSION => {}
        ResponseBody::Page(page) => {
            if request.query.get("continue").is_none() {
                wire.note(|| EntryKind::Received(request.received(ReceivedFrom::ListStarted, Bytes::new())));
            }
            for object in &page.items {
                wire.note(|| EntryKind::Received(request.received(ReceivedFrom::Listed, object.clone())));
            }
            if page.next.is_none() {
                wire.note(|| {
                    EntryKind::Received(request.received(ReceivedFrom::ListCompleted, Bytes::new()))
                });
            }
        }
        ResponseBody::Changes(_) => {}
    }
}

/// Cuts a response in half and closes the connection; a watch before its first line.
pub async fn halved(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    head.headers.remove("content-length");
    let first =
        body.into_data_stream().next().now_or_never().flatten().and_then(Result::ok).unwrap_or_default();
    let half = first.slice(..first.len() / 2);
    let cut = stream::iter([Ok(half), Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
    Response::from_parts(head, Body::from_stream(cut))
}

fn list(page: &Page, whole: impl Fn(&Bytes) -> Bytes) -> Vec<u8> {
    let mut meta = json!({"resourceVersion": page.version.to_string()});
    if let Some(next) = &page.next {
        meta["continue"] = json!(next);
    }
    let mut text = format!(r#"{{"kind":"List","apiVersion":"v1","metadata":{meta},"items":["#).into_bytes();
    for (number, item) in page.items.iter().enumerate() {
        if number > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&whole(item));
    }
    text.extend_from_slice(b"]}");
    text
}

/// Returns the `PartialObjectMetadata` of an object.
pub fn metadata(object: &Bytes) -> Bytes {
    let object: Value = serde_json::from_slice(object).unwrap();
    let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
    Bytes::from(partial.to_string())
}
