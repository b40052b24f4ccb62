//! Instances and backups, and their changes over time. Nothing changes on its own unless a seed asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::{later, whole_second};
use crate::listing::{Listed, ListingStore, Page, Query, Scope};
use crate::model::{BackupSpec, Cadence, InstanceSpec, Policy, Visibility};

const DAY_SECONDS: f64 = 86_400.0;

/// Upper bound on the backups that a cadence makes up for when it fell behind, as after a clock jump.
const CATCH_UP: f64 = 10_000.0;

/// An instance, its policy, and the pending changes of the policy.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Its `policy` is the one in force.
    pub spec: InstanceSpec,
    pending: Vec<Pending>,
    next_backup: Option<Timestamp>,
    made: u64,
}

#[derive(Clone, Debug)]
struct Pending {
    at: Timestamp,
    policy: Policy,
}

/// Policy of an instance, as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyView {
    /// Policy in force, which Describe shows.
    pub current: Policy,
    /// Accepted changes that are not in force yet, the next first.
    pub pending: Vec<Policy>,
}

impl Instance {
    fn new(spec: InstanceSpec, now: Timestamp) -> Self {
        let mut instance = Self { spec, pending: Vec::new(), next_backup: None, made: 0 };
        instance.reschedule(now);
        instance
    }

    fn put_in_force(&mut self, policy: Policy, at: Timestamp) {
        self.spec.policy = policy;
        self.reschedule(at);
    }

    /// Keeps the running schedule of a cadence; starts or ends it as policy and cadence require.
    fn reschedule(&mut self, at: Timestamp) {
        self.next_backup = match &self.spec.cadence {
            Some(cadence) if self.spec.policy.active => {
                self.next_backup.or_else(|| Some(later(at, every(cadence))))
            }
            _ => None,
        };
    }

    fn next_event(&self) -> Option<Timestamp> {
        let change = self.pending.first().map(|pending| pending.at);
        [change, self.next_backup].into_iter().flatten().min()
    }

    /// Applies everything due by `now`, in the order of time; returns the backups made.
    fn advance(&mut self, now: Timestamp) -> Vec<BackupSpec> {
        let mut made = Vec::new();
        loop {
            let change = self.pending.first().map(|pending| pending.at);
            match self.next_event() {
                Some(at) if at <= now => {
                    if change == Some(at) {
                        let pending = self.pending.remove(0);
                        self.put_in_force(pending.policy, at);
                    } else {
                        made.extend(self.make_backup(at, now));
                    }
                }
                _ => return made,
            }
        }
    }

    fn make_backup(&mut self, at: Timestamp, now: Timestamp) -> Option<BackupSpec> {
        let Some(cadence) = &self.spec.cadence else {
            self.next_backup = None;
            return None;
        };
        let every = every(cadence);
        let behind = now.duration_since(at).as_secs_f64();
        let skipped = (behind / every - CATCH_UP).max(0.0).floor() * every;
        let start = whole_second(later(at, skipped));
        self.next_backup = Some(later(at, skipped + every));
        self.made += 1;
        Some(BackupSpec {
            backup_point_id: format!("b-{}-auto-{}", self.spec.instance_id, self.made),
            backup_point_name: format!("auto-{}", self.made),
            instance_id: self.spec.instance_id.clone(),
            account_id: self.spec.account_id,
            source_region: self.spec.region.clone(),
            target_region: self.spec.policy.region.clone(),
            project_name: self.spec.project_name.clone(),
            start_time: Some(start),
            ttl: self.spec.policy.ttl,
            available_after_seconds: Some(cadence.creating_seconds),
            expires: true,
            deleting_seconds: cadence.deleting_seconds,
            ..BackupSpec::default()
        })
    }

    pub fn policy_view(&self) -> PolicyView {
        PolicyView {
            current: self.spec.policy.clone(),
            pending: self.pending.iter().map(|pending| pending.policy.clone()).collect(),
        }
    }

    /// Replaces the policy at once, and drops pending changes.
    fn replace(&mut self, policy: Policy, now: Timestamp) {
        self.pending.clear();
        self.put_in_force(policy, now);
    }

