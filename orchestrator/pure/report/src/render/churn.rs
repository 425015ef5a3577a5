//! A sentence about nodes that came and went, the same in every form of the report.

use crate::{format, result::RunResult};

/// The sentence; none where all nodes were there all the time.
pub(super) fn sentence(result: &RunResult) -> Option<String> {
    let churn = result.summary.churn.as_ref()?;
    let time = |ms: Option<u64>| ms.map_or("–".to_owned(), |ms| format::duration_us(ms as f64 * 1000.0));
    let mut parts = vec![format!(
        "{} departures ({} more put off)",
        churn.departures, churn.put_off
    )];
    if churn.late_starts > 0 {
        parts.push(format!("{} late starts", churn.late_starts));
    }
    parts.push(format!("{} returns", churn.returns));
    if churn.stay_away > 0 {
        parts.push(format!("{} stayed away", churn.stay_away));
    }
    let nodes = result.record.nodes.len();
    parts.push(format!("at least {} of {nodes} nodes up", churn.fewest_up));
    if churn.caught_up > 0 {
        let [p50, p90, most] = [churn.catch_up_p50_ms, churn.catch_up_p90_ms, churn.catch_up_max_ms].map(time);
        let blocks = churn.blocks_behind_max.map_or(String::new(), |blocks| {
            format!(", from up to {} behind", format::plural(blocks, "block"))
        });
        let by_snapshot = match churn.by_snapshot {
            0 => String::new(),
            some => format!(" ({some} of them by snapshot)"),
        };
        parts.push(format!(
            "{} caught up{by_snapshot} within {p50} (p50), {p90} (p90), {most} (all){blocks}",
            churn.caught_up
        ));
    }
    Some(format!("churn: {}", parts.join(", ")))
}
