//! Output of kubectl for inventories: defaults, columns, selectors, categories.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::harness::{INSTANCE, Stage};

/// Returns the cells of each row by column name; a column begins where its header does.
fn cells(table: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let mut lines = table.lines();
    let header = lines.next().context("no header")?;
    let starts: Vec<_> = header
        .char_indices()
        .filter(|(at, c)| *c != ' ' && (*at == 0 || header[..*at].ends_with("   ")))
        .map(|(at, _)| at)
        .collect();
    let cut = |line: &str| -> Vec<String> {
        let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
        let cell = |(start, end): (&usize, usize)| {
            line.get(*start..end.min(line.len())).unwrap_or("").trim().to_owned()
        };
        starts.iter().zip(ends).map(cell).collect()
    };
    let names = cut(header);
    Ok(lines.map(|line| names.iter().cloned().zip(cut(line)).collect()).collect())
}

#[tokio::test]
async fn columns_selectors_and_defaults_are_the_contracts() -> Result<()> {
    let mut stage = Stage::new("inv-shown").await?;
    stage.flag("--resync-interval-override=9999h");
    stage.apply_account().await?;
    stage.apply_inventory("all", json!({})).await?;
    let fresh = stage.get("bkinv", "all").await?;
    ensure!(fresh["status"] == json!({"observedGeneration": -1}), "{fresh:#}");
    let spec = &fresh["spec"];
    ensure!(spec["limit"] == 50 && spec["refreshInterval"] == "10m" && spec["suspend"] == false, "{spec:#}");
    ensure!(spec["includeDetails"] == false && spec["filter"].is_null(), "{spec:#}");

    stage.start_operator().await?;
    stage.add_backup("b-1", 7300.0)?;
    let one = json!({"scope": "Instance", "instanceId": INSTANCE});
    stage.listed("one", one).await?;
    stage.request_now("bkinv", "all", "now").await?;
    stage.until_handled("bkinv", "all", "now").await?;
    stage.until_inventory("all", "Listed").await?;
    let table = stage.run(["get", "bkinv"]).await?;
    let header = table.lines().next().unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(header == "NAME SCOPE INSTANCE READY REASON TOTAL SIZE NEWEST UNPROTECTED AGE", "{table}");
    let rows = cells(&table)?;
    let shown = |row: usize, column: &str| rows[row][column].clone();
    for (column, cell) in [
        ("NAME", "all"),
        ("SCOPE", "Account"),
        ("INSTANCE", ""),
        ("READY", "True"),
        ("REASON", "Listed"),
        ("TOTAL", "1"),
        ("SIZE", "474.6 KiB"),
        ("NEWEST", "121m"),
        ("UNPROTECTED", "1"),
    ] {
        ensure!(shown(0, column) == cell, "{column} is not {cell}: {table}");
    }
    ensure!(shown(1, "SCOPE") == "Instance" && shown(1, "INSTANCE") == INSTANCE, "{table}");
    ensure!(shown(1, "UNPROTECTED").is_empty() && shown(1, "NEWEST") == "121m", "{table}");

    let by_instance = format!("spec.instanceId={INSTANCE}");
    for (selector, names) in [
        (by_instance.as_str(), vec!["one"]),
        ("spec.instanceId=redis-other", vec![]),
        ("spec.region=cn-beijing,spec.accountRef.name=prod", vec!["all", "one"]),
        ("spec.region=cn-shanghai", vec![]),
        ("spec.accountRef.name=other", vec![]),
    ] {
        let found = stage.run(["get", "bkinv", "--field-selector", selector, "-o", "name"]).await?;
        let found: Vec<_> = found.lines().filter_map(|line| line.rsplit('/').next()).collect();
        ensure!(found == names, "{selector}: {found:?}");
    }
    let all = stage.run(["get", "crossregionbackup", "-o", "name"]).await?;
    ensure!(all.contains("backupinventory.crossregionbackup.io/all"), "{all}");
    Ok(())
}
