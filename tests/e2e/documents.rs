//! The commands in the documentation (code blocks marked `sh test`), run in order as a reader would run them.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cloud_simulator::{KeySpec, Seed};
use serde_json::json;
use testbed::{ControlPlane, Options};

use crate::harness::{LIMIT, Stage, root};
use crate::tools::{read, run};

/// The key in world.json, and the key that replaces it.
const KEYS: [(&str, &str); 2] = [
    ("AKLTExampleAccessKeyId0000000001", "ExampleSecretAccessKeyReplaceIt"),
    ("AKLTExampleAccessKeyId0000000003", "ExampleSecretAccessKeyReplaced3"),
];

/// A reader's shell: a folder with the files that the documents name, and kubectl.
struct Reader<'a> {
    plane: &'a ControlPlane,
    folder: tempfile::TempDir,
    blocks: usize,
}

/// Returns a page's code blocks with this info string, without the indentation of their fences.
pub fn blocks(page: &str, mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(fence) = lines.next() {
        let Some(indent) = fence.strip_suffix(&format!("```{mark}")) else { continue };
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        found.push(block.map(|line| format!("{}\n", line.strip_prefix(indent).unwrap_or(line))).collect());
    }
    found
}

impl<'a> Reader<'a> {
    fn new(plane: &'a ControlPlane) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["deploy", "examples"] {
            symlink(root(name), folder.path().join(name))?;
        }
        for (prefix, (id, secret_key)) in ["", "new-"].into_iter().zip(KEYS) {
            // Editors leave a trailing line break.
            std::fs::write(folder.path().join(format!("{prefix}access-key-id")), format!("{id}\n"))?;
            std::fs::write(
                folder.path().join(format!("{prefix}secret-access-key")),
                format!("{secret_key}\n"),
            )?;
        }
        std::fs::write(folder.path().join("session-token"), "a-token\n")?;
        Ok(Self { plane, folder, blocks: 0 })
    }

    fn run(&mut self, block: &str) -> Result<String> {
        self.blocks += 1;
        let assets = std::env::var("KUBEBUILDER_ASSETS").unwrap_or_default();
        let path = format!("{assets}:{}", std::env::var("PATH")?);
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", block])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("KUBECONFIG", self.plane.kubeconfig());
        run(&mut shell)
    }

    /// Runs all blocks of a page and returns their outputs.
    fn follow(&mut self, page: &str) -> Result<Vec<String>> {
        let blocks = blocks(&read(page)?, "sh test");
        ensure!(!blocks.is_empty(), "{page} has no commands");
        blocks.iter().map(|block| self.run(block).with_context(|| page.to_owned())).collect()
    }
}

// The second thread serves the simulator while a command runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_documents_work_in_their_order() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let mut reader = Reader::new(&plane)?;
    let readme = read("README.md")?;
    let [install, key, look] = &blocks(&readme, "sh test")[..] else {
        anyhow::bail!("README.md has other steps")
    };
    reader.run(install)?;
    plane.kubectl().run(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).await?;

    let mut stage = Stage::on(&plane, "documents").await?;
    stage.watches_all = true;
    let seed: Seed = serde_json::from_str(&read("tools/demo/world.json")?)?;
    stage.cloud.seed(seed)?;
    stage.cloud.put_key(KeySpec::new(KEYS[1].0, KEYS[1].1))?;
    stage.start_operator().await?;

    reader.run(key)?;
    for manifest in blocks(&readme, "yaml") {
        stage.kubectl().apply(&manifest).await?;
    }
    // The endpoint is the one difference from a real cloud.
    let endpoint = json!({"spec": {"endpoint": stage.endpoint}}).to_string();
    let patch = ["patch", "cacct", "prod", "-n", "payments", "--type=merge", "-p", &endpoint];
    stage.kubectl().run(patch).await?;
    let seen = reader.run(look)?;
    ensure!(seen.contains("sessions-cache") && seen.contains("recoveryPointObjective"), "{seen}");

    stage.kubectl().run(["delete", "secret", "volc-prod", "-n", "payments"]).await?;
    let told = reader.follow("docs/credentials.md")?;
    ensure!(told.iter().any(|out| out.contains("condition met")), "{told:#?}");
    stage.namespace = "payments".to_owned();
    let hint = |o: &serde_json::Value| o["status"]["accessKeyIdHint"] == "AKLT…0003";
    stage.until("cacct", "prod", "the new key", hint).await?;

    for file in ["policies", "inventories", "shared-account"] {
        stage
            .kubectl()
            .run(["apply", "-f", &root(&format!("examples/{file}.yaml")).display().to_string()])
            .await?;
    }
    let listed = |o: &serde_json::Value| o["status"]["unprotected"]["total"].is_u64();
    stage.until("bkinv", "all-prod", "the unprotected", listed).await?;
    for kind in ["crossregionbackuppolicy", "cloudaccount", "clustercloudaccount", "backupinventory"] {
        reader.follow(&format!("docs/{kind}.md"))?;
    }
    let handled = |o: &serde_json::Value| !o["status"]["lastHandledReconcileAt"].is_null();
    stage.until("crbp", "sessions-cache", "the annotation's look", handled).await?;
    reader.follow("docs/tuning.md")?;
    let kinds = reader.follow("docs/versioning.md")?;
    ensure!(kinds[0].lines().count() == 4, "{kinds:#?}");
    stage.operator().terminate(LIMIT).await?;
    // Runs after the operator has stopped, because the commands of this page revoke its rights.
    reader.follow("docs/security.md")?;

    let marked: usize = pages(&root("docs"))?.iter().map(|(_, page)| blocks(page, "sh test").len()).sum();
    ensure!(reader.blocks == marked + 3, "{} of {} blocks were run", reader.blocks, marked + 3);
    Ok(())
}

/// Returns the Markdown pages of a folder, with their paths.
fn pages(folder: &Path) -> Result<Vec<(std::path::PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "md") {
            found.push((path.clone(), std::fs::read_to_string(path)?));
        }
    }
    Ok(found)
}

#[test]
fn links_between_the_documents_lead_somewhere() -> Result<()> {
    let mut links = 0;
    for folder in [root("."), root("docs"), root("docs/adr"), root("deploy/helm"), root("simulator")] {
        for (path, page) in pages(&folder)? {
            for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                if link.contains("://") || link.contains(' ') {
                    continue;
                }
                links += 1;
                let target = if file.is_empty() { path.clone() } else { folder.join(file) };
                ensure!(target.exists(), "{}: {link}", path.display());
                if !anchor.is_empty() && target.extension().is_some_and(|end| end == "md") {
                    let anchors = crate::alerts::anchors(&std::fs::read_to_string(&target)?);
                    ensure!(anchors.contains(anchor), "{}: {link}", path.display());
                }
            }
        }
    }
    ensure!(links > 100, "{links} links");
    Ok(())
}
