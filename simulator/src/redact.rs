//! Bodies of requests for the request log, without the identity tokens of STS calls.

use serde_json::{Value, json};

use crate::request::Signed;
use crate::volcengine::signing::query_pairs;

const SECRETS: [&str; 2] = ["OIDCToken", "WebIdentityToken"];

/// Parses JSON and forms; anything else is a string. Tokens are replaced by their length.
pub(crate) fn body(request: Signed<'_>) -> Value {
    let text = String::from_utf8_lossy(request.body);
    let mut body = match serde_json::from_slice(request.body) {
        Ok(json) => json,
        Err(_) if is_form(request) => {
            query_pairs(&text).into_iter().map(|(name, value)| (name, json!(value))).collect()
        }
        // Neither JSON nor a form, so the end of a token is not known.
        Err(_) if SECRETS.iter().any(|name| text.contains(name)) => json!(length(&text)),
        Err(_) => json!(text),
    };
    for name in SECRETS {
        if let Some(value) = body.get_mut(name) {
            *value = json!(length(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
    }
    body
}

pub(crate) fn is_form(request: Signed<'_>) -> bool {
    let content_type = request.header("content-type").unwrap_or_default();
    content_type.starts_with("application/x-www-form-urlencoded")
}

fn length(text: &str) -> String {
    format!("({} characters)", text.chars().count())
}
