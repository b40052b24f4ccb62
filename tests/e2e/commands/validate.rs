//! The command `validate` as a process, compared with the API server: both accept and refuse the same manifests.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{command, said};
use crate::harness::{Stage, root};

fn bases(namespace: &str) -> Vec<Value> {
    let object = |kind: &str, spec: Value| {
        let mut metadata = json!({"name": "base", "namespace": namespace});
        if kind == "ClusterCloudAccount" {
            metadata = json!({"name": "base"});
        }
        json!({"apiVersion": "crossregionbackup.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
    };
    let account = json!({
        "provider": "Volcengine", "region": "cn-beijing",
        "credentials": {"secretRef": {"name": "key", "accessKeyIdKey": "id", "secretAccessKeyKey": "secret", "sessionTokenKey": "t"}},
        "assumeRole": {"role": "trn:iam::2100000000:role/x", "sessionName": "s-1", "externalId": "e", "duration": "1h"},
        "endpoint": "https://redis.{region}.volcengineapi.com", "stsEndpoint": "https://sts.volcengineapi.com",
        "requestBudget": {"requestsPerSecond": 10, "burst": 3}, "requestTimeout": "10s", "suspend": false,
    });
    let mut shared = account.clone();
    shared["allowedNamespaces"] = json!({"from": "Selector", "selector": {
        "matchLabels": {"team": "a"},
        "matchExpressions": [{"key": "b", "operator": "In", "values": ["c"]}],
    }});
    shared["permissions"] = json!({"manage": true, "accountInventory": false});
    vec![
        object("CloudAccount", account),
        object(
            "CloudAccount",
            json!({
                "provider": "Tencent", "credentials": {"secretRef": {"name": "key"}},
                "tencent": {"site": "China", "timeZone": "+08:00"},
            }),
        ),
        object("ClusterCloudAccount", shared),
        object(
            "CrossRegionBackupPolicy",
            json!({
                "accountRef": {"kind": "CloudAccount", "name": "prod"}, "region": "cn-beijing", "instanceId": "redis-a1",
                "active": true, "crossBackupRegion": "cn-shanghai", "managementPolicy": "Manage",
                "deletionPolicy": "Retain", "suspend": false, "resyncInterval": "10m", "recoveryPointObjective": "26h",
                "backups": {"limit": 10},
            }),
        ),
        object(
            "BackupInventory",
            json!({
                "accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account",
                "filter": {
                    "statuses": ["Available"], "strategies": ["AutomatedBackup"], "startTime": "2026-11-01T00:00:00Z",
                    "endTime": "2026-11-02T00:00:00Z", "backupPointName": "n", "backupPointId": "b", "projectName": "p",
                },
                "includeDetails": false, "limit": 50, "refreshInterval": "10m", "suspend": false,
            }),
        ),
    ]
}

/// Collects the JSON pointers of everything below a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let below = format!("{at}/{name}");
                found.push(below.clone());
                pointers(value, &below, found);
            }
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                let below = format!("{at}/{n}");
                found.push(below.clone());
                pointers(value, &below, found);
            }
        }
        _ => {}
    }
}

/// Returns each base manifest unchanged, and with each of its fields changed in each of these ways.
fn mutations(namespace: &str) -> Vec<Value> {
    let strange = [
        json!(null),
        json!(""),
        json!("x"),
        json!(7),
        json!(-1),
        json!(10_001),
        json!(1.5),
        json!(true),
        json!([]),
        json!({}),
        json!("9999h"),
        json!("cn-shanghai"),
        json!("2026-11-01T00:00:00.5+08:00"),
    ];
    let mut all = bases(namespace);
    for base in bases(namespace) {
        let mut found = vec!["/spec".to_owned()];
        pointers(&base["spec"], "/spec", &mut found);
        for pointer in found {
            for value in &strange {
                let mut changed = base.clone();
                if let Some(field) = changed.pointer_mut(&pointer) {
                    *field = value.clone();
                    all.push(changed);
                }
            }
            let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
            let mut without = base.clone();
            let mut with = base.clone();
            if let Some(fields) = without.pointer_mut(parent).and_then(Value::as_object_mut) {
                fields.remove(name);
            }
            if let Some(fields) = with.pointer_mut(&pointer).and_then(Value::as_object_mut) {
                fields.insert("bogus".to_owned(), json!(1));
            }
            all.extend([without, with]);
        }
    }
    for (n, manifest) in all.iter_mut().enumerate() {
        manifest["metadata"]["name"] = json!(format!("m-{n:04}"));
    }
    all
}

