//! Listings that take long: the status meanwhile, and the events that end a listing.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, FaultSpec, ThrottleStyle};
use serde_json::{Value, json};

use super::world::{expect_all_instances, expect_all_tencent_instances};
use super::{CLOUDS, LIST, T_INSTANCE, pages};
use crate::checks::{With, expect};
use crate::harness::{INSTANCE, LIMIT, Stage, condition};

fn boom() -> Effect {
    Effect::Error { status: 500, code: "InternalError".to_owned(), message: "boom".to_owned(), code_n: None }
}

fn without_conditions(inventory: &Value) -> Value {
    let mut status = inventory["status"].clone();
    status["conditions"] = Value::Null;
    status["observedGeneration"] = Value::Null;
    status
}

/// Returns the distinct pages in order: pages are requested in parallel.
fn sorted(mut pages: Vec<i64>) -> Vec<i64> {
    pages.sort();
    pages.dedup();
    pages
}

#[tokio::test]
async fn the_first_listing_is_told_while_it_is_under_way() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-listing", "9999h").await?;
    stage.add_pages(5)?;
    for (account, _, list) in CLOUDS {
        let delay = stage.fault(list, None, Effect::Delay { seconds: 0.6 })?;
        stage.apply_inventory(account, Stage::whole(account, json!({}))).await?;
        let inventory = stage.until_inventory(account, "Listing").await?;
        expect(&inventory, "Unknown", "Listing", With::Reconciling)?;
        ensure!(inventory["status"]["total"].is_null(), "{inventory:#}");
        // Changes of annotations and labels do not restart the listing.
        stage.run(["annotate", "bkinv", account, "example.com/note=one"]).await?;
        stage.run(["label", "bkinv", account, "example.com/note=one"]).await?;
        let inventory = stage.until_inventory(account, "Listed").await?;
        expect(&inventory, "True", "Listed", With::Nothing)?;
        ensure!(inventory["status"]["total"] == 500, "{inventory:#}");
        let read = pages(&stage.asked(list));
        ensure!(read.first() == Some(&1) && sorted(read.clone()) == [1, 2, 3, 4, 5], "{read:?}");
        stage.cloud.remove_fault(delay)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_listing_that_fails_half_way_changes_the_condition_alone_and_goes_on() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-half-way", "9999h").await?;
    stage.add_pages(12)?;
    for (account, _, list) in CLOUDS {
        // First listing of a spec: six of the eight pages requested in parallel after the first page fail, twice.
        stage.place(FaultSpec::new(boom()).on_action(list).after(3).times(12))?;
        stage.place(FaultSpec::new(Effect::Delay { seconds: 1.0 }).on_action(list).after(21))?;
        stage.apply_inventory(account, Stage::whole(account, json!({}))).await?;
        let failing = stage.until_inventory(account, "CloudUnavailable").await?;
        expect(&failing, "Unknown", "CloudUnavailable", With::Reconciling)?;
        ensure!(failing["status"]["total"].is_null() && failing["status"]["items"].is_null(), "{failing:#}");
        let going_on = stage.until_inventory(account, "Listing").await?;
        expect(&going_on, "Unknown", "Listing", With::Reconciling)?;
        let before = stage.until_inventory(account, "Listed").await?;
        let read = pages(&stage.asked(list));
        ensure!(read.len() == 12 + 12, "only what failed is asked for again: {read:?}");
        ensure!(sorted(read.clone()) == (1..=12).collect::<Vec<_>>(), "{read:?}");
        // First listing of the next spec: the facts of the previous listing stay in status meanwhile.
        stage.cloud.clear_faults();
        let fault = stage.place(FaultSpec::new(boom()).on_action(list).after(4))?;
        let asked = stage.asked(list).len();
        stage.patch_inventory(account, json!({"limit": 3})).await?;
        let failing = stage.until_inventory(account, "CloudUnavailable").await?;
        expect(&failing, "Unknown", "CloudUnavailable", With::Reconciling)?;
        ensure!(without_conditions(&failing) == without_conditions(&before), "{failing:#}\n{before:#}");
        stage.cloud.remove_fault(fault)?;
        let after = stage.until_inventory(account, "Listed").await?;
        ensure!(after["status"]["items"].as_array().is_some_and(|items| items.len() == 3), "{after:#}");
        let read = pages(&stage.asked(list)[asked..]);
        ensure!(read.len() > 12 && sorted(read.clone()) == (1..=12).collect::<Vec<_>>(), "{read:?}");
        let events = stage.events(account).await?;
        ensure!(
            events.iter().any(|event| event.starts_with("ReconcileFailed: CloudUnavailable")),
            "{events:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn throttling_only_takes_time() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-throttled", "9999h").await?;
    stage.add_pages(4)?;
    for (account, _, list) in CLOUDS {
        let style = if account == "prod" { ThrottleStyle::Account200 } else { ThrottleStyle::UinLimit };
        let throttle = Effect::Throttle { style, retry_after: None };
        stage.place(FaultSpec::new(throttle).on_action(list).after(2).times(2))?;
        stage.apply_inventory(account, Stage::whole(account, json!({}))).await?;
        let inventory = stage.until_inventory(account, "Listed").await?;
        ensure!(inventory["status"]["total"] == 400, "{inventory:#}");
        let read = pages(&stage.asked(list));
        ensure!(read.len() == 6 && sorted(read.clone()) == [1, 2, 3, 4], "{read:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_inventory_and_another_spec_end_the_listing() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-given-up", "9999h").await?;
    stage.add_pages(100)?;
    stage.add_tencent_instance(json!({"instanceId": "crs-empty000"}))?;
    for (account, instance, list) in CLOUDS {
        let delay = stage.fault(list, None, Effect::Delay { seconds: 1.0 })?;
        stage.apply_inventory("long", Stage::whole(account, json!({}))).await?;
        stage.wait("some pages", || stage.calls(list) >= 3).await?;
        // The new spec needs one listing of an instance without backups.
        let one = if account == "prod" { "redis-empty" } else { "crs-empty000" };
        stage.add_instances(&["redis-empty"])?;
        stage.patch_inventory("long", json!({"scope": "Instance", "instanceId": one})).await?;
        let inventory = stage.until_inventory("long", "Listed").await?;
        ensure!(inventory["status"]["total"] == 0, "{inventory:#}");
        let asked = stage.asked(list);
        ensure!(asked.last().is_some_and(|body| body["InstanceId"] == one), "{:?}", asked.last());
        ensure!(asked.len() < 60, "{} pages", asked.len());

        stage.patch_inventory("long", json!({"instanceId": instance})).await?;
        let before = asked.len();
        stage.wait("some pages", || stage.calls(list) >= before as u64 + 3).await?;
        stage.run(["delete", "bkinv", "long"]).await?;
        let at_deletion = stage.calls(list);
        // Other listings, which the fault delays as well, give late requests time to arrive.
        stage
            .apply_inventory("next", Stage::whole(account, json!({"scope": "Instance", "instanceId": one})))
            .await?;
        for limit in 1..5 {
            stage.patch_inventory("next", json!({ "limit": limit })).await?;
            stage.until_inventory("next", "Listed").await?;
        }
        let asked = stage.asked(list).split_off(at_deletion as usize);
        let late = asked.iter().filter(|body| body["InstanceId"] == instance).count();
        ensure!(late <= 16, "{late} pages after the deletion: those in flight, and eight more");
        stage.run(["delete", "bkinv", "next"]).await?;
        stage.cloud.remove_fault(delay)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_inventory_that_moves_to_another_account_tells_of_that_alone() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-moves", "9999h").await?;
    stage.fill()?;
    stage.fill_tencent()?;
    let status = stage.listed("all", Stage::whole("prod", json!({}))).await?;
    expect_all_instances(&status)?;
    stage.apply_inventory("all", Stage::whole("tencent", json!({}))).await?;
    let status = stage.until_inventory("all", "Listed").await?["status"].clone();
    expect_all_tencent_instances(&status)?;
    ensure!(status["byStatus"]["Unavailable"].is_null() && status["total"] == 6, "{status:#}");
    stage.apply_inventory("all", Stage::whole("prod", json!({}))).await?;
    let status = stage.until_inventory("all", "Listed").await?["status"].clone();
    expect_all_instances(&status)?;
    ensure!(status["byStatus"]["Locked"].is_null() && status["total"] == 6, "{status:#}");
    Ok(())
}

#[tokio::test]
async fn a_status_that_was_emptied_is_listed_again() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-emptied", "9999h").await?;
    stage.fill()?;
    let before = stage.listed("all", json!({})).await?;
    for patch in [json!({"status": null}), json!({"status": {"total": null, "items": null}})] {
        let patch = patch.to_string();
        stage.run(["patch", "bkinv", "all", "--subresource=status", "--type=merge", "-p", &patch]).await?;
        let whole =
            |o: &Value| o["status"]["total"] == before["total"] && o["status"]["items"] == before["items"];
        stage.until("bkinv", "all", "the whole status", whole).await?;
        stage.until_inventory("all", "Listed").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_request_is_a_listing_at_once() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-request", "9999h").await?;
    stage.add_pages(1)?;
    for (account, _, list) in CLOUDS {
        stage.listed(account, Stage::whole(account, json!({}))).await?;
        let before = stage.calls(list);
        stage.request_now("bkinv", account, "one").await?;
        stage.until_handled("bkinv", account, "one").await?;
        ensure!(stage.calls(list) == before + 1, "{} listings", stage.calls(list) - before);
        // A failed listing counts as handled; a failure changes the condition only when the facts are stale.
        stage.fault(list, Some(1), boom())?;
        stage.request_now("bkinv", account, "two").await?;
        let inventory = stage.until_handled("bkinv", account, "two").await?;
        expect(&inventory, "True", "Listed", With::Nothing)?;
        // Requests that arrive during a listing are served by the next one.
        stage.wait("the next try", || stage.calls(list) == before + 3).await?;
        match account {
            "prod" => stage.add_backup("b-more", 1.0)?,
            _ => stage.add_tencent_backup(
                json!({"backupId": "t-more", "instanceId": T_INSTANCE, "ageSeconds": 1}),
            )?,
        }
        stage.request_now("bkinv", account, "three").await?;
        let inventory = stage.until_handled("bkinv", account, "three").await?;
        ensure!(inventory["status"]["total"] == 101, "{inventory:#}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_suspended_is_not_asked_for() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-suspended", "1s").await?;
    stage.listed("all", json!({})).await?;
    let one = json!({"scope": "Instance", "instanceId": INSTANCE});
    stage.listed("one", one.clone()).await?;
    stage.patch_inventory("all", json!({"suspend": true})).await?;
    let inventory = stage.until_inventory("all", "Suspended").await?;
    expect(&inventory, "Unknown", "Suspended", With::Nothing)?;
    ensure!(inventory["status"]["total"] == 0, "what was found stays: {inventory:#}");
    let of_all = || stage.asked(LIST).iter().filter(|body| body["Scope"] == "AccountInstances").count();
    let before = of_all();
    stage.request_now("bkinv", "all", "unhandled").await?;
    let listings = stage.calls(LIST);
    stage.wait("listings of the other", || stage.calls(LIST) >= listings + 3).await?;
    ensure!(of_all() == before, "{} listings", of_all() - before);
    let inventory = stage.get("bkinv", "all").await?;
    ensure!(inventory["status"]["lastHandledReconcileAt"].is_null(), "{inventory:#}");
    // Scope Account.
    stage.patch_inventory("all", json!({"suspend": false})).await?;
    stage.until_inventory("all", "Listed").await?;
    stage.until_handled("bkinv", "all", "unhandled").await?;
    stage.patch_account(json!({"suspend": true})).await?;
    for name in ["all", "one"] {
        let inventory = stage.until_inventory(name, "Suspended").await?;
        expect(&inventory, "Unknown", "Suspended", With::Nothing)?;
    }
    let of_key = || stage.cloud.counters().by_key[crate::harness::KEY_ID];
    let before = of_key();
    stage.apply_inventory("later", one).await?;
    stage.until_inventory("later", "Suspended").await?;
    stage.listed("tencent", Stage::whole("tencent", json!({}))).await?;
    ensure!(of_key() == before, "{} calls", of_key() - before);
    stage.patch_account(json!({"suspend": false})).await?;
    for name in ["all", "one", "later"] {
        let inventory = stage.until_inventory(name, "Listed").await?;
        ensure!(condition(&inventory, "Reconciling").is_null(), "{inventory:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_listing_under_way_does_not_hold_up_the_end_of_the_operator() -> Result<()> {
    let mut stage = Stage::running("inv-stopped").await?;
    stage.add_pages(100)?;
    stage.place(FaultSpec::new(Effect::Hang { after_effect: false }).on_action(LIST).after(3))?;
    let mut account = stage.account_manifest();
    account["spec"]["requestTimeout"] = json!("60s");
    stage.apply(account).await?;
    stage.apply_inventory("long", Stage::whole("prod", json!({}))).await?;
    stage.wait("a page that is never answered", || stage.calls(LIST) >= 4).await?;
    let status = stage.operator().terminate(LIMIT).await?;
    ensure!(status.success(), "{status}");
    ensure!(!stage.log().contains("did not end in time"), "{}", stage.log_tail());
    Ok(())
}
