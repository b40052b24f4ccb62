//! Steady state: an unchanged environment is listed again, and nothing is written.

use anyhow::{Result, ensure};
use serde_json::json;

use super::world::T_A;
use super::{CLOUDS, LIST, T_DETAIL, T_LIST};
use crate::checks::DESCRIBE;
use crate::harness::{INSTANCE, LIMIT, Stage};
use crate::rest::writes;

const ROUNDS: u64 = 10;

/// Applies inventories of every kind and waits until each has its final status.
async fn all_kinds(stage: &Stage<'_>) -> Result<()> {
    stage.fill()?;
    stage.fill_tencent()?;
    for (account, _, _) in CLOUDS {
        let instance = if account == "prod" { INSTANCE } else { T_A };
        for (name, spec) in [
            ("all", json!({"includeDetails": true})),
            (
                "some",
                json!({"filter": {"statuses": ["Available", "Creating"], "since": "8760h"}, "limit": 1}),
            ),
            ("one", json!({"scope": "Instance", "instanceId": instance, "limit": 0})),
        ] {
            stage.listed(&format!("{account}-{name}"), Stage::whole(account, spec)).await?;
        }
    }
    // Inventories that the cloud refuses; the operator retries them.
    let lacks = Stage::whole("tencent", json!({"filter": {"projectName": "p"}}));
    stage.apply_inventory("refused", lacks).await?;
    stage.until_inventory("refused", "InvalidRequest").await?;
    stage.apply_inventory("not-found", json!({"scope": "Instance", "instanceId": "redis-none-such"})).await?;
    stage.until_inventory("not-found", "InstanceNotFound").await?;
    stage.until_event("not-found", "ReconcileFailed").await?;
    stage.until_event("refused", "ReconcileFailed").await
}

impl Stage<'_> {
    /// Waits for this many more listings of every inventory. Per round, Tencent Cloud's three inventories take four
    /// calls, since one lists twice; Volcengine's take two, since the two of scope Account share a listing.
    async fn rounds(&self, rounds: u64) -> Result<()> {
        let (volcengine, tencent) = (self.calls(LIST), self.calls(T_LIST));
        self.wait("rounds of listings", || {
            self.calls(LIST) >= volcengine + 2 * rounds && self.calls(T_LIST) >= tencent + 4 * rounds
        })
        .await
    }
}

#[tokio::test]
async fn an_unchanged_world_causes_no_write_also_after_a_restart() -> Result<()> {
    let mut stage = Stage::with_both_accounts("inv-rest", "1s").await?;
    all_kinds(&stage).await?;
    let before = writes(&stage, "marker-before").await?;
    let status = |name: &str| before.iter().filter(|e| e.name == name && e.subresource == "status").count();
    for name in ["prod-all", "tencent-all", "prod-some", "tencent-some", "prod-one", "tencent-one"] {
        // One write for Listing, one for Listed.
        ensure!(status(name) == 2, "{name}: {} status writes", status(name));
    }
    stage.rounds(ROUNDS).await?;
    let after = writes(&stage, "marker-after").await?;
    ensure!(after == before, "written at rest: {:#?}", &after[before.len()..]);
    ensure!(stage.calls(DESCRIBE) == 2, "{} descriptions", stage.calls(DESCRIBE));
    ensure!(stage.calls(T_DETAIL) == 6, "{} details", stage.calls(T_DETAIL));

    stage.operator().signal(testbed::Signal::KILL)?;
    stage.operator().wait(LIMIT).await?;
    stage.start_operator().await?;
    stage.rounds(3).await?;
    let again = writes(&stage, "marker-restart").await?;
    ensure!(again == before, "written after a restart: {:#?}", &again[before.len()..]);
    ensure!(stage.calls(T_DETAIL) == 6, "{} details", stage.calls(T_DETAIL));
    Ok(())
}
