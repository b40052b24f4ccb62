//! The actions of the Redis API that the operator uses. Only ModifyCrossRegionBackupPolicy changes anything.

use serde_json::{Value, json};

use crate::cloud::api_client::{Call, invalid_request, malformed_response};
use crate::cloud::page::{BackupPage, InstancePage};
use crate::domain::{Change, Failure, InstanceRef, PolicyState};

use super::client::Client;
use super::query::{BackupQuery, Scope, page_number};
use super::wire::Answer;

const DESCRIBE_POLICY: &str = "DescribeCrossRegionBackupPolicy";
const MODIFY_POLICY: &str = "ModifyCrossRegionBackupPolicy";
const AVAILABLE_REGIONS: &str = "DescribeAvailableCrossRegion";
pub const LIST_BACKUPS: &str = "DescribeCrossRegionBackups";
const LIST_INSTANCES: &str = "DescribeDBInstances";

/// Redis API, ModifyCrossRegionBackupPolicy: "no more than 127 ASCII characters".
const CLIENT_TOKEN_MAX: usize = 127;
/// Maximum page size (Redis API, DescribeDBInstances).
const INSTANCES_PAGE_MAX: u32 = 1000;

/// A change that the cloud accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub request_id: Option<String>,
}

impl Client {
    /// Calls DescribeCrossRegionBackupPolicy.
    pub async fn describe_policy(&self, instance: &InstanceRef) -> Result<PolicyState, Failure> {
        let answer = self.of_instance(DESCRIBE_POLICY, instance, json!({"InstanceId": instance.id})).await?;
        answer.policy().map_err(|what| malformed_response(DESCRIBE_POLICY, &answer, what))
    }

    /// Calls ModifyCrossRegionBackupPolicy once. Repeating it is the caller's decision, with the same token while the
    /// outcome is unknown. The target region is sent only with `active`: it has no effect otherwise.
    pub async fn modify_policy(
        &self,
        instance: &InstanceRef,
        change: &Change,
        client_token: &str,
    ) -> Result<Accepted, Failure> {
        let mut body = json!({"InstanceId": instance.id, "Active": change.active});
        if change.active {
            let Some(region) = change.cross_backup_region.as_deref().filter(|r| !r.is_empty()) else {
                return Err(invalid_request(
                    MODIFY_POLICY,
                    "CrossBackupRegion is required with Active true".to_owned(),
                ));
            };
            body["CrossBackupRegion"] = json!(region);
        }
        if client_token.is_empty() || client_token.len() > CLIENT_TOKEN_MAX || !client_token.is_ascii() {
            let message = format!("ClientToken must be 1 to {CLIENT_TOKEN_MAX} ASCII characters");
            return Err(invalid_request(MODIFY_POLICY, message));
        }
        body["ClientToken"] = json!(client_token);
        let answer = self.of_instance(MODIFY_POLICY, instance, body).await?;
        Ok(Accepted { request_id: answer.request_id })
    }

    /// Calls DescribeAvailableCrossRegion: lists the regions to which this instance's backups can be copied.
    pub async fn available_regions(&self, instance: &InstanceRef) -> Result<Vec<String>, Failure> {
        let answer =
            self.of_instance(AVAILABLE_REGIONS, instance, json!({"InstanceId": instance.id})).await?;
        answer.regions().map_err(|what| malformed_response(AVAILABLE_REGIONS, &answer, what))
    }

    /// Calls DescribeCrossRegionBackups for one page. Nothing is sent for a query that breaks one of the API's rules.
    /// With Scope OneInstance, backups of another instance make the page a failure.
    pub async fn backups_page(&self, region: &str, query: &BackupQuery) -> Result<BackupPage, Failure> {
        let body = query.body().map_err(|message| invalid_request(LIST_BACKUPS, message))?;
        let call = Call { action: LIST_BACKUPS, region, instance: query.instance_id.as_deref(), body };
        let answer = self.send(&call).await?;
        let page = answer.backups().and_then(|page| match (query.scope, &query.instance_id) {
            (Scope::OneInstance, Some(id)) => page.of_instance(id),
            _ => Ok(page),
        });
        page.map_err(|what| malformed_response(LIST_BACKUPS, &answer, what))
    }

    /// Calls DescribeDBInstances for one page of 1 to 1000. RegionId is left out: it defaults to the signing region.
    pub async fn instances_page(&self, region: &str, page: u32, size: u32) -> Result<InstancePage, Failure> {
        page_number(page).map_err(|message| invalid_request(LIST_INSTANCES, message))?;
        if !(1..=INSTANCES_PAGE_MAX).contains(&size) {
            return Err(invalid_request(
                LIST_INSTANCES,
                format!("PageSize must be 1 to {INSTANCES_PAGE_MAX}"),
            ));
        }
        let body = json!({"PageNumber": page, "PageSize": size});
        let answer = self.send(&Call { action: LIST_INSTANCES, region, instance: None, body }).await?;
        answer.instances().map_err(|what| malformed_response(LIST_INSTANCES, &answer, what))
    }

    /// Sends a call about one instance. A response about another one, as a confused proxy or cache would give, must
    /// never be taken for this one's.
    async fn of_instance(
        &self,
        action: &'static str,
        instance: &InstanceRef,
        body: Value,
    ) -> Result<Answer, Failure> {
        let call = Call { action, region: &instance.region, instance: Some(&instance.id), body };
        let answer = self.send(&call).await?;
        match answer.instance_id() {
            Some(other) if other != instance.id => {
                Err(malformed_response(action, &answer, "InstanceId is that of another instance"))
            }
            _ => Ok(answer),
        }
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
