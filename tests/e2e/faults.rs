//! Cloud failures: missing instances, unavailable targets, changes that do not become visible, lost responses.

mod passing;
mod recovery;
mod throttling;

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, FaultSpec, Policy, RequestRecord};
use serde_json::json;

use crate::checks::{BACKUPS, DESCRIBE, MODIFY, REGIONS, With, expect, message, seconds};
use crate::harness::{INSTANCE, POLICY, Stage, condition};

const WANTED: &str = "active: desired true, found false; crossBackupRegion: desired cn-shanghai, found none";

#[tokio::test]
async fn an_instance_that_is_not_there_yet_is_awaited() -> Result<()> {
    let stage = Stage::running("faults-not-found").await?;
    stage.cloud.remove_instance(INSTANCE)?;
    stage.apply_policy(json!({})).await?;
    let told = stage.until_reason("InstanceNotFound").await?;
    expect(&told, "False", "InstanceNotFound", With::Reconciling)?;
    ensure!(message(&told) == format!("{DESCRIBE}: InstanceNotExist"), "{}", message(&told));
    stage.until_event(POLICY, "ReconcileFailed: InstanceNotFound").await?;

    stage.wait("three looks", || stage.calls(DESCRIBE) >= 3).await?;
    let looks: Vec<_> = stage.requests(DESCRIBE).iter().map(|r| r.at).collect();
    ensure!(looks.windows(2).all(|w| seconds(w[0], w[1]) > 0.9), "backoff: {looks:?}");
    let still = stage.policy().await?;
    ensure!(still["status"] == told["status"], "nothing changed, so nothing is written: {still:#}");
    ensure!(stage.calls(MODIFY) == 0);

    stage.add_instance(INSTANCE)?;
    let policy = stage.until_reason("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    ensure!(stage.modifies() == 1 && policy["status"]["lastModification"]["cause"] == "SpecChanged");
    Ok(())
}

#[tokio::test]
async fn a_target_that_is_not_available_is_named_and_never_sent() -> Result<()> {
    let stage = Stage::running("faults-region").await?;
    stage.apply_policy(json!({"crossBackupRegion": "cn-chengdu"})).await?;
    let policy = stage.until_reason("RegionNotAvailable").await?;
    expect(&policy, "False", "RegionNotAvailable", With::Stalled)?;
    let wanted =
        "cn-chengdu is not available as target of this instance; available: cn-guangzhou, cn-shanghai";
    ensure!(message(&policy) == wanted, "{}", message(&policy));
    stage.until_event(POLICY, "ReconcileFailed: RegionNotAvailable").await?;
    stage.until_another_look().await?;
    stage.until_another_look().await?;
    ensure!(stage.calls(MODIFY) == 0, "nothing is sent that must be refused");
    ensure!(stage.policy().await?["status"] == policy["status"], "told once");

    stage.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)?;
    ensure!(stage.calls(MODIFY) == 1 && stage.modifies() == 1);
    Ok(())
}

#[tokio::test]
async fn a_refused_target_is_explained_where_the_regions_were_not_known() -> Result<()> {
    let stage = Stage::running("faults-region-late").await?;
    let error = Effect::Error {
        status: 500,
        code: "InternalError".to_owned(),
        message: "boom".to_owned(),
        code_n: None,
    };
    stage.fault(REGIONS, Some(1), error)?;
    stage.apply_policy(json!({"crossBackupRegion": "cn-chengdu"})).await?;
    let policy = stage.until_reason("RegionNotAvailable").await?;
    expect(&policy, "False", "RegionNotAvailable", With::Stalled)?;
    ensure!(message(&policy).ends_with("available: cn-guangzhou, cn-shanghai"), "{}", message(&policy));
    stage.until_another_look().await?;
    stage.until_another_look().await?;
    ensure!(stage.calls(MODIFY) == 1 && stage.modifies() == 0, "refused once, and not sent again");
    Ok(())
}

