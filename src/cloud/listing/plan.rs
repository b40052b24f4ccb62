//! Translates a selection into the requests of one cloud: one or more parts, each with pages.

use jiff::Timestamp;

use super::selection::Selection;
use super::{tencent, volcengine};
use crate::cloud::{Site, tencent as tencent_api, volcengine as volcengine_api};
use crate::domain::{Backup, Failure};

/// Records per page: the maximum of both clouds.
pub const PAGE_SIZE: u32 = 100;
/// Upper bound on the records of one instance, in case Total is wrong: 10 000 backups, with a retention of days, are
/// implausible.
const INSTANCE_RECORDS_MAX: u64 = 10_000;
/// Upper bound on the records of a whole account.
const ACCOUNT_RECORDS_MAX: u64 = 2_000_000;

/// Request for one page of a [`super::Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    pub(in crate::cloud) region: String,
    pub(in crate::cloud) query: Query,
    /// Index of the listing's part that the page belongs to.
    pub(in crate::cloud) part: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    Volcengine(volcengine_api::query::BackupQuery),
    Tencent(tencent_api::query::BackupQuery),
}

impl PageRequest {
    /// Returns the API action of the request.
    pub fn action(&self) -> &'static str {
        match self.query {
            Query::Volcengine(_) => volcengine_api::LIST_BACKUPS,
            Query::Tencent(_) => tencent_api::LIST_BACKUPS,
        }
    }

    /// Returns the number of pages of this size that `records` records fill, at least 1.
    pub fn pages(&self, records: u64) -> u64 {
        records.div_ceil(u64::from(self.size())).max(1)
    }

    /// Returns the maximum number of records of the page.
    pub fn size(&self) -> u32 {
        match &self.query {
            Query::Volcengine(query) => query.page_size.unwrap_or(PAGE_SIZE),
            Query::Tencent(query) => query.limit,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    region: String,
    cloud_plan: CloudPlan,
    /// Filters on status and on strategy that the cloud lacks, so that they are applied here; empty for none.
    statuses: Vec<String>,
    strategies: Vec<String>,
}

#[derive(Clone, Debug)]
enum CloudPlan {
    Volcengine(volcengine::CloudPlan),
    Tencent(tencent::CloudPlan),
}

impl Plan {
    pub fn new(
        site: Site,
        selection: Selection,
        instances: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let mut plan = Self {
            region: selection.region.clone(),
            cloud_plan: match site {
                Site::Volcengine | Site::BytePlus => {
                    CloudPlan::Volcengine(volcengine::CloudPlan::new(site, &selection, now)?)
                }
                Site::Tencent | Site::TencentInternational => {
                    CloudPlan::Tencent(tencent::CloudPlan::new(site, &selection, instances, now)?)
                }
            },
            statuses: selection.statuses,
            strategies: selection.strategies,
        };
        if let CloudPlan::Volcengine(cloud_plan) = &plan.cloud_plan {
            plan.strategies.clear();
            if cloud_plan.sends_status() {
                plan.statuses.clear();
            }
        }
        Ok(plan)
    }

    pub fn action(&self) -> &'static str {
        match self.cloud_plan {
            CloudPlan::Volcengine(_) => volcengine_api::LIST_BACKUPS,
            CloudPlan::Tencent(_) => tencent_api::LIST_BACKUPS,
        }
    }

    /// Returns the number of parts, which are numbered from 0.
    pub fn parts(&self) -> usize {
        match &self.cloud_plan {
            CloudPlan::Volcengine(_) => 1,
            CloudPlan::Tencent(cloud_plan) => cloud_plan.parts(),
        }
    }

    /// Returns the request for a page of `size` records; pages are numbered from 1.
    pub fn request(&self, part: usize, page: u32, size: u32) -> PageRequest {
        let query = match &self.cloud_plan {
            CloudPlan::Volcengine(cloud_plan) => Query::Volcengine(cloud_plan.query(page, size)),
            CloudPlan::Tencent(cloud_plan) => Query::Tencent(cloud_plan.query(part, page, size)),
        };
        PageRequest { region: self.region.clone(), query, part }
    }

    pub fn records_max(&self, part: usize) -> u64 {
        let of_one = match &self.cloud_plan {
            CloudPlan::Volcengine(cloud_plan) => cloud_plan.is_single_instance(),
            CloudPlan::Tencent(cloud_plan) => cloud_plan.is_single_instance(part),
        };
        if of_one { INSTANCE_RECORDS_MAX } else { ACCOUNT_RECORDS_MAX }
    }

    /// Returns whether a backup passes the filters that the cloud did not apply.
    pub fn fits(&self, backup: &Backup) -> bool {
        let among = |wanted: &[String], word: &str| wanted.is_empty() || wanted.iter().any(|w| w == word);
        among(&self.statuses, &backup.status)
            && among(&self.strategies, backup.strategy.as_deref().unwrap_or_default())
    }

    /// Returns the part to continue with after a failed call; its requests may have another form from then on.
    pub fn part_after(&mut self, failure: Failure, part: usize) -> Result<usize, Failure> {
        match &mut self.cloud_plan {
            CloudPlan::Volcengine(_) => Err(failure),
            CloudPlan::Tencent(cloud_plan) => cloud_plan.part_after(failure, part),
        }
    }
}