/// Returns time texts, and whether each is accepted as startTime and as endTime.
fn forms_of_times() -> Result<Vec<(String, bool)>> {
    let forms: Value = serde_json::from_str(include_str!("../../data/times.json"))?;
    let form = |form: &Value| Some((form["text"].as_str()?.to_owned(), form["taken"].as_bool()?));
    forms.as_array().into_iter().flatten().map(|one| form(one).context("no form of a time")).collect()
}

/// Returns inventories with each time text in each field of the format date-time (no other spec has such fields).
fn with_times(namespace: &str) -> Result<Vec<(Value, bool)>> {
    let base =
        bases(namespace).into_iter().find(|base| base["kind"] == "BackupInventory").context("no base")?;
    let mut all = Vec::new();
    for (text, taken) in forms_of_times()? {
        for (start, end) in [(text.as_str(), "9999-12-31T23:59:59Z"), ("1970-01-01T00:00:00Z", text.as_str())]
        {
            let mut inventory = base.clone();
            inventory["metadata"]["name"] = json!(format!("time-{}", all.len()));
            inventory["spec"]["filter"] = json!({"startTime": start, "endTime": end});
            all.push((inventory, taken));
        }
    }
    Ok(all)
}

#[tokio::test]
async fn it_takes_the_forms_of_times_that_the_api_server_does() -> Result<()> {
    let stage = Stage::new("validate-times").await?;
    let (all, expected): (Vec<_>, Vec<_>) = with_times(&stage.namespace)?.into_iter().unzip();
    ensure!(all.len() > 200, "{}", all.len());
    agrees(&stage, &all).await?;
    let taken = taken_by_the_api_server(&stage, &all).await?;
    for (inventory, expected) in all.iter().zip(expected) {
        let is_taken = taken.contains(inventory["metadata"]["name"].as_str().unwrap_or_default());
        ensure!(is_taken == expected, "taken: {is_taken}: {}", inventory["spec"]["filter"]);
    }
    Ok(())
}

#[tokio::test]
async fn it_takes_and_refuses_what_the_api_server_does() -> Result<()> {
    let stage = Stage::new("validate-agrees").await?;
    let all = mutations(&stage.namespace);
    ensure!(all.len() > 1000, "{}", all.len());
    let taken = taken_by_the_api_server(&stage, &all).await?;
    ensure!(taken.len() > 50 && taken.len() < all.len() / 2, "{} were taken", taken.len());
    agrees(&stage, &all).await
}

/// Returns the names of the manifests that the API server accepts.
async fn taken_by_the_api_server(stage: &Stage<'_>, all: &[Value]) -> Result<BTreeSet<String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("all.yaml");
    std::fs::write(&file, documents(all))?;
    let path = file.display().to_string();
    let output = stage.kubectl().output(["create", "--dry-run=server", "-f", &path]).await?;
    let name = |line: &str| Some(line.split_once(' ')?.0.split_once('/')?.1.to_owned());
    Ok(String::from_utf8(output.stdout)?.lines().filter_map(name).collect())
}

fn documents(all: &[Value]) -> String {
    all.iter().map(|manifest| format!("---\n{manifest}\n")).collect()
}

/// Checks that `validate` accepts exactly the manifests that the API server accepts.
async fn agrees(stage: &Stage<'_>, all: &[Value]) -> Result<()> {
    let taken = taken_by_the_api_server(stage, all).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("all.yaml");
    std::fs::write(&file, documents(all))?;
    let path = file.display().to_string();
    let said = said(command(&["validate", "-o", "json", &path])).await?;
    ensure!(said.code == 1, "{}", said.err);
    let told: Value = serde_json::from_str(&said.out)?;
    ensure!(told["checked"] == all.len());
    let errors = told["errors"].as_array().context("no errors")?;
    let name =
        |error: &Value| error["object"].as_str().and_then(|o| o.rsplit(['/', ' ']).next()).map(str::to_owned);
    let refused: BTreeSet<String> = errors.iter().filter_map(name).collect();
    let mut differ = Vec::new();
    for manifest in all {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        if taken.contains(name) == refused.contains(name) {
            let why: Vec<_> =
                errors.iter().filter(|e| e["object"].as_str().is_some_and(|o| o.ends_with(name))).collect();
            differ.push(format!(
                "the API server takes it: {}; {why:?}: {}",
                taken.contains(name),
                manifest["spec"]
            ));
        }
    }
    ensure!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), all.len(), differ.join("\n"));
    Ok(())
}

