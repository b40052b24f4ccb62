//! Settings of the simulated Tencent Cloud, for behaviour that has changed or is not known.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

/// Values that DescribeInstanceBackups accepts for Status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StatusesAllowed {
    /// All values of all versions of the document.
    #[default]
    All,
    /// 1 and 2, as in the newest document.
    Newest,
}

/// Field of DescribeInstanceBackups' response that holds the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupSetKey {
    /// As in every SDK.
    #[default]
    BackupSet,
    /// As in the sample of the old document.
    RedisBackupSet,
}

impl BackupSetKey {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BackupSet => "BackupSet",
            Self::RedisBackupSet => "RedisBackupSet",
        }
    }
}

/// Rate limits per action, for an account in a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TencentLimits {
    #[default]
    Documented,
    Off,
    /// Requests per second by action; the documented limits hold for the others.
    #[serde(untagged)]
    PerSecond(BTreeMap<String, NonZeroU32>),
}

impl TencentLimits {
    pub(super) fn of(&self, action: &str, documented: u32) -> Option<u32> {
        match self {
            Self::Documented => Some(documented),
            Self::Off => None,
            Self::PerSecond(limits) => Some(limits.get(action).map_or(documented, |limit| limit.get())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TencentSettings {
    /// Zone of times without one; Beijing's by default.
    #[serde(with = "zone")]
    pub time_zone: Offset,
    /// Whether DescribeInstanceBackups needs an InstanceId, as in the old document.
    pub require_instance_id: bool,
    pub statuses_allowed: StatusesAllowed,
    pub backup_set_key: BackupSetKey,
    pub limits: TencentLimits,
}

impl Default for TencentSettings {
    fn default() -> Self {
        Self {
            time_zone: Offset::constant(8),
            require_instance_id: false,
            statuses_allowed: StatusesAllowed::default(),
            backup_set_key: BackupSetKey::default(),
            limits: TencentLimits::default(),
        }
    }
}

/// Serializes an offset as `+08:00`.
mod zone {
    use jiff::fmt::strtime;
    use jiff::tz::Offset;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(offset: &Offset, serializer: S) -> Result<S::Ok, S::Error> {
        let minutes = offset.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
        serializer.collect_str(&format_args!("{sign}{hours:02}:{minutes:02}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Offset, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = strtime::parse("%:z", &text).ok().and_then(|time| time.offset());
        parsed.ok_or_else(|| D::Error::custom(format!("timeZone {text} is not like +08:00")))
    }
}
