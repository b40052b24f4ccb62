//! How fast, and with how many calls at once, one account may ask its cloud.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::text::RETRY_AFTER_MAX;

/// Calls in flight of one account.
const IN_FLIGHT_MAX: usize = 32;
/// The same while its calls time out: more of them would only wait longer, and take the other accounts' room.
const IN_FLIGHT_TIMING_OUT: usize = 4;
const PAUSE_MAX: Duration = Duration::from_secs(60);
const SHARE_MIN: f64 = 1.0 / 8.0;
/// What one accepted call gives back of the configured rate: 28 calls bring it from an eighth to the whole.
const SHARE_STEP: f64 = 1.0 / 32.0;
/// Sums of fractions of a token end a little below the whole one.
const ROUNDING: f64 = 1e-6;

/// The request budget of one account: a token bucket, a pause after throttling, and a bound on calls in flight.
/// Turns are taken in the order of asking.
pub struct Budget {
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Tells the one that has the turn that there may be a reason to go on. It alone waits on it.
    changed: Notify,
    /// Calls in flight of all accounts of the process.
    process: Arc<Semaphore>,
}

struct State {
    rate: f64,
    burst: f64,
    /// How much of the rate is used: halved by throttling, given back by accepted calls.
    share: f64,
    tokens: f64,
    filled_at: Instant,
    paused_until: Option<Instant>,
    throttles: u32,
    /// Counts the pauses: answers to calls from before the last one say nothing new.
    epoch: u64,
    in_flight: usize,
    timing_out: bool,
}

enum Next {
    Now,
    At(Instant),
    AfterAChange,
}

impl Budget {
    /// Requests per second and burst, both at least 1; `process` bounds the calls in flight over all accounts.
    pub fn new(requests_per_second: u32, burst: u32, process: Arc<Semaphore>) -> Self {
        let burst = f64::from(burst.max(1));
        let state = State {
            rate: f64::from(requests_per_second.max(1)),
            burst,
            share: 1.0,
            tokens: burst,
            filled_at: Instant::now(),
            paused_until: None,
            throttles: 0,
            epoch: 0,
            in_flight: 0,
            timing_out: false,
        };
        Self {
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
            changed: Notify::new(),
            process,
        }
    }

    /// Applies another rate and burst at once, also to those who wait. Pause and share stay.
    pub fn reconfigure(&self, requests_per_second: u32, burst: u32) {
        let mut state = self.state();
        state.fill(Instant::now());
        state.rate = f64::from(requests_per_second.max(1));
        state.burst = f64::from(burst.max(1));
        state.tokens = state.tokens.min(state.burst);
        drop(state);
        self.changed.notify_one();
    }

    /// Until when the cloud's throttling holds every call of the account back.
    pub fn paused_until(&self) -> Option<Instant> {
        self.state().paused_until.filter(|until| *until > Instant::now())
    }

    /// Waits for the right to send one request. The permit is held until its answer is there.
    pub async fn acquire(&self) -> Permit<'_> {
        let _turn = self.turn.lock().await;
        loop {
            let next = self.state().next(Instant::now());
            match next {
                Next::Now => {
                    // Only now, so that an account that waits takes no room of the others. Nobody closes the semaphore.
                    let process = self.process.clone().acquire_owned().await.ok();
                    if let Some(epoch) = self.state().take(Instant::now()) {
                        return Permit { budget: self, epoch, _process: process };
                    }
                }
                Next::At(instant) => tokio::select! {
                    () = sleep_until(instant) => {}
                    () = self.changed.notified() => {}
                },
                Next::AfterAChange => self.changed.notified().await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self, now: Instant) -> Next {
        let limit = if self.timing_out { IN_FLIGHT_TIMING_OUT } else { IN_FLIGHT_MAX };
        if self.in_flight >= limit {
            return Next::AfterAChange;
        }
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Next::At(until);
        }
        self.fill(now);
        if self.tokens >= 1.0 - ROUNDING {
            Next::Now
        } else {
            Next::At(now + Duration::from_secs_f64((1.0 - self.tokens) / (self.rate * self.share)))
        }
    }

