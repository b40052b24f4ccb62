//! Compact timestamps for state that is held once per policy.

use jiff::Timestamp;

/// An optional timestamp in 8 bytes instead of 24, in nanoseconds, for the years 1677 to 2262. Timestamps outside that
/// range become `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactTimestamp(i64);

const NONE: i64 = i64::MIN;

impl CompactTimestamp {
    pub fn get(self) -> Option<Timestamp> {
        Some(self.0).filter(|at| *at != NONE).and_then(|at| Timestamp::from_nanosecond(at.into()).ok())
    }
}

impl From<Option<Timestamp>> for CompactTimestamp {
    fn from(time: Option<Timestamp>) -> Self {
        Self(time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).unwrap_or(NONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_as_it_was() {
        let now = "2026-11-22T12:00:00.123456789Z".parse().ok();
        for time in [now, None, Some(Timestamp::UNIX_EPOCH)] {
            assert_eq!(CompactTimestamp::from(time).get(), time);
        }
        assert_eq!(
            [Timestamp::MIN, Timestamp::MAX].map(|time| CompactTimestamp::from(Some(time)).get()),
            [None, None]
        );
        assert_eq!((size_of::<CompactTimestamp>(), size_of::<Option<Timestamp>>()), (8, 24));
    }
}
