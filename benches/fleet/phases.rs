//! The phases of the load benchmark.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, anyhow};
use cloud_simulator::{Effect, FaultSpec, ThrottleStyle};
use futures::future::try_join_all;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::arrivals::excess;
use crate::bare::Task;
use crate::changes::{Change, Latencies, Plan};
use crate::meter::Mark;
use crate::options::Phase;
use crate::report::Report;
use crate::scene::{FLEET, LIMIT, OTHER, Scene};

/// Pause between two phases, for late work of the first (Events, second polls).
const SETTLING: Duration = Duration::from_secs(5);
/// Wait for calls to be in flight; shorter than the timeout of a call.
const UNDER_WAY: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Measures an operator with a verified account and no policies.
pub async fn start(scene: &mut Scene, report: &mut Report) -> Result<()> {
    scene.stage.start_operator().await?;
    scene.stage.until_account("CredentialsVerified").await?;
    let mark = Mark::new(scene).await?;
    sleep(SETTLING).await;
    report.push(mark.column(scene, "start").await?);
    Ok(())
}

pub async fn create(scene: &mut Scene, report: &mut Report) -> Result<()> {
    let mark = Mark::new(scene).await?;
    let from = mark.at;
    let (created, ready) = scene.create(&FLEET, 0..scene.options.policies).await?;
    sleep(SETTLING).await;
    let mut column = mark.column(scene, "create").await?;
    column.figure("creation through the API server, s", since(from, created));
    column.figure("first creation to all Ready, s", since(from, ready));
    report.push(column);
    scene.set_rate(scene.options.rate).await
}

/// Measures whole intervals without changes, then the same calls in a bare loop.
pub async fn steady(scene: &mut Scene, report: &mut Report) -> Result<()> {
    let options = scene.options.clone();
    let mark = Mark::new(scene).await?;
    sleep(Duration::from_secs(options.resync_seconds) * options.intervals).await;
    let mut column = mark.column(scene, "steady").await?;
    let interval = Duration::from_secs(options.resync_seconds);
    for (name, pace) in [("bare loop", None), ("at the same pace", Some(interval))] {
        let endpoint = scene.stage.endpoint.clone();
        let task = Task { endpoint, policies: options.policies, intervals: options.intervals, pace };
        let bare = task.elsewhere().await?;
        column.figure(format!("{name}, calls"), bare.calls as f64);
        column.figure(format!("{name}, s"), bare.seconds);
        column.figure(format!("{name}, CPU s"), bare.cpu_seconds);
        column.figure(format!("operator over {name}, CPU"), column.operator_cpu_seconds / bare.cpu_seconds);
    }
    report.push(column);
    Ok(())
}

/// Changes many specs at once, spread over the whole fleet.
pub async fn burst(scene: &mut Scene, report: &mut Report, name: &str) -> Result<()> {
    let count = scene.options.changes.min(scene.options.policies);
    let stride = (scene.options.policies / count.max(1)).max(1);
    let plans: Vec<_> = (0..count).map(|number| Plan::of(scene, &FLEET, number * stride)).collect();
    let mark = Mark::new(scene).await?;
    let in_flight = scene.stage.cloud.counters().in_flight;
    let changes = try_join_all(plans.into_iter().map(Plan::make)).await?;
    let latencies = Latencies::of(scene, &FLEET, &changes).await;
    let mut column = mark.column(scene, name).await?;
    column.figure("cloud calls in flight at the beginning", in_flight as f64);
    latencies.tell(&mut column);
    report.push(column);
    sleep(SETTLING).await;
    Ok(())
}

