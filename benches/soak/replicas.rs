//! Runs two replicas of the operator and, as a kubelet does, restarts a replica that ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::{Process, Signal};

use crate::decide::Who;
use crate::harness::{OPERATOR_NAMESPACE, Stage};
use crate::usage::Usage;

/// Limit for a stop after SIGTERM: reconciles in progress have 10 s, releasing the Lease 5 s.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
const LEADING: &str = r#""message":"leading""#;
const KEPT: &str = "target/soak";

struct Replica {
    process: Process,
    /// When SIGCONT follows, where the replica is frozen.
    thaws: Option<Instant>,
    /// When SIGTERM was sent.
    asked: Option<Instant>,
    killed: bool,
}

pub struct Replicas {
    kubeconfig: PathBuf,
    resync: Duration,
    both: Vec<Replica>,
    pub started: u64,
    /// Number of ended replicas by cause.
    pub ended: BTreeMap<&'static str, u64>,
    /// Violations: unexpected exits and error lines in logs.
    pub complaints: Vec<String>,
    logs: Vec<PathBuf>,
}

impl Replicas {
    pub async fn start(stage: &Stage<'_>, resync: Duration) -> Result<Self> {
        let kubeconfig =
            stage.plane.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_NAMESPACE).await?;
        let mut replicas = Self {
            kubeconfig,
            resync,
            both: Vec::new(),
            started: 0,
            ended: BTreeMap::new(),
            complaints: Vec::new(),
            logs: Vec::new(),
        };
        for _ in 0..2 {
            let replica = replicas.another(stage)?;
            replicas.both.push(replica);
        }
        Ok(replicas)
    }

    fn another(&mut self, stage: &Stage<'_>) -> Result<Replica> {
        let mut command = stage.operator_command(&self.kubeconfig);
        let resync = format!("--resync-interval-override={}s", self.resync.as_secs());
        command.args([&resync, "--log-level=info", "--log-format=json"]);
        self.started += 1;
        let log = stage.plane.file(&format!("replica-{}.log", self.started));
        self.logs.push(log.clone());
        Ok(Replica { process: Process::spawn(command, log)?, thaws: None, asked: None, killed: false })
    }

    /// Restarts replicas that ended, and continues those whose freeze is over; with `all`, every frozen one.
    pub fn tend(&mut self, stage: &Stage<'_>, all: bool) -> Result<()> {
        for index in 0..self.both.len() {
            let replica = &mut self.both[index];
            if replica.thaws.is_some_and(|at| all || at <= Instant::now()) {
                replica.process.signal(Signal::CONT)?;
                replica.thaws = None;
            }
            if let Some(status) = replica.process.try_wait()? {
                let how = replica.judge(status.code());
                match how {
                    Ok(how) => *self.ended.entry(how).or_default() += 1,
                    Err(error) => self.complaints.push(format!("{error:#}")),
                }
                self.both[index] = self.another(stage)?;
            } else {
                let late = replica.asked.is_some_and(|asked| asked.elapsed() > STOPS_WITHIN);
                ensure!(!late, "SIGTERM was not enough\n{}", replica.process.log_tail());
            }
        }
        Ok(())
    }

    pub fn terminate(&mut self, who: Who) -> Result<()> {
        let replica = self.one(who);
        replica.thaw()?;
        replica.asked.get_or_insert_with(Instant::now);
        replica.process.signal(Signal::TERM)
    }

    pub fn kill(&mut self, who: Who) -> Result<()> {
        let replica = self.one(who);
        replica.killed = true;
        replica.process.signal(Signal::KILL)
    }

    pub fn freeze(&mut self, who: Who, length: Duration) -> Result<()> {
        let replica = self.one(who);
        if replica.asked.is_none() {
            replica.thaws = Some(Instant::now() + length);
            replica.process.signal(Signal::STOP)?;
        }
        Ok(())
    }

    fn one(&mut self, who: Who) -> &mut Replica {
        let leads = |replica: &Replica| replica.process.log().contains(LEADING);
        // A frozen replica may have lost the Lease.
        let leader = self.both.iter().rposition(|r| leads(r) && r.thaws.is_none());
        let leader = leader.unwrap_or_default();
        let index = match who {
            Who::Leader => leader,
            Who::Standby => 1 - leader,
        };
        &mut self.both[index]
    }

    /// Returns the resource usage of the leader and of the standby.
    pub fn usage(&mut self) -> Result<[Usage; 2]> {
        let leaders = self.both.iter().filter(|r| r.process.log().contains(LEADING)).count();
        ensure!(leaders == 1, "{leaders} replicas lead");
        let of = |replica: &Replica| Usage::of(replica.process.id());
        Ok([of(self.one(Who::Leader))?, of(self.one(Who::Standby))?])
    }

    /// Adds a complaint for each error line in the logs of all replicas.
    pub fn look_through_logs(&mut self) {
        for log in &self.logs {
            let text = fs::read_to_string(log).unwrap_or_default();
            let bad = text.lines().filter(|line| !is_harmless(line));
            self.complaints.extend(bad.map(|line| format!("{}: {line}", log.display())));
        }
    }

    /// Copies the replicas' logs and the API server's audit log to a folder that outlives the control plane.
    pub fn keep_logs(&self, stage: &Stage<'_>, seed: u64) -> Result<PathBuf> {
        let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(KEPT).join(seed.to_string());
        fs::create_dir_all(&kept)?;
        for log in self.logs.iter().chain([&stage.plane.file("audit.log")]) {
            fs::copy(log, kept.join(log.file_name().unwrap_or_default())).context("a log")?;
        }
        Ok(kept)
    }
}

impl Replica {
    fn thaw(&mut self) -> Result<()> {
        match self.thaws.take() {
            Some(_) => self.process.signal(Signal::CONT),
            None => Ok(()),
        }
    }

    /// Returns the cause of the end.
    ///
    /// # Errors
    /// When nothing explains the exit code.
    fn judge(&self, code: Option<i32>) -> Result<&'static str> {
        match code {
            None if self.killed => Ok("killed"),
            Some(0) if self.asked.is_some() => Ok("asked to"),
            _ => anyhow::bail!("a replica ended with {code:?}\n{}", self.process.log_tail()),
        }
    }
}

/// Whether the line is a JSON log line below the level ERROR.
fn is_harmless(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"] != "ERROR")
}
