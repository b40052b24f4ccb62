//! Streams one listing of all backups of an account in a region: a page is dropped as soon as it was compared with
//! the known fingerprints, and counted for inventories.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::RegionLister;
use super::run::deliver_failure;
use super::served_inventories::ServedInventories;
use crate::accounts::AccountClient;
use crate::cloud::{Listing, ListingProgress, MAX_CONCURRENT_PAGES, Selection, Site};
use crate::controllers::Context;
use crate::domain::Class;
use crate::plan::polling::backoff;
use crate::plan::shared_listing::{
    LISTING_STALL_TIMEOUT, ListDiff, ListPass, ListStrategy, RECORDS_PER_PAGE, Schedule, list_strategy,
};
use crate::plan::{AccountReadiness, after};

/// Upper bound on the backoff for a page after a transient failure: it is one call, which serves many.
const MAX_PAGE_BACKOFF: Duration = Duration::from_secs(30);
/// Pause after a refusal to list the account's backups; they may be permitted later.
const REFUSAL_PAUSE: Duration = Duration::from_secs(3600);

/// Outcome of a listing.
pub enum ListOutcome {
    /// Results by instance; for inventories, `moved` as in [`ListingProgress::End`]. `length`: duration without pauses.
    Listed { found: ListDiff, moved: bool, length: Duration },
    /// The instances that are due are to be listed one by one: that takes fewer calls, or only that is permitted.
    PerInstance,
    /// Calls failed for too long, or no subscriber is left.
    GivenUp,
}

/// Request for one listing.
pub struct ListRequest {
    pub site: Option<Site>,
    pub began: Timestamp,
    /// Calls that the subscribers that are due would need if each were listed separately.
    pub separate_calls: u64,
    /// A subscriber waits for the listing.
    pub urgent: bool,
    /// Policies alone justify the listing, whether inventories are served or not.
    pub for_policies: bool,
    /// Instances whose backups are compared; `None`: all, since more policies may subscribe meanwhile.
    pub instances: Option<HashSet<Arc<str>>>,
}

impl ListRequest {
    pub fn compares(&self, instance: &str) -> bool {
        self.instances.as_ref().is_none_or(|instances| instances.contains(instance))
    }

    /// Returns the instance with this id, if its backups are compared.
    fn instance(&self, id: &str) -> Option<Arc<str>> {
        match &self.instances {
            Some(instances) => instances.get(id).cloned(),
            None => Some(id.into()),
        }
    }
}

pub async fn list(
    context: &Context,
    region: &RegionLister,
    account_client: &AccountClient<'_>,
    list_request: &ListRequest,
    served: &mut ServedInventories<'_>,
) -> ListOutcome {
    let began = list_request.began;
    let selection = Selection { region: region.key.region.clone(), ..Selection::default() };
    let listing = list_request.site.map(|site| Listing::new(site, selection, Vec::new(), began));
    let Some(Ok(mut listing)) = listing else { return ListOutcome::GivenUp };
    let mut pass = ListPass::default();
    let begun = Instant::now();
    let (mut failures, mut schedule, mut answered_at) = (0, None::<Schedule>, begun);
    while listing.request().is_some() {
        let for_policies = list_request.for_policies && !region.state().subscribers.is_empty();
        if !for_policies && !served.has_subscribers() {
            return ListOutcome::GivenUp;
        }
        // Only the first page reports the total.
        let mut due = schedule.as_ref().map_or(1, |schedule| schedule.due(begun.elapsed()));
        if region.state().waiting() > 0 && schedule.is_some() {
            due = MAX_CONCURRENT_PAGES;
        }
        if let Some(schedule) = schedule.as_ref().filter(|_| due == 0) {
            tokio::select! {
                () = sleep_until(begun + schedule.next()) => {}
                // A subscriber waits for the listing.
                () = region.changed.notified() => {}
            }
            continue;
        }
        let asked = Instant::now();
        let answers = account_client.backups_pages(listing.requests(due)).await;
        if schedule.is_none()
            && let Some((request, Ok(page))) = answers.first()
        {
            let total = page.total.unwrap_or_default().max(page.records as u64);
            let calls = request.pages(total);
            let mut state = region.state();
            state.total = Some((calls.saturating_mul(RECORDS_PER_PAGE), began));
            if state.refused_until.take().is_some() {
                context.accounts.resources_changed(&region.key.account);
            }
            if list_strategy(Some(calls - 1), list_request.separate_calls) == ListStrategy::PerInstance
                && calls > 1
            {
                return ListOutcome::PerInstance;
            }
            let interval = state.shortest_own().unwrap_or_default();
            let interval = interval.max(context.accounts.budget_min_interval(&region.key.account));
            schedule = Some(Schedule::new(interval, calls, list_request.urgent, MAX_CONCURRENT_PAGES));
        }
        let size = listing.request().map(|request| request.size());
        let (steps, failure) = listing.take(answers);
        let smaller = size.zip(listing.request().map(|request| request.size()));
        if let Some(schedule) = &mut schedule {
            let took = Some(asked.elapsed())
                .filter(|_| failure.is_none() && !account_client.was_paused_since(asked));
            schedule.answered(steps.len(), took);
            if took.is_none() {
                schedule.lost(asked.elapsed());
            }
            if let Some((size, smaller)) = smaller
                && smaller < size
            {
                schedule.divide(size / smaller, begun.elapsed());
            }
            if schedule.has_estimate(begun.elapsed()) {
                region.expect(context, schedule.end(begun.elapsed()));
            }
        }
        if !steps.is_empty() {
            (failures, answered_at) = (0, Instant::now());
        }
        for step in steps {
            served.answered();
            {
                let state = region.state();
                for backup in &step.backups {
                    if let Some(instance) = list_request.instance(&backup.instance_id) {
                        pass.add(instance, state.fingerprints(&backup.instance_id), backup);
                    }
                }
            }
            served.add(step.backups);
            match step.next {
                ListingProgress::More => {}
                ListingProgress::SecondPass => {
                    pass.begin_again();
                    served.begin_again();
                    if let Some(schedule) = &mut schedule {
                        schedule.begin_again(begun.elapsed());
                    }
                }
                ListingProgress::End { moved } => {
                    let length = schedule.map(|schedule| schedule.length()).unwrap_or_default();
                    return ListOutcome::Listed { found: pass.end(moved), moved, length };
                }
            }
        }
        let Some(failure) = failure else { continue };
        served.failed(&failure);
        if failure.kind.class() == Class::NeedsPerson {
            if region.state().refused_until.replace(after(began, REFUSAL_PAUSE)).is_none() {
                context.accounts.resources_changed(&region.key.account);
            }
            return ListOutcome::PerInstance;
        }
        // A listing that progresses is completed, however long it takes.
        let late = answered_at.elapsed() > LISTING_STALL_TIMEOUT;
        if failures == 0 || late {
            deliver_failure(region, &failure);
        }
        if late || !is_open(context, region) {
            return ListOutcome::GivenUp;
        }
        failures += 1;
        let failed = Instant::now();
        tokio::select! {
            () = sleep(backoff(failures, MAX_PAGE_BACKOFF, fastrand::f64())) => {}
            // A subscriber was added, or none is left.
            () = region.changed.notified() => {}
        }
        if let Some(schedule) = &mut schedule {
            schedule.lost(failed.elapsed());
        }
    }
    ListOutcome::GivenUp
}

/// Returns whether the account is ready for calls.
fn is_open(context: &Context, region: &RegionLister) -> bool {
    let view = context.accounts.view(&region.key.account);
    view.is_some_and(|view| view.account.uid == region.key.uid && view.readiness == AccountReadiness::Open)
}
