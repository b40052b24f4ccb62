//! Each fault at each action in each phase, some policies each.

use super::faults::{ACTIONS, Cell, Fault, all, of_content, of_visibility};
use super::judge::{judge, judge_each_policy};
use super::phases::Stage;
use super::table::Table;
use crate::controllers::fault_tests::play::in_time_of_its_own;
use crate::controllers::world::figures::{BACKUPS, DESCRIBE, MODIFY, REGIONS, VERIFY};

fn cells(faults: Vec<Fault>, actions: &[&'static str], percent: u8) -> Vec<Cell> {
    let cell = |fault| Cell { fault, actions: actions.to_vec(), percent };
    faults.into_iter().map(cell).collect()
}

/// Plays one world for each of these shares of failing calls, with so many policies of each account, and judges it.
fn compare(faults: impl Fn() -> Vec<Fault>, actions: &[&'static str], percents: &[u8], policies: usize) {
    let mut table = Table::default();
    for percent in percents {
        let cells = cells(faults(), actions, *percent);
        let what = format!("{actions:?}, {percent} %");
        let played = in_time_of_its_own(&what, 1, Stage::new(&cells, policies, 1).play());
        println!("{what}: well after {:?}", played.recovered);
        judge(&cells, &played);
        judge_each_policy(&cells, &played);
        table.add(&cells, &played);
    }
    table.print(&actions.join(", "));
    table.judge();
}

fn with_content() -> Vec<Fault> {
    all().into_iter().chain(of_content()).collect()
}

#[test]
fn looks() {
    compare(with_content, &[DESCRIBE], &[10, 50], 2);
}

#[test]
fn changes() {
    compare(|| all().into_iter().chain(of_visibility()).collect(), &[MODIFY], &[10, 50], 2);
}

#[test]
fn questions_for_regions() {
    compare(all, &[REGIONS], &[10, 50], 1);
}

#[test]
fn readings_of_backups() {
    compare(with_content, &[BACKUPS], &[10, 50], 2);
}

#[test]
fn verifications() {
    compare(all, &[VERIFY], &[10, 50], 1);
}

#[test]
fn one_call_of_a_hundred() {
    compare(with_content, &ACTIONS, &[1], 4);
}
