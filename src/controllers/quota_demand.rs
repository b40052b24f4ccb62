//! Quota demand of the resources of an account.

use std::collections::HashMap;
use std::time::Duration;

use super::sharing::{Admission, Purpose};
use super::{Context, inventory, policy};
use crate::accounts::AccountKey;
use crate::api::inventory::Scope;
use crate::cloud::Site;
use crate::plan::demand::Demand;

/// Backups on a page of a listing (DescribeCrossRegionBackups, DescribeInstanceBackups).
const BACKUPS_PER_PAGE: i64 = 100;
/// Upper bound on a page count taken from a status, which any writer can set: that must not slow down the other users
/// of the account.
const MAX_PAGES_OF_INSTANCE: u32 = 10;
const MAX_PAGES_OF_ACCOUNT: u32 = 1000;

/// Returns the quota demand of the resources that may use the account, at the intervals of their specs: one call for
/// each policy; the backups of all policies and inventories of a region, by a shared listing or by one listing each,
/// whichever takes fewer calls or is permitted; and the separate listings of inventories.
pub fn demands(context: &Context, key: &AccountKey) -> Vec<Demand> {
    let admitted =
        |namespace: &str, purpose: Purpose| context.admission(key, namespace, purpose) == Admission::Allowed;
    let mut regions = HashMap::<String, RegionDemand>::new();
    let mut demands = Vec::new();
    for policy in context.policies_of(key) {
        let Ok(policy) = &policy.0 else { continue };
        let spec = policy.spec();
        if spec.suspend || !admitted(policy.object_key.namespace(), policy::purpose_of(context, &spec)) {
            continue;
        }
        let demand = Demand { interval: policy::own_interval(context.interval_override, &spec), calls: 1 };
        regions.entry(spec.region).or_default().add(demand.interval, policy.listed);
        demands.push(demand);
    }
    let shares =
        context.accounts.view(key).is_some_and(|view| view.account.site().is_some_and(Site::has_policies));
    for inventory in context.inventories_of(key) {
        let Ok(inventory) = &inventory.0 else { continue };
        let spec = inventory.spec();
        if spec.suspend || !admitted(inventory.object_key.namespace(), inventory::purpose_of(&spec)) {
            continue;
        }
        let total = inventory.listed;
        let interval = inventory::own_interval(context.interval_override, &spec);
        let of_account = spec.scope == Scope::Account;
        if of_account && shares {
            regions.entry(spec.region.clone()).or_default().add_inventory(interval, total);
        }
        if !of_account || !shares || inventory::needs_own_listing(&spec) {
            let most = if of_account { MAX_PAGES_OF_ACCOUNT } else { MAX_PAGES_OF_INSTANCE };
            demands.push(Demand { interval, calls: pages(total).min(most) });
        }
    }
    for (name, region) in regions {
        let (total, refused) =
            (context.backup_lister.total(key, &name), context.backup_lister.is_refused(key, &name));
        demands.extend(region.demands(total, refused));
    }
    demands
}

/// Policies and inventories of one region of an account.
#[derive(Default)]
struct RegionDemand {
    /// Demand of each policy's own listing of backups, at the interval of its spec.
    each: Vec<Demand>,
    listed: i64,
    /// Shortest interval of the inventories that need a listing of the whole region.
    whole: Option<Duration>,
}

impl RegionDemand {
    fn add(&mut self, interval: Duration, listed: Option<i64>) {
        self.each.push(Demand { interval, calls: pages(listed).min(MAX_PAGES_OF_INSTANCE) });
        self.listed = self.listed.saturating_add(listed.unwrap_or_default().max(0));
    }

    fn add_inventory(&mut self, interval: Duration, listed: Option<i64>) {
        self.whole = Some(self.whole.map_or(interval, |whole| whole.min(interval)));
        self.listed = self.listed.max(listed.unwrap_or_default());
    }

