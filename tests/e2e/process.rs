//! The operator as a process: crashes, restarts, shutdown, probes, and manual edits of its objects.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cloud_simulator::{Effect, Policy};
use serde_json::{Value, json};
use testbed::{AuditFilter, Process, Signal, wait_until};

use crate::checks::MODIFY;
use crate::harness::{INSTANCE, LIMIT, POLICY, Stage, condition, operator_binary, plane};
use crate::objects::{OPERATOR_USER, ends_with};
use crate::proxy::Proxy;
use crate::replicas::until_logged;

/// Waits until both probes answer 200, as a kubelet does.
pub async fn until_healthy(process: &Process) -> Result<()> {
    for path in ["/livez", "/readyz"] {
        wait_until(LIMIT, format!("200 of {path}"), async || {
            let answer = probe(process, path).await?;
            if answer.contains(" 200 ") { Ok(Some(())) } else { bail!("{answer}") }
        })
        .await?;
    }
    Ok(())
}

/// Returns the first line of the response of a process.
async fn probe(process: &Process, path: &str) -> Result<String> {
    Ok(get(process, path).await?.lines().next().unwrap_or_default().to_owned())
}

/// Returns the response, head and body, of a process that has logged its address.
pub async fn get(process: &Process, path: &str) -> Result<String> {
    let address = wait_until(LIMIT, "the address of the probes", async || {
        let log = process.log();
        // Matches either log format.
        let line = log.lines().find(|line| line.contains("listening"));
        let found = line.and_then(|line| line.split("address").nth(1)).map(|rest| {
            let is_of_address = |c: &char| c.is_ascii_digit() || ['.', ':'].contains(c);
            rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(is_of_address).collect::<String>()
        });
        Ok(found)
    })
    .await?;
    let mut stream = TcpStream::connect(&address).with_context(|| address.clone())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // HTTP/1.0 has no chunked encoding.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: probe\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the number of the operator's writes in the stage's namespace, from the audit log.
fn writes(stage: &Stage<'_>) -> Result<usize> {
    let filter = AuditFilter {
        user: Some(OPERATOR_USER),
        namespace: Some(&stage.namespace),
        writes_only: true,
        ..AuditFilter::default()
    };
    Ok(stage.plane.audit_entries(&filter)?.len())
}

#[tokio::test]
async fn killed_between_modify_and_status_it_does_not_modify_again() -> Result<()> {
    let mut stage = Stage::running("killed").await?;
    stage.fault(MODIFY, Some(1), Effect::Hang { after_effect: true })?;
    stage.apply_policy(json!({})).await?;
    stage.wait("the effect of the Modify", || stage.modifies() == 1).await?;
    stage.operator().signal(Signal::KILL)?;
    stage.operator().wait(LIMIT).await?;
    ensure!(stage.policy().await?["status"] == json!({"observedGeneration": -1}));
    stage.start_operator().await?;
    let policy = stage.until_reason("InSync").await?;
    ensure!(policy["status"]["policy"]["crossBackupRegion"] == "cn-shanghai", "{policy:#}");
    ensure!(!policy["status"]["protectedSince"].is_null(), "{policy:#}");
    stage.more_looks(3).await?;
    ensure!(stage.calls(MODIFY) == 1 && stage.modifies() == 1);
    Ok(())
}

#[tokio::test]
async fn a_restart_at_rest_writes_nothing_and_keeps_the_facts() -> Result<()> {
    let mut stage = Stage::running("restart").await?;
    stage.add_backup("b-1", 3600.0)?;
    stage.apply_policy(json!({"recoveryPointObjective": "26h", "deletionPolicy": "Disable"})).await?;
    stage.until_reason("InSync").await?;
    stage.drift(Policy::default())?;
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    stage.until_event(POLICY, "DriftCorrected").await?;
    stage.more_looks(2).await?;
    let (policy, account) = (stage.policy().await?, stage.get("cacct", "prod").await?);

    let begun = Instant::now();
    stage.operator().signal(Signal::TERM)?;
    ends_with(stage.operator(), 0, LIMIT).await?;
    ensure!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    let before = (writes(&stage)?, stage.calls(MODIFY));
    ensure!(before.0 > 0, "the audit log has nothing of the operator");
    stage.start_operator().await?;
    stage.more_looks(4).await?;
    ensure!((writes(&stage)?, stage.calls(MODIFY)) == before, "{}", stage.log());
    let now = stage.policy().await?;
    ensure!(now == policy, "{now:#}");
    let now = stage.get("cacct", "prod").await?;
    ensure!(now == account, "{now:#}");

    stage.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
    stage.until_reason("InSync").await?;
    ensure!(stage.modifies() == 3);
    Ok(())
}

#[tokio::test]
async fn probes_answer_and_sigterm_ends_it_promptly_also_while_the_cloud_hangs() -> Result<()> {
    let mut stage = Stage::running("probes").await?;
    until_healthy(stage.operator()).await?;
    stage.fault(MODIFY, None, Effect::Hang { after_effect: false })?;
    stage.apply_policy(json!({})).await?;
    stage.wait("a Modify", || stage.calls(MODIFY) > 0).await?;
    let begun = Instant::now();
    stage.operator().signal(Signal::TERM)?;
    ends_with(stage.operator(), 0, LIMIT).await?;
    ensure!(begun.elapsed() < STOPPED, "it took {:?}", begun.elapsed());
    Ok(())
}

/// Upper bound on the time from SIGTERM to the exit of the process, with an allowance for a busy machine.
const STOPPED: Duration = Duration::from_millis(2_500);

/// Starts a server that accepts connections and never answers.
fn silent_server() -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    Ok((listener, address))
}

