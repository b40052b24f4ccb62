//! Refusals of the cloud: the inventory reports each one and retries.

use anyhow::{Result, ensure};
use cloud_simulator::Effect;
use serde_json::{Value, json};

use super::{CLOUDS, INSTANCES, T_DETAIL, T_INSTANCE, T_INSTANCES, T_LIST, T_SECRET_ID};
use crate::checks::{With, expect, message};
use crate::harness::{KEY_ID, Stage, condition};
use crate::rest::writes;

fn key_of(account: &str) -> &'static str {
    if account == "tencent" { T_SECRET_ID } else { KEY_ID }
}

impl Stage<'_> {
    fn deny_to(&self, account: &str, action: &str) -> Result<()> {
        Ok(self.cloud.deny(key_of(account), [action.to_owned()].into())?)
    }

    fn allow_to(&self, account: &str, action: &str) -> Result<()> {
        Ok(self.cloud.allow(key_of(account), [action.to_owned()].into())?)
    }
}

#[tokio::test]
async fn what_is_not_permitted_is_named_and_taken_up_on_request() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-denied", "9999h").await?;
    stage.add_pages(1)?;
    for (account, _, list) in CLOUDS {
        let instances = if account == "tencent" { T_INSTANCES } else { INSTANCES };
        for (number, action) in [list, instances].into_iter().enumerate() {
            let name = format!("{account}-{number}");
            stage.deny_to(account, action)?;
            stage.apply_inventory(&name, Stage::whole(account, json!({}))).await?;
            let inventory = stage.until_inventory(&name, "PermissionDenied").await?;
            expect(&inventory, "False", "PermissionDenied", With::Stalled)?;
            ensure!(message(&inventory).contains(action), "{action}: {inventory:#}");
            stage.until_event(&name, "ReconcileFailed: PermissionDenied").await?;
            stage.allow_to(account, action)?;
            stage.request_now("bkinv", &name, "allowed").await?;
            let inventory = stage.until_inventory(&name, "Listed").await?;
            ensure!(inventory["status"]["total"] == 100, "{inventory:#}");
            ensure!(inventory["status"]["lastHandledReconcileAt"] == "allowed", "{inventory:#}");
        }
    }
    stage.deny_to("tencent", T_DETAIL)?;
    let spec = json!({"includeDetails": true, "limit": 2});
    stage.apply_inventory("details", Stage::whole("tencent", spec)).await?;
    let inventory = stage.until_inventory("details", "PermissionDenied").await?;
    ensure!(message(&inventory).contains(T_DETAIL), "{inventory:#}");
    Ok(())
}

#[tokio::test]
async fn what_was_listed_once_is_not_called_listed_until_it_is_again() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-not-again", "9999h").await?;
    stage.add_pages(1)?;
    for (account, _, list) in CLOUDS {
        stage.listed(account, Stage::whole(account, json!({}))).await?;
        stage.deny_to(account, list)?;
        stage.request_now("bkinv", account, "one").await?;
        let denied = stage.until_inventory(account, "PermissionDenied").await?;
        ensure!(denied["status"]["total"] == 100, "what was found stays: {denied:#}");
        stage.until_handled("bkinv", account, "one").await?;
        let before = writes(&stage, &format!("{account}-before")).await?.len();
        // The delayed answer leaves time to observe the statuses written before it.
        let delay = stage.fault(list, None, Effect::Delay { seconds: 1.5 })?;
        stage.request_now("bkinv", account, "two").await?;
        let mut said = Vec::new();
        let look = |o: &Value| {
            said.push(condition(o, "Ready")["reason"].to_string());
            o["status"]["lastHandledReconcileAt"] == "two"
        };
        stage.until("bkinv", account, "the second request", look).await?;
        ensure!(said.iter().all(|reason| reason == "\"PermissionDenied\""), "{said:?}");
        let after = writes(&stage, &format!("{account}-after")).await?;
        ensure!(after.len() == before + 1, "{:#?}", &after[before..]);
        stage.cloud.remove_fault(delay)?;
        stage.allow_to(account, list)?;
        stage.request_now("bkinv", account, "three").await?;
        stage.until_inventory(account, "Listed").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_instance_that_comes_into_being_is_awaited() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-not-found", "9999h").await?;
    for (account, id) in [("prod", "redis-later"), ("tencent", T_INSTANCE)] {
        let spec = json!({"scope": "Instance", "instanceId": id});
        stage.apply_inventory(account, Stage::whole(account, spec)).await?;
        let inventory = stage.until_inventory(account, "InstanceNotFound").await?;
        expect(&inventory, "False", "InstanceNotFound", With::Reconciling)?;
        if account == "prod" {
            stage.add_instances(&[id])?;
        } else {
            stage.add_tencent_instance(json!({"instanceId": id}))?;
        }
        let inventory = stage.until_inventory(account, "Listed").await?;
        expect(&inventory, "True", "Listed", With::Nothing)?;
        ensure!(inventory["status"]["total"] == 0, "{inventory:#}");
    }
    ensure!(stage.calls(T_LIST) >= 2);
    Ok(())
}
