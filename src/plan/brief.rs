//! Times in little room, for what is held of each policy.

use jiff::Timestamp;

/// A time or none, in 8 bytes in place of 24: to the nanosecond, from the year 1677 to 2262. Any other is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief(i64);

const NONE: i64 = i64::MIN;

impl Brief {
    pub fn get(self) -> Option<Timestamp> {
        Some(self.0).filter(|at| *at != NONE).and_then(|at| Timestamp::from_nanosecond(at.into()).ok())
    }
}

impl From<Option<Timestamp>> for Brief {
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
            assert_eq!(Brief::from(time).get(), time);
        }
        assert_eq!([Timestamp::MIN, Timestamp::MAX].map(|time| Brief::from(Some(time)).get()), [None, None]);
        assert_eq!((size_of::<Brief>(), size_of::<Option<Timestamp>>()), (8, 24));
    }
}
