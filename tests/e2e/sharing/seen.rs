//! Waits for the visible effects of a scene: objects, Events, and the operator's log.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::wait_until;

use super::scene::{Scene, says};
use crate::checks::{With, expect, message};
use crate::client;
use crate::harness::{LIMIT, POLICY};

impl Scene {
    pub async fn get(&self, kind: &str, name: &str) -> Result<Value> {
        self.get_in(&self.namespace, kind, name).await
    }

    pub async fn get_in(&self, namespace: &str, kind: &str, name: &str) -> Result<Value> {
        client::get(&self.client, kind, namespace, name).await
    }

    pub async fn until_gone(&self, kind: &str, name: &str) -> Result<()> {
        let api = self.of(kind);
        let gone = wait_until(LIMIT, format!("{kind} {name} to be gone"), async || {
            Ok(api.get_opt(name).await?.is_none().then_some(()))
        });
        gone.await.with_context(|| self.log_tail())
    }

    pub async fn until(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        self.until_in(&self.namespace, kind, name, what, holds).await
    }

    pub async fn until_in(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        what: &str,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_until(LIMIT, what, async || {
            last = self.get_in(namespace, kind, name).await?;
            Ok(holds(&last).then(|| last.clone()))
        });
        found.await.with_context(|| format!("last seen: {last:#}\n{}", self.log_tail()))
    }

    /// Waits until Ready has this reason for the current generation.
    pub async fn until_reason(&self, kind: &str, name: &str, reason: &str) -> Result<Value> {
        self.until(kind, name, reason, |o| says(o, reason)).await
    }

    pub async fn until_policy(&self, reason: &str) -> Result<Value> {
        self.until_reason("CrossRegionBackupPolicy", POLICY, reason).await
    }

    pub async fn until_account(&self, reason: &str) -> Result<Value> {
        self.until_reason("ClusterCloudAccount", &self.account, reason).await
    }

    /// Waits until the object is refused the account, and checks that it reports only what the contract allows.
    pub async fn until_not_allowed(&self, kind: &str, name: &str, why: &str) -> Result<Value> {
        let object = self.until_reason(kind, name, "AccountNotAllowed").await?;
        expect(&object, "False", "AccountNotAllowed", With::Stalled)?;
        let wanted = format!("ClusterCloudAccount {}: {why}", self.account);
        ensure!(message(&object) == wanted, "{}", message(&object));
        Ok(object)
    }

    /// Waits for a condition that no object shows.
    pub async fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let found = wait_until(LIMIT, what, async || Ok(holds().then_some(())));
        found.await.with_context(|| self.log_tail())
    }

    /// Returns the Events of a namespace about an object, as `reason: note`.
    pub async fn events_in(&self, namespace: &str, name: &str) -> Result<Vec<String>> {
        let events = client::list(&self.client, "Event", Some(namespace)).await?;
        Ok(events.iter().filter(|e| e["regarding"]["name"] == name).map(client::event_text).collect())
    }

    pub async fn until_event(&self, name: &str, start: &str) -> Result<String> {
        let mut seen = Vec::new();
        let found = wait_until(LIMIT, format!("an Event {start}"), async || {
            seen = self.events_in(&self.namespace, name).await?;
            Ok(seen.iter().find(|e| e.starts_with(start)).cloned())
        });
        found.await.with_context(|| format!("seen: {seen:#?}\n{}", self.log_tail()))
    }

    /// Returns the lines of the operator's log that contain all these words.
    pub fn logged(&self, words: &[&str]) -> Vec<String> {
        let log = self.operator.log();
        let of = |line: &&str| words.iter().all(|word| line.contains(word));
        log.lines().filter(of).map(str::to_owned).collect()
    }

    fn log_tail(&self) -> String {
        let about = [&self.namespace, &self.instance, &self.account];
        let log = self.operator.log();
        let lines: Vec<_> = log.lines().filter(|line| about.iter().any(|a| line.contains(*a))).collect();
        format!("the operator about it:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}
