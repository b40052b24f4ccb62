//! Exhaustive model check of the decisions in `plan`: a fake cloud, a fake API server and two replicas, in every order
//! of events within a scenario's bounds.
//!
//! The explorer is our own: a state holds real [`Memory`](super::memory::Memory) and [`Facts`](crate::domain::Facts),
//! times are numbers, and a model-checking crate would require both to be hashable without another benefit. Modules:
//!
//! - `state`: the model state; `steps`: its transitions, one effect at a time.
//! - `drive`: a reconcile as in `controllers/policy`, with the shipped functions of `plan`; `around`: its environment.
//! - `properties`: checks of each call, status and finalizer that leaves the operator.
//! - `settle`: continues each state without faults and checks the outcome.
//! - `explore`: breadth-first search that reports the path to a counterexample.
//! - `scenarios`: initial states, each with a fault budget that keeps it finite.
//! - `mutants`: decisions that lack one guard each; an explorer that does not find them proves nothing.
//!
//! States are compared by a 64-bit hash. Not modelled: backups (listings are immediate and empty), unavailable regions,
//! permits of the request budget, the delay between two writes, request annotations, retries within one Modify (one
//! request in flight), the fast path, and watch events of the standby replica after the start. Only a review of both
//! keeps `drive` equivalent to `controllers/policy`.

mod drive;
mod environment;
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

/// One test for each scenario. `cargo test --lib plan::model -- --nocapture` prints the number of explored states. A
/// scenario that is not listed is dead code, which the compiler reports.
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

/// One test for each mutant: the scenario that finds it, and the property that it breaks. A mutant that is not listed
/// is never constructed, which the compiler reports.
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
