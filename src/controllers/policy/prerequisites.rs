//! Requirements of a reconcile before its first call: a permit of the request budget, for which no reconcile blocks,
//! and the results of shared listings.

use jiff::Timestamp;

use super::mailbox::ListingResult;
use super::{PolicyEntry, Reconcile, own_interval};
use crate::cloud::Priority;
use crate::controllers::backup_lister::AccountRegion;
use crate::controllers::quota_demand;
use crate::plan::memory::Memory;
use crate::plan::next::NextAction;
use crate::plan::shared_listing::Subscriber;
use crate::plan::{AccountReadiness, Desired, ReconcileEnv, recovery, since};

/// Returns the priority of a reconcile that begins with this step: `Change` if a person or a deadline waits for it, or
/// a difference is to be corrected; otherwise `Poll`.
pub fn priority(desired: &Desired, memory: &Memory, step: &NextAction, now: Timestamp) -> Priority {
    let person = memory.facts.observed_generation != Some(desired.generation)
        || memory.request.pending.is_some()
        || memory.pending_change.is_some();
    let deadline = *step == NextAction::ListBackups && recovery::wants_listing(desired, memory, now);
    let begun = matches!(step, NextAction::ListRegions | NextAction::Modify);
    if person || deadline || begun { Priority::Change } else { Priority::Poll }
}

impl Reconcile<'_> {
    /// Whether the reconcile may make calls now. Without a permit the policy joins the request queue, and the reconcile
    /// has to end: the permit triggers the next one. A policy that waits with the priority `Poll` is promoted if the
    /// reconcile is urgent now.
    pub(super) fn acquire_permit(&mut self, entry: &mut PolicyEntry, priority: Priority) -> bool {
        if self.call_context.is_some() {
            return true;
        }
        let Some(account) = self.account else { return true };
        let call_context = self.caller_of(account);
        let permit = self
            .mailbox
            .take_permit()
            .or_else(|| account.budget.try_acquire(&call_context.clone().with_priority(priority)));
        match permit {
            Some(permit) => {
                entry.waiting = None;
                let follow_ups = Priority::FollowUp { poll: priority == Priority::Poll };
                self.call_context = Some(call_context.with_priority(follow_ups).with_permit(permit));
                true
            }
            None => {
                let waits_well =
                    entry.waiting.as_ref().is_some_and(|(at, _)| *at == priority || *at == Priority::Change);
                if !waits_well {
                    let mailbox = self.mailbox.clone();
                    let ticket =
                        account.budget.when_granted(&call_context.with_priority(priority), move |permit| {
                            mailbox.grant(permit)
                        });
                    entry.waiting = Some((priority, Box::new(ticket)));
                }
                false
            }
        }
    }

    /// Subscribes to the shared listings of the account's backups if they can be listed, and applies a delivered
    /// result.
    pub(super) fn share_listings(
        &mut self,
        entry: &mut PolicyEntry,
        desired: &Desired,
        env: &ReconcileEnv,
        memory: &mut Memory,
    ) {
        let account = self.account.filter(|account| {
            let has_policies = account.site().is_some_and(|site| site.has_policies());
            has_policies && env.readiness == AccountReadiness::Open && !desired.suspended
        });
        let Some(account) = account else {
            entry.subscription = None;
            drop(self.mailbox.take_listing());
            return;
        };
        let now = self.context.clock.now();
        let read = memory.backups.read;
        let subscriber = Subscriber {
            mailbox: self.mailbox.clone(),
            what: self.instance.id.as_str().into(),
            interval: desired.interval,
            own: own_interval(self.context.interval_override, &self.policy.spec),
            calls: quota_demand::calls_for_backups(self.listed()).into(),
            read,
            waits: read.is_none_or(|read| since(read, now) > desired.interval),
        };
        let place = AccountRegion {
            account: self.key.clone(),
            uid: account.uid.clone(),
            region: self.instance.region.clone(),
        };
        let fingerprints = || memory.backups.fingerprints(&memory.facts);
        self.context.backup_lister.subscribe(
            self.context,
            &mut entry.subscription,
            place,
            &self.uid,
            subscriber,
            fingerprints,
        );
        let (delivery, apply_permit) = self.mailbox.take_listing().unzip();
        self.apply_permit = apply_permit.flatten();
        match delivery {
            Some(ListingResult::Changed(delta, at)) => match delta.complete(&memory.backups.known) {
                Some(reading) => memory.apply_shared_listing(desired, reading, at, fastrand::f64()),
                None => memory.backups.due = Some(now),
            },
            Some(ListingResult::Unchanged(at)) => {
                let known = memory.backups.known.iter().cloned().collect();
                memory.apply_shared_listing(desired, known, at, fastrand::f64());
            }
            Some(ListingResult::Failed(failure)) => {
                memory.apply_listing(desired, Err(failure), now, fastrand::f64());
            }
            Some(ListingResult::Refused) => memory.backups.due = Some(now),
            None => {}
        }
        if let Some(read) = entry.subscription.as_ref().and_then(|subscription| subscription.read()) {
            memory.apply_unchanged_listing(read);
        }
    }

    /// Whether a shared listing will serve the due one. A listing with a deadline, or one that confirms another, is
    /// made at once.
    pub(super) fn is_served_by_shared(
        &self,
        entry: &PolicyEntry,
        desired: &Desired,
        memory: &Memory,
    ) -> bool {
        let now = self.context.clock.now();
        let alone = memory.backups.has_unconfirmed() || recovery::wants_listing(desired, memory, now);
        !alone
            && (self.mailbox.has_listing()
                || entry.subscription.as_ref().is_some_and(|subscription| subscription.request_listing(now)))
    }
}
