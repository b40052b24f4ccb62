//! Faults, rate limits and the request log of the simulated Tencent API.

use std::time::Duration;

use cloud_simulator::{
    Effect, FaultSpec, KeySpec, Malformed, RateLimit, Settings, Simulator, TencentLimits, TencentSettings,
    ThrottleStyle,
};
use serde_json::{Value, json};

use crate::client::{pass, raw};
use crate::tencent_client::{
    Ask, BACKUPS, DETAIL, ID, INSTANCES, KEY, ask, backup, cloud, listed, of_instance,
};

fn place(simulator: &Simulator, effect: Effect) {
    simulator.place_fault(FaultSpec::new(effect).times(1)).unwrap();
}

fn limits(simulator: &Simulator, limits: TencentLimits) {
    let tencent = TencentSettings { limits, ..TencentSettings::default() };
    simulator.set_settings(Settings { tencent, ..Settings::default() });
}

/// Sends `count` requests at one moment, and returns how many pass the rate limit.
async fn let_through(simulator: &Simulator, action: &str, region: &str, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        let told = Ask::new(simulator, action, json!({})).with("x-tc-region", region).send(simulator).await;
        let error = told.json["Response"]["Error"]["Code"].as_str();
        passed += usize::from(error.is_none_or(|code| code == "MissingParameter"));
        assert!(
            error.is_none_or(|code| code != "RequestLimitExceeded")
                || told.headers.get("retry-after").is_none()
        );
    }
    passed
}

#[tokio::test(start_paused = true)]
async fn the_documented_limits_hold_by_themselves() {
    let simulator = cloud();
    simulator.set_settings(Settings::default());
    for (action, per_second) in [(BACKUPS, 50), (DETAIL, 20), (INSTANCES, 35)] {
        assert_eq!(let_through(&simulator, action, "ap-guangzhou", per_second + 5).await, per_second);
        // Each region has its own limit.
        assert_eq!(let_through(&simulator, action, "ap-beijing", per_second + 5).await, per_second);
    }
    let refused = ask(&simulator, DETAIL, json!({})).await;
    assert_eq!(refused.refusal(), "RequestLimitExceeded");
    assert_eq!(
        refused.reason(),
        "Your current request times equals to `21` in a second, which exceeds the frequency limit `20` for a \
         second. Please reduce the frequency of calls."
    );
    pass(0.5).await;
    assert_eq!(let_through(&simulator, DETAIL, "ap-guangzhou", 20).await, 10);
}

#[tokio::test(start_paused = true)]
async fn an_unbelieved_request_spends_no_limit() {
    let simulator = cloud();
    simulator.set_settings(Settings::default());
    let wrong = Ask { secret: "wrong".into(), ..Ask::new(&simulator, DETAIL, json!({})) };
    for _ in 0..30 {
        assert_eq!(wrong.send(&simulator).await.refusal(), "AuthFailure.SignatureFailure");
    }
    assert_eq!(let_through(&simulator, DETAIL, "ap-guangzhou", 25).await, 20);
}

#[tokio::test(start_paused = true)]
async fn the_limits_can_be_others_or_none() {
    let simulator = cloud();
    limits(&simulator, TencentLimits::Off);
    assert_eq!(let_through(&simulator, DETAIL, "ap-guangzhou", 60).await, 60);
    let per_second = [(BACKUPS.to_owned(), 3.try_into().unwrap())].into();
    limits(&simulator, TencentLimits::PerSecond(per_second));
    assert_eq!(let_through(&simulator, BACKUPS, "ap-guangzhou", 10).await, 3);
    assert_eq!(let_through(&simulator, DETAIL, "ap-guangzhou", 30).await, 20);
    // A changed limit starts with a full token bucket.
    limits(&simulator, TencentLimits::PerSecond([(BACKUPS.to_owned(), 7.try_into().unwrap())].into()));
    assert_eq!(let_through(&simulator, BACKUPS, "ap-guangzhou", 10).await, 7);
}

#[tokio::test(start_paused = true)]
async fn one_account_does_not_spend_the_limit_of_another() {
    let simulator = cloud();
    simulator.set_settings(Settings::default());
    assert_eq!(let_through(&simulator, INSTANCES, "ap-guangzhou", 40).await, 35);
    simulator.put_key(KeySpec { account_id: 7, ..KeySpec::new("AKIDother", "other") }).unwrap();
    let (key, secret) = ("AKIDother".to_owned(), "other".to_owned());
    let stranger = Ask { key, secret, ..Ask::new(&simulator, INSTANCES, json!({})) };
    stranger.send(&simulator).await.response();
}

