//! DescribeInstanceBackups and DescribeBackupDetail.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::error;
use super::super::model::{TencentBackupSpec, TencentInstanceSpec};
use super::super::params::Params;
use super::super::settings::StatusesAllowed;
use super::{Call, NO_TIME, TIME_FORMAT, put_over};
use crate::error::ApiError;
use crate::listing::{Query, Scope};

pub(super) const LIST_PARAMETERS: &[&str] =
    &["InstanceId", "Limit", "Offset", "BeginTime", "EndTime", "Status", "InstanceName"];

pub(super) const DETAIL_PARAMETERS: &[&str] = &["InstanceId", "BackupId"];

/// Longest time between BeginTime and EndTime.
const MAX_TIME_SPAN: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Call<'_> {
    pub(super) fn describe_instance_backups(&self, params: &Params) -> Result<Value, ApiError> {
        let instance_id = match self.settings.tencent.require_instance_id {
            true => Some(params.required_text("InstanceId")?),
            false => params.text("InstanceId")?,
        };
        let limit = params.integer_of("Limit", 1..=100, 20)?;
        let offset = params.integer_of("Offset", 0..=i64::MAX, 0)?;
        if offset % limit != 0 {
            return Err(error::invalid_parameter("Offset must be a multiple of Limit."));
        }
        let (from, to) = self.span(params)?;
        let statuses = self.statuses(params)?;
        let name = params.text("InstanceName")?;
        if let Some(id) = instance_id {
            self.instance(id)?;
        }
        let named =
            |spec: &TencentBackupSpec| name.is_none_or(|name| self.instance_name(spec).contains(name));
        let (account, region) = (self.account, self.region.to_owned());
        let scope = Scope { account, region, instance_id: instance_id.map(str::to_owned) };
        let found = self.world.backup_page(
            &scope,
            &Query {
                from,
                to,
                classes: Some(&statuses),
                test: name.is_some().then_some(&named),
                skip: usize::try_from(offset).unwrap_or(usize::MAX),
                take: usize::try_from(limit).unwrap_or(usize::MAX),
            },
        );
        let mut result = json!({ "TotalCount": found.total });
        // Moved in: json! would copy each item.
        result[self.settings.tencent.backup_set_key.name()] =
            found.items.iter().map(|spec| self.backup_item(spec)).collect();
        Ok(result)
    }

    /// Returns the requested range of starts; either end may be open.
    fn span(&self, params: &Params) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
        let from = params.text("BeginTime")?.map(|text| self.read_time("BeginTime", text)).transpose()?;
        let to = params.text("EndTime")?.map(|text| self.read_time("EndTime", text)).transpose()?;
        if let (Some(from), Some(to)) = (from, to) {
            if to < from {
                return Err(error::invalid_parameter("EndTime must not be before BeginTime."));
            }
            if to.duration_since(from) > MAX_TIME_SPAN {
                return Err(error::invalid_parameter("BeginTime and EndTime are more than 30 days apart."));
            }
        }
        Ok((from, to))
    }

    /// Parses `YYYY-MM-DD HH:MM:SS` in the account's zone, and no other format.
    fn read_time(&self, name: &str, text: &str) -> Result<Timestamp, ApiError> {
        let zone = TimeZone::fixed(self.settings.tencent.time_zone);
        DateTime::strptime(TIME_FORMAT, text)
            .ok()
            .filter(|_| text.len() == NO_TIME.len())
            .and_then(|time| time.to_zoned(zone).ok())
            .map(|time| time.timestamp())
            .ok_or_else(|| error::invalid_parameter(format!("{name} is not like 2017-02-08 16:46:34.")))
    }

    fn statuses(&self, params: &Params) -> Result<Vec<i64>, ApiError> {
        let mut asked = params.integers("Status")?;
        let allowed: &[i64] = match self.settings.tencent.statuses_allowed {
            StatusesAllowed::All => &[1, 2, 3, 4, -1, -2],
            StatusesAllowed::Newest => &[1, 2],
        };
        if let Some(other) = asked.iter().find(|status| !allowed.contains(status)) {
            return Err(error::invalid_parameter(format!("Status does not accept the value {other}.")));
        }
        if asked.is_empty() {
            asked.push(2);
        }
        Ok(asked)
    }

    pub(super) fn describe_backup_detail(&self, params: &Params) -> Result<Value, ApiError> {
        let instance_id = params.required_text("InstanceId")?;
        let backup_id = params.required_text("BackupId")?;
        let instance = self.instance(instance_id)?;
        let spec = self
            .world
            .backup(backup_id)
            .filter(|spec| spec.instance_id == instance_id && spec.account_id == self.account)
            .filter(|spec| spec.region.as_deref() == Some(self.region))
            .ok_or_else(|| error::backup_not_exists(backup_id))?;
        let mut detail = json!({
            "BackupId": spec.backup_id,
            "StartTime": self.time(spec.start_time),
            "EndTime": self.end_time(spec),
            "BackupType": self.backup_type(spec),
            "Status": spec.status,
            "Remark": spec.remark,
            "Locked": i32::from(spec.locked),
            "BackupSize": spec.size,
            "InstanceType": spec.instance_type.unwrap_or(instance.instance_type),
            "MemSize": spec.mem_size.unwrap_or(instance.mem_size),
            "ShardNum": spec.shard_num.unwrap_or(instance.shard_num),
            "ReplicasNum": spec.replicas_num.unwrap_or(instance.replicas_num),
            "Encrypted": spec.encrypted,
        });
        if spec.encrypted {
            detail["DecryptKey"] = json!(spec.decrypt_key);
            detail["KmsKeyId"] = json!(spec.kms_key_id);
            detail["KeyAlgorithm"] = json!("AES-256-CBC");
        }
        put_over(&mut detail, &spec.detail_overrides);
        Ok(detail)
    }

    fn backup_item(&self, spec: &TencentBackupSpec) -> Value {
        let of_instance = self.origin(spec).map(|instance| instance.instance_type);
        let default = TencentInstanceSpec::default().instance_type;
        let mut item = json!({
            "StartTime": self.time(spec.start_time),
            "BackupId": spec.backup_id,
            "BackupType": self.backup_type(spec),
            "Status": spec.status,
            "Remark": spec.remark,
            "Locked": i32::from(spec.locked),
            "BackupSize": spec.size,
            "FullBackup": 0,
            "InstanceType": spec.instance_type.or(of_instance).unwrap_or(default),
            "InstanceId": spec.instance_id,
            "InstanceName": self.instance_name(spec),
            "Region": self.region,
            "EndTime": self.end_time(spec),
            "FileType": spec.file_type,
            "ExpireTime": self.time(spec.expire_time),
            "Encrypted": spec.encrypted,
        });
        put_over(&mut item, &spec.overrides);
        self.settings.with_quirk(item)
    }

    fn end_time(&self, spec: &TencentBackupSpec) -> Value {
        if spec.running { json!(NO_TIME) } else { self.time(spec.end_time) }
    }

    fn backup_type<'s>(&self, spec: &'s TencentBackupSpec) -> &'s str {
        if self.settings.quirks { "9" } else { &spec.backup_type }
    }

    fn instance_name<'s>(&'s self, spec: &'s TencentBackupSpec) -> &'s str {
        let of_instance = || self.origin(spec).map(|instance| instance.instance_name.as_str());
        spec.instance_name.as_deref().or_else(of_instance).unwrap_or_default()
    }

    /// Returns the instance of a backup, if it still exists.
    fn origin(&self, spec: &TencentBackupSpec) -> Option<&TencentInstanceSpec> {
        self.world.instance(&spec.instance_id)
    }
}
