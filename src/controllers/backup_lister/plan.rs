//! Plans one pass over an account and region: the subscribers that are due, and the strategy.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::RegionLister;
use super::listing::ListRequest;
use crate::cloud::Site;
use crate::controllers::policy::Mailbox;
use crate::controllers::sharing::Purpose;
use crate::plan::shared_listing::{ListStrategy, TOTAL_TTL, list_strategy, pages};
use crate::plan::since;

/// A policy whose listing is due.
pub struct DuePolicy {
    pub mailbox: Arc<Mailbox>,
    pub instance: Arc<str>,
}

pub struct PassPlan {
    pub due: Vec<DuePolicy>,
    /// UIDs of the inventories that a listing serves, if one is made.
    pub inventories: Vec<Arc<str>>,
    /// Namespaces and purposes that a listing would be made for: it continues as long as one of them may use the
    /// account.
    pub users: Vec<(String, Purpose)>,
    pub list_strategy: ListStrategy,
    pub list_request: ListRequest,
}

/// Plans a pass. `hurried`: only for subscribers that wait. Subscribers that are not `admitted` are left out.
pub fn plan(
    region: &RegionLister,
    site: Option<Site>,
    urgent: bool,
    now: Timestamp,
    admitted: impl Fn(&str, Purpose) -> bool,
) -> PassPlan {
    let state = region.state();
    let shortest = state.shortest().unwrap_or_default();
    let (mut due, mut separate_calls, mut instances) = (Vec::new(), 0_u64, HashSet::new());
    for uid in state.subscribers.due(urgent, shortest, now) {
        let Some(subscriber) = state.subscribers.get(&uid) else { continue };
        if !admitted(subscriber.mailbox.namespace(), Purpose::Observe) {
            continue;
        }
        if instances.insert(&subscriber.what) {
            separate_calls = separate_calls.saturating_add(subscriber.calls);
        }
        due.push(DuePolicy { mailbox: subscriber.mailbox.clone(), instance: subscriber.what.clone() });
    }
    let total = state.total.filter(|(_, at)| since(*at, now) < TOTAL_TTL);
    let refused = state.refused_until.is_some_and(|until| until > now);
    let known = total.map(|(total, _)| pages(total)).or(refused.then_some(u64::MAX));
    let for_policies = list_strategy(known, separate_calls) == ListStrategy::Listing;
    let mut users = HashSet::new();
    if for_policies {
        users.extend(
            state
                .subscribers
                .iter()
                .map(|(_, subscriber)| (subscriber.mailbox.namespace(), Purpose::Observe)),
        );
    }
    let (mut inventories, mut waits) = (Vec::new(), urgent);
    for uid in state.inventories.due(false, shortest, now) {
        let Some(inventory) = state.inventories.get(&uid) else { continue };
        if !admitted(inventory.mailbox.namespace(), Purpose::AccountInventory) {
            continue;
        }
        // An urgent listing also serves the inventories that are due by their interval, but is not made for them.
        if inventory.waits || !urgent {
            separate_calls = separate_calls.saturating_add(inventory.calls);
        }
        users.insert((inventory.mailbox.namespace(), Purpose::AccountInventory));
        waits |= inventory.waits;
        inventories.push(uid);
    }
    let users = users.into_iter().map(|(namespace, purpose)| (namespace.to_owned(), purpose)).collect();
    // Policies are created together: more may subscribe while a listing for the first ones is in progress.
    let may_come = urgent && state.subscribers.waiting() > 0;
    let instances = (!may_come).then(|| state.subscribers.iter().map(|(_, m)| m.what.clone()).collect());
    let list_request =
        ListRequest { site, began: now, separate_calls, urgent: waits, for_policies, instances };
    PassPlan { due, inventories, users, list_strategy: list_strategy(known, separate_calls), list_request }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, inventory, policies, region};
    use super::*;

    fn planned(region: &RegionLister, urgent: bool, minutes: i64) -> PassPlan {
        plan(region, Some(Site::Volcengine), urgent, at(60 * minutes), |namespace, purpose| {
            namespace != "revoked" && (namespace != "observer" || purpose == Purpose::Observe)
        })
    }

    #[test]
    fn an_inventory_whose_turn_it_is_needs_the_whole_listing() {
        let region = region(56_000);
        policies(&region, "payments", 3);
        inventory(&region, "search", 60);
        let early = planned(&region, false, 10);
        assert_eq!(
            (early.list_strategy, early.inventories.len(), early.due.len()),
            (ListStrategy::PerInstance, 0, 3)
        );
        let late = planned(&region, false, 55);
        assert_eq!(
            (late.list_strategy, late.inventories, late.list_request.for_policies),
            (ListStrategy::Listing, vec!["search".into()], false)
        );
        assert_eq!(
            late.users,
            [("search".to_owned(), Purpose::AccountInventory)],
            "three policies need none"
        );
        assert!(
            !late.list_request.urgent
                && late.list_request.instances.is_some_and(|instances| instances.len() == 3)
        );
    }

    #[test]
    fn a_listing_for_policies_serves_the_inventories_whose_turn_it_is() {
        let region = region(5_000);
        policies(&region, "payments", 80);
        inventory(&region, "search", 10);
        let uids: Vec<_> = region.state().subscribers.iter().map(|(uid, _)| uid.clone()).collect();
        uids.iter().for_each(|uid| region.state().subscribers.request_urgent(uid, at(590)));
        let plan = planned(&region, true, 10);
        assert!(
            plan.list_request.for_policies && plan.list_request.separate_calls == 80,
            "no inventory waits"
        );
        assert_eq!((plan.inventories.as_slice(), plan.users.len()), (["search".into()].as_slice(), 2));
        assert!(plan.list_request.urgent && plan.list_request.instances.is_none(), "more may come");
    }

    #[test]
    fn who_asks_is_listed_for_at_once_and_who_is_not_admitted_is_not() {
        let region = region(5_000);
        for namespace in ["search", "observer", "revoked"] {
            inventory(&region, namespace, 10);
        }
        policies(&region, "revoked", 80);
        for namespace in ["observer", "revoked"] {
            region.state().inventories.request_urgent(namespace, at(0));
        }
        let nobody = planned(&region, true, 1);
        assert_eq!((nobody.list_request.separate_calls, nobody.inventories.len()), (0, 0));
        region.state().inventories.request_urgent("search", at(0));
        let plan = planned(&region, true, 1);
        assert_eq!(
            (plan.list_strategy, plan.inventories, plan.due.len()),
            (ListStrategy::Listing, vec!["search".into()], 0)
        );
        assert_eq!(plan.users, [("search".to_owned(), Purpose::AccountInventory)]);
    }
}
