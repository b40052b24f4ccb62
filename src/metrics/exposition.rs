//! Prometheus' text format, version 0.0.4.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes metric families while their values are looked up. The prometheus crate's model holds each label of each
/// series as a string of its own, all at once: tens of megabytes for 10,000 resources.
pub struct Exposition<'a>(&'a mut dyn Write);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    Counter,
    Gauge,
}

/// Writer of the series of one metric name.
pub struct Family<'a> {
    out: &'a mut dyn Write,
    name: &'static str,
}

impl<'a> Exposition<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self(out)
    }

    /// Begins a family. Each name may occur once.
    ///
    /// # Errors
    /// Returns the writer's error.
    pub fn family(&mut self, name: &'static str, of: MetricType, help: &str) -> io::Result<Family<'_>> {
        let of = match of {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
        };
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {of}")?;
        Ok(Family { out: self.0, name })
    }
}

impl Family<'_> {
    /// Writes one series. Each set of labels may occur once.
    ///
    /// # Errors
    /// Returns the writer's error.
    pub fn series(&mut self, labels: &[(&str, &str)], value: impl Display) -> io::Result<()> {
        self.out.write_all(self.name.as_bytes())?;
        for (index, (name, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write!(self.out, "{before}{name}=\"")?;
            self.escaped(value)?;
            self.out.write_all(b"\"")?;
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.out, "{end} {value}")
    }

    fn escaped(&mut self, value: &str) -> io::Result<()> {
        let special = |c: char| matches!(c, '\\' | '"' | '\n');
        for part in value.split_inclusive(special) {
            let plain = part.trim_end_matches(special);
            self.out.write_all(plain.as_bytes())?;
            match &part[plain.len()..] {
                "" => {}
                "\n" => self.out.write_all(b"\\n")?,
                quoted => write!(self.out, "\\{quoted}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_within_its_quotes() {
        let mut out = Vec::new();
        let mut exposition = Exposition::new(&mut out);
        let mut family =
            exposition.family("crossregionbackup_leader", MetricType::Gauge, "Whether it leads.").unwrap();
        family.series(&[], 1).unwrap();
        family.series(&[("a", "plain"), ("b", "\"\n\\\\\n\" x")], 0.5).unwrap();
        let expected = "# HELP crossregionbackup_leader Whether it leads.\n# TYPE crossregionbackup_leader gauge\n\
            crossregionbackup_leader 1\n\
            crossregionbackup_leader{a=\"plain\",b=\"\\\"\\n\\\\\\\\\\n\\\" x\"} 0.5\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
