//! Backup listing at Volcengine and BytePlus: a single part, with every filter applied by the cloud except several
//! statuses.

use jiff::Timestamp;

use super::selection::Selection;
use crate::cloud::Site;
use crate::cloud::volcengine::LIST_BACKUPS;
use crate::cloud::volcengine::query::{BackupQuery, STATUSES, Scope};
use crate::domain::Failure;

/// 2000-01-01T00:00:00Z, before the service began.
const START: Timestamp = Timestamp::constant(946_684_800, 0);
const ACCOUNT_ONLY: &str = "allowed with scope Account only";

#[derive(Clone, Debug)]
pub struct CloudPlan {
    /// Query without the page.
    query: BackupQuery,
}

impl CloudPlan {
    pub fn new(site: Site, selection: &Selection, now: Timestamp) -> Result<Self, Failure> {
        let no_optional_reason = selection.instance.as_ref().map(|_| ACCOUNT_ONLY);
        selection.check(LIST_BACKUPS, site.provider(), &STATUSES, no_optional_reason)?;
        let [name, id, project] = selection.optional_filters().map(|(_, value)| value.map(str::to_owned));
        let status = match selection.statuses.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        };
        // Without a window, the start of the listing ends it: backups added meanwhile do not shift its pages.
        let (start, end) = selection.window.unwrap_or((START, now));
        let query = BackupQuery {
            scope: if selection.instance.is_some() { Scope::OneInstance } else { Scope::AccountInstances },
            instance_id: selection.instance.clone(),
            status,
            start_time: Some(start),
            end_time: Some(end),
            strategies: selection.strategies.clone(),
            backup_point_name: name,
            backup_point_id: id,
            project_name: project,
            page_size: None,
            page_number: None,
        };
        Ok(Self { query })
    }

    pub fn sends_status(&self) -> bool {
        self.query.status.is_some()
    }

    pub fn is_single_instance(&self) -> bool {
        self.query.scope == Scope::OneInstance
    }

    pub fn query(&self, page: u32, size: u32) -> BackupQuery {
        BackupQuery { page_number: Some(page), page_size: Some(size), ..self.query.clone() }
    }
}