#[tokio::test]
async fn regions_that_may_not_be_asked_do_not_hold_a_change_up() -> Result<()> {
    let stage = Stage::running("faults-regions-denied").await?;
    stage.deny(REGIONS)?;
    stage.apply_policy(json!({})).await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)?;
    ensure!(stage.calls(REGIONS) == 1 && stage.modifies() == 1);

    stage.patch_policy(json!({"crossBackupRegion": "cn-chengdu"})).await?;
    let policy = stage.until_reason("InvalidRequest").await?;
    expect(&policy, "False", "InvalidRequest", With::Stalled)?;
    let text = message(&policy);
    let difference = "crossBackupRegion: desired cn-chengdu, found cn-shanghai";
    ensure!(text.starts_with(&format!("{difference}; {MODIFY}: InvalidRegion: ")), "{text}");
    stage.until_account("CredentialsVerified").await.map(drop)
}

#[tokio::test]
async fn backups_that_may_not_be_listed_are_no_failure_of_the_policy() -> Result<()> {
    let stage = Stage::running("faults-backups-denied").await?;
    stage.add_backup("b-1", 600.0)?;
    stage.deny(BACKUPS)?;
    stage.apply_policy(json!({"recoveryPointObjective": "1h"})).await?;
    let policy = stage.until_reason("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    let met = condition(&policy, "RecoveryPointMet");
    ensure!(met["status"] == "Unknown" && met["reason"] == "BackupsUnknown", "{policy:#}");
    ensure!(policy["status"]["backups"].is_null() && policy["status"]["recoveryPoint"].is_null());
    ensure!(stage.policy_events("ReconcileFailed").await?.is_empty());

    stage.allow(BACKUPS)?;
    let policy = stage
        .until("crbp", POLICY, "the recovery point", |o| {
            condition(o, "RecoveryPointMet")["reason"] == "WithinObjective"
        })
        .await?;
    ensure!(policy["status"]["recoveryPoint"]["backupPointId"] == "b-1");
    Ok(())
}

#[tokio::test]
async fn an_instance_that_does_not_run_is_waited_for() -> Result<()> {
    let stage = Stage::running("faults-not-running").await?;
    stage.patch_instance(json!({"status": "Scaling"}))?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.until_reason("InstanceNotReady").await?;
    expect(&policy, "False", "InstanceNotReady", With::Reconciling)?;
    let wanted = format!("{WANTED}; {MODIFY}: InstanceStatusNotMatch");
    ensure!(message(&policy) == wanted, "{}", message(&policy));
    stage.until_event(POLICY, "ReconcileFailed: InstanceNotReady").await?;
    stage.wait("another try", || stage.calls(MODIFY) >= 2).await?;
    ensure!(stage.modifies() == 0);

    stage.patch_instance(json!({"status": "Running"}))?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)?;
    ensure!(stage.modifies() == 1);
    Ok(())
}

