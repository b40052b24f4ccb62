//! Reads everything that an inventory reports, in steps of one cloud call, or of several pages concurrently. A
//! reading can be stopped after each step, and resumes at the call that failed. Backups are counted page by page, and
//! are not collected.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::account::Account;
use super::account_client::AccountClient;
use super::instances::Instances;
use crate::cloud::{Listing, ListingProgress, MAX_CONCURRENT_PAGES, Selection, Site};
use crate::domain::{Backup, BackupDetail, Failure, InstanceRef, Kind, PolicyState};
use crate::plan::inventory::listing_summary::{is_standalone, of_backups, of_instances, unprotected};
use crate::plan::inventory::{ListingSummary, PolicyObservation, PolicySetting, Tally, TwoPassTally};
use crate::plan::shared_listing::InventoryTally;
use crate::plan::since;

/// Minimum interval between two describe calls for a policy that no CrossRegionBackupPolicy watches.
const POLICY_REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// Number of failures after which one of many questions is skipped: others are answered, so the cloud itself is not
/// down.
const FAILURES_BEFORE_SKIP: u32 = 3;
/// Maximum age of a partial reading: older parts do not fit to the rest.
const MAX_RESUME_AGE: Duration = Duration::from_secs(600);
const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
const DETAIL: &str = "DescribeBackupDetail";

/// Known details of backups, by instance and backup id.
pub type Details = HashMap<(String, String), BackupDetail>;

/// Scope of an inventory's reading.
#[derive(Clone, Debug, Default)]
pub struct InventoryScope {
    pub selection: Selection,
    /// Number of the newest backups that are kept in full.
    pub limit: usize,
    /// Whether to read DescribeBackupDetail as well, where the cloud has it.
    pub details: bool,
    /// Instances whose policy is described for a CrossRegionBackupPolicy anyway.
    pub watched: HashSet<String>,
    /// Result of a shared listing, and the number of its answered calls; the reading does not repeat that listing.
    pub shared: Option<(InventoryTally, u64)>,
}

impl InventoryScope {
    /// Whether the selection is all backups of the account in the region.
    pub fn is_whole(&self) -> bool {
        self.selection == self.whole()
    }

    fn whole(&self) -> Selection {
        Selection { region: self.selection.region.clone(), ..Selection::default() }
    }
}

/// A reading in progress.
pub struct InventoryReading {
    ask: InventoryScope,
    site: Site,
    /// Time of the last answered call.
    last_answer: Timestamp,
    /// Number of answered calls.
    answered: u64,
    /// Consecutive failures of the present question.
    failures: u32,
    /// Whether a question was skipped, and none was answered since.
    skipped: bool,
    phase: Phase,
    instances: Instances,
    /// Tally of the backups that match the filter.
    matching: Option<Arc<Tally>>,
    /// Tally of all backups. Only with a filter: the account's instances are reported regardless of it.
    all: Option<Arc<Tally>>,
    found: ListingSummary,
}

enum Phase {
    Instances,
    Matching(Box<Listing>, TwoPassTally),
    All(Box<Listing>, TwoPassTally),
    /// Index of the next instance whose policy is described.
    Policies(usize),
    /// Index of the next backup whose details are read.
    Details(usize),
    Done,
}

impl InventoryReading {
    /// Starts a reading.
    ///
    /// # Errors
    /// The filter asks for what this cloud, or this scope, does not support.
    pub fn begin(site: Site, mut ask: InventoryScope, now: Timestamp) -> Result<Self, Failure> {
        // Built in every case, so that an unsupported filter fails before the first call.
        let listing = Listing::new(site, ask.selection.clone(), Vec::new(), now)?;
        let (mut matching, mut all, mut answered) = (None, None, 0);
        if let Some((tallied, calls)) = ask.shared.take() {
            answered = calls;
            matching = tallied.matching;
            match ask.is_whole() {
                true => matching = Some(tallied.whole),
                false => all = Some(tallied.whole),
            }
        }
        let phase = match ask.selection.instance {
            None => Phase::Instances,
            Some(_) => Phase::Matching(Box::new(listing), TwoPassTally::new(ask.limit)),
        };
        Ok(Self {
            ask,
            site,
            last_answer: now,
            answered,
            failures: 0,
            skipped: false,
            phase,
            instances: Instances::new(site),
            matching,
            all,
            found: ListingSummary::default(),
        })
    }

    /// Whether the parts read so far still fit to what would be read now.
    pub fn is_resumable(&self, now: Timestamp) -> bool {
        since(self.last_answer, now) < MAX_RESUME_AGE
    }

