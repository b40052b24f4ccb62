//! Token bucket of one account, with a pause and a reduced rate after throttling, and a limit on calls in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cloud::text::RETRY_AFTER_MAX;

/// Upper bound on the calls in flight of one account.
pub const IN_FLIGHT_MAX: usize = 32;
/// Upper bound on the calls in flight while an account's calls time out: more of them would only wait longer, and take
/// slots of other accounts.
pub const IN_FLIGHT_TIMING_OUT: usize = 4;
const PAUSE_MAX: Duration = Duration::from_secs(60);
const SHARE_MIN: f64 = 1.0 / 8.0;
/// Share of the configured rate that one accepted call restores: 28 calls bring it from an eighth to the whole.
const SHARE_STEP: f64 = 1.0 / 32.0;
/// Rounding tolerance: sums of fractions of a token end a little below the whole one.
const ROUNDING: f64 = 1e-6;

pub struct Bucket {
    rate: f64,
    burst: f64,
    /// Fraction of the rate in use: halved by throttling, restored step by step by accepted calls.
    pub(super) share: f64,
    tokens: f64,
    /// Tokens that each call in flight returns if nothing of it was sent, by call number. Their sum with `tokens` never
    /// exceeds the burst; otherwise twice the burst could go at once. The excess is taken from the oldest call first,
    /// which was most probably sent.
    returnable: BTreeMap<u64, f64>,
    taken: u64,
    filled_at: Instant,
    paused_until: Option<Instant>,
    throttles: u32,
    /// Number of pauses so far. A response to a call from before the latest pause carries no new information.
    pause_epoch: u64,
    pub(super) in_flight: usize,
    timing_out: bool,
}

/// A call in flight, and the epoch in which it took its token.
#[derive(Clone, Copy)]
pub struct TakenToken {
    pub pause_epoch: u64,
    number: u64,
}

/// Earliest time at which the next call may go.
pub enum NextCall {
    Now,
    At(Instant),
    OnChange,
}

impl Bucket {
    /// Creates a full bucket. Requests per second and burst are at least 1.
    pub fn new(requests_per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            rate: f64::from(requests_per_second.max(1)),
            burst,
            share: 1.0,
            tokens: burst,
            returnable: BTreeMap::new(),
            taken: 0,
            filled_at: now,
            paused_until: None,
            throttles: 0,
            pause_epoch: 0,
            in_flight: 0,
            timing_out: false,
        }
    }

    pub fn reconfigure(&mut self, requests_per_second: u32, burst: u32, now: Instant) {
        self.fill(now);
        self.rate = f64::from(requests_per_second.max(1));
        self.burst = f64::from(burst.max(1));
        self.bound();
    }

    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    pub fn next(&mut self, now: Instant) -> NextCall {
        let limit = if self.timing_out { IN_FLIGHT_TIMING_OUT } else { IN_FLIGHT_MAX };
        if self.in_flight >= limit {
            return NextCall::OnChange;
        }
        if let Some(until) = self.paused_until(now) {
            return NextCall::At(until);
        }
        self.fill(now);
        if self.tokens >= 1.0 - ROUNDING {
            NextCall::Now
        } else {
            NextCall::At(now + Duration::from_secs_f64((1.0 - self.tokens) / (self.rate * self.share)))
        }
    }

    /// Takes a token for one call, if a call may go now.
    pub fn take(&mut self, now: Instant) -> Option<TakenToken> {
        if !matches!(self.next(now), NextCall::Now) {
            return None;
        }
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.taken += 1;
        self.returnable.insert(self.taken, 1.0);
        self.in_flight += 1;
        Some(TakenToken { pause_epoch: self.pause_epoch, number: self.taken })
    }

    /// Ends a call in flight; `unsent`: nothing of it reached the cloud, so its token is returned.
    pub fn release(&mut self, flight: TakenToken, unsent: bool, now: Instant) {
        self.in_flight -= 1;
        self.fill(now);
        let back = self.returnable.remove(&flight.number);
        if unsent {
            self.tokens += back.unwrap_or(0.0);
        }
    }

    /// Adds the tokens that accrued until `now`. During a pause `filled_at` lies in the future, so that none accrue.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens += passed * self.rate * self.share;
        self.filled_at = self.filled_at.max(now);
        self.bound();
    }

    fn bound(&mut self) {
        self.tokens = self.tokens.min(self.burst);
        let mut excess = self.tokens + self.returnable.values().sum::<f64>() - self.burst;
        while excess > 0.0
            && let Some(mut oldest) = self.returnable.first_entry()
        {
            let lost = oldest.get().min(excess);
            *oldest.get_mut() -= lost;
            excess -= lost;
            if *oldest.get() <= 0.0 {
                oldest.remove();
            }
        }
    }

    pub fn throttled(&mut self, pause_epoch: u64, retry_after: Option<Duration>, now: Instant) {
        self.timing_out = false;
        let asked = retry_after.filter(|d| !d.is_zero()).map(|d| d.min(RETRY_AFTER_MAX));
        let is_current = pause_epoch == self.pause_epoch;
        if is_current {
            self.pause_epoch += 1;
            self.throttles = self.throttles.saturating_add(1);
            self.share = (self.share / 2.0).max(SHARE_MIN);
        } else if asked.is_none() {
            return;
        }
        let until = now + asked.unwrap_or_else(|| backoff(self.throttles));
        let until = self.paused_until.map_or(until, |before| before.max(until));
        self.paused_until = Some(until);
        // One call goes when the pause ends, and the others follow at the lower rate.
        self.tokens = 1.0;
        self.returnable.clear();
        self.filled_at = until;
    }

    pub fn timed_out(&mut self) {
        self.timing_out = true;
    }

    pub fn answered(&mut self) {
        self.timing_out = false;
    }

    pub fn accepted(&mut self, pause_epoch: u64) {
        self.timing_out = false;
        if pause_epoch == self.pause_epoch {
            self.throttles = 0;
            self.share = (self.share + SHARE_STEP).min(1.0);
        }
    }
}

/// Returns a random pause of 1 to 2 s after the first throttled response in a row, doubling up to 30 to 60 s.
fn backoff(throttles: u32) -> Duration {
    let most =
        Duration::from_secs(2).saturating_mul(1 << (throttles.saturating_sub(1)).min(5)).min(PAUSE_MAX);
    most.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
