//! Formats ages and durations as kubectl does.

use jiff::{SignedDuration, Timestamp};

/// Formats the time since `since`, such as `45s`, `5m`, `3d4h`. A future time, as with clock skew, gives `0s`.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(since))
}

/// Formats a duration like `HumanDuration` of k8s.io/apimachinery: two units while the second is significant, else one.
pub fn duration(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match () {
        () if seconds < 2 * 60 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 3 * 60 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 8 * 24 => two(days, "d", hours % 24, "h"),
        () if years < 2 => format!("{days}d"),
        () if years < 8 => two(years, "y", days % 365, "d"),
        () => format!("{years}y"),
    }
}

fn two(great: i64, great_unit: &str, small: i64, small_unit: &str) -> String {
    match small {
        0 => format!("{great}{great_unit}"),
        _ => format!("{great}{great_unit}{small}{small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectl_s() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (m, h, d) = (60, 3600, 86_400);
        for (seconds, words) in [
            (-30, "0s"),
            (0, "0s"),
            (119, "119s"),
            (2 * m, "2m"),
            (5 * m + 3, "5m3s"),
            (10 * m + 9, "10m"),
            (179 * m, "179m"),
            (3 * h, "3h"),
            (7 * h + 5 * m, "7h5m"),
            (26 * h, "26h"),
            (47 * h, "47h"),
            (3 * d + 4 * h, "3d4h"),
            (8 * d, "8d"),
            (700 * d, "700d"),
            (730 * d, "2y"),
            (800 * d, "2y70d"),
            (9 * 365 * d, "9y"),
        ] {
            let since = now - SignedDuration::from_secs(seconds);
            assert_eq!(age(since, now), words, "{seconds}");
        }
    }
}
