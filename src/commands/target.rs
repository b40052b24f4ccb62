//! Target account and regions of `backups`, `report` and `import`.

use anyhow::{anyhow, bail};

use super::access::cluster::Cluster;
use super::access::{Access, ManifestsSource, ResolvedAccount};
use super::{manifests, validate};
use crate::accounts::{AccountKey, Instances};
use crate::api::CrossRegionBackupPolicy;
use crate::cli::Global;
use crate::cli::source::{SourceArgs, TargetArgs};
use crate::domain::Instance;

/// Access to the accounts, and the policies that the files declare.
pub struct Sources {
    pub access: Access,
    /// Each policy with its namespace.
    pub policies: Vec<(String, CrossRegionBackupPolicy)>,
    /// Namespace of objects that name none.
    pub namespace: String,
}

/// Reads the files, and connects to the cluster if `--from-cluster` is set.
///
/// # Errors
/// The files or flags are invalid, or the cluster cannot be reached.
pub async fn sources(global: &Global, of: &TargetArgs, source: &SourceArgs) -> anyhow::Result<Sources> {
    let cluster = match source.from_cluster {
        true => Some(Cluster::connect(&source.cluster).await?),
        false => None,
    };
    let namespace = default_namespace(source, cluster.as_ref());
    let (given, policies) = given(of, &namespace)?;
    let access = Access::new(global, source, cluster, given)?;
    Ok(Sources { access, policies, namespace })
}

/// Returns the key of the target account: `--account`, else the only account of the files, else the environment's.
///
/// # Errors
/// `--account` is missing, and the files declare several accounts, or the accounts come from the cluster.
pub fn key(access: &Access, of: &TargetArgs, namespace: &str) -> anyhow::Result<AccountKey> {
    let within = |namespace: &str, name: &str| AccountKey {
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    };
    if let Some(named) = &of.account {
        return Ok(match named.is_shared {
            true => AccountKey { namespace: None, name: named.name.clone() },
            false => within(named.namespace.as_deref().unwrap_or(namespace), &named.name),
        });
    }
    let mut declared = access.declared();
    match (declared.next(), declared.next()) {
        (Some(only), None) => Ok(only.clone()),
        (Some(_), Some(_)) => bail!("the files declare several accounts: --account says which"),
        (None, _) if access.cluster.is_some() => bail!("--account says which account of the cluster"),
        (None, _) => Ok(within(namespace, "environment")),
    }
}

/// Returns the namespace of objects that name none: `--namespace`, else the cluster connection's, else `default`.
pub fn default_namespace(source: &SourceArgs, cluster: Option<&Cluster>) -> String {
    let flag = source.cluster.namespace.clone();
    let of_cluster = || cluster.map(|cluster| cluster.namespace.clone());
    flag.or_else(of_cluster).unwrap_or_else(|| "default".to_owned())
}

/// Reads and validates the files. Returns the accounts, Secrets and namespaces, and the policies with their namespaces.
fn given(
    of: &TargetArgs,
    namespace: &str,
) -> anyhow::Result<(ManifestsSource, Vec<(String, CrossRegionBackupPolicy)>)> {
    let (mut given, mut policies) = (ManifestsSource::default(), Vec::new());
    if of.files.is_empty() {
        return Ok((given, policies));
    }
    let read = manifests::read(&of.files)?;
    let mut problems: Vec<_> = read.problems.iter().map(ToString::to_string).collect();
    for document in &read.documents {
        let namespace = document.namespace.as_deref().unwrap_or(namespace);
        match validate::check(document, None) {
            Ok(mut value) if document.is_kind("CrossRegionBackupPolicy") => {
                // An exported status has the time since which the instance is protected.
                if let Some(status) = document.value().get("status") {
                    value["status"] = status.clone();
                }
                policies.push((namespace.to_owned(), serde_json::from_value(value)?));
            }
            Ok(value) => given.take(&document.kind, namespace, &value),
            Err(wrong) => problems.extend(wrong.iter().map(ToString::to_string)),
        }
    }
    match problems.as_slice() {
        [] => Ok((given, policies)),
        problems => Err(anyhow!("the files are not valid:\n{}", problems.join("\n"))),
    }
}

/// Resolves the account.
///
/// # Errors
/// The account cannot be used; the message has the reason.
pub async fn resolved(access: &Access, key: &AccountKey) -> anyhow::Result<ResolvedAccount> {
    access.resolve(key).await.access.map_err(|(reason, text)| anyhow!("{}: {text}", reason.as_str()))
}

