//! A sentence about how decisions spread, the same in every form of the report.

use crate::{format, histogram::Counts, result::RunResult};

/// None where nodes have no clock in common, and where the run says nothing about speed.
pub(super) fn sentence(result: &RunResult) -> Option<String> {
    let spread = result.record.spread.as_ref().filter(|_| result.speed_counts())?;
    let within = |counts: &Counts, quantile| Some(format::duration_us(counts.quantile(quantile)? as f64));
    Some(format!(
        "decisions spread: {} nodes told of {} blocks; after the first one, half of the others within {}, 90 % within {}, \
         99 % within {}; the last one within {} for half of the blocks and {} at most",
        format::integer(spread.nodes),
        format::integer(spread.blocks),
        within(&spread.each, 0.5)?,
        within(&spread.each, 0.9)?,
        within(&spread.each, 0.99)?,
        within(&spread.last, 0.5)?,
        within(&spread.last, 1.0)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate, fixture, model::Spread};

    fn result(spread: Option<Spread>) -> RunResult {
        let mut record = fixture::record(fixture::SMALL);
        record.spread = spread;
        evaluate(record, false)
    }

    #[test]
    fn it_is_in_every_form_where_it_was_measured() {
        let spread = Spread {
            blocks: 10,
            nodes: 8,
            each: Counts(vec![(1_000, 60), (9_000, 10)]),
            last: Counts(vec![(9_000, 10)]),
        };
        let measured = result(Some(spread));
        let found = sentence(&measured).unwrap();
        assert!(
            found.contains("8 nodes told of 10 blocks") && found.contains("half of the others within 1.00 ms"),
            "{found}"
        );
        for text in [
            crate::render::text(&measured, "report.html"),
            crate::render::markdown(&measured),
            crate::render::html(&measured).unwrap(),
        ] {
            assert!(text.contains("decisions spread"), "{text}");
        }
        assert_eq!(sentence(&result(None)), None);
        assert_eq!(sentence(&result(Some(Spread::default()))), None, "nothing was measured");
    }
}
