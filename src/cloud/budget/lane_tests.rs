//! Permits without a task that waits for them, permits that are held, and the state after the driver has ended.

use std::sync::Weak;
use std::time::Duration;

use super::tests::{budget, settle};
use super::*;
use crate::cloud::Lane;
use futures::FutureExt;
use tokio::time::{advance, sleep};

/// Permits in the order of their grant, each with its number.
type Granted = Arc<Mutex<Vec<(usize, Permit)>>>;

/// Queues a waiter with this number.
fn place(budget: &Arc<Budget>, granted: &Granted, caller: &Caller, number: usize) -> Ticket {
    let granted = granted.clone();
    budget.when_granted(caller, move |permit| granted.lock().unwrap().push((number, permit)))
}

fn numbers(granted: &Granted) -> Vec<usize> {
    granted.lock().unwrap().iter().map(|(number, _)| *number).collect()
}

/// Returns a budget whose only token is taken.
async fn empty(rps: u32) -> Arc<Budget> {
    let budget = budget(rps, 1);
    budget.acquire(&Caller::default()).await.accepted();
    budget
}

#[tokio::test(start_paused = true)]
async fn who_has_no_task_is_called_at_its_turn_unless_it_left() {
    let (budget, granted, caller) = (empty(10).await, Granted::default(), Caller::new("a", "a1"));
    let mut tickets: Vec<_> = (0..4).map(|n| place(&budget, &granted, &caller, n)).collect();
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
    let (budget, granted, caller) = (budget(1, 2), Granted::default(), Caller::new("a", "a1"));
    for number in 0..20 {
        let _ticket = place(&budget, &granted, &caller, number);
        settle().await;
        assert_eq!(numbers(&granted).len(), 1);
        granted.lock().unwrap().clear();
        drop(budget.try_acquire(&caller).unwrap());
        drop(caller.clone().holding(budget.try_acquire(&caller).unwrap()));
        budget.acquire(&caller).await.give_back();
    }
    budget.try_acquire(&caller).unwrap().accepted();
    drop(budget.acquire(&caller).now_or_never().unwrap());
    assert!(budget.try_acquire(&caller).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_late_adds_nothing_to_a_full_bucket() {
    let (budget, caller) = (budget(10, 5), Caller::default());
    let mut held: Vec<_> = (0..5).map(|_| budget.try_acquire(&caller).unwrap()).collect();
    advance(Duration::from_millis(200)).await;
    held.truncate(3);
    let at_once = |held: &mut Vec<Permit>| {
        let before = held.len();
        while let Some(permit) = budget.try_acquire(&caller) {
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
    let caller = Caller::default();
    let paused = budget(10, 10);
    paused.acquire(&caller).await.throttled(None);
    let full = Arc::new(Budget::new(10, 10, Arc::new(Semaphore::new(0))));
    let timing_out = budget(10, 10);
    timing_out.acquire(&caller).await.timed_out();
    let _held: Vec<_> = (0..4).map(|_| timing_out.try_acquire(&caller).unwrap()).collect();
    for budget in [paused, full, timing_out] {
        assert!(budget.try_acquire(&caller).is_none());
    }
    let waited_for = budget(10, 10);
    let _ticket = waited_for.when_granted(&caller, drop);
    assert!(waited_for.try_acquire(&caller).is_none(), "it came before");
    settle().await;
    assert!(waited_for.try_acquire(&caller).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_held_permit_is_for_one_call_of_the_caller_or_its_clones() {
    let (budget, caller) = (budget(1, 1), Caller::new("a", "a1"));
    let holder = caller.clone().holding(budget.acquire(&caller).await);
    let clone = holder.clone().in_lane(Lane::Begun);
    assert!(budget.acquire(&caller).now_or_never().is_none());
    let used = at_once(&budget, &clone).expect("the held one, whoever waits");
    assert!(at_once(&budget, &holder).is_none());
    used.accepted();
    drop((holder, clone));
    assert!(budget.acquire(&caller).now_or_never().is_none(), "it was used, and comes back no more");
    advance(Duration::from_secs(1)).await;
    let holder = caller.clone().holding(budget.try_acquire(&caller).unwrap());
    let clone = holder.clone();
    drop(holder);
    assert_eq!(budget.bucket().in_flight, 1);
    drop(clone);
    assert_eq!(budget.bucket().in_flight, 0);
    assert!(budget.try_acquire(&caller).is_some());
}

fn at_once(budget: &Arc<Budget>, caller: &Caller) -> Option<Permit> {
    budget.acquire(caller).now_or_never()
}

#[tokio::test(start_paused = true)]
async fn a_held_permit_does_not_pass_a_pause_nor_go_to_another_account() {
    let [one, other] = [(); 2].map(|()| budget(10, 2));
    let caller = Caller::default();
    let holder = caller.clone().holding(one.try_acquire(&caller).unwrap());
    one.acquire(&caller).await.throttled(Some(Duration::from_secs(10)));
    let start = Instant::now();
    one.acquire(&holder).await.accepted();
    assert_eq!(start.elapsed().as_secs(), 10);

    let holder = caller.clone().holding(one.acquire(&caller).await);
    assert_eq!(one.bucket().in_flight, 1);
    other.acquire(&holder).await.accepted();
    assert_eq!((one.bucket().in_flight, other.bucket().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_keeps_an_account_for_which_nobody_waits() {
    let caller = Caller::default();
    let gone = async |budget: Arc<Budget>| {
        let weak: Weak<_> = Arc::downgrade(&budget);
        let ticket = budget.when_granted(&caller, drop);
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
    paused.acquire(&caller).await.throttled(Some(Duration::from_secs(300)));
    assert!(gone(paused).await, "in a pause");
    let process = Arc::new(Semaphore::new(1));
    let room = process.clone().acquire_owned().await.unwrap();
    assert!(gone(Arc::new(Budget::new(10, 1, process.clone()))).await, "without room in the process");
    drop(room);
    assert_eq!((process.available_permits(), start.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_is_called_may_take_another_place_and_leave_others() {
    let (budget, caller, granted) = (empty(10).await, Caller::default(), Granted::default());
    let leaves = place(&budget, &granted, &caller.clone().in_lane(Lane::Poll), 1);
    let (again, calls, waits) = (budget.clone(), granted.clone(), caller.clone());
    let _ticket = budget.when_granted(&caller, move |permit| {
        drop(permit);
        drop(leaves);
        std::mem::forget(place(&again, &calls, &waits, 2));
    });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(numbers(&granted), [2]);
}

#[test]
fn a_ticket_is_small() {
    assert_eq!(size_of::<Ticket>(), 56);
}
