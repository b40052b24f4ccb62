//! Plans one pass over an account and region: the subscribers that are due, and the strategy.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::Region;
use super::listing::Order;
use crate::cloud::Site;
use crate::controllers::policy::Desk;
use crate::controllers::sharing::Purpose;
use crate::plan::round::{TOTAL_HOLDS, Way, pages, way};
use crate::plan::since;

/// A policy whose listing is due.
pub struct Due {
    pub desk: Arc<Desk>,
    pub instance: Arc<str>,
}

pub struct Plan {
    pub due: Vec<Due>,
    /// UIDs of the inventories that a listing serves, if one is made.
    pub taps: Vec<Arc<str>>,
    /// Namespaces and purposes that a listing would be made for: it continues as long as one of them may use the
    /// account.
    pub users: Vec<(String, Purpose)>,
    pub way: Way,
    pub order: Order,
}

/// Plans a pass. `hurried`: only for subscribers that wait. Subscribers that are not `admitted` are left out.
pub fn plan(
    region: &Region,
    site: Option<Site>,
    hurried: bool,
    now: Timestamp,
    admitted: impl Fn(&str, Purpose) -> bool,
) -> Plan {
    let state = region.state();
    let shortest = state.shortest().unwrap_or_default();
    let (mut due, mut each, mut instances) = (Vec::new(), 0_u64, HashSet::new());
    for uid in state.members.due(hurried, shortest, now) {
        let Some(member) = state.members.get(&uid) else { continue };
        if !admitted(member.desk.namespace(), Purpose::Observe) {
            continue;
        }
        if instances.insert(&member.what) {
            each = each.saturating_add(member.calls);
        }
        due.push(Due { desk: member.desk.clone(), instance: member.what.clone() });
    }
    let total = state.total.filter(|(_, at)| since(*at, now) < TOTAL_HOLDS);
    let refused = state.refused_until.is_some_and(|until| until > now);
    let known = total.map(|(total, _)| pages(total)).or(refused.then_some(u64::MAX));
    let for_policies = way(known, each) == Way::Listing;
    let mut users = HashSet::new();
    if for_policies {
        users.extend(state.members.iter().map(|(_, member)| (member.desk.namespace(), Purpose::Observe)));
    }
    let (mut taps, mut waits) = (Vec::new(), hurried);
    for uid in state.taps.due(false, shortest, now) {
        let Some(tap) = state.taps.get(&uid) else { continue };
        if !admitted(tap.desk.namespace(), Purpose::AccountInventory) {
            continue;
        }
        // An urgent listing also serves the inventories that are due by their interval, but is not made for them.
        if tap.waits || !hurried {
            each = each.saturating_add(tap.calls);
        }
        users.insert((tap.desk.namespace(), Purpose::AccountInventory));
        waits |= tap.waits;
        taps.push(uid);
    }
    let users = users.into_iter().map(|(namespace, purpose)| (namespace.to_owned(), purpose)).collect();
    // Policies are created together: more may subscribe while a listing for the first ones is in progress.
    let may_come = hurried && state.members.waiting() > 0;
    let instances = (!may_come).then(|| state.members.iter().map(|(_, m)| m.what.clone()).collect());
    let order = Order { site, began: now, each, hurried: waits, for_policies, instances };
    Plan { due, taps, users, way: way(known, each), order }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, policies, region, tap};
    use super::*;

    fn planned(region: &Region, hurried: bool, minutes: i64) -> Plan {
        plan(region, Some(Site::Volcengine), hurried, at(60 * minutes), |namespace, purpose| {
            namespace != "revoked" && (namespace != "observer" || purpose == Purpose::Observe)
        })
    }

    #[test]
    fn an_inventory_whose_turn_it_is_needs_the_whole_listing() {
        let region = region(56_000);
        policies(&region, "payments", 3);
        tap(&region, "search", 60);
        let early = planned(&region, false, 10);
        assert_eq!((early.way, early.taps.len(), early.due.len()), (Way::Each, 0, 3));
        let late = planned(&region, false, 55);
        assert_eq!(
            (late.way, late.taps, late.order.for_policies),
            (Way::Listing, vec!["search".into()], false)
        );
        assert_eq!(
            late.users,
            [("search".to_owned(), Purpose::AccountInventory)],
            "three policies need none"
        );
        assert!(!late.order.hurried && late.order.instances.is_some_and(|instances| instances.len() == 3));
    }

    #[test]
    fn a_listing_for_policies_serves_the_inventories_whose_turn_it_is() {
        let region = region(5_000);
        policies(&region, "payments", 80);
        tap(&region, "search", 10);
        let uids: Vec<_> = region.state().members.iter().map(|(uid, _)| uid.clone()).collect();
        uids.iter().for_each(|uid| region.state().members.want(uid, at(590)));
        let plan = planned(&region, true, 10);
        assert!(plan.order.for_policies && plan.order.each == 80, "no inventory waits");
        assert_eq!((plan.taps.as_slice(), plan.users.len()), (["search".into()].as_slice(), 2));
        assert!(plan.order.hurried && plan.order.instances.is_none(), "more may come");
    }

    #[test]
    fn who_asks_is_listed_for_at_once_and_who_is_not_admitted_is_not() {
        let region = region(5_000);
        for namespace in ["search", "observer", "revoked"] {
            tap(&region, namespace, 10);
        }
        policies(&region, "revoked", 80);
        for namespace in ["observer", "revoked"] {
            region.state().taps.want(namespace, at(0));
        }
        let nobody = planned(&region, true, 1);
        assert_eq!((nobody.order.each, nobody.taps.len()), (0, 0));
        region.state().taps.want("search", at(0));
        let plan = planned(&region, true, 1);
        assert_eq!((plan.way, plan.taps, plan.due.len()), (Way::Listing, vec!["search".into()], 0));
        assert_eq!(plan.users, [("search".to_owned(), Purpose::AccountInventory)]);
    }
}
