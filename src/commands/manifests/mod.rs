//! Reads manifests from files, directories and standard input, as `kubectl apply` does.

mod node;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::show;
use crate::telemetry::scrub::clean;
pub use node::{Located, escaped};

/// Largest file, in bytes; larger than any that people write.
const FILE_MAX: u64 = 64 << 20;
/// Deepest nesting of directories.
const DEPTH_MAX: usize = 32;
const GROUP: &str = "crossregionbackup.io";

/// Position in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePosition {
    pub file: Arc<str>,
    /// From 1.
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Object of a manifest.
#[derive(Clone, Debug)]
pub struct Document {
    pub at: FilePosition,
    pub api_version: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    /// Number of lines in the file before the document.
    line_offset: u64,
    located: Located,
}

/// Error in a manifest, with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub at: FilePosition,
    /// Such as `CrossRegionBackupPolicy payments/sessions`.
    pub object: Option<String>,
    /// Such as `spec.crossBackupRegion`; empty for the whole document.
    pub field: String,
    /// Violated schema keyword or CEL rule.
    pub rule: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} ({})", self.message, self.rule)
    }
}

/// Result of reading manifests.
#[derive(Default)]
pub struct Manifests {
    /// In the order in which kubectl would apply them.
    pub documents: Vec<Document>,
    /// Errors of documents that could not be read.
    pub problems: Vec<Problem>,
    /// Positions of wholly encrypted files and documents, which count as absent.
    pub encrypted: Vec<FilePosition>,
}

impl Document {
    pub fn value(&self) -> &Value {
        &self.located.value
    }

    /// Returns whether the object is of this operator's API group, in any version and kind.
    pub fn is_ours(&self) -> bool {
        self.api_version.split('/').next() == Some(GROUP)
    }

    pub fn is_kind(&self, kind: &str) -> bool {
        self.is_ours() && self.kind == kind
    }

    /// Returns the object's kind and name for messages.
    pub fn object(&self) -> String {
        let name = if self.name.is_empty() { "without a name" } else { &self.name };
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{name}", self.kind),
            None => format!("{} {name}", self.kind),
        }
    }

    /// Builds a problem with the field at this pointer.
    pub fn problem(&self, pointer: &str, field: &str, rule: &str, message: String) -> Problem {
        let (line, column) = self.located.position(pointer);
        Problem {
            at: FilePosition { file: self.at.file.clone(), line: self.line_offset + line, column },
            object: Some(self.object()),
            field: field.to_owned(),
            rule: rule.to_owned(),
            // The message may repeat a value, such as an endpoint with a password.
            message: clean(&message).into_owned(),
        }
    }

    fn of(file: &Arc<str>, line_offset: u64, located: Located) -> Self {
        let text = |pointer: &str| located.value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (line, column) = located.position("/apiVersion");
        Self {
            at: FilePosition { file: file.clone(), line: line_offset + line, column },
            api_version: text("/apiVersion").unwrap_or_default(),
            kind: text("/kind").unwrap_or_default(),
            namespace: text("/metadata/namespace").filter(|namespace| !namespace.is_empty()),
            name: text("/metadata/name").unwrap_or_default(),
            line_offset,
            located,
        }
    }
}

/// Reads all manifests; `-` is standard input. An invalid document does not stop the others.
///
/// # Errors
/// A path cannot be read, or a directory has no manifest in it.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Manifests> {
    let mut manifests = Manifests::default();
    let mut seen = BTreeSet::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            io::stdin()
                .lock()
                .take(FILE_MAX + 1)
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
            manifests.take("standard input", bytes);
            continue;
        }
        let files = files(path)?;
        if files.is_empty() {
            bail!("{}: no manifests (*.yaml, *.yml, *.json) in this directory", path.display());
        }
        for file in files {
            // A file that is named twice, as by a directory and by itself, is read once.
            if seen.insert(fs::canonicalize(&file).unwrap_or_else(|_| file.clone())) {
                manifests.take(&file.display().to_string(), bytes_of(&file)?);
            }
        }
    }
    manifests.find_duplicates();
    for position in &manifests.encrypted {
        show::note(&format!("note: {position}: it is encrypted, and counts as not there"));
    }
    Ok(manifests)
}

