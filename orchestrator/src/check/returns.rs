//! Nodes that came and went: whoever returned has caught up.

use crate::check::evidence::Evidence;
use regatta_report::model::{Absence, Churn, Invariant};

/// Every node that was to return did, and caught up unless it left again first. `partial` runs ended before some could.
#[must_use]
pub fn returns(churn: &Churn, partial: bool) -> Invariant {
    let mut evidence = Evidence::new("returns");
    let (mut caught_up, mut left_again) = (0_u64, 0_u64);
    for (place, absence) in churn.absences.iter().enumerate() {
        let again = churn.absences[place + 1..]
            .iter()
            .any(|later| later.node == absence.node);
        match (absence.returned_ms, absence.caught_up_ms) {
            (Some(_), Some(_)) => caught_up += 1,
            (Some(_), None) if again => left_again += 1,
            (Some(returned), None) => evidence.violation(|| {
                let node = &absence.node;
                let reason = absence
                    .error
                    .as_ref()
                    .map_or(String::new(), |error| format!(" ({error})"));
                format!("{node} returned at {returned} ms and did not catch up{reason}")
            }),
            (None, _) if absence.returns && !partial => evidence.violation(|| {
                let reason = absence.error.as_deref().unwrap_or("it was not started again");
                format!(
                    "{} left at {} ms and did not return: {reason}",
                    absence.node, absence.left_ms
                )
            }),
            (None, _) => {}
        }
    }
    let stay_away = churn
        .absences
        .iter()
        .filter(|absence: &&Absence| !absence.returns)
        .count();
    evidence.number("absences", churn.absences.len() as u64);
    evidence.number("caught up", caught_up);
    evidence.number("left again before they had caught up", left_again);
    evidence.number("stay away", stay_away as u64);
    evidence.finish(format!(
        "{caught_up} returns caught up, {left_again} left again first, {stay_away} nodes stay away as planned"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absence(node: &str, returned_ms: Option<u64>, caught_up_ms: Option<u64>) -> Absence {
        Absence {
            node: node.to_owned(),
            left_ms: 10,
            returns: true,
            returned_ms,
            caught_up_ms,
            ..Absence::default()
        }
    }

    fn judged(absences: Vec<Absence>, partial: bool) -> Invariant {
        let churn = Churn { put_off: 0, absences };
        returns(&churn, partial)
    }

    #[test]
    fn whoever_returns_has_to_catch_up() {
        let fine = judged(vec![absence("full-0", Some(20), Some(25))], false);
        assert!(fine.holds, "{}", fine.evidence);
        let behind = judged(vec![absence("full-0", Some(20), None)], false);
        assert!(
            !behind.holds && behind.evidence.contains("full-0 returned at 20 ms"),
            "{}",
            behind.evidence
        );
        let away = judged(vec![absence("full-0", None, None)], false);
        assert!(
            !away.holds && away.evidence.contains("did not return"),
            "{}",
            away.evidence
        );
    }

    #[test]
    fn leaving_again_and_an_early_end_excuse() {
        let again = vec![absence("full-0", Some(20), None), absence("full-0", Some(40), Some(50))];
        assert!(judged(again, false).holds);
        assert!(judged(vec![absence("full-0", None, None)], true).holds);
        let gone = Absence {
            returns: false,
            ..absence("full-0", None, None)
        };
        assert!(judged(vec![gone], false).holds);
    }
}
