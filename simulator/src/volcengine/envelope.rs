//! The documented envelope of every response.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::ApiError;

/// Fields of the request that ResponseMetadata repeats.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    pub action: String,
    pub version: String,
    pub region: String,
    /// As responses spell it.
    pub service: &'static str,
}

impl Metadata {
    /// Wraps an outcome: a success has a Result, null where the action has none; a failure has no Result.
    pub fn wrap(&self, outcome: Result<Value, ApiError>, now: Timestamp) -> (StatusCode, Value) {
        let mut frame = json!({
            "ResponseMetadata": {
                "RequestId": request_id(now),
                "Action": self.action,
                "Version": self.version,
                "Service": self.service,
                "Region": self.region,
            }
        });
        match outcome {
            Ok(result) => {
                frame["Result"] = result;
                (StatusCode::OK, frame)
            }
            Err(error) => {
                let mut error_body = json!({ "Code": error.code, "Message": error.message });
                if let Some(number) = error.code_n {
                    error_body["CodeN"] = json!(number);
                }
                frame["ResponseMetadata"]["Error"] = error_body;
                (error.status, frame)
            }
        }
    }
}

/// Returns a timestamp and hex digits, like the ids in the samples.
fn request_id(now: Timestamp) -> String {
    let unique = Uuid::new_v4().simple().to_string().to_uppercase();
    format!("{}{}", now.strftime("%Y%m%d%H%M%S"), &unique[..20])
}
