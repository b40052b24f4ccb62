//! DescribeCrossRegionBackups.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::error;
use super::Call;
use crate::error::ApiError;
use crate::listing::{self, Query};
use crate::model::{BackupSpec, InstanceSpec};
use crate::world::condition;

const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// Values of the SDK; the document has the first and the last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    OneInstance,
    DestroyedInstances,
    AccountInstances,
}

struct Filter {
    scope: Scope,
    instance_id: Option<String>,
    status: Option<String>,
    times: Option<(Timestamp, Timestamp)>,
    strategies: Vec<String>,
    name: Option<String>,
    point_id: Option<String>,
    project: Option<String>,
}

impl Filter {
    /// Returns whether a filter has to read each backup; scope, instance and time are known from the index.
    fn filters_items(&self) -> bool {
        let texts = [&self.status, &self.name, &self.point_id, &self.project];
        self.scope == Scope::DestroyedInstances
            || !self.strategies.is_empty()
            || texts.iter().any(|text| text.is_some())
    }

    fn passes(&self, spec: &BackupSpec, now: Timestamp) -> bool {
        fn is(wanted: &Option<String>, found: &str) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        }
        fn holds(wanted: &Option<String>, found: &str) -> bool {
            wanted.as_ref().is_none_or(|wanted| found.contains(wanted.as_str()))
        }
        self.status.as_ref().is_none_or(|wanted| wanted == condition(spec, now).0)
            && (self.strategies.is_empty() || self.strategies.contains(&spec.backup_strategy))
            && holds(&self.name, &spec.backup_point_name)
            && holds(&self.point_id, &spec.backup_point_id)
            && is(&self.project, &spec.project_name)
    }
}

