//! Faults of the API server.

use std::time::Duration;

use fastrand::Rng;

use crate::harness::api_server::{Delivery, EVENT, InjectedFault, RecordedRequest, Refusal};

pub struct ApiFault {
    pub name: &'static str,
    /// Returns the fault of a request or a watch event.
    pub inject: fn(&RecordedRequest, &mut Rng) -> Option<InjectedFault>,
}

/// Upper bound on the versions by which a list is stale.
const MAX_STALE_VERSIONS: u64 = 12;
const EXPIRED: Refusal = Refusal::new(410, "Expired");
const CONFLICT: Refusal = Refusal::new(409, "Conflict");
const TOO_MANY_REQUESTS: Refusal = Refusal::new(429, "TooManyRequests");
const INTERNAL_ERROR: Refusal = Refusal::new(500, "InternalError");
const SERVICE_UNAVAILABLE: Refusal = Refusal::new(503, "ServiceUnavailable");

pub const API_FAULTS: [ApiFault; 18] = [
    ApiFault { name: "events come a little late", inject: |seen, _| late(is_event(seen), 0.7) },
    ApiFault { name: "events come late", inject: |seen, _| late(is_event(seen), 20.0) },
    ApiFault { name: "a watch ends early", inject: |seen, _| cut(is_event(seen), Delivery::Lost) },
    ApiFault {
        name: "a watch is cut in the midst of a line",
        inject: |seen, _| cut(is_event(seen), Delivery::Half),
    },
    ApiFault { name: "a watch falls silent", inject: |seen, _| cut(is_event(seen), Delivery::Silent) },
    ApiFault { name: "410 in a watch", inject: |seen, _| refuse(is_event(seen), EXPIRED) },
    ApiFault { name: "410 for a watch", inject: |seen, _| refuse(seen.verb == "watch", EXPIRED) },
    ApiFault { name: "410 for a further page", inject: |seen, _| refuse(seen.continues, EXPIRED) },
    ApiFault { name: "a list is old", inject: |seen, rng| old(seen.verb == "list" && !seen.continues, rng) },
    ApiFault { name: "409 for a write", inject: |seen, _| refuse(seen.verb == "patch", CONFLICT) },
    ApiFault { name: "429", inject: |seen, _| refuse(is_request(seen), TOO_MANY_REQUESTS) },
    ApiFault {
        name: "429 with Retry-After",
        inject: |seen, _| refuse(is_request(seen), TOO_MANY_REQUESTS.after(3)),
    },
    ApiFault {
        name: "500 with and without Retry-After",
        inject: |seen, rng| refuse(is_request(seen), sometimes(INTERNAL_ERROR, rng)),
    },
    ApiFault {
        name: "503 with and without Retry-After",
        inject: |seen, rng| refuse(is_request(seen), sometimes(SERVICE_UNAVAILABLE, rng)),
    },
    ApiFault { name: "no answer", inject: |seen, _| cut(is_request(seen), Delivery::Lost) },
    ApiFault { name: "half an answer", inject: |seen, _| cut(is_request(seen), Delivery::Half) },
    ApiFault { name: "no answer for long", inject: |seen, _| cut(is_request(seen), Delivery::Silent) },
    ApiFault { name: "answers come late", inject: |seen, rng| late(is_request(seen), 6.0 * rng.f64()) },
];

fn is_event(seen: &RecordedRequest) -> bool {
    seen.verb == EVENT
}

fn is_request(seen: &RecordedRequest) -> bool {
    !is_event(seen)
}

fn late(meets: bool, seconds: f64) -> Option<InjectedFault> {
    meets.then(|| InjectedFault { delay: Duration::from_secs_f64(seconds), ..InjectedFault::default() })
}

fn cut(meets: bool, reply: Delivery) -> Option<InjectedFault> {
    meets.then(|| InjectedFault { reply, ..InjectedFault::default() })
}

fn refuse(meets: bool, refusal: Refusal) -> Option<InjectedFault> {
    meets.then(|| InjectedFault { refusal: Some(refusal), ..InjectedFault::default() })
}

fn old(meets: bool, rng: &mut Rng) -> Option<InjectedFault> {
    meets.then(|| InjectedFault { behind: rng.u64(1..=MAX_STALE_VERSIONS), ..InjectedFault::default() })
}

fn sometimes(refusal: Refusal, rng: &mut Rng) -> Refusal {
    if rng.bool() { refusal.after(1) } else { refusal }
}
