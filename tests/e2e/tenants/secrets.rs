//! Secrets that a tenant stores to use up memory and time, or to change the messages of others.

use anyhow::{Context, Result, ensure};
use cloud_simulator::{Effect, FaultSpec, RequestRecord};
use serde_json::{Value, json};

use super::{HONEST, TenantStage};
use crate::checks::{DESCRIBE, message};
use crate::harness::{KEY_ID, condition, settled};

const VERIFY: &str = "DescribeDBInstances";
/// The longest value that is read from a Secret, in bytes.
const VALUE: usize = 8192;
const SECRETS: usize = 4;
const CHANGES: usize = 15;
/// A fraction of what the redactor took for one such Secret when it held an automaton of all values.
const GROWTH_MAX_KIB: u64 = 32 * 1024;

/// What the operator and the clouds write into logs, Events and conditions, and read in answers; each of a form that a
/// Secret's value may have.
const WORDS: [&str; 12] = [
    "InvalidTimestamp",
    "\"level\":\"",
    "AccessDenied",
    "cloud call",
    "DescribeCrossRegionBackupPolicy",
    "{\"timestamp\":\"",
    "\",\"message\":\"",
    "\\",
    "\"target\":\"cross_region_backup_operator::cloud::exchange\"",
    "InSync",
    "redis-honest-1 may not be described by this user",
    "crossregionbackup.io",
];

/// Returns an account of the attacker, with the Secret of the same name.
fn account(stage: &TenantStage, name: &str, [id, secret, token]: [&str; 3]) -> [Value; 2] {
    let mut account = stage.honest.account_manifest();
    account["metadata"] = json!({"name": name});
    account["spec"]["credentials"]["secretRef"]["name"] = json!(name);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"accessKeyId": id, "secretAccessKey": secret, "sessionToken": token},
    });
    [secret, account]
}

fn is_rejected(account: &Value) -> bool {
    settled(account) && condition(account, "Ready")["reason"] == "CredentialsRejected"
}

/// Waits for one more successful poll of an honest tenant's instance.
async fn another_look(stage: &TenantStage) -> Result<()> {
    let good = || {
        let of = |r: &&RequestRecord| {
            r.outcome.as_deref() == Some("ok") && r.instance_id.as_deref() == Some(HONEST[0])
        };
        stage.honest.requests(DESCRIBE).iter().filter(of).count()
    };
    let before = good();
    stage.honest.wait("another good look", || good() > before).await
}

#[tokio::test]
async fn secrets_of_three_long_values_cost_no_memory_and_hold_up_nobody() -> Result<()> {
    let mut stage = TenantStage::start("long-secrets").await?;
    stage
        .attack(async |stage| {
            let before = stage.honest.memory_kib("VmRSS")?;
            for change in 0..CHANGES {
                let verified = stage.honest.calls(VERIFY);
                let mut manifests = Vec::new();
                for number in 0..SECRETS {
                    let values = ["AKLT", "/+\"\\", "&<>="].map(|part| {
                        let start = format!("{change}-{number}-");
                        start.clone() + &part.repeat(VALUE / part.len())[..VALUE - start.len()]
                    });
                    manifests.extend(account(stage, &format!("long-{number}"), values.each_ref().map(String::as_str)));
                }
                stage.apply(&manifests).await?;
                // The operator has read and tried every Secret.
                let tried = || stage.honest.calls(VERIFY) >= verified + SECRETS as u64;
                stage.honest.wait("the Secrets to be tried", tried).await?;
            }
            for number in 0..SECRETS {
                stage.until("cacct", &format!("long-{number}"), "CredentialsRejected", is_rejected).await?;
            }
            let growth = stage.honest.memory_kib("VmHWM")?.saturating_sub(before);
            println!("{SECRETS} Secrets of three values of {VALUE} bytes, changed {CHANGES} times: peak memory +{growth} KiB");
            ensure!(growth < GROWTH_MAX_KIB, "{growth} KiB");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_secret_of_the_operators_own_words_changes_nothing_for_others() -> Result<()> {
    let mut stage = TenantStage::start_with("word-secrets", &["--log-format=json"]).await?;
    stage
        .attack(async |stage| {
            let mut manifests = Vec::new();
            for number in 0..WORDS.len() {
                let values = [0, 1, 2].map(|more| WORDS[(number + more) % WORDS.len()]);
                manifests.extend(account(stage, &format!("word-{number}"), values));
            }
            stage.apply(&manifests).await?;
            for number in 0..WORDS.len() {
                stage.until("cacct", &format!("word-{number}"), "CredentialsRejected", is_rejected).await?;
            }

            // A decision by error code: the clock is corrected when the code reports that it is wrong.
            let skew =
                stage.honest.place(FaultSpec::new(Effect::ClockSkew { seconds: 3600.0 }).on_key(KEY_ID))?;
            another_look(stage).await?;
            stage.honest.cloud.remove_fault(skew)?;
            another_look(stage).await?;
            let refused = stage.honest.cloud.counters().by_outcome.get("InvalidTimestamp").copied();
            ensure!(refused.is_some_and(|refused| refused >= 2), "the clock was wrong: {refused:?}");

            // A condition and an Event with the cloud's message.
            let said = "redis-honest-1 may not be described by this user";
            let effect = Effect::Error {
                status: 403,
                code: "AccessDenied".to_owned(),
                message: said.to_owned(),
                code_n: None,
            };
            let denied =
                stage.honest.place(FaultSpec::new(effect).on_action(DESCRIBE).on_instance(HONEST[0]))?;
            let policy = stage.honest.until_reason_of(HONEST[0], "PermissionDenied").await?;
            let words = format!("{DESCRIBE}: AccessDenied: {said}");
            ensure!(message(&policy) == words, "{}", message(&policy));
            let event = format!("ReconcileFailed: PermissionDenied: {words}");
            stage.honest.until_event(HONEST[0], &event).await?;
            stage.honest.cloud.remove_fault(denied)?;
            stage.honest.until_reason_of(HONEST[0], "InSync").await?;
            Ok(())
        })
        .await?;
    let log = stage.honest.log();
    let mut calls = 0;
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        for field in ["timestamp", "level", "message", "target"] {
            ensure!(line[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {line}");
        }
        ensure!(!line.to_string().contains("redacted"), "{line}");
        calls += u64::from(line["message"] == "cloud call" && line["action"] == DESCRIBE);
    }
    ensure!(calls > 0, "the log has the calls");
    Ok(())
}