/// Returns the requested regions, sorted, else the account's home region.
pub fn regions(of: &TargetArgs, resolved: &ResolvedAccount) -> Vec<String> {
    let mut regions = of.regions.clone();
    regions.sort();
    regions.dedup();
    if regions.is_empty() { vec![resolved.region.clone()] } else { regions }
}

/// Lists all instances of the account in a region, by id.
///
/// # Errors
/// The listing fails.
pub async fn instances(
    access: &Access,
    resolved: &ResolvedAccount,
    region: &str,
) -> anyhow::Result<Vec<Instance>> {
    let mut instances = Instances::new(resolved.site());
    access.read(resolved, async |account_client| instances.next_pages(account_client, region).await).await?;
    Ok(instances.list().to_vec())
}

#[cfg(test)]
mod tests {
    use cloud_simulator::{BackupSpec, InstanceSpec, KeySpec, Simulator, Tag};
    use jiff::Timestamp;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::clock::Clock;
    use crate::cloud::{EndpointRule, Selection, service_transport};
    use crate::commands::backups::{ListEvent, for_each_page};

    const START: &str = "2026-11-22T12:00:00Z";
    const KEY: &str = "AKLTTestTestTestTest01";
    const SECRET: &str = "TheSecretKeyOfThisTest";

    /// `report` and `import` list instances, `report` and `backups` list backups.
    #[tokio::test(start_paused = true)]
    async fn commands_read_answers_that_are_too_large_in_smaller_pages() {
        let start: Timestamp = START.parse().unwrap();
        let cloud = Simulator::new(cloud_simulator::Clock::from_tokio(start));
        cloud.put_key(KeySpec::new(KEY, SECRET)).unwrap();
        // Pages of 1000 records of 10 KiB, or of 100 records of 90 KiB, exceed 8 MiB.
        let tag = |number| Tag { key: format!("cost-centre-{number:02}"), value: "v".repeat(150) };
        let tags: Vec<_> = (0..45).map(tag).collect();
        for number in 0..1001 {
            let spec = InstanceSpec::new(format!("redis-{number}"), "cn-beijing");
            cloud.put_instance(InstanceSpec { tags: tags.clone(), ..spec }).unwrap();
        }
        let overrides = Map::from_iter([("Padding".to_owned(), Value::from("p".repeat(90_000)))]);
        for number in 0..101 {
            let spec = BackupSpec::new(format!("b-{number}"), format!("redis-{number}"), 60.0);
            cloud.put_backup(BackupSpec { overrides: overrides.clone(), ..spec }).unwrap();
        }
        let mut given = ManifestsSource::default();
        let account = json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CloudAccount",
            "metadata": {"name": "prod", "namespace": "payments"},
            "spec": {"provider": "Volcengine", "credentials": {"secretRef": {"name": "key"}}},
        });
        let secret = json!({
            "metadata": {"name": "key", "namespace": "payments"},
            "stringData": {"accessKeyId": KEY, "secretAccessKey": SECRET},
        });
        given.take("CloudAccount", "payments", &account);
        given.take("Secret", "payments", &secret);
        let transport = service_transport(cloud_simulator::router(cloud.clone()));
        let rule = EndpointRule::new(&[]).unwrap();
        let access =
            Access::through(transport, rule, Clock::from_tokio(start), None, &SourceArgs::default(), given);
        let key = AccountKey { namespace: Some("payments".to_owned()), name: "prod".to_owned() };
        let resolved = resolved(&access, &key).await.unwrap();
        let listed = instances(&access, &resolved, "cn-beijing").await.unwrap();
        assert_eq!((listed.len(), listed[0].tags.len()), (1001, 45));
        let selection = Selection { region: "cn-beijing".to_owned(), ..Selection::default() };
        let mut records = 0;
        let take = |page| match page {
            ListEvent::Read(backups) => records += backups.len(),
            ListEvent::Again => panic!("nothing moves"),
        };
        assert!(!for_each_page(&access, &resolved, selection, start, take).await.unwrap());
        assert_eq!(records, 101);
        let calls = access.sent.by_action();
        // One extra call verifies the account.
        assert_eq!((calls["DescribeDBInstances"], calls["DescribeCrossRegionBackups"]), (1 + 1 + 3, 1 + 3));
    }
}
