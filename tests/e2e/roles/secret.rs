//! A role assumed with the key of a Secret, in a namespace of its own.

use anyhow::{Result, ensure};
use cloud_simulator::{KeyStatus, RoleSpec};
use serde_json::json;

use super::scene::{By, SECRET_KEY, Scene};
use crate::checks::{With, expect};

const SESSION: &str = "nightly-backups.1@shop";
const EXTERNAL_ID: &str = "shop 7/ä+b&c=d%";

async fn a_role_on_top_of_a_secret_signs_every_request(name: &str, tencent: bool) -> Result<()> {
    let scene = Scene::new(name, tencent, By::Secret).await?;
    let external_id = Some(EXTERNAL_ID.to_owned());
    let role = RoleSpec { external_id, max_duration_seconds: 8130, ..scene.new_role("assumed") };
    scene.put_role(role)?;
    let assume = json!({
        "role": scene.role("assumed"), "sessionName": SESSION, "externalId": EXTERNAL_ID, "duration": "2h15m30s",
    });
    scene.put_account(json!({"assumeRole": assume})).await?;
    scene.put_resource().await?;
    scene.until_good().await?;
    let account = scene.get(scene.kind()).await?;
    expect(&account, "True", "CredentialsVerified", With::Nothing)?;
    let hint = if tencent { "AKID…0077" } else { "AKLT…0077" };
    ensure!(account["status"]["accessKeyIdHint"] == hint, "of the Secret's key: {account:#}");

    let issued = scene.issued();
    ensure!(issued.len() == 1, "{} exchanges", issued.len());
    ensure!(issued[0].user == format!("assumed/{SESSION}"), "{}", issued[0].user);
    let exchange = &scene.signed()[0];
    ensure!(
        exchange.action.as_deref() == Some("AssumeRole")
            && exchange.access_key_id.as_ref() == Some(&scene.key)
    );
    let life = issued[0].expires_at.map(|end| end.duration_since(exchange.at).as_secs());
    ensure!(life.is_some_and(|life| (8128..=8130).contains(&life)), "{life:?}");
    if tencent {
        let body = json!({
            "RoleArn": scene.role("assumed"), "RoleSessionName": SESSION, "ExternalId": EXTERNAL_ID,
            "DurationSeconds": 8130,
        });
        ensure!(exchange.body == body, "{:#}", exchange.body);
    }
    let calls = scene.calls();
    ensure!(calls.len() >= 2, "a verification, and the resource's own");
    for call in calls {
        ensure!(call.access_key_id.as_ref() == Some(&issued[0].access_key_id), "{call:?}");
        ensure!(call.authentic == Some(true), "{call:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_role_on_top_of_a_secret_signs_every_request_at_volcengine() -> Result<()> {
    a_role_on_top_of_a_secret_signs_every_request("secret-volcengine", false).await
}

#[tokio::test]
async fn a_role_on_top_of_a_secret_signs_every_request_at_tencent_cloud() -> Result<()> {
    a_role_on_top_of_a_secret_signs_every_request("secret-tencent", true).await
}

#[tokio::test]
async fn another_secret_and_another_role_are_taken_at_once() -> Result<()> {
    let scene = Scene::good_with("secret-other", false, By::Secret, json!({})).await?;
    let other = format!("{}8", &scene.key[..scene.key.len() - 1]);
    let spec = cloud_simulator::KeySpec::new(&other, SECRET_KEY);
    scene.cloud.put_key(cloud_simulator::KeySpec { account_id: scene.account_id, ..spec })?;
    scene.cloud.set_key_status(&scene.key, KeyStatus::Revoked)?;
    scene.put_secret(json!({"accessKeyId": other, "secretAccessKey": SECRET_KEY})).await?;
    scene.until("CloudAccount", "the other key", |o| o["status"]["accessKeyIdHint"] == "AKLT…0078").await?;
    scene.until_good().await?;
    let of_other = |r: &cloud_simulator::RequestRecord| r.access_key_id.as_ref() == Some(&other);
    ensure!(
        scene
            .cloud
            .requests()
            .iter()
            .filter(|r| of_other(r))
            .all(|r| r.action.as_deref() == Some("AssumeRole"))
    );

    scene.put_role(scene.new_role("second"))?;
    scene.put_account(json!({"assumeRole": {"role": scene.role("second")}})).await?;
    scene.until_good().await?;
    scene
        .wait("a call with the second role", || {
            let ids: Vec<_> = scene.issued_for("second").into_iter().map(|key| key.access_key_id).collect();
            scene.calls().iter().any(|call| call.access_key_id.as_ref().is_some_and(|id| ids.contains(id)))
        })
        .await?;
    ensure!(scene.issued_for("second").len() == 1);
    // Without a role the Secret's own key signs again.
    scene.put_account(json!({"assumeRole": null})).await?;
    scene.until_good().await?;
    scene.ask(scene.resource(), "now").await?;
    let last = scene.cloud.requests().into_iter().rfind(of_other);
    ensure!(last.is_some_and(|call| call.action.as_deref() != Some("AssumeRole")));
    Ok(())
}
