//! Scenarios, each small enough for a complete exploration.

use super::state::*;
use super::steps::EventKind;
pub use super::steps::Scenario;
use crate::domain::Kind;

pub const ON: Spec = Spec { value: Value::Shanghai, manages: true, suspended: false, disables: false };
const OTHER: Spec = Spec { value: Value::Guangzhou, ..ON };
const OBSERVED: Spec = Spec { manages: false, ..ON };
const SUSPENDED: Spec = Spec { suspended: true, ..ON };
const DISABLING: Spec = Spec { disables: true, ..ON };

/// Leader changes, crashes and pauses, with lost responses and drift.
pub fn leaders() -> Scenario {
    use EventKind::{Crash, Depose, Drift, LoseModify, LoseWrite, Tick};
    Scenario {
        name: "leaders",
        new: vec![ON],
        may: vec![(Depose, 2), (Crash, 1), (LoseModify, 1), (LoseWrite, 1), (Drift, 1), (Tick, 1)],
        faults: 2,
        drifts: vec![Value::Off, Value::Guangzhou],
        ..Scenario::default()
    }
}

/// A cloud that refuses, fails, drops accepted changes and drifts, with a slow process.
pub fn clouds() -> Scenario {
    use EventKind::{Drift, Drop, FailLook, LoseModify, Pause, RefuseModify, Tick};
    Scenario {
        name: "clouds",
        new: vec![ON],
        may: vec![
            (FailLook, 2),
            (RefuseModify, 1),
            (LoseModify, 1),
            (Drop, 1),
            (Drift, 1),
            (Pause, 1),
            (Tick, 3),
        ],
        faults: 2,
        drifts: vec![Value::Off, Value::Guangzhou],
        refusals: vec![Kind::InvalidRequest, Kind::PermissionDenied],
        describe_failures: vec![Kind::CloudUnavailable, Kind::PermissionDenied],
        ..Scenario::default()
    }
}

/// Spec changes at any time, with late watch events.
pub fn specs() -> Scenario {
    use EventKind::{Crash, Depose, Drift, LoseModify, Respec, Tick};
    Scenario {
        name: "specs",
        settled: vec![ON],
        may: vec![(Respec, 2), (Depose, 1), (Crash, 1), (LoseModify, 1), (Drift, 1), (Tick, 1)],
        faults: 2,
        drifts: vec![Value::Off],
        specs: [ON, OTHER, OBSERVED, SUSPENDED].map(|spec| (0, spec)).to_vec(),
        ..Scenario::default()
    }
}

/// Two policies with different specs for one instance.
pub fn rivals() -> Scenario {
    use EventKind::{Delete, Depose, Drift, LoseModify, RefuseModify, Respec};
    Scenario {
        name: "rivals",
        settled: vec![ON],
        new: vec![Spec { disables: true, ..OTHER }],
        may: vec![(Respec, 2), (Depose, 1), (Drift, 1), (LoseModify, 1), (RefuseModify, 1), (Delete, 1)],
        drifts: vec![Value::Off],
        faults: 2,
        specs: vec![(0, OBSERVED), (0, SUSPENDED), (1, OBSERVED)],
        deletes: vec![0, 1],
        refusals: vec![Kind::PermissionDenied],
        ..Scenario::default()
    }
}

/// Two policies that are created at the same time, one of which may be refused before a restart.
pub fn twins() -> Scenario {
    use EventKind::{Crash, RefuseModify};
    Scenario {
        name: "twins",
        new: vec![ON, OTHER],
        may: vec![(RefuseModify, 1), (Crash, 1)],
        faults: 2,
        refusals: vec![Kind::PermissionDenied],
        ..Scenario::default()
    }
}

/// Deletion of a policy with `Disable`, and edits by its owner meanwhile.
pub fn deletions() -> Scenario {
    use EventKind::{Delete, Depose, Drift, FailLook, LoseModify, Recreate, Respec, Tick};
    Scenario {
        name: "deletions",
        settled: vec![DISABLING],
        may: vec![
            (Delete, 1),
            (Respec, 1),
            (Depose, 1),
            (LoseModify, 1),
            (FailLook, 1),
            (Drift, 1),
            (Recreate, 1),
            (Tick, 1),
        ],
        faults: 2,
        drifts: vec![Value::Off, Value::Shanghai],
        deletes: vec![0],
        specs: vec![
            (0, ON),
            (0, Spec { suspended: true, ..DISABLING }),
            (0, Spec { manages: false, ..DISABLING }),
        ],
        describe_failures: vec![Kind::CloudUnavailable],
        ..Scenario::default()
    }
}

/// The account is closed, opened and deleted, also during a deletion.
pub fn accounts() -> Scenario {
    use EventKind::{Account as Accounts, Delete, Depose, Drift, Respec, Tick};
    Scenario {
        name: "accounts",
        settled: vec![DISABLING],
        may: vec![(Accounts, 2), (Delete, 1), (Respec, 1), (Depose, 1), (Drift, 1), (Tick, 1)],
        faults: 2,
        drifts: vec![Value::Off],
        specs: vec![(0, Spec { disables: true, ..OTHER })],
        deletes: vec![0],
        accounts: vec![
            Account::Open,
            Account::Throttled,
            Account::Suspended,
            Account::NotAllowed,
            Account::Gone,
        ],
        ..Scenario::default()
    }
}

/// The account is deleted together with the policy, and a crash loses its cached credentials.
pub fn departures() -> Scenario {
    use EventKind::{Account as Accounts, Crash, Delete, LoseModify, Tick};
    Scenario {
        name: "departures",
        settled: vec![DISABLING],
        may: vec![(Accounts, 1), (Delete, 1), (Crash, 1), (LoseModify, 1), (Tick, 1)],
        faults: 4,
        deletes: vec![0],
        accounts: vec![Account::Gone],
        ..Scenario::default()
    }
}
