//! `report`: shows which instances are protected, since when, and to which region. The report is plain data; each
//! output format is a function of it.

mod data;
mod gather;
mod html;
pub mod model;
mod text;

use anyhow::bail;

use super::access::{Access, stored_policies};
use super::show::{self, Paint};
use super::{Exit, target};
use crate::accounts::AccountKey;
use crate::api::CrossRegionBackupPolicy;
use crate::cli::Global;
use crate::cli::report::{Report as Args, ReportFormat};
use crate::clock::Clock;
use gather::{PolicyResource, gather};

/// # Errors
/// The files or flags are invalid, or the cluster cannot be reached. An account that cannot be read is part of the
/// report instead.
pub async fn run(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    let target::Sources { access, policies, namespace } =
        target::sources(global, &args.of, &args.source).await?;
    let mut resources = policies;
    if let Some(cluster) = &access.cluster {
        let is_given = |policy: &CrossRegionBackupPolicy| {
            resources.iter().any(|(namespace, resource)| {
                Some(namespace) == policy.metadata.namespace.as_ref()
                    && resource.metadata.name == policy.metadata.name
            })
        };
        let stored = stored_policies(cluster).await?.into_iter().filter(|policy| !is_given(policy));
        let stored: Vec<_> =
            stored.map(|policy| (policy.metadata.namespace.clone().unwrap_or_default(), policy)).collect();
        resources.extend(stored);
    }
    let asked = match &args.of.account {
        Some(_) => Some(target::key(&access, &args.of, &namespace)?),
        None if resources.is_empty() && args.source.from_cluster => None,
        None if resources.is_empty() => Some(target::key(&access, &args.of, &namespace)?),
        None => None,
    };
    if let Some(key) = &asked {
        resources.retain(|(namespace, policy)| gather::account(policy, namespace) == *key);
    }
    if !args.of.regions.is_empty() {
        resources.retain(|(_, policy)| args.of.regions.contains(&policy.spec.region));
    }
    if asked.is_none() && resources.is_empty() {
        bail!("there is no policy to report about: --account names an account");
    }
    let resources: Vec<_> =
        resources.into_iter().map(|(namespace, policy)| PolicyResource { namespace, policy }).collect();
    let account_regions = account_regions(&access, args, asked, &resources).await;
    let report = gather(&access, &resources, account_regions, Clock::system().now()).await;
    show::print(&match args.output {
        ReportFormat::Text => text(&report, Paint::of_stdout()),
        ReportFormat::Json => to_json(&report)?,
        ReportFormat::Csv => to_csv(&report)?,
        ReportFormat::Html => html(&report),
    })?;
    show::note(&format!("{} cloud calls, none that changes anything.", access.sent.total()));
    Ok(if report.problems.is_empty() { Exit::Success } else { Exit::Failure })
}

/// Returns the regions of the requested account: those of the flags, else its home region if it has no policies.
/// `gather` adds the regions of the policies.
async fn account_regions(
    access: &Access,
    args: &Args,
    asked: Option<AccountKey>,
    resources: &[PolicyResource],
) -> Vec<(AccountKey, String)> {
    let Some(key) = asked else { return Vec::new() };
    let mut regions = args.of.regions.clone();
    if regions.is_empty() && resources.is_empty() {
        regions.push(access.home_region(&key).await);
    }
    regions.into_iter().map(|region| (key.clone(), region)).collect()
}

pub use data::{to_csv, to_json};
pub use html::html;
pub use text::text;

#[cfg(test)]
mod tests;
