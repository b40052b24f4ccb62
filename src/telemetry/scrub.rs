//! Redacts credentials in texts that libraries write: URLs with userinfo, `Authorization` headers, bearer tokens.
//!
//! The redactor replaces values that the process knows. This module recognizes the others by their shape: a proxy's URL
//! that could not be parsed, the header of a kubeconfig's token. Errors of kube, reqwest, hyper and clap repeat such
//! values verbatim.

use std::borrow::Cow;
use std::error::Error;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

const REDACTED: &str = "[redacted]";

/// Patterns of credentials. The text from the end of the first group to the beginning of the second is replaced; a
/// group may be empty.
static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // A URL inside of another one's query.
        r#"(?i)(%3a%2f%2f)[^\s"&]*(%40)"#,
        // A proxy's address without a scheme. The port distinguishes it from a user's name such as
        // oidc:jane@example.com.
        r#"()[\w.%+~-]+:(?:[^\s"/\\]|/[^\s"/])[^\s"]*(@(?:[\w.-]+|\[[\da-fA-F:.]+\]):\d+)"#,
        // `Debug` of url::Url and of structs, and keys of JSON and YAML.
        r#"(?i)(\b(?:password|passwd)["']?\s*[:=]\s*(?:Some\()?)(?:\[redacted\]|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&)}"']+)()"#,
        r#"(?i)([?&][\w.-]*(?:token|secret|password|signature|credential)[\w.-]*=)[^&\s"']+()"#,
        // A header, by `Debug` or as sent: to the end of the line.
        r#"(?i)(\b(?:(?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]*token)["']?\s*[:=]\s*)(?:\[redacted\]|"(?:[^"\\]|\\.)*"|[^"\r\n]+)()"#,
        // A word with a digit or a mark, unlike "authentication", or a long one.
        r#"(?i)(\b(?:bearer|basic|negotiate)\s+)(?:[a-z~+/]*[0-9._=-][\w.~+/=-]{7,}|[a-z~+/]{24,}[\w.~+/=-]*)()"#,
        // A JSON Web Token, such as that of a ServiceAccount.
        r"()\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?()",
    ]
    .iter()
    .map(|pattern| Regex::new(pattern).expect("it is a constant"))
    .collect()
});

/// Prefix of a URL before its authority; JSON may escape the slashes.
static AUTHORITY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[a-zA-Z0-9+.-]:\\?/\\?/").expect("it is a constant"));

/// Replaces everything with the shape of a credential by `[redacted]`. Replaces too much rather than too little, such
/// as the path of a URL up to an `@`.
pub fn clean(text: &str) -> Cow<'_, str> {
    let mut cleaned = without_userinfo(text);
    for pattern in PATTERNS.iter() {
        let replaced = pattern
            .replace_all(&cleaned, |found: &Captures<'_>| format!("{}{REDACTED}{}", &found[1], &found[2]));
        if let Cow::Owned(replaced) = replaced {
            cleaned = Cow::Owned(replaced);
        }
    }
    cleaned
}

/// Returns the message of a library's error with all its causes, redacted. Leaves out a cause that the error before it
/// repeats.
pub fn message_with_causes(error: &(dyn Error + 'static)) -> String {
    let mut message_with_causes = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message_with_causes.ends_with(&text) {
            message_with_causes = format!("{message_with_causes}: {text}");
        }
        cause = error.source();
    }
    clean(&message_with_causes).into_owned()
}

/// Redacts a log line. A JSON line stays JSON: its strings are redacted one by one.
pub fn clean_line(line: &str) -> Cow<'_, str> {
    let Cow::Owned(cleaned) = clean(line) else { return Cow::Borrowed(line) };
    match serde_json::from_str::<Value>(line) {
        Ok(mut value @ Value::Object(_)) => {
            clean_value(&mut value);
            Cow::Owned(format!("{value}\n"))
        }
        _ => Cow::Owned(cleaned),
    }
}

fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(cleaned) = clean(text) {
                *text = cleaned;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean_value),
        Value::Object(fields) => fields.values_mut().for_each(clean_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn without_userinfo(text: &str) -> Cow<'_, str> {
    let mut cleaned = String::new();
    // End of the text that is in `cleaned` already.
    let mut done = 0;
    let begins: Vec<usize> = AUTHORITY.find_iter(text).map(|found| found.end()).collect();
    for (at, &begin) in begins.iter().enumerate() {
        // A password may contain what looks like the beginning of a URL.
        let is_next = |next: &usize| text[begin..*next].contains('@');
        let end = begins[at + 1..].iter().copied().find(is_next).unwrap_or(text.len());
        if let Some(length) = userinfo(&text[begin..end]).filter(|_| begin >= done) {
            cleaned.push_str(&text[done..begin]);
            cleaned.push_str(REDACTED);
            done = begin + length;
        }
    }
    match done {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(cleaned + &text[done..]),
    }
}

