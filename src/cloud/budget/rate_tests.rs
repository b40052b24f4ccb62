//! Upper bound on the requests to an account's cloud, use of the rate, and its distribution over callers.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use super::tests::{budget, most_at_once};
use super::*;
use crate::cloud::Priority;
use fastrand::Rng;
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Runs the test in virtual time.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

fn polling(namespace: &str, resource: impl ToString) -> CallContext {
    CallContext::new(namespace, &resource.to_string()).with_priority(Priority::Poll)
}

fn changing(namespace: &str, resource: impl ToString) -> CallContext {
    CallContext::new(namespace, &resource.to_string())
}

/// Grant times of the calls that were sent.
type Sent = Arc<Mutex<Vec<Instant>>>;

/// Makes calls without end, so that permits end in every possible way.
async fn calls(budget: Arc<Budget>, call_context: CallContext, mut random: Rng, throttled: bool, sent: Sent) {
    loop {
        let way = random.u8(0..20);
        let (permit, at) = if way < 5 {
            let (sender, granted) = oneshot::channel();
            let _ticket =
                budget.when_granted(&call_context, move |permit| drop(sender.send((permit, Instant::now()))));
            let (permit, at) = granted.await.unwrap();
            sleep(Duration::from_millis(random.u64(0..3))).await;
            // Two of five permits are held and never used.
            if way < 2 {
                continue;
            }
            let holder = call_context.clone().with_permit(permit);
            let before = Instant::now();
            let permit = budget.acquire(&holder).await;
            // During a pause the call waited for another permit.
            (permit, if before == Instant::now() { at } else { Instant::now() })
        } else {
            let patience = Duration::from_millis(random.u64(0..2000));
            let Ok(permit) = timeout(patience, budget.acquire(&call_context)).await else { continue };
            (permit, Instant::now())
        };
        match way {
            5..8 => {
                permit.give_back();
                continue;
            }
            8 => {
                sleep(Duration::from_millis(2)).await;
                permit.give_back();
                continue;
            }
            _ => sent.lock().unwrap().push(at),
        }
        sleep(Duration::from_millis(random.u64(0..30))).await;
        match way {
            9 => drop(permit),
            10 => permit.answered(),
            11 if throttled && random.u8(0..10) == 0 => {
                let seconds = random.u64(0..3);
                permit.throttled((seconds > 0).then(|| Duration::from_secs(seconds)));
            }
            _ => permit.accepted(),
        }
    }
}

/// Returns the grant times of the permits with which a request was sent, by three namespaces with changes and polls.
async fn sent_in(rps: u32, burst: u32, seed: u64, throttled: bool, seconds: u64) -> Vec<Instant> {
    let (budget, sent, mut tasks) = (budget(rps, burst), Sent::default(), JoinSet::new());
    for number in 0..48 {
        let (namespace, resource) = (format!("n{}", number % 3), number / 6);
        let call_context =
            if number % 2 == 0 { polling(&namespace, resource) } else { changing(&namespace, resource) };
        let random = Rng::with_seed(seed.wrapping_add(number));
        tasks.spawn(calls(budget.clone(), call_context, random, throttled, sent.clone()));
    }
    sleep(Duration::from_secs(seconds)).await;
    drop(tasks);
    let sent = sent.lock().unwrap();
    sent.clone()
}

