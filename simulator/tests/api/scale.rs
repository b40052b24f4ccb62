//! Lists an account's 100,000 backups page by page, for each cloud.

use std::time::Instant;

use cloud_simulator::{
    BackupSpec, InstanceSpec, Seed, Simulator, TencentBackupSpec, TencentInstanceSpec, TencentSeed,
};
use serde_json::{Value, json};

use crate::{client, tencent_client};

const INSTANCES: usize = 2_000;
const BACKUPS: usize = 100_000;
const PAGE: usize = 100;

fn names(kind: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{kind}-{number}")).collect()
}

/// Seeds, then reads all pages; checks that each backup is listed once, newest first.
async fn read_all(
    cloud: &str,
    simulator: Simulator,
    seed: Seed,
    page: impl AsyncFn(&Simulator, usize) -> Vec<(String, String)>,
) {
    let begun = Instant::now();
    simulator.seed(seed).unwrap();
    let seeded = begun.elapsed();
    let mut seen = Vec::new();
    for number in 0..BACKUPS / PAGE {
        seen.extend(page(&simulator, number).await);
    }
    println!("{cloud}: seeded in {seeded:?}, read in {:?}", begun.elapsed() - seeded);
    assert!(seen.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    let mut ids: Vec<_> = seen.into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), BACKUPS);
}

fn items(list: &Value, id: &str) -> Vec<(String, String)> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|item| (text(item, id), text(item, "StartTime"))).collect()
}

#[tokio::test(start_paused = true)]
async fn all_pages_of_volcengine() {
    let instances = names("redis", INSTANCES);
    let backup = |(number, id): (usize, String)| {
        BackupSpec::new(id, &instances[number % INSTANCES], (number * 7_919 % BACKUPS) as f64)
    };
    let seed = Seed {
        backups: names("b", BACKUPS).into_iter().enumerate().map(backup).collect(),
        instances: instances.iter().map(|id| InstanceSpec::new(id, "cn-beijing")).collect(),
        ..Seed::default()
    };
    read_all("volcengine", client::cloud(), seed, async |simulator, number| {
        let body = json!({ "Scope": "AccountInstances", "PageSize": PAGE, "PageNumber": number + 1 });
        let told = client::ask(simulator, client::BACKUPS, body).await;
        assert_eq!(told.result()["Total"], BACKUPS);
        items(&told.result()["Backups"], "BackupPointId")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_pages_of_tencent() {
    let instances = names("crs", INSTANCES);
    let backup = |(number, id): (usize, String)| TencentBackupSpec {
        status: 1 + (number % 2) as i64,
        ..TencentBackupSpec::new(id, &instances[number % INSTANCES], (number * 7_919 % BACKUPS) as f64)
    };
    let tencent = TencentSeed {
        backups: names("b", BACKUPS).into_iter().enumerate().map(backup).collect(),
        instances: instances.iter().map(|id| TencentInstanceSpec::new(id, "ap-guangzhou")).collect(),
    };
    let seed = Seed { tencent, ..Seed::default() };
    read_all("tencent", tencent_client::cloud(), seed, async |simulator, number| {
        let body = json!({ "Limit": PAGE, "Offset": number * PAGE, "Status": [1, 2] });
        let told = tencent_client::ask(simulator, tencent_client::BACKUPS, body).await;
        assert_eq!(told.response()["TotalCount"], BACKUPS);
        items(&told.response()["BackupSet"], "BackupId")
    })
    .await;
}
