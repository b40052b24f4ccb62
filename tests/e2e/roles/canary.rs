//! Tokens and temporary credentials appear in no output.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, FaultSpec, KeyStatus};
use serde_json::json;

use super::TOKEN;
use super::scene::{By, SECRET_KEY, Scene};
use crate::canary::{EVERYTHING, forms};
use crate::harness::{POLICY, Stage, condition};

/// Checks that a text contains none of the values, in any encoding.
fn hides(place: &str, text: &str, values: &[String]) -> Result<()> {
    for form in values.iter().flat_map(|value| forms(value)) {
        let line = text.lines().find(|line| line.contains(&form));
        ensure!(line.is_none(), "{place} shows {form}: {}", line.unwrap_or_default());
    }
    Ok(())
}

#[tokio::test]
async fn logs_as_json_status_and_events_hide_tokens_and_what_they_lead_to() -> Result<()> {
    let scene = Scene::new("canary-identity", false, By::Identity).await?;
    let assume = json!({"role": scene.role("assumed")});
    scene.put_account(json!({"assumeRole": assume})).await?;
    scene.put_resource().await?;
    scene.until_good().await?;
    // The cloud repeats them: the credentials that signed the call, and the token in an unknown error code.
    for (number, form) in forms(TOKEN).into_iter().enumerate() {
        let below = scene.issued_for("trusted").pop();
        let between = below.map(|key| key.access_key_id).unwrap_or_default();
        let message = format!("{form} {between} {TOKEN}");
        let effect = Effect::Error { status: 403, code: "AccessDenied".to_owned(), message, code_n: None };
        let fault = scene.cloud.place_fault(
            FaultSpec::new(effect).on_action("DescribeCrossRegionBackupPolicy").on_instance(&scene.instance),
        )?;
        if number == 0 {
            scene.revoke()?;
        }
        scene.ask(scene.resource(), &format!("look-{number}")).await?;
        scene.mend(fault)?;
    }
    scene.ask(scene.resource(), "healed").await?;
    scene.until_good().await?;
    let mut values = vec![TOKEN.to_owned(), SECRET_KEY.to_owned(), scene.key.clone()];
    for key in scene.issued() {
        values.extend([key.secret_access_key, key.access_key_id]);
        values.extend(key.session_token);
    }
    ensure!(values.len() >= 3 + 4 * 3, "two exchanges of two steps");
    hides("the cluster", &scene.shown().await?, &values)?;
    let log = scene.operator.log();
    ensure!(
        log.contains("\"TRACE\"") && log.contains("AssumeRoleWithOIDC"),
        "it is to be the most verbose log"
    );
    hides("the log", &log, &values)
}

#[tokio::test]
async fn logs_as_text_hide_what_a_secret_leads_to() -> Result<()> {
    let mut stage = Stage::new("canary-roles").await?;
    stage.flag(EVERYTHING);
    stage.cloud.put_role(cloud_simulator::RoleSpec::new("trn:iam::2100000000:role/assumed"))?;
    let mut account = stage.account_manifest();
    account["spec"]["assumeRole"] = json!({"role": "trn:iam::2100000000:role/assumed"});
    account["spec"]["stsEndpoint"] = json!(stage.endpoint);
    stage.apply_secret(crate::harness::KEY_ID, crate::harness::SECRET_KEY).await?;
    stage.apply(account).await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    stage.until_reason("InSync").await?;
    let issued = || {
        let mut keys = stage.cloud.keys();
        keys.retain(|key| key.session_token.is_some());
        keys
    };
    for key in issued() {
        stage.cloud.set_key_status(&key.access_key_id, KeyStatus::Revoked)?;
    }
    stage.more_looks(3).await?;
    // The STS refuses, and repeats in its message the key that signed the request.
    let message = format!("{} {}", crate::harness::KEY_ID, crate::harness::SECRET_KEY);
    let effect = Effect::Error { status: 403, code: "AccessDenied".to_owned(), message, code_n: None };
    stage.fault("AssumeRole", None, effect)?;
    for key in issued() {
        stage.cloud.set_key_status(&key.access_key_id, KeyStatus::Revoked)?;
    }
    let policy = stage.until_reason("CredentialsRejected").await?;
    ensure!(
        condition(&policy, "Ready")["message"]
            == "CloudAccount prod: the role was refused: AssumeRole: AccessDenied",
        "{policy:#}"
    );
    stage.cloud.clear_faults();
    stage.until_reason("InSync").await?;
    stage.until_event("prod", "AccountVerified").await?;
    let mut values = vec![crate::harness::KEY_ID.to_owned(), crate::harness::SECRET_KEY.to_owned()];
    for key in issued() {
        values.extend([key.secret_access_key, key.access_key_id]);
        values.extend(key.session_token);
    }
    ensure!(values.len() >= 2 + 3 * 3, "{}", values.len());
    hides("the cluster", &stage.everything().await?, &values)?;
    stage.operator().terminate(crate::harness::LIMIT).await?;
    let log = stage.log();
    ensure!(log.contains("TRACE") && log.contains("AssumeRole") && log.contains(POLICY));
    hides("the log", &log, &values)
}
