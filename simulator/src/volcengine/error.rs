//! Error codes of the gateway and of Redis, with the documented statuses and numbers.

use http::StatusCode;

use crate::error::ApiError;
use crate::faults::ThrottleStyle;

fn gateway(status: StatusCode, code: &'static str, code_n: i64, message: impl Into<String>) -> ApiError {
    ApiError { status, code: code.into(), code_n: Some(code_n), message: message.into() }
}

/// Returns an error of the Redis service: always HTTP 400, never a number.
pub fn redis(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError { status: StatusCode::BAD_REQUEST, code: code.into(), code_n: None, message: message.into() }
}

/// Returns an error whose number is not documented.
fn unnumbered(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError { status, code: code.into(), code_n: None, message: message.into() }
}

pub fn missing_parameter(name: &str) -> ApiError {
    let message = format!("The request is missing {name} parameter.");
    gateway(StatusCode::BAD_REQUEST, "MissingParameter", 100_002, message)
}

pub fn missing_authentication_token() -> ApiError {
    let message = "Request is missing Authentication Token.";
    gateway(StatusCode::UNAUTHORIZED, "MissingAuthenticationToken", 100_003, message)
}

pub fn missing_request_info(what: &str) -> ApiError {
    let message = format!("The request is missing {what} information.");
    gateway(StatusCode::BAD_REQUEST, "MissingRequestInfo", 100_004, message)
}

pub fn missing_signature() -> ApiError {
    let message = "The request is missing signature.";
    gateway(StatusCode::UNAUTHORIZED, "MissingSignature", 100_005, message)
}

pub fn invalid_timestamp() -> ApiError {
    let message = "The Signature of the request is expired.";
    gateway(StatusCode::BAD_REQUEST, "InvalidTimestamp", 100_006, message)
}

pub fn service_not_found(service: &str) -> ApiError {
    let message = format!("This service[{service}] not found.");
    gateway(StatusCode::NOT_FOUND, "ServiceNotFound", 100_007, message)
}

pub fn invalid_action_or_version(action: &str, version: &str) -> ApiError {
    let message = format!("Could not find operation {action} for version {version}.");
    gateway(StatusCode::NOT_FOUND, "InvalidActionOrVersion", 100_008, message)
}

pub fn invalid_access_key(id: &str) -> ApiError {
    let message = format!("The accesskey [{id}] included in the request is invalid.");
    gateway(StatusCode::UNAUTHORIZED, "InvalidAccessKey", 100_009, message)
}

pub fn signature_does_not_match() -> ApiError {
    let message = "The request signature we calculated does not match the signature you provided. Check your \
                   Secret Access Key and signing method. Consult the service documentation for details.";
    gateway(StatusCode::UNAUTHORIZED, "SignatureDoesNotMatch", 100_010, message)
}

/// Returns AccessDenied; `action` includes its service, as in policies.
pub fn access_denied(who: &str, action: &str, resource: &str) -> ApiError {
    let message = format!("User {who} is not authorized to perform: {action} on resource: {resource}.");
    gateway(StatusCode::FORBIDDEN, "AccessDenied", 100_013, message)
}

pub fn invalid_authorization() -> ApiError {
    let message = "Invalid 'Authorization' header, Pls check authorization header.";
    unnumbered(StatusCode::BAD_REQUEST, "InvalidAuthorization", message)
}

pub fn invalid_credential() -> ApiError {
    let message = "Invalid credential in 'Authorization', Pls check credential in authorization header.";
    unnumbered(StatusCode::BAD_REQUEST, "InvalidCredential", message)
}

pub fn invalid_secret_token(why: &str) -> ApiError {
    let message = format!("Invalid secret token, msg: {why}.");
    unnumbered(StatusCode::UNAUTHORIZED, "InvalidSecretToken", message)
}

/// The code is known by name only; the status is HTTP's own for the case.
pub fn method_not_allowed(method: &str) -> ApiError {
    let message = format!("The method {method} is not allowed.");
    unnumbered(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}

pub fn throttled(style: ThrottleStyle) -> ApiError {
    let message = "Request was rejected because the request speed of this openAPI is beyond the current \
                   flow control limit.";
    match style {
        ThrottleStyle::Account400 => {
            gateway(StatusCode::BAD_REQUEST, "AccountFlowLimitExceeded", 100_027, message)
        }
        ThrottleStyle::Account200 => gateway(StatusCode::OK, "AccountFlowLimitExceeded", 100_027, message),
        _ => gateway(StatusCode::TOO_MANY_REQUESTS, "FlowLimitExceeded", 100_018, message),
    }
}

/// Returns an error of STS, whose codes are not documented, except for AccessDenied.
pub fn sts_parameter(message: impl Into<String>) -> ApiError {
    unnumbered(StatusCode::BAD_REQUEST, "InvalidParameter", message)
}

pub fn role_not_exist(role: &str) -> ApiError {
    unnumbered(StatusCode::NOT_FOUND, "RoleNotExist", format!("The role {role} does not exist."))
}

pub fn untrusted(role: &str) -> ApiError {
    access_denied("of this accesskey", "sts:AssumeRole", role)
}

pub fn invalid_oidc_token(why: &str) -> ApiError {
    unnumbered(StatusCode::BAD_REQUEST, "InvalidOIDCToken", format!("Invalid OIDCToken: {why}."))
}

pub fn param(message: impl Into<String>) -> ApiError {
    redis("ParamError", message)
}

pub fn instance_not_exist(id: &str) -> ApiError {
    redis("InstanceNotExist", format!("The instance {id} does not exist."))
}
