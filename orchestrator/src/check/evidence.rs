//! How a check gathers what it found.

use regatta_report::model::{Invariant, NamedNumber};

/// Most violations that the evidence spells out; all are counted.
const SHOWN_MAX: usize = 3;

/// A check in the making.
#[derive(Debug)]
pub(crate) struct Evidence {
    name: &'static str,
    shown: Vec<String>,
    violations: u64,
    numbers: Vec<NamedNumber>,
}

impl Evidence {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            shown: Vec::new(),
            violations: 0,
            numbers: Vec::new(),
        }
    }

    /// Counts a violation; its text is made only while there is room for it.
    pub(crate) fn violation(&mut self, text: impl FnOnce() -> String) {
        self.violations += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(text());
        }
    }

    /// Says how much was looked at.
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.numbers.push(NamedNumber {
            name: name.to_owned(),
            value: value as f64,
        });
    }

    /// The finished check; `looked_at` is its evidence when nothing was found.
    pub(crate) fn finish(mut self, looked_at: String) -> Invariant {
        self.number("violations", self.violations);
        let more = self.violations - self.shown.len() as u64;
        let mut evidence = self.shown.join("; ");
        if more > 0 {
            evidence.push_str(&format!("; and {more} more"));
        }
        Invariant {
            name: self.name.to_owned(),
            holds: self.violations == 0,
            evidence: if self.violations == 0 { looked_at } else { evidence },
            numbers: self.numbers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_violations_are_shown_and_all_are_counted() {
        let mut evidence = Evidence::new("agreement");
        for number in 0..5 {
            evidence.violation(|| format!("v{number}"));
        }
        let invariant = evidence.finish("unused".to_owned());
        assert!(!invariant.holds);
        assert_eq!(invariant.evidence, "v0; v1; v2; and 2 more");
        assert_eq!(invariant.numbers.last().unwrap().value, 5.0);
    }

    #[test]
    fn without_violations_it_says_what_was_looked_at() {
        let invariant = Evidence::new("agreement").finish("4 nodes".to_owned());
        assert!(invariant.holds);
        assert_eq!(invariant.evidence, "4 nodes");
    }
}
