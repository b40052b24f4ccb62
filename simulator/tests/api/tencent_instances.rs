//! Tencent's list of instances.

use cloud_simulator::{Simulator, Tag, TencentInstanceSpec};
use serde_json::{Value, json};

use crate::tencent_client::{ID, INSTANCES, ask, cloud};

/// Returns a cloud with three more instances, all younger than the first.
fn yard() -> Simulator {
    let simulator = cloud();
    for (number, name) in [(1, "carts"), (2, "sessions"), (3, "archive")] {
        let spec = TencentInstanceSpec {
            instance_name: name.into(),
            status: if number == 3 { -2 } else { 2 },
            instance_type: if number == 2 { 9 } else { 16 },
            project_id: number,
            create_time: format!("2025-06-0{number}T00:00:00Z").parse().unwrap(),
            ..TencentInstanceSpec::new(format!("crs-{number}"), "ap-guangzhou")
        };
        simulator.put_tencent_instance(spec).unwrap();
    }
    simulator
}

fn ids(response: &Value) -> String {
    let items = response["InstanceSet"].as_array().unwrap();
    items.iter().map(|item| item["InstanceId"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn filters_choose_and_the_total_counts() {
    let simulator = yard();
    for (body, expected) in [
        (json!({}), "crs-3 crs-2 crs-1 crs-ei43p3gr"),
        (json!({ "InstanceId": "crs-2" }), "crs-2"),
        (json!({ "InstanceId": "crs-nowhere" }), ""),
        (json!({ "InstanceIds": ["crs-1", "crs-3", "crs-nowhere"] }), "crs-3 crs-1"),
        (json!({ "InstanceName": "c" }), "crs-3 crs-1"),
        (json!({ "SearchKey": "ei43" }), ID),
        (json!({ "SearchKey": "order" }), ID),
        (json!({ "ProjectIds": [0, 2] }), "crs-2 crs-ei43p3gr"),
        (json!({ "Status": [-2] }), "crs-3"),
        (json!({ "Type": 9 }), "crs-2"),
        (json!({ "TypeList": [9, 15] }), "crs-2"),
        (json!({ "OrderBy": "createtime", "OrderType": 0 }), "crs-ei43p3gr crs-1 crs-2 crs-3"),
        (json!({ "OrderBy": "instancename", "OrderType": 0 }), "crs-3 crs-1 crs-ei43p3gr crs-2"),
        (json!({ "OrderBy": "projectId" }), "crs-3 crs-2 crs-1 crs-ei43p3gr"),
        (json!({ "OrderBy": "type", "OrderType": 0 }), "crs-2 crs-1 crs-3 crs-ei43p3gr"),
        (json!({ "OrderBy": "curDeadline" }), "crs-1 crs-2 crs-3 crs-ei43p3gr"),
    ] {
        let told = ask(&simulator, INSTANCES, body.clone()).await;
        assert_eq!(ids(told.response()), expected, "{body}");
        assert_eq!(told.response()["TotalCount"], expected.split_whitespace().count(), "{body}");
    }
    for (limit, offset, expected) in [(2, 0, "crs-3 crs-2"), (2, 1, "crs-2 crs-1"), (1000, 4, "")] {
        let told = ask(&simulator, INSTANCES, json!({ "Limit": limit, "Offset": offset })).await;
        assert_eq!((ids(told.response()).as_str(), &told.response()["TotalCount"]), (expected, &json!(4)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_twenty_unless_told() {
    let simulator = cloud();
    for number in 0..30 {
        simulator
            .put_tencent_instance(TencentInstanceSpec::new(format!("crs-{number}"), "ap-guangzhou"))
            .unwrap();
    }
    let told = ask(&simulator, INSTANCES, json!({})).await;
    assert_eq!(told.response()["InstanceSet"].as_array().unwrap().len(), 20);
    assert_eq!(told.response()["TotalCount"], 31);
}

#[tokio::test(start_paused = true)]
async fn parameters_are_checked() {
    let simulator = yard();
    let invalid = "InvalidParameter.InvalidParameter";
    for (body, error) in [
        (json!({ "Limit": 0 }), invalid),
        (json!({ "Limit": 1001 }), invalid),
        (json!({ "Offset": -1 }), invalid),
        (json!({ "OrderBy": "size" }), invalid),
        (json!({ "OrderType": 2 }), invalid),
        (json!({ "InstanceIds": "crs-1" }), "InvalidParameter"),
        (json!({ "InstanceIds": [1] }), "InvalidParameter"),
        (json!({ "ProjectIds": ["0"] }), "InvalidParameter"),
        (json!({ "VpcIds": ["10001"] }), "UnsupportedOperation"),
        (json!({ "PageNumber": 1 }), "UnknownParameter"),
    ] {
        assert_eq!(ask(&simulator, INSTANCES, body.clone()).await.refusal(), error, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_has_the_documented_fields() {
    let simulator = cloud();
    let patch = json!({
        "memSize": 1024, "shardNum": 2, "tags": [{ "key": "team", "value": "shop" }],
        "overrides": { "ClientLimit": null },
    });
    let spec = simulator.patch_tencent_instance(ID, patch).unwrap();
    assert_eq!(spec.tags, [Tag { key: "team".into(), value: "shop".into() }]);
    let told = ask(&simulator, INSTANCES, json!({ "InstanceId": ID })).await;
    let item = &told.response()["InstanceSet"][0];
    for (field, value) in [
        ("InstanceName", json!("orders")),
        ("Region", json!("ap-guangzhou")),
        ("RegionId", json!(1)),
        ("ZoneId", json!(100_003)),
        ("Status", json!(2)),
        ("Type", json!(16)),
        ("Size", json!(2048.0)),
        ("RedisShardSize", json!(1024)),
        ("RedisShardNum", json!(2)),
        ("RedisReplicasNum", json!(1)),
        ("Createtime", json!("2025-01-01 08:00:00")),
        ("CloseTime", json!("0000-00-00 00:00:00")),
        ("OfflineTime", json!("")),
        ("InstanceTags", json!([{ "TagKey": "team", "TagValue": "shop" }])),
        ("ClientLimit", Value::Null),
    ] {
        assert_eq!(item[field], value, "{field}");
    }
    // All fields of the SDKs' InstanceSet that are always present.
    for field in
        "InstanceName InstanceId Appid ProjectId RegionId ZoneId VpcId SubnetId Status WanIp Port Createtime Size \
         SizeUsed Type AutoRenewFlag DeadlineTime Engine ProductType UniqVpcId UniqSubnetId BillingMode \
         InstanceTitle OfflineTime SubStatus Tags InstanceNode RedisShardSize RedisShardNum RedisReplicasNum \
         PriceId CloseTime SlaveReadWeight InstanceTags ProjectName NoAuth ClientLimit DtsStatus NetLimit \
         PasswordFree Vip6 IPv6 ReadOnly RemainBandwidthDuration DiskSize MonitorVersion ClientLimitMin \
         ClientLimitMax NodeSet Region WanAddress PolarisServer RedisClusterId DedicatedClusterId ProductVersion \
         CurrentProxyVersion CurrentRedisVersion UpgradeProxyVersion UpgradeRedisVersion BackupMode \
         DeleteProtectionSwitch"
            .split(' ')
    {
        assert!(item.get(field).is_some(), "{field}");
    }
    assert!(simulator.patch_tencent_instance("crs-nowhere", json!({})).is_err());
    assert!(simulator.patch_tencent_instance(ID, json!({ "colour": "red" })).is_err());
    simulator.remove_tencent_instance(ID).unwrap();
    assert!(simulator.tencent_instance(ID).is_err() && simulator.tencent_instances().is_empty());
}