#[tokio::test]
async fn a_signal_ends_it_within_two_seconds_though_the_api_server_never_answers() -> Result<()> {
    let stage = Stage::new("silent-api-server").await?;
    let (_listener, address) = silent_server()?;
    let kubeconfig = stage.plane.file("silent.kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "silent",
        "clusters": [{"name": "silent", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "silent", "user": {}}],
        "contexts": [{"name": "silent", "context": {"cluster": "silent", "user": "silent"}}],
    });
    std::fs::write(&kubeconfig, config.to_string())?;
    for (number, (flag, signal)) in
        [("true", Signal::TERM), ("false", Signal::TERM), ("true", Signal::INT)].into_iter().enumerate()
    {
        let mut command = stage.operator_command(&kubeconfig);
        command.args(["--leader-elect", flag, "--operator-namespace", &stage.namespace]);
        let log = stage.plane.file(&format!("silent-{number}.log"));
        let mut operator = Process::spawn(command, log)?;
        until_logged(&operator, "listening").await?;
        let begun = Instant::now();
        operator.signal(signal)?;
        ends_with(&mut operator, 0, LIMIT).await?;
        ensure!(begun.elapsed() < STOPPED, "it took {:?}", begun.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn a_signal_ends_a_leader_within_two_seconds_though_neither_cloud_nor_api_server_answers() -> Result<()>
{
    let stage = Stage::new("silent-all").await?;
    stage.apply_account().await?;
    stage.grant_lease().await?;
    let proxy = Proxy::start(stage.plane).await?;
    stage.run(["create", "serviceaccount", "leader"]).await?;
    let subject = format!("--serviceaccount={}:leader", stage.namespace);
    let role = "--clusterrole=cross-region-backup-operator";
    stage.run(["create", "rolebinding", "works", role, &subject]).await?;
    stage.run(["create", "rolebinding", "may-lead", "--role=lease", &subject]).await?;
    let through = proxy.kubeconfig(stage.plane, &stage.namespace, "leader").await?;
    for twice in [false, true] {
        proxy.restore();
        let log = format!("silent-all-{twice}");
        let mut operator = stage.another_operator_by(&log, &through, &[])?;
        until_logged(&operator, ": leading").await?;
        stage.fault(MODIFY, None, Effect::Hang { after_effect: false })?;
        let before = stage.calls(MODIFY);
        stage
            .apply_policy(json!({"crossBackupRegion": if twice { "cn-guangzhou" } else { "cn-shanghai" }}))
            .await?;
        stage.wait("a Modify", || stage.calls(MODIFY) > before).await?;
        proxy.cut();
        let begun = Instant::now();
        operator.signal(Signal::TERM)?;
        if twice {
            // A second signal makes it exit at once. Two signals of one kind may arrive as one.
            operator.signal(Signal::INT)?;
            operator.wait(LIMIT).await?;
            ensure!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
        } else {
            ends_with(&mut operator, 0, LIMIT).await?;
            ensure!(begun.elapsed() < STOPPED, "it took {:?}", begun.elapsed());
        }
    }
    Ok(())
}

#[tokio::test]
async fn crds_prints_what_is_in_crds() -> Result<()> {
    let plane = plane().await?;
    let output = Command::new(operator_binary()).arg("crds").output()?;
    ensure!(output.status.success() && output.stderr.is_empty());
    let printed = String::from_utf8(output.stdout)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/crds"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "kustomization.yaml") {
            files.push(path);
        }
    }
    files.sort();
    let mut expected = String::new();
    for file in &files {
        expected.push_str("---\n");
        expected.push_str(std::fs::read_to_string(file)?.trim_end());
        expected.push('\n');
    }
    ensure!(printed == expected, "{printed}");
    let file = plane.file("printed-crds.yaml");
    std::fs::write(&file, printed)?;
    let applied = plane.kubectl().output(["apply", "-f", &file.display().to_string()]).await?;
    let stderr = String::from_utf8_lossy(&applied.stderr);
    ensure!(applied.status.success() && stderr.is_empty(), "{stderr}");
    Ok(())
}

