//! Rendering of the chart: every combination of values gives valid objects, the default values give the manifests of deploy/, and
//! wrong values are refused.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use super::template;
use crate::harness::{OPERATOR_NAMESPACE, plane, root};
use crate::tools::{documents, output, read, run, set, tool, yaml};

/// Independent groups of values; the test renders every combination.
const CHOICES: [&[&str]; 6] = [
    &["watchNamespaces={chart-one,chart-two}"],
    &["replicaCount=1", "leaderElection.enabled=false", "podDisruptionBudget.minAvailable=0"],
    &["serviceMonitor.enabled=true", "serviceMonitor.labels.release=prometheus"],
    &["prometheusRule.enabled=true", "prometheusRule.runbookBaseUrl=https://wiki.example.com/crbo"],
    &["grafanaDashboard.enabled=true"],
    &[
        "crds.enabled=false",
        "userRoles.create=false",
        "networkPolicy.enabled=false",
        "podDisruptionBudget.enabled=false",
        "rbac.create=false",
    ],
];

fn rendered(namespace: &str, values: &[&str]) -> Result<String> {
    run(set(&mut template(namespace)?, values))
}

/// Indexes objects by kind, namespace and name, without the fields that only helm adds.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let key = |o: &Value| format!("{} {} {}", o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]);
    let plain = |mut object: Value| {
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            labels.retain(|name, _| name != "helm.sh/chart" && name != "app.kubernetes.io/managed-by");
        }
        if let Some(meta) = object["metadata"].as_object_mut() {
            let without =
                |notes: &Map<String, Value>| notes.keys().all(|name| name == "helm.sh/resource-policy");
            meta.retain(|name, value| name != "annotations" || !value.as_object().is_some_and(without));
        }
        object
    };
    objects.into_iter().map(|object| (key(&object), plain(object))).collect()
}

/// Creates an empty namespace that enforces, and warns about, the Pod Security Standard "restricted".
async fn empty(namespace: &str) -> Result<()> {
    let kubectl = plane().await?.kubectl();
    kubectl.run(["create", "namespace", namespace]).await?;
    let restricted = ["enforce", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
    kubectl
        .run(["label", "namespace", namespace].into_iter().chain(restricted.iter().map(String::as_str)))
        .await?;
    Ok(())
}

/// Applies the manifests as a server-side dry run and returns the number of accepted objects. Every warning is a failure.
async fn taken(name: &str, manifests: &str) -> Result<usize> {
    let plane = plane().await?;
    let file = plane.file(name);
    std::fs::write(&file, manifests)?;
    let args = ["apply", "--dry-run=server", "-o", "name", "-f", &file.display().to_string()];
    let answer = plane.kubectl().output(args).await?;
    let stderr = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success() && stderr.is_empty(), "{stderr}");
    Ok(String::from_utf8(answer.stdout)?.lines().count())
}

#[test]
fn it_passes_helm_s_linter() -> Result<()> {
    for values in [vec![], CHOICES.concat()] {
        let mut helm = tool("helm")?;
        run(set(helm.args(["lint", "--strict"]).arg(root("deploy/helm")), values))?;
    }
    Ok(())
}

#[test]
fn its_copies_are_fresh() -> Result<()> {
    let mut crds = Vec::new();
    for folder in ["crds", "deploy/helm/files/crds"] {
        let names = std::fs::read_dir(root(folder))?.map(|entry| Ok(entry?.file_name()));
        let names: BTreeSet<_> = names.collect::<Result<_>>()?;
        crds.push(names.into_iter().filter(|name| name != "kustomization.yaml").collect::<Vec<_>>());
    }
    ensure!(crds[0] == crds[1] && crds[0].len() == 4, "{crds:?}: `make chart`");
    let crds = crds[0].iter().map(|name| format!("crds/{}", name.display()));
    let pairs = crds.map(|path| (path.clone(), path)).chain([
        ("deploy/prometheus/rules.yaml".to_owned(), "rules.yaml".to_owned()),
        ("deploy/grafana/dashboard.json".to_owned(), "dashboard.json".to_owned()),
    ]);
    for (original, copy) in pairs {
        let same = read(&original)? == read(&format!("deploy/helm/files/{copy}"))?;
        ensure!(same, "the chart's copy of {original} is stale: `make chart`");
    }
    Ok(())
}

