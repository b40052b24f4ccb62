//! Times in specs: RFC 3339 as the API server accepts it, which is neither all of RFC 3339 nor only that.

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const LAST: DateTime = DateTime::constant(9999, 12, 31, 23, 59, 59, 0);

/// Parses a time and returns it in UTC; `None` if the API server rejects the text for a field with the format
/// date-time and a CEL rule.
///
/// Two functions of k8s.io/kube-openapi/pkg/validation/strfmt must accept the text: `IsDateTime` and `ParseDateTime`.
/// Together they accept `YYYY-MM-DDThh:mm:ss`, then a point or a comma and any number of digits, of which nine count,
/// or nothing, then `Z` or an offset of at most 24 hours and 60 minutes. Letters are upper case, and there are no
/// leap seconds.
pub fn parse(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    let (head, mut rest) = bytes.split_at_checked("2006-01-02T15:04:05".len())?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, separator)| head[*at] != *separator) {
        return None;
    }
    let year = i16::try_from(digits(&head[..4], 9999)?).ok()?;
    let part = |at: usize, most| digits(&head[at..at + 2], most).and_then(|number| i8::try_from(number).ok());
    let date = Date::new(year, part(5, 12)?, part(8, 31)?).ok()?;
    let mut nanosecond = 0;
    if let [b'.' | b',', after @ ..] = rest {
        let count = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let counted = &after[..count.min(9)];
        let scale = 10_i32.pow(9 - u32::try_from(counted.len()).ok()?);
        nanosecond = digits(counted, 999_999_999)? * scale;
        rest = &after[count..];
    }
    let local = date.at(part(11, 23)?, part(14, 59)?, part(17, 59)?, nanosecond);
    let offset = match rest {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), hours @ .., b':', ten, one] if hours.len() == 2 => {
            let seconds = digits(hours, 24)? * 3600 + digits(&[*ten, *one], 60)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    local.checked_sub(SignedDuration::from_secs(offset.into())).ok()
}

/// Parses ASCII digits, at least one; `None` for any other byte, or for a number above `most`.
fn digits(bytes: &[u8], most: i32) -> Option<i32> {
    let text = str::from_utf8(bytes).ok()?;
    let number = bytes.iter().all(u8::is_ascii_digit).then(|| text.parse().ok())??;
    (number <= most).then_some(number)
}

/// Deserializes a time of a spec, from 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z. The last 26 hours of the year
/// 9999 are beyond `Timestamp::MAX` and become that value.
///
/// # Errors
/// The text is not such a time; an older schema allowed it.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let Some(time) = parse(&text).filter(|time| (EPOCH..=LAST).contains(time)) else {
        let quoted: String = text.chars().take(40).collect();
        let words = "startTime and endTime must be 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z, and one is ";
        return Err(D::Error::custom(format!("{words}{quoted}")));
    };
    let since = time.duration_since(EPOCH);
    Ok(Some(Time(Timestamp::UNIX_EPOCH.saturating_add(since).map_err(D::Error::custom)?)))
}

#[cfg(test)]
#[path = "time_tests.rs"]
mod tests;
