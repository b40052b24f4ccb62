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
use scenarios::Scenario;

fn holds(scenario: &Scenario) {
    let found = scenario.explore(None);
    let name = scenario.name;
    println!("{name}: {} states, {} transitions, {:.1?}", found.states, found.transitions, found.took);
    if let Some(fall) = found.fall {
        panic!("{}", fall.text);
    }
}

/// One test for each scenario. `cargo test --lib plan::model -- --nocapture` prints how much was explored. A scenario that is not listed
/// is dead code, of which the compiler warns.
macro_rules! scenarios {
    ($($scenario:ident)*) => {
        mod nothing_that_can_happen_breaks_a_property {
            use super::{holds, scenarios};

            $(
                #[test]
                fn $scenario() {
                    holds(&scenarios::$scenario());
                }
            )*
        }
    };
}

scenarios! { leaders clouds specs rivals twins deletions accounts departures }

fn is_found(mutant: Mutant, scenario: &Scenario, property: Property) {
    let found = scenario.explore(Some(mutant));
    let fall = found.fall.unwrap_or_else(|| panic!("{mutant:?} was not found in {}", scenario.name));
    assert_eq!(fall.property, property, "{mutant:?}: {}", fall.text);
    println!("{mutant:?}: {property:?}, after {} states of {}", found.states, scenario.name);
}

/// One test for each mutant: the scenario that finds it, and the property that it breaks. A mutant that is not listed is never
/// constructed, of which the compiler warns.
macro_rules! mutants {
    ($($mutant:ident in $scenario:ident breaks $property:ident;)*) => {
        #[allow(non_snake_case)]
        mod each_guard_that_is_dropped_breaks_a_property {
            use super::{Mutant, Property, is_found, scenarios};

            $(
                #[test]
                fn $mutant() {
                    is_found(Mutant::$mutant, &scenarios::$scenario(), Property::$property);
                }
            )*
        }
    };
}

mutants! {
    ManagesInObserve in rivals breaks ModifiesWhatIsWanted;
    IgnoresSuspend in rivals breaks ModifiesWhatIsWanted;
    IgnoresRival in twins breaks OnlyTheManagerModifies;
    IgnoresAccount in accounts breaks ModifiesWhereAllowed;
    IgnoresAge in clouds breaks ModifiesWhatDiffers;
    KeepsDifference in twins breaks ModifiesWhatDiffers;
    ForgetsAccepted in twins breaks WaitsForAccepted;
    KeepsGeneration in rivals breaks SaysWhatWasSeen;
    KeepsLook in accounts breaks SaysWhatWasSeen;
    TrustsOldStatus in deletions breaks SaysWhatWasSeen;
    ForgetsRefusal in twins breaks OnlyTheManagerModifies;
    RetriesAtOnce in deletions breaks WaitsAfterFailure;
    NeverCorrects in leaders breaks BecomesEqual;
    MovesTransitions in leaders breaks ComesToRest;
    WaitsForEver in leaders breaks TellsTheTruth;
    TrustsUnanswered in rivals breaks SaysWhatWasSeen;
    DisablesRetained in deletions breaks ModifiesWhatIsWanted;
    ReleasesUnseen in deletions breaks ReleasesWithReason;
    NeverGivesUp in departures breaks DeletionEnds;
    DisablesForObserver in deletions breaks ModifiesWhatIsWanted;
    DisablesForLoser in rivals breaks OnlyTheManagerModifies;
    SendsDeposed in leaders breaks OnlyTheLeaderModifies;
    SendsOutdated in specs breaks ModifiesWhatIsWanted;
}
