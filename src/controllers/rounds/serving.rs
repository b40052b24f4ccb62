//! Inventories that a listing of all backups serves: its pages are counted for them as they arrive.

use std::sync::Arc;

use jiff::Timestamp;

use super::Region;
use crate::controllers::inventory::Tray;
use crate::domain::{Backup, Failure};
use crate::plan::round::{Tallies, Tap};

pub struct Serving<'a> {
    region: &'a Region,
    /// Mailboxes, each with the UID of its inventory.
    trays: Vec<(Arc<str>, Arc<Tray>)>,
    tallies: Tallies,
    answered: u64,
    /// A call failed, and none was answered since.
    failing: bool,
}

impl<'a> Serving<'a> {
    /// Starts a listing for these inventories, which stop waiting: a later request is for another listing.
    pub fn begin(region: &'a Region, uids: &[Arc<str>], began: Timestamp) -> Self {
        let mut state = region.state();
        let (mut trays, mut taps) = (Vec::new(), Vec::<Tap>::new());
        for uid in uids {
            let Some(tap) = state.taps.get(uid) else { continue };
            tap.desk.begins();
            trays.push((uid.clone(), tap.desk.clone()));
            taps.push(tap.what.clone());
            state.taps.give_up(uid);
        }
        drop(state);
        Self { region, trays, tallies: Tallies::new(&taps, began), answered: 0, failing: false }
    }

    /// Returns whether one of them still has the subscription that it had when the listing began.
    pub fn is_wanted(&self) -> bool {
        let state = self.region.state();
        let takes_part =
            |uid: &str, tray: &Arc<Tray>| state.taps.get(uid).is_some_and(|tap| Arc::ptr_eq(&tap.desk, tray));
        self.trays.iter().any(|(uid, tray)| takes_part(uid, tray))
    }

    pub fn answered(&mut self) {
        self.answered += 1;
        if std::mem::take(&mut self.failing) {
            self.trays.iter().for_each(|(_, tray)| tray.goes_on(self.answered));
        }
    }

    pub fn failed(&mut self, failure: &Failure) {
        let again = std::mem::replace(&mut self.failing, true);
        let answered = Some(self.answered).filter(|answered| !again && *answered > 0);
        self.trays.iter().for_each(|(_, tray)| tray.failed(failure.clone(), answered));
    }

    pub fn add(&mut self, backups: Vec<Backup>) {
        self.tallies.add(backups);
    }

    pub fn begin_again(&mut self) {
        self.tallies.begin_again();
    }

    /// Delivers the complete listing to the inventories whose namespace is still `admitted`.
    pub fn end(mut self, moved: bool, began: Timestamp, admitted: impl Fn(&str) -> bool) {
        let trays = std::mem::take(&mut self.trays);
        let tallies = std::mem::replace(&mut self.tallies, Tallies::new(&[], began));
        for ((uid, tray), tallied) in trays.into_iter().zip(tallies.end(moved)) {
            if !admitted(tray.namespace()) {
                tray.given_up();
                continue;
            }
            tray.deliver(tallied, self.answered);
            let mut state = self.region.state();
            if state.taps.get(&uid).is_some_and(|tap| Arc::ptr_eq(&tap.desk, &tray)) {
                state.taps.was_served(&uid, began);
            }
        }
    }
}

impl Drop for Serving<'_> {
    /// Notifies the inventories that were not served, however the listing ended: they request another one if they
    /// need it.
    fn drop(&mut self) {
        self.trays.iter().for_each(|(_, tray)| tray.given_up());
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, region, tap};
    use super::*;
    use crate::controllers::inventory::Brought;
    use crate::domain::Kind;

    fn uids(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn backup() -> Backup {
        Backup { instance_id: "redis-a".to_owned(), backup_point_id: "b-1".to_owned(), ..Backup::default() }
    }

    /// Number of backups in the delivered result.
    fn told(tray: &Tray) -> Option<i64> {
        match tray.take() {
            Some(Brought::Tallied { tallied, .. }) => Some(tallied.whole.total()),
            _ => None,
        }
    }

    #[test]
    fn a_listing_is_told_to_those_that_it_began_for_and_who_may_still_have_it() {
        let region = region(1);
        let [search, revoked, changed] = ["search", "revoked", "changed"].map(|name| tap(&region, name, 10));
        let mut serving = Serving::begin(&region, &uids(&["search", "revoked", "changed"]), at(600));
        let late = tap(&region, "late", 10);
        region.state().taps.leave("changed");
        let anew = tap(&region, "changed", 10);
        serving.answered();
        serving.add(vec![backup()]);
        serving.end(false, at(600), |namespace| namespace != "revoked");
        assert_eq!([&search, &revoked, &late, &anew].map(|tray| told(tray)), [Some(1), None, None, None]);
        drop(changed);
        let read = |name: &str| region.state().taps.get(name).and_then(|tap| tap.read);
        assert_eq!(
            ["search", "revoked", "late", "changed"].map(read),
            [Some(at(600)), Some(at(0)), Some(at(0)), Some(at(0))]
        );
    }

    #[test]
    fn who_asks_while_a_listing_is_under_way_waits_for_the_next_one() {
        let region = region(1);
        let tray = tap(&region, "search", 10);
        region.state().taps.want("search", at(0));
        let serving = Serving::begin(&region, &uids(&["search"]), at(1));
        assert_eq!(region.state().waiting(), 0);
        assert!(tray.asks(Some("now".to_owned())));
        region.state().taps.want("search", at(2));
        serving.end(false, at(1), |_| true);
        assert_eq!((told(&tray), region.state().waiting()), (Some(0), 1));
    }

    #[test]
    fn a_listing_for_nobody_is_not_wanted() {
        let region = region(1);
        tap(&region, "search", 10);
        let serving = Serving::begin(&region, &uids(&["search"]), at(1));
        assert!(serving.is_wanted());
        region.state().taps.leave("search");
        assert!(!serving.is_wanted());
        tap(&region, "search", 10);
        assert!(!serving.is_wanted(), "it came later");
    }

    #[test]
    fn a_failure_is_told_and_that_it_goes_on() {
        let region = region(1);
        let tray = tap(&region, "search", 10);
        let mut serving = Serving::begin(&region, &uids(&["search"]), at(1));
        let failure = Failure::by_code(Kind::CloudUnavailable, "DescribeCrossRegionBackups", "InternalError");
        serving.answered();
        assert!(tray.take().is_none());
        serving.failed(&failure);
        assert!(matches!(tray.take(), Some(Brought::Failed { answered: Some(1), .. })));
        serving.failed(&failure);
        assert!(
            matches!(tray.take(), Some(Brought::Failed { answered: None, .. })),
            "nothing but failures since"
        );
        serving.answered();
        assert!(matches!(tray.take(), Some(Brought::GoesOn { answered: 2 })));
        assert!(!tray.asks(None), "it is under way");
        drop(serving);
        assert!(tray.asks(None), "it was given up");
    }
}
