//! Data model of the report, judged as an auditor would. A policy that is on is no backup: an instance is protected
//! only if a usable copy exists in the other region.

use jiff::{SignedDuration, Timestamp};

/// Instances with their protection, and what could not be read.
#[derive(Clone, Debug)]
pub struct Report {
    pub generated_at: Timestamp,
    pub accounts: Vec<Account>,
    /// Policies whose instance the cloud does not know (`InstanceNotFound`).
    pub policies_without_instance: Vec<PolicyWithoutInstance>,
    pub problems: Vec<Problem>,
}

/// The instances of one account in one region.
#[derive(Clone, Debug)]
pub struct Account {
    /// `NAMESPACE/NAME`, or `/NAME` for a ClusterCloudAccount.
    pub name: String,
    pub provider: String,
    pub region: String,
    pub instances: Vec<Instance>,
}

#[derive(Clone, Debug)]
pub struct Instance {
    pub id: String,
    pub name: Option<String>,
    pub project: Option<String>,
    pub cloud: CloudPolicy,
    /// Policy resource of the instance; `None` if none declares it.
    pub declared: Option<Declared>,
    /// Usable copies in the target region of the cloud's policy, or in the declared one while that policy is off.
    pub copies: Copies,
}

/// Cross-region policy in the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudPolicy {
    On {
        target: Option<String>,
        ttl_days: Option<i64>,
    },
    Off,
    /// The instance can have no policy; with the reason.
    Unsupported(String),
    /// The policy could not be read; with the reason.
    Unknown(String),
}

/// Declaration by a CrossRegionBackupPolicy.
#[derive(Clone, Debug)]
pub struct Declared {
    pub namespace: String,
    pub name: String,
    /// `Manage` or `Observe`.
    pub management_policy: String,
    pub active: bool,
    pub target: Option<String>,
    pub objective: Option<SignedDuration>,
    pub protected_since: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copies {
    Read {
        usable: i64,
        /// Start time of the newest usable copy.
        newest: Option<Timestamp>,
    },
    /// The copies were not read; with the reason.
    NotRead(String),
}

#[derive(Clone, Debug)]
pub struct PolicyWithoutInstance {
    pub namespace: String,
    pub name: String,
    pub account: String,
    pub region: String,
    pub instance_id: String,
}

/// Account that could not be read, in whole or in part.
#[derive(Clone, Debug)]
pub struct Problem {
    pub account: String,
    pub region: Option<String>,
    pub message: String,
}

/// Protection of an instance, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The cloud's policy is off. Older copies may exist until they expire.
    NotProtected,
    /// The policy is on, but no usable copy exists.
    NoUsableCopy,
    /// The cloud differs from what a resource declares.
    Drifted,
    /// The newest usable copy is older than its objective allows.
    ObjectiveExceeded,
    Unknown,
    Unsupported,
    /// The policy is on, and a usable copy exists, within the objective if there is one.
    Protected,
}

impl State {
    pub const ALL: [State; 7] = [
        State::NotProtected,
        State::NoUsableCopy,
        State::Drifted,
        State::ObjectiveExceeded,
        State::Unknown,
        State::Unsupported,
        State::Protected,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            State::NotProtected => "NotProtected",
            State::NoUsableCopy => "NoUsableCopy",
            State::Drifted => "Drifted",
            State::ObjectiveExceeded => "ObjectiveExceeded",
            State::Unknown => "Unknown",
            State::Unsupported => "Unsupported",
            State::Protected => "Protected",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            State::NotProtected => "not protected",
            State::NoUsableCopy => "no usable copy",
            State::Drifted => "drifted",
            State::ObjectiveExceeded => "objective exceeded",
            State::Unknown => "unknown",
            State::Unsupported => "unsupported",
            State::Protected => "protected",
        }
    }
}

/// Comparison of the newest usable copy with the objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    Met,
    Exceeded,
    NoBackupYet,
    NoObjective,
    Unknown,
}

impl Objective {
    pub fn as_str(self) -> &'static str {
        match self {
            Objective::Met => "Met",
            Objective::Exceeded => "Exceeded",
            Objective::NoBackupYet => "NoBackupYet",
            Objective::NoObjective => "NoObjective",
            Objective::Unknown => "Unknown",
        }
    }
}

impl Instance {
    pub fn state(&self, now: Timestamp) -> State {
        match (&self.cloud, &self.copies) {
            (CloudPolicy::Unsupported(_), _) => State::Unsupported,
            (CloudPolicy::Unknown(_), _) => State::Unknown,
            (CloudPolicy::Off, _) => State::NotProtected,
            (CloudPolicy::On { .. }, Copies::Read { newest: None, .. }) => State::NoUsableCopy,
            (CloudPolicy::On { .. }, _) if self.has_drifted() => State::Drifted,
            (CloudPolicy::On { .. }, Copies::NotRead(_)) => State::Unknown,
            (CloudPolicy::On { .. }, Copies::Read { .. }) => match self.objective(now) {
                Objective::Exceeded => State::ObjectiveExceeded,
                _ => State::Protected,
            },
        }
    }

    pub fn objective(&self, now: Timestamp) -> Objective {
        match (&self.copies, self.declared.as_ref().and_then(|declared| declared.objective)) {
            (_, None) => Objective::NoObjective,
            (Copies::NotRead(_), _) => Objective::Unknown,
            (Copies::Read { newest: None, .. }, _) => Objective::NoBackupYet,
            (Copies::Read { newest: Some(newest), .. }, Some(objective)) => {
                if now.duration_since(*newest) <= objective { Objective::Met } else { Objective::Exceeded }
            }
        }
    }

