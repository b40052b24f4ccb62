//! Inventories that a listing of all backups serves: its pages are counted for them as they arrive.

use std::sync::Arc;

use jiff::Timestamp;

use super::RegionLister;
use crate::controllers::inventory::InventoryMailbox;
use crate::domain::{Backup, Failure};
use crate::plan::shared_listing::{InventorySelector, TallyBuilder};

pub struct ServedInventories<'a> {
    region: &'a RegionLister,
    /// Mailboxes, each with the UID of its inventory.
    mailboxes: Vec<(Arc<str>, Arc<InventoryMailbox>)>,
    tallies: TallyBuilder,
    answered: u64,
    /// A call failed, and none was answered since.
    failing: bool,
}

impl<'a> ServedInventories<'a> {
    /// Starts a listing for these inventories, which stop waiting: a later request is for another listing.
    pub fn begin(region: &'a RegionLister, uids: &[Arc<str>], began: Timestamp) -> Self {
        let mut state = region.state();
        let (mut mailboxes, mut inventories) = (Vec::new(), Vec::<InventorySelector>::new());
        for uid in uids {
            let Some(inventory) = state.inventories.get(uid) else { continue };
            inventory.mailbox.listing_started();
            mailboxes.push((uid.clone(), inventory.mailbox.clone()));
            inventories.push(inventory.what.clone());
            state.inventories.stop_waiting(uid);
        }
        drop(state);
        Self {
            region,
            mailboxes,
            tallies: TallyBuilder::new(&inventories, began),
            answered: 0,
            failing: false,
        }
    }

    /// Returns whether one of them still has the subscription that it had when the listing began.
    pub fn has_subscribers(&self) -> bool {
        let state = self.region.state();
        let takes_part = |uid: &str, mailbox: &Arc<InventoryMailbox>| {
            state.inventories.get(uid).is_some_and(|inventory| Arc::ptr_eq(&inventory.mailbox, mailbox))
        };
        self.mailboxes.iter().any(|(uid, mailbox)| takes_part(uid, mailbox))
    }

    pub fn answered(&mut self) {
        self.answered += 1;
        if std::mem::take(&mut self.failing) {
            self.mailboxes.iter().for_each(|(_, mailbox)| mailbox.resumed(self.answered));
        }
    }

    pub fn failed(&mut self, failure: &Failure) {
        let again = std::mem::replace(&mut self.failing, true);
        let answered = Some(self.answered).filter(|answered| !again && *answered > 0);
        self.mailboxes.iter().for_each(|(_, mailbox)| mailbox.failed(failure.clone(), answered));
    }

    pub fn add(&mut self, backups: Vec<Backup>) {
        self.tallies.add(backups);
    }

    pub fn begin_again(&mut self) {
        self.tallies.begin_again();
    }

    /// Delivers the complete listing to the inventories whose namespace is still `admitted`.
    pub fn end(mut self, moved: bool, began: Timestamp, admitted: impl Fn(&str) -> bool) {
        let mailboxes = std::mem::take(&mut self.mailboxes);
        let tallies = std::mem::replace(&mut self.tallies, TallyBuilder::new(&[], began));
        for ((uid, mailbox), tallied) in mailboxes.into_iter().zip(tallies.end(moved)) {
            if !admitted(mailbox.namespace()) {
                mailbox.listing_incomplete();
                continue;
            }
            mailbox.deliver(tallied, self.answered);
            let mut state = self.region.state();
            if state.inventories.get(&uid).is_some_and(|inventory| Arc::ptr_eq(&inventory.mailbox, &mailbox))
            {
                state.inventories.record_shared_listing(&uid, began);
            }
        }
    }
}

impl Drop for ServedInventories<'_> {
    /// Notifies the inventories that were not served, however the listing ended: they request another one if they
    /// need it.
    fn drop(&mut self) {
        self.mailboxes.iter().for_each(|(_, mailbox)| mailbox.listing_incomplete());
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, inventory, region};
    use super::*;
    use crate::controllers::inventory::TallyResult;
    use crate::domain::Kind;

    fn uids(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn backup() -> Backup {
        Backup { instance_id: "redis-a".to_owned(), backup_point_id: "b-1".to_owned(), ..Backup::default() }
    }

    /// Number of backups in the delivered result.
    fn delivered(mailbox: &InventoryMailbox) -> Option<i64> {
        match mailbox.take() {
            Some(TallyResult::Complete { tallied, .. }) => Some(tallied.whole.total()),
            _ => None,
        }
    }

    #[test]
    fn a_listing_is_told_to_those_that_it_began_for_and_who_may_still_have_it() {
        let region = region(1);
        let [search, revoked, changed] =
            ["search", "revoked", "changed"].map(|name| inventory(&region, name, 10));
        let mut served = ServedInventories::begin(&region, &uids(&["search", "revoked", "changed"]), at(600));
        let late = inventory(&region, "late", 10);
        region.state().inventories.unsubscribe("changed");
        let anew = inventory(&region, "changed", 10);
        served.answered();
        served.add(vec![backup()]);
        served.end(false, at(600), |namespace| namespace != "revoked");
        assert_eq!(
            [&search, &revoked, &late, &anew].map(|mailbox| delivered(mailbox)),
            [Some(1), None, None, None]
        );
        drop(changed);
        let read = |name: &str| region.state().inventories.get(name).and_then(|inventory| inventory.read);
        assert_eq!(
            ["search", "revoked", "late", "changed"].map(read),
            [Some(at(600)), Some(at(0)), Some(at(0)), Some(at(0))]
        );
    }

    #[test]
    fn who_asks_while_a_listing_is_under_way_waits_for_the_next_one() {
        let region = region(1);
        let mailbox = inventory(&region, "search", 10);
        region.state().inventories.request_urgent("search", at(0));
        let served = ServedInventories::begin(&region, &uids(&["search"]), at(1));
        assert_eq!(region.state().waiting(), 0);
        assert!(mailbox.request_listing(Some("now".to_owned())));
        region.state().inventories.request_urgent("search", at(2));
        served.end(false, at(1), |_| true);
        assert_eq!((delivered(&mailbox), region.state().waiting()), (Some(0), 1));
    }

    #[test]
    fn a_listing_for_nobody_is_not_wanted() {
        let region = region(1);
        inventory(&region, "search", 10);
        let served = ServedInventories::begin(&region, &uids(&["search"]), at(1));
        assert!(served.has_subscribers());
        region.state().inventories.unsubscribe("search");
        assert!(!served.has_subscribers());
        inventory(&region, "search", 10);
        assert!(!served.has_subscribers(), "it came later");
    }

    #[test]
    fn a_failure_is_told_and_that_it_goes_on() {
        let region = region(1);
        let mailbox = inventory(&region, "search", 10);
        let mut served = ServedInventories::begin(&region, &uids(&["search"]), at(1));
        let failure = Failure::by_code(Kind::CloudUnavailable, "DescribeCrossRegionBackups", "InternalError");
        served.answered();
        assert!(mailbox.take().is_none());
        served.failed(&failure);
        assert!(matches!(mailbox.take(), Some(TallyResult::Failed { answered: Some(1), .. })));
        served.failed(&failure);
        assert!(
            matches!(mailbox.take(), Some(TallyResult::Failed { answered: None, .. })),
            "nothing but failures since"
        );
        served.answered();
        assert!(matches!(mailbox.take(), Some(TallyResult::Resumed { answered: 2 })));
        assert!(!mailbox.request_listing(None), "it is under way");
        drop(served);
        assert!(mailbox.request_listing(None), "it was given up");
    }
}
