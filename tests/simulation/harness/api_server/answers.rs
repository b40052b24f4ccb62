//! Responses of the API server, and their entries in the history.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, StreamExt, stream};
use http::Response;
use serde_json::{Value, json};

use super::asked::Asked;
use super::store::{Change, Page, Refusal};
use super::{ApiServer, LOOK};
use crate::harness::journal::{How, What};
use crate::harness::wire::Wire;

pub enum Answer {
    Object(Bytes),
    Page(Page),
    Changes(UnboundedReceiver<Change>),
}

impl ApiServer {
    pub(super) fn respond(
        &self,
        asked: &Arc<Asked>,
        answer: Result<Answer, Refusal>,
        wire: &Wire,
    ) -> Response<Body> {
        let whole = |bytes: &Bytes| if asked.metadata_only { metadata(bytes) } else { bytes.clone() };
        let response = Response::builder().header("content-type", "application/json");
        let response = match answer {
            Ok(Answer::Object(object)) => response.body(Body::from(whole(&object))),
            Ok(Answer::Page(page)) => response.body(Body::from(list(&page, whole))),
            Ok(Answer::Changes(changes)) => {
                response.body(Body::from_stream(self.clone().events(changes, asked, wire)))
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
pub fn tell(wire: &Wire, asked: &Asked, answer: &Answer) {
    match answer {
        Answer::Object(object) => wire.note(|| What::Told(asked.told(How::Answered, object.clone()))),
        Answer::Page(_) if asked.verb == LOOK => {}
        Answer::Page(page) => {
            if asked.query.get("continue").is_none() {
                wire.note(|| What::Told(asked.told(How::Anew, Bytes::new())));
            }
            for object in &page.items {
                wire.note(|| What::Told(asked.told(How::Listed, object.clone())));
            }
            if page.next.is_none() {
                wire.note(|| What::Told(asked.told(How::Complete, Bytes::new())));
            }
        }
        Answer::Changes(_) => {}
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
