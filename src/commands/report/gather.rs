//! Collects the data of a report: instances, policies and copies from the cloud, declarations from files and cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::model::{
    Account, CloudPolicy, Copies, Declared, Instance, PolicyWithoutInstance, Problem, Report,
};
use crate::accounts::{AccountKey, provider_name};
use crate::api::policy::{CrossRegionBackupPolicySpec, ManagementPolicy};
use crate::api::{CrossRegionBackupPolicy, duration};
use crate::cloud::Selection;
use crate::commands::access::{Access, ResolvedAccount};
use crate::commands::backups::{self, ListEvent};
use crate::commands::show::Progress;
use crate::commands::target;
use crate::controllers::policy::desired::account_of;
use crate::domain::{self, InstanceRef, Kind};
use crate::plan::inventory::listing_summary::{is_standalone, is_usable};

const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
/// Concurrent Describe calls; the account's request budget limits their rate.
const CONCURRENT_CALLS: usize = 64;
const NO_POLICY: &str = "Tencent Cloud has no cross-region backup policy";
const STANDALONE: &str = "a Standalone instance can have no cross-region backup";

/// Policy resource with its namespace.
pub struct PolicyResource {
    pub namespace: String,
    pub policy: CrossRegionBackupPolicy,
}

/// Account and one of its regions.
type AccountRegion = (AccountKey, String);

/// Returns the account that a policy refers to.
pub fn account(policy: &CrossRegionBackupPolicy, namespace: &str) -> AccountKey {
    account_of(&policy.spec, namespace)
}

/// Reads the requested accounts and regions, and those of the policies.
pub async fn gather(
    access: &Access,
    resources: &[PolicyResource],
    asked: impl IntoIterator<Item = AccountRegion>,
    now: Timestamp,
) -> Report {
    let mut report = Report {
        generated_at: now,
        accounts: Vec::new(),
        policies_without_instance: Vec::new(),
        problems: Vec::new(),
    };
    let account_region_of = |resource: &PolicyResource| {
        let spec = &resource.policy.spec;
        (account_of(spec, &resource.namespace), spec.region.clone())
    };
    let mut account_regions: Vec<AccountRegion> =
        asked.into_iter().chain(resources.iter().map(account_region_of)).collect();
    account_regions.sort_by_key(|(key, region)| (key.namespace.clone(), key.name.clone(), region.clone()));
    account_regions.dedup();
    let entries = access.resolve_all(account_regions.iter().map(|(key, _)| key.clone())).await;
    for (key, region) in account_regions {
        let name = name_of(&key);
        let problem =
            |message: String| Problem { account: name.clone(), region: Some(region.clone()), message };
        let resolved = match entries.get(&key).map(|entry| &entry.access) {
            Some(Ok(resolved)) => resolved,
            Some(Err((reason, text))) => {
                report.problems.push(problem(format!("{}: {text}", reason.as_str())));
                continue;
            }
            None => continue,
        };
        let here: Vec<_> = resources
            .iter()
            .filter(|resource| account_region_of(resource) == (key.clone(), region.clone()))
            .collect();
        match instances(access, resolved, &region, &here, now).await {
            Ok(instances) => {
                let known: HashSet<_> = instances.iter().map(|instance| instance.id.as_str()).collect();
                let lost = here.iter().filter(|resource| !known.contains(&*resource.policy.spec.instance_id));
                report.policies_without_instance.extend(lost.map(|resource| PolicyWithoutInstance {
                    namespace: resource.namespace.clone(),
                    name: resource.policy.metadata.name.clone().unwrap_or_default(),
                    account: name.clone(),
                    region: region.clone(),
                    instance_id: resource.policy.spec.instance_id.clone(),
                }));
                let provider = provider_name(resolved.provider).to_owned();
                report.accounts.push(Account { name, provider, region, instances });
            }
            Err(error) => report.problems.push(problem(format!("{error:#}"))),
        }
    }
    report
}

