//! Errors of a role, a token or an STS: the account names the cause, its resources show only what their users may see,
//! and each error clears after its correction.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, Malformed, RoleSpec};
use serde_json::{Value, json};

use super::TOKEN;
use super::scene::{By, Scene};
use crate::checks::With;

pub fn error(status: u16, code: &str) -> Effect {
    let message = format!("{TOKEN} of the role-that-nobody-knows at sts.example");
    Effect::Error { status, code: code.to_owned(), message, code_n: None }
}

/// Returns reason and message of the resource, after the account's name, for an account in this state.
fn through(reason: &str, text: &str) -> (&'static str, String) {
    match reason {
        "CredentialsRejected" => ("CredentialsRejected", text.to_owned()),
        "EndpointUnreachable" => ("AccountNotReady", "not verified yet: EndpointUnreachable".to_owned()),
        "CredentialsMissing" => ("CredentialsMissing", "its credentials are missing".to_owned()),
        _ => ("AccountNotReady", "it cannot be used".to_owned()),
    }
}

impl Scene {
    /// Waits until account and resource report the error, and checks that the resource discloses nothing else.
    async fn until_wrong(&self, reason: &str, text: &str) -> Result<()> {
        let with = match reason {
            "EndpointUnreachable" | "CredentialsMissing" => With::Reconciling,
            _ => With::Stalled,
        };
        self.until_account(reason, with, text).await?;
        let (tells, others) = through(reason, text);
        let others = if self.by == By::Secret && reason == "InvalidRequest" { text } else { &others };
        let resource = self.until_resource(tells, others).await?;
        for hidden in ["role/", "roleName", "127.0.0.1", "sts.example", "-token", "nobody-knows", TOKEN] {
            ensure!(!resource["status"].to_string().contains(hidden), "{hidden}: {resource:#}");
        }
        Ok(())
    }

    /// Waits for the error, corrects it, and waits until the next reconcile of the account clears it.
    async fn wrong_until(&self, reason: &str, text: &str, mend: impl FnOnce() -> Result<()>) -> Result<()> {
        self.put_resource().await?;
        self.until_wrong(reason, text).await?;
        ensure!(self.calls().is_empty(), "nothing can be signed");
        mend()?;
        self.ask_account("now").await?;
        self.until_good().await.map(drop)
    }
}

/// Tests one error in a role that a Secret's key assumes.
async fn wrong_role(
    name: &str,
    tencent: bool,
    role: impl FnOnce(RoleSpec) -> Option<RoleSpec>,
    reason: &str,
    code: &str,
) -> Result<()> {
    let scene = Scene::new(name, tencent, By::Secret).await?;
    match role(scene.new_role("assumed")) {
        Some(role) => scene.put_role(role)?,
        None => scene.cloud.remove_role(&scene.role("assumed"))?,
    }
    let assume = json!({"role": scene.role("assumed"), "externalId": "ours", "duration": "2h"});
    scene.put_account(json!({"assumeRole": assume})).await?;
    let text = match reason {
        "CredentialsRejected" => format!("the role was refused: AssumeRole: {code}"),
        _ => format!("AssumeRole: {code}"),
    };
    scene.wrong_until(reason, &text, || scene.put_role(scene.new_role("assumed"))).await
}

#[tokio::test]
async fn a_role_that_does_not_exist_is_named_by_the_clouds_code() -> Result<()> {
    wrong_role("words-absent", false, |_| None, "CredentialsRejected", "RoleNotExist").await?;
    let code = "ResourceNotFound.RoleNotFound";
    wrong_role("words-absent-tencent", true, |_| None, "CredentialsRejected", code).await
}

#[tokio::test]
async fn a_role_that_does_not_trust_the_key_or_its_external_id_refuses() -> Result<()> {
    let of_others =
        |role: RoleSpec| Some(RoleSpec { trusted_keys: ["AKLTofOthers".to_owned()].into(), ..role });
    wrong_role("words-trust", false, of_others, "CredentialsRejected", "AccessDenied").await?;
    let of_theirs = |role: RoleSpec| Some(RoleSpec { external_id: Some("theirs".to_owned()), ..role });
    wrong_role("words-external", false, of_theirs, "CredentialsRejected", "AccessDenied").await?;
    wrong_role("words-external-tencent", true, of_theirs, "CredentialsRejected", "UnauthorizedOperation")
        .await
}

#[tokio::test]
async fn a_duration_beyond_the_roles_is_named() -> Result<()> {
    let shorter = |role: RoleSpec| Some(RoleSpec { max_duration_seconds: 3600, ..role });
    // No document of Volcengine has a code for this error; the operator treats any code as unknown and shows it.
    wrong_role("words-long", false, shorter, "EndpointUnreachable", "InvalidParameter").await?;
    let code = "InvalidParameter.OverTimeError";
    wrong_role("words-long-tencent", true, shorter, "CredentialsRejected", code).await
}

