//! Cross-region backup policy of one instance, as the cloud reports it and as a user declares it.

use std::fmt;

/// One instance in one region of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceRef {
    pub region: String,
    pub id: String,
}

/// The policy as the cloud last reported it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyState {
    pub active: bool,
    /// The value while inactive is undocumented: absent, empty or the last one. Empty is read as absent.
    pub cross_backup_region: Option<String>,
    /// Retention of the copies in days; no API sets it.
    pub ttl_days: Option<i64>,
}

/// Desired values of a policy; also the parameters of a Modify call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    pub active: bool,
    /// Present when `active`; ignored by the cloud otherwise.
    pub cross_backup_region: Option<String>,
}

impl Change {
    /// Returns whether the cloud's state is the desired one. With `active: false` the cloud ignores the target
    /// region.
    pub fn is_met_by(&self, found: &PolicyState) -> bool {
        self.active == found.active && (!self.active || self.cross_backup_region == found.cross_backup_region)
    }

    /// Describes the difference, such as `active: desired true, found false`; `None` if there is none.
    pub fn difference(&self, found: &PolicyState) -> Option<String> {
        if self.is_met_by(found) {
            return None;
        }
        let mut parts = Vec::new();
        if self.active != found.active {
            parts.push(format!("active: desired {}, found {}", self.active, found.active));
        }
        if self.active && self.cross_backup_region != found.cross_backup_region {
            parts.push(format!(
                "crossBackupRegion: desired {}, found {}",
                OrNone(&self.cross_backup_region),
                OrNone(&found.cross_backup_region)
            ));
        }
        Some(parts.join("; "))
    }
}

struct OrNone<'a>(&'a Option<String>);

impl fmt::Display for OrNone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("none"))
    }
}

impl From<&PolicyState> for Change {
    fn from(state: &PolicyState) -> Self {
        Self { active: state.active, cross_backup_region: state.cross_backup_region.clone() }
    }
}