/// Formats a key as `NAMESPACE/NAME`, or as `/NAME` for a ClusterCloudAccount.
fn name_of(key: &AccountKey) -> String {
    format!("{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name)
}

async fn instances(
    access: &Access,
    resolved: &ResolvedAccount,
    region: &str,
    resources: &[&PolicyResource],
    now: Timestamp,
) -> anyhow::Result<Vec<Instance>> {
    let listed = target::instances(access, resolved, region).await?;
    let mut progress = Progress::on_stderr();
    let mut done = 0;
    let policies: Vec<_> = futures::stream::iter(&listed)
        .map(|instance| policy(access, resolved, region, instance))
        .buffered(CONCURRENT_CALLS)
        .inspect(|_| {
            done += 1;
            progress.update(&format!("{region}: {done} of {} policies described", listed.len()));
        })
        .collect()
        .await;
    drop(progress);
    let copies = match resolved.site().has_policies() {
        true => copies(access, resolved, region, now).await,
        false => Err(NO_POLICY.to_owned()),
    };
    let declared: HashMap<_, _> = resources
        .iter()
        .rev()
        .map(|resource| (resource.policy.spec.instance_id.as_str(), *resource))
        .collect();
    let reported = listed.iter().zip(policies).map(|(instance, cloud)| {
        let declared = declared.get(instance.id.as_str()).map(|resource| declared_by(resource));
        let target = match &cloud {
            CloudPolicy::On { target, .. } => target.clone(),
            _ => declared.as_ref().and_then(|declared| declared.target.clone()),
        };
        Instance {
            id: instance.id.clone(),
            name: instance.name.clone(),
            project: instance.project_name.clone(),
            copies: match &copies {
                Ok(copies) => copies.of(&instance.id, target.as_deref()),
                Err(why) => Copies::NotRead(why.clone()),
            },
            cloud,
            declared,
        }
    });
    Ok(reported.collect())
}

async fn policy(
    access: &Access,
    resolved: &ResolvedAccount,
    region: &str,
    instance: &domain::Instance,
) -> CloudPolicy {
    if !resolved.site().has_policies() {
        return CloudPolicy::Unsupported(NO_POLICY.to_owned());
    }
    if is_standalone(instance) {
        return CloudPolicy::Unsupported(STANDALONE.to_owned());
    }
    let of = &InstanceRef { region: region.to_owned(), id: instance.id.clone() };
    match access.call(resolved, DESCRIBE, |client| async move { client.describe_policy(of).await }).await {
        Ok(state) if state.active => {
            CloudPolicy::On { target: state.cross_backup_region, ttl_days: state.ttl_days }
        }
        Ok(_) => CloudPolicy::Off,
        Err(failure) if failure.kind == Kind::NotSupported => CloudPolicy::Unsupported(STANDALONE.to_owned()),
        Err(failure) => CloudPolicy::Unknown(failure.to_string()),
    }
}

fn declared_by(resource: &PolicyResource) -> Declared {
    let policy = &resource.policy;
    let CrossRegionBackupPolicySpec { active, cross_backup_region, management_policy, .. } = &policy.spec;
    let objective = policy.spec.recovery_point_objective.as_deref().and_then(duration::parse);
    Declared {
        namespace: resource.namespace.clone(),
        name: policy.metadata.name.clone().unwrap_or_default(),
        management_policy: match management_policy {
            ManagementPolicy::Manage => "Manage".to_owned(),
            ManagementPolicy::Observe => "Observe".to_owned(),
        },
        active: *active,
        target: cross_backup_region.clone().filter(|_| *active),
        objective: objective.and_then(|objective| SignedDuration::try_from(objective).ok()),
        protected_since: policy
            .status
            .as_ref()
            .and_then(|status| status.protected_since.as_ref())
            .map(|t| t.0),
    }
}

/// Start time and id of each copy, the newest last.
type SortedCopies = BTreeSet<(Option<Timestamp>, String)>;

/// Usable copies of an account in a region, by instance and target region.
struct AllCopies(HashMap<String, BTreeMap<String, SortedCopies>>);

impl AllCopies {
    fn of(&self, instance: &str, target: Option<&str>) -> Copies {
        let found = target.and_then(|target| self.0.get(instance)?.get(target));
        Copies::Read {
            usable: found.map_or(0, |found| i64::try_from(found.len()).unwrap_or(i64::MAX)),
            newest: found.and_then(|found| found.last()?.0),
        }
    }
}

async fn copies(
    access: &Access,
    resolved: &ResolvedAccount,
    region: &str,
    now: Timestamp,
) -> Result<AllCopies, String> {
    let selection = Selection { region: region.to_owned(), ..Selection::default() };
    let mut all = AllCopies(HashMap::new());
    let listed = backups::for_each_page(access, resolved, selection, now, |page| {
        let ListEvent::Read(page) = page else { return };
        for backup in page.into_iter().filter(|backup| is_usable(&backup.status)) {
            let target = backup.target_region.unwrap_or_default();
            let of = all.0.entry(backup.instance_id).or_default();
            of.entry(target).or_default().insert((backup.start_time, backup.backup_point_id));
        }
    })
    .await;
    listed.map(|_| all).map_err(|error| format!("{error:#}"))
}
