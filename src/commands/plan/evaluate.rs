//! Predicts what `run` would do about each policy: the controller's own decisions ([`crate::plan`]), based on one
//! Describe.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::accounts::{AccountKey, provider_name};
use crate::api::policy::{CrossRegionBackupPolicySpec, ManagementPolicy};
use crate::api::{CrossRegionBackupPolicy, RECONCILE_REQUESTED_AT};
use crate::commands::access::{Access, AccountLookup, ResolvedAccount};
use crate::controllers::policy::desired::{account_of, desired_of, instance_of, own_interval};
use crate::controllers::policy::stored_refusal;
use crate::controllers::sharing::Purpose;
use crate::domain::{Change, ConditionStatus, InstanceRef, ObjectKey, PolicyState, Reason};
use crate::plan::conflict::{Claim, Refusal, manager};
use crate::plan::deletion::{self, AccountAccess, FinalizeStep, Release, switched_off};
use crate::plan::memory::{Memory, Regions};
use crate::plan::next::{NextAction, next};
use crate::plan::{AccountReadiness, CompetingPolicy, Desired, ReconcileEnv, conditions};

const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
const REGIONS: &str = "DescribeAvailableCrossRegion";
/// Policies evaluated concurrently; the request budget of each account limits the rate of calls.
const CONCURRENT_POLICIES: usize = 256;
/// Upper bound on the decisions about one policy, larger than any real sequence.
const MAX_STEPS: usize = 16;

/// Policy to plan.
pub struct PlanItem {
    pub policy: CrossRegionBackupPolicy,
    pub namespace: String,
    /// The cluster's version of the policy.
    pub stored: Option<CrossRegionBackupPolicy>,
    pub intent: Intent,
}

/// Intended operation on a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    Apply,
    Delete,
    /// The policy is to be deleted, but the cluster does not have it.
    Absent,
}

/// Predicted outcome for one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A Modify would be sent.
    Modify { from: Option<PolicyState>, to: Change, is_drift: bool },
    /// Nothing would be sent: the cloud is as declared, or the policy asks for no change.
    Nothing { reason: &'static str, message: String },
    /// The policy only observes, and the cloud differs.
    Drift { difference: String },
    /// The policy would not become Ready.
    Problem { reason: &'static str, message: String },
}

/// Evaluation of one policy.
struct Case<'a> {
    wanted: &'a PlanItem,
    key: AccountKey,
    instance: InstanceRef,
    desired: Desired,
    entry: Option<&'a AccountLookup>,
    readiness: AccountReadiness,
    memory: Memory,
}

impl<'a> Case<'a> {
    fn resolved(&self) -> Option<&'a ResolvedAccount> {
        self.entry.and_then(|entry| entry.access.as_ref().ok())
    }

    fn env(&self, competitor: Option<CompetingPolicy>) -> ReconcileEnv {
        ReconcileEnv {
            readiness: self.readiness.clone(),
            paused_until: None,
            competitor,
            access_generation: None,
        }
    }
}

/// Evaluates all policies, and returns the verdicts in the same order. `others` are the cluster's policies that are not
/// in `wanted`.
pub async fn evaluate(
    access: &Access,
    wanted: &[PlanItem],
    others: &[CrossRegionBackupPolicy],
    now: Timestamp,
    mut progress: impl FnMut(usize),
) -> Vec<Verdict> {
    let keys = wanted.iter().map(|w| account_of(&w.policy.spec, &w.namespace));
    let entries = access.resolve_all(keys).await;
    let cases: Vec<_> = futures::stream::iter(wanted)
        .map(|wanted| described(access, &entries, wanted, now))
        .buffered(CONCURRENT_POLICIES)
        .enumerate()
        .map(|(done, case)| {
            progress(done + 1);
            case
        })
        .collect()
        .await;
    let claims = OwnershipIndex::of(&cases, others, access).await;
    let rivals: Vec<_> = cases.iter().enumerate().map(|(at, case)| claims.competitor(at, case)).collect();
    futures::stream::iter(cases.into_iter().zip(rivals))
        .map(|(case, competitor)| decide(access, case, competitor, now))
        .buffered(CONCURRENT_POLICIES)
        .collect()
        .await
}

