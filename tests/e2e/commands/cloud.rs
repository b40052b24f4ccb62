//! The commands `plan`, `backups`, `report` and `import`, run as processes against the simulated cloud.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cloud_simulator::InstanceSpec;
use serde_json::{Value, json};

use super::{Said, command, in_cluster, said, with_key, write};
use crate::checks::{DESCRIBE, MODIFY};
use crate::harness::{KEY_ID, SECRET_KEY, Stage};
use crate::inventory::T_INSTANCE;

/// Hostile text as a cloud could return it for a name.
const HOSTILE: &str = "<script>alert(1)</script>|=cmd()\u{1b}[31m\u{202e}@team";

/// Adds two protected instances, an unprotected one, and one of a class that does not support cross-region backups.
fn furnish(stage: &Stage<'_>) -> Result<()> {
    let on = |target: &str| json!({"active": true, "region": target, "ttl": 7});
    for (id, patch) in [
        (
            "redis-a1",
            json!({"policy": on("cn-shanghai"), "instanceName": HOSTILE, "tags": [{"key": "team", "value": "pay"}]}),
        ),
        ("redis-b2", json!({"policy": on("cn-guangzhou"), "projectName": "search"})),
        ("redis-c3", json!({})),
        ("redis-d4", json!({"class": "Standalone"})),
    ] {
        stage.cloud.put_instance(InstanceSpec::new(id, "cn-beijing"))?;
        stage.cloud.patch_instance(id, patch)?;
    }
    stage.cloud.remove_instance(crate::harness::INSTANCE)?;
    for (id, instance, target, age) in [
        ("p-1", "redis-a1", "cn-shanghai", 3_600.0),
        ("p-2", "redis-a1", "cn-shanghai", 90_000.0),
        ("p-3", "redis-b2", "cn-guangzhou", 7_200.0),
    ] {
        stage.add_backup_with(json!({
            "backupPointId": id, "instanceId": instance, "targetRegion": target, "ageSeconds": age,
            "backupPointName": HOSTILE,
        }))?;
    }
    Ok(())
}

impl Stage<'_> {
    /// Returns a command that reaches this stage's cloud with a key from the environment.
    fn with_environment(&self, args: &[&str]) -> std::process::Command {
        let mut command = with_key(command(args));
        command.args(["--endpoint", &self.endpoint, "--allowed-endpoint", &self.endpoint]);
        command
    }

    fn files(&self, folder: &Path, policies: &[Value]) -> Result<()> {
        let mut all = vec![self.secret_manifest(), self.account_manifest()];
        all.extend_from_slice(policies);
        write(folder, &all)
    }
}

