//! Measures resource usage and requests between the start and the end of a phase.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::arrivals::{by_action, most_in_a_second};
use crate::process::{cpu_seconds, forget_peak, memory};
use crate::report::Column;
use crate::requests::{Requests, writes_by_metric};
use crate::scene::{FLEET, OTHER, Scene};

/// Delay before the audit log is read: the API server writes an entry shortly after its response.
const LAG: Duration = Duration::from_millis(500);
const OURSELVES: &str = "self";

/// Counters at the start of a phase.
pub struct Mark {
    pub at: Timestamp,
    operator_cpu: f64,
    bench_cpu: f64,
    writes_by_metric: u64,
}

impl Mark {
    pub async fn new(scene: &mut Scene) -> Result<Self> {
        let writes_by_metric = writes_by_metric(&scene.kube).await?;
        let pid = scene.operator_pid()?;
        forget_peak(&pid)?;
        Ok(Self {
            operator_cpu: cpu_seconds(&pid)?,
            bench_cpu: cpu_seconds(OURSELVES)?,
            writes_by_metric,
            at: Timestamp::now(),
        })
    }

    /// Resets start time and operator CPU, for an operator that has just been started.
    pub fn restarted(self) -> Self {
        Self { at: Timestamp::now(), operator_cpu: 0.0, ..self }
    }

    /// Returns the usage from the mark until now.
    pub async fn column(self, scene: &mut Scene, phase: &str) -> Result<Column> {
        let (from, to) = (self.at, Timestamp::now());
        let pid = scene.operator_pid()?;
        let (operator_cpu, bench_cpu) = (cpu_seconds(&pid)?, cpu_seconds(OURSELVES)?);
        let memory = memory(&pid)?;
        sleep(LAG).await;
        let arrivals = scene.arrivals.within(FLEET.key, from, to);
        let seconds = to.duration_since(from).as_secs_f64();
        Ok(Column {
            phase: phase.to_owned(),
            seconds,
            cloud_calls: arrivals.len(),
            cloud_calls_by_action: by_action(&arrivals),
            cloud_calls_most_in_a_second: most_in_a_second(&arrivals),
            cloud_calls_of_other_account: scene.arrivals.within(OTHER.key, from, to).len(),
            budget_used: arrivals.len() as f64 / (f64::from(scene.rate) * seconds),
            api: Requests::within(scene.stage.plane, from, to)?,
            api_writes_by_metric: writes_by_metric(&scene.kube).await? - self.writes_by_metric,
            operator_cpu_seconds: operator_cpu - self.operator_cpu,
            bench_cpu_seconds: bench_cpu - self.bench_cpu,
            resident_kib: memory.resident,
            peak_kib: memory.peak,
            figures: Vec::new(),
        })
    }
}
