//! An API error; each cloud has its own codes.

use std::borrow::Cow;

use http::StatusCode;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: Cow<'static, str>,
    /// Error number; known for errors of Volcengine's gateway only.
    pub code_n: Option<i64>,
    pub message: String,
}