/// Changes some specs each second, while polling alone exceeds the request budget.
pub async fn drip(scene: &mut Scene, report: &mut Report, name: &str) -> Result<()> {
    let (each, seconds) = (scene.options.drip_changes, scene.options.drip_seconds);
    let count = each * seconds;
    // The stride spreads the changes over the fleet, and repeats no policy if there are enough.
    let stride = (scene.options.policies / count.max(1) as usize).max(1);
    let number = |n: u32| n as usize * stride % scene.options.policies;
    let numbers: Vec<_> = (0..count).map(number).collect();
    let plans: Vec<_> = numbers.into_iter().map(|number| Plan::of(scene, &FLEET, number)).collect();
    scene.set_rate(scene.options.drip_rate()).await?;
    // Calls under the previous budget end first.
    sleep(SETTLING).await;
    let mark = Mark::new(scene).await?;
    let from = mark.at;
    let mut ticks = interval(Duration::from_secs(1) / each.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut making = JoinSet::new();
    for plan in plans {
        ticks.tick().await;
        making.spawn(plan.make());
    }
    let mut column = mark.column(scene, name).await?;
    let to = Timestamp::now();
    let changes: Vec<Change> = making.join_all().await.into_iter().collect::<Result<_>>()?;
    Latencies::of(scene, &FLEET, &changes).await.tell(&mut column);
    let changed: BTreeSet<_> = changes.iter().map(|change| change.instance.as_str()).collect();
    let arrivals = scene.arrivals.within(FLEET.key, from, to);
    let is_poll = |instance: &Option<String>| !instance.as_deref().is_some_and(|i| changed.contains(i));
    let polls = arrivals.iter().filter(|arrival| is_poll(&arrival.instance)).count();
    column.figure("calls a second for what did not change", polls as f64 / since(from, to));
    let (rate, burst) = (f64::from(scene.rate), f64::from(scene.burst()));
    column.figure("most calls beyond rate x window + burst", excess(&arrivals, rate, burst));
    report.push(column);
    scene.set_rate(scene.options.rate).await
}

/// Measures the first minute after a restart.
pub async fn restart(scene: &mut Scene, report: &mut Report) -> Result<()> {
    let mark = Mark::new(scene).await?;
    scene.stage.operator().terminate(LIMIT).await?;
    scene.stage.start_operator().await?;
    let mark = mark.restarted();
    sleep(MINUTE).await;
    report.push(mark.column(scene, "restart").await?);
    Ok(())
}

/// Repeats `burst` (and `drip`) on the first account while the cloud throttles every call of a second account, then while it
/// hangs all of them.
pub async fn second(scene: &mut Scene, report: &mut Report) -> Result<()> {
    let others = scene.options.others;
    scene.furnish(&OTHER, 0..others)?;
    scene.apply_account(&OTHER, scene.options.rate).await?;
    scene.create(&OTHER, 0..others).await?;
    let refusal = Effect::Throttle { style: ThrottleStyle::Flow429, retry_after: None };
    for (name, effect) in [("429", refusal), ("hangs", Effect::Hang { after_effect: false })] {
        let fault = scene.stage.cloud.place_fault(FaultSpec::new(effect).on_key(OTHER.key))?;
        let plans: Vec<_> = (0..others).map(|number| Plan::of(scene, &OTHER, number)).collect();
        try_join_all(plans.into_iter().map(Plan::make)).await?;
        // The second account's calls are in flight then, and have not timed out.
        sleep(UNDER_WAY).await;
        burst(scene, report, &format!("burst/{name}")).await?;
        if scene.options.phases.contains(&Phase::Drip) {
            drip(scene, report, &format!("drip/{name}")).await?;
        }
        scene.stage.cloud.remove_fault(fault).map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

/// Measures idle memory with the fleet, then with twice as many policies.
pub async fn memory(scene: &mut Scene, report: &mut Report) -> Result<()> {
    let policies = scene.options.policies;
    let interval = Duration::from_secs(scene.options.resync_seconds);
    let mark = Mark::new(scene).await?;
    sleep(interval).await;
    let before = mark.column(scene, "at rest").await?;
    let resident = before.resident_kib;
    report.push(before);
    scene.set_rate(scene.options.create_rate).await?;
    let mark = Mark::new(scene).await?;
    scene.furnish(&FLEET, policies..2 * policies)?;
    scene.create(&FLEET, policies..2 * policies).await?;
    sleep(SETTLING).await;
    report.push(mark.column(scene, "twice").await?);
    scene.set_rate(scene.options.rate).await?;
    let mark = Mark::new(scene).await?;
    sleep(interval).await;
    let mut column = mark.column(scene, "twice, rest").await?;
    let growth = column.resident_kib as f64 - resident as f64;
    column.figure("growth for each further policy, KiB", growth / policies as f64);
    report.push(column);
    Ok(())
}

fn since(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
