//! The operator's own identity as the credentials of shared accounts.

use anyhow::{Result, ensure};
use cloud_simulator::RoleSpec;
use serde_json::json;

use super::TOKEN;
use super::scene::{By, Scene};
use crate::checks::{With, expect};
use crate::harness::condition;

async fn its_role_signs_and_the_one_on_top_where_there_is_one(scene: &Scene) -> Result<()> {
    scene.put_account(json!({})).await?;
    scene.put_resource().await?;
    scene.until_good().await?;
    let account = scene.get(scene.kind()).await?;
    expect(&account, "True", "CredentialsVerified", With::Nothing)?;
    ensure!(account["status"]["accessKeyIdHint"].is_null(), "{account:#}");
    let issued = scene.issued_for("trusted");
    ensure!(issued.len() == 1 && issued[0].user == "trusted/cross-region-backup-operator", "{issued:?}");
    for call in scene.calls() {
        ensure!(call.access_key_id.as_ref() == Some(&issued[0].access_key_id), "{call:?}");
    }

    let external_id = Some("chain".to_owned());
    scene.put_role(RoleSpec { external_id, ..scene.new_role("assumed") })?;
    let assume = json!({"role": scene.role("assumed"), "externalId": "chain", "sessionName": "on-top"});
    scene.put_account(json!({"assumeRole": assume})).await?;
    scene.wait("the role on top", || !scene.issued_for("assumed").is_empty()).await?;
    scene.until_good().await?;
    scene.ask(scene.resource(), "now").await?;
    let (below, above) = (scene.issued_for("trusted"), scene.issued_for("assumed"));
    ensure!(below.len() == 2 && above.len() == 1 && above[0].user == "assumed/on-top", "{above:?}");
    let signer = |action: &str| {
        let all = scene.signed().into_iter().filter(|r| r.action.as_deref() == Some(action));
        all.filter_map(|r| r.access_key_id).collect::<Vec<_>>()
    };
    let assumed_by = signer("AssumeRole");
    ensure!(assumed_by.len() == 1 && below.iter().any(|key| key.access_key_id == assumed_by[0]));
    let last = scene.calls().pop().and_then(|call| call.access_key_id);
    ensure!(last.as_ref() == Some(&above[0].access_key_id), "{last:?}");
    ensure!(scene.get(scene.kind()).await?["status"]["accessKeyIdHint"].is_null());
    Ok(())
}

#[tokio::test]
async fn volcengine_trusts_the_operators_token() -> Result<()> {
    let scene = Scene::new("identity-volcengine", false, By::Identity).await?;
    its_role_signs_and_the_one_on_top_where_there_is_one(&scene).await
}

#[tokio::test]
async fn tencent_cloud_trusts_the_operators_token_and_the_one_that_follows() -> Result<()> {
    let scene = Scene::new("identity-tencent", true, By::Identity).await?;
    let file = scene.tencent_token().await?;
    its_role_signs_and_the_one_on_top_where_there_is_one(&scene).await?;
    // After the rotation the former token is rejected, and the next exchange sends the new one.
    let next = format!("{TOKEN}2");
    std::fs::write(&*file, &next)?;
    scene.trust(&[&next])?;
    let before = scene.issued_for("trusted").len();
    scene.put_account(json!({"requestTimeout": "3s"})).await?;
    scene.wait("another exchange", || scene.issued_for("trusted").len() > before).await?;
    scene.until_good().await?;
    Ok(())
}

#[tokio::test]
async fn a_token_reaches_no_host_that_is_not_named_exactly() -> Result<()> {
    let scene = Scene::new("identity-hosts", false, By::Identity).await?;
    scene.put_resource().await?;
    let own = "sts.volcengineapi.com.evil.volcengineapi.com";
    let (unnamed, of_other) = (&scene.unnamed.address, scene.endpoint.replace("http://", "https://"));
    for host in [
        "https://sts.wild.example".to_owned(),
        "https://iam.volcengineapi.com".to_owned(),
        format!("https://{own}"),
        "https://sts.tencentcloudapi.com".to_owned(),
        format!("https://{unnamed}"),
        format!("http://{unnamed}"),
        of_other,
    ] {
        scene.put_account(json!({"stsEndpoint": host})).await?;
        let says = |o: &serde_json::Value| {
            let ready = condition(o, "Ready");
            ready["observedGeneration"] == o["metadata"]["generation"]
                && ready["reason"] == "EndpointNotAllowed"
        };
        let account = scene.until(scene.kind(), &host, says).await?;
        expect(&account, "False", "EndpointNotAllowed", With::Stalled)?;
        let text = crate::checks::message(&account);
        ensure!(text.starts_with("spec.stsEndpoint is not allowed"), "{text}");
        let name = host.split("://").nth(1).unwrap_or_default();
        ensure!(!text.contains(name) && !text.contains("127.0.0.1"), "{text}");
    }
    scene.until_resource("EndpointNotAllowed", "its endpoint is not allowed").await?;
    ensure!(scene.issued().is_empty());
    scene.put_account(json!({})).await?;
    scene.until_good().await?;
    ensure!(scene.unnamed.connections() == 0 && scene.issued().len() == 1);

    // A signed call may go to an STS endpoint that a token may not go to.
    let signed = Scene::new("identity-signed", false, By::Secret).await?;
    signed.put_account(json!({"stsEndpoint": "https://sts.wild.example"})).await?;
    let unresolved = "AssumeRole: name not resolved: there is no address for sts.wild.example";
    signed.until_account("EndpointUnreachable", With::Reconciling, unresolved).await?;
    Ok(())
}

#[tokio::test]
async fn the_environments_sts_is_asked_where_the_account_names_none() -> Result<()> {
    let scene = Scene::new("identity-environment", false, By::Identity).await?;
    scene.put_account(json!({"stsEndpoint": null})).await?;
    scene.put_resource().await?;
    // The listener does not speak TLS.
    let text = |o: &serde_json::Value| crate::checks::message(o).to_owned();
    let account = scene
        .until(scene.kind(), "a connection that fails", |o| {
            condition(o, "Ready")["reason"] == "EndpointUnreachable"
        })
        .await?;
    expect(&account, "False", "EndpointUnreachable", With::Reconciling)?;
    ensure!(text(&account).starts_with("AssumeRoleWithOIDC: "), "{}", text(&account));
    ensure!(!text(&account).contains("127.0.0.1"), "{}", text(&account));
    ensure!(scene.of_environment.connections() > 0 && scene.issued().is_empty());
    scene.until_resource("AccountNotReady", "not verified yet: EndpointUnreachable").await?;
    scene.put_account(json!({})).await?;
    scene.until_good().await.map(drop)
}