    fn take(&mut self, now: Instant) -> Option<u64> {
        if !matches!(self.next(now), Next::Now) {
            return None;
        }
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.in_flight += 1;
        Some(self.epoch)
    }

    /// `filled_at` lies in the future during a pause, in which nothing is filled.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate * self.share).min(self.burst);
        self.filled_at = self.filled_at.max(now);
    }

    fn throttled(&mut self, epoch: u64, retry_after: Option<Duration>, now: Instant) {
        self.timing_out = false;
        let asked = retry_after.filter(|d| !d.is_zero()).map(|d| d.min(RETRY_AFTER_MAX));
        let news = epoch == self.epoch;
        if news {
            self.epoch += 1;
            self.throttles = self.throttles.saturating_add(1);
            self.share = (self.share / 2.0).max(SHARE_MIN);
        } else if asked.is_none() {
            return;
        }
        let until = now + asked.unwrap_or_else(|| backoff(self.throttles));
        let until = self.paused_until.map_or(until, |before| before.max(until));
        self.paused_until = Some(until);
        // One call goes first when the pause ends, and the others follow at the lower rate.
        self.tokens = 1.0;
        self.filled_at = until;
    }

    fn accepted(&mut self, epoch: u64) {
        self.timing_out = false;
        if epoch == self.epoch {
            self.throttles = 0;
            self.share = (self.share + SHARE_STEP).min(1.0);
        }
    }
}

/// 1 to 2 s after the first throttled answer in a row, doubling up to 30 to 60 s.
fn backoff(throttles: u32) -> Duration {
    let most =
        Duration::from_secs(2).saturating_mul(1 << (throttles.saturating_sub(1)).min(5)).min(PAUSE_MAX);
    most.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The right to one request in flight. What its answer was is told by one of the methods; dropped without, as when
/// the caller gave up or there was no connection, it only ends the flight.
pub struct Permit<'a> {
    budget: &'a Budget,
    epoch: u64,
    _process: Option<OwnedSemaphorePermit>,
}

