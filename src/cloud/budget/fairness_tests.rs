//! Order in which waiting calls are served, the cost of giving up, and the amount of work.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::tests::settle;
use super::*;
use futures::FutureExt;
use futures::future::join_all;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{advance, timeout};

/// Returns a budget whose first token is taken: the next comes a whole interval later.
fn budget(rps: u32) -> Arc<Budget> {
    let budget = Arc::new(Budget::new(rps, 1, Arc::new(Semaphore::new(256))));
    drop(budget.acquire(&CallContext::default()).now_or_never().unwrap());
    budget
}

/// Waiting calls, and the order in which they were served.
struct Calls {
    budget: Arc<Budget>,
    served: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<()>,
}

impl Calls {
    fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), served: Arc::default(), tasks: JoinSet::new() }
    }

    /// Lets this many calls of a resource start to wait.
    async fn wait(&mut self, namespace: &str, resource: &str, calls: usize) {
        let call_context = CallContext::new(namespace, &format!("{namespace}{resource}"));
        for number in 0..calls {
            let (budget, served, call_context) =
                (self.budget.clone(), self.served.clone(), call_context.clone());
            self.tasks.spawn(async move {
                budget.acquire(&call_context).await.accepted();
                served.lock().unwrap().push(format!("{} {number}", call_context.resource()));
            });
        }
        yield_now().await;
    }

    async fn all(self) -> Vec<String> {
        self.tasks.join_all().await;
        self.served.lock().unwrap().clone()
    }
}

