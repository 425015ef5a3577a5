//! Who came and went, in numbers: how many at a time, and how long catching up took.

use crate::{
    model::{Absence, RunRecord},
    result::ChurnSummary,
};

/// What the absences of a run add up to; none where all nodes were there all the time.
pub(super) fn summary(record: &RunRecord) -> Option<ChurnSummary> {
    let churn = record.churn.as_ref()?;
    let count = |is: fn(&Absence) -> bool| churn.absences.iter().filter(|absence| is(absence)).count() as u64;
    let took = |absence: &Absence| Some(absence.caught_up_ms?.saturating_sub(absence.returned_ms?));
    let mut times: Vec<u64> = churn.absences.iter().filter_map(took).collect();
    times.sort_unstable();
    // The smallest time that at least a share `q` of the returns did not exceed.
    let quantile = |q: f64| {
        let place = (q * times.len() as f64).ceil() as usize;
        times.get(place.saturating_sub(1)).copied()
    };
    Some(ChurnSummary {
        departures: count(|absence| absence.left_ms > 0),
        late_starts: count(|absence| absence.left_ms == 0 && absence.returned_ms.is_some()),
        returns: count(|absence| absence.left_ms > 0 && absence.returned_ms.is_some()),
        stay_away: count(|absence| !absence.returns),
        put_off: churn.put_off,
        caught_up: times.len() as u64,
        by_snapshot: count(|absence| absence.fetched.is_some_and(|fetched| fetched.snapshot_height.is_some())),
        catch_up_p50_ms: quantile(0.5),
        catch_up_p90_ms: quantile(0.9),
        catch_up_max_ms: times.last().copied(),
        blocks_behind_max: churn.absences.iter().filter_map(|absence| absence.blocks_behind).max(),
        fewest_up: steps(record)
            .iter()
            .map(|(_, up)| *up)
            .min()
            .unwrap_or(record.nodes.len() as u64),
    })
}

/// How many nodes were up from each moment on, in milliseconds since the origin, ascending.
pub(crate) fn steps(record: &RunRecord) -> Vec<(u64, u64)> {
    let absences = record.churn.iter().flat_map(|churn| &churn.absences);
    let changes = absences.flat_map(|absence| {
        let left = Some((absence.left_ms, -1_i64));
        let back = absence.returned_ms.map(|returned| (returned, 1));
        left.into_iter().chain(back)
    });
    // The returns of a moment before its departures.
    let mut changes: Vec<(u64, i64)> = changes.collect();
    changes.sort_by_key(|(at_ms, change)| (*at_ms, -change));
    let mut up = record.nodes.len() as i64;
    let mut steps = Vec::with_capacity(changes.len() + 1);
    if changes.first().is_none_or(|(at_ms, _)| *at_ms > 0) {
        steps.push((0, up.unsigned_abs()));
    }
    for (at_ms, change) in changes {
        up += change;
        debug_assert!(up >= 0, "no more nodes leave than there are");
        steps.push((at_ms, up.max(0).unsigned_abs()));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evaluate, fixture,
        model::{Churn, Fetched, PhaseKind},
        render,
    };

    fn absence(node: &str, left_ms: u64, returned_ms: Option<u64>, caught_up_ms: Option<u64>) -> Absence {
        Absence {
            node: node.to_owned(),
            left_ms,
            how: "killed".to_owned(),
            returns: returned_ms.is_some(),
            returned_ms,
            caught_up_ms,
            blocks_behind: caught_up_ms.map(|_| 7),
            fetched: caught_up_ms.map(|_| Fetched {
                snapshot_height: (left_ms == 0).then_some(40),
                snapshot_bytes: if left_ms == 0 { 2048 } else { 0 },
                blocks: 7,
                block_bytes: 900,
            }),
            error: None,
        }
    }

    fn record() -> RunRecord {
        let mut record = fixture::record(fixture::SMALL);
        let names: Vec<String> = record.nodes.iter().map(|node| node.name.clone()).collect();
        record.churn = Some(Churn {
            put_off: 2,
            absences: vec![
                absence(&names[0], 0, Some(2000), Some(2600)),
                absence(&names[1], 3000, Some(5000), Some(5100)),
                absence(&names[0], 4000, None, None),
            ],
        });
        record
    }

    #[test]
    fn absences_add_up() {
        let summary = summary(&record()).unwrap();
        assert_eq!((summary.departures, summary.late_starts, summary.returns), (2, 1, 1));
        assert_eq!((summary.stay_away, summary.put_off, summary.caught_up), (1, 2, 2));
        assert_eq!((summary.catch_up_p50_ms, summary.by_snapshot), (Some(100), 1));
        assert_eq!(
            (summary.catch_up_p90_ms, summary.catch_up_max_ms),
            (Some(600), Some(600))
        );
        let all = record().nodes.len() as u64;
        assert_eq!(summary.fewest_up, all - 2);
        let steps = steps(&record());
        assert_eq!(
            steps,
            [
                (0, all - 1),
                (2000, all),
                (3000, all - 1),
                (4000, all - 2),
                (5000, all - 1)
            ]
        );
    }

    #[test]
    fn a_run_in_which_nodes_come_and_go_is_not_meant_to_be_steady() {
        let mut record = record();
        record.events.clear();
        let mut churn = record.churn.take();
        let measure = record
            .phases
            .iter()
            .find(|phase| phase.kind == PhaseKind::Measure)
            .unwrap();
        let middle = (measure.start_ms + measure.end_ms) / 2;
        churn.as_mut().unwrap().absences[2].left_ms = middle;
        assert!(evaluate(record.clone(), false).summary.steady.is_some());
        record.churn = churn;
        assert!(evaluate(record, false).summary.steady.is_none());
    }

    #[test]
    fn every_form_of_the_report_says_who_came_and_went() {
        let result = evaluate(record(), false);
        let html = render::html(&result).unwrap();
        assert!(html.contains("Nodes that are up"), "the strip is missing");
        for text in [render::text(&result, "report.html"), render::markdown(&result), html] {
            assert!(text.contains("2 departures (2 more put off)"), "{text}");
            assert!(
                text.contains("caught up (1 of them by snapshot) within 100 ms (p50)"),
                "{text}"
            );
        }
        let json = render::json(&result).unwrap();
        assert!(json.contains("\"catch_up_p90_ms\": 600") || json.contains("\"catch_up_p90_ms\":600"));
        let quiet = evaluate(fixture::record(fixture::SMALL), false);
        assert!(quiet.summary.churn.is_none() && !render::html(&quiet).unwrap().contains("Nodes that are up"));
    }
}
