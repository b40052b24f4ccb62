//! Durations as manifests write them: `10m`, `1h30m`, `26h`.

use std::time::Duration;

/// Pattern of every duration in the schema.
pub const PATTERN: &str = "^([0-9]{1,6}(h|m|s)){1,3}$";

/// Parses a duration of the form [`PATTERN`]; `None` for any other text.
pub fn parse(text: &str) -> Option<Duration> {
    let mut seconds = 0u64;
    let mut parts = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 6 {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes().get(digits)? {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        seconds += number * unit;
        parts += 1;
        rest = &rest[digits + 1..];
    }
    (1..=3).contains(&parts).then(|| Duration::from_secs(seconds))
}

/// Parses an interval and clamps it to one minute to one day, since an older schema allowed other values.
pub fn interval(text: &str) -> Option<Duration> {
    parse(text).map(|interval| interval.clamp(Duration::from_secs(60), Duration::from_secs(24 * 3600)))
}

/// Parses a call timeout and clamps it to one second to one minute, since an older schema allowed other values.
pub fn call_timeout(text: &str) -> Option<Duration> {
    parse(text).map(|timeout| timeout.clamp(Duration::from_secs(1), Duration::from_secs(60)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_schema_let_in_is_brought_within_the_bounds() {
        let all = ["0s", "59s", "10m", "25h", "999999h", "soon"];
        let seconds = |read: fn(&str) -> Option<Duration>| all.map(|text| read(text).map(|d| d.as_secs()));
        assert_eq!(seconds(interval), [Some(60), Some(60), Some(600), Some(86_400), Some(86_400), None]);
        assert_eq!(seconds(call_timeout), [Some(1), Some(59), Some(60), Some(60), Some(60), None]);
    }

    #[test]
    fn reads_what_the_schema_allows_and_nothing_else() {
        for (text, seconds) in
            [("10m", 600), ("26h", 93_600), ("1h30m5s", 5405), ("0s", 0), ("999999h", 3_599_996_400)]
        {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "m", "1.5h", "-1m", "1d", "1h1h1h1h", "1234567s", "1 h", "10m ", "١m"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
