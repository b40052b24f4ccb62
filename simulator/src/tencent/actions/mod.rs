//! The actions of the Redis API, version 2018-04-12.

mod backups;
mod instances;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::error;
use super::model::TencentInstanceSpec;
use super::params::Params;
use super::world::World;
use crate::error::ApiError;
use crate::model::Settings;

pub(super) const SERVICE: &str = "redis";
pub(super) const VERSION: &str = "2018-04-12";

const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// Placeholder for a time that is not known yet, or does not apply.
const NO_TIME: &str = "0000-00-00 00:00:00";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    InstanceBackups,
    BackupDetail,
    Instances,
}

impl Action {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "DescribeInstanceBackups" => Self::InstanceBackups,
            "DescribeBackupDetail" => Self::BackupDetail,
            "DescribeInstances" => Self::Instances,
            _ => return None,
        })
    }

    /// Returns requests per second; the dimension (account, region, action) follows from the error codes.
    pub fn documented_limit(self) -> u32 {
        match self {
            Self::InstanceBackups => 50,
            Self::BackupDetail => 20,
            Self::Instances => 35,
        }
    }
}

/// An authenticated, permitted request and the world that it reads.
pub(super) struct Call<'a> {
    pub world: &'a World,
    pub settings: &'a Settings,
    pub account: u64,
    pub region: &'a str,
}

impl Call<'_> {
    pub fn run(&self, action: Action, body: &[u8]) -> Result<Value, ApiError> {
        let (known, act): (&[&str], fn(&Self, &Params) -> _) = match action {
            Action::InstanceBackups => (backups::LIST_PARAMETERS, Self::describe_instance_backups),
            Action::BackupDetail => (backups::DETAIL_PARAMETERS, Self::describe_backup_detail),
            Action::Instances => (instances::PARAMETERS, Self::describe_instances),
        };
        let result = act(self, &Params::parse(body, known)?)?;
        Ok(self.settings.with_quirk(result))
    }

    /// Returns the instance, if the caller's account has it in the requested region.
    fn instance(&self, id: &str) -> Result<&TencentInstanceSpec, ApiError> {
        let here =
            |spec: &&TencentInstanceSpec| spec.account_id == self.account && spec.region == self.region;
        self.world.instance(id).filter(here).ok_or_else(|| error::instance_not_exists(id))
    }

    fn time(&self, at: Option<Timestamp>) -> Value {
        let zone = TimeZone::fixed(self.settings.tencent.time_zone);
        at.map_or(json!(""), |at| json!(at.to_zoned(zone).strftime(TIME_FORMAT).to_string()))
    }
}

fn put_over(object: &mut Value, overrides: &Map<String, Value>) {
    for (name, value) in overrides {
        object[name] = value.clone();
    }
}
