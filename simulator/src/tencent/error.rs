//! Error codes of API 3.0 and of Redis, all sent with HTTP 200. Messages are those observed in the real cloud, where
//! there are any; of Redis' own none are known in English.

use std::borrow::Cow;

use http::StatusCode;

use crate::error::ApiError;
use crate::faults::ThrottleStyle;

fn error(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError { status: StatusCode::OK, code: Cow::Borrowed(code), code_n: None, message: message.into() }
}

pub fn missing_parameter(name: &str) -> ApiError {
    error("MissingParameter", format!("The request is missing a required parameter `{name}`."))
}

pub fn unknown_parameter(name: &str) -> ApiError {
    error("UnknownParameter", format!("The parameter `{name}` is not recognized."))
}

pub fn type_error(name: &str) -> ApiError {
    error("InvalidParameter", format!("Parameter `{name}` type error."))
}

pub fn invalid_body(why: &str) -> ApiError {
    error("InvalidParameter", format!("The request body is not a JSON object: {why}."))
}

/// Returns Redis' own error for a value that has the right type but is wrong.
pub fn invalid_parameter(message: impl Into<String>) -> ApiError {
    error("InvalidParameter.InvalidParameter", message)
}

pub fn unsupported_filter(name: &str) -> ApiError {
    error("UnsupportedOperation", format!("The simulator does not know the parameter `{name}`."))
}

pub fn invalid_action() -> ApiError {
    error("InvalidAction", "The request `Action` is invalid or not found.")
}

pub fn no_such_version() -> ApiError {
    error("NoSuchVersion", "The request `Version` is invalid or not found.")
}

pub fn unsupported_protocol(method: &str) -> ApiError {
    error("UnsupportedProtocol", format!("The method {method} is not supported."))
}

pub fn invalid_request(content_type: &str) -> ApiError {
    error("InvalidRequest", format!("The Content-Type `{content_type}` is not supported."))
}

pub fn unsupported_region(region: &str) -> ApiError {
    error("UnsupportedRegion", format!("The region `{region}` is not served by this domain."))
}

pub fn request_size_limit_exceeded() -> ApiError {
    error("RequestSizeLimitExceeded", "The request is larger than 10 MB.")
}

pub fn invalid_authorization() -> ApiError {
    error("AuthFailure.InvalidAuthorization", "The `Authorization` header is not of the required form.")
}

pub fn secret_id_not_found() -> ApiError {
    let message = "The SecretId is not found, please ensure that your SecretId is correct.";
    error("AuthFailure.SecretIdNotFound", message)
}

pub fn signature_expire() -> ApiError {
    error("AuthFailure.SignatureExpire", "The signature is expired, please request again.")
}

pub fn signature_failure() -> ApiError {
    let message = "The provided credentials could not be validated. Please check your signature is correct.";
    error("AuthFailure.SignatureFailure", message)
}

pub fn token_failure() -> ApiError {
    let message = "Token verification failed, please check if your Token is correct.";
    error("AuthFailure.TokenFailure", message)
}

pub fn no_cam_authed(action: &str, resource: &str) -> ApiError {
    let message = format!(
        "you are not authorized to perform operation (redis:{action}) resource ({resource}) has no permission"
    );
    error("UnauthorizedOperation.NoCAMAuthed", message)
}

/// Returns STS' own error for a value that has the right type but is wrong.
pub fn sts_parameter(message: impl Into<String>) -> ApiError {
    error("InvalidParameter.ParamError", message)
}

pub fn over_time(most: i64) -> ApiError {
    let message = format!("DurationSeconds must be between 1 and {most}.");
    error("InvalidParameter.OverTimeError", message)
}

pub fn web_identity_token(why: &str) -> ApiError {
    error("InvalidParameter.WebIdentityTokenError", format!("The WebIdentityToken is refused: {why}."))
}

pub fn role_not_found(role: &str) -> ApiError {
    error("ResourceNotFound.RoleNotFound", format!("The role {role} does not exist."))
}

pub fn sts_unauthorized(action: &str, role: &str) -> ApiError {
    let message = format!(
        "you are not authorized to perform operation (sts:{action}) resource ({role}) has no permission"
    );
    error("UnauthorizedOperation", message)
}

pub fn instance_not_exists(id: &str) -> ApiError {
    error("ResourceNotFound.InstanceNotExists", format!("The instance {id} does not exist."))
}

pub fn backup_not_exists(id: &str) -> ApiError {
    error("InvalidParameterValue.BackupNotExists", format!("The backup {id} does not exist."))
}

/// Returns the refusal of a request beyond `limit` per second.
pub fn over_limit(limit: u32) -> ApiError {
    error(
        "RequestLimitExceeded",
        format!(
            "Your current request times equals to `{}` in a second, which exceeds the frequency limit `{limit}` for \
             a second. Please reduce the frequency of calls.",
            u64::from(limit) + 1
        ),
    )
}

/// Returns the error of a throttling style; Volcengine's styles stand for the plain code.
pub fn throttled(style: ThrottleStyle) -> ApiError {
    let code = match style {
        ThrottleStyle::UinLimit => "RequestLimitExceeded.UinLimitExceeded",
        ThrottleStyle::IpLimit => "RequestLimitExceeded.IPLimitExceeded",
        ThrottleStyle::GlobalRegionUinLimit => "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
        _ => "RequestLimitExceeded",
    };
    error(code, "The number of requests exceeds the frequency limit. Please reduce the frequency of calls.")
}

/// Returns the error of an account's limit: that of its uin if the style is not one of Tencent's.
pub fn account_throttled(style: ThrottleStyle) -> ApiError {
    match style {
        ThrottleStyle::Flow429 | ThrottleStyle::Account400 | ThrottleStyle::Account200 => {
            throttled(ThrottleStyle::UinLimit)
        }
        tencents => throttled(tencents),
    }
}
