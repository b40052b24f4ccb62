//! Every target: the one of the binary's own name. Half of the changes of an input are libFuzzer's, the others know JSON.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

mod targets;

use targets::{TARGETS, Target, mutate};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let own = |(name, _): &(&str, Target)| *name == env!("CARGO_BIN_NAME");
    TARGETS.into_iter().find(own).expect("each binary has a target").1
});

fuzz_target!(|data: &[u8]| TARGET(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut changed = mutate(&data[..size], seed.into());
    changed.truncate(max_size);
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
