//! Instances against each other: what belongs to one is in no other, and all checks of one name as one.

use crate::{
    check::{evidence::Evidence, ids::IdIndex, ledger::Ledger},
    load::Submitted,
};
use regatta_base::TransactionId;
use regatta_report::model::Invariant;

/// What is known about one instance.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Its name.
    pub instance: &'a str,
    /// The ledgers of those who run it.
    pub ledger: &'a Ledger,
    /// What was submitted to it.
    pub submitted: Vec<&'a Submitted>,
}

/// No transaction that was submitted to one instance is in another, and none is in two.
///
/// An id is a digest over the instance's name too, so that equal ids are the same transaction. One that was signed for
/// another instance and gets another id in this one is found by `integrity`: nobody submitted that.
#[must_use]
pub fn isolation(parts: &[Part<'_>]) -> Invariant {
    let mut evidence = Evidence::new("isolation");
    let included: Vec<IdIndex> = parts.iter().map(|part| index(part.ledger)).collect();
    let mut compared = 0;
    let pairs = (0..parts.len()).flat_map(|here| (0..parts.len()).map(move |there| (here, there)));
    for (here, there) in pairs.filter(|(here, there)| here != there) {
        let (part, other) = (&parts[here], &parts[there]);
        for row in other.submitted.iter().flat_map(|load| &load.rows) {
            compared += 1;
            if included[here].contains(&row.id) {
                evidence.violation(|| leak(&row.id, other.instance, part.instance));
            }
        }
        // Each pair once.
        let rows = part.ledger.included.iter().filter(|_| here < there);
        for row in rows.filter(|row| included[there].contains(&row.id)) {
            let (id, a, b) = (row.id.short(), part.instance, other.instance);
            evidence.violation(|| format!("{id} is in `{a}` and in `{b}`"));
        }
    }
    evidence.number("instances", parts.len() as u64);
    evidence.number("compared", compared);
    evidence.finish(format!(
        "what was submitted to one of {} instances is in no other",
        parts.len()
    ))
}

fn index(ledger: &Ledger) -> IdIndex {
    IdIndex::new(ledger.included.iter().map(|row| &row.id))
}

fn leak(id: &TransactionId, from: &str, to: &str) -> String {
    format!("{} was submitted to `{from}` and is in `{to}`", id.short())
}

/// The checks of several instances as one for each name: it holds where all of them do, and says of each what it found.
#[must_use]
pub fn join(checks: Vec<(&str, Vec<Invariant>)>) -> Vec<Invariant> {
    let mut joined: Vec<Invariant> = Vec::new();
    for (instance, invariants) in checks {
        for mut invariant in invariants {
            let evidence = format!("{instance}: {}", invariant.evidence);
            for number in &mut invariant.numbers {
                number.name = format!("{instance} {}", number.name);
            }
            match joined.iter_mut().find(|known| known.name == invariant.name) {
                None => joined.push(Invariant { evidence, ..invariant }),
                Some(known) => {
                    known.holds &= invariant.holds;
                    known.evidence = format!("{}; {evidence}", known.evidence);
                    known.numbers.append(&mut invariant.numbers);
                }
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::Inclusion, load::Submission};

    fn id(n: u8) -> TransactionId {
        regatta_base::Digest([n; 32])
    }

    fn ledger(ids: &[u8]) -> Ledger {
        let inclusion = |n: &u8| Inclusion {
            id: id(*n),
            height: 1,
            ok: true,
        };
        Ledger {
            included: ids.iter().map(inclusion).collect(),
            ..Ledger::default()
        }
    }

    fn submitted(ids: &[u8]) -> Submitted {
        let row = |n: &u8| Submission {
            id: id(*n),
            sent: true,
            target: 0,
            acknowledged: true,
            finalised: true,
        };
        Submitted {
            rows: ids.iter().map(row).collect(),
            ..Submitted::default()
        }
    }

    fn isolated(a: (&[u8], &[u8]), b: (&[u8], &[u8])) -> Invariant {
        let ledgers = [ledger(a.0), ledger(b.0)];
        let sent = [submitted(a.1), submitted(b.1)];
        let part = |index: usize| Part {
            instance: ["a", "b"][index],
            ledger: &ledgers[index],
            submitted: vec![&sent[index]],
        };
        isolation(&[part(0), part(1)])
    }

    #[test]
    fn a_transaction_in_the_wrong_ledger_is_found() {
        assert!(isolated((&[1, 2], &[1, 2]), (&[3], &[3, 4])).holds);
        let leaked = isolated((&[1], &[1, 2]), (&[2, 3], &[3]));
        assert!(
            !leaked.holds && leaked.evidence.contains("was submitted to `a` and is in `b`"),
            "{leaked:?}"
        );
    }

    #[test]
    fn a_transaction_in_two_ledgers_is_found_though_nobody_submitted_it() {
        let double = isolated((&[9], &[]), (&[9], &[]));
        assert!(
            !double.holds && double.evidence.contains("is in `a` and in `b`"),
            "{double:?}"
        );
    }

    #[test]
    fn one_instance_that_fails_fails_the_check_of_both() {
        let invariant = |holds| Invariant {
            name: "agreement".to_owned(),
            holds,
            evidence: if holds { "fine" } else { "broken" }.to_owned(),
            ..Invariant::default()
        };
        let joined = join(vec![("a", vec![invariant(true)]), ("b", vec![invariant(false)])]);
        assert_eq!(joined.len(), 1);
        assert!(!joined[0].holds);
        assert_eq!(joined[0].evidence, "a: fine; b: broken");
    }
}
