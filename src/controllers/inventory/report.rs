//! Writes status and publishes Events where they differ from what is stored.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt};

use super::{Reconcile, Slot, convert, fit};
use crate::api::BackupInventory;
use crate::api::inventory::BackupInventoryStatus;
use crate::cluster::events::Note;
use crate::cluster::status::Applied;
use crate::controllers::guarded::{Guarded, readable};
use crate::controllers::policy::convert::{condition_from, condition_to};
use crate::controllers::{CONFLICT_REQUEUE, NOT_FOUND_REQUEUE, Part, write_status};
use crate::domain::condition::{self, Condition, types};
use crate::plan::inventory::{DesiredInventory, ListingSummary, Memory};
use crate::plan::{ReconcileEnv, events};

impl Reconcile<'_> {
    /// Writes the status if it differs. Returns the requeue delay if the object was changed or deleted by another
    /// client meanwhile. A failed write does not block the listing: it is retried after a pause.
    pub(super) async fn report(
        &mut self,
        entry: &mut Slot,
        wanted: &DesiredInventory,
        env: &ReconcileEnv,
        memory: &Memory,
    ) -> Option<Duration> {
        let stored = self.inventory.status.clone().unwrap_or_default();
        let now = self.context.clock.now();
        let new = status(&stored, entry.found.as_ref(), wanted, env, memory, now)?;
        if new == stored {
            entry.found = None;
            return None;
        }
        let failed_writes = &self.context.failed_writes;
        if failed_writes.wait(&self.inventory.metadata, Part::Status).is_some() {
            return None;
        }
        let api = Api::<Guarded<BackupInventory>>::namespaced(self.context.kube.clone(), &self.namespace);
        let object = Guarded(Ok(BackupInventory::clone(&self.inventory)));
        let _place = self.context.write_permit().await;
        let written = write_status(self.context, &api, &object, &new, |object| object.status.as_ref()).await;
        let applied = match written {
            Ok(applied) => applied,
            Err(error) => {
                failed_writes.failed(
                    &BackupInventory::kind(&()),
                    &self.inventory.metadata,
                    Part::Status,
                    &error,
                );
                return None;
            }
        };
        match readable(applied) {
            Applied::Written(object) => {
                failed_writes.succeeded(&self.inventory.metadata, Part::Status);
                self.inventory = entry.latest.keep(object, &self.watched);
                entry.found = None;
                self.publish_changes(&stored, &new).await;
                None
            }
            Applied::Stale(Some(object)) => {
                entry.latest.keep(object, &self.watched);
                Some(CONFLICT_REQUEUE)
            }
            Applied::Stale(None) => Some(NOT_FOUND_REQUEUE),
        }
    }

    async fn publish_changes(&self, before: &BackupInventoryStatus, now: &BackupInventoryStatus) {
        let (before, now) = (ready(before), ready(now));
        if before.as_ref().map(|c| &c.reason) != now.as_ref().map(|c| &c.reason) {
            tracing::info!(
                namespace = %self.namespace,
                inventory = %self.inventory.name_any(),
                reason = now.as_ref().map(|c| c.reason.as_str()),
                "Ready has changed"
            );
        }
        if let Some(event) = events::of_inventory(before.as_ref(), now.as_ref()) {
            let note =
                Note { warning: event.warning, reason: event.reason, action: "List", text: event.text };
            self.context.events.publish(&self.inventory.object_ref(&()), note).await;
        }
    }
}

fn ready(status: &BackupInventoryStatus) -> Option<Condition> {
    status.conditions.iter().find(|c| c.type_ == types::READY).map(condition_from)
}