const WRONG: &str = "\
apiVersion: crossregionbackup.io/v1alpha1
kind: CrossRegionBackupPolicy
metadata:
  name: sessions
  namespace: payments
spec:
  accountRef: {name: prod}
  region: cn-beijing
  instanceId: redis-a1
  active: true
  resyncintervall: 10m
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: payments}
stringData:
  secretAccessKey: QnV0IHRoaXMgaXMgc2VjcmV0
---
apiVersion: crossregionbackup.io/v1alpha1
kind: CrossRegionBackupPolicy
metadata: {name: \"sess\\e[31mions\", namespace: payments}
spec:
  accountRef: {name: prod}
  region: cn-beijing
  instanceId: redis-a1
  active: true
  crossBackupRegion: cn-beijing
---
kind: [
";

#[tokio::test]
async fn what_is_wrong_is_named_with_file_line_field_and_rule() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("wrong.yaml"), WRONG)?;
    let in_folder = |args: &[&str]| {
        let mut command = command(args);
        command.current_dir(folder.path());
        command
    };
    let text = said(in_folder(&["validate", "wrong.yaml"])).await?;
    ensure!(text.code == 1);
    let text = format!("{}{}", text.out, text.err);
    insta::assert_snapshot!("validate-text", text);
    let json = said(in_folder(&["validate", "-o", "json", "."])).await?;
    ensure!(json.code == 1);
    insta::assert_snapshot!("validate-json", json.out);
    for output in [&text, &json.out] {
        ensure!(!output.contains("QnV0") && !output.contains('\u{1b}'), "{output}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_good_is_told_so_and_standard_input_is_read() -> Result<()> {
    let good = bases("payments").into_iter().map(|base| format!("---\n{base:#}\n")).collect::<String>();
    let good = good.replacen("\"base\"", "\"other\"", 1);
    let mut command = command(&["validate", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn()?;
    process.stdin.take().context("no input")?.write_all(good.as_bytes())?;
    let output = process.wait_with_output()?;
    let err = String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && output.stdout.is_empty(), "{err}");
    ensure!(err == "valid: 5 documents checked\n", "{err}");
    let examples = root("examples").display().to_string();
    let examples = said(super::command(&["validate", &examples])).await?;
    ensure!(examples.code == 0 && examples.err.starts_with("valid: "), "{}{}", examples.out, examples.err);
    Ok(())
}

#[tokio::test]
async fn wrong_usage_ends_with_1() -> Result<()> {
    let empty = tempfile::tempdir()?;
    let path = empty.path().display().to_string();
    for (args, words) in [
        (vec!["validate"], "<FILE|DIR>..."),
        (vec!["validate", "/nowhere/at/all.yaml"], "cannot read /nowhere/at/all.yaml"),
        (vec!["validate", &path], "no manifests (*.yaml, *.yml, *.json) in this directory"),
        (vec!["validate", "-o", "xml", "x.yaml"], "[possible values: text, json]"),
        (vec!["plan", "--provider", "AWS", "x.yaml"], "must be Volcengine, BytePlus or Tencent"),
        (vec!["walk"], "unrecognized subcommand 'walk'"),
    ] {
        let said = said(command(&args)).await?;
        ensure!(said.code == 1 && said.out.is_empty(), "{args:?}: {}", said.code);
        ensure!(said.err.contains(words), "{args:?}: {}", said.err);
    }
    let help = said(command(&["validate", "--help"])).await?;
    ensure!(help.code == 0 && help.out.contains("Examples:") && help.err.is_empty(), "{}", help.out);
    Ok(())
}

#[tokio::test]
async fn shells_complete_the_commands() -> Result<()> {
    let script = said(command(&["completion", "bash"])).await?;
    ensure!(script.code == 0 && script.err.is_empty());
    // Asks bash itself for the completions.
    let asks = format!(
        "{}\nname=cross-region-backup-operator; asked=$(complete -p $name | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         COMP_WORDS=($name va); COMP_CWORD=1; $asked $name va $name; echo \"${{COMPREPLY[@]}}\"",
        script.out
    );
    let output = std::process::Command::new("bash").args(["--norc", "-c", &asks]).output()?;
    let out = String::from_utf8(output.stdout)?;
    ensure!(out == "validate\n", "{out}{}", String::from_utf8_lossy(&output.stderr));
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let script = said(command(&["completion", shell])).await?;
        ensure!(script.code == 0 && script.out.contains("crds"), "{shell}");
    }
    Ok(())
}
