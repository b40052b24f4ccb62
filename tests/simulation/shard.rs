//! Shards of long test suites: a test run takes a third of their cases, and runs with three consecutive seeds take all of them.

use std::env::{self, VarError};

/// Number of shards that the cases of a suite are split into.
const SHARDS: usize = 3;

/// The cases that a test run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selection {
    /// Every third case, beginning with one that the seed selects.
    Shard(u64),
    All,
}

impl Selection {
    /// `TEST_SEED`, 0 by default, selects the shard; `TEST_EXTENDED=1` selects all cases.
    ///
    /// # Panics
    /// If a variable has another value than these: a run with a misspelt seed would take the same shard for ever.
    fn parse(seed: Option<&str>, extended: Option<&str>) -> Self {
        let number = seed.unwrap_or("0").parse();
        let seed = number.unwrap_or_else(|_| panic!("TEST_SEED is no unsigned number: {seed:?}"));
        match extended {
            None | Some("" | "0") => Self::Shard(seed),
            Some("1") => Self::All,
            Some(other) => panic!("TEST_EXTENDED is neither 0 nor 1: {other:?}"),
        }
    }

    fn from_env() -> Self {
        let variable = |name| match env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(value)) => panic!("{name} is no text: {value:?}"),
        };
        Self::parse(variable("TEST_SEED").as_deref(), variable("TEST_EXTENDED").as_deref())
    }

    fn takes(self, number: usize) -> bool {
        match self {
            // The remainders are added, since the sum of the numbers might overflow.
            Self::Shard(seed) => (number % SHARDS + (seed % SHARDS as u64) as usize).is_multiple_of(SHARDS),
            Self::All => true,
        }
    }

    fn of<T>(self, offset: usize, cases: Vec<T>) -> Vec<T> {
        assert!(cases.len() >= SHARDS, "a shard of {} cases may be empty", cases.len());
        let numbered = cases.into_iter().enumerate();
        numbered.filter(|(number, _)| self.takes(offset + number)).map(|(_, case)| case).collect()
    }
}

/// Returns the cases of a suite that this test run takes; prints the seed and their number. Suites of similar cases get
/// different offsets, so that one run takes different cases of each.
///
/// # Panics
/// If there are fewer cases than shards, since a test that takes none proves nothing.
pub fn shard<T>(suite: &str, offset: usize, cases: Vec<T>) -> Vec<T> {
    let (selection, all) = (Selection::from_env(), cases.len());
    let taken = selection.of(offset, cases);
    match selection {
        Selection::Shard(seed) => println!("{suite}: TEST_SEED={seed} takes {} of {all} cases", taken.len()),
        Selection::All => println!("{suite}: TEST_EXTENDED=1 takes all {all} cases"),
    }
    taken
}

#[test]
fn three_consecutive_seeds_take_each_case_once() {
    for (cases, offset, first) in [(3, 0, 0), (4, 1, 7), (100, 5, 1_000_000), (36, 2, u64::MAX - 2)] {
        let mut taken: Vec<usize> = Vec::new();
        for seed in first..=first + 2 {
            let shard = Selection::Shard(seed).of(offset, (0..cases).collect());
            assert!(shard.len().abs_diff(cases / SHARDS) <= 1, "{} of {cases} cases", shard.len());
            taken.extend(shard);
        }
        taken.sort();
        assert_eq!(taken, (0..cases).collect::<Vec<_>>());
    }
}

#[test]
fn one_seed_takes_different_cases_of_suites_with_different_offsets() {
    let of = |offset| Selection::Shard(0).of(offset, (0..6).collect::<Vec<_>>());
    assert_eq!([of(0), of(1), of(2), of(3)], [[0, 3], [2, 5], [1, 4], [0, 3]]);
}

#[test]
fn an_extended_run_takes_all_cases() {
    assert_eq!(Selection::All.of(1, vec!['a', 'b', 'c', 'd']), ['a', 'b', 'c', 'd']);
}

#[test]
#[should_panic(expected = "a shard of 2 cases may be empty")]
fn too_few_cases_for_the_shards_are_refused() {
    Selection::Shard(0).of(0, vec!['a', 'b']);
}

#[test]
fn the_environment_selects_the_shard() {
    assert_eq!(Selection::parse(None, None), Selection::Shard(0));
    assert_eq!(Selection::parse(Some("412"), Some("0")), Selection::Shard(412));
    assert_eq!(Selection::parse(Some("412"), Some("1")), Selection::All);
}

#[test]
#[should_panic(expected = "TEST_SEED is no unsigned number: Some(\"abc\")")]
fn a_seed_that_is_no_number_is_refused() {
    Selection::parse(Some("abc"), None);
}

#[test]
#[should_panic(expected = "TEST_EXTENDED is neither 0 nor 1: \"yes\"")]
fn an_unknown_value_of_extended_is_refused() {
    Selection::parse(None, Some("yes"));
}
