//! Leadership terms of several replicas, taken from the API server's audit log: no replica acts in the term of another.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cloud_simulator::Policy;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testbed::{AuditFilter, Process, Signal, wait_until};

use crate::checks::MODIFY;
use crate::harness::{LIMIT, POLICY, Stage};
use crate::objects::ends_with;
use crate::proxy::Proxy;
use crate::replicas::{leads, until_logged};

/// Time after the start of its last renewal during which a leader may act.
const TERM: SignedDuration = SignedDuration::from_secs(10);
/// Time that a standby waits after it observed the last renewal, less an allowance for transport.
const LEASE: SignedDuration = SignedDuration::from_millis(14_900);

/// Replicas of one stage. Each has a ServiceAccount of its own, which identifies it in the audit log.
struct Crew<'a> {
    stage: &'a Stage<'static>,
    all: Vec<(&'static str, Process)>,
}

/// Time from a replica's acquisition of the Lease to its last write of it.
#[derive(Debug)]
struct Term {
    by: String,
    from: Timestamp,
    last_write: Timestamp,
}

/// An action that only a leader may take.
#[derive(Debug)]
struct Act {
    by: String,
    what: String,
    from: Timestamp,
    to: Timestamp,
}

impl<'a> Crew<'a> {
    async fn new(stage: &'a Stage<'static>, names: &[&str]) -> Result<Self> {
        stage.apply_account().await?;
        stage.grant_lease().await?;
        for name in names {
            let subject = format!("--serviceaccount={}:{name}", stage.namespace);
            stage.run(["create", "serviceaccount", name]).await?;
            let works = format!("{name}-works");
            let role = "--clusterrole=cross-region-backup-operator";
            stage.run(["create", "rolebinding", &works, role, &subject]).await?;
            let may_lead = format!("{name}-may-lead");
            stage.run(["create", "rolebinding", &may_lead, "--role=lease", &subject]).await?;
        }
        Ok(Self { stage, all: Vec::new() })
    }

    /// Starts this replica, for the first time or again.
    async fn join(&mut self, name: &'static str, kubeconfig: Option<PathBuf>) -> Result<()> {
        let kubeconfig = match kubeconfig {
            Some(kubeconfig) => kubeconfig,
            None => self.stage.plane.service_account_kubeconfig(&self.stage.namespace, name).await?,
        };
        let log = format!("{name}-{}", self.all.len());
        self.all.push((name, self.stage.another_operator_by(&log, &kubeconfig, &[])?));
        Ok(())
    }

    async fn until_logged(&self, index: usize, words: &str) -> Result<()> {
        until_logged(&self.all[index].1, words).await.map(drop)
    }

    /// Waits until a replica other than these leads, and returns its index.
    async fn until_another_leads(&self, but: &[usize]) -> Result<usize> {
        let found = wait_until(LIMIT, "another leader", async || {
            let of = |(index, (_, process)): (usize, &(_, Process))| (leads(process), index);
            let mut leading = self.all.iter().enumerate().map(of);
            Ok(leading.find(|(leads, index)| *leads && !but.contains(index)).map(|(_, index)| index))
        });
        found.await
    }

    /// Changes the policy, and waits until the leader has applied the change.
    async fn works(&self, target: &str) -> Result<()> {
        self.stage.patch_policy(json!({"crossBackupRegion": target})).await?;
        self.stage.until_reason("InSync").await?;
        ensure!(self.stage.held()? == Policy::to_region(target));
        Ok(())
    }

    fn terms(&self) -> Result<Vec<Term>> {
        let stage = self.stage;
        let filter = AuditFilter {
            resource: Some("leases"),
            namespace: Some(&stage.namespace),
            writes_only: true,
            ..AuditFilter::default()
        };
        let mut writes = Vec::new();
        for entry in stage.plane.audit_entries(&filter)? {
            if matches!(entry.code, 200 | 201) {
                writes.push((entry.received.parse::<Timestamp>()?, entry.user));
            }
        }
        writes.sort();
        let mut terms: Vec<Term> = Vec::new();
        for (at, user) in writes {
            let by = user.rsplit(':').next().unwrap_or_default().to_owned();
            match terms.last_mut().filter(|last| last.by == by) {
                Some(last) => last.last_write = at,
                None => terms.push(Term { by, from: at, last_write: at }),
            }
        }
        Ok(terms)
    }

