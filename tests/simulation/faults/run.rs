//! Runs a scenario: its steps at their times, with the controllers restarted whenever they are killed; then waits until
//! everything has converged and is idle.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};

use super::checker::check;
use super::convergence::check_converged;
use super::scenarios::Scenario;
use super::steps::{FLEET, add_instance};
use crate::harness::TestCluster;
use crate::harness::fleet::Fleet;
use crate::harness::history::{CrashPoint, Entry, EntryKind};
use crate::harness::measurements::MODIFY;

/// Time within which all is well after the last step. It exceeds the longest timers: abandoning a deletion, the timeout
/// of a silent watch, and a backoff take some five minutes each.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(700);
/// Time for what follows convergence: the next listing of backups, and its consequences.
const SETTLE_TIME: Duration = Duration::from_secs(65);
/// More than one interval, without writes.
const IDLE_TIME: Duration = Duration::from_secs(65);
const KILLS: usize = 6;
/// Interval at which the check whether all is well is repeated.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Restart of the controllers after a kill.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestartPolicy {
    /// Delay until the restart.
    pub after: Duration,
    /// Age of the Lease's last renewal at the restart.
    pub renewed_before: SignedDuration,
    /// Interactions until the next kill; [`KILLS`] kills in total.
    pub kill_again_after: Option<usize>,
}

/// Returns a cluster with the scenario's initial state.
pub fn stage(scenario: &Scenario) -> TestCluster {
    let cluster = TestCluster::new();
    let fleet = Fleet { policies: usize::from(scenario.cloud.is_some()), ..FLEET };
    cluster.journal.start_recording();
    cluster.install(&fleet);
    if let Some(policy) = &scenario.cloud {
        add_instance(&cluster, policy.clone(), scenario.visible_after);
    }
    cluster
}

/// Runs a future in its own runtime, with paused time and a fixed random seed. On a panic it prints `what`.
pub fn in_own_runtime<T>(what: &str, seed: u64, run: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run)));
    ended.unwrap_or_else(|panic| {
        eprintln!("in {what}");
        resume_unwind(panic)
    })
}

/// The controllers of a cluster, restarted whenever they are killed.
pub struct ScenarioRun<'a> {
    pub cluster: &'a mut TestCluster,
    restart_policy: RestartPolicy,
    due: Option<Instant>,
    killed: usize,
}

impl<'a> ScenarioRun<'a> {
    pub fn new(cluster: &'a mut TestCluster, restart_policy: RestartPolicy) -> Self {
        cluster.start(cluster.clock.now());
        Self { cluster, restart_policy, due: None, killed: 0 }
    }

    /// Applies the scenario's steps at their times.
    pub async fn act(&mut self, scenario: &Scenario) {
        for (pause, step) in &scenario.steps {
            self.pass(Duration::from_millis(*pause)).await;
            step.happen(self.cluster);
        }
    }

    /// Lets time pass, and restarts the controllers when that is due.
    pub async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let due = self.due.unwrap_or(end).min(end);
            tokio::select! {
                () = self.cluster.killed() => self.restart(),
                () = sleep_until(due) => {
                    if self.due.take_if(|due| *due <= Instant::now()).is_some() {
                        self.cluster.start(self.cluster.clock.now() - self.restart_policy.renewed_before);
                    } else {
                        return;
                    }
                }
            }
        }
    }

    /// Kills the controllers, and schedules their restart.
    pub fn restart(&mut self) {
        self.cluster.kill();
        self.due = Some(Instant::now() + self.restart_policy.after);
        self.killed += 1;
        if let Some(interactions) = self.restart_policy.kill_again_after.filter(|_| self.killed < KILLS) {
            let stage = [CrashPoint::After, CrashPoint::Before, CrashPoint::InFlight][self.killed % 3];
            self.cluster.journal.crash_point(self.cluster.journal.interactions() + interactions, stage);
        }
    }

    /// Ends the repeated kills.
    pub fn clear_crash_point(&mut self) {
        self.restart_policy.kill_again_after = None;
        self.cluster.journal.clear_crash_point();
    }

    /// Waits until all is well and idle; returns the time until all was well.
    ///
    /// # Panics
    /// If that takes too long, or the checker finds a violation.
    pub async fn run_until_idle(&mut self, scenario: &Scenario) -> Duration {
        let start = Instant::now();
        while let Err(why) = check_converged(self.cluster) {
            assert!(
                start.elapsed() < CONVERGENCE_TIMEOUT,
                "{}\n{why}",
                told(&self.cluster.journal.entries(), None)
            );
            self.pass(POLL_INTERVAL).await;
        }
        let took = start.elapsed();
        self.pass(SETTLE_TIME).await;
        let quiet = Instant::now();
        self.pass(IDLE_TIME).await;
        let entries = self.cluster.journal.entries();
        assert!(
            check_converged(self.cluster).is_ok(),
            "{}\n{:?}",
            told(&entries, None),
            check_converged(self.cluster)
        );
        let written = entries.iter().rfind(|e| e.at >= quiet && matches!(&e.what, EntryKind::Stored(_)));
        assert!(written.is_none(), "{}\nwritten at rest: {written:?}", told(&entries, None));
        self.check_as_wanted(scenario, &entries, quiet);
        took
    }

    fn check_as_wanted(&self, scenario: &Scenario, entries: &[Entry], quiet: Instant) {
        let modifies = |since: Option<Instant>| {
            let is_modify = |e: &&Entry| matches!(&e.what, EntryKind::Called(call) if call.action == MODIFY);
            entries.iter().filter(|e| since.is_none_or(|since| e.at >= since)).filter(is_modify).count()
        };
        assert_eq!(modifies(Some(quiet)), 0, "{}\nmodified at rest", told(entries, None));
        assert!(!scenario.leaves_alone || modifies(None) == 0, "{}\nmodified", told(entries, None));
        if let Some(end) = &scenario.end {
            let held = self.cluster.cloud.policy(&FLEET.instance(0)).unwrap().current;
            let is_so = held.active == end.active && (!end.active || held.region == end.region);
            assert!(is_so, "{}\nthe cloud has {held:?}, and not {end:?}", told(entries, None));
        }
        if let Err(broken) = check(entries) {
            panic!("{}\n{}", told(entries, Some(broken.at)), broken.why);
        }
    }

    /// Kills the controllers, and lets their tasks end.
    pub async fn end(self) {
        self.cluster.kill();
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

fn line(what: &EntryKind) -> String {
    match what {
        EntryKind::Started => "starts".to_owned(),
        EntryKind::Killed => "is killed".to_owned(),
        EntryKind::Received(told) => {
            format!("is told ({:?}) {} {}", told.how, told.resource, String::from_utf8_lossy(&told.object))
        }
        EntryKind::Stored(stored) => {
            let gone = if stored.is_gone { "its last " } else { "" };
            format!("writes {gone}{} {}", stored.resource, String::from_utf8_lossy(&stored.object))
        }
        EntryKind::Called(call) => format!("calls {} {} {}", call.number, call.action, call.body),
        EntryKind::Answered(number, answer) => {
            format!("is answered {number} {} {}", answer.status, String::from_utf8_lossy(&answer.body))
        }
    }
}