/// Describes the policy in the cloud if `run` would.
async fn described<'a>(
    access: &Access,
    entries: &'a HashMap<AccountKey, AccountLookup>,
    wanted: &'a PlanItem,
    now: Timestamp,
) -> Case<'a> {
    let spec = &wanted.policy.spec;
    let key = account_of(spec, &wanted.namespace);
    let entry = entries.get(&key);
    let readiness = match entry {
        Some(entry) => access.readiness(entry, &key, &wanted.namespace, purpose(spec)).await,
        None => AccountReadiness::Closed(Reason::AccountNotFound, format!("{key} does not exist")),
    };
    let mut desired = desired_of(&wanted.policy, own_interval(None, spec), false);
    // A new policy gets no grace period: a person wants to know what it would wait for.
    desired.created = Timestamp::UNIX_EPOCH;
    if wanted.intent != Intent::Apply {
        desired = switched_off(&desired);
    }
    let mut memory = Memory::new(Default::default(), &desired, now, now);
    // A plan reads no backups.
    (memory.backups.tried, memory.backups.due) = (true, None);
    let instance = instance_of(spec);
    let mut case = Case { wanted, key, instance, desired, entry, readiness, memory };
    let env = case.env(None);
    let asks = match wanted.intent {
        Intent::Apply => next(&case.desired, &env, &case.memory, now) == NextAction::Describe,
        Intent::Delete => {
            deletion::next(&case.desired, &env, &case.memory, AccountAccess::Open, now)
                == FinalizeStep::Describe
        }
        Intent::Absent => false,
    };
    if let Some(resolved) = case.resolved().filter(|_| asks && case.readiness == AccountReadiness::Open) {
        let instance = &case.instance;
        let answer = access
            .call(resolved, DESCRIBE, |client| async move { client.describe_policy(instance).await })
            .await;
        case.memory.described(&case.desired, answer, now, 0.5);
        deletion::described(&mut case.memory);
    }
    case
}

async fn decide(
    access: &Access,
    mut case: Case<'_>,
    competitor: Option<CompetingPolicy>,
    now: Timestamp,
) -> Verdict {
    let env = case.env(competitor);
    match case.wanted.intent {
        Intent::Apply => {}
        Intent::Delete => return next_finalize_step(&case, &env, now),
        Intent::Absent => {
            let message = "the cluster does not have it".to_owned();
            return Verdict::Nothing { reason: "NotFound", message };
        }
    }
    for _ in 0..MAX_STEPS {
        match next(&case.desired, &env, &case.memory, now) {
            NextAction::ListRegions => {
                let Some(resolved) = case.resolved() else { break };
                let instance = &case.instance;
                let wanted = case.desired.change.cross_backup_region.as_deref();
                let hint = wanted.filter(|_| case.memory.regions == Regions::Unknown);
                let ask = access.call(resolved, REGIONS, |client| async move {
                    client.available_regions(instance).await
                });
                let answer = resolved.account.available_regions(instance, hint, || now, ask).await;
                case.memory.regions_listed(&case.desired, answer, now);
            }
            NextAction::Modify => {
                return Verdict::Modify {
                    from: case.memory.facts.policy.clone(),
                    to: case.desired.change.clone(),
                    is_drift: was_synced(case.wanted),
                };
            }
            NextAction::Describe | NextAction::ListBackups | NextAction::Wait(_) => break,
        }
    }
    let Some(outcome) = conditions::outcome(&case.desired, &env, &case.memory, now) else {
        return Verdict::Problem {
            reason: Reason::AccountNotReady.as_str(),
            message: format!("{}: it was not asked", case.key),
        };
    };
    let (reason, message) = (outcome.reason.as_str(), outcome.message());
    match outcome.reason {
        Reason::DriftDetected => Verdict::Drift { difference: message },
        Reason::Suspended => Verdict::Nothing { reason, message },
        _ if outcome.status == ConditionStatus::True => Verdict::Nothing { reason, message },
        _ => Verdict::Problem { reason, message },
    }
}

/// Predicts what deleting the policy would do.
fn next_finalize_step(case: &Case<'_>, env: &ReconcileEnv, now: Timestamp) -> Verdict {
    let nothing = |reason, message: &str| Verdict::Nothing { reason, message: message.to_owned() };
    let reach =
        if case.readiness == AccountReadiness::Open { AccountAccess::Open } else { AccountAccess::Waiting };
    match deletion::next(&case.desired, env, &case.memory, reach, now) {
        FinalizeStep::Modify => Verdict::Modify {
            from: case.memory.facts.policy.clone(),
            to: case.desired.change.clone(),
            is_drift: false,
        },
        FinalizeStep::Release(Release::Retained) => {
            nothing("Retained", "deletionPolicy is Retain: the cloud's policy stays as it is")
        }
        FinalizeStep::Release(Release::Disabled) => nothing("Disabled", "cross-region backup is off already"),
        FinalizeStep::Release(Release::Skipped(why)) => nothing("DisableSkipped", &why),
        FinalizeStep::Release(Release::Abandoned(why)) => {
            Verdict::Problem { reason: "DisableAbandoned", message: why }
        }
        FinalizeStep::Describe | FinalizeStep::Wait(_) => {
            let desired = &case.desired;
            let outcome = conditions::outcome(desired, env, &case.memory, now);
            let (reason, message) = outcome.map_or_else(
                || (Reason::AccountNotReady.as_str(), format!("{}: it was not asked", case.key)),
                |outcome| (outcome.reason.as_str(), outcome.message()),
            );
            Verdict::Problem { reason, message }
        }
    }
}

/// Returns whether the cluster has the same spec and synced it before; a difference is drift then.
fn was_synced(wanted: &PlanItem) -> bool {
    wanted.stored.as_ref().is_some_and(|stored| {
        let synced = stored.status.as_ref().and_then(|status| status.synced_generation);
        stored.spec == wanted.policy.spec && synced.is_some() && synced == stored.metadata.generation
    })
}

