//! A row for each consensus instance, the same in every form of the report.

use crate::{
    format,
    result::{Quantile, QuantileValue, RunResult},
};

/// What the columns are called; the first one is the name.
pub(super) const HEAD: [&str; 11] = [
    "instance",
    "votes",
    "validators",
    "followers",
    "height",
    "blocks",
    "interval",
    "offered",
    "final",
    "goodput",
    "p50 / p99",
];

/// The rows; none where there is one instance, of which the whole report speaks.
pub(super) fn rows(result: &RunResult) -> Vec<Vec<String>> {
    let instances = &result.record.instances;
    if instances.len() < 2 {
        return Vec::new();
    }
    let rows = instances.iter().zip(&result.summary.instances);
    rows.map(|(instance, summary)| {
        let finalised = instance.accounting.finalised_ok + instance.accounting.finalised_failed;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let interval = summary
            .block_interval_ms
            .map(|ms| format::duration_us(ms.value * 1000.0));
        // What was fast and wrong was not fast.
        let counts = result.speed_counts();
        let goodput = summary.goodput_per_s.filter(|_| counts);
        let goodput = goodput.map(|rate| format!("{} tx/s", format::number(rate.value)));
        let latency = |value: &QuantileValue| match value {
            QuantileValue::Measured(us) => format::duration_us(us.value),
            value => format::quantile(&Quantile { q: 0.0, value: *value }),
        };
        let latencies = format!(
            "{} / {}",
            latency(&summary.response_p50),
            latency(&summary.response_p99)
        );
        vec![
            instance.id.clone(),
            instance.votes.clone(),
            format::integer(instance.validators),
            format::integer(instance.followers),
            format::integer(instance.height),
            format::integer(summary.blocks),
            or_dash(interval),
            format::integer(instance.accounting.intended),
            format::integer(finalised),
            or_dash(goodput),
            or_dash(counts.then_some(latencies)),
        ]
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate, fixture, model::Instance};

    fn two_instances() -> RunResult {
        let mut record = fixture::record(fixture::SMALL);
        let accounting = record.accounting.clone();
        let instance = |id: &str| Instance {
            id: id.to_owned(),
            votes: "all_to_all".to_owned(),
            validators: 4,
            followers: 3,
            weight: 4,
            height: 77,
            accounting: accounting.clone(),
        };
        record.instances = vec![instance("main"), instance("side")];
        for (index, block) in record.blocks.iter_mut().enumerate() {
            block.instance = if index % 2 == 0 { "main" } else { "side" }.to_owned();
        }
        evaluate(record, false)
    }

    #[test]
    fn each_instance_has_a_row_in_every_form() {
        let result = two_instances();
        let rows = rows(&result);
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.len() == HEAD.len()));
        let (main, side) = (&result.summary.instances[0], &result.summary.instances[1]);
        assert_eq!(main.blocks + side.blocks, result.summary.window.blocks);
        assert!(main.blocks.abs_diff(side.blocks) <= 1);
        for text in [
            crate::render::text(&result, "report.html"),
            crate::render::markdown(&result),
            crate::render::html(&result).unwrap(),
        ] {
            assert!(text.contains("side") && text.contains("p50 / p99"), "{text}");
        }
    }

    #[test]
    fn intervals_are_between_blocks_of_one_instance() {
        let both = two_instances();
        let mut one = both.record.clone();
        one.instances.truncate(1);
        one.blocks
            .iter_mut()
            .for_each(|block| block.instance = "main".to_owned());
        let one = evaluate(one, false);
        let (both, one) = (
            both.summary.block_interval_ms.unwrap(),
            one.summary.block_interval_ms.unwrap(),
        );
        assert!(
            both.value > 1.9 * one.value,
            "every second block: {} and {}",
            both.value,
            one.value
        );
    }

    #[test]
    fn a_run_of_one_instance_has_no_rows() {
        let mut result = two_instances();
        result.record.instances.truncate(1);
        assert!(rows(&result).is_empty());
        assert!(!crate::render::markdown(&result).contains("p50 / p99"));
    }
}
