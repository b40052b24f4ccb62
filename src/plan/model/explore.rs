//! Breadth-first search of all reachable states: the first counterexample is one of the shortest.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::drive::Model;
use super::mutants::{Decisions, Mutant};
use super::properties::{Property, Violation};
use super::settle::{LivenessCheck, fault_free};
use super::state::*;
use super::steps::{Scenario, Step, new_object};
use crate::plan::hash_of;

/// Result of an exploration.
pub struct Found {
    pub states: usize,
    pub transitions: usize,
    pub took: Duration,
    pub fall: Option<Counterexample>,
}

pub struct Counterexample {
    pub property: Property,
    /// Steps and the broken property, as text.
    pub text: String,
}

/// First path to a state: predecessor and step.
struct Reached {
    from: usize,
    step: Step,
}

impl Scenario {
    /// Returns the initial state: replica 0 leads, and the other one is on standby.
    fn begin(&self, world: &mut Model) -> State {
        let replica = |role| Replica {
            role,
            account: Account::Open,
            access_generation: 0,
            credentials: None,
            as_of: 0,
            processes: Default::default(),
        };
        let mut state = State {
            now: 0,
            cloud: self.cloud,
            flights: Vec::new(),
            account: Account::Open,
            replicas: [replica(Role::Leads), replica(Role::StandsBy)],
            objects: Default::default(),
            renewed: 0,
            proven: Vec::new(),
            left: Default::default(),
            faults: 0,
        };
        let specs = self.settled.iter().chain(&self.new);
        for (number, spec) in specs.enumerate() {
            if number == self.settled.len() {
                self.settle(world, &mut state);
            }
            let uid = u8::try_from(number).unwrap();
            let object = new_object(uid, i64::from(uid) - 10_000, *spec);
            state.objects[number] = Some(world.objects.object(object));
        }
        if self.new.is_empty() {
            self.settle(world, &mut state);
        }
        for (kind, often) in &self.may {
            state.left[*kind as usize] = *often;
        }
        state.faults = self.faults;
        state
    }

    fn settle(&self, world: &mut Model, state: &mut State) {
        while let Some(step) = fault_free(state) {
            world.apply(state, step).expect("nothing goes wrong yet");
        }
        // The standby replica's watch has delivered the objects as well.
        let sees = state.objects.clone();
        state.replicas[1].processes = sees.map(|sees| Process { sees, ..Process::default() });
    }

    /// Explores all states, or up to the first counterexample.
    pub fn explore(&self, mutant: Option<Mutant>) -> Found {
        let began = Instant::now();
        let mut world = Model { decisions: Decisions(mutant), ..Model::default() };
        let mut settling = LivenessCheck::default();
        let first = self.begin(&mut world);
        let mut seen = HashSet::from([hash_of(&first)]);
        let mut paths: Vec<Option<Reached>> = vec![None];
        let mut open = VecDeque::from([(0, first)]);
        let mut transitions = 0;
        let mut fall = None;
        while let Some((number, state)) = open.pop_front() {
            if let Err((trace, broken)) = settling.check(&mut world, &state) {
                let steps = path(&paths, number);
                fall = Some(self.tell(&steps, Some(&trace), mutant, broken));
                break;
            }
            for step in self.steps(&state) {
                transitions += 1;
                match world.take(&state, step) {
                    Ok(next) if seen.insert(hash_of(&next)) => {
                        paths.push(Some(Reached { from: number, step }));
                        open.push_back((paths.len() - 1, next));
                    }
                    Ok(_) => {}
                    Err(broken) => {
                        let mut steps = path(&paths, number);
                        steps.push(step);
                        fall = Some(self.tell(&steps, None, mutant, broken));
                        open.clear();
                        break;
                    }
                }
            }
        }
        Found { states: paths.len(), transitions, took: began.elapsed(), fall }
    }

    /// Replays the steps of a counterexample and describes them.
    fn tell(
        &self,
        steps: &[Step],
        settling: Option<&[Step]>,
        mutant: Option<Mutant>,
        broken: Violation,
    ) -> Counterexample {
        let mut world = Model { decisions: Decisions(mutant), ..Model::default() };
        let mut state = self.begin(&mut world);
        let mut text = format!("{}: {:?} is broken: {}\n", self.name, broken.property, broken.why);
        let quiet = settling.unwrap_or_default();
        for (number, step) in steps.iter().chain(quiet).enumerate() {
            if number == steps.len() {
                text.push_str("      from here on nothing goes wrong\n");
            }
            let _ = world.apply(&mut state, *step);
            let _ = writeln!(text, "{number:4}. {step}{}", about(&state, *step));
        }
        Counterexample { property: broken.property, text }
    }
}

fn path(paths: &[Option<Reached>], mut number: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(reached) = &paths[number] {
        steps.push(reached.step);
        number = reached.from;
    }
    steps.reverse();
    steps
}

/// Describes the effect of a step.
fn about(state: &State, step: Step) -> String {
    let id = match step {
        Step::Reconcile(id) | Step::Answer(id, _) => id,
        _ => return format!("   [second {}, the cloud has {:?}]", state.now, state.cloud),
    };
    let process = state.process(id);
    let then = match process.reconcile.as_ref().map(|reconcile| &reconcile.call) {
        Some(Call::Describe(_)) => "it asks the cloud".to_owned(),
        Some(Call::Regions) => "it asks for the regions".to_owned(),
        Some(Call::Modify(to)) => format!("it sends {to:?}"),
        Some(Call::Write(Writing::Status(_), object)) => {
            let synced = object.status.condition("Synced").map(|c| (c.reason.clone(), c.observed_generation));
            format!("it writes {synced:?}")
        }
        Some(Call::Write(what, _)) => format!("it writes: {what:?}"),
        None => format!("the turn ends, the next one is due in second {:?}", process.due),
    };
    format!(": {then}")
}
