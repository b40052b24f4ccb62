//! Status writes that are refused for a while, or whose response is lost: they are retried soon, but not without a
//! pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use super::checker::events::all_reported;
use super::convergence::check_converged;
use super::run::{RestartPolicy, ScenarioRun, in_own_runtime, stage};
use super::scenarios::Scenario;
use super::steps::Step;
use crate::harness::TestCluster;
use crate::harness::api_server::{Delivery, InjectedFault, Refusal};
use crate::harness::measurements::STATUS;

const REFUSED: Duration = Duration::from_secs(10);
const STATUSES: [&str; 3] = [STATUS, "backupinventories/status", "cloudaccounts/status"];

fn writes(cluster: &TestCluster, status: &str) -> usize {
    cluster.api.seen().iter().filter(|seen| seen.verb == "patch" && seen.resource == status).count()
}

/// Returns the number of attempts to write a kind's status while it is refused; `soon` after that, all is well.
fn tries(status: &'static str, refusal: Refusal, soon: Duration) -> usize {
    let scenario = Scenario::named("created");
    in_own_runtime(&format!("{status} is refused: {refusal:?}"), 1, async {
        let mut cluster = stage(&scenario);
        cluster.api.inject(move |seen| {
            let is_met = seen.verb == "patch" && seen.resource == status;
            is_met.then(|| InjectedFault { refusal: Some(refusal.clone()), ..InjectedFault::default() })
        });
        let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
        Step::CreateInventory.happen(play.cluster);
        play.act(&scenario).await;
        play.pass(REFUSED).await;
        let tries = writes(play.cluster, status);
        assert!(check_converged(play.cluster).is_err());
        play.cluster.api.stop_injecting();
        play.pass(soon).await;
        check_converged(play.cluster).unwrap();
        play.end().await;
        tries
    })
}

#[test]
fn one_that_is_outdated_is_told_soon() {
    for status in STATUSES {
        let tries = tries(status, Refusal::new(409, "Conflict"), Duration::from_millis(1_500));
        // At most ten per second.
        assert!((5..=105).contains(&tries), "{status}: {tries}");
    }
}

#[test]
fn one_that_fails_is_made_again_after_a_second_at_the_soonest() {
    for status in STATUSES {
        let tries = tries(status, Refusal::new(500, "InternalError"), Duration::from_secs(7));
        assert!((2..=11).contains(&tries), "{status}: {tries}");
    }
}

#[test]
fn what_nobody_heard_of_is_told_by_an_event_all_the_same() {
    let scenario = Scenario::named("created");
    for reply in [Delivery::Lost, Delivery::Half, Delivery::Silent] {
        in_own_runtime(&format!("{reply:?}"), 1, async {
            let mut cluster = stage(&scenario);
            let is_first = Arc::new(AtomicBool::new(true));
            let met = is_first.clone();
            cluster.api.inject(move |seen| {
                let is_met = seen.verb == "patch" && seen.resource == STATUS && met.swap(false, Relaxed);
                is_met.then(|| InjectedFault { reply, ..InjectedFault::default() })
            });
            let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
            play.act(&scenario).await;
            play.run_until_idle(&scenario).await;
            assert!(!is_first.load(Relaxed));
            all_reported(&play.cluster.journal.entries()).unwrap();
            play.end().await;
        });
    }
}

#[test]
fn how_a_deletion_ends_is_told_once_although_the_finalizer_cannot_be_removed() {
    let scenario = Scenario::named("disabled");
    in_own_runtime(scenario.name, 1, async {
        let mut cluster = stage(&scenario);
        let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
        let (last, before) = scenario.steps.split_last().unwrap();
        for (pause, step) in before {
            play.pass(Duration::from_millis(*pause)).await;
            step.happen(play.cluster);
        }
        play.pass(Duration::from_millis(last.0)).await;
        play.cluster.api.inject(|seen| {
            let is_finalizer = seen.verb == "patch" && seen.resource == "crossregionbackuppolicies";
            is_finalizer.then(|| InjectedFault {
                refusal: Some(Refusal::new(500, "InternalError")),
                ..InjectedFault::default()
            })
        });
        last.1.happen(play.cluster);
        play.pass(REFUSED).await;
        play.cluster.api.stop_injecting();
        // The checker detects an Event that is emitted twice.
        play.run_until_idle(&scenario).await;
        let told =
            play.cluster.api.all("events").into_iter().filter(|event| event["reason"] == "DisabledOnDelete");
        assert_eq!(told.map(|event| event["series"].clone()).collect::<Vec<_>>(), [json!(null)]);
        play.end().await;
    });
}
