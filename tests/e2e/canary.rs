//! Leak tests with canary values: credentials must not appear in any encoding in logs, metrics or objects; an access key id
//! may appear only as its hint.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cloud_simulator::{Effect, KeySpec, KeyStatus};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::harness::{LIMIT, OPERATOR_NAMESPACE, POLICY, Stage, condition};
use crate::process::get;

const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
/// Log filter that enables trace output of every crate.
pub const EVERYTHING: &str = "--log-level=trace,hyper=trace,hyper_util=trace,reqwest=trace,h2=trace,kube=trace,\
     kube_client=trace,kube_runtime=trace,kube_core=trace,rustls=trace,tower=trace,tower_http=trace,axum=trace,\
     mio=trace,tokio=trace,want=trace,tokio_util=trace,serde=trace,log=trace";
/// Percent-encoding set that keeps RFC 3986's unreserved characters, as most encoders do.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub struct Keys {
    pub id: &'static str,
    pub secret: &'static str,
    pub token: &'static str,
}

/// Decryption key of an encrypted backup; Tencent Cloud returns it in its response, and the operator must not show it.
pub const DECRYPT_KEY: &str = r#"Dk7+Qx/3Vb-2.Nj_6~H"t\Wc&Lm<9>'Mf8%Su5=="#;

pub const OLD: Keys = Keys {
    id: "AKTPZvb3Qm81wTnKd57RhUe2XyZ9",
    secret: r#"Kx9-w.7+Jf/2Lq_8~"Vd\0Gp&Tm<4>='Rz5%Bn=="#,
    token: "Yh6+Ws/1Nc-3.Fq_9~Db&Lk<8>\"Pj7=Ov4%Ue0==",
};
const NEW: Keys = Keys {
    id: "AKTPHs94LmCv06BxGt82JfWq7NpQ",
    secret: r#"Ei3.r-5/Oz+8Mb~1_"Tq\6Hd&Ya<7>='Fw2%Cl=="#,
    token: "Sn8/Xg+4Kv.7-Ju~2_Re&Bp<1>\"Wi5=Mz9%Lo6==",
};

impl Keys {
    fn hint(&self) -> String {
        format!("{}…{}", &self.id[..4], &self.id[self.id.len() - 4..])
    }

    pub fn spec(&self) -> KeySpec {
        KeySpec {
            access_key_id: self.id.to_owned(),
            secret_access_key: self.secret.to_owned(),
            session_token: Some(self.token.to_owned()),
            expires_in_seconds: Some(3600.0),
            ..KeySpec::default()
        }
    }

    /// Returns the values as stored in the Secret: with the surrounding white space that editors and `echo` leave.
    fn stored(&self) -> [String; 3] {
        [format!(" {}\n", self.id), format!("\t{}\r\n", self.secret), format!("\n{}  ", self.token)]
    }
}

fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Returns the encodings from which a reader could recover the value.
pub fn forms(value: &str) -> Vec<String> {
    let upper = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    let unreserved = utf8_percent_encode(value, UNRESERVED).to_string();
    vec![
        value.to_owned(),
        STANDARD_NO_PAD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
        lower(&upper),
        upper,
        lower(&unreserved),
        unreserved,
        escaped(value),
        escaped(&escaped(value)),
        // Go's JSON encoder, and so Kubernetes, escapes these characters.
        escaped(value).replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"),
        escaped(value).replace('/', "\\/"),
    ]
}

/// Converts percent escapes to lower case: `%2b` for `%2B`.
fn lower(percent: &str) -> String {
    let mut pieces = percent.split('%');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| format!("{text}%{}{}", piece[..2].to_lowercase(), &piece[2..]))
}

/// Returns the canary values found in a text: complete encodings, and fragments of ten characters.
fn leaks(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    for keys in [&OLD, &NEW] {
        let decrypt = DECRYPT_KEY.to_owned();
        let whole = [keys.id, keys.secret, keys.token].map(str::to_owned);
        for value in whole.iter().chain(&keys.stored()).chain([&decrypt]) {
            let bytes = format!("{:?}", value.as_bytes());
            let written = [hex(value), bytes[1..bytes.len() - 1].to_owned()];
            found.extend(forms(value).into_iter().chain(written).filter(|form| text.contains(form)));
        }
        for value in [keys.id, keys.secret, keys.token, DECRYPT_KEY] {
            let parts = (0..value.len() - 10).map(|start| value[start..start + 10].to_owned());
            found.extend(parts.filter(|part| text.contains(part)));
        }
    }
    found.into_iter().collect()
}

