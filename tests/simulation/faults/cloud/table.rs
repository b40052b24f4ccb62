//! Prints the cost of faults.

use std::collections::BTreeMap;

use super::check::factor;
use super::faults::{Class, FaultCase};
use super::phases::PhasesResult;

/// Allowed excess, in standard deviations of a random count.
const ALLOWED_DEVIATIONS: f64 = 3.0;

#[derive(Clone, Copy, Default)]
struct Row {
    accounts: usize,
    met: u64,
    calls: usize,
    /// Calls of a healthy account with as many policies.
    without: usize,
}

/// Rows by failure class and percentage of failing calls.
#[derive(Default)]
pub struct Table(BTreeMap<(Class, u8), Row>);

impl Table {
    pub fn add(&mut self, cells: &[FaultCase], played: &PhasesResult) {
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
            let factor = *calls as f64 / *without as f64;
            println!(
                "{class:>12?} {percent:>2} %: {accounts:>4} {met:>6} {calls:>6} {without:>6}  ×{factor:.2}"
            );
        }
    }

    /// Checks the totals of each class, where much of the chance of single accounts evens out.
    pub fn check(&self) {
        for ((class, percent), row) in &self.0 {
            let mean = factor(*class, *percent) * row.without as f64;
            let most = mean + ALLOWED_DEVIATIONS * mean.sqrt();
            let Row { calls, without, .. } = row;
            assert!(
                *calls as f64 <= most,
                "{class:?}, {percent} %: {calls} calls, and {without} without faults: {most:.0} at most"
            );
        }
    }
}
