//! Rate limits per account: a token bucket.

use jiff::Timestamp;

use crate::model::RateLimit;

#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub limit: RateLimit,
    tokens: f64,
    refilled: Timestamp,
}

impl Bucket {
    pub fn new(limit: RateLimit, now: Timestamp) -> Self {
        let tokens = capacity(&limit);
        Self { limit, tokens, refilled: now }
    }

    /// Takes a token; returns whether the request may pass.
    pub fn pass(&mut self, now: Timestamp) -> bool {
        let elapsed = now.duration_since(self.refilled).as_secs_f64().max(0.0);
        self.refilled = now;
        self.tokens = (self.tokens + elapsed * self.limit.per_second).min(capacity(&self.limit));
        let passes = self.tokens >= 1.0;
        if passes {
            self.tokens -= 1.0;
        }
        passes
    }
}

fn capacity(limit: &RateLimit) -> f64 {
    limit.burst.unwrap_or(limit.per_second).max(1.0)
}
