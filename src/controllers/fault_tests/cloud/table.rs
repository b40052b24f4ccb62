//! What faults have cost, for people.

use std::collections::BTreeMap;

use super::faults::{Cell, Class};
use super::phases::Played;

#[derive(Clone, Copy, Default)]
struct Row {
    accounts: usize,
    met: u64,
    calls: usize,
    /// Of an account that is well and has as many policies.
    without: usize,
}

/// By what helps and how many calls fail.
#[derive(Default)]
pub struct Table(BTreeMap<(Class, u8), Row>);

impl Table {
    pub fn add(&mut self, cells: &[Cell], played: &Played) {
        for (number, cell) in cells.iter().enumerate() {
            let row = self.0.entry((cell.fault.class, cell.percent)).or_default();
            row.accounts += 1;
            for seen in played.seen.values() {
                row.met += seen[number + 1].met;
                row.calls += seen[number + 1].total();
                row.without += seen[0].total();
            }
        }
    }

    pub fn print(&self, what: &str) {
        println!("{what}: accounts, calls that failed, all calls, calls without faults, factor");
        for ((class, percent), row) in &self.0 {
            let Row { accounts, met, calls, without } = row;
            let factor = self.factor(*class, *percent);
            println!(
                "{class:>12?} {percent:>2} %: {accounts:>4} {met:>6} {calls:>6} {without:>6}  ×{factor:.2}"
            );
        }
    }

    /// All calls over those without faults.
    pub fn factor(&self, class: Class, percent: u8) -> f64 {
        let row = self.0.get(&(class, percent)).copied().unwrap_or_default();
        row.calls as f64 / row.without.max(1) as f64
    }
}