    /// Returns the writes to our kinds, from the audit log, and every Modify that ended, from the replicas' own logs:
    /// the
    /// cloud cannot tell one replica from another.
    fn acts(&self) -> Result<Vec<Act>> {
        let stage = self.stage;
        let filter = AuditFilter {
            namespace: Some(&stage.namespace),
            resource: Some("crossregionbackuppolicies"),
            subresource: Some("status"),
            writes_only: true,
            ..AuditFilter::default()
        };
        let mut acts = Vec::new();
        for entry in stage.plane.audit_entries(&filter)? {
            let at = entry.received.parse()?;
            let by = entry.user.rsplit(':').next().unwrap_or_default().to_owned();
            acts.push(Act { by, what: "status".to_owned(), from: at, to: at });
        }
        for (name, process) in &self.all {
            acts.extend(modifies(name, &process.log())?);
        }
        Ok(acts)
    }

    /// Checks that every act lies within a term of its replica, and returns the terms.
    fn judge(&self) -> Result<Vec<Term>> {
        let (terms, acts) = (self.terms()?, self.acts()?);
        for act in &acts {
            let index = terms.iter().rposition(|term| term.from <= act.from).context("before all terms")?;
            let term = &terms[index];
            ensure!(term.by == act.by, "{act:?} in the term of another: {terms:#?}");
            ensure!(act.to.duration_since(term.last_write) <= TERM, "{act:?} after its term: {terms:#?}");
            let over = terms.get(index + 1).is_some_and(|next| next.from <= act.to);
            ensure!(!over, "{act:?} reaches into the next term: {terms:#?}");
        }
        for term in &terms {
            let acted = acts.iter().any(|act| act.by == term.by && act.from >= term.from);
            ensure!(acted, "{term:?} did nothing");
        }
        let told = acts.iter().filter(|act| act.what == MODIFY).count();
        let came = self.stage.requests(MODIFY).len();
        ensure!(told == came, "{came} Modifies came, and the replicas tell of {told}");
        Ok(terms)
    }
}

/// Returns every Modify in a log, from its start to its end.
fn modifies(name: &str, log: &str) -> Result<Vec<Act>> {
    let mut acts = Vec::new();
    for line in log.lines().filter(|line| line.contains("cloud call") && line.contains(MODIFY)) {
        let to: Timestamp = line.split_whitespace().next().unwrap_or_default().parse()?;
        let took = line.split("duration_ms=").nth(1).context("no duration")?;
        let took = Duration::from_millis(took.split_whitespace().next().unwrap_or_default().parse()?);
        acts.push(Act { by: name.to_owned(), what: MODIFY.to_owned(), from: to - took, to });
    }
    Ok(acts)
}

#[tokio::test]
#[ignore = "long: make test-extended"]
async fn three_lead_one_after_the_other_and_none_acts_in_another_s_term() -> Result<()> {
    let stage = Stage::new("leaders").await?;
    let mut crew = Crew::new(&stage, &["first", "second", "third"]).await?;
    crew.join("first", None).await?;
    crew.until_logged(0, ": leading").await?;
    for (index, name) in ["second", "third"].into_iter().enumerate() {
        crew.join(name, None).await?;
        crew.until_logged(index + 1, "standing by").await?;
    }
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    crew.works("cn-guangzhou").await?;

    // On SIGTERM the leader releases the Lease, and another replica takes over at once.
    crew.all[0].1.signal(Signal::TERM)?;
    ends_with(&mut crew.all[0].1, 0, Duration::from_secs(10)).await?;
    let released = crew.terms()?.last().context("no term")?.last_write;
    let before = stage.requests(MODIFY).len();
    stage.patch_policy(json!({"crossBackupRegion": "cn-shanghai"})).await?;
    let patched = Timestamp::now();
    stage.wait("the next leader's Modify", || stage.requests(MODIFY).len() > before).await?;
    let worked = stage.requests(MODIFY)[before].at;
    let took = worked.duration_since(released.max(patched));
    ensure!(took < SignedDuration::from_secs(2), "it took {took:?}");
    let second = crew.until_another_leads(&[0]).await?;
    crew.works("cn-guangzhou").await?;

    // After SIGKILL the Lease has to expire.
    crew.join("first", None).await?;
    crew.until_logged(3, "standing by").await?;
    crew.all[second].1.signal(Signal::KILL)?;
    crew.all[second].1.wait(LIMIT).await?;
    stage.patch_policy(json!({"crossBackupRegion": "cn-shanghai"})).await?;
    let third = crew.until_another_leads(&[0, second]).await?;
    crew.works("cn-guangzhou").await?;

    // A replica that was stopped for longer than the Lease lasts finds another leader when it continues.
    crew.all[third].1.signal(Signal::STOP)?;
    stage.patch_policy(json!({"crossBackupRegion": "cn-shanghai"})).await?;
    crew.until_another_leads(&[0, second, third]).await?;
    crew.works("cn-guangzhou").await?;
    stage.drift(Policy::default())?;
    crew.all[third].1.signal(Signal::CONT)?;
    crew.until_logged(third, "no longer leading").await?;
    until_logged_times(&crew.all[third].1, "standing by for the Lease", 2).await?;
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    let terms = crew.judge()?;
    ensure!(terms.len() == 4, "{terms:#?}");
    Ok(())
}

