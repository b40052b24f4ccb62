use super::*;
use crate::cloud::fake::{FakeCloud, error, ok, raw};
use crate::cloud::{Client, InstancePage};
use crate::domain::Kind;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use testbed::capture::capture;
use tokio::time::{Instant, sleep};

/// A refusal that no cloud sends.
fn refusal() -> Failure {
    Failure::new(Kind::EndpointNotAllowed, "", "not allowed any more")
}

/// Returns a context that allows this number of tries, and the count of its checks.
fn limited(tries: usize) -> (CallContext, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let check = move || {
        let before = count.fetch_add(1, Ordering::Relaxed);
        if before < tries { Ok(()) } else { Err(refusal()) }
    };
    (CallContext::new("payments", "uid-1").with_check(Arc::new(check)), asked)
}

async fn page(client: &Client) -> Result<InstancePage, Failure> {
    client.instances_page("cn-beijing", 1, 1).await
}

fn volcengine() -> FakeCloud {
    FakeCloud::new(|_, _| ok(json!({"TotalInstancesNum": 0, "Instances": []})))
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_sent_nor_logged_and_costs_nothing_of_the_rate() {
    let tencent = FakeCloud::tencent(|_, _| {
        raw(200, json!({"Response": {"TotalCount": 0, "InstanceSet": [], "RequestId": "r"}}).to_string())
    });
    let lines = capture();
    let logged = || lines.text().matches("cloud call").count();
    for (before, fake, action) in
        [(0, volcengine(), "DescribeDBInstances"), (1, tencent, "DescribeInstances")]
    {
        fake.budget.reconfigure(1, 1);
        let start = Instant::now();
        let (call_context, asked) = limited(0);
        let client = fake.client.with_context(call_context);
        // More calls than fit in flight.
        for _ in 0..100 {
            assert_eq!(page(&client).await, Err(Failure { action, ..refusal() }));
        }
        assert_eq!((asked.load(Ordering::Relaxed), fake.seen().len()), (100, 0));
        assert_eq!(logged(), before, "{}", lines.text());
        page(&fake.client).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(logged(), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_check_is_made_when_the_wait_for_the_budget_is_over() {
    let fake = volcengine();
    fake.budget.acquire(&CallContext::default()).await.throttled(Some(Duration::from_secs(60)));
    let (call_context, asked) = limited(0);
    let client = fake.client.with_context(call_context);
    let waiting = tokio::spawn(async move { page(&client).await });
    sleep(Duration::from_secs(59)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(waiting.await.unwrap().unwrap_err().code, refusal().code);
    assert!(fake.seen().is_empty());
}

/// A cloud that rejects the first try because the request's time is wrong by an hour, and accepts the later ones.
fn an_hour_ahead() -> FakeCloud {
    FakeCloud::new(|n, _| {
        if n > 0 {
            return ok(json!({"TotalInstancesNum": 0, "Instances": []}));
        }
        let mut answer = error(400, "InvalidTimestamp", "");
        answer.headers_mut().insert("date", "Fri, 22 Aug 2025 04:14:15 GMT".parse().unwrap());
        answer
    })
}

#[tokio::test(start_paused = true)]
async fn each_try_is_checked() {
    let fake = an_hour_ahead();
    let (call_context, asked) = limited(1);
    assert_eq!(page(&fake.client.with_context(call_context)).await.unwrap_err().code, refusal().code);
    assert_eq!((asked.load(Ordering::Relaxed), fake.seen().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn clients_of_all_callers_share_what_is_known_of_the_clouds_clock() {
    let fake = an_hour_ahead();
    page(&fake.client.with_context(CallContext::new("payments", "uid-1"))).await.unwrap();
    page(&fake.client.with_context(CallContext::new("orders", "uid-2"))).await.unwrap();
    let times: Vec<_> = fake.seen().iter().map(|seen| seen.header("x-date").to_owned()).collect();
    assert_eq!(times, ["20250822T031415Z", "20250822T041415Z", "20250822T041415Z"]);
}

#[tokio::test(start_paused = true)]
async fn calls_wait_as_those_of_their_caller() {
    let fake = volcengine();
    fake.budget.reconfigure(10, 1);
    page(&fake.client).await.unwrap();
    let many = fake.client.with_context(CallContext::new("payments", "uid-1"));
    for _ in 0..100 {
        let many = many.clone();
        tokio::spawn(async move { page(&many).await });
    }
    tokio::task::yield_now().await;
    let start = Instant::now();
    page(&fake.client.with_context(CallContext::new("orders", "uid-2"))).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(250), "the second turn: {:?}", start.elapsed());
}
