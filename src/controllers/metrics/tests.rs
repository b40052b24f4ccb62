//! Results of reconciles, and the metric state that is not in the watch caches.

use std::time::Duration;

use super::{ABANDONED_RETENTION, MetricsState, ended};
use crate::accounts::AccountKey;
use crate::domain::Class;
use crate::metrics::ReconcileResult;

#[test]
fn a_turn_is_told_by_its_failure_before_its_conditions() {
    let conditions = |reason, kind| [("Ready", reason), (kind, reason)];
    let told = |reason, kind, failed| ended(conditions(reason, kind).into_iter(), failed);
    assert_eq!(told("InSync", "Synced", None), ReconcileResult::Ok);
    assert_eq!(told("InSync", "Synced", Some(Class::Transient)), ReconcileResult::Transient);
    assert_eq!(told("InSync", "Synced", Some(Class::Throttled)), ReconcileResult::Throttled);
    assert_eq!(told("Listed", "Synced", Some(Class::NeedsPerson)), ReconcileResult::NeedsPerson);
    assert_eq!(told("Throttled", "Reconciling", None), ReconcileResult::Throttled);
    assert_eq!(told("InstanceNotReady", "Reconciling", None), ReconcileResult::Transient);
    assert_eq!(told("Modifying", "Reconciling", None), ReconcileResult::Waiting);
    assert_eq!(told("Modifying", "Stalled", None), ReconcileResult::NeedsPerson);
    assert_eq!(told("Suspended", "Synced", None), ReconcileResult::Ok);
}

#[test]
fn an_abandoned_instance_is_counted_by_account() {
    let metrics_state = MetricsState::default();
    let key = AccountKey { namespace: None, name: "shared".to_owned() };
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    metrics_state.abandoned(&key, now);
    metrics_state.abandoned(&key, now);
    assert_eq!(super::lock(&metrics_state.abandoned)[&key], (2, now));
    assert!(ABANDONED_RETENTION > Duration::from_secs(300), "a scrape each minute sees it");
}