/// Returns whether a file is encrypted as a whole, by git-crypt, ansible-vault, age or PGP.
fn is_encrypted(bytes: &[u8]) -> bool {
    let heads: [&[u8]; 5] = [
        b"\0GITCRYPT\0",
        b"$ANSIBLE_VAULT;",
        b"age-encryption.org/",
        b"-----BEGIN AGE ENCRYPTED FILE-----",
        b"-----BEGIN PGP MESSAGE-----",
    ];
    heads.iter().any(|head| bytes.trim_ascii_start().starts_with(head))
}

fn bytes_of(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    reader
        .take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", file.display()))?;
    Ok(bytes)
}

/// Returns the file, or all manifests in the directory and below it, by name.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let of = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !of.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    gather(path, DEPTH_MAX, &mut found)?;
    Ok(found)
}

fn gather(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        // Like kubectl, does not follow links to directories: they may form cycles.
        paths.push((entry.path(), entry.file_type().is_ok_and(|of| of.is_dir())));
    }
    paths.sort();
    for (path, is_directory) in paths {
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_manifest =
            path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|e| end == *e));
        if is_hidden {
            continue;
        }
        if is_directory {
            if depth == 0 {
                bail!("{}: directories are too deep within each other", path.display());
            }
            gather(&path, depth - 1, found)?;
        } else if is_manifest && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

