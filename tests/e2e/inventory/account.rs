//! Status of an inventory while its account cannot be used.

use anyhow::{Result, ensure};
use cloud_simulator::Rotation;
use serde_json::{Value, json};

use super::{CLOUDS, T_SECRET_ID, ids};
use crate::checks::{With, expect, message};
use crate::harness::{INSTANCE, KEY_ID, Stage};

fn secret_of(account: &str) -> (&'static str, &'static str) {
    if account == "tencent" { ("tencent-key", T_SECRET_ID) } else { ("cloud-key", KEY_ID) }
}

#[tokio::test]
async fn an_account_that_comes_later_is_awaited() -> Result<()> {
    let mut stage = Stage::new("inv-no-account").await?;
    stage.flag("--resync-interval-override=9999h");
    stage.start_operator().await?;
    stage.add_pages(1)?;
    for (account, _, list) in CLOUDS {
        stage.apply_inventory(account, Stage::whole(account, json!({}))).await?;
        let inventory = stage.until_inventory(account, "AccountNotFound").await?;
        expect(&inventory, "False", "AccountNotFound", With::Reconciling)?;
        stage.request_now("bkinv", account, "now").await?;
        stage.until_handled("bkinv", account, "now").await?;
        match account {
            "prod" => stage.apply_account().await?,
            _ => stage.apply_tencent_account().await?,
        }
        let inventory = stage.until_inventory(account, "Listed").await?;
        ensure!(inventory["status"]["total"] == 100 && stage.calls(list) == 1, "{inventory:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_wrong_or_missing_is_told_and_the_right_one_is_taken_at_once() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-wrong-key", "9999h").await?;
    stage.add_pages(1)?;
    for (account, _, list) in CLOUDS {
        let (secret, id) = secret_of(account);
        let right: Value = stage.get("secret", secret).await?["data"].clone();
        stage
            .put_secret_named(secret, json!({"accessKeyId": id, "secretAccessKey": "not-the-right-one"}))
            .await?;
        stage.request_now("cacct", account, "now").await?;
        let rejected = |o: &Value| crate::harness::condition(o, "Ready")["reason"] == "CredentialsRejected";
        stage.until("cacct", account, "CredentialsRejected", rejected).await?;
        stage.apply_inventory(account, Stage::whole(account, json!({}))).await?;
        let inventory = stage.until_inventory(account, "CredentialsRejected").await?;
        expect(&inventory, "False", "CredentialsRejected", With::Stalled)?;
        ensure!(stage.calls(list) == 0, "{} listings", stage.calls(list));

        stage.run(["delete", "secret", secret]).await?;
        let inventory = stage.until_inventory(account, "CredentialsMissing").await?;
        expect(&inventory, "False", "CredentialsMissing", With::Reconciling)?;
        ensure!(message(&inventory).contains(secret), "{inventory:#}");

        let again = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": secret, "namespace": stage.namespace}, "data": right,
        });
        stage.apply(again).await?;
        let inventory = stage.until_inventory(account, "Listed").await?;
        ensure!(inventory["status"]["total"] == 100, "{inventory:#}");

        // After a later revocation a listing reports the rejection, and the listed facts stay in status.
        stage.cloud.set_key_status(id, cloud_simulator::KeyStatus::Revoked)?;
        stage.request_now("bkinv", account, "revoked").await?;
        let inventory = stage.until_inventory(account, "CredentialsRejected").await?;
        expect(&inventory, "False", "CredentialsRejected", With::Stalled)?;
        ensure!(inventory["status"]["total"] == 100, "{inventory:#}");
        stage.until_handled("bkinv", account, "revoked").await?;
        stage.cloud.set_key_status(id, cloud_simulator::KeyStatus::Active)?;
        let before = stage.calls(list);
        stage.request_now("bkinv", account, "active").await?;
        stage.until_inventory(account, "Listed").await?;
        ensure!(stage.calls(list) > before, "it says Listed and has listed nothing");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_rotated_over_and_over_takes_nothing_away() -> Result<()> {
    let stage = Stage::running("inv-rotation").await?;
    stage.add_backup("b-1", 60.0)?;
    let spec = json!({"scope": "Instance", "instanceId": INSTANCE});
    stage.listed("one", spec).await?;
    for number in 0..8 {
        // The cloud rejects the old key before the operator can have read the new one.
        let secret_access_key = format!("rotated-secret-key-{number}");
        let rotation = Rotation { secret_access_key: secret_access_key.clone(), ..Rotation::default() };
        stage.cloud.rotate_key(KEY_ID, rotation)?;
        let rejected = || stage.cloud.counters().by_outcome.get("SignatureDoesNotMatch").copied();
        let before = rejected();
        stage.request_now("bkinv", "one", &number.to_string()).await?;
        if number % 2 == 0 {
            stage.wait("the old key to be rejected", || rejected() > before).await?;
        }
        stage.apply_secret(KEY_ID, &secret_access_key).await?;
        stage.until_handled("bkinv", "one", &number.to_string()).await?;
        let inventory = stage.until_inventory("one", "Listed").await?;
        ensure!(inventory["status"]["total"] == 1 && ids(&inventory["status"])? == ["b-1"], "{inventory:#}");
    }
    Ok(())
}