fn hex(value: &str) -> String {
    value.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Fails if a text contains a canary; the error shows the lines with the leak.
pub fn nothing_leaks(place: &str, text: &str) -> Result<()> {
    let found = leaks(text);
    let lines: Vec<_> =
        text.lines().filter(|line| found.iter().any(|leak| line.contains(leak))).take(5).collect();
    ensure!(found.is_empty(), "{place} shows {found:#?} in {lines:#?}");
    Ok(())
}

impl Stage<'_> {
    pub async fn store(&self, keys: &Keys) -> Result<()> {
        let [id, secret, token] = keys.stored();
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "cloud-key", "namespace": self.namespace},
            "stringData": {"accessKeyId": id, "secretAccessKey": secret, "sessionToken": token},
        }))
        .await
        .map(drop)
    }

    /// Makes every Describe fail with this code and message, waits for the condition, and returns the condition's message.
    async fn refused(&self, code: &str, reason: &str, words: &str) -> Result<String> {
        self.cloud.clear_faults();
        let effect =
            Effect::Error { status: 400, code: code.to_owned(), message: words.to_owned(), code_n: None };
        self.fault(DESCRIBE, None, effect)?;
        let policy = self.until_reason(reason).await?;
        let message = condition(&policy, "Ready")["message"].as_str().unwrap_or_default().to_owned();
        nothing_leaks("a condition", &message)?;
        ensure!(!message.chars().any(char::is_control), "{message:?}");
        ensure!(message.chars().count() <= 256 + DESCRIBE.len() + code.len() + 4, "{message}");
        Ok(message)
    }

    /// Returns everything in the cluster that a user without access to Secrets can read.
    pub async fn everything(&self) -> Result<String> {
        let kinds =
            self.kubectl().run(["api-resources", "--verbs=list", "--namespaced", "-o", "name"]).await?;
        let kinds: Vec<_> = kinds.lines().filter(|kind| *kind != "secrets").collect();
        let own = self.run(["get", &kinds.join(","), "--show-managed-fields", "-o", "yaml"]).await?;
        ensure!(own.contains("kind: CrossRegionBackupPolicy") && own.contains("kind: Event"), "{own}");
        let elsewhere = ["default", OPERATOR_NAMESPACE];
        let mut all = own;
        for namespace in elsewhere {
            all.push_str(&self.kubectl().run(["get", "events", "-n", namespace, "-o", "yaml"]).await?);
        }
        for args in [["describe", "crbp"], ["describe", "cacct"], ["get", "events"]] {
            all.push_str(&self.run(args).await?);
        }
        Ok(all)
    }
}

