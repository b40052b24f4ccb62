//! Environment of a policy's reconcile, as one replica knows it: account and competing policies.

use super::state::*;
use crate::domain::ObjectKey;
use crate::plan::conflict::{Claim, Refusal, manager};
use crate::plan::deletion::AccountAccess;
use crate::plan::memory::Memory;
use crate::plan::{CompetingPolicy, ReconcileEnv};

/// How long the credentials of a deleted account are cached.
const CREDENTIALS_RETENTION: i64 = 300;
/// Length of one pause of a throttled account.
const PAUSED: i64 = 60;

/// Returns account readiness and competing policy, and updates this policy's claim on the instance.
pub fn reconcile_env(state: &mut State, id: ProcessId, object: &Object, memory: &Memory) -> ReconcileEnv {
    let replica = &state.replicas[id.replica];
    let (account, access_generation) = (replica.account, u64::from(replica.access_generation));
    let awaits_proof = memory.awaits_proof() && !object.spec.suspended && account.reason().is_none();
    let proven = object.spec.manages && memory.is_proven();
    if account == Account::Gone {
        // The provider of a deleted account is unknown: an existing claim stays.
        if !proven {
            set_claim(state, id, None);
        }
    } else if !awaits_proof {
        let refused = memory.refusal().max(Refusal::known(account == Account::NotAllowed));
        set_claim(state, id, Some(refused).filter(|_| proven));
    }
    let competitor = memory.facts.policy.as_ref().and_then(|_| competitor(state, id));
    let access_generation = (account != Account::Gone).then_some(access_generation);
    let paused_until = (account == Account::Throttled).then(|| at(state.now + PAUSED));
    ReconcileEnv { readiness: account.readiness(), paused_until, competitor, access_generation }
}

/// Sets a claim, and triggers the other policies if it changed.
pub fn set_claim(state: &mut State, id: ProcessId, claim: Option<Refusal>) {
    if std::mem::replace(&mut state.process_mut(id).claim, claim) == claim {
        return;
    }
    for policy in (0..POLICIES).filter(|policy| *policy != id.policy) {
        let other = ProcessId { policy, ..id };
        if state.process(other).claim.is_some() {
            state.wake(other, state.now);
        }
    }
}

fn competitor(state: &State, id: ProcessId) -> Option<CompetingPolicy> {
    state.process(id).claim?;
    let claims = state.replicas[id.replica].processes.iter().enumerate().filter_map(|(policy, process)| {
        let (seen, refused) = (process.sees.as_ref()?, process.claim?);
        let object_key = ObjectKey::new(&policy.to_string(), "", &format!("number {policy}"));
        Some(Claim { object_key, created: at(seen.created), refused })
    });
    let claims: Vec<_> = claims.collect();
    let winner = manager(&claims).filter(|claim| *claim.object_key.uid != *id.policy.to_string())?;
    Some(CompetingPolicy { name: Some(winner.object_key.name().to_string()) })
}

pub fn reach(state: &State, id: ProcessId) -> AccountAccess {
    let replica = &state.replicas[id.replica];
    match replica.account {
        Account::Open | Account::Throttled => AccountAccess::Open,
        Account::Gone if replica.credentials.is_some_and(|until| state.now < until) => AccountAccess::Open,
        Account::Gone => AccountAccess::Hopeless,
        Account::Suspended | Account::NotAllowed => AccountAccess::Waiting,
    }
}

/// Delivers the account's state to a replica.
pub fn deliver_account(state: &mut State, replica: usize) {
    let (now, account) = (state.now, state.account);
    let seen = &mut state.replicas[replica];
    if account == Account::Gone {
        seen.credentials = Some(now + CREDENTIALS_RETENTION);
    }
    // A pause starts no new access generation.
    seen.access_generation += u8::from(seen.account.reason() != account.reason());
    seen.account = account;
    for policy in 0..POLICIES {
        let id = ProcessId { replica, policy };
        if state.process(id).sees.is_some() {
            state.wake(id, now);
        }
    }
}
