//! The actions of the Redis API that the operator uses. None of them changes anything.

use serde_json::json;

use crate::cloud::api_client::{Call, invalid_request, malformed_response};
use crate::cloud::page::{BackupPage, InstancePage};
use crate::domain::{BackupDetail, Failure, InstanceRef, Kind};

use super::client::Client;
use super::query::BackupQuery;
use super::wire;

pub const LIST_BACKUPS: &str = "DescribeInstanceBackups";
pub const BACKUP_DETAIL: &str = "DescribeBackupDetail";
const LIST_INSTANCES: &str = "DescribeInstances";

/// Code for a backup that does not exist (Redis API, DescribeBackupDetail, "Error code").
const BACKUP_NOT_EXISTS: &str = "InvalidParameterValue.BackupNotExists";
/// Maximum page size (Redis API, DescribeInstances).
const INSTANCES_LIMIT_MAX: u32 = 1000;

impl Client {
    /// Calls DescribeInstanceBackups for one page. Nothing is sent for a query that breaks one of the API's rules. If
    /// it names an instance, backups of another one make the page a failure.
    pub async fn backups_page(&self, region: &str, query: &BackupQuery) -> Result<BackupPage, Failure> {
        let zone = self.config().time_zone;
        let body = query.body(zone).map_err(|message| invalid_request(LIST_BACKUPS, message))?;
        let call = Call { action: LIST_BACKUPS, region, instance: query.instance_id.as_deref(), body };
        let answer = self.send(&call, wire::answer).await?;
        let page = answer.backups(region, zone).and_then(|page| match query.instance_id.as_deref() {
            Some(id) if !id.is_empty() => page.of_instance(id),
            _ => Ok(page),
        });
        page.map_err(|what| malformed_response(LIST_BACKUPS, &answer, what))
    }

    /// Calls DescribeBackupDetail; `None` if the backup no longer exists. The keys that decrypt the backup are removed
    /// from the response before any other code sees it.
    pub async fn backup_detail(
        &self,
        instance: &InstanceRef,
        backup_id: &str,
    ) -> Result<Option<BackupDetail>, Failure> {
        let body = json!({"InstanceId": instance.id, "BackupId": backup_id});
        let call =
            Call { action: BACKUP_DETAIL, region: &instance.region, instance: Some(&instance.id), body };
        let answer = match self.send(&call, wire::detail_answer).await {
            Err(failure) if is_gone(&failure) => return Ok(None),
            answer => answer?,
        };
        let (id, detail) =
            answer.detail().map_err(|what| malformed_response(BACKUP_DETAIL, &answer, what))?;
        if id != backup_id {
            return Err(malformed_response(BACKUP_DETAIL, &answer, "BackupId is that of another backup"));
        }
        Ok(Some(detail))
    }

    /// Calls DescribeInstances for one page of 1 to 1000.
    pub async fn instances_page(&self, region: &str, page: u32, size: u32) -> Result<InstancePage, Failure> {
        if !(1..=INSTANCES_LIMIT_MAX).contains(&size) {
            return Err(invalid_request(LIST_INSTANCES, format!("Limit must be 1 to {INSTANCES_LIMIT_MAX}")));
        }
        let offset = page.checked_sub(1).and_then(|before| before.checked_mul(size));
        let Some(offset) = offset.filter(|offset| *offset <= i32::MAX as u32) else {
            return Err(invalid_request(LIST_INSTANCES, format!("Offset must be 0 to {}", i32::MAX)));
        };
        let call = Call {
            action: LIST_INSTANCES,
            region,
            instance: None,
            body: json!({"Limit": size, "Offset": offset}),
        };
        let answer = self.send(&call, wire::answer).await?;
        answer.instances().map_err(|what| malformed_response(LIST_INSTANCES, &answer, what))
    }
}

/// Returns whether the backup, or its instance with it, no longer exists.
fn is_gone(failure: &Failure) -> bool {
    failure.has_code(|code| code == BACKUP_NOT_EXISTS) || failure.kind == Kind::InstanceNotFound
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
