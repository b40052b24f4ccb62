//! Which backups are wanted.

use jiff::Timestamp;

use crate::cloud::exchange::not_sent;
use crate::domain::Failure;

/// Which backups, in the domain's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub region: String,
    /// `None`: those of every instance of the account in the region.
    pub instance: Option<String>,
    /// `Available`, `Creating` and so on, as [`crate::domain::Backup`] has them; empty for all.
    pub statuses: Vec<String>,
    /// `ManualBackup`, `AutomatedBackup`; empty for all.
    pub strategies: Vec<String>,
    /// When the backups began: from and to, both included, in whole seconds; fractions are cut.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Fuzzy. This and the next two: of a whole account, and not with Tencent Cloud.
    pub backup_point_name: Option<String>,
    /// Fuzzy.
    pub backup_point_id: Option<String>,
    pub project_name: Option<String>,
}

pub const STRATEGIES: [&str; 2] = ["ManualBackup", "AutomatedBackup"];

impl Selection {
    /// The filters that not every listing has, and their values where they are given.
    pub(super) fn rare(&self) -> [(&'static str, Option<&str>); 3] {
        fn given(value: &Option<String>) -> Option<&str> {
            value.as_deref().filter(|v| !v.is_empty())
        }
        [
            ("backupPointName", given(&self.backup_point_name)),
            ("backupPointId", given(&self.backup_point_id)),
            ("projectName", given(&self.project_name)),
        ]
    }

    /// Refuses what no cloud takes, and what this one does not: it knows `statuses`, and takes the rare filters or says
    /// why not.
    pub(super) fn check(
        &self,
        action: &'static str,
        provider: &str,
        statuses: &[&str],
        no_rare: Option<&str>,
    ) -> Result<(), Failure> {
        let bad = |name: &str, rule: &str| Err(not_sent(action, format!("filter.{name}: {rule}")));
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
        let rare = self.rare().into_iter().find(|(_, value)| value.is_some());
        match (rare, no_rare) {
            (Some((name, _)), Some(why)) => bad(name, why),
            _ => Ok(()),
        }
    }
}
