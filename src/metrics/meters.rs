//! Metrics of the whole process.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder, core::Collector,
};

use super::{Exposition, PriorityLabel};

const CALL_BUCKETS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const WAIT_BUCKETS: &[f64] = &[0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];
const RECONCILE_BUCKETS: &[f64] = &[0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Result of a reconcile: the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileResult {
    Ok,
    /// Waits for a change to become visible, an account, or a permit of the request budget.
    Waiting,
    NeedsPerson,
    /// Transient failure.
    Transient,
    Throttled,
}

impl ReconcileResult {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::NeedsPerson => "needs_person",
            Self::Transient => "passing",
            Self::Throttled => "throttled",
        }
    }
}

/// Callback that looks up metrics at each scrape and writes them.
type Source = Box<dyn Fn(&mut Exposition<'_>) -> io::Result<()> + Send + Sync>;

/// Registry of the process's metrics. Cheap to clone; clones share the counters.
#[derive(Clone)]
pub struct Meters(Arc<Inner>);

struct Inner {
    registry: Registry,
    cloud_calls: HistogramVec,
    cloud_waits: HistogramVec,
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    status_writes: IntCounterVec,
    source: Mutex<Option<Arc<Source>>>,
}

impl Default for Meters {
    fn default() -> Self {
        let registry = Registry::new();
        let inner = Inner {
            cloud_calls: registered(
                &registry,
                histogram(
                    "crossregionbackup_cloud_request_duration_seconds",
                    "From a cloud request's sending to its answer, or to its timeout.",
                    &["provider", "action"],
                    CALL_BUCKETS,
                ),
            ),
            cloud_waits: registered(
                &registry,
                histogram(
                    "crossregionbackup_cloud_request_budget_wait_seconds",
                    "How long cloud requests waited for their account's budget.",
                    &["provider", "priority"],
                    WAIT_BUCKETS,
                ),
            ),
            reconciles: registered(
                &registry,
                counter("crossregionbackup_reconcile_total", "Reconciles by result.", &["kind", "result"]),
            ),
            reconcile_seconds: registered(
                &registry,
                histogram(
                    "crossregionbackup_reconcile_duration_seconds",
                    "How long reconciles took, cloud requests included.",
                    &["kind"],
                    RECONCILE_BUCKETS,
                ),
            ),
            status_writes: registered(
                &registry,
                counter("crossregionbackup_status_writes_total", "Statuses written.", &["kind"]),
            ),
            source: Mutex::default(),
            registry,
        };
        Self(Arc::new(inner))
    }
}

impl Meters {
    /// Creates meters that include the process metrics: CPU time, memory, file descriptors, threads, and start time.
    pub fn with_process_metrics() -> Self {
        let meters = Self::default();
        #[cfg(target_os = "linux")]
        meters
            .0
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("each name is there once");
        meters
    }

    /// Sets the source of the metrics that are looked up at each scrape, in place of an earlier one.
    pub fn set_source(&self, source: impl Fn(&mut Exposition<'_>) -> io::Result<()> + Send + Sync + 'static) {
        let source: Source = Box::new(source);
        *self.source() = Some(Arc::new(source));
    }

    /// Writes the current value of every metric.
    ///
    /// # Errors
    /// Returns the writer's error.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text).map_err(io::Error::other)?;
        out.write_all(&text)?;
        let source = self.source().clone();
        source.map_or(Ok(()), |source| source(&mut Exposition::new(out)))
    }

    /// Records the end of a reconcile of a resource of this kind.
    pub fn record_reconcile(&self, kind: &str, result: ReconcileResult, took: Duration) {
        self.0.reconciles.with_label_values(&[kind, result.as_str()]).inc();
        self.0.reconcile_seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    pub fn record_status_write(&self, kind: &str) {
        self.0.status_writes.with_label_values(&[kind]).inc();
    }

    pub(super) fn record_call_duration(&self, provider: &str, action: &str, took: Duration) {
        self.0.cloud_calls.with_label_values(&[provider, action]).observe(took.as_secs_f64());
    }

    pub(super) fn record_budget_wait(&self, provider: &str, priority: PriorityLabel, time: Duration) {
        self.0.cloud_waits.with_label_values(&[provider, priority.as_str()]).observe(time.as_secs_f64());
    }

    fn source(&self) -> std::sync::MutexGuard<'_, Option<Arc<Source>>> {
        self.0.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn histogram(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
}

fn counter(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

/// Registers a collector. All names and labels are constants of this file, so each test that creates meters shows that
/// they are valid.
fn registered<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("names and labels are of the right form");
    registry.register(Box::new(collector.clone())).expect("each name is there once");
    collector
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{AccountMeter, MetricType, Outcome};

    fn text(meters: &Meters) -> String {
        let mut out = Vec::new();
        meters.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_that_was_counted_is_told_and_what_is_looked_up_follows() {
        let meters = Meters::with_process_metrics();
        let account = AccountMeter::new(meters.clone());
        account.set_provider("");
        account.set_provider("Volcengine");
        account.set_provider("Tencent");
        account.record_call("DescribeDBInstances", Outcome::NotFound, Duration::from_millis(30));
        account.record_wait(PriorityLabel::Poll, Duration::from_secs(2));
        meters.record_reconcile(
            "CrossRegionBackupPolicy",
            ReconcileResult::NeedsPerson,
            Duration::from_secs(1),
        );
        meters.record_status_write("CloudAccount");
        meters.set_source(|out| {
            out.family("crossregionbackup_leader", MetricType::Gauge, "Leads.")?.series(&[], 1)
        });
        let text = text(&meters);
        for line in [
            r#"crossregionbackup_cloud_request_duration_seconds_bucket{action="DescribeDBInstances",provider="Volcengine",le="0.05"} 1"#,
            r#"crossregionbackup_cloud_request_budget_wait_seconds_sum{priority="poll",provider="Volcengine"} 2"#,
            r#"crossregionbackup_reconcile_total{kind="CrossRegionBackupPolicy",result="needs_person"} 1"#,
            r#"crossregionbackup_reconcile_duration_seconds_count{kind="CrossRegionBackupPolicy"} 1"#,
            r#"crossregionbackup_status_writes_total{kind="CloudAccount"} 1"#,
            "crossregionbackup_leader 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        #[cfg(target_os = "linux")]
        for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name}\n{text}");
        }
        assert_eq!(account.requests(), [(("DescribeDBInstances", Outcome::NotFound), 1)].into());
    }
}
