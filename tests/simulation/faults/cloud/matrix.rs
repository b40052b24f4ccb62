//! Each fault at each action in each phase, with a few policies per account.

use super::check::{check, check_each_policy};
use super::faults::{ACTIONS, Fault, FaultCase, all, of_content, of_visibility};
use super::phases::PhasesRun;
use super::table::Table;
use crate::faults::run::in_own_runtime;
use crate::harness::measurements::{BACKUPS, DESCRIBE, MODIFY, REGIONS, VERIFY};
use crate::shard::shard;

fn cells(faults: Vec<Fault>, actions: &[&'static str], percent: u8) -> Vec<FaultCase> {
    let cell = |fault| FaultCase { fault, actions: actions.to_vec(), percent };
    faults.into_iter().map(cell).collect()
}

/// Runs a cluster in which `percent` of the calls fail, with this number of policies per account, and checks it.
fn compare(faults: Vec<Fault>, actions: &[&'static str], percent: u8, policies: usize) {
    let what = format!("{actions:?}, {percent} %");
    // The offset varies, so that every run meets each fault at some action and with some percentage.
    let action = ACTIONS.iter().position(|action| *action == actions[0]).unwrap();
    let offset = 2 * action + usize::from(percent == 50);
    let cells = cells(shard(&what, offset, faults), actions, percent);
    let played = in_own_runtime(&what, 1, PhasesRun::new(&cells, policies, 1).play());
    println!("{what}: well after {:?}", played.recovered);
    check(&cells, &played);
    check_each_policy(&cells, &played);
    let mut table = Table::default();
    table.add(&cells, &played);
    table.print(&actions.join(", "));
    table.check();
}

fn with_content() -> Vec<Fault> {
    all().into_iter().chain(of_content()).collect()
}

fn with_visibility() -> Vec<Fault> {
    all().into_iter().chain(of_visibility()).collect()
}

/// Generates two tests per action: 10 and 50 % of its calls fail.
macro_rules! tests {
    ($($name:ident: $faults:ident, $action:ident, $policies:literal;)*) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn ten_percent() {
                    compare($faults(), &[$action], 10, $policies);
                }

                #[test]
                fn fifty_percent() {
                    compare($faults(), &[$action], 50, $policies);
                }
            }
        )*
    };
}

tests! {
    looks: with_content, DESCRIBE, 2;
    changes: with_visibility, MODIFY, 2;
    questions_for_regions: all, REGIONS, 1;
    readings_of_backups: with_content, BACKUPS, 2;
    verifications: all, VERIFY, 1;
}

#[test]
fn one_call_of_a_hundred() {
    compare(with_content(), &ACTIONS, 1, 4);
}
