//! DescribeInstances.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::super::error;
use super::super::model::TencentInstanceSpec;
use super::super::params::Params;
use super::{Call, NO_TIME, put_over};
use crate::error::ApiError;

pub(super) const PARAMETERS: &[&str] = &[
    "Limit",
    "Offset",
    "InstanceId",
    "OrderBy",
    "OrderType",
    "VpcIds",
    "SubnetIds",
    "SearchKey",
    "ProjectIds",
    "InstanceName",
    "UniqVpcIds",
    "UniqSubnetIds",
    "RegionIds",
    "Status",
    "TypeVersion",
    "EngineName",
    "AutoRenew",
    "BillingMode",
    "Type",
    "SearchKeys",
    "TypeList",
    "MonitorVersion",
    "InstanceTags",
    "TagKeys",
    "ProductVersions",
    "InstanceIds",
    "AzMode",
];

/// Filters that the simulator cannot apply, and refuses.
const UNSUPPORTED_FILTERS: &[&str] = &[
    "VpcIds",
    "SubnetIds",
    "UniqVpcIds",
    "UniqSubnetIds",
    "RegionIds",
    "TypeVersion",
    "EngineName",
    "AutoRenew",
    "BillingMode",
    "SearchKeys",
    "MonitorVersion",
    "InstanceTags",
    "TagKeys",
    "ProductVersions",
    "AzMode",
];

/// Numeric ids of regions; 0 stands for those that the document does not number.
const REGION_IDS: &[(&str, i64)] = &[
    ("ap-guangzhou", 1),
    ("ap-shanghai", 4),
    ("ap-hongkong", 5),
    ("ap-shanghai-fsi", 7),
    ("ap-beijing", 8),
    ("ap-singapore", 9),
    ("ap-shenzhen-fsi", 11),
    ("na-siliconvalley", 15),
    ("ap-chengdu", 16),
    ("eu-frankfurt", 17),
    ("ap-seoul", 18),
    ("ap-chongqing", 19),
    ("na-ashburn", 22),
    ("ap-bangkok", 23),
    ("ap-tokyo", 25),
];

impl Call<'_> {
    pub(super) fn describe_instances(&self, params: &Params) -> Result<Value, ApiError> {
        if let Some(name) = UNSUPPORTED_FILTERS.iter().find(|name| params.has(name)) {
            return Err(error::unsupported_filter(name));
        }
        let limit = params.integer_of("Limit", 1..=1000, 20)?;
        let offset = params.integer_of("Offset", 0..=i64::MAX, 0)?;
        let id = params.text("InstanceId")?;
        let ids = params.texts("InstanceIds")?;
        let name = params.text("InstanceName")?;
        let key = params.text("SearchKey")?;
        let projects = params.integers("ProjectIds")?;
        let statuses = params.integers("Status")?;
        let mut types = params.integers("TypeList")?;
        types.extend(params.integer("Type")?);
        let order = order(params)?;
        fn among<T: PartialEq>(wanted: &[T], found: &T) -> bool {
            wanted.is_empty() || wanted.contains(found)
        }
        let mut found: Vec<_> = self
            .world
            .instances()
            .filter(|spec| spec.account_id == self.account && spec.region == self.region)
            .filter(|spec| id.is_none_or(|id| id == spec.instance_id))
            .filter(|spec| among(&ids, &spec.instance_id.as_str()))
            .filter(|spec| name.is_none_or(|name| spec.instance_name.contains(name)))
            .filter(|spec| {
                key.is_none_or(|key| spec.instance_id.contains(key) || spec.instance_name.contains(key))
            })
            .filter(|spec| among(&projects, &spec.project_id) && among(&statuses, &spec.status))
            .filter(|spec| among(&types, &spec.instance_type))
            .collect();
        found.sort_by(|a, b| order(a, b));
        let (skip, take) = (usize::try_from(offset), usize::try_from(limit));
        let page = found.iter().skip(skip.unwrap_or(usize::MAX)).take(take.unwrap_or(usize::MAX));
        let items: Vec<_> = page.map(|spec| self.instance_item(spec)).collect();
        Ok(json!({ "TotalCount": found.len(), "InstanceSet": items }))
    }

    fn instance_item(&self, spec: &TencentInstanceSpec) -> Value {
        let mut item = json!({
            "InstanceName": spec.instance_name,
            "InstanceId": spec.instance_id,
            "Appid": 1_300_000_000,
            "ProjectId": spec.project_id,
            "ProjectName": "Default Project",
            "Region": spec.region,
            "Status": spec.status,
            "SubStatus": 0,
            "Type": spec.instance_type,
            "Createtime": self.time(Some(spec.create_time)),
            "Size": (spec.mem_size * spec.shard_num) as f64,
            "RedisShardSize": spec.mem_size,
            "RedisShardNum": spec.shard_num,
            "RedisReplicasNum": spec.replicas_num,
            "CloseTime": NO_TIME,
            "DeadlineTime": NO_TIME,
            "OfflineTime": "",
        });
        let tags = spec.tags.iter().map(|tag| json!({ "TagKey": tag.key, "TagValue": tag.value }));
        item["InstanceTags"] = tags.collect();
        for part in [place(spec), product(), limits()] {
            let Value::Object(fields) = part else { continue };
            fields.into_iter().for_each(|(name, value)| item[&name] = value);
        }
        put_over(&mut item, &spec.overrides);
        self.settings.with_quirk(item)
    }
}