#[tokio::test]
#[ignore = "long: make test-extended"]
async fn a_leader_cut_off_from_the_api_server_stops_before_another_can_lead() -> Result<()> {
    let stage = Stage::new("leaders-cut-off").await?;
    let mut crew = Crew::new(&stage, &["first", "second"]).await?;
    let proxy = Proxy::start(stage.plane).await?;
    let through = proxy.kubeconfig(stage.plane, &stage.namespace, "first").await?;
    crew.join("first", Some(through)).await?;
    crew.until_logged(0, ": leading").await?;
    crew.join("second", None).await?;
    crew.until_logged(1, "standing by").await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;

    // The cloud still answers, and there is always a drift to correct.
    proxy.cut();
    let cut = Timestamp::now();
    let leader = &crew.all[0].1;
    wait_until(LIMIT, "the leader to step down", async || {
        if stage.held()?.active {
            stage.drift(Policy::default())?;
        }
        Ok(leader.log().contains("no longer leading").then_some(()))
    })
    .await?;
    crew.until_logged(1, ": leading").await?;
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    let terms = crew.judge()?;
    let [first, second] = &terms[..] else { bail!("{terms:#?}") };
    ensure!(second.from.duration_since(first.last_write) >= LEASE, "{terms:#?}");
    let corrected = modifies("first", &crew.all[0].1.log())?.iter().any(|act| act.from > cut);
    ensure!(corrected, "cut off, it went on for a while: {}", crew.all[0].1.log_tail());

    // The same process leads again later, and has observed the changes made meanwhile.
    proxy.restore();
    crew.until_logged(0, "standing by for the Lease").await?;
    crew.works("cn-guangzhou").await?;
    crew.all[1].1.signal(Signal::KILL)?;
    crew.all[1].1.wait(LIMIT).await?;
    until_logged_times(&crew.all[0].1, ": leading", 2).await?;
    crew.works("cn-shanghai").await?;
    let terms = crew.judge()?;
    ensure!(terms.len() == 3, "{terms:#?}");
    Ok(())
}

async fn until_logged_times(process: &Process, words: &str, times: usize) -> Result<()> {
    let found = wait_until(LIMIT, format!("{words} in the log, {times} times"), async || {
        Ok((process.log().matches(words).count() >= times).then_some(()))
    });
    found.await.map_err(|error| process.with_log(&error))
}

/// Renewals are refused for longer than a term, again and again; its two candidates are never restarted.
#[tokio::test]
#[ignore = "long: make test-extended"]
async fn two_processes_lose_and_regain_the_lease_by_turns() -> Result<()> {
    let stage = Stage::new("leaders-by-turns").await?;
    let mut crew = Crew::new(&stage, &["first", "second"]).await?;
    crew.join("first", None).await?;
    crew.until_logged(0, ": leading").await?;
    crew.join("second", None).await?;
    crew.until_logged(1, "standing by").await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    for turn in 0..4 {
        let (leads, next) = (turn % 2, (turn + 1) % 2);
        let target = ["cn-guangzhou", "cn-shanghai"][turn % 2];
        let binding = format!("{}-may-lead", crew.all[leads].0);
        stage.run(["delete", "rolebinding", &binding]).await?;
        until_logged_times(&crew.all[next].1, ": leading", turn / 2 + 1 + (next == 0) as usize).await?;
        let subject = format!("--serviceaccount={}:{}", stage.namespace, crew.all[leads].0);
        stage.run(["create", "rolebinding", &binding, "--role=lease", &subject]).await?;
        until_logged_times(&crew.all[leads].1, "standing by for the Lease", turn / 2 + 1 + leads).await?;
        crew.works(target).await?;
        for (name, process) in &mut crew.all {
            ensure!(process.try_wait()?.is_none(), "{name} has ended: {}", process.log_tail());
        }
    }
    let terms = crew.judge()?;
    ensure!(terms.len() == 5, "{terms:#?}");
    Ok(())
}
