//! Tencent's instances and backups. They do not change over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::model::{DEFAULT_REGION, TencentBackupSpec, TencentInstanceSpec};
use crate::clock::{later, whole_second};
use crate::listing::{Listed, ListingStore, Page, Query, Scope};

/// Seconds from start to end, and from start to expiry, in the sample of DescribeInstanceBackups.
const SAMPLE_LENGTH: f64 = 21.0;
const SAMPLE_LIFE: f64 = 7.0 * 86_400.0;

#[derive(Debug, Default)]
pub(crate) struct World {
    instances: BTreeMap<String, TencentInstanceSpec>,
    backups: ListingStore<TencentBackupSpec>,
}

impl Listed for TencentBackupSpec {
    fn id(&self) -> &str {
        &self.backup_id
    }

    fn account(&self) -> u64 {
        self.account_id
    }

    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(DEFAULT_REGION)
    }

    fn instance_id(&self) -> &str {
        &self.instance_id
    }

    fn start(&self) -> Timestamp {
        self.start_time.unwrap_or_default()
    }

    fn class(&self) -> i64 {
        self.status
    }
}

impl World {
    pub fn put_instance(&mut self, spec: TencentInstanceSpec) {
        self.instances.insert(spec.instance_id.clone(), spec);
    }

    pub fn remove_instance(&mut self, id: &str) -> bool {
        self.instances.remove(id).is_some()
    }

    pub fn instance(&self, id: &str) -> Option<&TencentInstanceSpec> {
        self.instances.get(id)
    }

    pub fn instances(&self) -> impl Iterator<Item = &TencentInstanceSpec> {
        self.instances.values()
    }

    /// Stores a backup, with absolute times instead of relative ones.
    pub fn put_backup(&mut self, mut spec: TencentBackupSpec, now: Timestamp) {
        let start = match spec.age_seconds.take() {
            Some(age) => later(now, -age),
            None => spec.start_time.unwrap_or(now),
        };
        let start = whole_second(start);
        spec.start_time = Some(start);
        spec.end_time = spec.end_time.or_else(|| Some(later(start, SAMPLE_LENGTH).min(now).max(start)));
        spec.expire_time = spec.expire_time.or_else(|| Some(later(start, SAMPLE_LIFE)));
        if spec.region.is_none() {
            let of_instance = self.instance(&spec.instance_id).map(|instance| instance.region.as_str());
            spec.region = Some(of_instance.unwrap_or(DEFAULT_REGION).to_owned());
        }
        self.backups.put(spec);
    }

    pub fn remove_backup(&mut self, id: &str) -> bool {
        self.backups.remove(id)
    }

    pub fn backup(&self, id: &str) -> Option<&TencentBackupSpec> {
        self.backups.get(id)
    }

    pub fn backup_page(
        &self,
        scope: &Scope,
        query: &Query<'_, TencentBackupSpec>,
    ) -> Page<TencentBackupSpec> {
        self.backups.page(scope, query)
    }

    /// Returns all backups, the newest first.
    pub fn backups(&self) -> Vec<Arc<TencentBackupSpec>> {
        self.backups.all()
    }
}
