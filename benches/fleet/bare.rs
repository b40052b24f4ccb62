//! The bare loop: a process that only signs, sends and parses the calls of one interval, with the operator's own client. What
//! the operator's CPU is compared with.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use cross_region_backup_operator::clock::Clock;
use cross_region_backup_operator::cloud::{
    Budget, Client, ClientConfig, Credentials, EndpointRule, Listing, Proxies, Selection, Site,
    reqwest_transport,
};
use cross_region_backup_operator::domain::InstanceRef;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::harness::{KEY_ID, SECRET_KEY};
use crate::options::NO_LIMIT;
use crate::process::cpu_seconds;
use crate::scene::{FLEET, REGION};

const ARGUMENT: &str = "bare-loop";
/// As many calls as an account may have in flight.
const AT_ONCE: usize = 32;

/// What the process is to do.
#[derive(Serialize, Deserialize)]
pub struct Task {
    pub endpoint: String,
    pub policies: usize,
    pub intervals: u32,
}

/// What it cost.
#[derive(Serialize, Deserialize)]
pub struct Cost {
    pub calls: usize,
    pub seconds: f64,
    pub cpu_seconds: f64,
}

impl Task {
    /// The task of this process, where it was started for one.
    pub fn of_arguments() -> Result<Option<Self>> {
        let mut arguments = std::env::args().skip(1);
        match (arguments.next().as_deref(), arguments.next()) {
            (Some(ARGUMENT), Some(task)) => Ok(Some(serde_json::from_str(&task)?)),
            _ => Ok(None),
        }
    }

    /// Does it in a process of its own, so that nothing else is in the figures.
    pub async fn elsewhere(&self) -> Result<Cost> {
        let output = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, &serde_json::to_string(self)?])
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "the bare loop ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("the bare loop told nothing")
    }

    /// Does it here, and prints the cost. What comes before the first call is not part of it.
    pub async fn run(self) -> Result<()> {
        let client = self.client()?;
        let (before, begun) = (cpu_seconds("self")?, Instant::now());
        let mut calls = 0;
        for _ in 0..self.intervals {
            calls += self.interval(&client).await?;
        }
        let cost = Cost {
            calls,
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds("self")? - before,
        };
        println!("{}", serde_json::to_string(&cost)?);
        Ok(())
    }

    fn client(&self) -> Result<Client> {
        let rule = EndpointRule::new(std::slice::from_ref(&self.endpoint)).map_err(anyhow::Error::msg)?;
        let proxies = Proxies::of_environment().map_err(anyhow::Error::msg)?;
        let site = Site::Volcengine;
        Ok(Client::new(ClientConfig {
            site,
            credentials: Credentials::new(KEY_ID, SECRET_KEY, None),
            endpoint: rule.endpoint(site, Some(&self.endpoint))?,
            transport: reqwest_transport(&rule, &proxies)?,
            budget: Arc::new(Budget::new(NO_LIMIT, NO_LIMIT, Arc::new(Semaphore::new(AT_ONCE)))),
            clock: Clock::system(),
            timeout: Duration::from_secs(5),
            time_zone: Offset::UTC,
        }))
    }

    /// One Describe for each policy and one listing for all; how many calls that were.
    async fn interval(&self, client: &Client) -> Result<usize> {
        stream::iter(0..self.policies)
            .map(|number| async move {
                let instance = InstanceRef { region: REGION.to_owned(), id: FLEET.instance(number) };
                client.describe_policy(&instance).await.map_err(|failure| anyhow!("{failure:?}"))
            })
            .buffer_unordered(AT_ONCE)
            .try_for_each(async |_| Ok(()))
            .await?;
        let failed = |failure| anyhow!("{failure:?}");
        let selection = Selection { region: REGION.to_owned(), ..Selection::default() };
        let now = Clock::system().now();
        let mut listing = Listing::new(Site::Volcengine, selection, Vec::new(), now).map_err(failed)?;
        let mut calls = self.policies;
        while let Some(request) = listing.request() {
            listing.took(client.backups_page(&request).await).map_err(failed)?;
            calls += 1;
        }
        Ok(calls)
    }
}