    /// Returns whether the cloud differs from what a resource declares.
    pub fn has_drifted(&self) -> bool {
        match (&self.declared, &self.cloud) {
            (Some(declared), CloudPolicy::On { target, .. }) => {
                !declared.active || declared.target != *target
            }
            (Some(declared), CloudPolicy::Off) => declared.active,
            _ => false,
        }
    }

    pub fn target(&self) -> Option<&str> {
        match &self.cloud {
            CloudPolicy::On { target, .. } => target.as_deref(),
            _ => None,
        }
    }

    /// Returns the time since which copies are made as declared; `None` without a usable copy, since the instance is
    /// not protected.
    pub fn protected_since(&self) -> Option<Timestamp> {
        let is_on = matches!(self.cloud, CloudPolicy::On { .. }) && !self.has_drifted();
        self.recovery_point().filter(|_| is_on)?;
        self.declared.as_ref()?.protected_since
    }

    pub fn ttl_days(&self) -> Option<i64> {
        match self.cloud {
            CloudPolicy::On { ttl_days, .. } => ttl_days,
            _ => None,
        }
    }

    pub fn recovery_point(&self) -> Option<Timestamp> {
        match self.copies {
            Copies::Read { newest, .. } => newest,
            Copies::NotRead(_) => None,
        }
    }

    pub fn usable_copies(&self) -> Option<i64> {
        match self.copies {
            Copies::Read { usable, .. } => Some(usable),
            Copies::NotRead(_) => None,
        }
    }

    pub fn policy(&self) -> Option<String> {
        self.declared.as_ref().map(|declared| format!("{}/{}", declared.namespace, declared.name))
    }

    /// Returns details that the state does not show.
    pub fn note(&self) -> Option<String> {
        let mut parts = Vec::new();
        match &self.cloud {
            CloudPolicy::Unsupported(why) | CloudPolicy::Unknown(why) => parts.push(why.clone()),
            CloudPolicy::Off => {
                let wants = self.declared.as_ref().map(|declared| declared.active);
                parts.extend(match wants {
                    Some(true) => Some("declared on, found off".to_owned()),
                    Some(false) => Some("off as declared".to_owned()),
                    None => None,
                });
                if self.usable_copies().is_some_and(|usable| usable > 0) {
                    parts.push("older copies are left".to_owned());
                }
            }
            CloudPolicy::On { target, .. } if self.has_drifted() => {
                let found = target.as_deref().unwrap_or("an unnamed region");
                let wanted = self
                    .declared
                    .as_ref()
                    .filter(|declared| declared.active)
                    .map(|declared| declared.target.as_deref());
                parts.push(match wanted {
                    Some(wanted) => {
                        format!("declared to {}, found to {found}", wanted.unwrap_or("no region"))
                    }
                    None => format!("declared off, found on, to {found}"),
                });
            }
            CloudPolicy::On { .. } => {}
        }
        if let (CloudPolicy::On { .. } | CloudPolicy::Off, Copies::NotRead(why)) = (&self.cloud, &self.copies)
        {
            parts.push(format!("copies not read: {why}"));
        }
        if self.declared.is_none() && matches!(self.cloud, CloudPolicy::On { .. }) {
            parts.push("no policy resource".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Row of the report: an instance, its account, and its state.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub account: &'a Account,
    pub instance: &'a Instance,
    pub state: State,
}

impl Report {
    /// Returns all instances: the worst state first, then the oldest recovery point, then by account, region and id.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for account in &self.accounts {
            for instance in &account.instances {
                rows.push(Row { account, instance, state: instance.state(self.generated_at) });
            }
        }
        rows.sort_by(|a, b| {
            let key = |row: &Row<'_>| (row.state, row.instance.recovery_point());
            key(a).cmp(&key(b)).then_with(|| {
                (&a.account.name, &a.account.region, &a.instance.id).cmp(&(
                    &b.account.name,
                    &b.account.region,
                    &b.instance.id,
                ))
            })
        });
        rows
    }

    /// Counts the instances in each state, the worst first.
    pub fn totals(&self) -> [(State, usize); 7] {
        let mut totals = State::ALL.map(|state| (state, 0));
        for row in self.rows() {
            totals[row.state as usize].1 += 1;
        }
        totals
    }

    /// Returns the summary, which counts an instance as protected only if a usable copy was read.
    pub fn summary(&self) -> String {
        let totals = self.totals();
        let all: usize = totals.iter().map(|(_, count)| count).sum();
        let count = |state: State| totals[state as usize].1;
        let mut text = format!(
            "{} of {all} instances are protected: their policy is on, and a usable copy is in another region.",
            count(State::Protected)
        );
        let parts: Vec<String> = totals
            .iter()
            .filter(|(state, count)| *state != State::Protected && *count > 0)
            .map(|(state, count)| format!("{count} {}", state.words()))
            .collect();
        if !parts.is_empty() {
            text.push_str(&format!(" The others: {}.", parts.join(", ")));
        }
        if !self.problems.is_empty() {
            text.push_str(&format!(
                " Incomplete: {} could not be read.",
                plural(self.problems.len(), "account or region", "accounts or regions")
            ));
        }
        text
    }
}

pub fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
