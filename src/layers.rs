//! Tests the direction of dependencies between the layers of the crate: each uses only layers to its right, as the
//! arrows in docs/development.md show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Layers from left to right. A layer uses layers of later ranks, and not its siblings.
const LAYERS: [&[&str]; 8] = [
    &["main"],
    &["app"],
    &["commands"],
    &["cli", "serve", "controllers"],
    &["accounts"],
    &["cluster", "cloud", "plan"],
    &["api", "domain"],
    &["clock", "metrics", "telemetry"],
];
/// Crates that a layer must not name, and words that must not occur in it.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("cloud", &["kube::", "k8s_openapi::"]),
    (
        "plan",
        &["async ", ".await", "tokio::", "kube::", "k8s_openapi::", "http::", "reqwest::", "serde_json::"],
    ),
    (
        "domain",
        &["async ", ".await", "tokio::", "kube::", "k8s_openapi::", "http::", "reqwest::", "serde_json::"],
    ),
    ("api", &["async ", ".await", "tokio::", "reqwest::"]),
    ("clock", &["kube::", "reqwest::"]),
    ("metrics", &["kube::", "reqwest::"]),
];
/// Layers that use fewer others than their rank allows.
const NARROWED: [(&str, &[&str]); 3] =
    [("plan", &["domain"]), ("domain", &[]), ("cloud", &["domain", "clock", "metrics", "telemetry"])];

struct Source {
    layer: String,
    path: PathBuf,
    /// Content without comments.
    code: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Lists the Rust files of a folder, recursively.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let of = |path: PathBuf| {
        let inside = path.strip_prefix(&src).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let layer = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code =
            text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
        Source { layer, path, code }
    };
    // `lib` and this file name all layers.
    files(&src).into_iter().map(of).filter(|s| s.layer != "lib" && s.layer != "layers").collect()
}

/// Returns the layers that a source names after `crate::`, also within braces; in the binary after the library's name.
fn used(source: &Source) -> BTreeSet<String> {
    let prefix = if source.layer == "main" { "cross_region_backup_operator::" } else { "crate::" };
    let mut layers = BTreeSet::new();
    for (start, _) in source.code.match_indices(prefix) {
        let rest = &source.code[start + prefix.len()..];
        let name = |text: &str| {
            let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
            text[..end].to_owned()
        };
        match rest.strip_prefix('{') {
            Some(list) => layers.extend(members(list).into_iter().map(name)),
            None => drop(layers.insert(name(rest))),
        }
    }
    layers
}

/// Returns the members of a list that ends with its closing brace.
fn members(list: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut members) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(list[begin..at].trim());
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

fn rank(layer: &str) -> usize {
    LAYERS.iter().position(|layers| layers.contains(&layer)).unwrap_or_else(|| panic!("{layer} has no place"))
}

#[test]
fn each_room_uses_only_rooms_to_its_right() {
    let mut wrong = BTreeMap::<String, BTreeSet<String>>::new();
    for source in sources() {
        for layer in used(&source) {
            let right = rank(&layer) > rank(&source.layer);
            let allowed = NARROWED
                .iter()
                .find(|(name, _)| *name == source.layer)
                .is_none_or(|(_, only)| only.contains(&layer.as_str()));
            if layer != source.layer && !(right && allowed) {
                wrong
                    .entry(format!("{} -> {layer}", source.layer))
                    .or_default()
                    .insert(source.path.display().to_string());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn rooms_without_a_cluster_a_cloud_or_a_runtime_have_none() {
    for source in sources() {
        for (_, words) in FORBIDDEN.iter().filter(|(layer, _)| *layer == source.layer) {
            for word in *words {
                let begins = |at: usize| {
                    let before = source.code[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                };
                let found = source.code.match_indices(word).any(|(at, _)| begins(at));
                assert!(!found, "{} has {word}", source.path.display());
            }
        }
    }
}

#[test]
fn the_simulator_shares_nothing_with_the_operator() {
    let manifest = fs::read_to_string(root().join("simulator/Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("cross-region-backup-operator") && !manifest.contains("path = \"..\""),
        "{manifest}"
    );
    for path in files(&root().join("simulator")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("cross_region_backup_operator"), "{}", path.display());
        // Nor may it include the operator's files.
        assert!(!text.contains("../../src/") && !text.contains("../src/cloud"), "{}", path.display());
    }
}
