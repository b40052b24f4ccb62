//! An exhaustive model check of the decisions in `plan`: a made-up cloud, an API server and two replicas, in all orders of what
//! can happen within a scenario's bounds.
//!
//! The explorer is our own: a state holds real [`Memory`](super::memory::Memory) and [`Facts`](crate::domain::Facts), times are
//! numbers, and nothing is gained from a crate that would want both to be hashed. What is explored:
//!
//! - `state` is what states are made of, `steps` is what can happen in one, one effect at a time.
//! - `drive` takes a policy's turns as `controllers/policy` does, with the functions of `plan` that ship; `around` is what
//!   surrounds them.
//! - `properties` judges each call, status and finalizer that leaves the operator.
//! - `settle` goes on from each state without faults, and judges what becomes of it.
//! - `explore` goes through it all, breadth first, and tells the way to a counterexample.
//! - `scenarios` are the worlds, each with a budget of faults, so that it is finite.
//! - `mutants` lack one guard each: an explorer that does not find them proves nothing.
//!
//! States are compared by 64 bits of hash. Not modelled: backups (a reading is there at once, and empty), regions that are not
//! available, the budget's permits, the wait between two writes, requests by annotation, the tries within one attempt to modify
//! (they are one flight), glances, and what the watch of a replica that stands by sees after the beginning. That `drive` does
//! what `controllers/policy` does is held by nothing but reading both.

mod around;
mod drive;
mod explore;
mod mutants;
mod properties;
mod scenarios;
mod settle;
mod state;
mod steps;

use mutants::Mutant;
use properties::Property;
use scenarios::*;
use steps::Scenario;

/// `cargo test --lib plan::model -- --nocapture` prints how much was explored.
#[test]
fn nothing_that_can_happen_breaks_a_property() {
    let (mut states, mut transitions) = (0, 0);
    for scenario in scenarios::all() {
        let found = scenario.explore(None);
        let name = scenario.name;
        println!("{name}: {} states, {} transitions, {:.1?}", found.states, found.transitions, found.took);
        if let Some(fall) = found.fall {
            panic!("{}", fall.text);
        }
        states += found.states;
        transitions += found.transitions;
    }
    println!("together: {states} states, {transitions} transitions");
}

#[test]
fn each_guard_that_is_dropped_breaks_a_property() {
    use Mutant::*;
    use Property::*;
    let mutants: [(Mutant, Scenario, Property); 23] = [
        (ManagesInObserve, rivals(), ModifiesWhatIsWanted),
        (IgnoresSuspend, rivals(), ModifiesWhatIsWanted),
        (IgnoresRival, twins(), OnlyTheManagerModifies),
        (IgnoresAccount, accounts(), ModifiesWhereAllowed),
        (IgnoresAge, clouds(), ModifiesWhatDiffers),
        (KeepsDifference, twins(), ModifiesWhatDiffers),
        (ForgetsAccepted, twins(), WaitsForAccepted),
        (KeepsGeneration, rivals(), SaysWhatWasSeen),
        (KeepsLook, accounts(), SaysWhatWasSeen),
        (TrustsOldStatus, deletions(), SaysWhatWasSeen),
        (ForgetsRefusal, twins(), OnlyTheManagerModifies),
        (RetriesAtOnce, deletions(), WaitsAfterFailure),
        (NeverCorrects, leaders(), BecomesEqual),
        (MovesTransitions, leaders(), ComesToRest),
        (WaitsForEver, leaders(), TellsTheTruth),
        (TrustsUnanswered, rivals(), SaysWhatWasSeen),
        (DisablesRetained, deletions(), ModifiesWhatIsWanted),
        (ReleasesUnseen, deletions(), ReleasesWithReason),
        (NeverGivesUp, departures(), DeletionEnds),
        (DisablesForObserver, deletions(), ModifiesWhatIsWanted),
        (DisablesForLoser, rivals(), OnlyTheManagerModifies),
        (SendsDeposed, leaders(), OnlyTheLeaderModifies),
        (SendsOutdated, specs(), ModifiesWhatIsWanted),
    ];
    for (mutant, scenario, property) in mutants {
        let found = scenario.explore(Some(mutant));
        let fall = found.fall.unwrap_or_else(|| panic!("{mutant:?} was not found in {}", scenario.name));
        assert_eq!(fall.property, property, "{mutant:?}: {}", fall.text);
        println!("{mutant:?}: {property:?}, after {} states of {}", found.states, scenario.name);
    }
}
