//! Transient failures: hidden while the last successful poll is recent, reported at once for a new generation.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, FaultSpec, Malformed};
use serde_json::{Value, json};

use crate::checks::{DESCRIBE, With, expect, message};
use crate::harness::{Stage, condition, settled};

const NOT_PROMISED: &str = "an answer that is not what the API promises";
const OTHER_INSTANCE: &str =
    "an answer that is not what the API promises: InstanceId is that of another instance";

/// Returns each kind of failure: a name, its effect, and its text in the condition.
fn ways() -> Vec<(&'static str, Effect, &'static str)> {
    let error = |status, code: &str| Effect::Error {
        status,
        code: code.to_owned(),
        message: "secret-looking detail".to_owned(),
        code_n: None,
    };
    let html = |status| Effect::Malformed { shape: Malformed::Html, status };
    let redirect = Effect::Redirect { location: "http://127.0.0.1:9/".to_owned(), status: 302 };
    vec![
        ("error-500", error(500, "InternalError"), "InternalError"),
        ("error-400", error(400, "InternalError"), "InternalError"),
        ("unknown-code", error(400, "NeverHeardOf"), "NeverHeardOf"),
        ("hang", Effect::Hang { after_effect: false }, "timeout: the endpoint gave no answer within 2s"),
        ("reset", Effect::Reset, "connection reset: the endpoint ended the connection without an answer"),
        ("html-502", html(502), "HTTP 502"),
        ("html-200", html(200), NOT_PROMISED),
        ("truncated", Effect::Truncated, "answer cut short: from the endpoint"),
        ("other-instance", Effect::WrongInstance { instance_id: "redis-other".to_owned() }, OTHER_INSTANCE),
        ("oversized", Effect::Oversized { bytes: 16 << 20 }, "answer too large: from the endpoint"),
        ("redirect", redirect, "redirect refused"),
    ]
}

fn instance(name: &str) -> String {
    format!("redis-{name}")
}

async fn policies(stage: &Stage<'_>) -> Result<Vec<Value>> {
    stage.list("crbp").await
}

async fn until_all(stage: &Stage<'_>, reason: &str) -> Result<Vec<Value>> {
    for (name, ..) in ways() {
        stage.until_reason_of(name, reason).await?;
    }
    policies(stage).await
}

fn named<'p>(all: &'p [Value], name: &str) -> &'p Value {
    all.iter().find(|p| p["metadata"]["name"] == name).unwrap_or(&Value::Null)
}

/// Returns the number of successful polls of a policy's instance.
fn looks(stage: &Stage<'_>, name: &str) -> usize {
    let good = stage.requests(DESCRIBE);
    let of = instance(name);
    good.iter().filter(|r| r.instance_id.as_ref() == Some(&of) && r.outcome.as_deref() == Some("ok")).count()
}

#[tokio::test]
async fn passing_failures_are_told_for_a_new_spec_alone_and_heal() -> Result<()> {
    let mut stage = Stage::new("faults-passing").await?;
    stage.apply_account().await?;
    stage.patch_account(json!({"requestTimeout": "2s"})).await?;
    for (name, ..) in ways() {
        stage.add_instance(&instance(name))?;
        stage.apply(stage.policy_manifest(name, json!({"instanceId": instance(name)}))).await?;
    }
    stage.start_operator().await?;
    let before = until_all(&stage, "InSync").await?;

    // Same generation: two polls fail, the third succeeds, and nothing is reported.
    let mut faults = Vec::new();
    for (name, effect, _) in ways() {
        let fault = FaultSpec::new(effect).on_action(DESCRIBE).on_instance(instance(name)).times(2);
        faults.push(stage.place(fault)?);
    }
    stage.wait("the failed looks", || faults.iter().all(|id| stage.fired(*id) == 2)).await?;
    let seen: Vec<_> = ways().iter().map(|(name, ..)| (*name, looks(&stage, name))).collect();
    stage.wait("good looks", || seen.iter().all(|(name, n)| looks(&stage, name) > *n)).await?;
    for policy in policies(&stage).await? {
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        let old = named(&before, name);
        let version = |o: &Value| o["metadata"]["resourceVersion"].clone();
        ensure!(version(&policy) == version(old), "nothing is written: {:#}", policy["status"]);
    }

    // New generation: the failure is reported at once, and the last observed state stays in the status.
    stage.cloud.clear_faults();
    for (name, effect, _) in ways() {
        stage.place(FaultSpec::new(effect).on_action(DESCRIBE).on_instance(instance(name)))?;
    }
    let patch = json!({"spec": {"crossBackupRegion": "cn-guangzhou"}}).to_string();
    stage
        .run(["patch", "crbp", "--type=merge", "-p", &patch].into_iter().chain(ways().iter().map(|w| w.0)))
        .await?;
    let told = until_all(&stage, "CloudUnavailable").await?;
    for (name, _, code) in ways() {
        let policy = named(&told, name);
        expect(policy, "Unknown", "CloudUnavailable", With::Reconciling)?;
        ensure!(message(policy) == format!("{DESCRIBE}: {code}"), "{name}: {}", message(policy));
        ensure!(policy["status"]["policy"]["crossBackupRegion"] == "cn-shanghai");
        ensure!(policy["status"]["syncedGeneration"] == 1);
        stage.until_event(name, &format!("ReconcileFailed: CloudUnavailable: {DESCRIBE}: {code}")).await?;
    }
    ensure!(stage.modifies() == ways().len() as u64, "nothing is modified without a look");
    stage.until_account("CredentialsVerified").await?;

    stage.cloud.clear_faults();
    for policy in until_all(&stage, "InSync").await? {
        expect(&policy, "True", "InSync", With::Nothing)?;
    }
    ensure!(stage.modifies() == 2 * ways().len() as u64);
    Ok(())
}

#[tokio::test]
async fn a_request_by_annotation_is_handled_also_where_the_look_fails() -> Result<()> {
    let mut stage = Stage::new("faults-request").await?;
    stage.flag("--resync-interval-override=1h");
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    let before = stage.until_reason("InSync").await?;
    stage.fault(DESCRIBE, None, Effect::Reset)?;
    stage.request_now("crbp", "sessions", "one").await?;
    let policy = stage.until_handled("crbp", "sessions", "one").await?;
    ensure!(policy["status"]["conditions"] == before["status"]["conditions"], "{policy:#}");
    stage.cloud.clear_faults();
    stage.request_now("crbp", "sessions", "two").await?;
    let policy = stage.until_handled("crbp", "sessions", "two").await?;
    ensure!(settled(&policy) && condition(&policy, "Ready")["reason"] == "InSync");
    Ok(())
}

#[tokio::test]
async fn the_first_look_that_fails_is_told_and_backups_are_not_missed() -> Result<()> {
    let stage = Stage::running("faults-first-look").await?;
    stage.add_backup("b-1", 60.0)?;
    let fault = stage.fault(DESCRIBE, None, Effect::Reset)?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.until_reason("CloudUnavailable").await?;
    expect(&policy, "Unknown", "CloudUnavailable", With::Reconciling)?;
    ensure!(policy["status"]["policy"].is_null() && policy["status"]["syncedGeneration"].is_null());
    stage.cloud.remove_fault(fault)?;
    let policy = stage.until_reason("InSync").await?;
    ensure!(policy["status"]["backups"]["total"] == 1, "one write carries both: {policy:#}");
    Ok(())
}
