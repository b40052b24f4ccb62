//! Permits without a task that waits for them, permits that are held, and the state after the driver has ended.

use std::sync::Weak;
use std::time::Duration;

use super::tests::{budget, settle};
use super::*;
use crate::cloud::Priority;
use futures::FutureExt;
use tokio::time::{advance, sleep};

/// Permits in the order of their grant, each with its number.
type Granted = Arc<Mutex<Vec<(usize, Permit)>>>;

/// Queues a waiter with this number.
fn enqueue(budget: &Arc<Budget>, granted: &Granted, call_context: &CallContext, number: usize) -> Waiter {
    let granted = granted.clone();
    budget.when_granted(call_context, move |permit| granted.lock().unwrap().push((number, permit)))
}

fn numbers(granted: &Granted) -> Vec<usize> {
    granted.lock().unwrap().iter().map(|(number, _)| *number).collect()
}

/// Returns a budget whose only token is taken.
async fn empty(rps: u32) -> Arc<Budget> {
    let budget = budget(rps, 1);
    budget.acquire(&CallContext::default()).await.accepted();
    budget
}

#[tokio::test(start_paused = true)]
async fn who_has_no_task_is_called_at_its_turn_unless_it_left() {
    let (budget, granted, call_context) = (empty(10).await, Granted::default(), CallContext::new("a", "a1"));
    let mut tickets: Vec<_> = (0..4).map(|n| enqueue(&budget, &granted, &call_context, n)).collect();
    sleep(Duration::from_millis(150)).await;
    assert_eq!(numbers(&granted), [0]);
    drop(tickets.drain(..2));
    assert_eq!(numbers(&granted), [0], "leaving after the turn has no effect");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(numbers(&granted), [0, 2, 3], "who left has no turn");
    assert_eq!(budget.bucket().in_flight, 3);
    granted.lock().unwrap().clear();
    assert_eq!(budget.bucket().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_costs_nothing_until_a_call_is_made_with_it() {
    let (budget, granted, call_context) = (budget(1, 2), Granted::default(), CallContext::new("a", "a1"));
    for number in 0..20 {
        let _ticket = enqueue(&budget, &granted, &call_context, number);
        settle().await;
        assert_eq!(numbers(&granted).len(), 1);
        granted.lock().unwrap().clear();
        drop(budget.try_acquire(&call_context).unwrap());
        drop(call_context.clone().with_permit(budget.try_acquire(&call_context).unwrap()));
        budget.acquire(&call_context).await.give_back();
    }
    budget.try_acquire(&call_context).unwrap().accepted();
    drop(budget.acquire(&call_context).now_or_never().unwrap());
    assert!(budget.try_acquire(&call_context).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_late_adds_nothing_to_a_full_bucket() {
    let (budget, call_context) = (budget(10, 5), CallContext::default());
    let mut held: Vec<_> = (0..5).map(|_| budget.try_acquire(&call_context).unwrap()).collect();
    advance(Duration::from_millis(200)).await;
    held.truncate(3);
    let at_once = |held: &mut Vec<Permit>| {
        let before = held.len();
        while let Some(permit) = budget.try_acquire(&call_context) {
            held.push(permit);
        }
        held.len() - before
    };
    let mut more = Vec::new();
    assert_eq!(at_once(&mut more), 4, "two that came, and two that were given back");
    advance(Duration::from_millis(500)).await;
    let mut last = Vec::new();
    assert_eq!(at_once(&mut last), 5);
    drop((held, more));
    assert_eq!(at_once(&mut last), 0, "the bucket was full while they were held");
    drop(last);
    assert_eq!(at_once(&mut Vec::new()), 5);
}

#[tokio::test(start_paused = true)]
async fn one_is_there_at_once_only_where_nobody_waits_and_every_bound_allows_it() {
    let call_context = CallContext::default();
    let paused = budget(10, 10);
    paused.acquire(&call_context).await.throttled(None);
    let full = Arc::new(Budget::new(10, 10, Arc::new(Semaphore::new(0))));
    let timing_out = budget(10, 10);
    timing_out.acquire(&call_context).await.timed_out();
    let _held: Vec<_> = (0..4).map(|_| timing_out.try_acquire(&call_context).unwrap()).collect();
    for budget in [paused, full, timing_out] {
        assert!(budget.try_acquire(&call_context).is_none());
    }
    let waited_for = budget(10, 10);
    let _ticket = waited_for.when_granted(&call_context, drop);
    assert!(waited_for.try_acquire(&call_context).is_none(), "it came before");
    settle().await;
    assert!(waited_for.try_acquire(&call_context).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_held_permit_is_for_one_call_of_the_caller_or_its_clones() {
    let (budget, call_context) = (budget(1, 1), CallContext::new("a", "a1"));
    let holder = call_context.clone().with_permit(budget.acquire(&call_context).await);
    let clone = holder.clone().with_priority(Priority::InProgress);
    assert!(budget.acquire(&call_context).now_or_never().is_none());
    let used = at_once(&budget, &clone).expect("the held one, whoever waits");
    assert!(at_once(&budget, &holder).is_none());
    used.accepted();
    drop((holder, clone));
    assert!(budget.acquire(&call_context).now_or_never().is_none(), "it was used, and comes back no more");
    advance(Duration::from_secs(1)).await;
    let holder = call_context.clone().with_permit(budget.try_acquire(&call_context).unwrap());
    let clone = holder.clone();
    drop(holder);
    assert_eq!(budget.bucket().in_flight, 1);
    drop(clone);
    assert_eq!(budget.bucket().in_flight, 0);
    assert!(budget.try_acquire(&call_context).is_some());
}

fn at_once(budget: &Arc<Budget>, call_context: &CallContext) -> Option<Permit> {
    budget.acquire(call_context).now_or_never()
}

#[tokio::test(start_paused = true)]
async fn a_held_permit_does_not_pass_a_pause_nor_go_to_another_account() {
    let [one, other] = [(); 2].map(|()| budget(10, 2));
    let call_context = CallContext::default();
    let holder = call_context.clone().with_permit(one.try_acquire(&call_context).unwrap());
    one.acquire(&call_context).await.throttled(Some(Duration::from_secs(10)));
    let start = Instant::now();
    one.acquire(&holder).await.accepted();
    assert_eq!(start.elapsed().as_secs(), 10);

    let holder = call_context.clone().with_permit(one.acquire(&call_context).await);
    assert_eq!(one.bucket().in_flight, 1);
    other.acquire(&holder).await.accepted();
    assert_eq!((one.bucket().in_flight, other.bucket().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_keeps_an_account_for_which_nobody_waits() {
    let call_context = CallContext::default();
    let gone = async |budget: Arc<Budget>| {
        let weak: Weak<_> = Arc::downgrade(&budget);
        let ticket = budget.when_granted(&call_context, drop);
        settle().await;
        drop(budget);
        let waited_for = weak.upgrade().is_some();
        drop(ticket);
        settle().await;
        waited_for && weak.upgrade().is_none()
    };
    let start = Instant::now();
    assert!(gone(empty(1).await).await, "waiting for a token");
    let paused = budget(1, 1);
    paused.acquire(&call_context).await.throttled(Some(Duration::from_secs(300)));
    assert!(gone(paused).await, "in a pause");
    let process = Arc::new(Semaphore::new(1));
    let room = process.clone().acquire_owned().await.unwrap();
    assert!(gone(Arc::new(Budget::new(10, 1, process.clone()))).await, "without room in the process");
    drop(room);
    assert_eq!((process.available_permits(), start.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_is_called_may_take_another_place_and_leave_others() {
    let (budget, call_context, granted) = (empty(10).await, CallContext::default(), Granted::default());
    let leaves = enqueue(&budget, &granted, &call_context.clone().with_priority(Priority::Poll), 1);
    let (again, calls, waits) = (budget.clone(), granted.clone(), call_context.clone());
    let _ticket = budget.when_granted(&call_context, move |permit| {
        drop(permit);
        drop(leaves);
        std::mem::forget(enqueue(&again, &calls, &waits, 2));
    });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(numbers(&granted), [2]);
}

#[test]
fn a_ticket_is_small() {
    assert_eq!(size_of::<Waiter>(), 56);
}
