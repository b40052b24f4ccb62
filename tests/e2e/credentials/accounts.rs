//! Accounts that do not exist, that a policy may not use, or that cannot be reached yet.

use anyhow::{Result, ensure};
use cloud_simulator::{Clock, Effect, FaultSpec, Server, Simulator, ThrottleStyle};
use serde_json::{Value, json};

use crate::checks::{BACKUPS, DESCRIBE, MODIFY, VERIFY, With, expect, message};
use crate::credentials::{patient, until_recovered};
use crate::harness::{KEY_ID, LIMIT, POLICY, SECRET_KEY, Stage, condition};

#[tokio::test]
async fn a_policy_waits_for_its_account_to_be_created() -> Result<()> {
    let mut stage = patient("accounts-later").await?;
    stage.start_operator().await?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.until_reason("AccountNotFound").await?;
    expect(&policy, "False", "AccountNotFound", With::Reconciling)?;
    ensure!(message(&policy) == "CloudAccount prod does not exist in this namespace", "{}", message(&policy));
    ensure!(stage.cloud.counters().requests == 0);
    stage.apply_account().await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)
}

#[tokio::test]
async fn an_account_that_is_deleted_takes_no_facts_along() -> Result<()> {
    let mut stage = patient("accounts-deleted").await?;
    stage.add_backup("b-1", 60.0)?;
    stage.apply_account().await?;
    stage.apply_policy(json!({"recoveryPointObjective": "1h"})).await?;
    stage.start_operator().await?;
    let before = stage.until_reason("InSync").await?;
    stage.run(["delete", "cacct", "prod"]).await?;
    let policy = stage.until_reason("AccountNotFound").await?;
    expect(&policy, "False", "AccountNotFound", With::Reconciling)?;
    for field in
        ["policy", "recoveryPoint", "backups", "protectedSince", "syncedGeneration", "lastModification"]
    {
        ensure!(policy["status"][field] == before["status"][field], "{field} is kept: {policy:#}");
    }
    ensure!(condition(&policy, "RecoveryPointMet") == condition(&before, "RecoveryPointMet"));
    let asked = stage.cloud.counters().requests;

    stage.apply_account().await?;
    let policy = stage.until_reason("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    ensure!(stage.cloud.counters().requests > asked && stage.modifies() == 1);
    ensure!(policy["status"]["protectedSince"] == before["status"]["protectedSince"]);
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_is_not_allowed_is_sent_nothing() -> Result<()> {
    let elsewhere = Simulator::new(Clock::system());
    let server = Server::start(elsewhere.clone()).await?;
    let mut stage = patient("accounts-endpoint").await?;
    stage.apply_secret(KEY_ID, SECRET_KEY).await?;
    let mut account = stage.account_manifest();
    account["spec"]["endpoint"] = json!(server.url());
    stage.apply(account).await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    let account = stage.until_account("EndpointNotAllowed").await?;
    expect(&account, "False", "EndpointNotAllowed", With::Stalled)?;
    ensure!(message(&account).contains("--allowed-endpoint"), "{}", message(&account));
    stage.until_event("prod", "ReconcileFailed: EndpointNotAllowed").await?;
    let policy = stage.until_reason("EndpointNotAllowed").await?;
    expect(&policy, "False", "EndpointNotAllowed", With::Stalled)?;
    stage.request_now("crbp", POLICY, "now").await?;
    stage.until_handled("crbp", POLICY, "now").await?;
    stage.request_now("cacct", "prod", "now").await?;
    stage.until_handled("cacct", "prod", "now").await?;
    ensure!(elsewhere.counters().requests == 0 && stage.cloud.counters().requests == 0);

    stage.patch_account(json!({"endpoint": stage.endpoint})).await?;
    until_recovered(&stage).await?;
    ensure!(elsewhere.counters().requests == 0);
    Ok(())
}

#[tokio::test]
async fn a_cloud_that_is_not_reached_at_first_is_tried_again() -> Result<()> {
    let mut stage = patient("accounts-unreachable").await?;
    let fault = stage.fault(VERIFY, None, Effect::Reset)?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    let account = stage.until_account("EndpointUnreachable").await?;
    expect(&account, "False", "EndpointUnreachable", With::Reconciling)?;
    let wanted = format!("{VERIFY}: connection reset: the endpoint ended the connection without an answer");
    ensure!(message(&account) == wanted, "{}", message(&account));
    let policy = stage.until_reason("AccountNotReady").await?;
    expect(&policy, "False", "AccountNotReady", With::Reconciling)?;
    let wanted = "CloudAccount prod: not verified yet: EndpointUnreachable";
    ensure!(message(&policy) == wanted, "{}", message(&policy));
    let tries = stage.fired(fault);
    stage.wait("another try", || stage.fired(fault) > tries).await?;
    ensure!(stage.calls(DESCRIBE) == 0);
    stage.cloud.remove_fault(fault)?;
    until_recovered(&stage).await.map(drop)
}

#[tokio::test]
async fn an_account_that_was_verified_does_not_flap() -> Result<()> {
    let stage = Stage::running("accounts-steady").await?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.until_reason("InSync").await?;
    let before = stage.until_account("CredentialsVerified").await?;
    let error = Effect::Error {
        status: 503,
        code: "ServiceUnavailableTemp".to_owned(),
        message: String::new(),
        code_n: None,
    };
    let looks = stage.fault(DESCRIBE, None, error.clone())?;
    stage.fault(BACKUPS, None, error.clone())?;
    let probes = stage.fault(VERIFY, None, error)?;
    stage.wait("failed looks", || stage.fired(looks) >= 2).await?;
    stage.request_now("cacct", "prod", "now").await?;
    let account = stage.until_handled("cacct", "prod", "now").await?;
    ensure!(stage.fired(probes) >= 1, "the request is a verification");
    ensure!(account["status"]["conditions"] == before["status"]["conditions"], "{account:#}");
    stage.wait("failed verifications", || stage.fired(probes) >= 3).await?;
    let account = stage.get("cacct", "prod").await?;
    ensure!(account["status"]["conditions"] == before["status"]["conditions"], "{account:#}");
    ensure!(stage.policy().await?["status"] == policy["status"]);

    stage.cloud.clear_faults();
    stage.until_another_look().await?;
    let account = stage.get("cacct", "prod").await?;
    ensure!(account["status"]["conditions"] == before["status"]["conditions"], "{account:#}");
    let events = stage.events("prod").await?;
    ensure!(events.iter().all(|e| e.starts_with("AccountVerified")), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn a_new_spec_of_an_account_is_told_at_once_also_where_the_cloud_is_away() -> Result<()> {
    let stage = Stage::running("accounts-new-spec").await?;
    stage.until_account("CredentialsVerified").await?;
    let fault = stage.fault(VERIFY, None, Effect::Reset)?;
    stage.patch_account(json!({"requestTimeout": "3s"})).await?;
    let account = stage.until_account("EndpointUnreachable").await?;
    expect(&account, "False", "EndpointUnreachable", With::Reconciling)?;
    // Policies of the account are judged by their own polls, not by the account's verification.
    stage.apply_policy(json!({})).await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)?;
    stage.cloud.remove_fault(fault)?;
    expect(&stage.until_account("CredentialsVerified").await?, "True", "CredentialsVerified", With::Nothing)
}

#[tokio::test]
async fn kubectl_shows_an_account_in_its_columns() -> Result<()> {
    let stage = Stage::running("accounts-columns").await?;
    stage.until_account("CredentialsVerified").await?;
    let shown = stage.run(["get", "cacct"]).await?;
    let lines: Vec<Vec<&str>> = shown.lines().map(|l| l.split_whitespace().collect()).collect();
    ensure!(lines[0] == ["NAME", "PROVIDER", "READY", "REASON", "AGE"], "{shown}");
    ensure!(lines[1][..4] == ["prod", "Volcengine", "True", "CredentialsVerified"], "{shown}");
    ensure!(lines[1].len() == 5, "{shown}");
    let wide = stage.run(["get", "cacct", "-o", "wide"]).await?;
    ensure!(wide.lines().next().is_some_and(|l| l.ends_with("MESSAGE")), "{wide}");
    ensure!(wide.contains("the cloud accepted the credentials"), "{wide}");
    let all = stage.run(["get", "crossregionbackup"]).await?;
    ensure!(all.contains("prod"), "{all}");
    Ok(())
}

#[tokio::test]
async fn a_restart_believes_what_was_verified_and_repeats_nothing() -> Result<()> {
    let mut stage = patient("accounts-restart").await?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    until_recovered(&stage).await?;
    let stored = stage.run(["get", "cacct,crbp", "-o", "json"]).await?;
    let (verified, modified) = (stage.calls(VERIFY), stage.calls(MODIFY));
    let ended = stage.operator().terminate(LIMIT).await?;
    ensure!(ended.success(), "{ended}");
    stage.start_operator().await?;
    stage.request_now("crbp", POLICY, "now").await?;
    stage.until_handled("crbp", POLICY, "now").await?;
    ensure!(stage.calls(VERIFY) == verified, "what status says of this spec is believed");
    ensure!(stage.calls(MODIFY) == modified);
    let conditions = |text: &str| -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(text)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items.iter().map(|o| o["status"]["conditions"].clone()).collect())
    };
    let now = stage.run(["get", "cacct,crbp", "-o", "json"]).await?;
    ensure!(conditions(&now)? == conditions(&stored)?, "{now}");
    ensure!(stage.events("prod").await?.len() == 1 && stage.events(POLICY).await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_is_asked_for_now_and_then() -> Result<()> {
    let stage = Stage::new("accounts-blind").await?;
    stage.run(["create", "serviceaccount", "blind"]).await?;
    // The role also lacks access to inventories, as in an older installation, which must not stop anything else.
    for (name, verb, resources) in [
        (
            "kinds",
            "*",
            "cloudaccounts.crossregionbackup.io,crossregionbackuppolicies.crossregionbackup.io,cloudaccounts.crossregionbackup.io/status,crossregionbackuppolicies.crossregionbackup.io/status",
        ),
        ("secrets", "list,watch", "secrets"),
        ("events", "create,patch", "events.events.k8s.io"),
    ] {
        let (verb, resource) = (format!("--verb={verb}"), format!("--resource={resources}"));
        stage.run(["create", "role", name, &verb, &resource]).await?;
        let subject = format!("--serviceaccount={}:blind", stage.namespace);
        stage.run(["create", "rolebinding", name, &format!("--role={name}"), &subject]).await?;
    }
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    let account = (stage.namespace.as_str(), "blind");
    let operator = stage.another_operator("blind", account, &["--leader-elect=false"]).await?;
    let tries = || operator.log().matches("a Secret could not be read").count();
    stage.wait("the first try", || tries() > 0).await?;
    let account = stage.until_account("CredentialsMissing").await?;
    ensure!(message(&account) == "Secret cloud-key cannot be read by the operator", "{}", message(&account));
    // One read every 5 s, and one for each change of the account, its status included.
    ensure!((3..=10).contains(&tries()), "{} tries: {}", tries(), operator.log_tail());
    expect(
        &stage.until_reason("CredentialsMissing").await?,
        "False",
        "CredentialsMissing",
        With::Reconciling,
    )?;
    stage.run(["create", "role", "read", "--verb=get", "--resource=secrets"]).await?;
    let subject = format!("--serviceaccount={}:blind", stage.namespace);
    stage.run(["create", "rolebinding", "read", "--role=read", &subject]).await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)
}

#[tokio::test]
async fn a_spec_that_was_not_tried_yet_is_not_said_to_be_verified() -> Result<()> {
    let stage = Stage::running("accounts-untried").await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    stage.until_account("CredentialsVerified").await?;
    // The cloud throttles the whole account; nothing can be verified during the pause.
    let pause = Effect::Throttle { style: ThrottleStyle::Flow429, retry_after: Some("5".to_owned()) };
    let fault = stage.place(FaultSpec::new(pause).on_action(DESCRIBE).times(1))?;
    stage.wait("the pause", || stage.fired(fault) == 1).await?;
    // The first accepted call verifies the account; after the pause that may be the policy's call.
    let calls = || stage.calls(VERIFY) + stage.calls(DESCRIBE);
    let tried = calls();
    stage.patch_account(json!({"requestTimeout": "6s"})).await?;
    let told =
        stage.until("cacct", "prod", "the new spec", |o| o["status"]["observedGeneration"] == 2).await?;
    ensure!(calls() > tried, "it was not tried: {told:#}");
    expect(&told, "True", "CredentialsVerified", With::Nothing)
}
