//! Every target over its corpus, and over random changes of it.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use super::{TARGETS, mutate};

/// The inputs of a target, by name.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Over the corpus, and so many changes of it: as many as take a few seconds.
fn runs(name: &str, changes: u64) {
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let corpus = corpus(name);
    assert!(!corpus.is_empty());
    for (path, input) in &corpus {
        assert!(catch_unwind(|| target(input)).is_ok(), "{}", path.display());
    }
    for seed in 0..changes {
        let (path, input) = &corpus[seed as usize % corpus.len()];
        let input = mutate(input, seed);
        if catch_unwind(|| target(&input)).is_err() {
            let kept = std::env::temp_dir().join(format!("bad-input-{name}-{seed}"));
            std::fs::write(&kept, &input).unwrap();
            panic!("{} with seed {seed}: for the corpus, {}", path.display(), kept.display());
        }
    }
}

#[test]
fn answers() {
    runs("answers", 500);
}

#[test]
fn objects() {
    runs("objects", 2000);
}

#[test]
fn secrets() {
    runs("secrets", 30);
}

#[test]
fn sts() {
    runs("sts", 300);
}

#[test]
fn texts() {
    runs("texts", 10000);
}
