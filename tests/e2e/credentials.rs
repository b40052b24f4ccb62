//! Keys that are wrong, missing, not yet valid, revoked, temporary or rotated: the conditions of account and policies, and their
//! recovery.

mod accounts;
mod load;

use anyhow::{Result, ensure};
use cloud_simulator::{KeyStatus, RequestRecord};
use serde_json::{Value, json};

use crate::checks::{BACKUPS, DESCRIBE, MODIFY, VERIFY, With, expect, message};
use crate::harness::{KEY_ID, POLICY, SECRET_KEY, Stage, condition};

/// Returns a stage whose operator polls once an hour, so that anything within a minute has another trigger.
async fn patient(name: &str) -> Result<Stage<'static>> {
    let mut stage = Stage::new(name).await?;
    stage.flag("--resync-interval-override=1h");
    Ok(stage)
}

fn key(secret: &str) -> Value {
    json!({"accessKeyId": KEY_ID, "secretAccessKey": secret})
}

/// Waits until account and policy report that the cloud rejected the key with this code; only the account gets an Event.
async fn until_rejected(stage: &Stage<'_>, code: &str) -> Result<()> {
    let text = format!("the cloud rejected the credentials: {code}");
    let account = stage.until_account("CredentialsRejected").await?;
    expect(&account, "False", "CredentialsRejected", With::Stalled)?;
    ensure!(message(&account) == text, "{}", message(&account));
    stage.until_event("prod", &format!("AccountRejected: {text}")).await?;
    let policy = stage.until_reason("CredentialsRejected").await?;
    expect(&policy, "False", "CredentialsRejected", With::Stalled)?;
    ensure!(message(&policy) == format!("CloudAccount prod: {text}"), "{}", message(&policy));
    Ok(())
}

