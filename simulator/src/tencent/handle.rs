//! Tencent's part of the handle on a simulated cloud.

use serde_json::Value;

use super::model::{TencentBackupSpec, TencentInstanceSpec};
use crate::simulator::{AdminError, Simulator, found, patched, require_id};

impl Simulator {
    /// Creates or replaces an instance.
    pub fn put_tencent_instance(&self, spec: TencentInstanceSpec) -> Result<(), AdminError> {
        require_id("instanceId", &spec.instance_id)?;
        self.lock().tencent.put_instance(spec);
        Ok(())
    }

    /// Changes some fields, named as in the admin API.
    pub fn patch_tencent_instance(&self, id: &str, patch: Value) -> Result<TencentInstanceSpec, AdminError> {
        let mut state = self.lock();
        let old = found(state.tencent.instance(id), "instance", id)?;
        let spec = TencentInstanceSpec { instance_id: id.to_owned(), ..patched(old, patch)? };
        state.tencent.put_instance(spec.clone());
        Ok(spec)
    }

    /// Removes an instance. Its backups remain, and are listed for the account.
    pub fn remove_tencent_instance(&self, id: &str) -> Result<(), AdminError> {
        let removed = self.lock().tencent.remove_instance(id);
        found(removed.then_some(()), "instance", id)
    }

    pub fn tencent_instance(&self, id: &str) -> Result<TencentInstanceSpec, AdminError> {
        found(self.lock().tencent.instance(id).cloned(), "instance", id)
    }

    pub fn tencent_instances(&self) -> Vec<TencentInstanceSpec> {
        self.lock().tencent.instances().cloned().collect()
    }

    pub fn put_tencent_backup(&self, spec: TencentBackupSpec) -> Result<(), AdminError> {
        require_id("backupId", &spec.backup_id)?;
        let now = self.now();
        self.lock().tencent.put_backup(spec, now);
        Ok(())
    }

    /// Changes some fields. Unless they are given too, end and expiry follow a changed start, and the region a changed
    /// instance.
    pub fn patch_tencent_backup(&self, id: &str, patch: Value) -> Result<TencentBackupSpec, AdminError> {
        let now = self.now();
        let mut state = self.lock();
        let old = found(state.tencent.backup(id), "backup", id)?;
        let given = |name: &str| patch.get(name).is_some();
        let moved = given("ageSeconds") || given("startTime");
        let (keeps_end, keeps_expiry) = (given("endTime") || !moved, given("expireTime") || !moved);
        let keeps_region = given("region") || !given("instanceId");
        let mut spec = TencentBackupSpec { backup_id: id.to_owned(), ..patched(old, patch)? };
        spec.end_time = spec.end_time.filter(|_| keeps_end);
        spec.expire_time = spec.expire_time.filter(|_| keeps_expiry);
        spec.region = spec.region.filter(|_| keeps_region);
        state.tencent.put_backup(spec, now);
        found(state.tencent.backup(id).cloned(), "backup", id)
    }

    pub fn remove_tencent_backup(&self, id: &str) -> Result<(), AdminError> {
        let removed = self.lock().tencent.remove_backup(id);
        found(removed.then_some(()), "backup", id)
    }

    pub fn tencent_backup(&self, id: &str) -> Result<TencentBackupSpec, AdminError> {
        found(self.lock().tencent.backup(id).cloned(), "backup", id)
    }

    /// Returns all backups, the newest first.
    pub fn tencent_backups(&self) -> Vec<TencentBackupSpec> {
        self.lock().tencent.backups().iter().map(|spec| TencentBackupSpec::clone(spec)).collect()
    }
}