#[tokio::test(start_paused = true)]
async fn an_account_has_a_rate_limit_of_its_own() {
    let simulator = cloud();
    for (style, code) in [
        (ThrottleStyle::Flow429, "RequestLimitExceeded.UinLimitExceeded"),
        (ThrottleStyle::UinLimit, "RequestLimitExceeded.UinLimitExceeded"),
        (ThrottleStyle::IpLimit, "RequestLimitExceeded.IPLimitExceeded"),
    ] {
        let limit = RateLimit { per_second: 1.0, burst: None, style, retry_after: None };
        simulator.set_rate_limit(2_100_000_000, Some(limit));
        listed(&simulator, of_instance()).await;
        assert_eq!(ask(&simulator, BACKUPS, of_instance()).await.refusal(), code);
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_has_several_faces() {
    let simulator = cloud();
    for (style, code) in [
        (ThrottleStyle::RequestLimit, "RequestLimitExceeded"),
        (ThrottleStyle::UinLimit, "RequestLimitExceeded.UinLimitExceeded"),
        (ThrottleStyle::IpLimit, "RequestLimitExceeded.IPLimitExceeded"),
        (ThrottleStyle::GlobalRegionUinLimit, "RequestLimitExceeded.GlobalRegionUinLimitExceeded"),
        (ThrottleStyle::Flow429, "RequestLimitExceeded"),
        (ThrottleStyle::Account400, "RequestLimitExceeded"),
    ] {
        place(&simulator, Effect::Throttle { style, retry_after: None });
        assert_eq!(ask(&simulator, BACKUPS, of_instance()).await.refusal(), code);
    }
    place(&simulator, Effect::Throttle { style: ThrottleStyle::UinLimit, retry_after: Some("7".into()) });
    assert_eq!(ask(&simulator, BACKUPS, of_instance()).await.headers["retry-after"], "7");
    // Volcengine maps Tencent's throttle styles to its own first style.
    simulator.put_instance(cloud_simulator::InstanceSpec::new(ID, "cn-beijing")).unwrap();
    simulator.put_key(KeySpec::new(crate::client::KEY, crate::client::SECRET)).unwrap();
    place(&simulator, Effect::Throttle { style: ThrottleStyle::UinLimit, retry_after: None });
    let told = crate::client::ask(&simulator, crate::client::DESCRIBE, of_instance()).await;
    assert_eq!(told.error(), (429, "FlowLimitExceeded"));
}

#[tokio::test(start_paused = true)]
async fn an_error_can_be_any() {
    let simulator = cloud();
    let error = |status| Effect::Error {
        status,
        code: "InternalError.DbOperationFailed".into(),
        message: "as told".into(),
        code_n: None,
    };
    place(&simulator, error(200));
    let told = ask(&simulator, BACKUPS, of_instance()).await;
    assert_eq!((told.refusal(), told.reason()), ("InternalError.DbOperationFailed", "as told"));
    place(&simulator, error(500));
    let told = ask(&simulator, BACKUPS, of_instance()).await;
    assert_eq!(told.status, 500);
    assert_eq!(told.json["Response"]["Error"]["Code"], "InternalError.DbOperationFailed");

    let fault = FaultSpec::new(error(200)).on_action(DETAIL).on_instance(ID).on_key(KEY);
    simulator.place_fault(fault).unwrap();
    listed(&simulator, of_instance()).await;
    assert_eq!(ask(&simulator, DETAIL, json!({ "InstanceId": "crs-x" })).await.refusal(), "MissingParameter");
    assert_eq!(ask(&simulator, DETAIL, of_instance()).await.refusal(), "InternalError.DbOperationFailed");
}

#[tokio::test(start_paused = true)]
async fn a_body_can_be_anything() {
    let simulator = cloud();
    simulator.put_tencent_backup(backup("b-1", 50.0)).unwrap();
    for (shape, status, start) in [
        (Malformed::Html, 502, "<html>"),
        (Malformed::NotJson, 200, "{\"Response\":"),
        (Malformed::WrongShape, 200, "[1"),
        (Malformed::Empty, 504, ""),
    ] {
        place(&simulator, Effect::Malformed { shape, status });
        let told = ask(&simulator, BACKUPS, of_instance()).await;
        assert_eq!(told.status, status);
        assert!(told.text.starts_with(start) && told.json.get("Response").is_none(), "{}", told.text);
    }
    place(&simulator, Effect::Malformed { shape: Malformed::WrongTypes, status: 200 });
    let told = ask(&simulator, BACKUPS, of_instance()).await;
    assert_eq!((&told.response()["TotalCount"], &told.response()["BackupSet"]), (&json!("many"), &json!({})));

    place(&simulator, Effect::Oversized { bytes: 3 << 20 });
    let told = ask(&simulator, BACKUPS, of_instance()).await;
    assert_eq!(told.json["Padding"].as_str().unwrap().len(), 3 << 20);
    assert_eq!(told.response()["TotalCount"], 1);

    place(&simulator, Effect::WrongInstance { instance_id: "crs-other".into() });
    assert_eq!(listed(&simulator, of_instance()).await["BackupSet"][0]["InstanceId"], "crs-other");
}

async fn breaks(simulator: &Simulator) -> bool {
    let response = raw(simulator, Ask::new(simulator, BACKUPS, of_instance()).request()).await;
    axum::body::to_bytes(response.into_body(), usize::MAX).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn the_network_can_fail() {
    let simulator = cloud();
    for effect in [Effect::Reset, Effect::LostResponse, Effect::Truncated] {
        place(&simulator, effect.clone());
        assert!(breaks(&simulator).await, "{effect:?}");
    }
    place(&simulator, Effect::Redirect { location: "http://127.0.0.1:9/".into(), status: 307 });
    let told = ask(&simulator, BACKUPS, of_instance()).await;
    assert_eq!(
        (told.status.as_u16(), &told.headers["location"]),
        (307, &"http://127.0.0.1:9/".parse().unwrap())
    );

    for (effect, seconds) in
        [(Effect::Delay { seconds: 3.0 }, 3), (Effect::SlowBody { seconds: 20.0, pieces: 10 }, 20)]
    {
        place(&simulator, effect);
        let before = simulator.now();
        listed(&simulator, of_instance()).await;
        assert_eq!(simulator.now().duration_since(before).as_secs(), seconds);
    }
    for after_effect in [false, true] {
        place(&simulator, Effect::Hang { after_effect });
        let hung = Ask::new(&simulator, BACKUPS, of_instance());
        assert!(tokio::time::timeout(Duration::from_secs(3600), hung.send(&simulator)).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn the_servers_clock_can_be_wrong() {
    let simulator = cloud();
    place(&simulator, Effect::ClockSkew { seconds: 301.0 });
    let told = ask(&simulator, BACKUPS, of_instance()).await;
    assert_eq!(told.refusal(), "AuthFailure.SignatureExpire");
    assert_eq!(told.headers["date"], "Fri, 02 Jan 2026 03:09:06 GMT");
    listed(&simulator, of_instance()).await;
}

#[tokio::test(start_paused = true)]
async fn every_request_is_remembered() {
    let simulator = cloud();
    listed(&simulator, of_instance()).await;
    let wrong = Ask { secret: "wrong".into(), ..Ask::new(&simulator, DETAIL, of_instance()) };
    wrong.send(&simulator).await;
    let counters = simulator.counters();
    assert_eq!((counters.by_action[BACKUPS], counters.by_action[DETAIL]), (1, 1));
    assert_eq!((counters.by_instance[ID], counters.by_key[KEY]), (2, 2));
    assert_eq!(counters.by_action_and_outcome[&format!("{DETAIL}/AuthFailure.SignatureFailure")], 1);
    let requests = simulator.requests();
    let first = &requests[0];
    assert_eq!(first.region.as_deref(), Some("ap-guangzhou"));
    assert_eq!(first.version.as_deref(), Some("2018-04-12"));
    assert_eq!(first.x_date, Some(simulator.now().as_second().to_string()));
    assert_eq!(first.signed_headers.as_deref(), Some("content-type;host"));
    assert_eq!(first.signature.as_ref().map(String::len), Some(64));
    assert_eq!(first.body, of_instance());
    assert_eq!((first.authentic, first.outcome.as_deref()), (Some(true), Some("ok")));
    assert_eq!(requests[1].authentic, Some(false));
    simulator.reset();
    assert_eq!(simulator.tencent_instances(), []);
    assert_eq!(ask(&simulator, BACKUPS, Value::Null).await.refusal(), "AuthFailure.SecretIdNotFound");
}
