//! Parsers of flag values.

use std::time::Duration;

use super::source::AccountName;
use crate::api::account::Provider;
use crate::api::duration;
use crate::cloud::is_region;

/// Parses the name of a namespace: a DNS label.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_label {
        Ok(text.to_owned())
    } else {
        Err("must be a namespace's name: 1 to 63 lower-case letters, digits and -, which does not begin or end it".to_owned())
    }
}

/// Parses a duration in the format of the CRDs, `^([0-9]{1,6}(h|m|s)){1,3}$`, of at least a second.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        None => Err("must be a duration such as 30s, 10m or 1h30m".to_owned()),
        Some(Duration::ZERO) => Err("must be at least 1s".to_owned()),
        Some(interval) => Ok(interval),
    }
}

pub(super) fn provider(text: &str) -> Result<Provider, String> {
    let all = [Provider::Volcengine, Provider::BytePlus, Provider::Tencent];
    let named = |provider: &Provider| format!("{provider:?}").eq_ignore_ascii_case(text);
    all.into_iter().find(named).ok_or_else(|| "must be Volcengine, BytePlus or Tencent".to_owned())
}

/// Parses `NAME`, `NAMESPACE/NAME`, or `/NAME` of a ClusterCloudAccount.
pub(super) fn account(text: &str) -> Result<AccountName, String> {
    let is_name = |name: &str| (1..=63).contains(&name.len()) && !name.contains('/');
    let (before, name) = text.split_once('/').map_or((None, text), |(before, name)| (Some(before), name));
    let namespace = before.filter(|before| !before.is_empty()).map(namespace).transpose()?;
    match is_name(name) {
        true => Ok(AccountName { namespace, name: name.to_owned(), is_shared: before == Some("") }),
        false => Err("must be NAME, NAMESPACE/NAME, or /NAME of a ClusterCloudAccount".to_owned()),
    }
}

pub(super) fn region(text: &str) -> Result<String, String> {
    match is_region(text) {
        true => Ok(text.to_owned()),
        false => Err("must be a region such as cn-beijing".to_owned()),
    }
}

/// Parses `KEY` or `KEY=VALUE`.
pub(super) fn tag(text: &str) -> Result<(String, Option<String>), String> {
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    match key {
        "" => Err("must be KEY or KEY=VALUE".to_owned()),
        key => Ok((key.to_owned(), value.map(str::to_owned))),
    }
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must not be empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_dns_labels() {
        for good in ["a", "payments", "team-7", &"n".repeat(63)] {
            assert_eq!(namespace(good).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a b", "ä", &"n".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals_are_the_contract_s_durations() {
        for (text, seconds) in [
            ("1s", 1),
            ("10m", 600),
            ("1h30m", 5_400),
            ("1h1m1s", 3_661),
            ("0m5s", 5),
            ("999999h", 3_599_996_400),
        ] {
            assert_eq!(interval(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "5", "s", "1d", "1.5h", "-1s", "+1s", "1s ", "1000000s", "1s1s1s1s", "1ms", "0s", "1é"]
        {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
