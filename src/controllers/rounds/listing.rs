//! Streams one listing of all backups of an account in a region: a page is dropped as soon as it was compared with
//! the known fingerprints, and counted for inventories.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::Region;
use super::run::tell_failure;
use super::serving::Serving;
use crate::cloud::{Listing, Next, PAGES_AT_ONCE, Selection, Site};
use crate::controllers::Context;
use crate::domain::Class;
use crate::observe::Reached;
use crate::plan::pace::backoff;
use crate::plan::round::{Finds, LONGEST, PAGE, Round, Schedule, Way, way};
use crate::plan::{Gate, after};

/// Upper bound on the backoff for a page after a transient failure: it is one call, which serves many.
const AGAIN_LONGEST: Duration = Duration::from_secs(30);
/// Pause after a refusal to list the account's backups; they may be permitted later.
const REFUSED_AGAIN: Duration = Duration::from_secs(3600);

/// Outcome of a listing.
pub enum Ended {
    /// Results by instance; for inventories, `moved` as in [`Next::End`]. `length`: duration without pauses.
    Listed { found: Finds, moved: bool, length: Duration },
    /// The instances that are due are to be listed one by one: that takes fewer calls, or only that is permitted.
    Each,
    /// Calls failed for too long, or no subscriber is left.
    GivenUp,
}

/// Request for one listing.
pub struct Order {
    pub site: Option<Site>,
    pub began: Timestamp,
    /// Calls that the subscribers that are due would need if each were listed separately.
    pub each: u64,
    /// A subscriber waits for the listing.
    pub hurried: bool,
    /// Policies alone justify the listing, whether inventories are served or not.
    pub for_policies: bool,
    /// Instances whose backups are compared; `None`: all, since more policies may subscribe meanwhile.
    pub instances: Option<HashSet<Arc<str>>>,
}

impl Order {
    pub fn looks_at(&self, instance: &str) -> bool {
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
    region: &Region,
    reached: &Reached<'_>,
    order: &Order,
    serving: &mut Serving<'_>,
) -> Ended {
    let began = order.began;
    let selection = Selection { region: region.place.region.clone(), ..Selection::default() };
    let listing = order.site.map(|site| Listing::new(site, selection, Vec::new(), began));
    let Some(Ok(mut listing)) = listing else { return Ended::GivenUp };
    let mut round = Round::default();
    let begun = Instant::now();
    let (mut failures, mut schedule, mut answered_at) = (0, None::<Schedule>, begun);
    while listing.request().is_some() {
        let for_policies = order.for_policies && !region.state().members.is_empty();
        if !for_policies && !serving.is_wanted() {
            return Ended::GivenUp;
        }
        // Only the first page reports the total.
        let mut due = schedule.as_ref().map_or(1, |schedule| schedule.due(begun.elapsed()));
        if region.state().waiting() > 0 && schedule.is_some() {
            due = PAGES_AT_ONCE;
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
        let answers = reached.backups_pages(listing.requests(due)).await;
        if schedule.is_none()
            && let Some((request, Ok(page))) = answers.first()
        {
            let total = page.total.unwrap_or_default().max(page.records as u64);
            let calls = request.pages(total);
            let mut state = region.state();
            state.total = Some((calls.saturating_mul(PAGE), began));
            if state.refused_until.take().is_some() {
                context.accounts.resources_changed(&region.place.account);
            }
            if way(Some(calls - 1), order.each) == Way::Each && calls > 1 {
                return Ended::Each;
            }
            let interval = state.shortest_own().unwrap_or_default();
            let interval = interval.max(context.accounts.budget_floor(&region.place.account));
            schedule = Some(Schedule::new(interval, calls, order.hurried, PAGES_AT_ONCE));
        }
        let size = listing.request().map(|request| request.size());
        let (steps, failure) = listing.take(answers);
        let smaller = size.zip(listing.request().map(|request| request.size()));
        if let Some(schedule) = &mut schedule {
            let took =
                Some(asked.elapsed()).filter(|_| failure.is_none() && !reached.was_paused_since(asked));
            schedule.answered(steps.len(), took);
            if took.is_none() {
                schedule.lost(asked.elapsed());
            }
            if let Some((size, smaller)) = smaller
                && smaller < size
            {
                schedule.divide(size / smaller, begun.elapsed());
            }
            if schedule.is_telling(begun.elapsed()) {
                region.expect(context, schedule.end(begun.elapsed()));
            }
        }
        if !steps.is_empty() {
            (failures, answered_at) = (0, Instant::now());
        }
        for step in steps {
            serving.answered();
            {
                let state = region.state();
                for backup in &step.backups {
                    if let Some(instance) = order.instance(&backup.instance_id) {
                        round.add(instance, state.sighted(&backup.instance_id), backup);
                    }
                }
            }
            serving.add(step.backups);
            match step.next {
                Next::More => {}
                Next::Again => {
                    round.begin_again();
                    serving.begin_again();
                    if let Some(schedule) = &mut schedule {
                        schedule.begin_again(begun.elapsed());
                    }
                }
                Next::End { moved } => {
                    let length = schedule.map(|schedule| schedule.length()).unwrap_or_default();
                    return Ended::Listed { found: round.end(moved), moved, length };
                }
            }
        }
        let Some(failure) = failure else { continue };
        serving.failed(&failure);
        if failure.kind.class() == Class::NeedsPerson {
            if region.state().refused_until.replace(after(began, REFUSED_AGAIN)).is_none() {
                context.accounts.resources_changed(&region.place.account);
            }
            return Ended::Each;
        }
        // A listing that progresses is completed, however long it takes.
        let late = answered_at.elapsed() > LONGEST;
        if failures == 0 || late {
            tell_failure(region, &failure);
        }
        if late || !is_open(context, region) {
            return Ended::GivenUp;
        }
        failures += 1;
        let failed = Instant::now();
        tokio::select! {
            () = sleep(backoff(failures, AGAIN_LONGEST, fastrand::f64())) => {}
            // A subscriber was added, or none is left.
            () = region.changed.notified() => {}
        }
        if let Some(schedule) = &mut schedule {
            schedule.lost(failed.elapsed());
        }
    }
    Ended::GivenUp
}

/// Returns whether the account is ready for calls.
fn is_open(context: &Context, region: &Region) -> bool {
    let view = context.accounts.view(&region.place.account);
    view.is_some_and(|view| view.account.uid == region.place.uid && view.gate == Gate::Open)
}
