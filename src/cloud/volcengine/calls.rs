//! The actions of the Redis API that the operator uses. One of them changes something: ModifyCrossRegionBackupPolicy.

use serde_json::{Value, json};

use crate::domain::{Change, Failure, InstanceRef, PolicyState};

use super::client::{Call, Client, not_promised, not_sent};
use super::query::{BackupQuery, Scope, page_number};
use super::wire::{Answer, BackupPage, InstancePage};

const DESCRIBE_POLICY: &str = "DescribeCrossRegionBackupPolicy";
const MODIFY_POLICY: &str = "ModifyCrossRegionBackupPolicy";
const AVAILABLE_REGIONS: &str = "DescribeAvailableCrossRegion";
pub(super) const LIST_BACKUPS: &str = "DescribeCrossRegionBackups";
const LIST_INSTANCES: &str = "DescribeDBInstances";

/// Redis API, ModifyCrossRegionBackupPolicy: "no more than 127 ASCII characters".
const CLIENT_TOKEN_MAX: usize = 127;
/// Redis API, DescribeDBInstances.
const INSTANCES_PAGE_MAX: u32 = 1000;

/// A change that the cloud took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub request_id: Option<String>,
}

impl Client {
    /// Whether the cloud accepts the credentials: one DescribeDBInstances with page size 1. An answer that can only
    /// follow an accepted signature, "not permitted" included, is good enough. ServiceNotFound and
    /// InvalidActionOrVersion are not, which tell of an endpoint of another make, nor MissingRequestInfo and
    /// MethodNotAllowed, which are told of a request before its signature is looked at.
    pub async fn verify(&self, region: &str) -> Result<(), Failure> {
        match self.instances_page(region, 1, 1, None).await {
            Err(failure) if !failure.proves_credentials() => Err(failure),
            _ => Ok(()),
        }
    }

    /// DescribeCrossRegionBackupPolicy.
    pub async fn describe_policy(&self, instance: &InstanceRef) -> Result<PolicyState, Failure> {
        let answer = self.of_instance(DESCRIBE_POLICY, instance, json!({"InstanceId": instance.id})).await?;
        answer.policy().map_err(|what| not_promised(DESCRIBE_POLICY, &answer, what))
    }

    /// ModifyCrossRegionBackupPolicy, once: whether to repeat it is the caller's decision, with the same token while
    /// the outcome is unknown. The target region is sent only with `active`: it has no effect otherwise.
    pub async fn modify_policy(
        &self,
        instance: &InstanceRef,
        change: &Change,
        client_token: &str,
    ) -> Result<Accepted, Failure> {
        let mut body = json!({"InstanceId": instance.id, "Active": change.active});
        if change.active {
            let Some(region) = change.cross_backup_region.as_deref().filter(|r| !r.is_empty()) else {
                return Err(not_sent(
                    MODIFY_POLICY,
                    "CrossBackupRegion is required with Active true".to_owned(),
                ));
            };
            body["CrossBackupRegion"] = json!(region);
        }
        if client_token.is_empty() || client_token.len() > CLIENT_TOKEN_MAX || !client_token.is_ascii() {
            let message = format!("ClientToken must be 1 to {CLIENT_TOKEN_MAX} ASCII characters");
            return Err(not_sent(MODIFY_POLICY, message));
        }
        body["ClientToken"] = json!(client_token);
        let answer = self.of_instance(MODIFY_POLICY, instance, body).await?;
        Ok(Accepted { request_id: answer.request_id })
    }

    /// DescribeAvailableCrossRegion: the regions to which this instance's backups can be copied.
    pub async fn available_regions(&self, instance: &InstanceRef) -> Result<Vec<String>, Failure> {
        let answer =
            self.of_instance(AVAILABLE_REGIONS, instance, json!({"InstanceId": instance.id})).await?;
        answer.regions().map_err(|what| not_promised(AVAILABLE_REGIONS, &answer, what))
    }

    /// DescribeCrossRegionBackups, one page. Nothing is sent for a query that breaks one of the API's rules. With
    /// Scope OneInstance, backups of another instance are left out.
    pub async fn backups_page(&self, region: &str, query: &BackupQuery) -> Result<BackupPage, Failure> {
        let body = query.body().map_err(|message| not_sent(LIST_BACKUPS, message))?;
        let call = Call { action: LIST_BACKUPS, region, instance: query.instance_id.as_deref(), body };
        let answer = self.send(&call).await?;
        let mut page = answer.backups().map_err(|what| not_promised(LIST_BACKUPS, &answer, what))?;
        if let (Scope::OneInstance, Some(id)) = (query.scope, &query.instance_id) {
            page.backups.retain(|b| b.instance_id.is_empty() || b.instance_id == *id);
            page.backups.iter_mut().for_each(|b| b.instance_id.clone_from(id));
        }
        Ok(page)
    }

    /// DescribeDBInstances, one page of 1 to 1000; `instance_id` is exact. RegionId is left out: the region that
    /// signs is its default.
    pub async fn instances_page(
        &self,
        region: &str,
        page: u32,
        size: u32,
        instance_id: Option<&str>,
    ) -> Result<InstancePage, Failure> {
        page_number(page).map_err(|message| not_sent(LIST_INSTANCES, message))?;
        if !(1..=INSTANCES_PAGE_MAX).contains(&size) {
            return Err(not_sent(LIST_INSTANCES, format!("PageSize must be 1 to {INSTANCES_PAGE_MAX}")));
        }
        let mut body = json!({"PageNumber": page, "PageSize": size});
        if let Some(id) = instance_id {
            body["InstanceId"] = json!(id);
        }
        let answer = self.send(&Call { action: LIST_INSTANCES, region, instance: instance_id, body }).await?;
        answer.instances().map_err(|what| not_promised(LIST_INSTANCES, &answer, what))
    }

    /// An answer about another instance, as a confused proxy or cache would give, must never be taken for this one's.
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
                Err(not_promised(action, &answer, "InstanceId is that of another instance"))
            }
            _ => Ok(answer),
        }
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