#[tokio::test]
async fn the_api_server_takes_every_combination_of_values() -> Result<()> {
    let namespace = "chart-combinations";
    for name in [namespace, "chart-one", "chart-two"] {
        empty(name).await?;
    }
    let (kubectl, crds) = (plane().await?.kubectl(), root("tests/data/crds").display().to_string());
    kubectl.run(["apply", "--server-side", "-f", &crds]).await?;
    kubectl.run(["wait", "--for=condition=Established", "--timeout=60s", "-f", &crds]).await?;
    // Many combinations render the same objects, so each distinct object is sent once.
    let mut different = BTreeSet::new();
    for chosen in 0..1_usize << CHOICES.len() {
        let values: Vec<&str> = CHOICES
            .iter()
            .enumerate()
            .filter(|(bit, _)| chosen & (1 << bit) != 0)
            .flat_map(|(_, v)| *v)
            .copied()
            .collect();
        let objects = documents(&rendered(namespace, &values)?)?;
        let has = |kind: &str| objects.iter().filter(|o| o["kind"] == kind).count();
        let is = |bit: usize| chosen & (1 << bit) != 0;
        ensure!(has("Deployment") == 1, "{values:?}");
        ensure!(has("ServiceMonitor") == usize::from(is(2)) && has("PrometheusRule") == usize::from(is(3)));
        ensure!(has("ConfigMap") == usize::from(is(4)));
        ensure!(has("CustomResourceDefinition") == if is(5) { 0 } else { 4 }, "{values:?}");
        ensure!(has("ClusterRoleBinding") == usize::from(!is(0) && !is(5)), "{values:?}");
        different.extend(objects.iter().map(Value::to_string));
    }
    ensure!(different.len() > 25, "only {} different objects", different.len());
    let manifests: Vec<_> = different.iter().map(String::as_str).collect();
    ensure!(taken("combinations.yaml", &manifests.join("\n")).await? == different.len());
    Ok(())
}

#[tokio::test]
async fn the_api_server_takes_every_value() -> Result<()> {
    let namespace = "chart-every-value";
    empty(namespace).await?;
    let mut helm = template(namespace)?;
    let text = run(helm.arg("--values").arg(root("tests/data/charts/every-value.yaml")))?;
    // The test of all combinations covers the objects that need additional CRDs.
    let is_native =
        |o: &Value| !o["apiVersion"].as_str().is_some_and(|v| v.starts_with("monitoring.coreos.com"));
    let objects: Vec<Value> = documents(&text)?.into_iter().filter(is_native).collect();
    let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
    ensure!(taken("every-value.yaml", &texts.join("\n")).await? == objects.len());
    // Each value has an effect: removing it changes the rendered output.
    let all = yaml("tests/data/charts/every-value.yaml")?;
    let names = all.as_object().context("no map")?.keys();
    let schema: Value = serde_json::from_str(&read("deploy/helm/values.schema.json")?)?;
    let known = schema["properties"].as_object().context("no properties")?.keys();
    // Covered by the test of all combinations.
    let elsewhere =
        ["replicaCount", "leaderElection", "crds", "watchNamespaces", "rbac", "userRoles", "global"];
    let missing: Vec<_> =
        known.filter(|name| !elsewhere.contains(&name.as_str()) && all[name.as_str()].is_null()).collect();
    ensure!(missing.is_empty(), "no test sets {missing:?}");
    let file = tempfile::NamedTempFile::new()?;
    for name in names {
        let mut rest = all.clone();
        rest.as_object_mut().context("no map")?.remove(name);
        std::fs::write(file.path(), rest.to_string())?;
        let without = output(template(namespace)?.arg("--values").arg(file.path()), "")?;
        ensure!(String::from_utf8(without.stdout)? != text, "{name} changes nothing");
    }
    Ok(())
}

#[test]
fn every_value_is_in_the_schema_and_in_the_readme() -> Result<()> {
    let values = yaml("deploy/helm/values.yaml")?;
    let schema: Value = serde_json::from_str(&read("deploy/helm/values.schema.json")?)?;
    let readme = read("deploy/helm/README.md")?;
    let known = schema["properties"].as_object().context("no properties")?;
    for (name, value) in values.as_object().context("no map")? {
        let described = &known.get(name).with_context(|| format!("the schema has no {name}"))?["properties"];
        ensure!(readme.contains(&format!("`{name}")), "the README has no {name}");
        for inner in value.as_object().into_iter().flat_map(Map::keys).filter(|_| described.is_object()) {
            ensure!(!described[inner].is_null(), "the schema has no {name}.{inner}");
            let is_told = inner == "requests" || inner == "limits" || readme.contains(&format!(".{inner}`"));
            ensure!(is_told, "the README has no {name}.{inner}");
        }
    }
    // The schema also allows `global`, which helm accepts in every chart.
    ensure!(known.len() == 1 + values.as_object().map_or(0, Map::len));
    Ok(())
}

