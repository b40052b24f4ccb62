//! Volcengine's list of instances.

use cloud_simulator::{InstanceSpec, Simulator, Tag};
use serde_json::{Value, json};

use crate::client::{Ask, ID, ask, cloud};

const LIST: &str = "DescribeDBInstances";

/// Returns a cloud with twelve instances in cn-beijing and one in cn-shanghai.
fn fleet() -> Simulator {
    let simulator = cloud();
    for number in 1..=11 {
        let mut spec = InstanceSpec::new(format!("redis-{number:02}"), "cn-beijing");
        spec.instance_name = format!("cache-{number:02}");
        if number == 3 {
            spec.status = "Scaling".into();
            spec.shard_number = 4;
            spec.shard_capacity = 512.5;
            spec.project_name = "special".into();
            spec.tags = vec![Tag { key: "team".into(), value: "red".into() }];
            spec.zone_ids = vec!["cn-beijing-b".into(), "cn-beijing-c".into()];
        }
        simulator.put_instance(spec).unwrap();
    }
    simulator.put_instance(InstanceSpec::new("redis-south", "cn-shanghai")).unwrap();
    simulator
}

fn ids(result: &Value) -> Vec<&str> {
    result["Instances"].as_array().unwrap().iter().map(|i| i["InstanceId"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn pages_have_ten_unless_asked() {
    let simulator = fleet();
    for (body, count) in [
        (json!({}), 10),
        (json!({ "PageNumber": 2 }), 2),
        (json!({ "PageNumber": 3 }), 0),
        (json!({ "PageSize": 1000 }), 12),
        (json!({ "PageSize": 5, "PageNumber": 3 }), 2),
    ] {
        let told = ask(&simulator, LIST, body.clone()).await;
        assert_eq!(ids(told.result()).len(), count, "{body}");
        assert_eq!(told.result()["TotalInstancesNum"], 12);
    }
    for body in [json!({ "PageSize": 0 }), json!({ "PageSize": 1001 }), json!({ "PageNumber": 0 })] {
        assert_eq!(ask(&simulator, LIST, body).await.error(), (400, "ParamError"));
    }
    let mut empty = Ask::new(&simulator, LIST, json!({}));
    empty.body = String::new();
    assert_eq!(ids(empty.send(&simulator).await.result()).len(), 10);
}

#[tokio::test(start_paused = true)]
async fn filters_choose() {
    let simulator = fleet();
    for (body, expected) in [
        (json!({ "InstanceId": ID }), ID),
        (json!({ "InstanceId": "redis-0" }), ""),
        (json!({ "InstanceName": "e-1" }), "redis-10 redis-11"),
        (json!({ "Status": "Scaling" }), "redis-03"),
        (json!({ "ProjectName": "special" }), "redis-03"),
        (json!({ "ShardedCluster": 1 }), "redis-03"),
        (json!({ "ZoneId": "beijing-c" }), "redis-03"),
        (json!({ "TagFilters": [{ "Key": "team", "Value": "red" }] }), "redis-03"),
        (json!({ "TagFilters": [{ "Key": "team", "Value": "blue" }] }), ""),
        (json!({ "EngineVersion": "5.0" }), ""),
        (json!({ "RegionId": "cn-shanghai" }), "redis-south"),
    ] {
        let told = ask(&simulator, LIST, body.clone()).await;
        assert_eq!(ids(told.result()).join(" "), expected, "{body}");
    }
    let south = Ask::new(&simulator, LIST, json!({})).region("cn-shanghai").send(&simulator).await;
    assert_eq!(ids(south.result()), ["redis-south"]);
    let unkeyed = ask(&simulator, LIST, json!({ "TagFilters": [{}] })).await;
    assert_eq!(unkeyed.error(), (400, "ParamError"));
}

#[tokio::test(start_paused = true)]
async fn an_item_tells_what_a_client_needs() {
    let simulator = fleet();
    let told = ask(&simulator, LIST, json!({ "InstanceId": "redis-03" })).await;
    let item = &told.result()["Instances"][0];
    assert_eq!(item["Status"], "Scaling");
    assert_eq!(item["InstanceClass"], "PrimarySecondary");
    assert_eq!(item["ShardCapacity"], 512.5);
    assert_eq!(item["Capacity"], json!({ "Total": 2050, "Used": 0 }));
    assert_eq!(item["Tags"], json!([{ "Key": "team", "Value": "red" }]));
    assert_eq!(item["PrivatePort"], "6379");
    assert_eq!(item["ZoneIds"], json!(["cn-beijing-b", "cn-beijing-c"]));
}