/// Tests an STS that fails with this effect.
async fn wrong_sts(name: &str, effect: Effect, reason: &str, code: &str) -> Result<()> {
    let scene = Scene::new(name, false, By::Secret).await?;
    let fault = scene.spoil(effect)?;
    scene.put_account(json!({})).await?;
    scene.wrong_until(reason, &format!("AssumeRole: {code}"), || scene.mend(fault)).await
}

#[tokio::test]
async fn an_sts_that_talks_nonsense_is_unreachable() -> Result<()> {
    let promised = "an answer that is not what the API promises";
    let missing = format!("{promised}: key id, secret or token is missing");
    for (name, shape, words) in
        [("words-types", Malformed::WrongTypes, &*missing), ("words-html", Malformed::Html, promised)]
    {
        let effect = Effect::Malformed { shape, status: 200 };
        wrong_sts(name, effect, "EndpointUnreachable", words).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_sts_that_is_down_or_slow_is_unreachable() -> Result<()> {
    let down = error(500, "InternalError");
    wrong_sts("words-down", down, "EndpointUnreachable", "InternalError").await?;
    let slow = Effect::Delay { seconds: 30.0 };
    // The message does not name the address of the STS.
    let words = "timeout: the endpoint gave no answer within 2s";
    wrong_sts("words-slow", slow, "EndpointUnreachable", words).await
}

#[tokio::test]
async fn a_request_that_the_sts_calls_wrong_is_invalid() -> Result<()> {
    let wrong = error(400, "ParamError");
    wrong_sts("words-invalid", wrong, "InvalidRequest", "ParamError").await
}

#[tokio::test]
async fn clocks_that_differ_by_hours_are_no_reason() -> Result<()> {
    for (name, seconds) in [("words-ahead", 7200.0), ("words-behind", -7200.0)] {
        let scene = Scene::new(name, false, By::Secret).await?;
        let fault = scene.spoil(Effect::ClockSkew { seconds })?;
        scene.put_account(json!({})).await?;
        scene.put_resource().await?;
        scene.until_good().await?;
        scene.mend(fault)?;
        ensure!(scene.asked("AssumeRole") == 2, "once, and once more by the cloud's time");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_named_by_the_clouds_code() -> Result<()> {
    let scene = Scene::new("words-oidc", false, By::Identity).await?;
    scene.trust(&["another"])?;
    scene.put_account(json!({})).await?;
    // No document of Volcengine has a code for this error.
    let text = "AssumeRoleWithOIDC: InvalidOIDCToken";
    scene.wrong_until("EndpointUnreachable", text, || scene.trust(&[TOKEN])).await
}

/// Returns a JWT without an issuer, valid from and until these offsets from now, in seconds.
fn jwt(from: i64, to: i64) -> String {
    use base64::Engine;
    let now = jiff::Timestamp::now().as_second();
    let part = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(json!({"iss": "https://oidc", "nbf": now + from, "exp": now + to}));
    format!("{}.{claims}.{}", part(json!({"alg": "RS256"})), part(json!("signature of words")))
}

#[tokio::test]
async fn what_is_wrong_with_tencent_clouds_token_or_its_file_is_said_and_heals() -> Result<()> {
    let scene = Scene::new("words-file", true, By::Identity).await?;
    let file = scene.tencent_token().await?;
    std::fs::remove_file(&*file)?;
    scene.put_account(json!({})).await?;
    scene.put_resource().await?;
    let path = file.display().to_string();
    let absent = format!("token file {path} does not exist (TKE_WEB_IDENTITY_TOKEN_FILE names another)");
    scene.until_wrong("CredentialsMissing", &absent).await?;
    std::fs::write(&*file, "\n")?;
    scene.ask_account("empty").await?;
    scene.until_wrong("CredentialsMissing", &format!("token file {path} is empty")).await?;
    ensure!(scene.issued().is_empty());

    let refused = "the role was refused: AssumeRoleWithWebIdentity: InvalidParameter.WebIdentityTokenError";
    scene.trust(&[])?;
    let mut tokens = Vec::new();
    for (asked, token) in [("expired", jwt(-7200, -3600)), ("early", jwt(3600, 7200))] {
        std::fs::write(&*file, &token)?;
        scene.ask_account(asked).await?;
        scene.until_wrong("CredentialsRejected", refused).await?;
        tokens.push(token);
    }
    tokens.push(jwt(-3600, 3600));
    std::fs::write(&*file, &tokens[2])?;
    scene.ask_account("valid").await?;
    scene.until_good().await?;
    let shown = scene.shown().await? + &scene.operator.log();
    ensure!(tokens.iter().all(|token| !shown.contains(token)), "{tokens:?}");

    // Another identity provider.
    let identity =
        json!({"workloadIdentity": {"role": scene.role("trusted"), "providerId": "cls-of-others"}});
    scene.put_account(json!({"credentials": identity})).await?;
    scene.until_wrong("CredentialsRejected", refused).await?;
    scene.put_account(json!({})).await?;
    scene.until_good().await?;
    let shown = scene.shown().await?;
    ensure!(shown.contains("AccountRejected") && !shown.contains(TOKEN), "{shown}");
    Ok(())
}