/// Returns the status to write; `None` if there is nothing to write yet.
fn status(
    stored: &BackupInventoryStatus,
    found: Option<&ListingSummary>,
    wanted: &DesiredInventory,
    env: &ReconcileEnv,
    memory: &Memory,
    now: Timestamp,
) -> Option<BackupInventoryStatus> {
    let old = stored.conditions.iter().map(condition_from).collect();
    let old = condition::credible(old, &types::OF_INVENTORY, now);
    let mut new = convert::credible(stored.clone());
    new.conditions = old.iter().map(condition_to).collect();
    if let Some(found) = found {
        convert::write_result(found, &mut new);
        fit::truncate_lists(&mut new);
    }
    if let Some(outcome) = memory.outcome(wanted, env, &old, now) {
        let conditions = condition::merge(&old, &[types::READY], &outcome, wanted.generation, now);
        new.conditions = conditions.iter().map(condition_to).collect();
        new.observed_generation = Some(wanted.generation);
    }
    new.last_handled_reconcile_at.clone_from(&memory.handled);
    new.observed_generation.filter(|generation| *generation >= 0)?;
    // `asOf` changes with every poll of the policies: a change of it alone is not written.
    let mut same_time = new.clone();
    if let (Some(unprotected), Some(before)) = (&mut same_time.unprotected, &stored.unprotected) {
        unprotected.as_of.clone_from(&before.as_of);
    }
    Some(if same_time == *stored { same_time } else { new })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Backup;
    use crate::plan::AccountReadiness;
    use crate::plan::inventory::Unprotected;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn wanted() -> DesiredInventory {
        DesiredInventory {
            generation: 3,
            created: at(0),
            suspended: false,
            interval: Duration::from_secs(600),
            request: None,
            poll_offset: 0,
        }
    }

    fn env(readiness: AccountReadiness) -> ReconcileEnv {
        ReconcileEnv { readiness, paused_until: None, competitor: None, access_generation: Some(1) }
    }

    fn found(total: i64, looked: i64) -> ListingSummary {
        ListingSummary {
            total,
            items: vec![Backup { backup_point_id: "b-1".to_owned(), ..Backup::default() }],
            unprotected: Some(Unprotected { as_of: Some(at(looked)), ..Unprotected::default() }),
            ..ListingSummary::default()
        }
    }

    fn listed() -> (Memory, BackupInventoryStatus) {
        let mut memory = Memory::new(&[], None, None, &wanted(), at(0), at(0));
        memory.listed(&wanted(), at(1));
        let open = env(AccountReadiness::Open);
        let stored = BackupInventoryStatus::default();
        let status = status(&stored, Some(&found(1, 1)), &wanted(), &open, &memory, at(1)).unwrap();
        (memory, status)
    }

    fn as_of(status: &BackupInventoryStatus) -> Option<Timestamp> {
        status.unprotected.as_ref()?.as_of.as_ref().map(|time| time.0)
    }

    #[test]
    fn when_policies_were_looked_at_is_no_news_by_itself() {
        let (memory, stored) = listed();
        let again = |found: ListingSummary| {
            status(&stored, Some(&found), &wanted(), &env(AccountReadiness::Open), &memory, at(900)).unwrap()
        };
        assert_eq!(again(found(1, 700)), stored);
        let other = again(found(2, 700));
        assert_eq!((other.total, as_of(&other)), (Some(2), Some(at(700))));
    }

    #[test]
    fn what_was_found_stays_while_something_else_is_said() {
        let (mut memory, stored) = listed();
        let closed = env(AccountReadiness::Closed(crate::domain::Reason::AccountNotFound, "gone".to_owned()));
        let without = status(&stored, None, &wanted(), &closed, &memory, at(2)).unwrap();
        assert_eq!((without.total, &without.items), (Some(1), &stored.items));
        assert_eq!(ready(&without).map(|c| c.reason), Some("AccountNotFound".to_owned()));

        let other_spec = DesiredInventory { generation: 4, ..wanted() };
        memory.notice(&other_spec, &env(AccountReadiness::Open), at(3));
        let listing =
            status(&stored, None, &other_spec, &env(AccountReadiness::Open), &memory, at(3)).unwrap();
        assert_eq!((listing.observed_generation, listing.total), (Some(4), Some(1)));
        assert_eq!(ready(&listing).map(|c| c.reason), Some("Listing".to_owned()));
    }

    #[test]
    fn nothing_is_written_while_the_account_of_a_new_inventory_is_verified() {
        let memory = Memory::new(&[], None, None, &wanted(), at(0), at(0));
        let stored = BackupInventoryStatus { observed_generation: Some(-1), ..Default::default() };
        let pending = env(AccountReadiness::Pending(at(10)));
        assert_eq!(status(&stored, None, &wanted(), &pending, &memory, at(0)), None);
    }
}
