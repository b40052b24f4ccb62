//! Credentials that expire, are revoked, or cannot be renewed while resources use them.

use anyhow::{Result, ensure};
use cloud_simulator::Effect;
use serde_json::{Value, json};

use super::scene::{By, Scene};
use super::words::error;
use crate::checks::{With, message};
use crate::harness::{LIMIT, condition};

impl Scene {
    /// Makes the operator poll the resource, which takes at least one call.
    async fn look(&self, value: &str) -> Result<Value> {
        let before = self.calls().len();
        let seen = self.ask(self.resource(), value).await?;
        self.wait("a call", || self.calls().len() > before).await?;
        Ok(seen)
    }
}

#[tokio::test]
async fn revoked_credentials_are_replaced_and_nobody_notices() -> Result<()> {
    for (name, tencent) in [("outage-revoked", false), ("outage-revoked-tencent", true)] {
        let scene = Scene::good_with(name, tencent, By::Secret, json!({})).await?;
        let (account, resource) = (scene.get(scene.kind()).await?, scene.get(scene.resource()).await?);
        for number in 1..=3 {
            scene.revoke()?;
            scene.look(&format!("look-{number}")).await?;
            ensure!(scene.issued().len() == number + 1, "one exchange for each");
        }
        scene.unmoved_since(&account).await?;
        scene.unmoved_since(&resource).await?;
        let rejected = scene.calls().iter().filter(|call| call.authentic == Some(false)).count();
        ensure!(rejected == 3, "each was told once: {rejected}");
    }
    Ok(())
}

#[tokio::test]
async fn an_sts_that_is_down_matters_to_nobody_while_credentials_last() -> Result<()> {
    let scene = Scene::good_with("outage-valid", false, By::Secret, json!({})).await?;
    let (account, policy) = (scene.get(scene.kind()).await?, scene.get(scene.resource()).await?);
    scene.spoil(Effect::Delay { seconds: 30.0 })?;
    for number in 1..=3 {
        scene.look(&format!("look-{number}")).await?;
    }
    scene.ask_account("now").await?;
    scene.unmoved_since(&account).await?;
    scene.unmoved_since(&policy).await?;
    ensure!(scene.issued().len() == 1 && scene.asked("AssumeRole") == 1);
    Ok(())
}

#[tokio::test]
async fn an_sts_that_is_down_when_others_are_needed_is_told_and_its_return_heals() -> Result<()> {
    let scene = Scene::good_with("outage-down", false, By::Secret, json!({})).await?;
    let (account, policy) = (scene.get(scene.kind()).await?, scene.get(scene.resource()).await?);
    let fault = scene.spoil(error(503, "ServiceUnavailableTemp"))?;
    scene.revoke()?;
    scene.ask(scene.resource(), "down").await?;
    // Observed facts stay valid for a while, so that the conditions do not change yet.
    scene.unmoved_since(&account).await?;
    scene.unmoved_since(&policy).await?;
    let rejected = scene.calls().iter().filter(|call| call.authentic == Some(false)).count();
    ensure!(rejected == 1, "revoked ones are not used again: {rejected}");
    // The outcome of a new spec is reported at once.
    scene.put_resource_with(json!({"backups": {"limit": 7}})).await?;
    let says = |o: &Value| condition(o, "Ready")["reason"] == "CloudUnavailable";
    let policy = scene.until(scene.resource(), "CloudUnavailable", says).await?;
    ensure!(message(&policy) == "AssumeRole: ServiceUnavailableTemp", "{}", message(&policy));
    scene.put_account(json!({"requestTimeout": "3s"})).await?;
    let text = "AssumeRole: ServiceUnavailableTemp";
    scene.until_account("EndpointUnreachable", With::Reconciling, text).await?;
    scene.mend(fault)?;
    scene.ask_account("up").await?;
    scene.until_good().await.map(drop)
}

#[tokio::test]
async fn a_role_that_is_withdrawn_is_told_when_others_are_needed_and_heals() -> Result<()> {
    let scene = Scene::good_with("outage-withdrawn", false, By::Secret, json!({})).await?;
    scene.cloud.remove_role(&scene.role("assumed"))?;
    scene.look("still").await?;
    scene.until_good().await?;
    scene.revoke()?;
    scene.ask(scene.resource(), "now").await?;
    let text = "the role was refused: AssumeRole: RoleNotExist";
    scene.until_account("CredentialsRejected", With::Stalled, text).await?;
    scene.until_resource("CredentialsRejected", text).await?;
    scene.put_role(scene.new_role("assumed"))?;
    scene.ask_account("now").await?;
    scene.until_good().await.map(drop)
}

/// Tencent Cloud reports when the credentials expire, but not its own time: with a cloud clock that is ahead they last
/// only for seconds.
#[tokio::test]
async fn a_life_of_seconds_is_renewed_in_time_and_its_end_is_respected() -> Result<()> {
    let scene = Scene::new("outage-short", true, By::Secret).await?;
    let skew = scene.spoil(Effect::ClockSkew { seconds: 885.0 })?;
    let assume = json!({"role": scene.role("assumed"), "duration": "15m"});
    scene.put_account(json!({"assumeRole": assume})).await?;
    scene.put_resource().await?;
    scene.until_good().await?;
    let (account, inventory) = (scene.get(scene.kind()).await?, scene.get(scene.resource()).await?);
    scene.wait("a renewal", || scene.issued().len() >= 2).await?;
    scene.look("renewed").await?;

    // From now on STS issues none, and the current credentials expire within seconds.
    let down = scene.spoil(error(500, "InternalError"))?;
    scene.wait("a renewal that fails", || scene.spoilt(down) > 0).await?;
    scene.look("held").await?;
    let mut looks = 0;
    testbed::wait_until(LIMIT, "the end", async || {
        let calls = scene.calls().len();
        looks += 1;
        scene.ask(scene.resource(), &format!("look-{looks}")).await?;
        Ok((scene.calls().len() == calls).then_some(()))
    })
    .await?;
    scene.unmoved_since(&account).await?;
    scene.unmoved_since(&inventory).await?;
    let calls = scene.calls();
    ensure!(calls.iter().all(|call| call.authentic == Some(true)), "the cloud would still take them");
    let assume = json!({"role": scene.role("assumed"), "duration": "20m"});
    scene.put_account(json!({"assumeRole": assume})).await?;
    scene.until_account("EndpointUnreachable", With::Reconciling, "AssumeRole: InternalError").await?;
    ensure!(scene.calls().len() == calls.len(), "what has ended signs nothing");
    scene.mend(down)?;
    scene.mend(skew)?;
    scene.ask_account("now").await?;
    scene.until_good().await.map(drop)
}
