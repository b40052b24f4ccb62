//! Maps the API's error codes to failure kinds (gateway: D/6369/68677; Redis: D/6293/73664).

use http::StatusCode;

use crate::domain::Kind;

/// Code for an X-Date that is too far from the gateway's clock, 15 minutes by default (D/6469/1126803).
pub const INVALID_TIMESTAMP: &str = "InvalidTimestamp";

/// Returns the kind of a code. Exact codes match first, then the HTTP status; never a part of a code. The Redis API
/// sends all of its own codes with HTTP 400, `InternalError` included, and the gateway's throttling was seen with 200,
/// 400 and 429.
pub fn kind(code: &str, status: StatusCode) -> Kind {
    match code {
        "InvalidAccessKey"
        | "SignatureDoesNotMatch"
        | "MissingSignature"
        | "MissingAuthenticationToken"
        | "InvalidAuthorization"
        | "InvalidCredential"
        | "InvalidSecretToken" => Kind::CredentialsRejected,
        "AccessDenied" | "LackPolicy" | "LackProjectPolicy" => Kind::PermissionDenied,
        "FlowLimitExceeded" | "AccountFlowLimitExceeded" | "RequestLimitExceeded" | "Throttling" => {
            Kind::Throttled
        }
        "InstanceNotExist" => Kind::InstanceNotFound,
        "InstanceStatusNotMatch" => Kind::InstanceNotReady,
        "InvalidOperator" => Kind::NotSupported,
        "MissingParameter"
        | "MissingRequestInfo"
        | "ParamError"
        | "InvalidRegion"
        | "TimeFormatInvalid"
        | "TimeIntervalInvalid"
        | "ServiceNotFound"
        | "InvalidActionOrVersion"
        | "MethodNotAllowed" => Kind::InvalidRequest,
        "InternalError"
        | "ServerError"
        | "InternalServiceTimeout"
        | "FailToConnect"
        | "ServiceUnavailableTemp"
        | INVALID_TIMESTAMP => Kind::CloudUnavailable,
        _ if status == StatusCode::TOO_MANY_REQUESTS => Kind::Throttled,
        _ => Kind::CloudUnavailable,
    }
}

/// Returns whether the code can precede the check of the signature: the endpoint is of another kind, or the request was
/// changed on its way.
pub fn precedes_signature(code: &str) -> bool {
    matches!(code, "ServiceNotFound" | "InvalidActionOrVersion" | "MissingRequestInfo" | "MethodNotAllowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_kind_whatever_the_status() {
        let table: [(Kind, &[&str]); 8] = [
            (
                Kind::CredentialsRejected,
                &[
                    "InvalidAccessKey",
                    "SignatureDoesNotMatch",
                    "MissingSignature",
                    "MissingAuthenticationToken",
                    "InvalidAuthorization",
                    "InvalidCredential",
                    "InvalidSecretToken",
                ],
            ),
            (Kind::PermissionDenied, &["AccessDenied", "LackPolicy", "LackProjectPolicy"]),
            (
                Kind::Throttled,
                &["FlowLimitExceeded", "AccountFlowLimitExceeded", "RequestLimitExceeded", "Throttling"],
            ),
            (Kind::InstanceNotFound, &["InstanceNotExist"]),
            (Kind::InstanceNotReady, &["InstanceStatusNotMatch"]),
            (Kind::NotSupported, &["InvalidOperator"]),
            (
                Kind::InvalidRequest,
                &[
                    "MissingParameter",
                    "MissingRequestInfo",
                    "ParamError",
                    "InvalidRegion",
                    "TimeFormatInvalid",
                    "TimeIntervalInvalid",
                    "ServiceNotFound",
                    "InvalidActionOrVersion",
                    "MethodNotAllowed",
                ],
            ),
            (
                Kind::CloudUnavailable,
                &[
                    "InternalError",
                    "ServerError",
                    "InternalServiceTimeout",
                    "FailToConnect",
                    "ServiceUnavailableTemp",
                    "InvalidTimestamp",
                ],
            ),
        ];
        let page = include_str!("../../../docs/errors.md").split("### Volcengine").nth(1).unwrap();
        for (expected, codes) in table {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{expected:?}` |"))).unwrap();
            for code in codes {
                assert!(row.contains(&format!("`{code}`")), "docs/errors.md lacks {code}");
                for status in [200, 400, 401, 403, 404, 429, 500, 503] {
                    let status = StatusCode::from_u16(status).unwrap();
                    assert_eq!(kind(code, status), expected, "{code} with {status}");
                }
            }
        }
    }

    #[test]
    fn other_codes_follow_the_status_and_never_a_part_of_their_name() {
        let codes = [
            "",
            "InstanceNotFound",
            "InstanceNotExists",
            "instancenotexist",
            "XInstanceNotExist",
            "VpcNotExist",
            "AccessDenied.Project",
            "InvalidAccessKeyId",
            "Throttling.User",
            "NewCode",
        ];
        for code in codes {
            for status in [200, 400, 401, 403, 404, 500, 502, 503, 504] {
                let status = StatusCode::from_u16(status).unwrap();
                assert_eq!(kind(code, status), Kind::CloudUnavailable, "{code} with {status}");
            }
            assert_eq!(kind(code, StatusCode::TOO_MANY_REQUESTS), Kind::Throttled, "{code}");
        }
    }
}