#[test]
fn crds_ends_in_peace_where_nobody_reads_on() -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let output = Command::new(operator_binary()).arg("crds").stdout(writer).output()?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn read_only_observes_and_releases_what_is_deleted() -> Result<()> {
    let mut stage = Stage::running("read-only").await?;
    stage.apply_policy(json!({"deletionPolicy": "Disable"})).await?;
    stage.until_reason("InSync").await?;
    stage.flag("--read-only=true");
    stage.start_operator().await?;
    stage.until_reason("Observed").await?;
    stage.drift(Policy::to_region("cn-guangzhou"))?;
    stage.until_reason("DriftDetected").await?;
    stage.delete("crbp", POLICY).await?;
    stage.until_gone("crbp", POLICY).await?;
    stage.until_event(POLICY, "DisableSkipped").await?;
    ensure!(stage.calls(MODIFY) == 1 && stage.held()? == Policy::to_region("cn-guangzhou"));
    Ok(())
}

#[tokio::test]
async fn a_status_edited_by_hand_is_put_right_again() -> Result<()> {
    let stage = Stage::running("by-hand").await?;
    stage.apply_policy(json!({})).await?;
    let before = stage.until_reason("InSync").await?["status"].clone();
    for edit in [
        json!({"policy": {"active": false}, "protectedSince": null, "syncedGeneration": 77}),
        json!({"conditions": []}),
        json!({"drift": {"corrections": 9, "lastDifference": "by hand"}, "instance": {"name": "by hand"}}),
        json!({
            "recoveryPoint": {"time": "2020-01-01T00:00:00Z", "backupPointId": "by hand"},
            "lastHandledReconcileAt": "by hand",
            "conditions": [{
                "type": "ByHand", "status": "True", "reason": "ByHand", "message": "",
                "lastTransitionTime": "2020-01-01T00:00:00Z",
            }],
        }),
    ] {
        let patch = json!({ "status": edit }).to_string();
        stage.run(["patch", "crbp", POLICY, "--subresource=status", "--type=merge", "-p", &patch]).await?;
        stage.until("crbp", POLICY, &format!("no trace of {edit}"), |o| o["status"] == before).await?;
    }
    let patch = json!({"status": null}).to_string();
    stage.run(["patch", "crbp", POLICY, "--subresource=status", "--type=merge", "-p", &patch]).await?;
    stage.until("crbp", POLICY, "the whole status", |o| o["status"] == before).await?;
    // Nothing is written any more.
    let writes_then = writes(&stage)?;
    stage.more_looks(3).await?;
    ensure!(writes(&stage)? == writes_then, "it writes on and on");
    ensure!(stage.calls(MODIFY) == 1);
    Ok(())
}

#[tokio::test]
async fn a_namesake_starts_from_nothing() -> Result<()> {
    let stage = Stage::running("namesake").await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    stage.drift(Policy::default())?;
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    stage.request_now("crbp", POLICY, "one").await?;
    let handled = |o: &Value| o["status"]["lastHandledReconcileAt"] == "one";
    let first = stage.until("crbp", POLICY, "the request", handled).await?;
    stage.run(["delete", "crbp", POLICY]).await?;
    stage.apply_policy(json!({})).await?;
    let second = stage.until_reason("InSync").await?;
    ensure!(first["metadata"]["uid"] != second["metadata"]["uid"]);
    for field in ["drift", "lastModification", "lastHandledReconcileAt"] {
        ensure!(
            !first["status"][field].is_null() && second["status"][field].is_null(),
            "{field}: {second:#}"
        );
    }
    ensure!(condition(&second, "Ready")["status"] == "True");
    ensure!(stage.modifies_of(INSTANCE) == 2);
    // The new policy does not compete with the one that it replaced.
    stage.drift(Policy::default())?;
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    Ok(())
}
