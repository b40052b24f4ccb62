//! Tencent Cloud's secrets, and the key that decrypts a backup, appear in no output.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, KeyStatus};
use serde_json::{Value, json};

use super::{T_DETAIL, T_INSTANCE, T_LIST, ids};
use crate::canary::{DECRYPT_KEY, EVERYTHING, OLD, forms, nothing_leaks};
use crate::checks::message;
use crate::harness::{LIMIT, Stage, condition};

/// Adds encrypted backups with details as documented, with other types, and with other field names.
fn add_encrypted(stage: &Stage<'_>) -> Result<()> {
    stage.add_tencent_instance(json!({"instanceId": T_INSTANCE, "instanceName": "orders"}))?;
    for (number, details) in [
        json!({}),
        json!({"DecryptKey": {"Key": DECRYPT_KEY, "Keys": [DECRYPT_KEY]}, "decryptKey": DECRYPT_KEY}),
        json!({"MemSize": DECRYPT_KEY}),
        json!({"BackupId": DECRYPT_KEY}),
        json!({"KmsKeyId": DECRYPT_KEY, "Unknown": {"Nested": [DECRYPT_KEY]}}),
    ]
    .into_iter()
    .enumerate()
    {
        stage.add_tencent_backup(json!({
            "backupId": format!("t-{number}"), "instanceId": T_INSTANCE, "ageSeconds": 60 + number, "encrypted": true,
            "decryptKey": DECRYPT_KEY, "detailOverrides": details, "overrides": {"DecryptKey": DECRYPT_KEY},
        }))?;
    }
    Ok(())
}

/// Has the cloud repeat the secrets in its error messages; each message reaches a condition and an Event.
async fn say_everything(stage: &Stage<'_>) -> Result<()> {
    let codes = [
        ("InvalidParameter.Words", "InvalidRequest"),
        ("UnauthorizedOperation.Words", "PermissionDenied"),
        ("UnsupportedOperation.Words", "NotSupported"),
    ];
    let mut words = Vec::new();
    for value in [OLD.secret, OLD.token, OLD.id] {
        words.push(forms(value).join(" "));
        let (left, right) = value.split_at(value.len() / 2);
        words.push(format!("\u{1b}[31m{left}\u{0}{right}\u{7f} \r\nend"));
        words.push(format!("{} {value} {}", "x".repeat(240), "y".repeat(2000)));
    }
    for (number, message_of_cloud) in words.into_iter().enumerate() {
        let (code, reason) = codes[number % codes.len()];
        stage.cloud.clear_faults();
        let effect =
            Effect::Error { status: 200, code: code.to_owned(), message: message_of_cloud, code_n: None };
        stage.fault(T_LIST, None, effect)?;
        let inventory = stage.until_inventory("all", reason).await?;
        nothing_leaks("a condition", &inventory.to_string())?;
        let shown = ["[redacted]", "xxx", "…"].iter().any(|word| message(&inventory).contains(word));
        ensure!(shown, "what the cloud says is shown: {inventory:#}");
        ensure!(
            message(&inventory).contains(code) && !message(&inventory).contains('\u{1b}'),
            "{inventory:#}"
        );
    }
    // The secret is the error code itself; unknown codes reach the condition too.
    for (limit, code) in [OLD.secret, OLD.token, OLD.id].into_iter().enumerate() {
        stage.cloud.clear_faults();
        let effect =
            Effect::Error { status: 400, code: code.to_owned(), message: code.to_owned(), code_n: None };
        stage.fault(T_LIST, None, effect)?;
        stage.patch_inventory("all", json!({"limit": 10 + limit})).await?;
        let inventory = stage.until_inventory("all", "CloudUnavailable").await?;
        nothing_leaks("a code", &inventory.to_string())?;
    }
    stage.cloud.clear_faults();
    stage.request_now("bkinv", "all", "well again").await?;
    stage.until_inventory("all", "Listed").await.map(drop)
}

async fn no_canary_is_shown(name: &str, format: &str) -> Result<()> {
    let mut stage = Stage::new(name).await?;
    stage.flag(EVERYTHING);
    stage.flag(format);
    stage.flag("--resync-interval-override=1s");
    stage.cloud.put_key(OLD.spec())?;
    stage.store(&OLD).await?;
    let mut account = stage.account_manifest();
    account["spec"]["provider"] = json!("Tencent");
    stage.apply(account).await?;
    add_encrypted(&stage)?;
    stage.start_operator().await?;
    stage.until_account("CredentialsVerified").await?;
    let policy = json!({"region": "ap-guangzhou", "crossBackupRegion": "ap-shanghai"});
    stage.apply_policy(policy).await?;
    stage.until_reason("NotSupported").await?;
    let spec = json!({"region": "ap-guangzhou", "includeDetails": true});
    let status = stage.listed("all", spec).await?;
    ensure!(ids(&status)?.len() == 5 && status["items"][0]["memSizeMiB"] == 2048, "{status:#}");
    nothing_leaks("a status", &status.to_string())?;

    say_everything(&stage).await?;

    stage.cloud.set_key_status(OLD.id, KeyStatus::Revoked)?;
    let rejected = |o: &Value| condition(o, "Ready")["reason"] == "CredentialsRejected";
    stage.until("bkinv", "all", "CredentialsRejected", rejected).await?;
    nothing_leaks("the cluster", &stage.everything().await?)?;
    nothing_leaks("describe", &stage.run(["describe", "bkinv"]).await?)?;
    stage.operator().terminate(LIMIT).await?;
    let log = stage.log();
    nothing_leaks("the log", &log)?;
    ensure!(log.contains(T_DETAIL) && log.contains("TRACE"), "it is to be the most verbose log");
    Ok(())
}

#[tokio::test]
async fn no_secret_of_tencent_cloud_is_shown_with_logs_as_text() -> Result<()> {
    no_canary_is_shown("inv-canary-text", "--log-format=text").await
}

#[tokio::test]
async fn no_secret_of_tencent_cloud_is_shown_with_logs_as_json() -> Result<()> {
    no_canary_is_shown("inv-canary-json", "--log-format=json").await
}
