use super::bucket::{IN_FLIGHT_MAX, IN_FLIGHT_TIMING_OUT};
use std::time::Duration;

use super::*;
use futures::FutureExt;
use tokio::time::advance;

pub fn budget(rps: u32, burst: u32) -> Arc<Budget> {
    Arc::new(Budget::new(rps, burst, Arc::new(Semaphore::new(256))))
}

/// Lets the driver do what it can do now.
pub async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// Returns the maximum number of calls in any window beyond those that its length allows at this rate: at most the
/// burst.
pub fn most_at_once(mut sent: Vec<Instant>, rps: u32) -> f64 {
    sent.sort();
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for (number, at) in sent.iter().enumerate() {
        let beyond = number as f64 - (*at - sent[0]).as_secs_f64() * f64::from(rps);
        least = least.min(beyond);
        most = most.max(beyond - least + 1.0);
    }
    most
}

async fn seconds_for(budget: &Arc<Budget>, calls: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        budget.acquire(&CallContext::default()).await.accepted();
    }
    start.elapsed().as_secs_f64()
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 0.02 * expected + 0.03
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_at_once_and_then_the_rate_holds() {
    let budget = budget(10, 3);
    assert!(seconds_for(&budget, 3).await < 0.001);
    let taken = seconds_for(&budget, 50).await;
    assert!(close(taken, 5.0), "{taken}");
    advance(Duration::from_secs(3600)).await;
    assert!(seconds_for(&budget, 3).await < 0.001);
    assert!(seconds_for(&budget, 1).await > 0.09, "an idle hour saves up no more than the burst");
}

#[tokio::test(start_paused = true)]
async fn another_rate_holds_at_once_for_those_who_wait() {
    let budget = budget(1, 1);
    budget.acquire(&CallContext::default()).await.accepted();
    let (other, start) = (budget.clone(), Instant::now());
    let waiting = tokio::spawn(async move { other.acquire(&CallContext::default()).await.accepted() });
    advance(Duration::from_millis(100)).await;
    budget.reconfigure(100, 10);
    waiting.await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn retry_after_pauses_the_whole_account() {
    let budget = budget(10, 5);
    budget.acquire(&CallContext::default()).await.throttled(Some(Duration::from_secs(42)));
    let until = budget.paused_until().unwrap();
    assert_eq!(until - Instant::now(), Duration::from_secs(42));
    assert!(seconds_for(&budget, 1).await >= 42.0);
    assert_eq!(budget.paused_until(), None);
    budget.acquire(&CallContext::default()).await.throttled(Some(Duration::from_secs(3600)));
    assert_eq!(
        budget.paused_until().unwrap() - Instant::now(),
        Duration::from_secs(300),
        "at most 5 minutes"
    );
}

#[tokio::test(start_paused = true)]
async fn without_retry_after_the_pause_doubles_up_to_a_minute() {
    let budget = budget(10, 5);
    for most in [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0] {
        budget.acquire(&CallContext::default()).await.throttled(None);
        let pause = (budget.paused_until().unwrap() - Instant::now()).as_secs_f64();
        assert!((most / 2.0..=most).contains(&pause), "{pause} of {most}");
    }
    budget.acquire(&CallContext::default()).await.accepted();
    budget.acquire(&CallContext::default()).await.throttled(Some(Duration::ZERO));
    let pause = (budget.paused_until().unwrap() - Instant::now()).as_secs_f64();
    assert!((1.0..=2.0).contains(&pause), "an accepted call starts anew, and zero is no wait: {pause}");
}

#[tokio::test(start_paused = true)]
async fn throttling_halves_the_rate_and_accepted_calls_give_it_back() {
    let budget = budget(8, 1);
    for _ in 0..6 {
        budget.acquire(&CallContext::default()).await.throttled(Some(Duration::from_secs(1)));
    }
    advance(Duration::from_secs(1)).await;
    budget.acquire(&CallContext::default()).await.accepted();
    let slow = seconds_for(&budget, 1).await;
    assert!((0.6..=1.0).contains(&slow), "an eighth of 8 a second and a little: {slow}");
    seconds_for(&budget, 28).await;
    let recovered = seconds_for(&budget, 16).await;
    assert!(close(recovered, 2.0), "{recovered}");
}

#[tokio::test(start_paused = true)]
async fn calls_throttled_together_count_once() {
    let budget = budget(100, 8);
    let call_context = CallContext::default();
    let permits: Vec<_> = futures::future::join_all((0..8).map(|_| budget.acquire(&call_context))).await;
    for permit in permits {
        permit.throttled(None);
    }
    let pause = (budget.paused_until().unwrap() - Instant::now()).as_secs_f64();
    assert!((1.0..=2.0).contains(&pause), "{pause}");
    assert_eq!(budget.bucket().share, 0.5);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_pause_lifts_nothing_and_may_prolong_it() {
    let budget = budget(100, 8);
    let (first, second, third) = (
        budget.acquire(&CallContext::default()).await,
        budget.acquire(&CallContext::default()).await,
        budget.acquire(&CallContext::default()).await,
    );
    first.throttled(Some(Duration::from_secs(10)));
    second.accepted();
    assert_eq!(budget.bucket().share, 0.5);
    third.throttled(Some(Duration::from_secs(20)));
    assert_eq!(budget.paused_until().unwrap() - Instant::now(), Duration::from_secs(20));
    assert_eq!(budget.bucket().share, 0.5);
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_bounded_and_fewer_while_they_time_out() {
    let budget = budget(10_000, 10_000);
    let mut held = Vec::new();
    while let Some(permit) = budget.acquire(&CallContext::default()).now_or_never() {
        held.push(permit);
    }
    assert_eq!(held.len(), IN_FLIGHT_MAX);
    held.pop().unwrap().timed_out();
    held.truncate(IN_FLIGHT_TIMING_OUT);
    assert!(budget.acquire(&CallContext::default()).now_or_never().is_none());
    held.pop();
    held.push(budget.acquire(&CallContext::default()).now_or_never().unwrap());
    held.pop().unwrap().answered();
    while let Some(permit) = budget.acquire(&CallContext::default()).now_or_never() {
        held.push(permit);
    }
    assert_eq!(held.len(), IN_FLIGHT_MAX, "an answer in time lifts the lower bound");
}

#[tokio::test(start_paused = true)]
async fn the_process_bound_holds_over_accounts_and_a_paused_one_takes_no_room() {
    let process = Arc::new(Semaphore::new(1));
    let [one, two] = [(); 2].map(|()| Arc::new(Budget::new(100, 10, process.clone())));
    one.acquire(&CallContext::default()).await.throttled(Some(Duration::from_secs(60)));
    let waiting = tokio::spawn({
        let one = one.clone();
        async move { one.acquire(&CallContext::default()).await.accepted() }
    });
    tokio::task::yield_now().await;
    let held = two
        .acquire(&CallContext::default())
        .now_or_never()
        .expect("the paused account must not hold the one place");
    assert!(two.acquire(&CallContext::default()).now_or_never().is_none());
    drop(held);
    assert!(two.acquire(&CallContext::default()).now_or_never().is_some());
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_costs_nothing() {
    let budget = budget(1, 1);
    drop(budget.acquire(&CallContext::default()).await);
    for _ in 0..10 {
        let gave_up =
            tokio::time::timeout(Duration::from_millis(10), budget.acquire(&CallContext::default()))
                .await
                .is_err();
        assert!(gave_up);
    }
    assert!(seconds_for(&budget, 1).await < 1.0);
}