/// Returns the length of the userinfo at the beginning, up to its `@`.
fn userinfo(rest: &str) -> Option<usize> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
    let line = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
    let last = line.rfind('@')?;
    if word.contains('@') {
        // In a URL that cannot be parsed, the password may contain an `@`, a blank or a quote.
        return Some(last);
    }
    let host_end = if word.starts_with('[') { word.find(']')? } else { 0 };
    let port = &word[host_end + word[host_end..].find(':')? + 1..];
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let is_port = digits > 0 && !port[digits..].starts_with(|c: char| c.is_alphanumeric());
    (!is_port).then_some(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_are_taken_out_of_urls_and_headers() {
        for (text, cleaned) in [
            ("http://ci:Pa55word@proxy.example.com:3128/", "http://[redacted]@proxy.example.com:3128/"),
            ("HTTP://token@proxy", "HTTP://[redacted]@proxy"),
            ("'http://ci:pa ss@:bad' for", "'http://[redacted]@:bad' for"),
            (r#"url "http://ci:p"w@h" of"#, r#"url "http://[redacted]@h" of"#),
            ("http://ci:p@ss@h and http://h:80/a@b", "http://[redacted]@h and http://[redacted]@b"),
            ("http://ci:p@s s@h", "http://[redacted]@h"),
            ("socks5h://u:p%40q@h", "socks5h://[redacted]@h"),
            (r"http:\/\/u:p@h\/", r"http:\/\/[redacted]@h\/"),
            ("?next=https%3A%2F%2Fu%3Ap%40h", "?next=https%3A%2F%2F[redacted]%40h"),
            (
                "HTTPS_PROXY=ci:Pa55/word@proxy.example.com:3128",
                "HTTPS_PROXY=[redacted]@proxy.example.com:3128",
            ),
            (
                r#"Url { scheme: "http", username: "ci", password: Some("Pa55\"word"), host: None }"#,
                r#"Url { scheme: "http", username: "ci", password: Some([redacted]), host: None }"#,
            ),
            (
                r#"{"authorization": "Bearer Pa55word", "accept": "*/*"}"#,
                r#"{"authorization": [redacted], "accept": "*/*"}"#,
            ),
            (
                "Proxy-Authorization: Basic Y2k6UGE1NXdvcmQ=\r\nHost: h",
                "Proxy-Authorization: [redacted]\r\nHost: h",
            ),
            ("with Bearer abc-DEF_0123456789", "with Bearer [redacted]"),
            ("with basic Y2k6UGE1NXdvcmQ=", "with basic [redacted]"),
            ("the token eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrIn0.c2ln is old", "the token [redacted] is old"),
            ("GET /a?X-Security-Token=Pa55word&b=c", "GET /a?X-Security-Token=[redacted]&b=c"),
        ] {
            assert_eq!(clean(text), cleaned);
            assert_eq!(clean(cleaned), cleaned, "once is enough");
        }
    }

    #[test]
    fn texts_without_credentials_stay_as_they_are() {
        for text in [
            "https://10.0.0.1:6443/api/v1/namespaces?watch=true&resourceVersion=5",
            "https://[fd00::1]:6443/ as User \"oidc:jane@example.com\"",
            "HTTPS_PROXY: allowed is http://HOST:PORT or https://HOST:PORT",
            "User \"oidc:jane@example.com\" cannot list resource \"secrets\" in API group \"\"",
            "rbac.authorization.k8s.io: tunnel error: proxy authorization required",
            "basic authentication is refused, and bearer tokens are",
            "2026-11-30T10:00:00Z me@example.com",
            "会话 a@b: c",
        ] {
            assert!(matches!(clean(text), Cow::Borrowed(_)), "{text} gave {}", clean(text));
        }
    }

    #[test]
    fn a_line_of_json_stays_one() {
        let line =
            r#"{"level":"ERROR","message":"a \"http://ci:p\"w@h\"","url":"http://ci:pa ss","mail":"x@y"}"#;
        let cleaned = clean_line(line);
        let value: Value = serde_json::from_str(&cleaned).unwrap();
        assert_eq!(value["message"], "a \"http://[redacted]@h\"");
        assert_eq!(value["mail"], "x@y");
    }

    #[test]
    fn a_password_with_a_url_in_it_does_not_come_through() {
        for password in ["*Pa55word://", "x Pa55word://", "x://Pa55word", "a://b Pa55word://c"] {
            let text = format!("http://ci:{password}@proxy.example.com/ and http://u:Pa55word@h");
            assert!(!clean(&text).contains("Pa55word"), "{}", clean(&text));
        }
    }

    proptest! {
        #[test]
        fn no_password_comes_through(
            password in "[a-zA-Z0-9!$&*+,;=:@/?#%^~. _'\\[\\]-]{0,20}Pa55word[a-zA-Z0-9!$&*+,;=:@/?#%^~._'\\[\\]-]{0,20}",
            before in "(proxy |\"|'|\\(|url=)?",
            after in "(/|:3128|\"|'|: |, )?",
        ) {
            // A port of digits, then a blank: indistinguishable from an address and another word.
            prop_assume!(!password.starts_with(|c: char| c.is_ascii_digit()));
            let text = format!("{before}http://ci:{password}@proxy.example.com{after}");
            prop_assert!(!clean(&text).contains("Pa55word"), "{}", clean(&text));
        }

        #[test]
        fn nothing_makes_it_panic(text in "(?s:.){0,80}|[a-z:/@\\[\\]\" é%0-9]{0,60}") {
            let once = clean(&text).into_owned();
            clean_line(&text);
            // Repeated redaction does not grow the text without end.
            prop_assert!(clean(&clean(&once)).len() <= once.len() + REDACTED.len());
        }
    }
}
