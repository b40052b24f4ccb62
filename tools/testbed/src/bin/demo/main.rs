//! `make demo`: the operator at work, from an empty cluster to a corrected drift, without a cloud account.
//!
//! Control plane, operator and kubectl are real; the cloud is the simulator. Every line that begins with `$` is done as
//! it is printed (curl's requests are made by this program). Nothing survives the end, whatever that is.

mod http;
mod stage;
mod terminal;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::stage::Stage;
use crate::terminal::Terminal;

const SESSIONS: &str = "/admin/instances/redis-cnlfq69d9abcdefgh/policy";
const CARTS: &str = "/admin/instances/redis-cnlfq69d9carts001/policy";
const REPORTS: &str = "/admin/instances/redis-cnlfq69d9reports1/policy";

/// How long a failure waits for a signal that explains it: Ctrl-C ends kubectl too, and its exit may be noticed first.
const GRACE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> ExitCode {
    match perform().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn perform() -> Result<ExitCode> {
    // Installed before anything starts. Dropping the demo's future ends its processes and removes its files.
    let mut interrupt = Interrupt::new()?;
    let result = tokio::select! {
        biased;
        number = interrupt.arrives() => return Ok(interrupted(number)),
        result = demo() => result,
    };
    if result.is_err()
        && let Ok(number) = tokio::time::timeout(GRACE, interrupt.arrives()).await
    {
        return Ok(interrupted(number));
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// Returns the exit code that a shell expects after the signal.
fn interrupted(number: u8) -> ExitCode {
    eprintln!("\nInterrupted. All processes and files of the demo are removed.");
    ExitCode::from(128 + number)
}

async fn demo() -> Result<()> {
    let started = Instant::now();
    // The paths in the printed commands are relative to the repository's root.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).with_context(|| format!("no folder {}", root.display()))?;

    let terminal = Terminal::new();
    terminal.chapter("An empty cluster")?;
    terminal.say("Starts etcd, kube-apiserver and kube-controller-manager on loopback …")?;
    let mut stage = Stage::new(terminal).await?;
    let version = stage.version().await?;
    stage.terminal.say(&format!("Kubernetes {version} is ready. There are no nodes, so no pods run."))?;
    let played = play(&mut stage).await;
    played.map_err(|error| stage.with_logs(error))?;
    stage.terminal.chapter("The end")?;
    let seconds = started.elapsed().as_secs();
    stage
        .terminal
        .say(&format!("That took {seconds} s. All processes and files of the demo are removed now."))
}

async fn play(stage: &mut Stage) -> Result<()> {
    install(stage).await?;
    connect(stage).await?;
    declare(stage).await?;
    drift(stage).await?;
    observe(stage).await?;
    inventories(stage).await?;
    tencent(stage).await?;
    delete(stage).await?;
    stage.terminal.chapter("What the operator logged")?;
    stage.show_log()?;
    stage.stop_operator().await
}

async fn install(stage: &mut Stage) -> Result<()> {
    stage.terminal.chapter("Install")?;
    stage.terminal.say(
        "CRDs, RBAC and the Deployment. Without nodes the Deployment starts nothing: the demo runs the operator's \
         binary itself, below, as the Deployment's ServiceAccount.",
    )?;
    stage.kubectl(&["apply", "-k", "deploy"]).await?;
    let established = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
    stage.kubectl(&established).await
}

async fn connect(stage: &mut Stage) -> Result<()> {
    stage.terminal.chapter("A cloud and an account")?;
    stage.terminal.say(
        "The clouds are a simulator, with four Redis instances in cn-beijing. Their cross-region backup is switched \
         off; copies of earlier days exist.",
    )?;
    stage.start_simulator("tools/demo/world.json").await?;
    stage
        .terminal
        .say("The Secrets and CloudAccounts of the examples, and an inventory that is looked at below.")?;
    stage.kubectl(&["apply", "-f", "examples/account.yaml", "-f", "examples/tencent.yaml"]).await?;
    stage.terminal.say(
        "The one difference to a real cloud: the accounts' endpoint is the simulator. It is set before the operator \
         starts, so that nothing is sent anywhere else.",
    )?;
    let patch = format!(r#"{{"spec":{{"endpoint":"{}"}}}}"#, stage.cloud);
    let both = ["patch", "cacct", "prod", "tencent-prod", "-n", "payments", "--type=merge", "-p", &patch];
    stage.kubectl(&both).await?;
    stage.terminal.say(
        "The operator, with leader election. It looks at each instance every 5 s, so that you need not wait for the \
         10 min of resyncInterval, and may talk to an address that is not one of the clouds'.",
    )?;
    stage.start_operator().await?;
    stage
        .kubectl(&["wait", "cacct", "--all", "-n", "payments", "--for=condition=Ready", "--timeout=60s"])
        .await?;
    stage.kubectl(&["get", "cacct", "-n", "payments", "-o", "wide"]).await
}

async fn declare(stage: &mut Stage) -> Result<()> {
    stage.terminal.chapter("Three policies")?;
    stage.kubectl(&["apply", "-f", "examples/policies.yaml"]).await?;
    stage.terminal.say("Two are managed: the operator switches their copies on in the cloud.")?;
    let (wait, limit) = (["wait", "-n", "payments"], "--timeout=60s");
    let ready = ["crbp/sessions-cache", "crbp/carts", "--for=condition=Ready", limit];
    stage.kubectl(&[&wait[..], &ready].concat()).await?;
    stage.terminal.say("The third is only observed, and its instance differs from what it says.")?;
    stage.kubectl(&[&wait[..], &["crbp/reports", "--for=condition=Stalled", limit]].concat()).await?;
    stage.terminal.say(
        "Is every instance protected, to where, and how old is the newest usable copy? RECOVERY-POINT is its age.",
    )?;
    stage.kubectl(&["get", "crbp", "-n", "payments"]).await?;
    stage
        .terminal
        .say("Only copies that are usable count. sessions-cache has one that failed and one under way:")?;
    let statuses = "jsonpath={.status.backups.byStatus}";
    stage.kubectl(&["get", "crbp", "sessions-cache", "-n", "payments", "-o", statuses]).await?;
    stage.terminal.say("The policies in the cloud, where they were off before:")?;
    stage.curl("GET", SESSIONS, "").await?;
    stage.curl("GET", CARTS, "").await
}

async fn drift(stage: &mut Stage) -> Result<()> {
    stage.terminal.chapter("Somebody switches it off in the console")?;
    stage.curl("PUT", SESSIONS, r#"{"active":false}"#).await?;
    stage.terminal.say("The operator sees the difference at its next look, and corrects it.")?;
    let corrected = "--for=jsonpath={.status.drift.corrections}=1";
    stage.kubectl(&["wait", "crbp/sessions-cache", "-n", "payments", corrected, "--timeout=60s"]).await?;
    stage
        .kubectl(&["get", "crbp", "sessions-cache", "-n", "payments", "-o", "jsonpath={.status.drift}"])
        .await?;
    let events = ["events", "-n", "payments", "--for", "crbp/sessions-cache"];
    stage.kubectl_until(&events, "DriftCorrected").await?;
    stage.curl("GET", SESSIONS, "").await
}

async fn observe(stage: &mut Stage) -> Result<()> {
    stage.terminal.chapter("What is only observed is never changed")?;
    stage.terminal.say("managementPolicy: Observe reports the difference and leaves the cloud as it is.")?;
    stage.kubectl(&["get", "crbp", "reports", "-n", "payments"]).await?;
    let events = ["events", "-n", "payments", "--for", "crbp/reports"];
    stage.kubectl_until(&events, "DriftDetected").await?;
    stage.curl("GET", REPORTS, "").await
}

async fn inventories(stage: &mut Stage) -> Result<()> {
    stage.terminal.chapter("Which instances does no policy protect?")?;
    stage.kubectl(&["apply", "-f", "examples/inventories.yaml"]).await?;
    let listed = ["wait", "bkinv", "--all", "-n", "payments", "--for=condition=Ready", "--timeout=60s"];
    stage.kubectl(&listed).await?;
    stage.kubectl(&["get", "bkinv", "-n", "payments"]).await?;
    stage
        .terminal
        .say("Copies are off where the policy only observes, and for an instance that has no policy:")?;
    let unprotected = "jsonpath={.status.unprotected.items}";
    stage.kubectl(&["get", "bkinv", "all-prod", "-n", "payments", "-o", unprotected]).await?;
    stage.terminal.say("All instances, those without a usable copy first, then the oldest:")?;
    let instances = "jsonpath={range .status.instances[*]}{.instanceId} {.instanceName} {.newestBackup} \
         {.policyActive}{\"\\n\"}{end}";
    stage.kubectl(&["get", "bkinv", "all-prod", "-n", "payments", "-o", instances]).await
}

async fn tencent(stage: &mut Stage) -> Result<()> {
    stage.terminal.chapter("Tencent Cloud")?;
    stage.terminal.say(
        "It has no cross-region backup for Redis; the inventory of examples/tencent.yaml lists an instance's own \
         backups.",
    )?;
    let listed = ["wait", "bkinv/orders", "-n", "payments", "--for=condition=Ready", "--timeout=60s"];
    stage.kubectl(&listed).await?;
    stage.kubectl(&["get", "bkinv", "orders", "-n", "payments"]).await?;
    stage.terminal.say("One backup in process, one that is exported, and one by hand with its remark:")?;
    let items = "jsonpath={range .status.items[*]}{.backupPointId} {.status} {.strategy} {.startTime} \
         {.remark}{\"\\n\"}{end}";
    stage.kubectl(&["get", "bkinv", "orders", "-n", "payments", "-o", items]).await
}

async fn delete(stage: &mut Stage) -> Result<()> {
    stage.terminal.chapter("Delete")?;
    stage.terminal.say(
        "Deleting a policy leaves the cloud as it is, except with deletionPolicy: Disable, as carts has it: there \
         the copies are switched off first.",
    )?;
    stage.kubectl(&["delete", "-f", "examples/policies.yaml", "--timeout=60s"]).await?;
    stage.curl("GET", SESSIONS, "").await?;
    stage.curl("GET", CARTS, "").await
}

/// SIGHUP, SIGINT and SIGTERM with their numbers.
struct Interrupt([(u8, Signal); 3]);

impl Interrupt {
    fn new() -> Result<Self> {
        let kinds = [(1, SignalKind::hangup()), (2, SignalKind::interrupt()), (15, SignalKind::terminate())];
        let [one, two, three] = kinds.map(|(number, kind)| signal(kind).map(|signal| (number, signal)));
        Ok(Self([one?, two?, three?]))
    }

    /// Resolves with the number of the signal.
    async fn arrives(&mut self) -> u8 {
        let [one, two, three] = &mut self.0;
        tokio::select! {
            _ = one.1.recv() => one.0,
            _ = two.1.recv() => two.0,
            _ = three.1.recv() => three.0,
        }
    }
}
