//! Filters of a backup listing, and their validation.

use jiff::Timestamp;

use crate::cloud::api_client::invalid_request;
use crate::domain::Failure;

/// Filters of a backup listing, in the terms of the domain instead of one cloud's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub region: String,
    /// `None` selects all instances of the account in the region.
    pub instance: Option<String>,
    /// `Available`, `Creating` and so on, as in [`crate::domain::Backup`]; empty for all.
    pub statuses: Vec<String>,
    /// `ManualBackup`, `AutomatedBackup`; empty for all.
    pub strategies: Vec<String>,
    /// Start times of the backups: from and to, both inclusive, in whole seconds; fractions are truncated.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Fuzzy match. This filter and the next two apply to whole accounts only, and not to Tencent Cloud.
    pub backup_point_name: Option<String>,
    /// Fuzzy match.
    pub backup_point_id: Option<String>,
    pub project_name: Option<String>,
}

pub const STRATEGIES: [&str; 2] = ["ManualBackup", "AutomatedBackup"];

impl Selection {
    /// Returns the filters that only some listings support, with their values if set.
    pub(super) fn optional_filters(&self) -> [(&'static str, Option<&str>); 3] {
        fn given(value: &Option<String>) -> Option<&str> {
            value.as_deref().filter(|v| !v.is_empty())
        }
        [
            ("backupPointName", given(&self.backup_point_name)),
            ("backupPointId", given(&self.backup_point_id)),
            ("projectName", given(&self.project_name)),
        ]
    }

    /// Rejects filters that no cloud takes, and those that this cloud does not take: `statuses` are the ones it knows,
    /// `no_rare` is the reason why it takes none of the optional ones.
    pub(super) fn check(
        &self,
        action: &'static str,
        provider: &str,
        statuses: &[&str],
        no_optional_reason: Option<&str>,
    ) -> Result<(), Failure> {
        let bad = |name: &str, rule: &str| Err(invalid_request(action, format!("filter.{name}: {rule}")));
        let among = |given: &[String], known: &[&str]| given.iter().all(|g| known.contains(&g.as_str()));
        if !among(&self.statuses, statuses) {
            return bad("statuses", &format!("allowed with {provider} are {}", statuses.join(", ")));
        }
        if !among(&self.strategies, &STRATEGIES) {
            return bad("strategies", &format!("allowed are {}", STRATEGIES.join(", ")));
        }
        if self.window.is_some_and(|(start, end)| end.as_second() <= start.as_second()) {
            return bad("endTime", "must be later than startTime");
        }
        let optional_filters = self.optional_filters().into_iter().find(|(_, value)| value.is_some());
        match (optional_filters, no_optional_reason) {
            (Some((name, _)), Some(why)) => bad(name, why),
            _ => Ok(()),
        }
    }
}