    /// Applies an accepted Modify. An inactive policy keeps its region, which "does not take effect" then.
    fn modify(&mut self, active: bool, region: Option<&str>, now: Timestamp) {
        let last = self.pending.last().map_or(&self.spec.policy, |pending| &pending.policy);
        let policy = match region {
            Some(region) if active => Policy { active, region: region.to_owned(), ttl: last.ttl },
            _ => Policy { active, ..last.clone() },
        };
        match self.spec.visibility {
            Visibility::AtOnce => self.replace(policy, now),
            Visibility::AfterSeconds(seconds) => {
                let at = later(now, seconds.max(0.0));
                self.pending.retain(|pending| pending.at < at);
                self.pending.push(Pending { at, policy });
            }
            Visibility::Never => {}
        }
    }
}

fn every(cadence: &Cadence) -> f64 {
    f64::from(cadence.every_seconds.max(1))
}

/// A backup at some moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupView {
    #[serde(flatten)]
    pub spec: BackupSpec,
    pub status: String,
    /// Absent while the backup is Creating.
    pub end_time: Option<Timestamp>,
}

/// Returns a backup's status at `now`, and its end time if it has one.
pub(crate) fn condition(spec: &BackupSpec, now: Timestamp) -> (&str, Option<Timestamp>) {
    let start = spec.start();
    let (mut status, mut end_time) = (spec.status.as_str(), spec.end_time);
    if let Some(seconds) = spec.available_after_seconds {
        let done = later(start, seconds);
        status = if now < done { "Creating" } else { "Available" };
        end_time = Some(spec.end_time.unwrap_or(done));
    }
    if spec.expires && now >= later(start, spec.ttl as f64 * DAY_SECONDS) {
        status = "Deleting";
    }
    (status, end_time.filter(|_| status != "Creating"))
}

/// Returns the time at which a backup is removed.
fn end_of(spec: &BackupSpec) -> Option<Timestamp> {
    let start = spec.start_time.filter(|_| spec.expires)?;
    Some(later(later(start, spec.ttl as f64 * DAY_SECONDS), spec.deleting_seconds))
}

impl Listed for BackupSpec {
    fn id(&self) -> &str {
        &self.backup_point_id
    }

    fn account(&self) -> u64 {
        self.account_id
    }

    /// Backups are listed in their instance's region; a listing of the target region is not documented.
    fn region(&self) -> &str {
        &self.source_region
    }

    fn instance_id(&self) -> &str {
        &self.instance_id
    }

    fn start(&self) -> Timestamp {
        self.start_time.unwrap_or_default()
    }

    /// One class for all: the status, which listings filter by, changes over time.
    fn class(&self) -> i64 {
        0
    }
}

#[derive(Debug, Default)]
pub(crate) struct World {
    instances: BTreeMap<String, Instance>,
    /// Deleted instances, which remaining backups still describe.
    destroyed: BTreeMap<String, InstanceSpec>,
    backups: ListingStore<BackupSpec>,
    /// Backups that are not listed before their start.
    hidden: BTreeMap<String, BackupSpec>,
    /// Times at which hidden backups become listed, and others are removed.
    due: BTreeSet<(Timestamp, String)>,
    /// Time of the next change of an instance; `None` if there is none.
    next_change: Option<Timestamp>,
}

