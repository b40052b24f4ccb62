//! One listing of all backups of an account in a region, streamed: a page is gone as soon as it was compared with what is known,
//! and counted for inventories.

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

/// A page that fails in passing is asked for again after so long at most: it is one call, which serves many.
const AGAIN_LONGEST: Duration = Duration::from_secs(30);
/// Who may not list the account's backups may be allowed to later.
const REFUSED_AGAIN: Duration = Duration::from_secs(3600);

/// How a listing has ended.
pub enum Ended {
    /// By instance; for inventories, `moved` as [`Next::End`] has it. `length`: what it takes without pauses.
    Listed { found: Finds, moved: bool, length: Duration },
    /// The instances that are due are to be read each for itself: that takes fewer calls, or alone is permitted.
    Each,
    /// Calls have failed for too long, or nobody needs it any more.
    GivenUp,
}

/// What one listing is made for.
pub struct Order {
    pub site: Option<Site>,
    pub began: Timestamp,
    /// The calls that those which are due would need for themselves.
    pub each: u64,
    /// Somebody waits for it.
    pub hurried: bool,
    /// Policies are reason enough for it, whether inventories are served or not.
    pub for_policies: bool,
    /// The instances whose backups are looked at one by one; `None`: all, since policies come that are not here yet.
    pub instances: Option<HashSet<Arc<str>>>,
}

impl Order {
    pub fn looks_at(&self, instance: &str) -> bool {
        self.instances.as_ref().is_none_or(|instances| instances.contains(instance))
    }

    /// The instance by its id, where it is looked at.
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
        // Only the first page tells how many there are.
        let mut due = schedule.as_ref().map_or(1, |schedule| schedule.due(begun.elapsed()));
        if region.state().waiting() > 0 && schedule.is_some() {
            due = PAGES_AT_ONCE;
        }
        if let Some(schedule) = schedule.as_ref().filter(|_| due == 0) {
            tokio::select! {
                () = sleep_until(begun + schedule.next()) => {}
                // Somebody waits for it.
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
        // One that goes on is made to its end, however long it takes.
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
            // Somebody has come, or is left.
            () = region.changed.notified() => {}
        }
        if let Some(schedule) = &mut schedule {
            schedule.lost(failed.elapsed());
        }
    }
    Ended::GivenUp
}

/// Whether the account lets calls through.
fn is_open(context: &Context, region: &Region) -> bool {
    let view = context.accounts.view(&region.place.account);
    view.is_some_and(|view| view.account.uid == region.place.uid && view.gate == Gate::Open)
}
