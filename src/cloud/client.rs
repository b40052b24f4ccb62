//! Client of one account's cloud; dispatches to the provider's client.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use jiff::tz::Offset;

use super::api_client::{ClientSettings, INVALID_REQUEST, failure, invalid_request, is_invalid_request};
use super::listing::{Listing, ListingProgress, PageRequest, Query, Selection};
use super::page::{MAX_CONCURRENT_PAGES, SizeLimits};
use super::{
    Accepted, BackupPage, Budget, CallContext, Credentials, Endpoint, InstancePage, Site, Transport,
};
use super::{tencent, volcengine};
use crate::clock::Clock;
use crate::domain::{Backup, BackupDetail, Change, Failure, InstanceRef, Kind, PolicyState};

/// Configuration of a [`Client`].
pub struct ClientConfig {
    pub site: Site,
    pub credentials: Credentials,
    pub endpoint: Endpoint,
    pub transport: Transport,
    pub budget: Arc<Budget>,
    pub clock: Clock,
    /// Timeout of one try, counted from the moment the budget grants it.
    pub timeout: Duration,
    /// Zone of the cloud's times that carry none; only Tencent Cloud has such times.
    pub time_zone: Offset,
    /// Page sizes whose responses turned out to be too large.
    pub sizes: SizeLimits,
}

impl ClientConfig {
    pub(super) fn settings(&self) -> ClientSettings {
        ClientSettings {
            site: self.site,
            transport: self.transport.clone(),
            budget: self.budget.clone(),
            clock: self.clock.clone(),
            timeout: self.timeout,
        }
    }
}

/// The Redis API of a cloud with one account's credentials. Cheap to clone; clones share the correction of the cloud's
/// clock.
#[derive(Clone)]
pub enum Client {
    /// Volcengine and BytePlus.
    Volcengine(volcengine::Client),
    Tencent(tencent::Client),
}

const NO_POLICY: &str = "Tencent Cloud has no cross-region backup policy for Redis; a BackupInventory shows the instance's \
     own backups";
const NO_DETAIL: &str = "the listing tells everything about a backup already";

impl Client {
    pub fn new(config: ClientConfig) -> Self {
        match config.site {
            Site::Volcengine | Site::BytePlus => Self::Volcengine(volcengine::Client::new(config)),
            Site::Tencent | Site::TencentInternational => Self::Tencent(tencent::Client::new(config)),
        }
    }

    /// Returns the client with this call context in place of its current one.
    pub fn with_context(&self, call_context: CallContext) -> Self {
        match self {
            Self::Volcengine(client) => Self::Volcengine(client.with_context(call_context)),
            Self::Tencent(client) => Self::Tencent(client.with_context(call_context)),
        }
    }

    fn config(&self) -> &ClientConfig {
        match self {
            Self::Volcengine(client) => client.config(),
            Self::Tencent(client) => client.config(),
        }
    }

    pub fn credentials(&self) -> &Credentials {
        &self.config().credentials
    }

    pub fn site(&self) -> Site {
        self.config().site
    }