    /// Makes the next call, if one is needed, or the next calls where pages are read concurrently. Returns `Some`
    /// when the reading is complete.
    ///
    /// # Errors
    /// A call failed; the next step repeats it. Answers of concurrent calls count: see
    /// [`InventoryReading::answered`].
    pub async fn step(
        &mut self,
        account_client: &AccountClient<'_>,
        account: &Account,
        details: &mut Details,
        now: Timestamp,
    ) -> Result<Option<ListingSummary>, Failure> {
        let answered = match self.phase {
            Phase::Instances => self.read_instances(account_client, now).await,
            Phase::Matching(..) | Phase::All(..) => self.read_backups(account_client, now).await,
            Phase::Policies(at) => self.read_policy(account_client, account, at, now).await,
            Phase::Details(at) => self.read_detail(account_client, details, at).await,
            Phase::Done => Ok(()),
        };
        match answered {
            Ok(()) => {
                self.answered += 1;
                self.failures = 0;
                self.skipped = false;
                self.last_answer = now;
            }
            Err(failure) => {
                self.failures += u32::from(failure.kind == Kind::CloudUnavailable);
                self.skip_unanswered();
                self.skip_known(account, details, now);
                return Err(failure);
            }
        }
        self.skip_known(account, details, now);
        Ok(matches!(self.phase, Phase::Done).then(|| std::mem::take(&mut self.found)))
    }

    /// Returns the number of calls answered so far.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Skips a question that is never answered. Another one is skipped only after a question was answered.
    fn skip_unanswered(&mut self) {
        if self.failures < FAILURES_BEFORE_SKIP || self.skipped {
            return;
        }
        match &mut self.phase {
            Phase::Policies(at) | Phase::Details(at) => *at += 1,
            Phase::Instances | Phase::Matching(..) | Phase::All(..) | Phase::Done => return,
        }
        self.failures = 0;
        self.skipped = true;
    }

