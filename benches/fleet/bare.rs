//! The bare loop: a process that only signs, sends and parses the calls of an interval, with the operator's own client. It is the
//! baseline for the operator's CPU time.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use cross_region_backup_operator::clock::Clock;
use cross_region_backup_operator::cloud::{
    Budget, Client, ClientConfig, Credentials, EndpointRule, Listing, Proxies, Selection, Site, SizeLimits,
    reqwest_transport,
};
use cross_region_backup_operator::domain::InstanceRef;
use futures::{StreamExt, TryStreamExt, stream, try_join};
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{sleep, sleep_until};

use crate::harness::{KEY_ID, SECRET_KEY};
use crate::options::NO_LIMIT;
use crate::process::cpu_seconds;
use crate::scene::{FLEET, REGION};

const ARGUMENT: &str = "bare-loop";
/// Number of backups on a page.
const PAGE: u64 = 100;
/// The operator's limit of calls in flight for each account.
const AT_ONCE: usize = 32;

/// The input of the bare loop's process.
#[derive(Serialize, Deserialize)]
pub struct Task {
    pub endpoint: String,
    pub policies: usize,
    pub intervals: u32,
    /// Length of one interval; `None`: as fast as possible.
    pub pace: Option<Duration>,
}

/// Measurements of a bare loop.
#[derive(Serialize, Deserialize)]
pub struct Cost {
    pub calls: usize,
    pub seconds: f64,
    pub cpu_seconds: f64,
}

impl Task {
    /// Returns the task from the arguments, where this process was started as a bare loop.
    pub fn of_arguments() -> Result<Option<Self>> {
        let mut arguments = std::env::args().skip(1);
        match (arguments.next().as_deref(), arguments.next()) {
            (Some(ARGUMENT), Some(task)) => Ok(Some(serde_json::from_str(&task)?)),
            _ => Ok(None),
        }
    }

    /// Runs the task in a process of its own, so that the figures contain nothing else.
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

    /// Runs the task in this process, and prints the cost without that of creating the client.
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
        let proxies = Proxies::from_env().map_err(anyhow::Error::msg)?;
        let site = Site::Volcengine;
        Ok(Client::new(ClientConfig {
            site,
            credentials: Credentials::new(KEY_ID, SECRET_KEY, None),
            endpoint: rule.endpoint(site, Some(&self.endpoint))?,
            transport: reqwest_transport(&rule, &proxies)?,
            budget: Arc::new(Budget::new(NO_LIMIT, NO_LIMIT, Arc::new(Semaphore::new(AT_ONCE)))),
            clock: Clock::system(),
            timeout: Duration::from_secs(5),
            sizes: SizeLimits::default(),
            time_zone: Offset::UTC,
        }))
    }

    /// Sends one Describe for each policy and lists all backups once; returns the number of calls. With a pace both run
    /// concurrently, as in the operator, and the pages are spread over half of the interval.
    async fn interval(&self, client: &Client) -> Result<usize> {
        let begun = Instant::now();
        let (calls, ()) = match self.pace {
            Some(_) => try_join!(self.listing(client), self.looks(client))?,
            None => (self.listing(client).await?, self.looks(client).await?),
        };
        let left = self.pace.map(|pace| pace.saturating_sub(begun.elapsed()));
        sleep(left.unwrap_or_default()).await;
        Ok(self.policies + calls)
    }

    async fn looks(&self, client: &Client) -> Result<()> {
        let begun = tokio::time::Instant::now();
        let due = |number| self.pace.map(|pace| begun + pace.mul_f64(number as f64 / self.policies as f64));
        stream::iter(0..self.policies)
            .map(|number| async move {
                let instance = InstanceRef { region: REGION.to_owned(), id: FLEET.instance(number) };
                client.describe_policy(&instance).await.map_err(|failure| anyhow!("{failure:?}"))
            })
            .zip(stream::iter(0..self.policies).then(|number| async move {
                sleep_until(due(number).unwrap_or(begun)).await;
            }))
            .map(|(look, ())| look)
            .buffer_unordered(AT_ONCE)
            .try_for_each(async |_| Ok(()))
            .await
    }

    /// Lists all backups, and returns the number of pages.
    async fn listing(&self, client: &Client) -> Result<usize> {
        let failed = |failure| anyhow!("{failure:?}");
        let selection = Selection { region: REGION.to_owned(), ..Selection::default() };
        let now = Clock::system().now();
        let mut listing = Listing::new(Site::Volcengine, selection, Vec::new(), now).map_err(failed)?;
        let (mut calls, mut gap) = (0, Duration::ZERO);
        while let Some(request) = listing.request() {
            let answer = client.backups_page(&request).await;
            if let (Ok(page), Some(pace)) = (&answer, self.pace) {
                let records = page.total.unwrap_or_default().max(1);
                gap = pace.div_f64(2.0 * records.div_ceil(PAGE) as f64);
            }
            listing.apply(answer).map_err(failed)?;
            calls += 1;
            sleep(gap).await;
        }
        Ok(calls)
    }
}