async fn no_canary_is_shown(name: &str, format: &str) -> Result<()> {
    let mut stage = Stage::new(name).await?;
    stage.flag(EVERYTHING);
    stage.flag(format);
    stage.cloud.put_key(OLD.spec())?;
    stage.cloud.put_key(NEW.spec())?;
    stage.store(&OLD).await?;
    stage.apply(stage.account_manifest()).await?;
    stage.start_operator().await?;
    let account = stage.until_account("CredentialsVerified").await?;
    ensure!(account["status"]["accessKeyIdHint"] == OLD.hint(), "{account:#}");
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;

    say_everything(&stage, &OLD).await?;

    // Errors that the gateway itself generates contain the access key id.
    stage.cloud.deny(OLD.id, [DESCRIBE.to_owned()].into())?;
    let policy = stage.until_reason("PermissionDenied").await?;
    nothing_leaks("AccessDenied", &policy.to_string())?;
    stage.cloud.set_key_status(OLD.id, KeyStatus::Revoked)?;
    let account = stage.until_account("CredentialsRejected").await?;
    nothing_leaks("InvalidAccessKey", &account.to_string())?;

    // The message names the key with a malformed value and does not repeat the value.
    let [id, secret, token] = NEW.stored();
    for (key, secret) in [(id.as_str(), format!("{secret}\n{}", NEW.secret)), ("", secret.clone())] {
        let data =
            json!({"stringData": {"accessKeyId": key, "secretAccessKey": secret, "sessionToken": token}});
        stage.run(["patch", "secret", "cloud-key", "--type=merge", "-p", &data.to_string()]).await?;
        let word = if key.is_empty() { "key accessKeyId" } else { "key secretAccessKey" };
        let what = format!("CredentialsMissing with {word}");
        let account = stage
            .until("cacct", "prod", &what, |o| {
                let ready = condition(o, "Ready");
                ready["reason"] == "CredentialsMissing"
                    && ready["message"].as_str().is_some_and(|m| m.contains(word))
            })
            .await?;
        nothing_leaks("CredentialsMissing", &account.to_string())?;
    }

    stage.store(&NEW).await?;
    let account = stage.until_account("CredentialsVerified").await?;
    ensure!(account["status"]["accessKeyIdHint"] == NEW.hint(), "{account:#}");
    stage.until_reason("InSync").await?;
    say_everything(&stage, &NEW).await?;

    nothing_leaks("the cluster", &stage.everything().await?)?;
    for path in ["/metrics", "/readyz"] {
        nothing_leaks(path, &get(stage.operator(), path).await?)?;
    }
    stage.operator().terminate(LIMIT).await?;
    let log = stage.log();
    nothing_leaks("the log", &log)?;
    ensure!(log.contains("cloud call") && log.contains("TRACE"), "it is to be the most verbose log");
    Ok(())
}

/// Makes the cloud repeat the credentials in its error messages, in every encoding. Each message reaches a condition and an
/// Event.
async fn say_everything(stage: &Stage<'_>, keys: &Keys) -> Result<()> {
    let codes = [
        ("ParamError", "InvalidRequest"),
        ("AccessDenied", "PermissionDenied"),
        ("InvalidOperator", "NotSupported"),
    ];
    let hidden = "[redacted]".to_owned();
    let mut messages = Vec::new();
    for (value, shown) in
        [(keys.id, keys.hint()), (keys.secret, hidden.clone()), (keys.token, hidden.clone())]
    {
        messages.push((forms(value).join(" "), shown.clone()));
        // Truncation leaves half of the value; control characters inside the value could hide it from a search.
        messages.push((format!("{} {value} {}", "x".repeat(240), "y".repeat(2000)), "xxx".to_owned()));
        let (left, right) = value.split_at(value.len() / 2);
        messages.push((format!("\u{1b}[31m{left}\u{0}{right}\u{7f}\u{85} \r\nend"), shown));
    }
    for (number, (words, shown)) in messages.into_iter().enumerate() {
        let (code, reason) = codes[number % codes.len()];
        let message = stage.refused(code, reason, &words).await?;
        ensure!(message.contains(&shown), "{message}");
    }
    // The credential as the error code itself, which conditions show.
    for code in [keys.secret, keys.token, keys.id] {
        stage.cloud.clear_faults();
        let effect =
            Effect::Error { status: 400, code: code.to_owned(), message: code.to_owned(), code_n: None };
        stage.fault(DESCRIBE, None, effect)?;
        // A failure is reported at once only for a new generation.
        stage
            .patch_policy(
                json!({"backups": {"limit": 10 + code.len() % 7 + stage.calls(DESCRIBE) as usize % 80}}),
            )
            .await?;
        let policy = stage.until_reason("CloudUnavailable").await?;
        nothing_leaks("a code", &policy.to_string())?;
    }
    stage.cloud.clear_faults();
    stage.request_now("crbp", POLICY, &format!("after {}", keys.hint())).await?;
    stage.until_reason("InSync").await.map(drop)
}

#[tokio::test]
async fn no_canary_is_shown_with_logs_as_text() -> Result<()> {
    no_canary_is_shown("canary-text", "--log-format=text").await
}

#[tokio::test]
async fn no_canary_is_shown_with_logs_as_json() -> Result<()> {
    no_canary_is_shown("canary-json", "--log-format=json").await
}
