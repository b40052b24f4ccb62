//! Overtaken operations: a write is refused as outdated, and no event reports a change, because there is none or it is
//! late; an account is suspended while it is verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use super::run::{RestartPolicy, ScenarioRun, in_own_runtime, stage};
use super::scenarios::Scenario;
use super::steps::{FLEET, Step, inventory_path};
use crate::harness::api_server::{EVENT, InjectedFault, Refusal};
use crate::harness::measurements::VERIFY;

#[test]
fn a_finalizer_whose_removal_is_refused_goes_all_the_same() {
    let scenario = Scenario::named("disabled");
    in_own_runtime(scenario.name, 1, async {
        let mut cluster = stage(&scenario);
        let mut patches = 0;
        cluster.api.inject(move |seen| {
            let is_finalizer = seen.verb == "patch" && seen.resource == "crossregionbackuppolicies";
            patches += usize::from(is_finalizer);
            let conflict = Refusal::new(409, "Conflict");
            // The first patch adds it.
            (is_finalizer && patches == 2)
                .then(|| InjectedFault { refusal: Some(conflict), ..InjectedFault::default() })
        });
        let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
        play.act(&scenario).await;
        play.run_until_idle(&scenario).await;
        play.end().await;
    });
}

#[test]
fn a_policy_that_is_gone_is_not_written_to_again_and_again_until_the_watch_says_so() {
    let scenario = Scenario::named("namesake");
    in_own_runtime(scenario.name, 1, async {
        let mut cluster = stage(&scenario);
        let mut events = 0;
        cluster.api.inject(move |seen| {
            let is_policy = seen.verb == EVENT && seen.resource == "crossregionbackuppolicies";
            events += usize::from(is_policy);
            // The first event reports the creation.
            let delay = Duration::from_secs(20);
            (is_policy && events == 2).then(|| InjectedFault { delay, ..InjectedFault::default() })
        });
        let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
        play.act(&scenario).await;
        play.pass(Duration::from_secs(15)).await;
        let mut seen = play.cluster.api.seen();
        seen.retain(|seen| seen.resource.starts_with("crossregionbackuppolicies"));
        assert!(seen.len() <= 6, "{:?}", play.cluster.api.counts());
        play.run_until_idle(&scenario).await;
        play.end().await;
    });
}

#[test]
fn nor_is_an_inventory() {
    let scenario = Scenario::named("disabled");
    in_own_runtime("an inventory that is gone", 1, async {
        let mut cluster = stage(&scenario);
        let is_late = Arc::new(AtomicBool::new(false));
        let late = is_late.clone();
        cluster.api.inject(move |seen| {
            // Neither the watch nor the list after its silence reports the deletion in time.
            let is_inventory = [EVENT, "list"].contains(&seen.verb) && seen.resource == "backupinventories";
            let delay = Duration::from_secs(150);
            (is_inventory && late.load(Relaxed)).then(|| InjectedFault { delay, ..InjectedFault::default() })
        });
        let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
        Step::CreateInventory.happen(play.cluster);
        play.pass(Duration::from_secs(65)).await;
        is_late.store(true, Relaxed);
        play.cluster.api.delete(&inventory_path());
        play.cluster.add_backup(&FLEET, 0, 7, 5.0);
        play.cluster.clear_records();
        play.pass(Duration::from_secs(120)).await;
        let writes = play.cluster.writes().len();
        assert!((1..=4).contains(&writes), "{:?}", play.cluster.api.counts());
        play.end().await;
    });
}

#[test]
fn an_account_that_is_suspended_while_its_secret_is_read_stays_so() {
    let scenario = Scenario::named("created");
    in_own_runtime("suspended meanwhile", 1, async {
        let mut cluster = stage(&scenario);
        cluster.api.inject(|seen| {
            let is_met = seen.resource == "cloudaccounts/status" || seen.verb == "get";
            is_met.then(|| InjectedFault { delay: Duration::from_secs(5), ..InjectedFault::default() })
        });
        let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
        play.act(&scenario).await;
        play.pass(Duration::from_secs(1)).await;
        Step::ChangeAccount(json!({"suspend": true})).happen(play.cluster);
        play.pass(Duration::from_secs(30)).await;
        let calls = play.cluster.arrivals.all();
        assert!(calls.iter().any(|call| call.action == VERIFY), "it was under way: {calls:?}");
        assert!(calls.iter().all(|call| call.instance.is_empty()), "{calls:?}");
        play.end().await;
    });
}