fn purpose(spec: &CrossRegionBackupPolicySpec) -> Purpose {
    match spec.management_policy {
        ManagementPolicy::Manage => Purpose::Manage,
        ManagementPolicy::Observe => Purpose::Observe,
    }
}

/// Ownership index: the claims of policies on each instance, by provider, region and id.
struct OwnershipIndex(HashMap<(&'static str, InstanceRef), Vec<Claim>>);

impl OwnershipIndex {
    async fn of(cases: &[Case<'_>], others: &[CrossRegionBackupPolicy], access: &Access) -> Self {
        let mut claims = Self(HashMap::new());
        for (at, case) in cases.iter().enumerate() {
            let Some(resolved) = case.resolved() else { continue };
            let stored = case.wanted.stored.as_ref();
            // A suspended policy is not described, and keeps its claim.
            let kept = stored.filter(|stored| stored.spec.account_ref == case.wanted.policy.spec.account_ref);
            let proven = case.memory.facts.policy.is_some()
                || case.wanted.policy.spec.suspend && kept.is_some_and(has_observed_policy);
            let manages = purpose(&case.wanted.policy.spec) == Purpose::Manage;
            if manages && proven && case.readiness == AccountReadiness::Open {
                let claim = Claim {
                    object_key: ObjectKey::new(
                        &tie_break(at, stored),
                        &case.wanted.namespace,
                        name(&case.wanted.policy),
                    ),
                    created: stored.map_or(Timestamp::MAX, created),
                    refused: stored.map_or(Refusal::None, |stored| remaining_refusal(stored, case.wanted)),
                };
                claims.add(provider_name(resolved.provider), case.instance.clone(), claim);
            }
        }
        let asked: HashSet<_> = cases.iter().map(|case| &case.instance).collect();
        for other in others
            .iter()
            .filter(|other| has_observed_policy(other) && purpose(&other.spec) == Purpose::Manage)
        {
            let instance = instance_of(&other.spec);
            let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
            if !asked.contains(&instance) {
                continue;
            }
            let Some(provider) = access.provider_of(&account_of(&other.spec, namespace)).await else {
                continue;
            };
            let uid = other.metadata.uid.as_deref().unwrap_or_default();
            let claim = Claim {
                object_key: ObjectKey::new(uid, namespace, name(other)),
                created: created(other),
                refused: stored_refusal(other),
            };
            claims.add(provider_name(provider), instance, claim);
        }
        claims
    }

    fn add(&mut self, provider: &'static str, instance: InstanceRef, claim: Claim) {
        self.0.entry((provider, instance)).or_default().push(claim);
    }

    /// Returns the competing policy that manages the instance instead of this one.
    fn competitor(&self, at: usize, case: &Case<'_>) -> Option<CompetingPolicy> {
        // As in the controller, only a policy whose Describe succeeded learns of a competing policy.
        case.memory.facts.policy.as_ref()?;
        if purpose(&case.wanted.policy.spec) != Purpose::Manage {
            return None;
        }
        let key = (provider_name(case.resolved()?.provider), case.instance.clone());
        let winner = &manager(self.0.get(&key)?)?.object_key;
        if *winner.uid == *tie_break(at, case.wanted.stored.as_ref()) {
            return None;
        }
        let same = *winner.namespace() == *case.wanted.namespace;
        Some(CompetingPolicy { name: same.then(|| winner.name().to_string()) })
    }
}

/// Returns the tie-break between policies with the same creation time: the uid, or for a policy that does not exist yet
/// its index in the files, since policies are applied in that order.
fn tie_break(at: usize, stored: Option<&CrossRegionBackupPolicy>) -> String {
    stored.and_then(|stored| stored.metadata.uid.clone()).unwrap_or_else(|| format!("{at:012}"))
}

fn name(policy: &CrossRegionBackupPolicy) -> &str {
    policy.metadata.name.as_deref().unwrap_or_default()
}

fn created(policy: &CrossRegionBackupPolicy) -> Timestamp {
    policy.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |created| created.0)
}

fn has_observed_policy(policy: &CrossRegionBackupPolicy) -> bool {
    policy.status.as_ref().is_some_and(|status| status.policy.is_some())
}

/// Returns the refusal by which `run` would still rank the policy behind others. A Describe has succeeded by now, so
/// only a refused Modify remains, and only if neither the spec nor the reconcile annotation changes.
fn remaining_refusal(stored: &CrossRegionBackupPolicy, wanted: &PlanItem) -> Refusal {
    if wanted.policy.spec.suspend {
        return stored_refusal(stored);
    }
    let status = stored.status.as_ref();
    let request = wanted.policy.annotations().get(RECONCILE_REQUESTED_AT);
    let handled = status.and_then(|status| status.last_handled_reconcile_at.as_ref());
    let is_unchanged = stored.spec == wanted.policy.spec
        && status.is_some_and(|status| status.observed_generation == stored.metadata.generation)
        && request.is_none_or(|request| Some(request) == handled);
    Refusal::known(is_unchanged && status.is_some_and(|status| status.modify_refused.is_some()))
}