#[test]
fn wrong_values_are_refused_by_name() -> Result<()> {
    for (values, words) in [
        (vec!["replicaCount=0"], "/replicaCount"),
        (vec!["replicaCount=two"], "/replicaCount"),
        (vec!["leaderElection.enabled=false"], "/leaderElection/enabled"),
        (vec!["watchNamespace=payments"], "watchNamespace"),
        (vec!["watchNamespaces={Payments}"], "/watchNamespaces/0"),
        (vec!["watchNamespaces={a,a}"], "/watchNamespaces"),
        (vec!["image.tag=not a tag"], "/image/tag"),
        (vec!["image.digest=latest"], "/image/digest"),
        (vec!["image.pullPolicy=Sometimes"], "/image/pullPolicy"),
        (vec!["concurrency=0"], "/concurrency"),
        (vec!["logFormat=xml"], "/logFormat"),
        (vec!["extraArgs={run}"], "/extraArgs/0"),
        (vec!["networkPolicy.apiServerPorts={0}"], "/networkPolicy/apiServerPorts/0"),
        (vec!["podDisruptionBudget.maxUnavailable=half"], "/podDisruptionBudget/maxUnavailable"),
        (vec!["serviceMonitor.interval=often"], "/serviceMonitor/interval"),
        (vec!["prometheusRule.runbookBaseUrl=wiki"], "/prometheusRule/runbookBaseUrl"),
        (vec!["resources.cpu=1"], "/resources"),
        (vec!["serviceAccount.create=false"], "serviceAccount.name is required"),
    ] {
        let answer = output(set(&mut template(OPERATOR_NAMESPACE)?, &values), "")?;
        let stderr = String::from_utf8_lossy(&answer.stderr);
        ensure!(!answer.status.success() && stderr.contains(words), "{values:?}: {stderr}");
    }
    let old = output(template(OPERATOR_NAMESPACE)?.args(["--kube-version", "1.32.9"]), "")?;
    ensure!(!old.status.success() && String::from_utf8_lossy(&old.stderr).contains(">=1.33.0"));
    Ok(())
}

#[tokio::test]
async fn the_plain_manifests_are_the_same_objects() -> Result<()> {
    let kustomize =
        plane().await?.kubectl().run(["kustomize", &root("deploy").display().to_string()]).await?;
    let mut plain = by_name(documents(&kustomize)?);
    // With helm, --create-namespace creates the namespace.
    ensure!(plain.remove(&format!("\"Namespace\" null \"{OPERATOR_NAMESPACE}\"")).is_some());
    let mut chart = by_name(documents(&rendered(OPERATOR_NAMESPACE, &[])?)?);
    // A post-delete hook of the chart; the plain manifests are uninstalled by deleting the whole namespace.
    let lease = format!("\"Lease\" \"{OPERATOR_NAMESPACE}\" \"{OPERATOR_NAMESPACE}\"");
    let lease = chart.remove(&lease).context("no Lease")?;
    ensure!(lease["metadata"]["annotations"]["helm.sh/hook"] == "post-delete", "{lease:#}");
    ensure!(plain.keys().eq(chart.keys()), "{:?}\n{:?}", plain.keys(), chart.keys());
    for (name, object) in &plain {
        ensure!(chart[name] == *object, "{name}:\n{object:#}\n{:#}", chart[name]);
    }
    Ok(())
}

#[test]
fn limited_to_namespaces_it_has_the_role_of_the_plain_manifests_in_each() -> Result<()> {
    let plain = by_name(documents(&read("deploy/namespaced/role.yaml")?)?);
    let chart = by_name(documents(&rendered(OPERATOR_NAMESPACE, CHOICES[0])?)?);
    for (name, object) in &plain {
        for namespace in ["chart-one", "chart-two"] {
            let found =
                chart.get(&name.replace("null", &format!("{namespace:?}"))).context("no such object")?;
            let mut found = found.clone();
            found["metadata"].as_object_mut().context("no metadata")?.remove("namespace");
            ensure!(found == *object, "{found:#}\n{object:#}");
        }
    }
    ensure!(plain.len() == 2);
    let cluster_wide = chart.keys().filter(|name| name.starts_with("\"ClusterRole"));
    ensure!(cluster_wide.count() == 3, "none but the users' roles");
    Ok(())
}
