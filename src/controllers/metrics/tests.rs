//! Results of reconciles, and the metric state that is not in the watch caches.

use std::time::Duration;

use super::{Noted, REMEMBERED, ended};
use crate::domain::Class;
use crate::metrics::Ended;
use crate::observe::AccountKey;

#[test]
fn a_turn_is_told_by_its_failure_before_its_conditions() {
    let conditions = |reason, kind| [("Ready", reason), (kind, reason)];
    let told = |reason, kind, failed| ended(conditions(reason, kind).into_iter(), failed);
    assert_eq!(told("InSync", "Synced", None), Ended::Ok);
    assert_eq!(told("InSync", "Synced", Some(Class::Passing)), Ended::Passing);
    assert_eq!(told("InSync", "Synced", Some(Class::Throttled)), Ended::Throttled);
    assert_eq!(told("Listed", "Synced", Some(Class::NeedsPerson)), Ended::NeedsPerson);
    assert_eq!(told("Throttled", "Reconciling", None), Ended::Throttled);
    assert_eq!(told("InstanceNotReady", "Reconciling", None), Ended::Passing);
    assert_eq!(told("Modifying", "Reconciling", None), Ended::Waiting);
    assert_eq!(told("Modifying", "Stalled", None), Ended::NeedsPerson);
    assert_eq!(told("Suspended", "Synced", None), Ended::Ok);
}

#[test]
fn an_abandoned_instance_is_counted_by_account() {
    let noted = Noted::default();
    let key = AccountKey { namespace: None, name: "shared".to_owned() };
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    noted.abandoned(&key, now);
    noted.abandoned(&key, now);
    assert_eq!(super::lock(&noted.abandoned)[&key], (2, now));
    assert!(REMEMBERED > Duration::from_secs(300), "a scrape each minute sees it");
}
