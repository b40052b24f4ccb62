//! `plan`: shows what `run` would change in the cloud for these manifests, without changing anything.

mod evaluate;
mod render;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::access::cluster::Cluster;
use super::access::{Access, ManifestsSource, stored_policies};
use super::manifests::{self, FilePosition, Manifests};
use super::show::{self, Paint, Progress};
use super::{Exit, target, validate};
use crate::api::CrossRegionBackupPolicy;
use crate::api::policy::AccountKind;
use crate::cli::Global;
use crate::cli::plan::{Plan, PlanFormat};
use crate::clock::Clock;
use crate::domain::InstanceRef;
use evaluate::{Intent, PlanItem, Verdict, evaluate};

const POLICY: &str = "CrossRegionBackupPolicy";
/// Result of `plan`.
struct PlanResult {
    /// Errors of invalid documents, which are not planned.
    invalid: Vec<String>,
    lines: Vec<PolicyResult>,
    /// Sent calls by action.
    calls: BTreeMap<String, u64>,
}

/// One policy of the plan.
struct PolicyResult {
    file: String,
    line: u64,
    namespace: String,
    name: String,
    account: String,
    instance: InstanceRef,
    verdict: Verdict,
}

impl PlanResult {
    fn exit(&self) -> Exit {
        let any = |wanted: &str| self.lines.iter().any(|line| render::action(&line.verdict) == wanted);
        if !self.invalid.is_empty() || any("error") {
            Exit::Failure
        } else if self.lines.iter().any(|line| matches!(line.verdict, Verdict::Modify { .. })) {
            Exit::Changes
        } else {
            Exit::Success
        }
    }
}

/// # Errors
/// A path cannot be read, a flag is invalid, or the cluster cannot be reached.
pub async fn run(global: &Global, args: &Plan) -> anyhow::Result<Exit> {
    let cluster = match args.source.from_cluster {
        true => Some(Cluster::connect(&args.source.cluster).await?),
        false => None,
    };
    let namespace = target::default_namespace(&args.source, cluster.as_ref());
    let stored = match &cluster {
        Some(cluster) => stored_policies(cluster).await?,
        None => Vec::new(),
    };
    let read = manifests::read(&args.paths)?;
    let (given, sorted) = sort(read, stored, &namespace, args);
    let access = Access::new(global, &args.source, cluster, given)?;
    let outcome = planned(&access, sorted, Clock::system().now()).await;
    show::print(&match args.output {
        PlanFormat::Text => render::text(&outcome, Paint::of_stdout()),
        PlanFormat::Json => show::json(&render::json(&outcome))?,
        PlanFormat::Markdown => render::comment(&outcome),
    })?;
    Ok(outcome.exit())
}

/// Evaluates all policies.
async fn planned(access: &Access, sorted: Sorted, now: Timestamp) -> PlanResult {
    let Sorted { wanted, positions, others, invalid } = sorted;
    let mut progress = Progress::on_stderr();
    let report_progress = |done| progress.update(&format!("{done} of {} policies looked at", wanted.len()));
    let verdicts = evaluate(access, &wanted, &others, now, report_progress).await;
    let of = |((wanted, at), verdict)| line(wanted, at, verdict);
    let lines = wanted.iter().zip(positions).zip(verdicts).map(of).collect();
    PlanResult { invalid, lines, calls: access.sent.by_action() }
}

/// Policies of the files and of the cluster.
struct Sorted {
    wanted: Vec<PlanItem>,
    /// File position of each of `wanted`.
    positions: Vec<FilePosition>,
    /// The cluster's policies that the files do not have.
    others: Vec<CrossRegionBackupPolicy>,
    invalid: Vec<String>,
}

fn sort(
    read: Manifests,
    stored: Vec<CrossRegionBackupPolicy>,
    namespace: &str,
    args: &Plan,
) -> (ManifestsSource, Sorted) {
    let mut stored: HashMap<_, _> = stored.into_iter().map(|policy| (identity(&policy), policy)).collect();
    let mut invalid: Vec<_> = read.problems.iter().map(ToString::to_string).collect();
    let (mut given, mut wanted, mut positions) = (ManifestsSource::default(), Vec::new(), Vec::new());
    for document in read.documents {
        let namespace = document.namespace.clone().unwrap_or_else(|| namespace.to_owned());
        let identity = (namespace.clone(), document.name.clone());
        let is_policy = document.is_kind(POLICY);
        let found = stored.get(&identity).filter(|_| is_policy);
        let old = found.and_then(|found| serde_json::to_value(found).ok());
        let value = match validate::check(&document, old.as_ref()) {
            Ok(value) => value,
            Err(problems) => {
                invalid.extend(problems.iter().map(ToString::to_string));
                continue;
            }
        };
        if !is_policy {
            given.take(&document.kind, &namespace, &value);
            continue;
        }
        match serde_json::from_value::<CrossRegionBackupPolicy>(value) {
            Ok(policy) => {
                let stored = stored.remove(&identity);
                // A deletion concerns the cluster's version.
                let policy = stored.clone().filter(|_| args.delete).unwrap_or(policy);
                let intent = match args.delete {
                    true if args.source.from_cluster && stored.is_none() => Intent::Absent,
                    true => Intent::Delete,
                    false => Intent::Apply,
                };
                wanted.push(PlanItem { policy, namespace, stored, intent });
                positions.push(document.at);
            }
            Err(error) => invalid.push(format!("{}: {error}", document.at)),
        }
    }
    (given, Sorted { wanted, positions, others: stored.into_values().collect(), invalid })
}

fn identity(policy: &CrossRegionBackupPolicy) -> (String, String) {
    let meta = &policy.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn line(wanted: &PlanItem, at: FilePosition, verdict: Verdict) -> PolicyResult {
    let spec = &wanted.policy.spec;
    let reference = &spec.account_ref;
    let namespace = match reference.kind {
        AccountKind::CloudAccount => wanted.namespace.as_str(),
        AccountKind::ClusterCloudAccount => "",
    };
    PolicyResult {
        file: at.file.to_string(),
        line: at.line,
        namespace: wanted.namespace.clone(),
        name: wanted.policy.metadata.name.clone().unwrap_or_default(),
        account: format!("{namespace}/{}", reference.name),
        instance: InstanceRef { region: spec.region.clone(), id: spec.instance_id.clone() },
        verdict,
    }
}

#[cfg(test)]
mod tests;