    /// `total`: number of backups that the cloud reports; if `None`, the number that statuses report. `refused`:
    /// listing the whole account is not permitted, so that each policy lists its own backups, and inventories cost one
    /// refused call.
    fn demands(self, total: Option<u64>, refused: bool) -> Vec<Demand> {
        if refused {
            let whole = self.whole.map(|interval| Demand { interval, calls: 1 });
            return self.each.into_iter().chain(whole).collect();
        }
        let total = total.and_then(|total| i64::try_from(total).ok()).unwrap_or(self.listed);
        let listing = |interval| Demand { interval, calls: pages(Some(total)).min(MAX_PAGES_OF_ACCOUNT) };
        let whole = self.whole.map(listing);
        let Some(interval) = shortest(&self.each) else { return whole.into_iter().collect() };
        // A listing that is as frequent for inventories serves the policies as well.
        if let Some(whole) = whole.filter(|whole| whole.interval <= interval) {
            return vec![whole];
        }
        let each: f64 = self.each.iter().map(|demand| demand.rate()).sum();
        match each < listing(interval).rate() {
            true => self.each.into_iter().chain(whole).collect(),
            false => vec![listing(interval)],
        }
    }
}

pub fn shortest(demands: &[Demand]) -> Option<Duration> {
    demands.iter().map(|demand| demand.interval).min()
}

/// Returns the number of calls for a policy's own listing, if its status reports this number of backups.
pub fn calls_for_backups(listed: Option<i64>) -> u32 {
    pages(listed).min(MAX_PAGES_OF_INSTANCE)
}

fn pages(total: Option<i64>) -> u32 {
    let total = total.unwrap_or_default().max(1);
    u32::try_from((total - 1) / BACKUPS_PER_PAGE + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_read_together_where_that_takes_fewer_calls() {
        let region = |policies: usize, listed: i64| {
            let mut region = RegionDemand::default();
            (0..policies).for_each(|_| region.add(Duration::from_secs(600), Some(listed)));
            region
        };
        let calls = |demands: Vec<Demand>| demands.iter().map(|demand| demand.calls).sum::<u32>();
        assert_eq!(calls(region(2000, 14).demands(None, false)), 280);
        assert_eq!(
            calls(region(2000, 14).demands(Some(56_000), false)),
            560,
            "there are others that no policy is for"
        );
        assert_eq!(calls(region(3, 14).demands(Some(56_000), false)), 3);
        assert_eq!(calls(region(0, 0).demands(Some(56_000), false)), 0);
    }

    #[test]
    fn a_shared_listing_is_counted_once() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let told = |policies: usize, taps: &[u64]| {
            let mut region = RegionDemand::default();
            (0..policies).for_each(|_| region.add(minutes(10), Some(14)));
            taps.iter().for_each(|n| region.add_inventory(minutes(*n), Some(9_000)));
            let demands = region.demands(Some(56_000), false).into_iter();
            demands.map(|demand| (demand.interval, demand.calls)).collect::<Vec<_>>()
        };
        assert_eq!(told(0, &[30, 10, 60]), [(minutes(10), 560)]);
        assert_eq!(told(2000, &[10]), [(minutes(10), 560)], "for both");
        assert_eq!(told(2000, &[60]), [(minutes(10), 560)], "every sixth for the inventory, too");
        assert_eq!(told(2, &[5, 60]), [(minutes(5), 560)], "the policies have what they need of it");
        assert_eq!(told(2, &[60]), [(minutes(10), 1), (minutes(10), 1), (minutes(60), 560)]);
        let mut unknown = RegionDemand::default();
        unknown.add_inventory(minutes(10), Some(9_000));
        assert_eq!(
            unknown.demands(None, false).first().map(|demand| demand.calls),
            Some(90),
            "what its status tells"
        );
    }

    #[test]
    fn each_policy_has_its_own_list_where_the_accounts_listing_is_refused() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let told = |refused: bool| {
            let mut region = RegionDemand::default();
            (0..57).for_each(|_| region.add(minutes(1), Some(14)));
            region.add(minutes(10), Some(250));
            region.add_inventory(minutes(5), Some(900));
            let demands = region.demands(None, refused);
            (demands.len(), demands.iter().map(|demand| demand.rate()).sum::<f64>())
        };
        let (lists, rate) = told(true);
        assert_eq!(lists, 59, "and a call of the inventory's, which is refused");
        assert!((rate - (57.0 / 60.0 + 3.0 / 600.0 + 1.0 / 300.0)).abs() < 1e-9, "{rate}");
        assert_eq!(told(false), (1, 11.0 / 60.0), "one listing for all");
    }

    #[test]
    fn a_list_takes_a_call_for_each_page_of_what_a_status_may_be_believed_to_tell() {
        for (total, calls) in [(0, 1), (1, 1), (100, 1), (101, 2), (1000, 10), (i64::MAX, 10), (-5, 1)] {
            assert_eq!(calls_for_backups(Some(total)), calls, "{total}");
        }
        assert_eq!(calls_for_backups(None), 1);
    }
}
