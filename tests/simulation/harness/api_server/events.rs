//! Events of watches, and the faults injected into them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::answers::metadata;
use super::asked::Asked;
use super::store::Change;
use super::{ApiServer, EVENT, Reply, Seen, Spoilt};
use crate::harness::journal::{How, What};
use crate::harness::wire::Wire;

impl ApiServer {
    /// Returns the fault of a watch's next event.
    fn spoilt_event(&self, asked: &Asked) -> Spoilt {
        let mut state = self.lock();
        let seen = Seen { verb: EVENT, ..asked.seen() };
        state.spoil.as_mut().and_then(|spoil| spoil(&seen)).unwrap_or_default()
    }

    /// Returns the lines of a watch. At its timeout it sends a bookmark, if the client requested bookmarks, and ends:
    /// without one, a watch of a kind that never changes could not be resumed.
    pub(super) fn events(
        self,
        changes: UnboundedReceiver<Change>,
        asked: &Arc<Asked>,
        wire: &Wire,
    ) -> impl Stream<Item = io::Result<Bytes>> + use<> {
        let seconds = asked.query.get("timeoutSeconds").and_then(|t| t.parse().ok()).unwrap_or(1800);
        let end = Instant::now() + Duration::from_secs(seconds);
        let after = asked.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        let bookmarks = asked.query.get("allowWatchBookmarks") == Some("true");
        let (server, asked, wire) = (self, asked.clone(), wire.clone());
        let dead = wire.clone();
        let lines = stream::unfold(Watch::Open(changes), move |watch| {
            let (server, asked, wire) = (server.clone(), asked.clone(), wire.clone());
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
                        Some(change) => server.event(change, changes, &asked, &wire).await,
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
        asked: &Asked,
        wire: &Wire,
    ) -> Option<(io::Result<Bytes>, Watch)> {
        let spoilt = self.spoilt_event(asked);
        if !spoilt.delay.is_zero() {
            sleep(spoilt.delay).await;
        }
        if let Some(refusal) = spoilt.refusal {
            return Some((Ok(line("ERROR", refusal.status().as_bytes())), Watch::Ended));
        }
        let object = if asked.metadata_only { metadata(&change.object) } else { change.object };
        let text = line(change.kind, &object);
        match spoilt.reply {
            Reply::Whole => {
                let how = if change.kind == "DELETED" { How::Deleted } else { How::Watched };
                wire.note(|| What::Told(asked.told(how, object)));
                Some((Ok(text), Watch::Open(rest)))
            }
            Reply::Half => Some((Ok(text.slice(..text.len() / 2)), Watch::Cut)),
            Reply::Lost => None,
            Reply::Silent => std::future::pending().await,
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