impl Permit<'_> {
    /// The cloud worked on the request, whatever it then said.
    pub fn accepted(self) {
        self.budget.state().accepted(self.epoch);
    }

    /// An answer came in time, but tells nothing of the rate: the cloud is unavailable.
    pub fn answered(self) {
        self.budget.state().timing_out = false;
    }

    /// The cloud said that requests come too fast, and how long to wait, if it did.
    pub fn throttled(self, retry_after: Option<Duration>) {
        self.budget.state().throttled(self.epoch, retry_after, Instant::now());
    }

    /// No answer came in time.
    pub fn timed_out(self) {
        self.budget.state().timing_out = true;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.budget.state().in_flight -= 1;
        self.budget.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::time::advance;

    fn budget(rps: u32, burst: u32) -> Arc<Budget> {
        Arc::new(Budget::new(rps, burst, Arc::new(Semaphore::new(256))))
    }

    async fn seconds_for(budget: &Budget, calls: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..calls {
            budget.acquire().await.accepted();
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
        budget.acquire().await.accepted();
        let (other, start) = (budget.clone(), Instant::now());
        let waiting = tokio::spawn(async move { other.acquire().await.accepted() });
        advance(Duration::from_millis(100)).await;
        budget.reconfigure(100, 10);
        waiting.await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_pauses_the_whole_account() {
        let budget = budget(10, 5);
        budget.acquire().await.throttled(Some(Duration::from_secs(42)));
        let until = budget.paused_until().unwrap();
        assert_eq!(until - Instant::now(), Duration::from_secs(42));
        assert!(seconds_for(&budget, 1).await >= 42.0);
        assert_eq!(budget.paused_until(), None);
        budget.acquire().await.throttled(Some(Duration::from_secs(3600)));
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
            budget.acquire().await.throttled(None);
            let pause = (budget.paused_until().unwrap() - Instant::now()).as_secs_f64();
            assert!((most / 2.0..=most).contains(&pause), "{pause} of {most}");
        }
        budget.acquire().await.accepted();
        budget.acquire().await.throttled(Some(Duration::ZERO));
        let pause = (budget.paused_until().unwrap() - Instant::now()).as_secs_f64();
        assert!((1.0..=2.0).contains(&pause), "an accepted call starts anew, and zero is no wait: {pause}");
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_rate_and_accepted_calls_give_it_back() {
        let budget = budget(8, 1);
        for _ in 0..6 {
            budget.acquire().await.throttled(Some(Duration::from_secs(1)));
        }
        advance(Duration::from_secs(1)).await;
        budget.acquire().await.accepted();
        let slow = seconds_for(&budget, 1).await;
        assert!((0.6..=1.0).contains(&slow), "an eighth of 8 a second and a little: {slow}");
        seconds_for(&budget, 28).await;
        let recovered = seconds_for(&budget, 16).await;
        assert!(close(recovered, 2.0), "{recovered}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_throttled_together_count_once() {
        let budget = budget(100, 8);
        let permits: Vec<_> = futures::future::join_all((0..8).map(|_| budget.acquire())).await;
        for permit in permits {
            permit.throttled(None);
        }
        let pause = (budget.paused_until().unwrap() - Instant::now()).as_secs_f64();
        assert!((1.0..=2.0).contains(&pause), "{pause}");
        assert_eq!(budget.state().share, 0.5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_the_pause_lifts_nothing_and_may_prolong_it() {
        let budget = budget(100, 8);
        let (first, second, third) = (budget.acquire().await, budget.acquire().await, budget.acquire().await);
        first.throttled(Some(Duration::from_secs(10)));
        second.accepted();
        assert_eq!(budget.state().share, 0.5);
        third.throttled(Some(Duration::from_secs(20)));
        assert_eq!(budget.paused_until().unwrap() - Instant::now(), Duration::from_secs(20));
        assert_eq!(budget.state().share, 0.5);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_in_flight_are_bounded_and_fewer_while_they_time_out() {
        let budget = budget(10_000, 10_000);
        let mut held = Vec::new();
        while let Some(permit) = budget.acquire().now_or_never() {
            held.push(permit);
        }
        assert_eq!(held.len(), IN_FLIGHT_MAX);
        held.pop().unwrap().timed_out();
        held.truncate(IN_FLIGHT_TIMING_OUT);
        assert!(budget.acquire().now_or_never().is_none());
        held.pop();
        held.push(budget.acquire().now_or_never().unwrap());
        held.pop().unwrap().answered();
        while let Some(permit) = budget.acquire().now_or_never() {
            held.push(permit);
        }
        assert_eq!(held.len(), IN_FLIGHT_MAX, "an answer in time lifts the lower bound");
    }

    #[tokio::test(start_paused = true)]
    async fn the_process_bound_holds_over_accounts_and_a_paused_one_takes_no_room() {
        let process = Arc::new(Semaphore::new(1));
        let [one, two] = [(); 2].map(|()| Arc::new(Budget::new(100, 10, process.clone())));
        one.acquire().await.throttled(Some(Duration::from_secs(60)));
        let waiting = tokio::spawn({
            let one = one.clone();
            async move { one.acquire().await.accepted() }
        });
        tokio::task::yield_now().await;
        let held = two.acquire().now_or_never().expect("the paused account must not hold the one place");
        assert!(two.acquire().now_or_never().is_none());
        drop(held);
        assert!(two.acquire().now_or_never().is_some());
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_costs_nothing() {
        let budget = budget(1, 1);
        drop(budget.acquire().await);
        for _ in 0..10 {
            let gave_up = tokio::time::timeout(Duration::from_millis(10), budget.acquire()).await.is_err();
            assert!(gave_up);
        }
        assert!(seconds_for(&budget, 1).await < 1.0);
    }
}