    async fn read_instances(
        &mut self,
        account_client: &AccountClient<'_>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if self.instances.next_pages(account_client, &self.ask.selection.region).await? {
            self.phase = match self.matching {
                Some(_) => Phase::Policies(0),
                None => {
                    let listing =
                        Listing::new(self.site, self.ask.selection.clone(), self.instances.ids(), now)?;
                    Phase::Matching(Box::new(listing), TwoPassTally::new(self.ask.limit))
                }
            };
        }
        Ok(())
    }

    async fn read_backups(
        &mut self,
        account_client: &AccountClient<'_>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (Phase::Matching(listing, reading) | Phase::All(listing, reading)) = &mut self.phase else {
            return Ok(());
        };
        let answers = account_client.backups_pages(listing.requests(MAX_CONCURRENT_PAGES)).await;
        let (steps, failure) = listing.take(answers);
        if failure.is_some() && !steps.is_empty() {
            self.answered += steps.len() as u64;
            self.last_answer = now;
        }
        let mut ended = None;
        for step in steps {
            reading.add(step.backups);
            match step.next {
                ListingProgress::More => {}
                ListingProgress::SecondPass => reading.begin_again(),
                ListingProgress::End { moved } => ended = Some(moved),
            }
        }
        if let Some(moved) = ended {
            self.end_listing(moved, now)?;
        }
        failure.map_or(Ok(()), Err)
    }

    fn end_listing(&mut self, moved: bool, now: Timestamp) -> Result<(), Failure> {
        match std::mem::replace(&mut self.phase, Phase::Policies(0)) {
            Phase::Matching(_, reading) => {
                self.matching = Some(Arc::new(reading.end(moved)));
                let is_filtered = self.ask.selection.instance.is_none() && !self.ask.is_whole();
                if is_filtered && self.all.is_none() {
                    let listing = Listing::new(self.site, self.ask.whole(), self.instances.ids(), now)?;
                    self.phase = Phase::All(Box::new(listing), TwoPassTally::new(0));
                }
            }
            Phase::All(_, reading) => self.all = Some(Arc::new(reading.end(moved))),
            other => self.phase = other,
        }
        Ok(())
    }

    /// Skips everything that needs no call, up to the next question or the end.
    fn skip_known(&mut self, account: &Account, details: &Details, now: Timestamp) {
        if let Phase::Policies(at) = self.phase {
            let unasked = match self.site.has_policies() {
                true => self.instances.list().iter().skip(at).position(|instance| {
                    let known = account.known_policy(&self.instance_ref(&instance.id));
                    !is_standalone(instance)
                        && !known.is_some_and(|known| self.is_recent(&instance.id, known, now))
                }),
                false => None,
            };
            self.phase = match unasked {
                Some(next) => Phase::Policies(at + next),
                None => {
                    self.assemble(account);
                    Phase::Details(0)
                }
            };
        }
        if let Phase::Details(at) = self.phase {
            let asked = self.ask.details && self.site.has_details();
            let items = &mut self.found.items;
            let mut at = at;
            while let Some(item) = items.get_mut(at).filter(|_| asked) {
                match details.get(&key_of(item)) {
                    Some(known) => item.detail.complete(known),
                    None if item.instance_id.is_empty() => {}
                    None => break,
                }
                at += 1;
            }
            self.phase = if asked && at < items.len() { Phase::Details(at) } else { Phase::Done };
        }
    }

    fn is_recent(&self, instance: &str, known: PolicyObservation, now: Timestamp) -> bool {
        self.ask.watched.contains(instance) || since(known.at, now) < POLICY_REFRESH_INTERVAL
    }

    fn instance_ref(&self, instance: &str) -> InstanceRef {
        InstanceRef { region: self.ask.selection.region.clone(), id: instance.to_owned() }
    }

    async fn read_policy(
        &mut self,
        account_client: &AccountClient<'_>,
        account: &Account,
        at: usize,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(instance) = self.instances.list().get(at).map(|instance| self.instance_ref(&instance.id))
        else {
            return Ok(());
        };
        // Other inventories of the account may be about to describe the same policy.
        let _describing = account.describe_lock.lock().await;
        let known = account.known_policy(&instance);
        if !known.is_some_and(|known| self.is_recent(&instance.id, known, now)) {
            let answer = account_client
                .call(DESCRIBE, |client| {
                    let instance = instance.clone();
                    async move { client.describe_policy(&instance).await }
                })
                .await;
            if let Some(policy) = known_policy_of(answer)? {
                account.record_policy(instance, PolicyObservation { policy, at: now });
            }
        }
        self.phase = Phase::Policies(at + 1);
        Ok(())
    }

    async fn read_detail(
        &mut self,
        account_client: &AccountClient<'_>,
        details: &mut Details,
        at: usize,
    ) -> Result<(), Failure> {
        let Some(key) = self.found.items.get(at).map(key_of) else { return Ok(()) };
        let (instance, backup) = (self.instance_ref(&key.0), key.1.clone());
        let answer = account_client
            .call(DETAIL, |client| {
                let (instance, backup) = (instance.clone(), backup.clone());
                async move { client.backup_detail(&instance, &backup).await }
            })
            .await;
        match answer {
            Ok(Some(detail)) => drop(details.insert(key, detail)),
            // The backup was deleted between list and detail.
            Ok(None) => self.phase = Phase::Details(at + 1),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Builds the result from the parts read.
    fn assemble(&mut self, account: &Account) {
        let matching = self.matching.take().unwrap_or_default();
        let policies = account.known_policies(&self.ask.selection.region);
        let list = self.instances.list();
        let account_wide = self.ask.selection.instance.is_none();
        let instances =
            account_wide.then(|| of_instances(list, self.all.as_ref().unwrap_or(&matching), &policies));
        let unprotected = (account_wide && self.site.has_policies()).then(|| unprotected(list, &policies));
        if account_wide {
            account.retain_policies(&self.ask.selection.region, list);
        }
        self.found = ListingSummary {
            cross_region: self.site.has_policies(),
            with_details: self.ask.details && self.site.has_details(),
            instances,
            unprotected,
            ..of_backups(&matching, self.ask.limit, self.site.statuses())
        };
        self.all = None;
    }
}

/// Returns the policy that an answer to a describe call reports; `None` if it is not worth storing.
fn known_policy_of(answer: Result<PolicyState, Failure>) -> Result<Option<PolicySetting>, Failure> {
    match answer {
        Ok(state) => Ok(Some(PolicySetting::Active(state.active))),
        Err(failure) => match failure.kind {
            Kind::NotSupported => Ok(Some(PolicySetting::Unsupported)),
            Kind::PermissionDenied | Kind::InvalidRequest => Ok(Some(PolicySetting::Unknown)),
            // The instance will be described again, or was deleted.
            Kind::InstanceNotReady | Kind::InstanceNotFound => Ok(None),
            _ => Err(failure),
        },
    }
}

fn key_of(backup: &Backup) -> (String, String) {
    (backup.instance_id.clone(), backup.backup_point_id.clone())
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod tests;
