//! Sanitizes cloud-supplied text for display: no secrets of the account, no control characters, a bounded length.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::telemetry::redact::Redactor;

const MESSAGE_MAX: usize = 256;
const CODE_MAX: usize = 64;
const REQUEST_ID_MAX: usize = 128;
/// Upper bound on the wait that a cloud can request.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(5 * 60);

/// Returns the sanitized message, or `None` if nothing is left. Control characters are removed first: one inside a
/// secret would hide it from the redactor. The text is cut last: a cut could leave a part of a secret that no redactor
/// knows.
pub fn message(redactor: &Redactor<'_>, text: &str) -> Option<String> {
    let plain = text
        .trim_matches(|c: char| c.is_whitespace() || c.is_control())
        .chars()
        .map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c })
        .filter(|c| !c.is_control());
    let clean: String = redactor.clean(plain).chars().take(MESSAGE_MAX).collect();
    (!clean.is_empty()).then_some(clean)
}

/// Returns the sanitized code, or `None` if nothing is left.
pub fn code(redactor: &Redactor<'_>, text: &str) -> Option<String> {
    token(redactor, text, CODE_MAX)
}

/// Returns the sanitized request id, or `None` if nothing is left.
pub fn request_id(redactor: &Redactor<'_>, text: &str) -> Option<String> {
    token(redactor, text, REQUEST_ID_MAX)
}

fn token(redactor: &Redactor<'_>, text: &str, max: usize) -> Option<String> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // Redacts before and after filtering: a removed character may be part of a secret, or may hide one.
    let plain = redactor.clean(text.chars());
    let clean: String =
        redactor.clean(plain.chars().filter(allowed)).chars().filter(allowed).take(max).collect();
    (!clean.is_empty()).then_some(clean)
}

/// Returns the response's `Date`.
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// Returns `Retry-After`, in seconds or as a date, capped at 5 minutes. A date is compared with the response's own
/// `Date`, so that a wrong local clock does not matter, else with `now`.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Only a number beyond u64 fails to parse here.
        return Some(value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs).min(RETRY_AFTER_MAX));
    }
    let wait = http_date(value)?.duration_since(date(headers).unwrap_or(now));
    Some(Duration::try_from(wait).unwrap_or_default().min(RETRY_AFTER_MAX))
}

fn http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn messages_are_plain_short_and_without_secrets() {
        let mut redactor = Redactor::default();
        redactor.hide_secret("text-canary-secret");
        let message = |text: &str| message(&redactor, text);
        assert_eq!(message("a\nb\u{0}c\u{1b}[31m"), Some("a bc[31m".to_owned()));
        assert_eq!(message("see text-canary\u{7}-secret!"), Some("see [redacted]!".to_owned()));
        assert_eq!(message(" \u{0}\n"), None);
        let long = message(&"é".repeat(1000)).unwrap();
        assert_eq!(long.chars().count(), 256);
        let cut = message(&format!("{}text-canary-secret", "x".repeat(250))).unwrap();
        assert_eq!(cut, format!("{}[redac", "x".repeat(250)));
    }

    #[test]
    fn codes_keep_letters_digits_and_three_signs() {
        let none = Redactor::default();
        assert_eq!(code(&none, "InvalidParameter.Value_x-1"), Some("InvalidParameter.Value_x-1".to_owned()));
        assert_eq!(code(&none, "Bad <b>\n代码"), Some("Badb".to_owned()));
        assert_eq!(code(&none, "代码"), None);
        assert_eq!(code(&none, &"A".repeat(65)).unwrap().len(), 64);
        let mut redactor = Redactor::default();
        redactor.hide_secret("Code+Canary/Secret=");
        redactor.hide_secret("CodeCanarySecret");
        assert_eq!(code(&redactor, "Is Code+Canary/Secret="), Some("Isredacted".to_owned()));
        assert_eq!(code(&redactor, "Is Code\nCanarySecret"), Some("Isredacted".to_owned()));
        assert_eq!(request_id(&redactor, "CodeCanarySecret-7"), Some("redacted-7".to_owned()));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_up_to_five_minutes() {
        let now: Timestamp = "2025-08-22T03:14:15Z".parse().unwrap();
        let cases = [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("301", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Fri, 22 Aug 2025 03:14:45 GMT", Some(30)),
            ("Fri, 22 Aug 2025 05:14:45 GMT", Some(300)),
            ("Fri, 22 Aug 2025 03:14:05 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (value, seconds) in cases {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{value}");
        }
        let headers = HeaderMap::from_iter([
            (RETRY_AFTER, "Fri, 22 Aug 2025 09:00:20 GMT".parse().unwrap()),
            (DATE, "Fri, 22 Aug 2025 09:00:00 GMT".parse().unwrap()),
        ]);
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(20)), "the cloud's own clock counts");
    }
}