impl World {
    /// Advances the world to `now`; required before it is read or changed.
    pub fn advance(&mut self, now: Timestamp) {
        if self.next_change.is_some_and(|due| due <= now) {
            let made: Vec<_> =
                self.instances.values_mut().flat_map(|instance| instance.advance(now)).collect();
            for backup in made {
                self.store_backup(backup, now);
            }
            self.next_change = self.instances.values().filter_map(Instance::next_event).min();
        }
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.due.pop_first() else { return };
            match self.hidden.remove(&id) {
                Some(backup) => self.store_backup(backup, now),
                None => drop(self.backups.remove(&id)),
            }
        }
    }

    /// Ensures that the world is advanced at this event.
    fn schedule(&mut self, event: Option<Timestamp>) {
        self.next_change = [self.next_change, event].into_iter().flatten().min();
    }

    /// Stores a backup, and replaces one with the same id.
    fn store_backup(&mut self, backup: BackupSpec, now: Timestamp) {
        self.remove_backup(&backup.backup_point_id);
        let id = backup.backup_point_id.clone();
        if backup.hidden_until_start && now < backup.start() {
            self.due.insert((backup.start(), id.clone()));
            self.hidden.insert(id, backup);
        } else {
            self.due.extend(end_of(&backup).map(|end| (end, id)));
            self.backups.put(backup);
        }
    }

    pub fn put_instance(&mut self, spec: InstanceSpec, now: Timestamp) {
        self.destroyed.remove(&spec.instance_id);
        let instance = Instance::new(spec, now);
        self.schedule(instance.next_event());
        self.instances.insert(instance.spec.instance_id.clone(), instance);
    }

    /// Replaces an instance's spec and keeps its history; `drifts` if the policy was given too.
    pub fn update_instance(&mut self, spec: InstanceSpec, drifts: bool, now: Timestamp) {
        let id = spec.instance_id.clone();
        self.change(&id, |instance| {
            let policy = spec.policy.clone();
            instance.spec = spec;
            instance.reschedule(now);
            if drifts {
                instance.replace(policy, now);
            }
        });
    }

    pub fn remove_instance(&mut self, id: &str) -> bool {
        match self.instances.remove(id) {
            Some(instance) => self.destroyed.insert(id.to_owned(), instance.spec).is_none(),
            None => false,
        }
    }

    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// Changes an instance; returns whether it exists.
    fn change(&mut self, id: &str, change: impl FnOnce(&mut Instance)) -> bool {
        let Some(instance) = self.instances.get_mut(id) else { return false };
        change(instance);
        let event = instance.next_event();
        self.schedule(event);
        true
    }

    pub fn modify(&mut self, id: &str, active: bool, region: Option<&str>, now: Timestamp) {
        self.change(id, |instance| instance.modify(active, region, now));
    }

    pub fn set_policy(&mut self, id: &str, policy: Policy, now: Timestamp) -> bool {
        self.change(id, |instance| instance.replace(policy, now))
    }

    pub fn instances(&self) -> impl Iterator<Item = &InstanceSpec> {
        self.instances.values().map(|instance| &instance.spec)
    }

    /// Returns the instance of a backup, whether it still exists or not.
    pub fn origin(&self, instance_id: &str) -> Option<&InstanceSpec> {
        self.instances
            .get(instance_id)
            .map(|instance| &instance.spec)
            .or_else(|| self.destroyed.get(instance_id))
    }

    /// Stores a backup, with absolute times instead of relative ones.
    pub fn put_backup(&mut self, mut spec: BackupSpec, now: Timestamp) {
        let start = match spec.age_seconds.take() {
            Some(age) => later(now, -age),
            None => spec.start_time.unwrap_or(now),
        };
        let start = whole_second(start);
        spec.start_time = Some(start);
        if spec.end_time.is_none() && spec.available_after_seconds.is_none() && spec.status != "Creating" {
            spec.end_time = Some(later(start, 60.0).min(now).max(start));
        }
        self.store_backup(spec, now);
    }

    pub fn remove_backup(&mut self, id: &str) -> bool {
        let Some(backup) = self.backup(id) else { return false };
        let events = [Some(backup.start()), end_of(backup)];
        for event in events.into_iter().flatten() {
            self.due.remove(&(event, id.to_owned()));
        }
        self.hidden.remove(id).is_some() || self.backups.remove(id)
    }

    /// Returns a backup, listed or not.
    pub fn backup(&self, id: &str) -> Option<&BackupSpec> {
        self.hidden.get(id).or_else(|| self.backups.get(id))
    }

    pub fn backup_page(&self, scope: &Scope, query: &Query<'_, BackupSpec>) -> Page<BackupSpec> {
        self.backups.page(scope, query)
    }

    /// Returns all listed backups, the newest first.
    pub fn backups(&self, now: Timestamp) -> Vec<BackupView> {
        let view = |spec: Arc<BackupSpec>| {
            let (status, end_time) = condition(&spec, now);
            BackupView { status: status.to_owned(), end_time, spec: BackupSpec::clone(&spec) }
        };
        self.backups.all().into_iter().map(view).collect()
    }
}
