//! Conditions and their reasons: a closed set, on which users and pipelines rely.

use jiff::{SignedDuration, Timestamp};

/// Types of conditions.
pub mod types {
    pub const READY: &str = "Ready";
    pub const SYNCED: &str = "Synced";
    pub const RECOVERY_POINT_MET: &str = "RecoveryPointMet";
    pub const CONTESTED: &str = "Contested";
    pub const RECONCILING: &str = "Reconciling";
    pub const STALLED: &str = "Stalled";

    pub const OF_POLICY: [&str; 6] = [READY, SYNCED, RECOVERY_POINT_MET, CONTESTED, RECONCILING, STALLED];
    pub const OF_ACCOUNT: [&str; 3] = [READY, RECONCILING, STALLED];
    pub const OF_INVENTORY: [&str; 3] = OF_ACCOUNT;
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl ConditionStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }

    /// Parses a condition's status; any other text is `Unknown`.
    pub fn parse(word: &str) -> Self {
        match word {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        }
    }
}

/// One condition of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: String,
    pub status: ConditionStatus,
    pub reason: String,
    pub message: String,
    pub observed_generation: i64,
    pub last_transition: Timestamp,
}

/// Progress of a resource as kstatus shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Settled,
    Reconciling,
    Stalled,
}

/// Desired content of the main condition (`Synced`, `Ready`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: ConditionStatus,
    pub reason: Reason,
    pub progress: Progress,
    /// The operator's message and the cloud's error code: identical for every attempt with the same failure.
    pub cause: String,
    /// The cloud's message, where it may be shown. It can differ between attempts, so it is not part of the cause.
    pub detail: Option<String>,
}

impl Outcome {
    pub fn message(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.cause),
            None => self.cause.clone(),
        }
    }
}

macro_rules! reasons {
    ($($name:ident),* $(,)?) => {
        /// Reasons of conditions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($name),* }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name)),* }
            }

            /// Parses a reason; `None` for an unknown one, which another version may have written.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }
        }
    };
}

reasons!(
    AccountNotFound,
    AccountNotAllowed,
    AccountNotReady,
    BackupsUnknown,
    CloudUnavailable,
    Conflict,
    Contested,
    CredentialsMissing,
    CredentialsRejected,
    CredentialsVerified,
    BudgetTooSmall,
    DriftDetected,
    EndpointNotAllowed,
    EndpointUnreachable,
    InSync,
    InstanceNotFound,
    InstanceNotReady,
    InvalidRequest,
    Listed,
    Listing,
    Modifying,
    NoBackupYet,
    NotSupported,
    ObjectiveExceeded,
    Observed,
    PermissionDenied,
    RegionNotAvailable,
    Suspended,
    Throttled,
    WithinObjective,
);

/// Upper bound on the clock difference between two replicas.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Returns whether the operator can have written this time to a stored status: from 1970 to a day from now. Any
/// writer can set a status.
pub fn is_credible(time: Timestamp, now: Timestamp) -> bool {
    time >= Timestamp::UNIX_EPOCH && time.duration_since(now) <= MAX_CLOCK_SKEW
}

/// Returns the conditions of a stored status that the operator may have written: the first of each type in `own`. A
/// transition time that is not credible becomes `now`.
pub fn credible(stored: Vec<Condition>, own: &[&str], now: Timestamp) -> Vec<Condition> {
    let mut kept = Vec::<Condition>::new();
    for mut condition in stored {
        let is_known = kept.iter().any(|known| known.kind == condition.kind);
        if own.contains(&condition.kind.as_str()) && !is_known {
            if !is_credible(condition.last_transition, now) {
                condition.last_transition = now;
            }
            kept.push(condition);
        }
    }
    kept
}

/// Merges `outcome` into the old conditions: a transition time changes only with the status, and a message stays
/// while status, reason and cause are the same. Conditions of other types are kept unchanged.
pub fn merge(
    old: &[Condition],
    main: &[&str],
    outcome: &Outcome,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut new = Vec::new();
    for kind in main {
        new.push(set(old, kind, outcome.status, outcome, generation, now));
    }
    new.extend(
        old.iter()
            .filter(|c| !main.contains(&c.kind.as_str()))
            .filter(|c| c.kind != types::RECONCILING && c.kind != types::STALLED)
            .cloned(),
    );
    match outcome.progress {
        Progress::Settled => {}
        Progress::Reconciling => {
            new.push(set(old, types::RECONCILING, ConditionStatus::True, outcome, generation, now))
        }
        Progress::Stalled => {
            new.push(set(old, types::STALLED, ConditionStatus::True, outcome, generation, now))
        }
    }
    new
}

/// Returns one condition with `status`, and the reason and message of `outcome`.
pub fn set(
    old: &[Condition],
    kind: &str,
    status: ConditionStatus,
    outcome: &Outcome,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let before = old.iter().find(|c| c.kind == kind);
    let same_status = before.filter(|c| c.status == status);
    let same_cause = same_status.filter(|c| {
        c.reason == outcome.reason.as_str()
            && match c.message.strip_prefix(outcome.cause.as_str()) {
                Some(rest) => {
                    rest.is_empty() == outcome.detail.is_none() && (rest.is_empty() || rest.starts_with(": "))
                }
                None => false,
            }
    });
    Condition {
        kind: kind.to_owned(),
        status,
        reason: outcome.reason.as_str().to_owned(),
        message: same_cause.map_or_else(|| outcome.message(), |c| c.message.clone()),
        observed_generation: generation,
        last_transition: same_status.map_or(now, |c| c.last_transition),
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