/// Returns the resources that were served, without the calls' numbers.
fn who(served: &[String]) -> Vec<&str> {
    served.iter().map(|call| call.split(' ').next().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_namespaces_single_call_waits_for_one_turn_whatever_waits_in_another() {
    let budget = budget(10);
    let mut calls = Calls::of(&budget);
    calls.wait("a", "1", 500).await;
    calls.wait("b", "1", 1).await;
    // Between two permits.
    sleep_until(Instant::now() + Duration::from_millis(10_050)).await;
    let before = calls.served.lock().unwrap().len();
    calls.wait("c", "1", 1).await;
    let served = calls.all().await;
    assert_eq!(who(&served)[..4], ["a1", "b1", "a1", "a1"]);
    let c = who(&served).iter().position(|who| *who == "c1").unwrap();
    assert!((90..=110).contains(&before) && c <= before + 1, "{c} after {before}");
}

#[tokio::test(start_paused = true)]
async fn resources_of_a_namespace_alternate_and_calls_of_one_keep_their_order() {
    let budget = budget(10);
    let mut calls = Calls::of(&budget);
    calls.wait("a", "1", 4).await;
    calls.wait("a", "2", 1).await;
    calls.wait("a", "3", 2).await;
    calls.wait("b", "1", 3).await;
    let served = calls.all().await;
    let expected = ["a1 0", "b1 0", "a2 0", "b1 1", "a3 0", "b1 2", "a1 1", "a3 1", "a1 2", "a1 3"];
    assert_eq!(served, expected);
}

#[tokio::test(start_paused = true)]
async fn over_any_run_namespaces_get_the_same_and_so_do_resources_of_one() {
    let budget = budget(1000);
    let mut calls = Calls::of(&budget);
    for (namespace, resource, count) in
        [("a", "1", 150), ("a", "2", 100), ("a", "3", 60), ("b", "1", 150), ("c", "1", 75), ("c", "2", 75)]
    {
        calls.wait(namespace, resource, count).await;
    }
    let served = calls.all().await;
    let mut counts = BTreeMap::<&str, i32>::new();
    // During these, each namespace has waiting calls, and so does each resource of a.
    for who in &who(&served)[..450] {
        for part in [&who[..1], who] {
            *counts.entry(part).or_default() += 1;
        }
        let apart = |names: [&str; 3]| {
            let counts = names.map(|name| counts.get(name).copied().unwrap_or(0));
            counts.into_iter().max().unwrap() - counts.into_iter().min().unwrap()
        };
        assert!(apart(["a", "b", "c"]) <= 1, "{counts:?}");
        assert!(apart(["a1", "a2", "a3"]) <= 1 || counts["a3"] == 60, "{counts:?}");
    }
    assert_eq!(counts["a"], 150);
}

#[tokio::test(start_paused = true)]
async fn who_has_one_call_after_the_other_gets_as_much_as_who_has_all_at_once() {
    let budget = budget(100);
    let mut calls = Calls::of(&budget);
    calls.wait("a", "1", 1000).await;
    let (start, call_context) = (Instant::now(), CallContext::new("b", "b1"));
    for _ in 0..100 {
        budget.acquire(&call_context).await.accepted();
    }
    let taken = start.elapsed().as_secs_f64();
    assert!((1.9..=2.1).contains(&taken), "half of 100 a second: {taken}");
}

#[tokio::test(start_paused = true)]
async fn a_permit_granted_to_who_is_gone_passes_on_and_costs_nothing() {
    let budget = budget(1);
    let (a, b) = (CallContext::new("a", "a1"), CallContext::new("b", "b1"));
    let start = Instant::now();
    let mut first = Box::pin(budget.acquire(&a));
    let mut second = Box::pin(budget.acquire(&a));
    let mut gone = Box::pin(budget.acquire(&b));
    for waiting in [&mut first, &mut second, &mut gone] {
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    first.await.accepted();
    advance(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(budget.bucket().in_flight, 1, "granted to the other namespace, which never takes it");
    assert!(second.as_mut().now_or_never().is_none());
    drop(gone);
    assert_eq!(budget.bucket().in_flight, 0);
    settle().await;
    second.now_or_never().expect("the permit is there").accepted();
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pause_also_holds_who_was_granted_a_permit_and_has_not_taken_it() {
    let budget = Arc::new(Budget::new(1, 2, Arc::new(Semaphore::new(8))));
    let (a, b) = (CallContext::new("a", "a1"), CallContext::new("b", "b1"));
    let sent = budget.acquire(&a).await;
    drop(budget.acquire(&a).await);
    let start = Instant::now();
    let mut first = Box::pin(budget.acquire(&a));
    let mut second = Box::pin(budget.acquire(&a));
    let mut granted = Box::pin(budget.acquire(&b));
    for waiting in [&mut first, &mut second, &mut granted] {
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    first.await.accepted();
    advance(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(budget.bucket().in_flight, 2, "the first, and one that is granted");
    sent.throttled(Some(Duration::from_secs(10)));
    assert!(granted.as_mut().now_or_never().is_none());
    second.await.accepted();
    assert_eq!(start.elapsed().as_secs(), 12);
    granted.await.accepted();
    assert!(start.elapsed().as_secs() >= 13);
}

#[tokio::test(start_paused = true)]
async fn as_many_calls_follow_as_permits_are_given_back() {
    let budget = Arc::new(Budget::new(1, 8, Arc::new(Semaphore::new(8))));
    let call_context = CallContext::default();
    let permits: Vec<_> = join_all((0..8).map(|_| budget.acquire(&call_context))).await;
    permits.into_iter().take(3).for_each(Permit::give_back);
    for _ in 0..3 {
        budget.acquire(&call_context).now_or_never().unwrap().accepted();
    }
    assert!(budget.acquire(&call_context).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_permit_given_back_in_a_pause_adds_nothing_to_what_follows_it() {
    let budget = Arc::new(Budget::new(1, 8, Arc::new(Semaphore::new(8))));
    let call_context = CallContext::default();
    let (given_back, throttled) = (budget.acquire(&call_context).await, budget.acquire(&call_context).await);
    throttled.throttled(Some(Duration::from_secs(10)));
    given_back.give_back();
    let start = Instant::now();
    budget.acquire(&call_context).await.accepted();
    assert_eq!(start.elapsed().as_secs(), 10);
    budget.acquire(&call_context).await.accepted();
    assert!(start.elapsed() > Duration::from_secs(11), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_and_whenever_nothing_is_lost() {
    let budget = Arc::new(Budget::new(100, 5, Arc::new(Semaphore::new(8))));
    let (start, sent) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut storm = JoinSet::new();
    for number in 0..3000u64 {
        let (budget, sent) = (budget.clone(), sent.clone());
        let call_context = CallContext::new(&format!("n{}", number % 7), &format!("r{}", number % 31));
        // Half of the timeouts lie in the 10 s for which there are tokens, so that many end during a grant.
        let patience = Duration::from_millis(fastrand::u64(0..20_000));
        storm.spawn(timeout(patience, async move {
            let permit = budget.acquire(&call_context).await;
            sent.fetch_add(1, Ordering::Relaxed);
            sleep_until(Instant::now() + Duration::from_millis(fastrand::u64(0..30))).await;
            match fastrand::u8(0..4) {
                0 => drop(permit),
                1 => permit.answered(),
                _ => permit.accepted(),
            }
        }));
    }
    sleep_until(start + Duration::from_secs(5)).await;
    let within = sent.load(Ordering::Relaxed);
    assert!((495..=506).contains(&within), "every turn is somebody's while they wait: {within}");
    storm.join_all().await;
    assert_eq!(budget.bucket().in_flight, 0);
    assert_eq!(budget.process.available_permits(), 8);
    settle().await;
    assert!(budget.waiting().lanes.is_empty() && !budget.waiting().has_driver);
    advance(Duration::from_secs(1)).await;
    let (again, call_context) = (Instant::now(), CallContext::default());
    for _ in 0..5 {
        budget.acquire(&call_context).await.accepted();
    }
    assert_eq!(again.elapsed(), Duration::ZERO, "the whole burst is there");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_when_who_came_first_gives_up() {
    let budget = budget(1);
    let mut calls = Calls::of(&budget);
    let call_context = CallContext::new("a", "a1");
    let mut first = Box::pin(budget.acquire(&call_context));
    assert!(first.as_mut().now_or_never().is_none());
    calls.wait("b", "1", 2).await;
    let start = Instant::now();
    advance(Duration::from_millis(500)).await;
    drop(first);
    assert_eq!(calls.all().await, ["b1 0", "b1 1"]);
    assert_eq!(start.elapsed().as_secs(), 2);
}

/// Counts the polls of the future until it completes.
async fn polls<T>(counted: &AtomicUsize, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        counted.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(context)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_that_wait_wake_when_it_is_their_turn_and_hardly_otherwise() {
    for (in_flight, took) in [(256, Duration::ZERO), (4, Duration::from_millis(2))] {
        let budget = Arc::new(Budget::new(5000, 1, Arc::new(Semaphore::new(in_flight))));
        let counted = AtomicUsize::new(0);
        let callers: Vec<_> = (0..10_000)
            .map(|n| CallContext::new(&format!("n{}", n % 100), &format!("r{}", n % 1000)))
            .collect();
        join_all(callers.iter().map(async |call_context| {
            let permit = polls(&counted, budget.acquire(call_context)).await;
            sleep_until(Instant::now() + took).await;
            permit.accepted();
        }))
        .await;
        let each = counted.load(Ordering::Relaxed) as f64 / 10_000.0;
        assert!(each < 4.0, "{each} polls for each that waited");
    }
}
