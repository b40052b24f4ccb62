//! `import`: writes a manifest for each instance of an account that matches the cloud, so that applying them changes
//! nothing there.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::access::{Access, ResolvedAccount};
use super::show::{self, Progress, plain};
use super::{Exit, target, validate};
use crate::accounts::AccountKey;
use crate::cli::Global;
use crate::cli::import::{Import, Management};
use crate::domain::{Instance, InstanceRef, Kind, PolicyState};
use crate::plan::inventory::listing_summary::is_standalone;

const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
/// Concurrent Describe calls; the account's request budget limits their rate.
const CONCURRENT_CALLS: usize = 64;
/// Longest name of a resource, in characters.
const NAME_MAX: usize = 63;

/// # Errors
/// The account cannot be used, its instances cannot be listed, or a file cannot be written.
pub async fn run(global: &Global, args: &Import) -> anyhow::Result<Exit> {
    let target::Sources { access, namespace, .. } = target::sources(global, &args.of, &args.source).await?;
    let key = target::key(&access, &args.of, &namespace)?;
    let namespace = key.namespace.clone().unwrap_or(namespace);
    if args.of.account.is_none() && access.declared().next().is_none() {
        bail!("--account is needed: the manifests refer to it by name");
    }
    let resolved = target::resolved(&access, &key).await?;
    if !resolved.site().has_policies() {
        bail!(
            "{key}: Tencent Cloud has no cross-region backup policy for Redis: there is nothing to import; a BackupInventory \
             shows its instances' own backups"
        );
    }
    let mut manifests = BTreeMap::new();
    let mut left_out = Vec::new();
    for region in target::regions(&args.of, &resolved) {
        let instances: Vec<_> = target::instances(&access, &resolved, &region)
            .await?
            .into_iter()
            .filter(|i| is_wanted(args, i))
            .collect();
        let mut progress = Progress::on_stderr();
        let mut done = 0;
        let described: Vec<_> = futures::stream::iter(&instances)
            .map(|instance| described(&access, &resolved, &region, instance))
            .buffered(CONCURRENT_CALLS)
            .inspect(|_| {
                done += 1;
                progress.update(&format!("{region}: {done} of {} instances described", instances.len()));
            })
            .collect()
            .await;
        drop(progress);
        for (instance, answer) in instances.iter().zip(described) {
            match answer.and_then(|policy| manifest(args, &key, &namespace, &region, instance, &policy)) {
                Ok(text) => drop(manifests.insert(name_of(&instance.id), text)),
                Err(why) => left_out.push((instance.id.clone(), why)),
            }
        }
    }
    let exists = match &args.directory {
        Some(directory) => write(directory, &manifests)?,
        None => {
            let all: String = manifests.values().map(|text| format!("---\n{text}")).collect();
            show::print(&all)?;
            0
        }
    };
    for (id, why) in &left_out {
        show::note(&format!("{}: left out: {}", plain(id), plain(&why.text)));
    }
    let there = if exists > 0 {
        format!(", {exists} of them there already and left as they are")
    } else {
        String::new()
    };
    show::note(&format!(
        "{} manifests{there}; {} instances left out. {} cloud calls, none that changes anything.",
        manifests.len(),
        left_out.len(),
        access.sent.total()
    ));
    let complete = left_out.iter().all(|(_, why)| why.is_expected);
    Ok(if complete { Exit::Success } else { Exit::Failure })
}

/// Reason why an instance has no manifest.
struct LeftOut {
    text: String,
    /// The instance supports no policy; the command still succeeds.
    is_expected: bool,
}

fn is_wanted(args: &Import, instance: &Instance) -> bool {
    let tagged = args.tags.iter().all(|(key, value)| {
        instance.tags.iter().any(|(k, v)| k == key && value.as_ref().is_none_or(|value| v == value))
    });
    let project = instance.project_name.as_deref().unwrap_or_default();
    let in_project = args.projects.is_empty() || args.projects.iter().any(|wanted| wanted == project);
    let named = args.name.as_ref().is_none_or(|text| {
        let text = text.to_lowercase();
        let name = instance.name.as_deref().unwrap_or_default().to_lowercase();
        name.contains(&text) || instance.id.contains(&text)
    });
    tagged && in_project && named
}

async fn described(
    access: &Access,
    resolved: &ResolvedAccount,
    region: &str,
    instance: &Instance,
) -> Result<PolicyState, LeftOut> {
    let standalone = || LeftOut {
        text: "a Standalone instance can have no cross-region backup".to_owned(),
        is_expected: true,
    };
    if is_standalone(instance) {
        return Err(standalone());
    }
    let of = &InstanceRef { region: region.to_owned(), id: instance.id.clone() };
    let answer =
        access.call(resolved, DESCRIBE, |client| async move { client.describe_policy(of).await }).await;
    answer.map_err(|failure| match failure.kind {
        Kind::NotSupported => standalone(),
        _ => LeftOut { text: failure.to_string(), is_expected: false },
    })
}

fn manifest(
    args: &Import,
    key: &AccountKey,
    namespace: &str,
    region: &str,
    instance: &Instance,
    policy: &PolicyState,
) -> Result<String, LeftOut> {
    let mut spec = Map::new();
    let mut account = json!({"name": key.name});
    if key.is_shared() {
        account = json!({"kind": "ClusterCloudAccount", "name": key.name});
    }
    spec.insert("accountRef".to_owned(), account);
    spec.insert("region".to_owned(), json!(region));
    spec.insert("instanceId".to_owned(), json!(instance.id));
    spec.insert("active".to_owned(), json!(policy.active));
    if let Some(target) = policy.cross_backup_region.as_ref().filter(|_| policy.active) {
        spec.insert("crossBackupRegion".to_owned(), json!(target));
    }
    let management = match args.management_policy {
        Management::Observe => "Observe",
        Management::Manage => "Manage",
    };
    spec.insert("managementPolicy".to_owned(), json!(management));
    if let Some(objective) = args.recovery_point_objective.as_ref().filter(|_| policy.active) {
        spec.insert("recoveryPointObjective".to_owned(), json!(objective));
    }
    let value = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1",
        "kind": "CrossRegionBackupPolicy",
        "metadata": {"name": name_of(&instance.id), "namespace": namespace},
        "spec": Value::Object(spec),
    });
    let wrong = |text: String| LeftOut { text, is_expected: false };
    validate::check_value(&value).map_err(|problems| wrong(problems.join("; ")))?;
    let yaml = serde_saphyr::to_string(&value).map_err(|error| wrong(error.to_string()))?;
    let name = instance.name.as_deref().map(|name| format!("# {}\n", plain(name))).unwrap_or_default();
    Ok(format!("{name}{}\n", yaml.trim_end()))
}

/// Returns the resource name of an instance: its id, which never changes. The longest ids exceed a name by one
/// character and are shortened, with a hash appended.
fn name_of(id: &str) -> String {
    match id.len() <= NAME_MAX {
        true => id.to_owned(),
        false => format!(
            "{}-{}",
            &id[..id.floor_char_boundary(NAME_MAX - 9)],
            hex::encode(&Sha256::digest(id)[..4])
        ),
    }
}

/// Writes the files that do not exist yet. Returns how many exist already.
fn write(directory: &Path, manifests: &BTreeMap<String, String>) -> anyhow::Result<usize> {
    fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    let mut exists = 0;
    for (name, text) in manifests {
        let path = directory.join(format!("{name}.yaml"));
        let resolved = fs::File::create_new(&path);
        match resolved.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => exists += 1,
            Err(error) => return Err(error).with_context(|| format!("{} cannot be written", path.display())),
        }
    }
    Ok(exists)
}