impl Call<'_> {
    pub(super) fn describe_backups(&mut self) -> Result<Value, ApiError> {
        let filter = self.backup_filter()?;
        let page = self.backup_page()?;
        if let (Scope::OneInstance, Some(id)) = (filter.scope, &filter.instance_id) {
            self.instance(id)?;
        }
        let (skip, take) = page.unwrap_or((0, usize::MAX));
        let passes = |spec: &BackupSpec| {
            let destroyed = || self.world.instance(&spec.instance_id).is_none();
            (filter.scope != Scope::DestroyedInstances || destroyed()) && filter.passes(spec, self.now)
        };
        let query = Query {
            from: filter.times.map(|(from, _)| from),
            to: filter.times.map(|(_, to)| to),
            test: filter.filters_items().then_some(&passes),
            skip,
            take,
            ..Query::default()
        };
        let (account, region) = (self.account, self.region.to_owned());
        let scope = listing::Scope { account, region, instance_id: filter.instance_id.clone() };
        let found = self.world.backup_page(&scope, &query);
        let mut result = json!({ "Total": found.total });
        // Moved in: json! would copy each item.
        result["Backups"] = found.items.iter().map(|spec| self.backup_item(spec)).collect();
        Ok(self.with_quirk(result))
    }

    fn backup_filter(&self) -> Result<Filter, ApiError> {
        let params = self.params;
        let scope = match params.text("Scope")? {
            None | Some("OneInstance") => Scope::OneInstance,
            Some("AccountInstances") => Scope::AccountInstances,
            Some("DestroyedInstances") => Scope::DestroyedInstances,
            Some(other) => return Err(unknown_value("Scope", other)),
        };
        let instance_id = match scope {
            Scope::OneInstance => Some(params.required_text("InstanceId")?),
            _ => params.text("InstanceId")?,
        };
        let status = params.text("Status")?;
        if let Some(status) = status
            && !["Creating", "Available", "Unavailable", "Deleting"].contains(&status)
        {
            return Err(unknown_value("Status", status));
        }
        // These three apply to AccountInstances only, but their types are checked anyway.
        let (name, point_id) = (params.text("BackupPointName")?, params.text("BackupPointId")?);
        let project = params.text("ProjectName")?;
        let for_account =
            |text: Option<&str>| text.filter(|_| scope == Scope::AccountInstances).map(str::to_owned);
        Ok(Filter {
            scope,
            instance_id: instance_id.map(str::to_owned),
            status: status.map(str::to_owned),
            times: self.time_range()?,
            strategies: self.strategies()?,
            name: for_account(name),
            point_id: for_account(point_id),
            project: for_account(project),
        })
    }

    fn time_range(&self) -> Result<Option<(Timestamp, Timestamp)>, ApiError> {
        let (from, to) = match (self.params.text("StartTime")?, self.params.text("EndTime")?) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(error::missing_parameter("EndTime")),
            (None, Some(_)) => return Err(error::missing_parameter("StartTime")),
            (Some(from), Some(to)) => (read_time("StartTime", from)?, read_time("EndTime", to)?),
        };
        if to <= from {
            let message = "EndTime must be later than StartTime.";
            return Err(error::redis("TimeIntervalInvalid", message));
        }
        Ok(Some((from, to)))
    }

    /// Returns the strategies to filter by; none for all. The SDK has two values more than the document.
    fn strategies(&self) -> Result<Vec<String>, ApiError> {
        let mut strategies = Vec::new();
        for item in self.params.array("BackupStrategyList")? {
            match item.as_str() {
                Some("AllStrategy") => return Ok(Vec::new()),
                Some(name @ ("ManualBackup" | "AutomatedBackup" | "DataFlashBack")) => {
                    strategies.push(name.to_owned());
                }
                Some(other) => return Err(unknown_value("BackupStrategyList", other)),
                None => return Err(error::param("BackupStrategyList must hold strings.")),
            }
        }
        Ok(strategies)
    }

    /// Returns the numbers to skip and to take. Both parameters or neither; everything without them.
    fn backup_page(&self) -> Result<Option<(usize, usize)>, ApiError> {
        let size = self.params.integer("PageSize", 1..=100)?;
        let number = self.params.integer("PageNumber", 1..=i64::from(i32::MAX))?;
        match (size, number) {
            (None, None) => Ok(None),
            (Some(size), Some(number)) => Ok(Some(super::instances::page(size, number))),
            _ => Err(error::param("PageSize and PageNumber must be given together.")),
        }
    }

    fn backup_item(&self, spec: &BackupSpec) -> Value {
        let (status, end_time) = condition(spec, self.now);
        let mut item = json!({
            "BackupPointId": spec.backup_point_id,
            "BackupPointName": spec.backup_point_name,
            "BackupStrategy": self.word(&spec.backup_strategy, "ContinuousBackup"),
            "BackupType": self.word(&spec.backup_type, "Snapshot"),
            "StartTime": spec.start_time.map(write_time),
            "InstanceId": spec.instance_id,
            "ProjectName": spec.project_name,
            "Size": spec.size,
            "SourceRegion": spec.source_region,
            "TargetRegion": spec.target_region,
            "Status": status,
            "TTL": spec.ttl,
        });
        if let Some(end) = end_time {
            item["EndTime"] = json!(write_time(end));
        }
        if let Some(progress) = spec.progress {
            item["BackupProgress"] = json!(progress);
        }
        if let Some(origin) = self.world.origin(&spec.instance_id) {
            item["InstanceInfo"] = self.with_quirk(self.instance_info(origin));
        }
        for (name, value) in &spec.overrides {
            item[name] = value.clone();
        }
        self.with_quirk(item)
    }

    fn instance_info(&self, spec: &InstanceSpec) -> Value {
        json!({
            "AccountId": spec.account_id,
            "ArchType": self.word(if spec.shard_number > 1 { "Cluster" } else { "Standard" }, "Mesh"),
            "ChargeType": spec.charge_type,
            "DeletionProtection": spec.deletion_protection,
            "EngineVersion": spec.engine_version,
            "ExpiredTime": "",
            "InstanceId": spec.instance_id,
            "InstanceName": spec.instance_name,
            "MaintenanceTime": spec.maintenance_time,
            "NetworkType": "VPC",
            "RegionId": spec.region,
            "Replicas": spec.node_number,
            "ShardCapacity": super::instances::number(spec.shard_capacity),
            "ShardNumber": spec.shard_number,
            "TotalCapacity": super::instances::total_capacity(spec),
            "VpcId": spec.vpc_id,
            "ZoneIds": super::instances::zones(spec),
        })
    }
}

fn unknown_value(name: &str, value: &str) -> ApiError {
    error::param(format!("{name} does not accept the value {value}."))
}

/// Parses `yyyy-MM-ddTHH:mm:ssZ`, and no other format.
fn read_time(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    DateTime::strptime(TIME_FORMAT, text)
        .ok()
        .filter(|_| text.len() == "2024-08-22T07:51:09Z".len())
        .and_then(|time| time.to_zoned(TimeZone::UTC).ok())
        .map(|time| time.timestamp())
        .ok_or_else(|| {
            let message = format!("{name} must have the format yyyy-MM-ddTHH:mm:ssZ (UTC).");
            error::redis("TimeFormatInvalid", message)
        })
}

fn write_time(time: Timestamp) -> String {
    time.strftime(TIME_FORMAT).to_string()
}
