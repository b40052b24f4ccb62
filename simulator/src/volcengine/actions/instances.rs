//! DescribeDBInstances, and the parts of an instance's description that other responses share.

use serde_json::{Value, json};

use super::super::error;
use super::Call;
use crate::error::ApiError;
use crate::model::InstanceSpec;

impl Call<'_> {
    pub(super) fn describe_instances(&mut self) -> Result<Value, ApiError> {
        let params = self.params;
        let region = params.text("RegionId")?.unwrap_or(self.region);
        let size = params.integer("PageSize", 1..=1000)?.unwrap_or(10);
        let number = params.integer("PageNumber", 1..=i64::from(i32::MAX))?.unwrap_or(1);
        let sharded = params.integer("ShardedCluster", 0..=1)?;
        let exact = [
            (params.text("InstanceId")?, Field::Id),
            (params.text("Status")?, Field::Status),
            (params.text("EngineVersion")?, Field::EngineVersion),
            (params.text("ChargeType")?, Field::ChargeType),
            (params.text("ProjectName")?, Field::Project),
            (params.text("ServiceType")?, Field::ServiceType),
            (params.text("DataLayout")?, Field::DataLayout),
        ];
        let name = params.text("InstanceName")?.unwrap_or_default();
        let zone = params.text("ZoneId")?.unwrap_or_default();
        let vpc = params.text("VpcId")?.unwrap_or_default();
        let tags = self.tag_filters()?;
        let found: Vec<_> = self
            .world
            .instances()
            .filter(|spec| spec.account_id == self.account && spec.region == region)
            .filter(|spec| exact.iter().all(|(wanted, field)| wanted.is_none_or(|w| w == field.of(spec))))
            .filter(|spec| sharded.is_none_or(|wanted| (wanted == 1) == (spec.shard_number > 1)))
            .filter(|spec| spec.instance_name.contains(name) && spec.vpc_id.contains(vpc))
            .filter(|spec| zone.is_empty() || zones(spec).iter().any(|id| id.contains(zone)))
            .filter(|spec| {
                let has = |(key, value): &(&str, Option<&str>)| {
                    spec.tags.iter().any(|tag| tag.key == *key && value.is_none_or(|v| v == tag.value))
                };
                tags.iter().all(has)
            })
            .collect();
        let (skipped, taken) = page(size, number);
        let items: Vec<_> =
            found.iter().skip(skipped).take(taken).map(|spec| self.instance_item(spec)).collect();
        Ok(self.with_quirk(json!({ "TotalInstancesNum": found.len(), "Instances": items })))
    }

    fn tag_filters(&self) -> Result<Vec<(&str, Option<&str>)>, ApiError> {
        let filters = self.params.array("TagFilters")?;
        filters
            .iter()
            .map(|filter| tag_filter(filter).ok_or_else(|| error::param("TagFilters must hold a Key each.")))
            .collect()
    }

    fn instance_item(&self, spec: &InstanceSpec) -> Value {
        let tags: Vec<_> =
            spec.tags.iter().map(|tag| json!({ "Key": tag.key, "Value": tag.value })).collect();
        let item = json!({
            "InstanceId": spec.instance_id,
            "InstanceName": spec.instance_name,
            "RegionId": spec.region,
            "ZoneIds": zones(spec),
            "Status": spec.status,
            "EngineVersion": spec.engine_version,
            "InstanceClass": spec.class,
            "ChargeType": spec.charge_type,
            "CreateTime": spec.create_time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "DeletionProtection": spec.deletion_protection,
            "MultiAZ": if zones(spec).len() > 1 { "enabled" } else { "disabled" },
            "NodeNumber": spec.node_number,
            "ShardNumber": spec.shard_number,
            "ShardCapacity": number(spec.shard_capacity),
            "ShardedCluster": i32::from(spec.shard_number > 1),
            "Capacity": { "Total": total_capacity(spec), "Used": 0 },
            "PrivateAddress": format!("{}.redis.ivolces.com", spec.instance_id),
            "PrivatePort": "6379",
            "ProjectName": spec.project_name,
            "ServiceType": self.word(&spec.service_type, "Serverless"),
            "DataLayout": self.word(&spec.data_layout, "Tiered"),
            "VpcId": spec.vpc_id,
            "Tags": tags,
        });
        self.with_quirk(item)
    }
}

/// Fields of an instance that are filtered by equality.
#[derive(Clone, Copy)]
enum Field {
    Id,
    Status,
    EngineVersion,
    ChargeType,
    Project,
    ServiceType,
    DataLayout,
}

impl Field {
    fn of(self, spec: &InstanceSpec) -> &str {
        match self {
            Self::Id => &spec.instance_id,
            Self::Status => &spec.status,
            Self::EngineVersion => &spec.engine_version,
            Self::ChargeType => &spec.charge_type,
            Self::Project => &spec.project_name,
            Self::ServiceType => &spec.service_type,
            Self::DataLayout => &spec.data_layout,
        }
    }
}

/// Returns a tag's key, and its value if that is requested too.
fn tag_filter(filter: &Value) -> Option<(&str, Option<&str>)> {
    Some((filter["Key"].as_str()?, filter["Value"].as_str().filter(|value| !value.is_empty())))
}

/// Returns the numbers to skip and to take for a page whose size and number were checked.
pub(super) fn page(size: i64, number: i64) -> (usize, usize) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let before = usize::try_from(number - 1).unwrap_or_default();
    (before.saturating_mul(size), size)
}

/// Returns a number without a fraction if it has none, as in the samples.
pub(super) fn number(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// Returns MiB.
pub(super) fn total_capacity(spec: &InstanceSpec) -> i64 {
    (spec.shard_capacity * f64::from(spec.shard_number)) as i64
}

/// Returns the zones; the region's first if the seed names none.
pub(super) fn zones(spec: &InstanceSpec) -> Vec<String> {
    if spec.zone_ids.is_empty() { vec![format!("{}-a", spec.region)] } else { spec.zone_ids.clone() }
}
