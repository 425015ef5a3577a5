//! A sentence about what clients noticed after each fault, the same in every form of the report.

use crate::{
    format,
    result::{Recovery, RunResult},
};

/// One sentence for each fault that ended under load; none where the run says nothing about speed.
pub(super) fn sentences(result: &RunResult) -> Vec<String> {
    if !result.speed_counts() {
        return Vec::new();
    }
    result.summary.recoveries.iter().map(sentence).collect()
}

fn sentence(recovery: &Recovery) -> String {
    let after = |ms: u64| format::duration_us(ms as f64 * 1000.0);
    let block = match recovery.first_block_ms {
        Some(ms) => format!("first block after {}", after(ms)),
        None => "no block".to_owned(),
    };
    let latency = match (recovery.before_p50_us, recovery.steady_ms) {
        (None, _) => "no latency before it to compare with".to_owned(),
        (Some(before), Some(ms)) => format!(
            "response as before (median {}) within {}",
            format::duration_us(before as f64),
            after(ms)
        ),
        (Some(before), None) => format!(
            "response not as before (median {}) by the end",
            format::duration_us(before as f64)
        ),
    };
    format!("after `{}`: {block}, {latency}", recovery.fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evaluate, fixture,
        histogram::Counts,
        model::{Event, EventKind, PhaseKind, RunRecord},
    };

    /// A run with a fault in the middle of its measured time, after which blocks are slow for `slow_ms`.
    fn faulty(slow_ms: u64) -> (RunRecord, u64) {
        let mut record = fixture::record(fixture::SMALL);
        record.events.clear();
        let measure = record
            .phases
            .iter()
            .find(|phase| phase.kind == PhaseKind::Measure)
            .unwrap();
        let (start, middle) = (measure.start_ms, (measure.start_ms + measure.end_ms) / 2);
        let ended = middle + 1000;
        record.blocks.retain(|block| !(middle..ended).contains(&block.at_ms));
        for block in record.blocks.iter_mut().filter(|block| block.at_ms >= start) {
            let is_slow = (ended..ended + slow_ms).contains(&block.at_ms);
            block.latency = Counts(vec![(if is_slow { 900_000 } else { 40_000 }, 10)]);
        }
        record.events.push(Event {
            start_ms: middle,
            end_ms: ended,
            kind: EventKind::Fault,
            node: String::new(),
            text: "partition".to_owned(),
        });
        (record, ended)
    }

    #[test]
    fn what_clients_notice_after_a_fault_is_in_every_form() {
        let result = evaluate(faulty(500).0, false);
        let found = sentences(&result);
        assert_eq!(found.len(), 1, "{:?}", result.verdict.problems);
        assert!(found[0].contains("as before (median 40"), "{found:?}");
        for text in [
            crate::render::text(&result, "report.html"),
            crate::render::markdown(&result),
            crate::render::html(&result).unwrap(),
        ] {
            assert!(text.contains("first block after"), "{text}");
        }
    }

    #[test]
    fn steady_is_after_the_last_slow_block() {
        let (record, ended) = faulty(500);
        let last_slow = record
            .blocks
            .iter()
            .rfind(|block| block.at_ms < ended + 500)
            .unwrap()
            .at_ms
            - ended;
        let first = record.blocks.iter().find(|block| block.at_ms >= ended).unwrap().at_ms - ended;
        let result = evaluate(record, false);
        let recovery = &result.summary.recoveries[0];
        assert_eq!(recovery.before_p50_us, Some(40_000));
        assert_eq!(
            (recovery.first_block_ms, recovery.steady_ms),
            (Some(first), Some(last_slow))
        );
        let quick = evaluate(faulty(0).0, false);
        let quick = &quick.summary.recoveries[0];
        assert_eq!(quick.steady_ms, quick.first_block_ms);
    }

    #[test]
    fn latency_that_stays_high_is_said_to_stay_high() {
        let result = evaluate(faulty(u64::MAX / 4).0, false);
        assert_eq!(result.summary.recoveries[0].steady_ms, None);
        let mut result = result;
        result.verdict = evaluate(faulty(500).0, false).verdict;
        assert!(
            sentences(&result)[0].contains("not as before"),
            "{:?}",
            sentences(&result)
        );
    }

    #[test]
    fn a_fault_that_the_load_did_not_outlive_says_nothing() {
        let (mut record, _) = faulty(500);
        record.events[0].end_ms = u64::MAX / 2;
        assert!(evaluate(record, false).summary.recoveries.is_empty());
    }
}