#[tokio::test]
async fn a_change_that_shows_late_is_made_once() -> Result<()> {
    let stage = Stage::running("faults-late").await?;
    stage.patch_instance(json!({"visibility": {"afterSeconds": 5}}))?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.until_reason("Modifying").await?;
    expect(&policy, "False", "Modifying", With::Reconciling)?;
    let wanted = format!("{WANTED}; the cloud accepted the change, and it is not visible yet");
    ensure!(message(&policy) == wanted, "{}", message(&policy));
    ensure!(policy["status"]["policy"]["active"] == false, "what the cloud reports: {policy:#}");
    ensure!(policy["status"]["lastModification"]["to"]["active"] == true);

    let policy = stage.until_reason("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    ensure!(stage.calls(MODIFY) == 1 && stage.modifies() == 1);
    ensure!(policy["status"]["drift"]["corrections"].as_i64().unwrap_or(0) == 0, "{policy:#}");
    stage.until_event(POLICY, "PolicyModified").await?;
    ensure!(stage.policy_events("ModifyNotVisible").await?.is_empty());
    ensure!(stage.policy_events("DriftDetected").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_change_that_does_not_show_is_looked_for_at_its_own_pace() -> Result<()> {
    let stage = Stage::running("faults-never").await?;
    stage.patch_instance(json!({"visibility": "never"}))?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.until_reason("Modifying").await?;
    expect(&policy, "False", "Modifying", With::Reconciling)?;

    stage.wait("the looks of ten seconds", || stage.calls(DESCRIBE) >= 6).await?;
    let modify = stage.requests(MODIFY);
    ensure!(modify.len() == 1, "one attempt takes longer than that: {modify:#?}");
    let looks: Vec<f64> =
        stage.requests(DESCRIBE).iter().skip(1).map(|look| seconds(modify[0].at, look.at)).collect();
    for (wanted, found) in [0.0, 1.0, 2.0, 4.0, 8.0].iter().zip(&looks) {
        ensure!((*wanted..wanted + 1.5).contains(found), "{looks:?}");
    }
    ensure!(stage.policy().await?["status"] == policy["status"], "waiting is told once");
    Ok(())
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_asked_for_again_with_its_token() -> Result<()> {
    let stage = Stage::running("faults-lost").await?;
    stage.fault(MODIFY, Some(1), Effect::LostResponse)?;
    stage.fault(MODIFY, Some(1), Effect::Hang { after_effect: true })?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.until_reason("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    let tries = stage.requests(MODIFY);
    ensure!(tries.len() == 3 && stage.modifies() == 1, "{tries:#?}");
    ensure!(stage.cloud.counters().modifies_replayed == 2);
    let token = tries[0].client_token.clone().unwrap_or_default();
    ensure!(uuid::Uuid::parse_str(&token)?.get_version_num() == 4, "{token}");
    for pair in tries.windows(2) {
        ensure!(pair[0].client_token == pair[1].client_token, "the same attempt, the same token");
        ensure!(pair[0].x_date != pair[1].x_date && pair[0].signature != pair[1].signature, "signed anew");
        ensure!(seconds(pair[0].at, pair[1].at) > 0.9, "backoff");
    }
    ensure!(policy["status"]["lastModification"]["cause"] == "SpecChanged");
    ensure!(policy["status"]["lastModification"]["requestId"].is_string(), "{policy:#}");
    stage.until_event(POLICY, "PolicyModified").await?;
    ensure!(stage.policy_events("PolicyModified").await?.len() == 1);

    // A different change is a new attempt with a new client token.
    stage.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
    stage.until_reason("InSync").await?;
    let tries = stage.requests(MODIFY);
    ensure!(tries.len() == 4 && tries[3].client_token.as_deref() != Some(token.as_str()));
    Ok(())
}

#[tokio::test]
async fn a_new_spec_ends_the_attempt_at_the_old_one() -> Result<()> {
    let stage = Stage::running("faults-superseded").await?;
    let fault = stage.fault(MODIFY, None, Effect::Reset)?;
    stage.apply_policy(json!({})).await?;
    stage.wait("two tries", || stage.calls(MODIFY) >= 2).await?;
    ensure!(stage.policy().await?["status"]["conditions"].is_null(), "an attempt under way is no outcome");
    stage.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
    let to_new = |r: &RequestRecord| r.body["CrossBackupRegion"] == "cn-guangzhou";
    stage.wait("a try at the new one", || stage.requests(MODIFY).iter().any(to_new)).await?;
    let tries = stage.requests(MODIFY);
    let first = tries.iter().position(to_new).unwrap_or_default();
    ensure!(tries[first..].iter().all(to_new), "never back to the old one: {tries:#?}");
    ensure!(tries[first].client_token != tries[first - 1].client_token, "another attempt, another token");
    let looks = stage.requests(DESCRIBE);
    let between = tries[first - 1].number..tries[first].number;
    ensure!(looks.iter().any(|look| between.contains(&look.number)), "a Describe comes first");
    stage.cloud.remove_fault(fault)?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)?;
    ensure!(stage.held()? == Policy::to_region("cn-guangzhou") && stage.modifies() == 1);
    Ok(())
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_by_the_clouds() -> Result<()> {
    let mut stage = Stage::new("faults-clock").await?;
    stage.place(FaultSpec::new(Effect::ClockSkew { seconds: 3600.0 }))?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)?;
    stage.until_another_look().await?;
    let refused = stage.cloud.counters().by_outcome.get("InvalidTimestamp").copied();
    ensure!(refused == Some(1), "once for the account, not once per call: {refused:?}");
    ensure!(stage.modifies() == 1);
    Ok(())
}
