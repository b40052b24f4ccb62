//! Conditions and their reasons: the closed vocabulary that users and pipelines hold on to.

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
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    pub fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }

    /// `Unknown` for any word that is no status.
    pub fn parse(word: &str) -> Self {
        match word {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        }
    }
}

/// One condition of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: String,
    pub status: Truth,
    pub reason: String,
    pub message: String,
    pub observed_generation: i64,
    pub last_transition: Timestamp,
}

/// What a resource waits for: whether kstatus shows progress or failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Settled,
    Reconciling,
    Stalled,
}

/// What the main condition (`Synced`, `Ready`) shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Truth,
    pub reason: Reason,
    pub progress: Progress,
    /// Our own words and the cloud's code: the same for every try of the same failure.
    pub cause: String,
    /// The cloud's message, where it may be shown. It can differ between tries, so it is not part of the cause.
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

            /// `None` for a word that is no reason, as that of another version may be.
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

/// Clocks of two replicas differ by less.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_hours(24);

/// Whether a time of a stored status can be what the operator wrote: from 1970 to a day from now. A status is what its last
/// writer made it.
pub fn is_credible(time: Timestamp, now: Timestamp) -> bool {
    time >= Timestamp::UNIX_EPOCH && time.duration_since(now) <= CLOCK_DIFFERENCE
}

/// Of the conditions of a stored status those that the operator may have written: the first of each of the types in `own`, of which
/// one from another time is from now.
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

/// The conditions that say `outcome`, made out of the old ones: a time moves only when the status does, and a message
/// stays while status, reason and cause are the same. Conditions of other types are kept as they are.
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
            new.push(set(old, types::RECONCILING, Truth::True, outcome, generation, now))
        }
        Progress::Stalled => new.push(set(old, types::STALLED, Truth::True, outcome, generation, now)),
    }
    new
}

/// One condition that says `outcome` with `status`.
pub fn set(
    old: &[Condition],
    kind: &str,
    status: Truth,
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
