//! Agreement of `plan` and `run`: for each situation of a policy's life cycle, one process plans the manifests and another
//! reconciles them, and the Modifies that the cloud received must match the plan.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cloud_simulator::InstanceSpec;
use serde_json::{Value, json};
use testbed::{ControlPlane, Options};

use super::{Said, command, in_cluster, said, write};
use crate::checks::MODIFY;
use crate::harness::{Stage, condition, settled};

/// A policy and the instance that it manages.
struct Situation {
    name: &'static str,
    /// Cloud-side configuration; `None` if the instance does not exist.
    instance: Option<Value>,
    spec: Value,
    /// Action of the plan, and the reason that `run` reports in the status.
    action: &'static str,
    reason: &'static str,
}

fn on(target: &str) -> Value {
    json!({"active": true, "region": target, "ttl": 7})
}

fn situations() -> Vec<Situation> {
    let with = |policy: Value| Some(json!({"policy": policy}));
    let situation = |name, instance, spec, action, reason| Situation { name, instance, spec, action, reason };
    let observe = |more: Value| {
        let mut spec = json!({"managementPolicy": "Observe"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    vec![
        situation("in-sync", with(on("cn-shanghai")), json!({}), "none", "InSync"),
        situation("is-off", Some(json!({})), json!({}), "enable", "InSync"),
        situation("elsewhere", with(on("cn-guangzhou")), json!({}), "changeTarget", "InSync"),
        situation("to-be-off", with(on("cn-guangzhou")), json!({"active": false}), "disable", "InSync"),
        situation("off-already", Some(json!({})), json!({"active": false}), "none", "InSync"),
        // The cloud still returns the last target while the policy is off; the target has no meaning then.
        situation(
            "off-with-target",
            with(json!({"active": false, "region": "cn-guangzhou", "ttl": 7})),
            json!({"active": false, "crossBackupRegion": "cn-shanghai"}),
            "none",
            "InSync",
        ),
        situation("observed", with(on("cn-shanghai")), observe(json!({})), "none", "Observed"),
        situation("drifted", Some(json!({})), observe(json!({})), "drift", "DriftDetected"),
        situation("suspended", Some(json!({})), json!({"suspend": true}), "none", "Suspended"),
        situation("not-there", None, json!({}), "error", "InstanceNotFound"),
        situation(
            "no-such-region",
            Some(json!({})),
            json!({"crossBackupRegion": "eu-mars"}),
            "error",
            "RegionNotAvailable",
        ),
        // The cloud refuses the Modify for an instance class without cross-region backups.
        situation("standalone", Some(json!({"class": "Standalone"})), json!({}), "enable", "NotSupported"),
        // The cloud reports that the instance is not running only in its response to the Modify.
        situation("starts", Some(json!({"status": "Restarting"})), json!({}), "enable", "InstanceNotReady"),
        situation(
            "of-nobody",
            Some(json!({})),
            json!({"accountRef": {"name": "nobody"}}),
            "error",
            "AccountNotFound",
        ),
        situation(
            "no-key",
            Some(json!({})),
            json!({"accountRef": {"name": "keyless"}}),
            "error",
            "CredentialsMissing",
        ),
        situation(
            "wrong-key",
            Some(json!({})),
            json!({"accountRef": {"name": "wrong"}}),
            "error",
            "CredentialsRejected",
        ),
        situation(
            "elsewhere-bound",
            Some(json!({})),
            json!({"accountRef": {"name": "bound"}}),
            "error",
            "EndpointNotAllowed",
        ),
        situation("asleep", Some(json!({})), json!({"accountRef": {"name": "asleep"}}), "none", "Suspended"),
        situation(
            "tencent",
            Some(json!({})),
            json!({"accountRef": {"name": "tencent"}}),
            "error",
            "NotSupported",
        ),
        situation(
            "not-shared",
            Some(json!({})),
            json!({"accountRef": {"kind": "ClusterCloudAccount", "name": "plan-agreement"}}),
            "error",
            "AccountNotAllowed",
        ),
    ]
}

fn id(name: &str) -> String {
    format!("redis-{name}")
}

/// Returns the Secrets and accounts of the manifest files: a valid account, and one for each kind of problem.
fn accounts(stage: &Stage<'_>) -> Vec<Value> {
    let account = |name: &str, secret: &str, more: Value| {
        let mut account = stage.account_manifest();
        account["metadata"]["name"] = json!(name);
        account["spec"]["credentials"]["secretRef"]["name"] = json!(secret);
        account["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        account
    };
    let mut wrong = stage.secret_manifest();
    wrong["metadata"]["name"] = json!("wrong-key");
    wrong["stringData"]["secretAccessKey"] = json!("bm90IHRoZSByaWdodCBvbmU=");
    let mut shared = account(
        "plan-agreement",
        "cloud-key",
        json!({
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"plan": "allowed"}}},
        }),
    );
    shared["kind"] = json!("ClusterCloudAccount");
    shared["metadata"].as_object_mut().unwrap().remove("namespace");
    let mut keyless = account("keyless", "there-is-none", json!({}));
    keyless["spec"].as_object_mut().unwrap().remove("endpoint");
    vec![
        stage.secret_manifest(),
        wrong,
        account("prod", "cloud-key", json!({})),
        keyless,
        account("wrong", "wrong-key", json!({})),
        account("bound", "cloud-key", json!({"endpoint": "http://169.254.169.254"})),
        account("asleep", "cloud-key", json!({"suspend": true})),
        account("tencent", "cloud-key", json!({"provider": "Tencent"})),
        shared,
    ]
}

/// Returns the planned policies by name.
fn planned(plan: &Said) -> Result<BTreeMap<String, Value>> {
    let plan: Value = serde_json::from_str(&plan.out).with_context(|| format!("{}{}", plan.out, plan.err))?;
    let policies = plan["policies"].as_array().context("no policies")?.clone();
    Ok(policies.into_iter().map(|p| (p["name"].as_str().unwrap_or_default().to_owned(), p)).collect())
}

impl Stage<'_> {
    fn plan(&self, flags: &[&str], folder: &std::path::Path) -> std::process::Command {
        let mut command = command(&["plan", "-o", "json", "--allowed-endpoint", &self.endpoint]);
        command.args(flags).arg(folder);
        command
    }

    /// Returns the number of Modify requests that the cloud received for each instance.
    fn modified(&self) -> BTreeMap<String, usize> {
        let mut modified = BTreeMap::new();
        for request in self.requests(MODIFY) {
            *modified.entry(request.instance_id.unwrap_or_default()).or_default() += 1;
        }
        modified
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_does_what_plan_says() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    crate::harness::install(&plane).await?;
    let mut stage = Stage::on(&plane, "agreement").await?;
    stage.watches_all = true;
    let situations = situations();
    let mut manifests = accounts(&stage);
    for situation in &situations {
        let id = id(situation.name);
        if let Some(instance) = &situation.instance {
            stage.cloud.put_instance(InstanceSpec::new(&*id, "cn-beijing"))?;
            stage.cloud.patch_instance(&id, instance.clone())?;
        }
        let mut policy = stage.policy_manifest(situation.name, json!({"instanceId": id}));
        policy["spec"].as_object_mut().unwrap().extend(situation.spec.as_object().unwrap().clone());
        manifests.push(policy);
    }
    let folder = tempfile::tempdir()?;
    write(folder.path(), &manifests)?;

    let plan = said(stage.plan(&[], folder.path())).await?;
    ensure!(plan.code == 1, "there are errors: {}", plan.err);
    let said_before = planned(&plan)?;
    for situation in &situations {
        let said = &said_before[situation.name];
        ensure!(said["action"] == situation.action, "{}: {said:#}", situation.name);
        ensure!(situation.action != "error" || said["reason"] == situation.reason, "{said:#}");
    }
    ensure!(stage.calls(MODIFY) == 0, "a plan changes nothing");

    stage.kubectl().run(["apply", "-f", &folder.path().display().to_string()]).await?;
    stage.start_operator().await?;
    for situation in &situations {
        let said = &said_before[situation.name];
        let policy = stage.until_reason_of(situation.name, situation.reason).await?;
        let of_the_instance = ["InstanceNotFound", "RegionNotAvailable", "NotSupported"];
        if situation.action == "error" && of_the_instance.contains(&situation.reason) {
            ensure!(said["message"] == condition(&policy, "Ready")["message"], "{said:#}\n{policy:#}");
        }
        if situation.reason == "InSync" && situation.action != "none" {
            let modification = &policy["status"]["lastModification"];
            ensure!(modification["to"]["active"] == said["to"]["active"], "{said:#}\n{policy:#}");
            ensure!(modification["from"] == said["from"], "{said:#}\n{policy:#}");
            ensure!(modification["cause"] == said["cause"], "{said:#}\n{policy:#}");
        }
    }
    let changes = ["enable", "changeTarget", "disable"];
    let mut modified = stage.modified();
    // The operator retries refused Modifies.
    for refused in ["starts", "standalone"] {
        modified.entry(id(refused)).and_modify(|count| *count = 1);
    }
    let wanted: BTreeMap<String, usize> =
        situations.iter().filter(|s| changes.contains(&s.action)).map(|s| (id(s.name), 1)).collect();
    ensure!(modified == wanted, "{modified:?}");
    stage.cloud.patch_instance(&id("starts"), json!({"status": "Running"}))?;
    stage.until_reason_of("starts", "InSync").await?;

    // A second plan with the cluster's current state contains no changes.
    let again = said(in_cluster(stage.plan(&["--from-cluster"], folder.path()), &plane)).await?;
    for (name, said) in planned(&again)?.into_iter().filter(|(name, _)| name != "standalone") {
        ensure!(!changes.contains(&said["action"].as_str().unwrap_or_default()), "{name}: {said:#}");
    }

    // A policy that is created later conflicts with the one that manages the instance.
    let later = tempfile::tempdir()?;
    let rival = json!({"instanceId": id("in-sync"), "crossBackupRegion": "cn-guangzhou"});
    let rival = stage.policy_manifest("rival", rival);
    write(later.path(), std::slice::from_ref(&rival))?;
    let plan = said(in_cluster(stage.plan(&["--from-cluster"], later.path()), &plane)).await?;
    let told = planned(&plan)?.remove("rival").context("no rival")?;
    ensure!(plan.code == 1 && told["reason"] == "Conflict", "{told:#}");
    stage.apply(rival).await?;
    let policy = stage.until_reason_of("rival", "Conflict").await?;
    ensure!(condition(&policy, "Ready")["message"] == told["message"], "{told:#}\n{policy:#}");
    // With both policies only in the files, the first in file order manages the instance.
    write(
        later.path(),
        &[
            stage.policy_manifest("first", json!({"instanceId": id("elsewhere")})),
            stage.policy_manifest(
                "second",
                json!({"instanceId": id("elsewhere"), "crossBackupRegion": "cn-guangzhou"}),
            ),
            stage.secret_manifest(),
            stage.account_manifest(),
        ],
    )?;
    let both = planned(&said(stage.plan(&[], later.path())).await?)?;
    ensure!(both["first"]["action"] == "none" && both["second"]["reason"] == "Conflict", "{both:#?}");

    // The operator corrects changes made outside of it as drift.
    stage.operator().terminate(crate::harness::LIMIT).await?;
    stage.cloud.set_policy(&id("in-sync"), cloud_simulator::Policy::default())?;
    let drifted = said(in_cluster(stage.plan(&["--from-cluster"], folder.path()), &plane)).await?;
    let told = planned(&drifted)?.remove("in-sync").context("no policy")?;
    ensure!(told["action"] == "enable" && told["cause"] == "Drift", "{told:#}");
    stage.start_operator().await?;
    let corrected = |o: &Value| {
        o["status"]["lastModification"]["cause"] == "Drift" && o["status"]["drift"]["corrections"] == 1
    };
    stage.until("crbp", "in-sync", "the drift to be corrected", corrected).await?;

    stage.run(["delete", "crbp", "rival", "--timeout=60s"]).await?;

    // The plan for a deletion matches what the deletion does.
    let disable = ["in-sync", "is-off", "elsewhere", "observed", "not-there", "no-key"];
    for name in disable {
        stage
            .run(["patch", "crbp", name, "--type=merge", "-p", r#"{"spec": {"deletionPolicy": "Disable"}}"#])
            .await?;
    }
    for name in disable {
        stage.until("crbp", name, "the new generation", settled).await?;
    }
    let before = stage.modified();
    let farewell =
        said(in_cluster(stage.plan(&["--from-cluster", "--delete"], folder.path()), &plane)).await?;
    let farewell = planned(&farewell)?;
    for (name, said) in &farewell {
        let expected = match name.as_str() {
            "in-sync" | "is-off" | "elsewhere" => "disable",
            "no-key" => "error",
            _ => "none",
        };
        ensure!(said["action"] == expected, "{said:#}");
    }
    for name in disable.into_iter().filter(|name| farewell[*name]["action"] != "error") {
        stage.run(["delete", "crbp", name, "--timeout=60s"]).await?;
        let now = stage.modified().get(&id(name)).copied().unwrap_or_default();
        let modified = now - before.get(&id(name)).copied().unwrap_or_default();
        ensure!(modified == usize::from(farewell[name]["action"] == "disable"), "{name}: {modified}");
    }
    Ok(())
}
