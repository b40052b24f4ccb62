//! A stored inventory that this version cannot read.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{ControlPlane, Options, wait_until};

use super::LIST;
use crate::checks::{With, expect};
use crate::harness::{LIMIT, Stage, install};
use crate::unreadable::relax;

#[tokio::test]
async fn an_inventory_that_cannot_be_read_is_told_and_holds_nothing_up() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    install(&plane).await?;
    let mut stage = Stage::on(&plane, "inv-unreadable").await?;
    stage.flag("--resync-interval-override=1s");
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.add_backup("b-1", 60.0)?;
    let before = stage.listed("strange", json!({})).await?;
    relax(&plane, "backupinventories", "filter/properties/statuses/items").await?;
    let strange = json!({"filter": {"statuses": ["Melted"]}});
    wait_until(LIMIT, "the API server to take it", async || {
        stage.patch_inventory("strange", strange.clone()).await.map(Some)
    })
    .await?;
    let told = stage.until_inventory("strange", "InvalidRequest").await?;
    expect(&told, "False", "InvalidRequest", With::Stalled)?;
    for field in ["total", "items", "newest", "instances", "unprotected", "byStatus"] {
        ensure!(told["status"][field] == before[field], "{field}: {told:#}");
    }
    // Other inventories are listed, also by an operator that has just started.
    stage.operator().terminate(LIMIT).await?;
    stage.start_operator().await?;
    stage.listed("other", json!({})).await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    stage.request_now("bkinv", "strange", "now").await?;
    let listings = stage.calls(LIST);
    stage.wait("listings of the other", || stage.calls(LIST) >= listings + 3).await?;
    let still: Value = stage.get("bkinv", "strange").await?;
    ensure!(still["status"] == told["status"], "{still:#}");
    // With a readable spec again.
    stage.patch_inventory("strange", json!({"filter": {"statuses": ["Available"]}})).await?;
    stage.until_inventory("strange", "Listed").await.map(drop)
}
