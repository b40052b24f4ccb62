//! Poll schedule: each resource polls at its own offset within its interval; failures use exponential backoff with full
//! jitter.

use std::time::Duration;

use jiff::Timestamp;

use super::{after, since};
use crate::domain::{Class, Failure, Kind};

/// Poll interval of a resource without one, and probe interval of an account without resources.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);
/// Maximum backoff.
pub const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// Maximum poll interval while a failure needs a person.
pub const NEEDS_PERSON_MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// Maximum backoff for an instance that does not exist yet.
pub const NOT_FOUND_MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Age of a resource up to which a missing instance needs no person.
pub const NOT_FOUND_GRACE: Duration = Duration::from_secs(600);

/// Returns the first poll time of this resource after `now`.
pub fn next_poll(poll_offset: u64, interval: Duration, now: Timestamp) -> Timestamp {
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let offset = i64::try_from(poll_offset % interval_ms.unsigned_abs()).unwrap_or(0);
    let into = (now.as_millisecond() - offset).rem_euclid(interval_ms);
    after(now, Duration::from_millis((interval_ms - into).unsigned_abs()))
}

/// Returns the delay before attempt `failures + 1`, with full jitter: 1 s up to `min(longest, 2^failures s)`. `dice`:
/// random in 0..1.
pub fn backoff(failures: u32, longest: Duration, jitter: f64) -> Duration {
    let ceiling = Duration::from_secs(1 << failures.min(16)).min(longest.min(MAX_BACKOFF));
    ceiling.mul_f64(jitter.clamp(0.0, 1.0)).max(Duration::from_secs(1))
}

/// Whether the failure only means that the instance of a young resource does not exist yet.
pub fn waits_to_exist(created: Timestamp, failure: &Failure, now: Timestamp) -> bool {
    failure.kind == Kind::InstanceNotFound && since(created, now) < NOT_FOUND_GRACE
}

/// Returns the next poll time after a failure, and the new number of consecutive failures.
pub fn after_failure(
    poll_timing: PollTiming,
    failures: u32,
    failure: &Failure,
    now: Timestamp,
    jitter: f64,
) -> (Timestamp, u32) {
    let more = failures.saturating_add(1);
    match failure.kind.class() {
        Class::NeedsPerson if waits_to_exist(poll_timing.created, failure, now) => {
            (after(now, backoff(more, NOT_FOUND_MAX_BACKOFF, jitter)), more)
        }
        Class::NeedsPerson => {
            (next_poll(poll_timing.poll_offset, poll_timing.interval.min(NEEDS_PERSON_MAX_INTERVAL), now), 0)
        }
        Class::Transient | Class::Throttled => (after(now, backoff(more, Duration::MAX, jitter)), more),
    }
}

/// Inputs of a resource's poll schedule.
#[derive(Clone, Copy, Debug)]
pub struct PollTiming {
    pub created: Timestamp,
    pub poll_offset: u64,
    pub interval: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_turn_comes_within_one_interval_and_keeps_its_phase(poll_offset: u64, seconds in 1u64..86_400, now in 0i64..4_000_000_000_000) {
            let now = Timestamp::from_millisecond(now).unwrap();
            let interval = Duration::from_secs(seconds);
            let turn = next_poll(poll_offset, interval, now);
            prop_assert!(turn > now && turn <= after(now, interval));
            prop_assert_eq!(next_poll(poll_offset, interval, turn), after(turn, interval));
        }

        #[test]
        fn a_delay_is_between_one_second_and_its_ceiling(failures: u32, jitter in 0.0f64..1.0) {
            let delay = backoff(failures, MAX_BACKOFF, jitter);
            prop_assert!(delay >= Duration::from_secs(1) && delay <= MAX_BACKOFF);
            prop_assert!(delay <= Duration::from_secs(1 << failures.min(9)));
        }
    }
}