/// Returns the share of each caller in this many permits, while all of them wait all the time.
async fn shares(rps: u32, callers: Vec<CallContext>, permits: u32) -> BTreeMap<String, f64> {
    let (budget, counts, mut tasks) = (budget(rps, 1), Arc::new(Mutex::new(BTreeMap::new())), JoinSet::new());
    // More callers than may be in flight.
    for call_context in callers.iter().flat_map(|call_context| [call_context; 8]) {
        let (budget, counts, call_context) = (budget.clone(), counts.clone(), call_context.clone());
        tasks.spawn(async move {
            loop {
                let permit = budget.acquire(&call_context).await;
                let who = format!("{:?} {}", call_context.priority(), call_context.namespace());
                *counts.lock().unwrap().entry(who).or_insert(0.0) += 1.0 / f64::from(permits);
                sleep(Duration::from_millis(20)).await;
                permit.accepted();
            }
        });
    }
    sleep(Duration::from_secs(1) * permits / rps).await;
    let counts = counts.lock().unwrap();
    counts.clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_window_has_more_than_rate_and_burst_allow(
        rps in 1..200u32,
        burst in 1..50u32,
        seed: u64,
        throttled: bool,
    ) {
        let sent = run(sent_in(rps, burst, seed, throttled, 10));
        let most = most_at_once(sent, rps);
        prop_assert!(most <= f64::from(burst) + 0.01, "{most} at once");
    }

    /// The burst is the default one of an account.
    #[test]
    fn what_waits_has_the_whole_rate(rps in 1..100u32, seed: u64) {
        let seconds = 20;
        let sent = run(sent_in(rps, (rps / 4).max(1), seed, false, seconds));
        let used = sent.len() as f64 / (f64::from(rps) * seconds as f64);
        prop_assert!(used >= 0.95, "{used}");
    }

    #[test]
    fn namespaces_with_changes_and_polling_share_the_rate(
        rps in 5..50u32,
        k in prop::sample::select(vec![1u32, 2, 5]),
        resources in 1..4u32,
        own_polls: bool,
    ) {
        let changes = (0..k).flat_map(|n| (0..resources).map(move |r| changing(&format!("n{n}"), r)));
        let polls = [polling(if own_polls { "n0" } else { "p" }, "polled")];
        let shares = run(shares(rps, changes.chain(polls).collect(), 600));
        let slow = 1.0 / f64::from(if k == 1 && own_polls { 5 } else { (k + 1).min(5) });
        for (who, share) in shares {
            let due = if who.starts_with("Poll") { slow } else { (1.0 - slow) / f64::from(k) };
            prop_assert!((share - due).abs() < 0.05 * due + 0.01, "{who}: {share} of {due}");
        }
    }

    /// Whichever callers have endless calls, changes or polls, those that wait in the other queue get their share.
    #[test]
    fn nobody_starves(rps in 5..50u32, others in 1..6usize, waiting in 1..60u32, polls: bool) {
        let took = run(async {
            let (budget, mut tasks) = (budget(rps, 1), JoinSet::new());
            for number in 0..others * 16 {
                let (budget, namespace) = (budget.clone(), format!("n{}", number % others));
                let call_context = if polls { changing(&namespace, number) } else { polling(&namespace, number) };
                tasks.spawn(async move {
                    loop {
                        budget.acquire(&call_context).await.accepted();
                        sleep(Duration::from_millis(20)).await;
                    }
                });
            }
            sleep(Duration::from_secs(5)).await;
            let (start, mut served) = (Instant::now(), JoinSet::new());
            for number in 0..waiting {
                let budget = budget.clone();
                let call_context = if polls { polling("n0", number) } else { changing("n0", number) };
                served.spawn(async move { budget.acquire(&call_context).await.accepted() });
            }
            served.join_all().await;
            start.elapsed()
        });
        let every = if polls { 5 } else { 2 };
        let most = Duration::from_secs(1) * (waiting + 1) * every / rps * 21 / 20;
        prop_assert!(took <= most, "{took:?} of {most:?}");
    }

    #[test]
    fn a_poll_that_becomes_a_change_goes_before_the_polls(
        rps in 5..50u32,
        polls in 1..2000u32,
        others in 0..6u32,
    ) {
        let took = run(async {
            let (budget, mut tasks) = (budget(rps, 1), JoinSet::new());
            let mut places: Vec<_> =
                (0..polls).map(|n| budget.when_granted(&polling("a", n), Permit::accepted)).collect();
            for number in 0..others * 8 {
                let (budget, call_context) = (budget.clone(), changing(&format!("n{}", number % 8), number));
                tasks.spawn(async move { loop { budget.acquire(&call_context).await.accepted() } });
            }
            sleep(Duration::from_millis(100)).await;
            drop(places.pop());
            let start = Instant::now();
            budget.acquire(&changing("a", polls)).await.accepted();
            start.elapsed()
        });
        // The permits of the other namespaces, the change's own, and the share of the polls.
        let most = Duration::from_secs(1) * (2 * (others.min(1) * 8 + 2)) / rps * 21 / 20;
        prop_assert!(took <= most, "{took:?} of {most:?}");
    }
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// Changes take 15 of 20 requests a second, while all resources of a large namespace wait to be polled.
#[tokio::test(start_paused = true)]
async fn changes_take_effect_within_two_seconds_while_ten_thousand_polls_wait() {
    const CALL: Duration = Duration::from_millis(20);
    const SECONDS: u32 = 200;
    let (budget, polled) = (budget(20, 5), Arc::new(Mutex::new(0_u32)));
    let _places: Vec<_> = (0..10_000)
        .map(|number| {
            let polled = polled.clone();
            budget.when_granted(&polling("team", number), move |permit| {
                *polled.lock().unwrap() += 1;
                tokio::spawn(async move {
                    sleep(CALL).await;
                    permit.accepted();
                });
            })
        })
        .collect();
    let (start, mut changes, mut random) = (Instant::now(), JoinSet::new(), Rng::with_seed(1));
    for number in 0..SECONDS * 5 {
        let comes = start + Duration::from_millis(u64::from(number) * 200 + random.u64(0..200));
        let budget = budget.clone();
        changes.spawn(async move {
            sleep_until(comes).await;
            let mut ended = Vec::new();
            for priority in [Priority::Change, Priority::InProgress, Priority::InProgress] {
                let permit = budget.acquire(&changing("team", 20_000 + number).with_priority(priority)).await;
                sleep(CALL).await;
                permit.accepted();
                ended.push(comes.elapsed());
            }
            ended
        });
    }
    let ended = changes.join_all().await;
    let seconds = start.elapsed().as_secs_f64();
    let polls = f64::from(*polled.lock().unwrap()) / seconds;
    let used = (polls + ended.len() as f64 * 3.0 / seconds) / 20.0;
    let second = p99(ended.iter().map(|calls| calls[1]).collect());
    let all = p99(ended.iter().map(|calls| calls[2]).collect());
    assert!(second < Duration::from_secs(1) && all < Duration::from_secs(2), "{second:?}, {all:?}");
    assert!(polls >= 3.0 && used >= 0.95, "{polls} polls a second, {used} of the rate");
}
