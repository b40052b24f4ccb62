//! Faults, limits and counters, against the router.

use std::time::Duration;

use cloud_simulator::{Effect, FaultSpec, Malformed, RateLimit, Simulator, ThrottleStyle};
use serde_json::{Value, json};

use crate::client::{
    Ask, BACKUPS, DESCRIBE, ID, KEY, MODIFY, Told, ask, backup, cloud, describe, enable, pass, raw,
};

fn place(simulator: &Simulator, fault: FaultSpec) -> u64 {
    simulator.place_fault(fault).unwrap()
}

fn error(code: &str) -> Effect {
    Effect::Error { status: 500, code: code.into(), message: "as told".into(), code_n: Some(100_014) }
}

fn request(simulator: &Simulator) -> Ask {
    Ask::new(simulator, DESCRIBE, json!({ "InstanceId": ID }))
}

/// Sends `count` requests, and returns whether each failed.
async fn failures(simulator: &Simulator, count: usize) -> Vec<bool> {
    let mut failed = Vec::new();
    for _ in 0..count {
        failed.push(request(simulator).send(simulator).await.json.get("Result").is_none());
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn a_fault_meets_what_it_is_aimed_at() {
    let simulator = cloud();
    for elsewhere in [
        FaultSpec::new(error("A")).on_action(MODIFY),
        FaultSpec::new(error("B")).on_instance("redis-other"),
        FaultSpec::new(error("C")).on_key("AKLTOther"),
    ] {
        place(&simulator, elsewhere);
    }
    assert_eq!(failures(&simulator, 1).await, [false]);
    let here = FaultSpec::new(error("D")).on_action(DESCRIBE).on_instance(ID).on_key(KEY);
    let id = place(&simulator, here);
    let told = request(&simulator).send(&simulator).await;
    assert_eq!(told.error(), (500, "D"));
    assert_eq!(told.message(), "as told");
    assert_eq!(told.json["ResponseMetadata"]["Error"]["CodeN"], 100_014);
    simulator.remove_fault(id).unwrap();
    assert!(simulator.remove_fault(id).is_err());
    assert_eq!(failures(&simulator, 1).await, [false]);
}

#[tokio::test(start_paused = true)]
async fn faults_can_be_counted_and_put_off() {
    let simulator = cloud();
    let id = place(&simulator, FaultSpec::new(error("A")).times(2).after(1));
    assert_eq!(failures(&simulator, 5).await, [false, true, true, false, false]);
    let state = simulator.faults().into_iter().find(|fault| fault.id == id).unwrap();
    assert_eq!((state.matched, state.fired), (5, 2));
    simulator.clear_faults();
    assert!(simulator.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn chance_repeats_itself() {
    let mut seen = Vec::new();
    for seed in [7, 7, 8] {
        let simulator = cloud();
        place(&simulator, FaultSpec::new(error("A")).with_probability(0.5, seed));
        seen.push(failures(&simulator, 64).await);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
    let failed = seen[0].iter().filter(|failed| **failed).count();
    assert!((16..48).contains(&failed), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn throttling_has_several_faces() {
    let simulator = cloud();
    for (style, retry_after, status, code) in [
        (ThrottleStyle::Flow429, None, 429, "FlowLimitExceeded"),
        (ThrottleStyle::Flow429, Some("7"), 429, "FlowLimitExceeded"),
        (ThrottleStyle::Account400, None, 400, "AccountFlowLimitExceeded"),
        (ThrottleStyle::Account200, None, 200, "AccountFlowLimitExceeded"),
    ] {
        let effect = Effect::Throttle { style, retry_after: retry_after.map(str::to_owned) };
        place(&simulator, FaultSpec::new(effect).times(1));
        let told = request(&simulator).send(&simulator).await;
        assert_eq!(told.error(), (status, code));
        assert_eq!(told.headers.get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
    }
    assert_eq!(failures(&simulator, 1).await, [false]);
}

#[tokio::test(start_paused = true)]
async fn an_unbelieved_request_is_not_throttled() {
    let simulator = cloud();
    let throttle = Effect::Throttle { style: ThrottleStyle::Flow429, retry_after: None };
    place(&simulator, FaultSpec::new(throttle));
    let mut wrong = request(&simulator);
    wrong.secret = "wrong".into();
    assert_eq!(wrong.send(&simulator).await.error(), (401, "SignatureDoesNotMatch"));
    assert_eq!(simulator.faults()[0].fired, 0);
}

#[tokio::test(start_paused = true)]
async fn an_account_has_a_rate_limit() {
    let simulator = cloud();
    let limit = RateLimit {
        per_second: 2.0,
        burst: Some(3.0),
        style: ThrottleStyle::Account400,
        retry_after: Some("1".into()),
    };
    simulator.set_rate_limit(2_100_000_000, Some(limit));
    assert_eq!(failures(&simulator, 5).await, [false, false, false, true, true]);
    pass(0.5).await;
    assert_eq!(failures(&simulator, 2).await, [false, true]);
    let told = request(&simulator).send(&simulator).await;
    assert_eq!(told.error(), (400, "AccountFlowLimitExceeded"));
    assert_eq!(told.headers["retry-after"], "1");
    simulator.set_rate_limit(2_100_000_000, None);
    assert_eq!(failures(&simulator, 2).await, [false, false]);
}

#[tokio::test(start_paused = true)]
async fn time_can_be_lost() {
    let simulator = cloud();
    place(&simulator, FaultSpec::new(Effect::Delay { seconds: 3.0 }).times(1));
    let before = simulator.now();
    describe(&simulator).await;
    assert_eq!(simulator.now().duration_since(before).as_secs(), 3);

    place(&simulator, FaultSpec::new(Effect::Hang { after_effect: false }).times(1));
    let hung = request(&simulator);
    let wait = tokio::time::timeout(Duration::from_secs(3600), hung.send(&simulator));
    assert!(wait.await.is_err());
    assert_eq!(simulator.counters().in_flight, 0);

    place(&simulator, FaultSpec::new(Effect::Hang { after_effect: true }).on_action(MODIFY));
    let wait = tokio::time::timeout(Duration::from_secs(60), enable(&simulator, "cn-shanghai", "one"));
    assert!(wait.await.is_err());
    assert_eq!(describe(&simulator).await["Active"], true);

    place(&simulator, FaultSpec::new(Effect::SlowBody { seconds: 20.0, pieces: 10 }).times(1));
    let before = simulator.now();
    describe(&simulator).await;
    assert_eq!(simulator.now().duration_since(before).as_secs(), 20);
}

async fn breaks(simulator: &Simulator, ask: Ask) -> bool {
    let response = raw(simulator, ask.request()).await;
    axum::body::to_bytes(response.into_body(), usize::MAX).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_cut() {
    let simulator = cloud();
    for effect in [Effect::Reset, Effect::LostResponse, Effect::Truncated] {
        place(&simulator, FaultSpec::new(effect.clone()).times(1));
        assert!(breaks(&simulator, request(&simulator)).await, "{effect:?}");
    }
    let body = json!({ "InstanceId": ID, "Active": true, "CrossBackupRegion": "cn-shanghai" });
    place(&simulator, FaultSpec::new(Effect::Reset).times(1));
    assert!(breaks(&simulator, Ask::new(&simulator, MODIFY, body.clone())).await);
    assert_eq!(describe(&simulator).await["Active"], false);
    place(&simulator, FaultSpec::new(Effect::LostResponse).times(1));
    assert!(breaks(&simulator, Ask::new(&simulator, MODIFY, body)).await);
    assert_eq!(describe(&simulator).await["Active"], true);
}

#[tokio::test(start_paused = true)]
async fn a_body_can_be_anything() {
    let simulator = cloud();
    for (shape, status, start) in [
        (Malformed::Html, 502, "<html>"),
        (Malformed::NotJson, 200, "{\"ResponseMetadata\""),
        (Malformed::WrongShape, 200, "[1"),
        (Malformed::Empty, 504, ""),
    ] {
        place(&simulator, FaultSpec::new(Effect::Malformed { shape, status }).times(1));
        let told = request(&simulator).send(&simulator).await;
        assert_eq!(told.status, status);
        assert!(told.text.starts_with(start) && told.json.get("Result").is_none(), "{}", told.text);
    }
    let effect = Effect::Malformed { shape: Malformed::WrongTypes, status: 200 };
    place(&simulator, FaultSpec::new(effect).times(1));
    assert_eq!(describe(&simulator).await["Active"], "yes");

    place(&simulator, FaultSpec::new(Effect::Oversized { bytes: 3 << 20 }).times(1));
    let told = request(&simulator).send(&simulator).await;
    assert_eq!(told.json["Padding"].as_str().unwrap().len(), 3 << 20);
    assert_eq!(told.result()["InstanceId"], ID);
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_speak_of_another_instance() {
    let simulator = cloud();
    simulator.put_backup(backup("b-1", 50.0)).unwrap();
    place(&simulator, FaultSpec::new(Effect::WrongInstance { instance_id: "redis-other".into() }));
    assert_eq!(describe(&simulator).await["InstanceId"], "redis-other");
    let told = ask(&simulator, BACKUPS, json!({ "InstanceId": ID })).await;
    let item = &told.result()["Backups"][0];
    assert_eq!(
        (&item["InstanceId"], &item["InstanceInfo"]["InstanceId"]),
        (&json!("redis-other"), &json!("redis-other"))
    );
    let refused = ask(&simulator, DESCRIBE, json!({ "InstanceId": "redis-nowhere" })).await;
    assert_eq!(refused.error(), (400, "InstanceNotExist"));
}

#[tokio::test(start_paused = true)]
async fn a_client_can_be_sent_elsewhere() {
    let simulator = cloud();
    let location = "http://127.0.0.1:9/elsewhere";
    place(&simulator, FaultSpec::new(Effect::Redirect { location: location.into(), status: 302 }));
    let told = Told::read(raw(&simulator, request(&simulator).request()).await).await;
    assert_eq!((told.status.as_u16(), told.headers["location"].to_str().unwrap()), (302, location));
}

#[tokio::test(start_paused = true)]
async fn the_servers_clock_can_be_wrong() {
    let simulator = cloud();
    place(&simulator, FaultSpec::new(Effect::ClockSkew { seconds: -1200.0 }).times(1));
    let told = request(&simulator).send(&simulator).await;
    assert_eq!(told.error(), (400, "InvalidTimestamp"));
    assert_eq!(told.headers["date"], "Fri, 02 Jan 2026 02:44:05 GMT");
    assert_eq!(failures(&simulator, 1).await, [false]);
}

#[tokio::test(start_paused = true)]
async fn impossible_faults_are_refused() {
    let simulator = cloud();
    let seconds = f64::INFINITY;
    for fault in [
        FaultSpec::new(Effect::Delay { seconds }),
        FaultSpec::new(Effect::Delay { seconds: -1.0 }),
        FaultSpec::new(Effect::ClockSkew { seconds }),
        FaultSpec::new(Effect::Malformed { shape: Malformed::Html, status: 99 }),
        FaultSpec::new(Effect::Redirect { location: "a\nb".into(), status: 302 }),
        FaultSpec::new(Effect::Redirect { location: "/".into(), status: 200 }),
        FaultSpec::new(Effect::Reset).with_probability(1.5, 0),
    ] {
        assert!(simulator.place_fault(fault.clone()).is_err(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_is_remembered() {
    let simulator = cloud();
    enable(&simulator, "cn-shanghai", "one").await;
    enable(&simulator, "cn-shanghai", "one").await;
    let mut wrong = request(&simulator);
    wrong.secret = "wrong".into();
    wrong.send(&simulator).await;
    place(&simulator, FaultSpec::new(Effect::Reset).times(1));
    drop(raw(&simulator, request(&simulator).request()).await);

    let counters = simulator.counters();
    assert_eq!(counters.requests, 4);
    assert_eq!((counters.by_action[MODIFY], counters.by_action[DESCRIBE]), (2, 2));
    assert_eq!((counters.by_instance[ID], counters.by_key[KEY]), (4, 4));
    assert_eq!(counters.by_outcome["ok"], 2);
    assert_eq!(counters.by_outcome["SignatureDoesNotMatch"], 1);
    assert_eq!(counters.by_action_and_outcome[&format!("{DESCRIBE}/reset")], 1);
    assert_eq!(counters.modifies_applied_by_instance[ID], 1);
    assert_eq!((counters.in_flight, counters.max_in_flight), (0, 1));

    let requests = simulator.requests();
    let first = &requests[0];
    assert_eq!(first.body["Active"], Value::Bool(true));
    assert_eq!(first.client_token.as_deref(), Some("one"));
    assert_eq!(first.x_date.as_deref(), Some("20260102T030405Z"));
    assert_eq!(first.signature.as_ref().map(String::len), Some(64));
    assert_eq!((first.authentic, first.outcome.as_deref()), (Some(true), Some("ok")));
    assert_eq!((requests[2].authentic, requests[3].authentic), (Some(false), None));

    simulator.reset_counters();
    assert_eq!((simulator.counters().requests, simulator.requests().len()), (0, 0));
    simulator.reset();
    let told = request(&simulator).send(&simulator).await;
    assert_eq!(told.error(), (401, "InvalidAccessKey"));
}

#[tokio::test(start_paused = true)]
async fn who_listens_is_told_of_every_request() {
    let simulator = cloud();
    request(&simulator).send(&simulator).await;
    let mut requests = simulator.listen();
    request(&simulator).send(&simulator).await;
    simulator.reset_counters();
    enable(&simulator, "cn-shanghai", "one").await;
    for action in [DESCRIBE, MODIFY] {
        let told = requests.try_recv().unwrap();
        assert_eq!((told.action.as_deref(), told.instance_id.as_deref()), (Some(action), Some(ID)));
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_all_measure_is_refused() {
    let simulator = cloud();
    let mut large = request(&simulator);
    large.body = " ".repeat(2 << 20);
    assert_eq!(large.send(&simulator).await.error(), (400, "ParamError"));
}
