//! Events of watches, and the faults injected into them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::request::ParsedRequest;
use super::responses::metadata;
use super::store::Change;
use super::{ApiServer, Delivery, EVENT, InjectedFault, RecordedRequest};
use crate::harness::history::{EntryKind, ReceivedFrom};
use crate::harness::link::ProcessLink;

impl ApiServer {
    /// Returns the fault of a watch's next event.
    fn event_fault(&self, request: &ParsedRequest) -> InjectedFault {
        let mut state = self.lock();
        let seen = RecordedRequest { verb: EVENT, ..request.seen() };
        state.inject.as_mut().and_then(|inject| inject(&seen)).unwrap_or_default()
    }

    /// Returns the lines of a watch. At its timeout it sends a bookmark, if the client requested bookmarks, and ends:
    /// without one, a watch of a kind that never changes could not be resumed.
    pub(super) fn events(
        self,
        changes: UnboundedReceiver<Change>,
        request: &Arc<ParsedRequest>,
        wire: &ProcessLink,
    ) -> impl Stream<Item = io::Result<Bytes>> + use<> {
        let seconds = request.query.get("timeoutSeconds").and_then(|t| t.parse().ok()).unwrap_or(1800);
        let end = Instant::now() + Duration::from_secs(seconds);
        let after = request.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        let bookmarks = request.query.get("allowWatchBookmarks") == Some("true");
        let (server, request, wire) = (self, request.clone(), wire.clone());
        let dead = wire.clone();
        let lines = stream::unfold(Watch::Open(changes), move |watch| {
            let (server, request, wire) = (server.clone(), request.clone(), wire.clone());
            async move {
                let mut changes = match watch {
                    Watch::Open(changes) => changes,
                    Watch::Cut => return Some((Err(io::ErrorKind::ConnectionReset.into()), Watch::Ended)),
                    Watch::Ended => return None,
                };
                tokio::select! {
                    // Changes go first, so that none is pending at the last line.
                    biased;
                    change = changes.next() => match change {
                        Some(change) => server.event(change, changes, &request, &wire).await,
                        // etcd was restored, and the API server restarted.
                        None => None,
                    },
                    () = sleep_until(end) => {
                        let version = server.lock().store.version().to_string();
                        let object = json!({"kind": "", "apiVersion": "", "metadata": {"resourceVersion": version}});
                        let is_reached = server.lock().store.version() >= after;
                        (bookmarks && is_reached)
                            .then(|| (Ok(line("BOOKMARK", object.to_string().as_bytes())), Watch::Ended))
                    }
                }
            }
        });
        lines.take_until(async move { dead.cut().await })
    }

    /// Returns the line of one change, unless a fault swallows it, and the watch's next state.
    async fn event(
        &self,
        change: Change,
        rest: UnboundedReceiver<Change>,
        request: &ParsedRequest,
        wire: &ProcessLink,
    ) -> Option<(io::Result<Bytes>, Watch)> {
        let fault = self.event_fault(request);
        if !fault.delay.is_zero() {
            sleep(fault.delay).await;
        }
        if let Some(refusal) = fault.refusal {
            return Some((Ok(line("ERROR", refusal.status().as_bytes())), Watch::Ended));
        }
        let object = if request.metadata_only { metadata(&change.object) } else { change.object };
        let text = line(change.kind, &object);
        match fault.reply {
            Delivery::Whole => {
                let how =
                    if change.kind == "DELETED" { ReceivedFrom::Deleted } else { ReceivedFrom::Watched };
                wire.note(|| EntryKind::Received(request.received(how, object)));
                Some((Ok(text), Watch::Open(rest)))
            }
            Delivery::Half => Some((Ok(text.slice(..text.len() / 2)), Watch::Cut)),
            Delivery::Lost => None,
            Delivery::Silent => std::future::pending().await,
        }
    }
}

/// State of a watch.
enum Watch {
    Open(UnboundedReceiver<Change>),
    /// The connection is closed in the middle of a line.
    Cut,
    Ended,
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut text = format!(r#"{{"type":"{kind}","object":"#).into_bytes();
    text.extend_from_slice(object);
    text.extend_from_slice(b"}\n");
    Bytes::from(text)
}