    /// Verifies the credentials with one DescribeDBInstances (Tencent: DescribeInstances) of one instance. A failure
    /// that can only follow an accepted signature, "not permitted" included, counts as success.
    ///
    /// # Errors
    /// Any other failure.
    pub async fn verify(&self, region: &str) -> Result<(), Failure> {
        match self.instances_page(region, 1, 1).await {
            Err(failure) if !self.proves_credentials(&failure) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Returns whether the failure proves that the cloud accepted the signature. Throttling and unavailability can be
    /// reported before a signature is checked, and so can some codes of each cloud; a call that was never sent proves
    /// nothing.
    pub fn proves_credentials(&self, failure: &Failure) -> bool {
        let answered = matches!(
            failure.kind,
            Kind::PermissionDenied
                | Kind::InstanceNotFound
                | Kind::InstanceNotReady
                | Kind::NotSupported
                | Kind::InvalidRequest
        );
        let before = failure.has_code(match self {
            Self::Volcengine(_) => volcengine::codes::precedes_signature,
            Self::Tencent(_) => tencent::codes::precedes_signature,
        });
        answered && !before && !is_invalid_request(failure)
    }

    /// Calls DescribeCrossRegionBackupPolicy.
    ///
    /// # Errors
    /// The call's failure; NotSupported with Tencent, where nothing is sent.
    pub async fn describe_policy(&self, instance: &InstanceRef) -> Result<PolicyState, Failure> {
        self.policy_calls("DescribeCrossRegionBackupPolicy")?.describe_policy(instance).await
    }

    /// Calls ModifyCrossRegionBackupPolicy once. Repeating it is the caller's decision, with the same token while the
    /// outcome is unknown. The target region is sent only with `active`: it has no effect otherwise.
    ///
    /// # Errors
    /// The call's failure; NotSupported with Tencent, where nothing is sent.
    pub async fn modify_policy(
        &self,
        instance: &InstanceRef,
        change: &Change,
        client_token: &str,
    ) -> Result<Accepted, Failure> {
        self.policy_calls("ModifyCrossRegionBackupPolicy")?
            .modify_policy(instance, change, client_token)
            .await
    }

    /// Calls DescribeAvailableCrossRegion: lists the regions to which this instance's backups can be copied.
    ///
    /// # Errors
    /// The call's failure; NotSupported with Tencent, where nothing is sent.
    pub async fn available_regions(&self, instance: &InstanceRef) -> Result<Vec<String>, Failure> {
        self.policy_calls("DescribeAvailableCrossRegion")?.available_regions(instance).await
    }

    /// Lists all copies of the instance's backups that began up to `now`, each once, by id. If Total changed during
    /// both passes, returns the union of the two, in the later one's state.
    ///
    /// # Errors
    /// The failure of any of its pages; NotSupported with Tencent, where nothing is sent.
    pub async fn instance_backups(
        &self,
        instance: &InstanceRef,
        now: Timestamp,
    ) -> Result<Vec<Backup>, Failure> {
        self.policy_calls(volcengine::LIST_BACKUPS)?;
        let selection = Selection {
            region: instance.region.clone(),
            instance: Some(instance.id.clone()),
            ..Selection::default()
        };
        let mut listing = Listing::new(self.site(), selection, Vec::new(), now)?;
        let (mut found, mut before) = (BTreeMap::new(), BTreeMap::new());
        while listing.request().is_some() {
            let asked = listing.requests(MAX_CONCURRENT_PAGES).into_iter().map(|request| async {
                let answer = self.backups_page(&request).await;
                (request, answer)
            });
            let (steps, failure) = listing.take(join_all(asked).await);
            for step in steps {
                found.extend(step.backups.into_iter().map(|b| (b.backup_point_id.clone(), b)));
                match step.next {
                    ListingProgress::SecondPass => before = mem::take(&mut found),
                    ListingProgress::End { moved: true } => {
                        for (id, backup) in mem::take(&mut before) {
                            found.entry(id).or_insert(backup);
                        }
                    }
                    ListingProgress::More | ListingProgress::End { moved: false } => {}
                }
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(found.into_values().collect())
    }

    /// Fetches one page of the account's instances in the region: `page` from 1, `size` from 1 to 1000.
    ///
    /// # Errors
    /// The call's failure. Nothing is sent for a page that the API does not have, or of a size whose response was too
    /// large within the last hour.
    pub async fn instances_page(&self, region: &str, page: u32, size: u32) -> Result<InstancePage, Failure> {
        let (action, sizes) = (self.site().instances_action(), &self.config().sizes);
        sizes.check(action, region, size)?;
        let answer = match self {
            Self::Volcengine(client) => client.instances_page(region, page, size).await,
            Self::Tencent(client) => client.instances_page(region, page, size).await,
        };
        sizes.record(action, region, size, &answer);
        answer
    }

    /// Fetches the page that a [`Listing`] requests.
    ///
    /// # Errors
    /// The call's failure. Nothing is sent for a page of a size whose response was too large within the last hour.
    pub async fn backups_page(&self, request: &PageRequest) -> Result<BackupPage, Failure> {
        let (action, size, sizes) = (request.action(), request.size(), &self.config().sizes);
        sizes.check(action, &request.region, size)?;
        let answer = match (self, &request.query) {
            (Self::Volcengine(client), Query::Volcengine(query)) => {
                client.backups_page(&request.region, query).await
            }
            (Self::Tencent(client), Query::Tencent(query)) => {
                client.backups_page(&request.region, query).await
            }
            _ => Err(invalid_request(action, "the listing is one of another cloud".to_owned())),
        };
        sizes.record(action, &request.region, size, &answer);
        answer
    }

    /// Calls DescribeBackupDetail; `None` if the backup no longer exists.
    ///
    /// # Errors
    /// The call's failure; NotSupported with Volcengine and BytePlus, where nothing is sent.
    pub async fn backup_detail(
        &self,
        instance: &InstanceRef,
        backup_id: &str,
    ) -> Result<Option<BackupDetail>, Failure> {
        match self {
            Self::Volcengine(_) => Err(not_supported(tencent::BACKUP_DETAIL, NO_DETAIL)),
            Self::Tencent(client) => client.backup_detail(instance, backup_id).await,
        }
    }

    /// Returns the inner client if the cloud has the policy actions.
    fn policy_calls(&self, action: &'static str) -> Result<&volcengine::Client, Failure> {
        match self {
            Self::Volcengine(client) => Ok(client),
            Self::Tencent(_) => Err(not_supported(action, NO_POLICY)),
        }
    }
}

fn not_supported(action: &'static str, message: &str) -> Failure {
    Failure { message: Some(message.to_owned()), ..failure(action, Kind::NotSupported, INVALID_REQUEST) }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
