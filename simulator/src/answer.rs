//! HTTP responses: headers, and faulty bodies.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::Frame;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::serve::Connection;

/// A complete response before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub extra: Option<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// Present time of the server, sent in the Date header.
    pub date: Timestamp,
}

impl Answer {
    pub fn new(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Bytes>,
        date: Timestamp,
    ) -> Self {
        Self { status, content_type, extra: None, body: body.into(), date }
    }

    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        self.extra = HeaderValue::from_str(value).ok().map(|value| (name, value));
        self
    }

    pub fn send(self) -> Response {
        let body = Body::from(self.body.clone());
        self.send_as(body)
    }

    /// Sends the body in pieces, over `total`.
    pub fn drip(self, total: Duration, pieces: usize) -> Response {
        let pieces = pieces.max(1);
        let size = self.body.len().div_ceil(pieces).max(1);
        let pause = total / u32::try_from(pieces).unwrap_or(u32::MAX);
        let chunks = self.body.chunks(size).map(Bytes::copy_from_slice);
        let steps = chunks.flat_map(|chunk| [Step::Sleep(pause), Step::Send(chunk)]).collect();
        self.send_as(Script::body(steps))
    }

    /// Sends the first half of a body that was announced in full, then ends the connection.
    pub fn truncate(self) -> Response {
        let half = self.body.slice(..self.body.len() / 2);
        let announced = HeaderValue::from(self.body.len());
        let mut response =
            self.send_as(Script::body(VecDeque::from([Step::Send(half), Step::Flush, Step::Abort])));
        response.headers_mut().insert(header::CONTENT_LENGTH, announced);
        response
    }

    /// Sends the JSON object with an additional field of this many bytes.
    pub fn inflate(self, padding: u64) -> Response {
        const CHUNK: u64 = 64 << 10;
        let object = self.body.strip_suffix(b"}").unwrap_or(&self.body);
        let mut steps = VecDeque::from([
            Step::Send(Bytes::copy_from_slice(object)),
            Step::Send(Bytes::from_static(br#","Padding":""#)),
        ]);
        let chunk = Bytes::from(vec![b'x'; CHUNK as usize]);
        steps.push_back(Step::Repeat(chunk.clone(), padding / CHUNK));
        steps.push_back(Step::Send(chunk.slice(..(padding % CHUNK) as usize)));
        steps.push_back(Step::Send(Bytes::from_static(br#""}"#)));
        self.send_as(Script::body(steps))
    }

    fn send_as(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&self.date).ok();
        if let Some(date) = date.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(header::DATE, date);
        }
        headers.extend(self.extra);
        response
    }
}

/// Sends no response: resets the connection if there is one, else returns a body that fails at once.
pub(crate) fn reset(connection: Option<&Connection>) -> Response {
    match connection {
        Some(connection) => {
            connection.reset();
            Response::new(Body::empty())
        }
        None => Response::new(Script::body(VecDeque::from([Step::Abort]))),
    }
}

enum Step {
    Send(Bytes),
    Repeat(Bytes, u64),
    Sleep(Duration),
    /// Lets the server write what was sent to the socket before the next step.
    Flush,
    Abort,
}

/// A body that follows a script.
struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Script {
    fn body(steps: VecDeque<Step>) -> Body {
        Body::new(Self { steps, sleep: None })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the connection ends here on purpose")]
struct Aborted;

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            if let Some(sleep) = self.sleep.as_mut() {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Repeat(_, 0)) => {}
                Some(Step::Repeat(bytes, times)) => {
                    self.steps.push_front(Step::Repeat(bytes.clone(), times - 1));
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Sleep(pause)) => self.sleep = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Step::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Abort) => return Poll::Ready(Some(Err(Aborted))),
            }
        }
    }
}