/// Checks that the output contains no terminal control characters and no secret.
fn is_clean(said: &Said) -> Result<()> {
    for text in [&said.out, &said.err] {
        let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        ensure!(!text.contains(steers), "{text:?}");
        ensure!(!text.contains(SECRET_KEY) && !text.contains(KEY_ID), "{text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_in_each_form_and_its_exit_codes() -> Result<()> {
    let stage = Stage::new("plan-forms").await?;
    furnish(&stage)?;
    let policy = |name: &str, instance: &str, more: Value| {
        let mut spec = json!({"instanceId": instance});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.policy_manifest(name, spec)
    };
    let folder = tempfile::tempdir()?;
    let args = |output: &'static str| ["plan", "-o", output, "--allowed-endpoint", &stage.endpoint];
    let plan = async |output: &'static str| {
        let mut command = command(&args(output));
        command.current_dir(folder.path()).arg(".");
        let said = said(command).await?;
        is_clean(&said)?;
        anyhow::Ok(said)
    };

    stage.files(folder.path(), &[policy("same", "redis-a1", json!({}))])?;
    ensure!(plan("text").await?.code == 0, "nothing to do");
    stage.files(
        folder.path(),
        &[
            policy("same", "redis-a1", json!({})),
            policy("watched", "redis-c3", json!({"managementPolicy": "Observe"})),
        ],
    )?;
    ensure!(plan("text").await?.code == 0, "drift under Observe is told, and is no change");
    stage.files(
        folder.path(),
        &[
            policy("same", "redis-a1", json!({})),
            policy("watched", "redis-c3", json!({"managementPolicy": "Observe"})),
            policy("moved", "redis-b2", json!({})),
            policy("new", "redis-c3", json!({})),
        ],
    )?;
    let text = plan("text").await?;
    ensure!(text.code == 2, "{}{}", text.out, text.err);
    insta::assert_snapshot!("plan-text", text.out);
    insta::assert_snapshot!("plan-markdown", plan("markdown").await?.out);
    insta::assert_snapshot!("plan-json", plan("json").await?.out);

    stage.files(
        folder.path(),
        &[
            policy("same", "redis-a1", json!({})),
            policy("rival", "redis-a1", json!({"crossBackupRegion": "cn-guangzhou"})),
            policy("new", "redis-c3", json!({})),
            policy("gone", "redis-e5", json!({})),
            policy("wrong", "redis-c3", json!({"crossBackupRegion": "cn-beijing"})),
        ],
    )?;
    for old in [
        "003-crossregionbackuppolicy-watched.yaml",
        "004-crossregionbackuppolicy-moved.yaml",
        "005-crossregionbackuppolicy-new.yaml",
    ] {
        std::fs::remove_file(folder.path().join(old))?;
    }
    let text = plan("text").await?;
    ensure!(text.code == 1, "{}{}", text.out, text.err);
    insta::assert_snapshot!("plan-problems", text.out);
    ensure!(stage.calls(MODIFY) == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_where_their_owner_sends_them_and_nowhere_else() -> Result<()> {
    let stage = Stage::new("plan-credentials").await?;
    furnish(&stage)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().display().to_string();
    let policy = stage.policy_manifest("same", json!({"instanceId": "redis-a1"}));

    // The environment's key is used for an account that the files do not define.
    write(folder.path(), std::slice::from_ref(&policy))?;
    let fine = said(stage.with_environment(&["plan", &path])).await?;
    ensure!(fine.code == 0 && fine.out.contains("InSync"), "{}{}", fine.out, fine.err);
    let nothing = said(command(&["plan", &path])).await?;
    ensure!(
        nothing.code == 1 && nothing.out.contains("set VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY"),
        "{}",
        nothing.out
    );

    // An account in a file sets the endpoint, so the environment's key must not be sent there.
    let before = stage.cloud.requests().len();
    let folder = tempfile::tempdir()?;
    let path = folder.path().display().to_string();
    write(folder.path(), &[stage.account_manifest(), policy.clone()])?;
    let refused = said(stage.with_environment(&["plan", &path])).await?;
    ensure!(refused.code == 1 && refused.out.contains("spec.endpoint is set by a file"), "{}", refused.out);

    // A key from the cluster is not sent there either, unless the account itself is in the cluster.
    let from_cluster = async || {
        let command = command(&["plan", &path, "--from-cluster", "--allowed-endpoint", &stage.endpoint]);
        said(in_cluster(command, stage.plane)).await
    };
    stage.apply_secret(KEY_ID, SECRET_KEY).await?;
    let refused = from_cluster().await?;
    ensure!(refused.code == 1 && refused.out.contains("spec.endpoint is set by a file"), "{}", refused.out);
    ensure!(stage.cloud.requests().len() == before, "nothing was sent");
    stage.apply(stage.account_manifest()).await?;
    let fine = from_cluster().await?;
    ensure!(fine.code == 0 && fine.out.contains("InSync"), "{}{}", fine.out, fine.err);
    for said in [&refused, &fine] {
        is_clean(said)?;
    }

    // A file's account gets no access even after another account, from the cluster, already read the same Secret.
    let mut another = stage.account_manifest();
    another["metadata"]["name"] = json!("zzz");
    another["spec"]["endpoint"] = json!(stage.endpoint.replace("127.0.0.1", "localhost"));
    let spec =
        json!({"instanceId": "redis-b2", "accountRef": {"name": "zzz"}, "managementPolicy": "Observe"});
    let folder = tempfile::tempdir()?;
    write(folder.path(), &[another, policy, stage.policy_manifest("other", spec)])?;
    let path = folder.path().display().to_string();
    let command = command(&["plan", &path, "--from-cluster", "--allowed-endpoint", &stage.endpoint]);
    let said = said(in_cluster(command, stage.plane)).await?;
    ensure!(
        said.out.contains("InSync") && said.out.contains("spec.endpoint is set by a file"),
        "{}",
        said.out
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_in_each_form_with_the_inventory_s_filters() -> Result<()> {
    let stage = Stage::new("backups-forms").await?;
    furnish(&stage)?;
    let listed = async |args: &[&str]| {
        let mut all = vec!["backups", "--region", "cn-beijing"];
        all.extend_from_slice(args);
        let said = said(stage.with_environment(&all)).await?;
        is_clean(&said)?;
        anyhow::Ok(said)
    };
    let table = listed(&[]).await?;
    ensure!(table.code == 0, "{}", table.err);
    let ids = |text: &str| {
        let rows = text.lines().skip(1).filter_map(|row| row.split_whitespace().nth(1)).map(str::to_owned);
        rows.collect::<Vec<_>>()
    };
    ensure!(ids(&table.out) == ["p-1", "p-3", "p-2"], "the newest first: {}", table.out);
    ensure!(table.err == "3 backups. 2 cloud calls, none that changes anything.\n", "{}", table.err);
    for (args, expected) in [
        (vec!["--instance", "redis-b2"], vec!["p-3"]),
        (vec!["--since", "24h"], vec!["p-1", "p-3"]),
        (vec!["--status", "Creating"], vec![]),
        (vec!["--strategy", "AutomatedBackup", "--limit", "1"], vec!["p-1"]),
        (vec!["--backup-point-id", "p-2"], vec!["p-2"]),
    ] {
        let said = listed(&args).await?;
        ensure!(said.code == 0 && ids(&said.out) == expected, "{args:?}: {}{}", said.out, said.err);
    }
    let json: Value = serde_json::from_str(&listed(&["-o", "json"]).await?.out)?;
    ensure!(
        json["regions"][0]["total"] == 3 && json["regions"][0]["items"][0]["backupPointId"] == "p-1",
        "{json:#}"
    );
    let yaml = listed(&["-o", "yaml"]).await?.out;
    ensure!(yaml.contains("backupPointId: p-1"), "{yaml}");
    ensure!(listed(&["-o", "wide"]).await?.out.starts_with("INSTANCE"));
    for (args, words) in [
        (vec!["--since", "24"], "spec.filter.since: must"),
        (vec!["--status", "Gone"], "spec.filter.statuses[0]: must be one of"),
        (
            vec!["--instance", "redis-b2", "--project-name", "x"],
            "filter.projectName is allowed with scope Account only",
        ),
        (vec!["--start-time", "2026-11-01T00:00:00Z"], "startTime and endTime"),
        (vec!["--region", "Beijing"], "must be a region such as cn-beijing"),
    ] {
        let said = listed(&args).await?;
        ensure!(said.code == 1 && said.err.contains(words), "{args:?}: {}", said.err);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_import_writes_is_valid_stable_and_changes_nothing() -> Result<()> {
    let stage = Stage::new("import-forms").await?;
    furnish(&stage)?;
    let import = async |args: &[&str]| {
        let mut all = vec!["import", "--account", "payments/prod", "--region", "cn-beijing"];
        all.extend_from_slice(args);
        let said = said(stage.with_environment(&all)).await?;
        is_clean(&said)?;
        ensure!(said.code == 0, "{}", said.err);
        anyhow::Ok(said)
    };
    let all = import(&[]).await?;
    insta::assert_snapshot!("import", all.out);
    ensure!(all.err.contains("redis-d4: left out: a Standalone instance"), "{}", all.err);
    ensure!(import(&[]).await?.out == all.out, "it is stable");
    let count = |said: &Said| said.out.matches("kind: CrossRegionBackupPolicy").count();
    for (args, expected) in [
        (vec!["--tag", "team"], 1),
        (vec!["--tag", "team=pay"], 1),
        (vec!["--tag", "team=search"], 0),
        (vec!["--project", "search"], 1),
        (vec!["--name", "B2"], 1),
    ] {
        ensure!(count(&import(&args).await?) == expected, "{args:?}");
    }

    let folder = tempfile::tempdir()?;
    let directory = folder.path().join("policies").display().to_string();
    import(&["--directory", &directory, "--management-policy", "Manage"]).await?;
    let again = import(&["--directory", &directory]).await?;
    ensure!(again.err.contains("3 of them there already and left as they are"), "{}", again.err);
    let valid = said(command(&["validate", &directory])).await?;
    ensure!(valid.code == 0, "{}{}", valid.out, valid.err);
    let plan = said(stage.with_environment(&["plan", &directory])).await?;
    ensure!(plan.code == 0, "managed as they are, nothing changes: {}{}", plan.out, plan.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_in_each_form() -> Result<()> {
    let stage = Stage::new("report-forms").await?;
    furnish(&stage)?;
    let folder = tempfile::tempdir()?;
    let with = |name: &str, instance: &str| {
        let spec = json!({"instanceId": instance, "recoveryPointObjective": "2h"});
        stage.policy_manifest(name, spec)
    };
    stage.files(folder.path(), &[with("a", "redis-a1"), with("b", "redis-b2"), with("gone", "redis-e5")])?;
    let path = folder.path().display().to_string();
    let report = async |output: &str| {
        let command = command(&["report", "-f", &path, "-o", output, "--allowed-endpoint", &stage.endpoint]);
        let said = said(command).await?;
        ensure!(said.code == 0, "{}", said.err);
        anyhow::Ok(said)
    };
    let json = report("json").await?;
    let told: Value = serde_json::from_str(&json.out)?;
    let states: Vec<_> = told["instances"]
        .as_array()
        .with_context(|| json.out.clone())?
        .iter()
        .map(|i| {
            format!(
                "{} {}",
                i["instanceId"].as_str().unwrap_or_default(),
                i["state"].as_str().unwrap_or_default()
            )
        })
        .collect();
    ensure!(
        states == ["redis-c3 NotProtected", "redis-b2 Drifted", "redis-d4 Unsupported", "redis-a1 Protected"],
        "{states:?}"
    );
    ensure!(told["policiesWithoutInstance"][0]["policy"] == "report-forms/gone", "{told:#}");
    let text = report("text").await?;
    is_clean(&text)?;
    ensure!(text.out.contains("1 of 4 instances are protected"), "{}", text.out);
    let csv = report("csv").await?;
    is_clean(&csv)?;
    ensure!(csv.out.lines().count() == 5, "{}", csv.out);
    let html = report("html").await?;
    ensure!(html.out.starts_with("<!DOCTYPE html>") && !html.out.contains("<script"), "{}", html.out);
    ensure!(html.out.contains("&lt;script&gt;"), "the name is shown as text");
    // Three policies and a Standalone instance: 1 verification, 1 page of instances, 3 Describes, 1 page of backups.
    ensure!(html.err == "6 cloud calls, none that changes anything.\n", "{}", html.err);
    ensure!(stage.calls(DESCRIBE) == 12 && stage.calls(MODIFY) == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tencent_cloud_s_own_backups_with_an_account_of_the_cluster() -> Result<()> {
    const MARKER: &str = "DecryptKeyMarkerMustNotAppear";
    let stage = Stage::new("backups-tencent").await?;
    stage.apply_tencent_account().await?;
    for instance in [T_INSTANCE, "crs-other001"] {
        stage.add_tencent_instance(json!({"instanceId": instance}))?;
    }
    stage.add_tencent_backup(json!({
        "backupId": "1-2-3", "instanceId": T_INSTANCE, "ageSeconds": 3600, "backupType": "0", "remark": HOSTILE,
        "encrypted": true, "decryptKey": MARKER,
    }))?;
    stage.add_tencent_backup(json!({"backupId": "4-5-6", "instanceId": "crs-other001", "ageSeconds": 60}))?;
    let account = format!("{}/tencent", stage.namespace);
    let from_cluster = async |args: &[&str]| {
        let mut command = command(args);
        command.args(["--from-cluster", "--account", &account, "--allowed-endpoint", &stage.endpoint]);
        let said = said(in_cluster(command, stage.plane)).await?;
        is_clean(&said)?;
        ensure!(!said.out.contains(MARKER) && !said.err.contains(MARKER));
        anyhow::Ok(said)
    };
    let json = from_cluster(&["backups", "-o", "json", "--include-details"]).await?;
    ensure!(json.code == 0, "{}", json.err);
    let told: Value = serde_json::from_str(&json.out)?;
    let region = &told["regions"][0];
    ensure!(
        region["backupsOf"] == "Local" && region["total"] == 2 && region["region"] == "ap-guangzhou",
        "{told:#}"
    );
    ensure!(
        region["items"][1]["memSizeMiB"] == 2048 && region["items"][1]["strategy"] == "ManualBackup",
        "{told:#}"
    );
    let refused = from_cluster(&["backups", "--backup-point-name", "x"]).await?;
    ensure!(refused.code == 1 && refused.err.contains("filter.backupPointName"), "{}", refused.err);
    let import = from_cluster(&["import"]).await?;
    ensure!(import.code == 1 && import.err.contains("there is nothing to import"), "{}", import.err);
    let report = from_cluster(&["report"]).await?;
    ensure!(
        report.code == 0 && report.out.contains("Tencent Cloud has no cross-region backup policy"),
        "{}{}",
        report.out,
        report.err
    );
    Ok(())
}

#[tokio::test]
async fn a_secret_that_is_none_is_named_without_its_values() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cloud-key", "namespace": "payments"},
        "data": {"secretAccessKey": format!("no base64: {SECRET_KEY}")},
    });
    let account = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CloudAccount",
        "metadata": {"name": "prod", "namespace": "payments"},
        "spec": {"provider": "Volcengine", "credentials": {"secretRef": {"name": "cloud-key"}}},
    });
    let policy = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy",
        "metadata": {"name": "sessions", "namespace": "payments"},
        "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": "redis-a1", "active": false},
    });
    write(folder.path(), std::slice::from_ref(&secret))?;
    let path = folder.path().display().to_string();
    let unused = said(command(&["plan", &path])).await?;
    ensure!(unused.code == 0, "no account refers to it: {}{}", unused.out, unused.err);
    write(folder.path(), &[secret, account, policy])?;
    for args in [vec!["plan", &path], vec!["backups", "-f", &path]] {
        let said = said(command(&args)).await?;
        is_clean(&said)?;
        let all = format!("{}{}", said.out, said.err);
        ensure!(said.code == 1 && all.contains("Secret payments/cloud-key: data must be base64"), "{all}");
    }
    Ok(())
}

/// A value as `sops encrypt --encrypted-regex '^(data|stringData)$'` writes it.
const ENCRYPTED: &str = "ENC[AES256_GCM,data:p673w==,iv:YY=,aad:UQ=,tag:A=,type:str]";

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_secret_is_not_sent_and_beats_no_other_credentials() -> Result<()> {
    let stage = Stage::new("plan-encrypted").await?;
    furnish(&stage)?;
    stage.apply_account().await?;
    let policy = stage.policy_manifest("same", json!({"instanceId": "redis-a1"}));
    let base64 = base64_of(ENCRYPTED);
    let mut without_endpoint = stage.account_manifest();
    without_endpoint["spec"].as_object_mut().context("no spec")?.remove("endpoint");
    for (field, id, secret_key, sops) in [
        ("stringData", ENCRYPTED, ENCRYPTED, true),
        ("data", ENCRYPTED, ENCRYPTED, true),
        ("data", &base64, &base64, false),
        ("stringData", KEY_ID, ENCRYPTED, false),
        ("stringData", ENCRYPTED, SECRET_KEY, true),
        ("stringData", "{{ .Values.id }}", "${SECRET_KEY}", false),
    ] {
        let mut secret = stage.secret_manifest();
        secret.as_object_mut().context("no object")?.remove("stringData");
        secret[field] = json!({"accessKeyId": id, "secretAccessKey": secret_key});
        if sops {
            secret["sops"] = json!({"mac": ENCRYPTED, "version": "3.10.2"});
        }
        let other = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "of-others", "namespace": stage.namespace},
            "data": {"key": ENCRYPTED, "other": "no base64!"}, "sops": {"mac": ENCRYPTED},
        });
        let folder = tempfile::tempdir()?;
        write(folder.path(), &[secret.clone(), stage.account_manifest(), policy.clone(), other.clone()])?;
        let path = folder.path().display().to_string();
        let told = format!("{field}: {id}, {secret_key}");

        let of_cluster = command(&["plan", &path, "--from-cluster", "--allowed-endpoint", &stage.endpoint]);
        let planned = said(in_cluster(of_cluster, stage.plane)).await?;
        is_encrypted_and_noted(&planned, &told)?;

        write(folder.path(), &[secret, without_endpoint.clone(), policy.clone(), other])?;
        let planned = said(stage.with_environment(&["plan", &path])).await?;
        is_encrypted_and_noted(&planned, &told)?;

        let alone = said(command(&["plan", &path])).await?;
        let all = format!("{}{}", alone.out, alone.err);
        ensure!(
            alone.code == 1 && all.contains("CredentialsMissing") && all.contains("decrypt it"),
            "{told}: {all}"
        );
    }
    let strangers: Vec<_> =
        stage.cloud.requests().into_iter().filter(|r| r.authentic == Some(false)).collect();
    ensure!(strangers.is_empty(), "{strangers:?}");
    Ok(())
}

/// Checks that the command succeeded with other credentials, and that exactly one note reports the encrypted Secret as not given.
fn is_encrypted_and_noted(said: &Said, told: &str) -> Result<()> {
    is_clean(said)?;
    ensure!(said.code == 0, "{told}: {}{}", said.out, said.err);
    let notes = said.err.matches("counts as not given").count();
    ensure!(notes == 1 && said.err.contains("/cloud-key counts as not given"), "{told}: {}", said.err);
    ensure!(!said.err.contains("ENC[") && !said.out.contains("ENC["), "{told}: {}{}", said.out, said.err);
    Ok(())
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