async fn until_recovered(stage: &Stage<'_>) -> Result<Value> {
    let account = stage.until_account("CredentialsVerified").await?;
    expect(&account, "True", "CredentialsVerified", With::Nothing)?;
    stage.until_event("prod", "AccountVerified").await?;
    let policy = stage.until_reason("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    ensure!(stage.policy_events("ReconcileFailed").await?.is_empty(), "told on the account alone");
    Ok(policy)
}

#[tokio::test]
async fn a_wrong_secret_key_is_told_on_the_account_and_its_correction_heals_all() -> Result<()> {
    let mut stage = patient("creds-wrong").await?;
    let wrong = "V3JvbmdTZWNyZXRLZXlUaGF0TXVzdE5vdEFwcGVhcg==";
    stage.put_secret(key(wrong)).await?;
    stage.apply(stage.account_manifest()).await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    until_rejected(&stage, "SignatureDoesNotMatch").await?;
    ensure!(stage.calls(DESCRIBE) == 0, "rejected credentials are tried once per account");
    ensure!(stage.calls(VERIFY) <= 2, "once, and once more with the Secret read again");

    stage.put_secret(key(SECRET_KEY)).await?;
    until_recovered(&stage).await?;
    ensure!(stage.modifies() == 1);
    let shown = [stage.log(), stage.run(["get", "cacct,crbp,events", "-o", "yaml"]).await?];
    for text in shown {
        ensure!(!text.contains(SECRET_KEY) && !text.contains(wrong) && !text.contains(KEY_ID));
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_key_id_is_rejected_and_another_one_heals() -> Result<()> {
    let mut stage = patient("creds-unknown").await?;
    stage.put_secret(json!({"accessKeyId": "tooshort", "secretAccessKey": "whatever-it-is"})).await?;
    stage.apply(stage.account_manifest()).await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    until_rejected(&stage, "InvalidAccessKey").await?;
    let account = stage.get("cacct", "prod").await?;
    ensure!(account["status"]["accessKeyIdHint"].is_null(), "too short to be shown in part");
    stage.put_secret(key(SECRET_KEY)).await?;
    until_recovered(&stage).await?;
    let account = stage.get("cacct", "prod").await?;
    ensure!(account["status"]["accessKeyIdHint"] == "AKLT…0077", "{account:#}");
    Ok(())
}

#[tokio::test]
async fn what_is_missing_in_a_secret_is_named_until_it_is_there() -> Result<()> {
    let mut stage = patient("creds-missing").await?;
    stage.apply(stage.account_manifest()).await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    let broken = [
        (None, "Secret cloud-key does not exist"),
        (Some(json!({"accessKeyId": KEY_ID})), "Secret cloud-key has no key secretAccessKey"),
        (
            Some(json!({"accessKeyId": KEY_ID, "secretAccessKey": "  "})),
            "Secret cloud-key, key secretAccessKey: the value is empty",
        ),
        (
            Some(json!({"accessKeyId": "AKLT\nCanary", "secretAccessKey": SECRET_KEY})),
            "Secret cloud-key, key accessKeyId: the value has control characters, such as a line break, inside",
        ),
        (
            Some(json!({"accessKeyId": KEY_ID, "secretAccessKey": "schlüssel"})),
            "Secret cloud-key, key secretAccessKey: the value has characters that are not ASCII",
        ),
    ];
    for (secret, wanted) in broken {
        if let Some(secret) = secret {
            // Without the deletion, `apply` would keep keys of the previous Secret.
            stage.run(["delete", "secret", "cloud-key", "--ignore-not-found"]).await?;
            stage.put_secret(secret).await?;
        }
        let says = |o: &Value, text: &str| {
            condition(o, "Ready")["reason"] == "CredentialsMissing" && message(o) == text
        };
        let account = stage.until("cacct", "prod", wanted, |o| says(o, wanted)).await?;
        expect(&account, "False", "CredentialsMissing", With::Reconciling)?;
        let through = format!("CloudAccount prod: {wanted}");
        let policy = stage.until("crbp", POLICY, wanted, |o| says(o, &through)).await?;
        expect(&policy, "False", "CredentialsMissing", With::Reconciling)?;
    }
    ensure!(stage.cloud.counters().requests == 0, "nothing can be sent");

    let padded = format!("  {SECRET_KEY}\n");
    stage.put_secret(json!({"accessKeyId": format!("{KEY_ID}\n"), "secretAccessKey": padded})).await?;
    until_recovered(&stage).await.map(drop)
}

#[tokio::test]
async fn a_secret_that_vanishes_is_told_and_its_return_heals() -> Result<()> {
    let mut stage = patient("creds-vanish").await?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    let before = until_recovered(&stage).await?;
    stage.run(["delete", "secret", "cloud-key"]).await?;
    let account = stage.until_account("CredentialsMissing").await?;
    expect(&account, "False", "CredentialsMissing", With::Reconciling)?;
    ensure!(account["status"]["accessKeyIdHint"].is_null(), "{account:#}");
    let policy = stage.until_reason("CredentialsMissing").await?;
    expect(&policy, "False", "CredentialsMissing", With::Reconciling)?;
    ensure!(policy["status"]["policy"] == before["status"]["policy"], "what was observed is kept");
    let asked = stage.cloud.counters().requests;
    stage.apply_secret(KEY_ID, SECRET_KEY).await?;
    until_recovered(&stage).await?;
    ensure!(stage.cloud.counters().requests > asked && stage.modifies() == 1);
    Ok(())
}

#[tokio::test]
async fn a_key_that_becomes_valid_later_is_tried_at_the_policys_request() -> Result<()> {
    let mut stage = patient("creds-later-policy").await?;
    stage.cloud.set_key_status(KEY_ID, KeyStatus::Inactive)?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    until_rejected(&stage, "InvalidAccessKey").await?;
    // The request is handled although the verification fails again.
    stage.request_now("crbp", POLICY, "one").await?;
    let policy = stage.until_handled("crbp", POLICY, "one").await?;
    expect(&policy, "False", "CredentialsRejected", With::Stalled)?;
    ensure!(stage.calls(VERIFY) >= 2 && stage.calls(DESCRIBE) == 0);

    stage.cloud.set_key_status(KEY_ID, KeyStatus::Active)?;
    stage.request_now("crbp", POLICY, "two").await?;
    until_recovered(&stage).await?;
    stage.until_handled("crbp", POLICY, "two").await.map(drop)
}

#[tokio::test]
async fn a_key_that_becomes_valid_later_is_tried_at_the_accounts_request() -> Result<()> {
    let mut stage = patient("creds-later-account").await?;
    stage.cloud.set_key_status(KEY_ID, KeyStatus::Inactive)?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    until_rejected(&stage, "InvalidAccessKey").await?;
    stage.request_now("cacct", "prod", "one").await?;
    let account = stage.until_handled("cacct", "prod", "one").await?;
    expect(&account, "False", "CredentialsRejected", With::Stalled)?;

    stage.cloud.set_key_status(KEY_ID, KeyStatus::Active)?;
    stage.request_now("cacct", "prod", "two").await?;
    stage.until_handled("cacct", "prod", "two").await?;
    until_recovered(&stage).await.map(drop)
}

#[tokio::test]
async fn a_key_revoked_under_policies_rejects_the_account_and_is_probed_once_for_all() -> Result<()> {
    let stage = Stage::running("creds-revoked").await?;
    for name in ["one", "two", "three"] {
        let instance = format!("redis-{name}");
        stage.add_instance(&instance)?;
        stage.apply(stage.policy_manifest(name, json!({"instanceId": instance}))).await?;
        stage.until_reason_of(name, "InSync").await?;
    }
    stage.apply_policy(json!({})).await?;
    let before = stage.until_reason("InSync").await?;
    stage.cloud.set_key_status(KEY_ID, KeyStatus::Revoked)?;
    let account = stage.until_account("CredentialsRejected").await?;
    expect(&account, "False", "CredentialsRejected", With::Stalled)?;
    for name in [POLICY, "one", "two", "three"] {
        let policy = stage.until_reason_of(name, "CredentialsRejected").await?;
        expect(&policy, "False", "CredentialsRejected", With::Stalled)?;
    }
    let policy = stage.policy().await?;
    for field in ["policy", "protectedSince", "syncedGeneration", "lastModification"] {
        ensure!(policy["status"][field] == before["status"][field], "{field} is kept");
    }
    let (looks, probes) = (stage.calls(DESCRIBE), stage.calls(VERIFY));
    stage.wait("a probe", || stage.calls(VERIFY) > probes).await?;
    ensure!(stage.calls(DESCRIBE) == looks, "the account is probed, not its policies");

    stage.cloud.set_key_status(KEY_ID, KeyStatus::Active)?;
    until_recovered(&stage).await?;
    for name in ["one", "two", "three"] {
        stage.until_reason_of(name, "InSync").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_secret_that_turns_wrong_is_tried_once_for_all_policies() -> Result<()> {
    let mut stage = patient("creds-turns-wrong").await?;
    stage.apply_account().await?;
    let names: Vec<String> = (0..12).map(|n| format!("p-{n}")).collect();
    for name in &names {
        let instance = format!("redis-{name}");
        stage.add_instance(&instance)?;
        stage.apply(stage.policy_manifest(name, json!({"instanceId": instance}))).await?;
    }
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    for name in &names {
        stage.until_reason_of(name, "InSync").await?;
    }
    let before = until_recovered(&stage).await?;
    let modified = stage.modifies();
    stage.put_secret(key("a-secret-that-is-wrong")).await?;
    until_rejected(&stage, "SignatureDoesNotMatch").await?;
    for name in &names {
        stage.until_reason_of(name, "CredentialsRejected").await?;
    }
    let rejected = |r: &RequestRecord| r.authentic == Some(false);
    let tries: Vec<_> = stage.cloud.requests().into_iter().filter(rejected).map(|r| r.action).collect();
    ensure!(tries.len() <= 2 && tries.iter().all(|a| a.as_deref() == Some(VERIFY)), "{tries:?}");

    stage.put_secret(key(SECRET_KEY)).await?;
    let policy = until_recovered(&stage).await?;
    ensure!(policy["status"]["policy"] == before["status"]["policy"] && stage.modifies() == modified);
    Ok(())
}

#[tokio::test]
async fn a_permission_to_modify_that_is_missing_is_told_until_it_is_given() -> Result<()> {
    let mut stage = patient("creds-deny-modify").await?;
    stage.deny(MODIFY)?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    let policy = stage.until_reason("PermissionDenied").await?;
    expect(&policy, "False", "PermissionDenied", With::Stalled)?;
    let difference = "active: desired true, found false; crossBackupRegion: desired cn-shanghai, found none";
    let text = message(&policy);
    ensure!(text.starts_with(&format!("{difference}; {MODIFY}: AccessDenied: User ")), "{text}");
    ensure!(text.contains("is not authorized to perform") && !text.contains(KEY_ID), "{text}");
    stage.until_event(POLICY, "ReconcileFailed: PermissionDenied").await?;
    let account = stage.until_account("CredentialsVerified").await?;
    expect(&account, "True", "CredentialsVerified", With::Nothing)?;
    ensure!(stage.calls(MODIFY) == 1, "not again before something changes");

    stage.allow(MODIFY)?;
    stage.request_now("crbp", POLICY, "now").await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)?;
    stage.until_handled("crbp", POLICY, "now").await?;
    ensure!(stage.calls(MODIFY) == 2 && stage.modifies() == 1);
    Ok(())
}

#[tokio::test]
async fn a_permission_to_describe_that_is_missing_is_told_until_it_is_given() -> Result<()> {
    let mut stage = patient("creds-deny-describe").await?;
    stage.deny(DESCRIBE)?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    let policy = stage.until_reason("PermissionDenied").await?;
    expect(&policy, "False", "PermissionDenied", With::Stalled)?;
    ensure!(message(&policy).starts_with(&format!("{DESCRIBE}: AccessDenied: ")), "{}", message(&policy));
    ensure!(stage.calls(DESCRIBE) == 1 && stage.calls(MODIFY) == 0);
    stage.until_account("CredentialsVerified").await?;

    stage.allow(DESCRIBE)?;
    stage.request_now("crbp", POLICY, "now").await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)
}

#[tokio::test]
async fn an_account_that_may_not_be_verified_by_its_permissions_is_verified_all_the_same() -> Result<()> {
    let mut stage = Stage::new("creds-deny-verify").await?;
    stage.deny(VERIFY)?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    until_recovered(&stage).await?;
    ensure!(stage.calls(VERIFY) == 1, "an answer that proves the signature is enough");
    Ok(())
}

#[tokio::test]
async fn temporary_credentials_carry_their_token_and_a_wrong_one_is_rejected() -> Result<()> {
    const ID: &str = "AKTPTemporaryKeyId000000000099";
    const TOKEN: &str = "STSTokenThatMustNotAppear0123456789";
    let mut stage = patient("creds-token").await?;
    let secret = |token: &str| json!({"accessKeyId": ID, "secretAccessKey": "temporary-secret", "sessionToken": token});
    stage.add_key(ID, "temporary-secret", json!({"sessionToken": TOKEN, "expiresInSeconds": 3600}))?;
    stage.put_secret(secret(TOKEN)).await?;
    stage.apply(stage.account_manifest()).await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    until_recovered(&stage).await?;
    let carries = |r: &RequestRecord| r.security_token.as_deref() == Some(TOKEN) && r.authentic == Some(true);
    ensure!(stage.cloud.requests().iter().all(carries), "{:#?}", stage.cloud.requests());
    ensure!([DESCRIBE, MODIFY, BACKUPS].iter().all(|action| stage.calls(action) > 0));

    stage.put_secret(secret("AnotherToken0123456789")).await?;
    until_rejected(&stage, "InvalidSecretToken").await?;
    // The token has expired in the cloud, so the right token is rejected as well.
    stage.add_key(ID, "temporary-secret", json!({"sessionToken": TOKEN, "expiresInSeconds": 0}))?;
    stage.put_secret(secret(TOKEN)).await?;
    stage.request_now("cacct", "prod", "one").await?;
    let account = stage.until_handled("cacct", "prod", "one").await?;
    expect(&account, "False", "CredentialsRejected", With::Stalled)?;
    // A new token is accepted.
    stage.add_key(
        ID,
        "temporary-secret",
        json!({"sessionToken": "NewToken0123456789", "expiresInSeconds": 3600}),
    )?;
    stage.put_secret(secret("NewToken0123456789")).await?;
    until_recovered(&stage).await?;
    ensure!(!stage.log().contains(TOKEN));
    Ok(())
}

#[tokio::test]
async fn a_rotation_is_noticed_by_no_condition() -> Result<()> {
    const NEW: &str = "AKLTRotatedAccessKeyId000000088";
    let stage = Stage::running("creds-rotation").await?;
    stage.apply_policy(json!({})).await?;
    let before = stage.until_reason("InSync").await?;
    let account_before = stage.until_account("CredentialsVerified").await?;
    stage.add_key(NEW, "rotated-secret", json!({}))?;
    stage.apply_secret(NEW, "rotated-secret").await?;
    let with_new =
        |r: &RequestRecord| r.access_key_id.as_deref() == Some(NEW) && r.action.as_deref() == Some(DESCRIBE);
    stage.wait("a look with the new key", || stage.cloud.requests().iter().any(with_new)).await?;
    stage.cloud.set_key_status(KEY_ID, KeyStatus::Revoked)?;
    stage.until_another_look().await?;
    let account =
        stage.until("cacct", "prod", "the hint", |o| o["status"]["accessKeyIdHint"] == "AKLT…0088").await?;
    ensure!(account["status"]["conditions"] == account_before["status"]["conditions"], "{account:#}");
    ensure!(stage.policy().await?["status"] == before["status"]);
    let refused = |r: &RequestRecord| r.outcome.as_deref().is_some_and(|o| o != "ok");
    ensure!(!stage.cloud.requests().iter().any(refused), "{:#?}", stage.cloud.requests());
    ensure!(stage.events("prod").await?.iter().all(|e| e.starts_with("AccountVerified")));
    Ok(())
}
