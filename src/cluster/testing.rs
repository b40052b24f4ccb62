//! An API server for tests: a function from request to answer behind a real client, without sockets and in virtual time.

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

/// Request as a test's API server receives it.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub content_type: String,
    pub body: Value,
}

/// Returns a client whose requests are all answered by `answer`.
pub fn client<F, A>(answer: F) -> kube::Client
where
    F: Fn(Call) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = (StatusCode, Value)> + Send,
{
    let router = Router::new().fallback(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let (status, answer) = answer(Call {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                content_type: head
                    .headers
                    .get("content-type")
                    .map_or_else(String::new, |v| v.to_str().unwrap().to_owned()),
                body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
            })
            .await;
            Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(Body::from(answer.to_string()))
                .unwrap()
        }
    });
    kube::Client::new(router, "default")
}

/// Returns a refusal in the API server's format.
pub fn refusal(code: StatusCode, reason: &str, message: &str) -> (StatusCode, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code.as_u16(), "reason": reason, "message": message,
    });
    (code, body)
}
