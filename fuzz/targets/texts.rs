//! Texts in manifests, flags and the environment.

use std::time::Duration;

use memchr::memmem;

use super::{KEY_ID, OWN, SECRET, TOKEN, assert_hidden};
use cross_region_backup_operator::api::duration;
use cross_region_backup_operator::cloud::{EndpointRule, Site, is_region};
use cross_region_backup_operator::telemetry::redact::{REDACTED, access_key_id_hint};

const SITES: [Site; 4] = [Site::Volcengine, Site::BytePlus, Site::Tencent, Site::TencentInternational];
/// Longest valid duration: 999,999 hours, three times.
const MAX_DURATION: Duration = Duration::from_secs(3 * 999_999 * 3600);

pub fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    durations(&text);
    endpoints(&text);
    let region = is_region(&text);
    assert!(!region || text.len() <= 40 && !text.contains(['.', '/', ':', '@']), "{text:?}");
    cleaned(&text);
}

/// Asserts that the redactor removes the account's secrets from a cloud's text, and nothing else.
fn cleaned(text: &str) {
    let redactor = OWN.redactor();
    for said in [text.to_owned(), format!("{text}{SECRET}{text}"), format!("{KEY_ID}{text}{TOKEN}")] {
        let shown = redactor.clean(said.chars());
        assert_hidden(&shown);
        assert!(!shown.is_empty() || said.is_empty());
        assert!(said.len() > 4096 || keeps_the_rest(&said, &shown), "{said:?} was shown as {shown:?}");
    }
}

/// Returns whether `shown` is `said` with some parts replaced, none shorter than its replacement. A text may contain a
/// value in base64 or escaped, so the replaced parts are not known here.
fn keeps_the_rest(said: &str, shown: &str) -> bool {
    let hint = access_key_id_hint(KEY_ID).expect("it looks like one");
    let shown = shown.replace(&hint, REDACTED);
    let Some((first, rest)) = shown.split_once(REDACTED) else { return shown == said };
    let (between, last) = rest.rsplit_once(REDACTED).unwrap_or(("", rest));
    let Some(inner) = said.strip_prefix(first).and_then(|said| said.strip_suffix(last)) else { return false };
    let mut left = inner.as_bytes();
    for piece in between.split(REDACTED) {
        let found = left.get(REDACTED.len()..).and_then(|left| memmem::find(left, piece.as_bytes()));
        let Some(at) = found else { return false };
        left = &left[REDACTED.len() + at + piece.len()..];
    }
    between.is_empty() || left.len() >= REDACTED.len()
}

/// Asserts that a parsed duration is allowed by the schema, and is parsed as the same when it is written anew.
fn durations(text: &str) {
    let Some(read) = duration::parse(text) else { return };
    assert!(read <= MAX_DURATION && text.len() <= 21 && text.is_ascii(), "{text:?}");
    let (hours, rest) = (read.as_secs() / 3600, read.as_secs() % 3600);
    if hours <= 999_999 {
        let written = format!("{hours}h{}m{}s", rest / 60, rest % 60);
        assert_eq!(duration::parse(&written), Some(read), "{text:?}, {written}");
    }
}

/// Asserts that calls go to the provider's own hosts, by HTTPS, whatever endpoint an account names.
fn endpoints(text: &str) {
    let own = EndpointRule::default();
    for site in SITES {
        if let Ok(endpoint) = own.endpoint(site, Some(text)) {
            for region in ["cn-beijing", text] {
                let Ok(origin) = endpoint.url(region).map(|origin| origin.to_string()) else { continue };
                assert!(is_own(site, &origin), "{text:?} leads to {origin}");
                let uri: http::Uri = origin.parse().expect("an origin is a URI");
                assert!(uri.authority().is_some_and(|host| !host.as_str().contains('@')), "{origin}");
                let again = own.endpoint(site, Some(&origin)).and_then(|endpoint| endpoint.url("cn-beijing"));
                assert_eq!(again.map(|origin| origin.to_string()), Ok(origin));
            }
        }
        for with_identity in [false, true] {
            let found = own.sts_endpoint(site, Some(text), with_identity, text);
            assert!(found.is_err() || text.starts_with("https://"), "{text:?}");
        }
    }
    // The flag itself may allow any host; its value must be understood or refused.
    if let Err(told) = EndpointRule::new(&[text.to_owned()]) {
        assert!(!told.chars().any(char::is_control), "{told:?}");
    }
}

fn is_own(site: Site, origin: &str) -> bool {
    let suffixes: &[&str] = match site {
        Site::Volcengine => &[".volcengineapi.com", ".volcengine-api.com"],
        Site::BytePlus => &[".byteplusapi.com", ".byteplus-api.com"],
        Site::Tencent | Site::TencentInternational => &[".tencentcloudapi.com"],
    };
    origin.starts_with("https://") && suffixes.iter().any(|suffix| origin.ends_with(suffix))
}