/// Returns the location of an instance, as in the sample except for the region.
fn place(spec: &TencentInstanceSpec) -> Value {
    let known = REGION_IDS.iter().find(|(region, _)| *region == spec.region);
    let region_id = known.map_or(0, |(_, id)| *id);
    json!({
        "RegionId": region_id, "ZoneId": region_id * 100_000 + 3, "VpcId": 10_001, "SubnetId": 20_001,
        "UniqVpcId": "vpc-4k0n1a2b", "UniqSubnetId": "subnet-5x2w3c4d", "WanIp": "10.0.0.5", "Port": 6379,
        "Vip6": "", "IPv6": "", "WanAddress": "", "PolarisServer": "", "RedisClusterId": "",
        "DedicatedClusterId": "", "NodeSet": [],
    })
}

fn product() -> Value {
    json!({
        "Engine": "Redis", "ProductType": "cluster", "ProductVersion": "local", "BillingMode": 0,
        "AutoRenewFlag": 0, "PriceId": 0, "InstanceTitle": "运行中", "Tags": [], "InstanceNode": [],
        "CurrentProxyVersion": "5.8.14", "CurrentRedisVersion": "6.2.6", "UpgradeProxyVersion": "",
        "UpgradeRedisVersion": "", "MonitorVersion": "1m", "BackupMode": "NormalLevelBackup",
    })
}

fn limits() -> Value {
    json!({
        "SizeUsed": 0.0, "SlaveReadWeight": 0, "NoAuth": false, "PasswordFree": 0, "ReadOnly": 0, "DtsStatus": 0,
        "ClientLimit": 10_000, "ClientLimitMin": 10_000, "ClientLimitMax": 10_000, "NetLimit": 768, "DiskSize": 0,
        "RemainBandwidthDuration": "", "DeleteProtectionSwitch": 0,
    })
}

type Order = fn(&TencentInstanceSpec, &TencentInstanceSpec) -> Ordering;

/// Returns the order of a listing: descending unless OrderType is 0, then by id. Without OrderBy the newest comes
/// first.
fn order(
    params: &Params,
) -> Result<impl Fn(&TencentInstanceSpec, &TencentInstanceSpec) -> Ordering + use<>, ApiError> {
    let by: Order = match params.text("OrderBy")? {
        None | Some("createtime") => |a, b| a.create_time.cmp(&b.create_time),
        Some("projectId") => |a, b| a.project_id.cmp(&b.project_id),
        Some("instancename") => |a, b| a.instance_name.cmp(&b.instance_name),
        Some("type") => |a, b| a.instance_type.cmp(&b.instance_type),
        // Pay-as-you-go instances, which these are, have no deadline.
        Some("curDeadline") => |_, _| Ordering::Equal,
        Some(other) => {
            return Err(error::invalid_parameter(format!("OrderBy does not accept the value {other}.")));
        }
    };
    let ascending = params.integer_of("OrderType", 0..=1, 1)? == 0;
    Ok(move |a: &TencentInstanceSpec, b: &TencentInstanceSpec| {
        let order = if ascending { by(a, b) } else { by(b, a) };
        order.then_with(|| a.instance_id.cmp(&b.instance_id))
    })
}
