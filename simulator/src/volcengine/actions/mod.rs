//! The actions of the Redis API, version 2020-12-07.

mod backups;
mod instances;
mod policy;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error;
use super::params::Params;
use super::replay::ClientTokens;
use crate::error::ApiError;
use crate::model::Settings;
use crate::request_log::RequestLog;
use crate::world::{Instance, World};

pub(super) const VERSION: &str = "2020-12-07";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    DescribePolicy,
    ModifyPolicy,
    DescribeBackups,
    DescribeAvailableRegions,
    DescribeInstances,
}

impl Action {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "DescribeCrossRegionBackupPolicy" => Self::DescribePolicy,
            "ModifyCrossRegionBackupPolicy" => Self::ModifyPolicy,
            "DescribeCrossRegionBackups" => Self::DescribeBackups,
            "DescribeAvailableCrossRegion" => Self::DescribeAvailableRegions,
            "DescribeDBInstances" => Self::DescribeInstances,
            _ => return None,
        })
    }
}

/// An authenticated, permitted request and the world that it acts on.
pub(super) struct Call<'a> {
    pub world: &'a mut World,
    pub replays: &'a mut ClientTokens,
    pub ledger: &'a mut RequestLog,
    pub account: u64,
    /// Region of the credential's scope: an instance exists in one region only.
    pub region: &'a str,
    pub params: &'a Params,
    pub now: Timestamp,
    pub settings: &'a Settings,
}

impl Call<'_> {
    pub fn run(&mut self, action: Action) -> Result<Value, ApiError> {
        match action {
            Action::DescribePolicy => self.describe_policy(),
            Action::ModifyPolicy => self.modify_policy(),
            Action::DescribeBackups => self.describe_backups(),
            Action::DescribeAvailableRegions => self.describe_available_regions(),
            Action::DescribeInstances => self.describe_instances(),
        }
    }

    /// Returns the instance, if the caller's account has it in the requested region.
    fn instance(&self, id: &str) -> Result<&Instance, ApiError> {
        self.world
            .instance(id)
            .filter(|instance| {
                instance.spec.account_id == self.account && instance.spec.region == self.region
            })
            .ok_or_else(|| error::instance_not_exist(id))
    }

    /// Returns an enum value as it is, or one that no client knows if `quirks` is set.
    fn word(&self, known: &str, unknown: &str) -> Value {
        json!(if self.settings.quirks { unknown } else { known })
    }

    fn with_quirk(&self, object: Value) -> Value {
        self.settings.with_quirk(object)
    }
}
