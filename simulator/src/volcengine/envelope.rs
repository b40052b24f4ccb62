//! The documented frame around every answer.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::ApiError;

/// What ResponseMetadata repeats of the request.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    pub action: String,
    pub version: String,
    pub region: String,
    /// As answers spell it.
    pub service: &'static str,
}

impl Metadata {
    /// A success has a Result, null where the action has none; a failure has no Result.
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
                let mut told = json!({ "Code": error.code, "Message": error.message });
                if let Some(number) = error.code_n {
                    told["CodeN"] = json!(number);
                }
                frame["ResponseMetadata"]["Error"] = told;
                (error.status, frame)
            }
        }
    }
}

/// A stamp of the time and hex digits, like the ids of the samples.
fn request_id(now: Timestamp) -> String {
    let unique = Uuid::new_v4().simple().to_string().to_uppercase();
    format!("{}{}", now.strftime("%Y%m%d%H%M%S"), &unique[..20])
}
