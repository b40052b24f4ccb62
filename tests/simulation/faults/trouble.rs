//! Faults of the API server.

use std::time::Duration;

use fastrand::Rng;

use crate::harness::api_server::{EVENT, Refusal, Reply, Seen, Spoilt};

pub struct Kind {
    pub name: &'static str,
    /// Returns the fault of a request or a watch event.
    pub spoil: fn(&Seen, &mut Rng) -> Option<Spoilt>,
}

/// Upper bound on the versions by which a list is stale.
const OLD: u64 = 12;
const GONE: Refusal = Refusal::new(410, "Expired");
const CONFLICT: Refusal = Refusal::new(409, "Conflict");
const BUSY: Refusal = Refusal::new(429, "TooManyRequests");
const BROKEN: Refusal = Refusal::new(500, "InternalError");
const AWAY: Refusal = Refusal::new(503, "ServiceUnavailable");

pub const KINDS: [Kind; 18] = [
    Kind { name: "events come a little late", spoil: |seen, _| late(is_event(seen), 0.7) },
    Kind { name: "events come late", spoil: |seen, _| late(is_event(seen), 20.0) },
    Kind { name: "a watch ends early", spoil: |seen, _| cut(is_event(seen), Reply::Lost) },
    Kind { name: "a watch is cut in the midst of a line", spoil: |seen, _| cut(is_event(seen), Reply::Half) },
    Kind { name: "a watch falls silent", spoil: |seen, _| cut(is_event(seen), Reply::Silent) },
    Kind { name: "410 in a watch", spoil: |seen, _| refuse(is_event(seen), GONE) },
    Kind { name: "410 for a watch", spoil: |seen, _| refuse(seen.verb == "watch", GONE) },
    Kind { name: "410 for a further page", spoil: |seen, _| refuse(seen.continues, GONE) },
    Kind { name: "a list is old", spoil: |seen, rng| old(seen.verb == "list" && !seen.continues, rng) },
    Kind { name: "409 for a write", spoil: |seen, _| refuse(seen.verb == "patch", CONFLICT) },
    Kind { name: "429", spoil: |seen, _| refuse(is_request(seen), BUSY) },
    Kind { name: "429 with Retry-After", spoil: |seen, _| refuse(is_request(seen), BUSY.after(3)) },
    Kind {
        name: "500 with and without Retry-After",
        spoil: |seen, rng| refuse(is_request(seen), sometimes(BROKEN, rng)),
    },
    Kind {
        name: "503 with and without Retry-After",
        spoil: |seen, rng| refuse(is_request(seen), sometimes(AWAY, rng)),
    },
    Kind { name: "no answer", spoil: |seen, _| cut(is_request(seen), Reply::Lost) },
    Kind { name: "half an answer", spoil: |seen, _| cut(is_request(seen), Reply::Half) },
    Kind { name: "no answer for long", spoil: |seen, _| cut(is_request(seen), Reply::Silent) },
    Kind { name: "answers come late", spoil: |seen, rng| late(is_request(seen), 6.0 * rng.f64()) },
];

fn is_event(seen: &Seen) -> bool {
    seen.verb == EVENT
}

fn is_request(seen: &Seen) -> bool {
    !is_event(seen)
}

fn late(meets: bool, seconds: f64) -> Option<Spoilt> {
    meets.then(|| Spoilt { delay: Duration::from_secs_f64(seconds), ..Spoilt::default() })
}

fn cut(meets: bool, reply: Reply) -> Option<Spoilt> {
    meets.then(|| Spoilt { reply, ..Spoilt::default() })
}

fn refuse(meets: bool, refusal: Refusal) -> Option<Spoilt> {
    meets.then(|| Spoilt { refusal: Some(refusal), ..Spoilt::default() })
}

fn old(meets: bool, rng: &mut Rng) -> Option<Spoilt> {
    meets.then(|| Spoilt { behind: rng.u64(1..=OLD), ..Spoilt::default() })
}

fn sometimes(refusal: Refusal, rng: &mut Rng) -> Refusal {
    if rng.bool() { refusal.after(1) } else { refusal }
}
