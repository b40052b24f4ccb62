//! All backups of one instance, over all pages.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::{Backup, Failure, InstanceRef, Kind};

use super::calls::LIST_BACKUPS;
use super::client::{Client, failure};
use super::query::{BackupQuery, PAGE_SIZE_MAX, Scope};
use super::wire::NOT_PROMISED;

/// Bounds a listing whose Total lies: 10 000 copies of one instance, with a retention of days, are beyond reason.
const PAGES_MAX: u32 = 100;
/// 2000-01-01T00:00:00Z, before the service began.
const START: Timestamp = Timestamp::constant(946_684_800, 0);

struct Reading {
    backups: BTreeMap<String, Backup>,
    /// Total differed between pages: something came or went meanwhile, so that a record may have slipped from one
    /// page to another and have been read twice or not at all.
    moved: bool,
}

impl Client {
    /// DescribeCrossRegionBackups of the instance up to `now`, each backup once, by id. `now` keeps backups that come
    /// meanwhile from shifting the pages. Where Total moves all the same, all pages are read once more; where it
    /// moves again, what either reading found is returned, in the later one's state.
    pub async fn instance_backups(
        &self,
        instance: &InstanceRef,
        now: Timestamp,
    ) -> Result<Vec<Backup>, Failure> {
        let mut reading = self.read(instance, now).await?;
        if reading.moved {
            let before = reading.backups;
            reading = self.read(instance, now).await?;
            if reading.moved {
                for (id, backup) in before {
                    reading.backups.entry(id).or_insert(backup);
                }
            }
        }
        Ok(reading.backups.into_values().collect())
    }

    async fn read(&self, instance: &InstanceRef, now: Timestamp) -> Result<Reading, Failure> {
        let mut query = BackupQuery {
            scope: Scope::OneInstance,
            instance_id: Some(instance.id.clone()),
            start_time: Some(START),
            end_time: Some(now),
            page_size: Some(PAGE_SIZE_MAX),
            ..BackupQuery::default()
        };
        let mut reading = Reading { backups: BTreeMap::new(), moved: false };
        let mut total = None;
        let mut records = 0;
        for number in 1..=PAGES_MAX {
            query.page_number = Some(number);
            let page = self.backups_page(&instance.region, &query).await?;
            // "There are 5, here are none" is no answer: taken for none, it would take the recovery point away.
            if number == 1 && page.records == 0 && page.total.is_some_and(|total| total > 0) {
                break;
            }
            reading.moved |= number > 1 && page.total != total;
            total = page.total;
            records += page.records as u64;
            reading.backups.extend(page.backups.into_iter().map(|b| (b.backup_point_id.clone(), b)));
            let full = page.records >= PAGE_SIZE_MAX as usize;
            let complete = total.is_none_or(|t| records >= t);
            // A full page goes on unless Total says exactly that all is read: a Total may also be too low.
            if page.records == 0 || complete && (!full || total == Some(records)) {
                return Ok(reading);
            }
        }
        Err(failure(LIST_BACKUPS, Kind::CloudUnavailable, NOT_PROMISED))
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
