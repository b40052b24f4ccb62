//! Runs a scenario: its steps at their times, with the controllers restarted whenever they are killed; then waits until
//! everything has converged and is idle.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};

use super::liveness::is_well;
use super::oracle::judge;
use super::scenarios::Scenario;
use super::steps::{FLEET, add_instance};
use crate::harness::World;
use crate::harness::figures::MODIFY;
use crate::harness::fleet::Fleet;
use crate::harness::journal::{Entry, Stage, What};

/// Time within which all is well after the last step. It exceeds the longest timers: abandoning a deletion, the timeout
/// of a silent watch, and a backoff take some five minutes each.
const PATIENCE: Duration = Duration::from_secs(700);
/// Time for what follows convergence: the next listing of backups, and its consequences.
const AFTERMATH: Duration = Duration::from_secs(65);
/// More than one interval, without writes.
const QUIET: Duration = Duration::from_secs(65);
const AGAIN: usize = 6;
/// Interval at which the check whether all is well is repeated.
const STEP: Duration = Duration::from_secs(1);

/// Restart of the controllers after a kill.
#[derive(Clone, Copy, Debug, Default)]
pub struct Comeback {
    /// Delay until the restart.
    pub after: Duration,
    /// Age of the Lease's last renewal at the restart.
    pub renewed_before: SignedDuration,
    /// Interactions until the next kill; [`AGAIN`] kills in total.
    pub and_again: Option<usize>,
}

/// Returns a cluster with the scenario's initial state.
pub fn stage(scenario: &Scenario) -> World {
    let world = World::new();
    let fleet = Fleet { policies: usize::from(scenario.cloud.is_some()), ..FLEET };
    world.journal.keep();
    world.found(&fleet);
    if let Some(policy) = &scenario.cloud {
        add_instance(&world, policy.clone(), scenario.visible_after);
    }
    world
}

/// Runs a future in its own runtime, with paused time and a fixed random seed. On a panic it prints `what`.
pub fn in_time_of_its_own<T>(what: &str, seed: u64, run: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run)));
    ended.unwrap_or_else(|panic| {
        eprintln!("in {what}");
        resume_unwind(panic)
    })
}

/// The controllers of a cluster, restarted whenever they are killed.
pub struct Play<'a> {
    pub world: &'a mut World,
    comeback: Comeback,
    due: Option<Instant>,
    killed: usize,
}

impl<'a> Play<'a> {
    pub fn new(world: &'a mut World, comeback: Comeback) -> Self {
        world.start(world.clock.now());
        Self { world, comeback, due: None, killed: 0 }
    }

    /// Applies the scenario's steps at their times.
    pub async fn act(&mut self, scenario: &Scenario) {
        for (pause, step) in &scenario.steps {
            self.pass(Duration::from_millis(*pause)).await;
            step.happen(self.world);
        }
    }

    /// Lets time pass, and restarts the controllers when that is due.
    pub async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let due = self.due.unwrap_or(end).min(end);
            tokio::select! {
                () = self.world.killed() => self.restart(),
                () = sleep_until(due) => {
                    if self.due.take_if(|due| *due <= Instant::now()).is_some() {
                        self.world.start(self.world.clock.now() - self.comeback.renewed_before);
                    } else {
                        return;
                    }
                }
            }
        }
    }

    /// Kills the controllers, and schedules their restart.
    pub fn restart(&mut self) {
        self.world.kill();
        self.due = Some(Instant::now() + self.comeback.after);
        self.killed += 1;
        if let Some(interactions) = self.comeback.and_again.filter(|_| self.killed < AGAIN) {
            let stage = [Stage::After, Stage::Before, Stage::Under][self.killed % 3];
            self.world.journal.strike(self.world.journal.interactions() + interactions, stage);
        }
    }

    /// Ends the repeated kills.
    pub fn spare(&mut self) {
        self.comeback.and_again = None;
        self.world.journal.spare();
    }

    /// Waits until all is well and idle; returns the time until all was well.
    ///
    /// # Panics
    /// If that takes too long, or the checker finds a violation.
    pub async fn comes_to_rest(&mut self, scenario: &Scenario) -> Duration {
        let start = Instant::now();
        while let Err(why) = is_well(self.world) {
            assert!(start.elapsed() < PATIENCE, "{}\n{why}", told(&self.world.journal.entries(), None));
            self.pass(STEP).await;
        }
        let took = start.elapsed();
        self.pass(AFTERMATH).await;
        let quiet = Instant::now();
        self.pass(QUIET).await;
        let entries = self.world.journal.entries();
        assert!(is_well(self.world).is_ok(), "{}\n{:?}", told(&entries, None), is_well(self.world));
        let written = entries.iter().rfind(|e| e.at >= quiet && matches!(&e.what, What::Stored(_)));
        assert!(written.is_none(), "{}\nwritten at rest: {written:?}", told(&entries, None));
        self.is_as_wanted(scenario, &entries, quiet);
        took
    }

    fn is_as_wanted(&self, scenario: &Scenario, entries: &[Entry], quiet: Instant) {
        let modifies = |since: Option<Instant>| {
            let is_modify = |e: &&Entry| matches!(&e.what, What::Called(call) if call.action == MODIFY);
            entries.iter().filter(|e| since.is_none_or(|since| e.at >= since)).filter(is_modify).count()
        };
        assert_eq!(modifies(Some(quiet)), 0, "{}\nmodified at rest", told(entries, None));
        assert!(!scenario.leaves_alone || modifies(None) == 0, "{}\nmodified", told(entries, None));
        if let Some(end) = &scenario.end {
            let held = self.world.cloud.policy(&FLEET.instance(0)).unwrap().current;
            let is_so = held.active == end.active && (!end.active || held.region == end.region);
            assert!(is_so, "{}\nthe cloud has {held:?}, and not {end:?}", told(entries, None));
        }
        if let Err(broken) = judge(entries) {
            panic!("{}\n{}", told(entries, Some(broken.at)), broken.why);
        }
    }

    /// Kills the controllers, and lets their tasks end.
    pub async fn end(self) {
        self.world.kill();
        sleep(Duration::from_millis(1)).await;
    }
}

/// Formats the history up to a moment, for failure messages.
pub fn told(entries: &[Entry], until: Option<Instant>) -> String {
    let Some(first) = entries.first() else { return String::new() };
    let mut text = String::new();
    for entry in entries.iter().filter(|entry| until.is_none_or(|until| entry.at <= until)) {
        let at = entry.at.duration_since(first.at).as_secs_f64();
        text.push_str(&format!("{at:9.3} {} {}\n", entry.by, line(&entry.what)));
    }
    text
}

fn line(what: &What) -> String {
    match what {
        What::Started => "starts".to_owned(),
        What::Killed => "is killed".to_owned(),
        What::Told(told) => {
            format!("is told ({:?}) {} {}", told.how, told.resource, String::from_utf8_lossy(&told.object))
        }
        What::Stored(stored) => {
            let gone = if stored.is_gone { "its last " } else { "" };
            format!("writes {gone}{} {}", stored.resource, String::from_utf8_lossy(&stored.object))
        }
        What::Called(call) => format!("calls {} {} {}", call.number, call.action, call.body),
        What::Answered(number, answer) => {
            format!("is answered {number} {} {}", answer.status, String::from_utf8_lossy(&answer.body))
        }
    }
}