impl Manifests {
    fn take(&mut self, file: &str, bytes: Vec<u8>) {
        let file: Arc<str> = file.into();
        let whole = |rule: &str, message: &str| Problem {
            at: FilePosition { file: file.clone(), line: 1, column: 1 },
            object: None,
            field: String::new(),
            rule: rule.to_owned(),
            message: message.to_owned(),
        };
        if bytes.len() as u64 > FILE_MAX {
            return self.problems.push(whole("size", "the file is larger than 64 MiB"));
        }
        if is_encrypted(&bytes) {
            return self.encrypted.push(FilePosition { file, line: 1, column: 1 });
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return self.problems.push(whole("encoding", "the file is not UTF-8"));
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        for (line_offset, part) in parts(text) {
            match node::read(&part) {
                Ok(located) => self.take_object(&file, line_offset, located),
                Err(((line, column), message)) => self.problems.push(Problem {
                    at: FilePosition { file: file.clone(), line: line_offset + line, column },
                    ..whole("YAML", &message)
                }),
            }
        }
    }

    fn take_object(&mut self, file: &Arc<str>, line_offset: u64, located: Located) {
        if located.value.is_null() {
            return;
        }
        let document = Document::of(file, line_offset, located);
        if document.kind == "List" && document.api_version == "v1" {
            let items = document.value()["items"].as_array().map_or(0, Vec::len);
            let parts = (0..items).filter_map(|at| document.located.part(&format!("/items/{at}")));
            return parts.for_each(|part| self.take_object(file, line_offset, part));
        }
        // SOPS encrypts every value of a document, unless it is configured otherwise.
        if document.kind.starts_with("ENC[") {
            return self.encrypted.push(document.at);
        }
        let fault = match document.value() {
            Value::Object(_) if document.api_version.is_empty() => Some("apiVersion"),
            Value::Object(_) if document.kind.is_empty() => Some("kind"),
            Value::Object(_) => None,
            _ => Some(""),
        };
        match fault {
            None => self.documents.push(document),
            Some("") => {
                let problem = document.problem("", "", "type", "the document is no object".to_owned());
                self.problems.push(Problem { object: None, ..problem });
            }
            Some(field) => {
                let problem = document.problem("", field, "required", "is required".to_owned());
                self.problems.push(Problem { object: None, ..problem });
            }
        }
    }

    /// Reports objects that are defined twice: the last definition would win, which nobody intends.
    fn find_duplicates(&mut self) {
        let mut first: HashMap<(String, Option<String>, String), FilePosition> = HashMap::new();
        for document in self.documents.iter().filter(|d| !d.name.is_empty()) {
            let group = document.api_version.split('/').next().unwrap_or_default();
            let kind = format!("{group}/{}", document.kind);
            let identity = (kind, document.namespace.clone(), document.name.clone());
            match first.get(&identity) {
                None => drop(first.insert(identity, document.at.clone())),
                Some(position) => {
                    let message = format!("is defined at {position} already");
                    self.problems.push(document.problem(
                        "/metadata/name",
                        "metadata.name",
                        "unique",
                        message,
                    ));
                }
            }
        }
    }
}

/// Splits a stream into documents, each with the number of lines before it.
fn parts(text: &str) -> Vec<(u64, String)> {
    let mut parts = vec![(0, String::new())];
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let rest = line
            .strip_prefix("---")
            .filter(|rest| rest.trim_end().is_empty() || rest.starts_with([' ', '\t']));
        match rest {
            // Text after `---` on the same line belongs to the document.
            Some(rest) => parts.push((at as u64, format!("   {rest}"))),
            None => {
                if let Some((_, part)) = parts.last_mut() {
                    part.push_str(line);
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Manifests {
        let mut manifests = Manifests::default();
        manifests.take("f.yaml", text.as_bytes().to_vec());
        manifests.find_duplicates();
        manifests
    }

    fn problems(text: &str) -> Vec<String> {
        taken(text).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn documents_are_told_apart_with_their_lines() {
        let text = "\u{feff}# first\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: b}\n--- # another\n\n\
                    apiVersion: crossregionbackup.io/v1alpha1\nkind: CloudAccount\nmetadata:\n  name: c\n---\n---\n";
        let read = taken(text);
        assert!(read.problems.is_empty(), "{:?}", problems(text));
        let seen: Vec<_> = read.documents.iter().map(|d| (d.object(), d.at.line, d.is_ours())).collect();
        assert_eq!(seen, [("Secret b/a".to_owned(), 3, false), ("CloudAccount c".to_owned(), 8, true)]);
        assert_eq!(read.documents[1].problem("/metadata/name", "", "", String::new()).at.line, 11);
    }

    #[test]
    fn a_list_is_its_items() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: a}\n- 7\n";
        let read = taken(text);
        assert_eq!(read.documents.len(), 1);
        assert_eq!(read.documents[0].at.line, 4);
        assert_eq!(problems(text), ["f.yaml:7: the document is no object (type)"]);
    }

    #[test]
    fn what_is_wrong_stops_nothing_else() {
        let good = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n";
        for (bad, expected) in [
            ("a: [", "f.yaml:1: "),
            ("kind: X\n", "f.yaml:1: apiVersion: is required (required)"),
            ("apiVersion: v1\n", "f.yaml:1: kind: is required (required)"),
            ("text\n", "f.yaml:1: the document is no object (type)"),
        ] {
            let text = format!("{bad}\n{good}");
            assert!(problems(&text)[0].starts_with(expected), "{:?}", problems(&text));
            assert_eq!(taken(&text).documents.len(), 1, "{bad}");
        }
        assert_eq!(
            problems(&format!("{good}{good}")),
            ["f.yaml:8: Secret a: metadata.name: is defined at f.yaml:2 already (unique)"]
        );
    }

    #[test]
    fn what_is_encrypted_as_a_whole_counts_as_not_there() {
        let good = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\n";
        let sops = "apiVersion: ENC[AES256_GCM,data:Tu0=,type:str]\nkind: ENC[AES256_GCM,data:x,type:str]\nsops: {mac: x}\n";
        let read = taken(&format!("{good}{sops}"));
        assert_eq!((read.documents.len(), read.problems.len()), (1, 0));
        assert_eq!(read.encrypted[0].line, 5);
        for whole in [
            &b"\0GITCRYPT\0\xff\xfe"[..],
            b"$ANSIBLE_VAULT;1.1;AES256\n62\n",
            b"\n-----BEGIN PGP MESSAGE-----\n\nhQEM\n",
        ] {
            let mut manifests = Manifests::default();
            manifests.take("f.yaml", whole.to_vec());
            assert_eq!(
                (manifests.encrypted.len(), manifests.problems.len(), manifests.documents.len()),
                (1, 0, 0)
            );
        }
    }

    #[test]
    fn a_directory_is_read_in_order_and_hidden_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let document = |name: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\n");
        fs::create_dir(folder.path().join("below")).unwrap();
        for (file, name) in
            [("b.yml", "b"), ("a.yaml", "a"), ("below/c.json", "c"), (".d.yaml", "d"), ("e.txt", "e")]
        {
            fs::write(folder.path().join(file), document(name)).unwrap();
        }
        let once = read(&[folder.path().to_owned(), folder.path().join("a.yaml")]).unwrap();
        let names: Vec<_> = once.documents.iter().map(|d| d.name.clone()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(read(&[folder.path().join("f.yaml")]).is_err());
        fs::create_dir(folder.path().join("empty")).unwrap();
        assert!(read(&[folder.path().join("empty")]).is_err());
    }
}
