//! Environment of a policy's reconcile, as one replica knows it: account and competing policies.

use super::state::*;
use crate::domain::Named;
use crate::plan::conflict::{Claim, Refusal, manager};
use crate::plan::deletion::Reach;
use crate::plan::memory::Memory;
use crate::plan::{Rival, Surroundings};

/// How long the credentials of a deleted account are cached.
const KEPT: i64 = 300;
/// Length of one pause of a throttled account.
const PAUSED: i64 = 60;

/// Returns account readiness and competing policy, and updates this policy's claim on the instance.
pub fn surroundings(state: &mut State, seat: Seat, object: &Object, memory: &Memory) -> Surroundings {
    let replica = &state.replicas[seat.replica];
    let (account, epoch) = (replica.account, u64::from(replica.epoch));
    let awaits_proof = memory.awaits_proof() && !object.spec.suspended && account.reason().is_none();
    let proven = object.spec.manages && memory.is_proven();
    if account == Account::Gone {
        // The provider of a deleted account is unknown: an existing claim stays.
        if !proven {
            set_claim(state, seat, None);
        }
    } else if !awaits_proof {
        let refused = memory.refusal().max(Refusal::known(account == Account::NotAllowed));
        set_claim(state, seat, Some(refused).filter(|_| proven));
    }
    let rival = memory.facts.policy.as_ref().and_then(|_| rival(state, seat));
    let epoch = (account != Account::Gone).then_some(epoch);
    let paused_until = (account == Account::Throttled).then(|| at(state.now + PAUSED));
    Surroundings { gate: account.gate(), paused_until, rival, epoch }
}

/// Sets a claim, and triggers the other policies if it changed.
pub fn set_claim(state: &mut State, seat: Seat, claim: Option<Refusal>) {
    if std::mem::replace(&mut state.process_mut(seat).claim, claim) == claim {
        return;
    }
    for policy in (0..POLICIES).filter(|policy| *policy != seat.policy) {
        let other = Seat { policy, ..seat };
        if state.process(other).claim.is_some() {
            state.wake(other, state.now);
        }
    }
}

fn rival(state: &State, seat: Seat) -> Option<Rival> {
    state.process(seat).claim?;
    let claims = state.replicas[seat.replica].processes.iter().enumerate().filter_map(|(policy, process)| {
        let (seen, refused) = (process.sees.as_ref()?, process.claim?);
        let named = Named::new(&policy.to_string(), "", &format!("number {policy}"));
        Some(Claim { named, created: at(seen.created), refused })
    });
    let claims: Vec<_> = claims.collect();
    let winner = manager(&claims).filter(|claim| *claim.named.uid != *seat.policy.to_string())?;
    Some(Rival { name: Some(winner.named.name().to_string()) })
}

pub fn reach(state: &State, seat: Seat) -> Reach {
    let replica = &state.replicas[seat.replica];
    match replica.account {
        Account::Open | Account::Throttled => Reach::Open,
        Account::Gone if replica.credentials.is_some_and(|until| state.now < until) => Reach::Open,
        Account::Gone => Reach::Hopeless,
        Account::Suspended | Account::NotAllowed => Reach::Waiting,
    }
}

/// Delivers the account's state to a replica.
pub fn deliver_account(state: &mut State, replica: usize) {
    let (now, account) = (state.now, state.account);
    let seen = &mut state.replicas[replica];
    if account == Account::Gone {
        seen.credentials = Some(now + KEPT);
    }
    // A pause starts no new access generation.
    seen.epoch += u8::from(seen.account.reason() != account.reason());
    seen.account = account;
    for policy in 0..POLICIES {
        let seat = Seat { replica, policy };
        if state.process(seat).sees.is_some() {
            state.wake(seat, now);
        }
    }
}
