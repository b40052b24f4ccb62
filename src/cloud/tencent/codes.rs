//! Maps the API's error codes to failure kinds (common error codes: "Returned Results" of every API page; Redis: the
//! pages of its actions, and the lists of the official SDKs).

use http::StatusCode;

use crate::domain::Kind;

/// Code for an X-TC-Timestamp that is more than five minutes from the cloud's clock ("Common Params").
pub const SIGNATURE_EXPIRE: &str = "AuthFailure.SignatureExpire";

/// Returns the kind of a code. Exact codes match first, then the first segment (codes are `First.Second`), then the
/// HTTP status, which is 200 for errors too; never a part of a segment.
pub fn kind(code: &str, status: StatusCode) -> Kind {
    match code {
        "AuthFailure.UnauthorizedOperation" | "InvalidParameter.PermissionDenied" => Kind::PermissionDenied,
        "ResourceNotFound.InstanceNotExists" => Kind::InstanceNotFound,
        "ResourceUnavailable.InstanceLockedError" => Kind::InstanceNotReady,
        SIGNATURE_EXPIRE => Kind::CloudUnavailable,
        _ => by_first_segment(first(code), status),
    }
}

fn by_first_segment(first: &str, status: StatusCode) -> Kind {
    match first {
        "AuthFailure" => Kind::CredentialsRejected,
        "UnauthorizedOperation" | "IpInBlacklist" | "IpNotInWhitelist" => Kind::PermissionDenied,
        "RequestLimitExceeded" => Kind::Throttled,
        "ResourceInUse" => Kind::InstanceNotReady,
        "UnsupportedOperation" | "UnsupportedRegion" => Kind::NotSupported,
        "InvalidParameter"
        | "InvalidParameterValue"
        | "MissingParameter"
        | "UnknownParameter"
        | "InvalidAction"
        | "NoSuchVersion" => Kind::InvalidRequest,
        "InternalError" | "FailedOperation" | "ServiceUnavailable" | "ResourceUnavailable" => {
            Kind::CloudUnavailable
        }
        _ if status == StatusCode::TOO_MANY_REQUESTS => Kind::Throttled,
        _ => Kind::CloudUnavailable,
    }
}

/// Returns whether the code can precede the check of the signature: the endpoint has no such API, version or region, or
/// the request lost its headers on the way.
pub fn precedes_signature(code: &str) -> bool {
    matches!(
        first(code),
        "InvalidAction"
            | "NoSuchVersion"
            | "NoSuchProduct"
            | "MissingParameter"
            | "UnsupportedRegion"
            | "UnsupportedProtocol"
    )
}

/// Returns whether the cloud misses a parameter, such as an instance where it lists by instance only.
pub fn is_missing_parameter(code: &str) -> bool {
    first(code) == "MissingParameter"
}

fn first(code: &str) -> &str {
    code.split('.').next().unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_kind_whatever_the_status() {
        // Written as in docs/errors.md: `X(.*)` is X and every code that begins with "X.".
        let table: [(Kind, &[&str]); 8] = [
            (Kind::CredentialsRejected, &["AuthFailure(.*)"]),
            (
                Kind::PermissionDenied,
                &[
                    "UnauthorizedOperation(.*)",
                    "AuthFailure.UnauthorizedOperation",
                    "InvalidParameter.PermissionDenied",
                    "IpInBlacklist",
                    "IpNotInWhitelist",
                ],
            ),
            (Kind::Throttled, &["RequestLimitExceeded(.*)"]),
            (Kind::InstanceNotFound, &["ResourceNotFound.InstanceNotExists"]),
            (Kind::InstanceNotReady, &["ResourceUnavailable.InstanceLockedError", "ResourceInUse(.*)"]),
            (Kind::NotSupported, &["UnsupportedOperation(.*)", "UnsupportedRegion"]),
            (
                Kind::InvalidRequest,
                &[
                    "InvalidParameter(.*)",
                    "InvalidParameterValue(.*)",
                    "MissingParameter",
                    "UnknownParameter",
                    "InvalidAction",
                    "NoSuchVersion",
                ],
            ),
            (
                Kind::CloudUnavailable,
                &[
                    "InternalError(.*)",
                    "FailedOperation(.*)",
                    "ServiceUnavailable",
                    "ResourceUnavailable(.*)",
                    SIGNATURE_EXPIRE,
                ],
            ),
        ];
        let page = include_str!("../../../docs/errors.md").split("### Tencent Cloud").nth(1).unwrap();
        for (expected, codes) in table {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{expected:?}` |"))).unwrap();
            for code in codes {
                assert!(row.contains(&format!("`{code}`")), "docs/errors.md lacks {code}");
                let bare = code.trim_end_matches("(.*)");
                let more = (bare != *code).then(|| format!("{bare}.WhateverElse"));
                for code in [Some(bare.to_owned()), more].into_iter().flatten() {
                    for status in [200, 400, 401, 403, 404, 429, 500, 503] {
                        let status = StatusCode::from_u16(status).unwrap();
                        assert_eq!(kind(&code, status), expected, "{code} with {status}");
                    }
                }
            }
        }
    }

    #[test]
    fn codes_that_the_pages_list() {
        let codes = [
            ("AuthFailure.SecretIdNotFound", Kind::CredentialsRejected),
            ("AuthFailure.SignatureFailure", Kind::CredentialsRejected),
            ("AuthFailure.TokenFailure", Kind::CredentialsRejected),
            ("AuthFailure.MFAFailure", Kind::CredentialsRejected),
            ("UnauthorizedOperation.NoCAMAuthed", Kind::PermissionDenied),
            ("RequestLimitExceeded.UinLimitExceeded", Kind::Throttled),
            ("InvalidParameterValue.BackupNotExists", Kind::InvalidRequest),
            ("InternalError.DbOperationFailed", Kind::CloudUnavailable),
            ("FailedOperation.SystemError", Kind::CloudUnavailable),
            ("ResourceUnavailable.BackupLockedError", Kind::CloudUnavailable),
        ];
        for (code, expected) in codes {
            assert_eq!(kind(code, StatusCode::OK), expected, "{code}");
        }
    }

    #[test]
    fn other_codes_follow_the_status_and_never_a_part_of_a_segment() {
        let codes = [
            "",
            ".",
            "authfailure",
            "AuthFailures",
            "XAuthFailure",
            "Auth.Failure",
            "InvalidParameters.X",
            "RequestLimit",
            "ResourceNotFound",
            "ResourceNotFound.Other",
            "InstanceNotExists",
            "NoSuchProduct",
            "UnsupportedProtocol",
            "LimitExceeded",
            "NewCode.AuthFailure",
        ];
        for code in codes {
            for status in [200, 400, 401, 403, 404, 500, 502, 503] {
                let status = StatusCode::from_u16(status).unwrap();
                assert_eq!(kind(code, status), Kind::CloudUnavailable, "{code} with {status}");
            }
            assert_eq!(kind(code, StatusCode::TOO_MANY_REQUESTS), Kind::Throttled, "{code}");
        }
    }
}
