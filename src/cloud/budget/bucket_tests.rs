use super::*;
use crate::cloud::budget::tests::most_at_once;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Take(usize),
    /// Index of the call in flight that ends, and whether it was sent.
    Land(prop::sample::Index, bool),
    Throttle(prop::sample::Index, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..500u64).prop_map(Step::Pass),
        8 => (1..10usize).prop_map(Step::Take),
        8 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, sent)| Step::Land(which, sent)),
        1 => (any::<prop::sample::Index>(), 1..4u64).prop_map(|(which, wait)| Step::Throttle(which, wait)),
    ]
}

proptest! {
    #[test]
    fn however_late_calls_are_given_back_no_window_has_more_than_rate_and_burst(
        rate in 1..30u32,
        burst in 1..10u32,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut now = Instant::now();
        let (mut bucket, mut flying, mut sent) = (Bucket::new(rate, burst, now), Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Pass(milliseconds) => now += Duration::from_millis(milliseconds),
                Step::Take(most) => {
                    flying.extend((0..most).map_while(|_| bucket.take(now)).map(|flight| (flight, now)));
                }
                Step::Land(..) | Step::Throttle(..) if flying.is_empty() => {}
                Step::Land(which, was_sent) => {
                    let (flight, at) = flying.swap_remove(which.index(flying.len()));
                    bucket.release(flight, !was_sent, now);
                    sent.extend(was_sent.then_some(at));
                }
                Step::Throttle(which, seconds) => {
                    let (flight, at) = flying.swap_remove(which.index(flying.len()));
                    bucket.throttled(flight.pause_epoch, Some(Duration::from_secs(seconds)), now);
                    bucket.release(flight, false, now);
                    sent.push(at);
                }
            }
        }
        sent.extend(flying.into_iter().map(|(_, at)| at));
        let most = most_at_once(sent, rate);
        prop_assert!(most <= f64::from(burst) + 0.001, "{most} at once");
    }
}
