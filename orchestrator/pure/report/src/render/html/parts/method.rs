//! How the figures were made, in sentences.

use crate::{
    format,
    model::{LoadMode, RunRecord},
    result::RunResult,
};

/// How the figures were made, with the numbers of this run.
pub(in crate::render::html) fn method(result: &RunResult) -> Vec<String> {
    let summary = &result.summary;
    let window = &summary.window;
    let mut lines = loads(&result.record);
    lines.push(
        "Response latency is final - intended: a transaction that the generator or the system delayed counts in full. \
         Service is final - sent, lag is sent - intended. All stamps are of the submitting client's monotonic clock."
            .to_owned(),
    );
    let cut = match window.cut_ms {
        _ if window.cut_refused => "MSER-5 would have cut more than half as warm-up and was refused".to_owned(),
        0 => "MSER-5 found no warm-up in it".to_owned(),
        cut => format!(
            "MSER-5 cut {} of warm-up from its front",
            format::duration_us(cut as f64 * 1000.0)
        ),
    };
    lines.push(format!(
        "The window is {} long, from {} to {}, with {}, of which {} carried load; {cut}. Nothing behind the first \
         fault counts as warm-up.",
        format::duration_us(window.seconds() * 1e6),
        format::moment(window.start_ms),
        format::moment(window.end_ms),
        format::plural(window.blocks, "block"),
        format::integer(window.loaded_blocks)
    ));
    lines.push(
        "Intervals are 95 %, from resampling whole blocks, since the transactions of a block share its fate. A \
         quantile q is printed with at least 10 / (1 - q) blocks; when more than 1 - q of all intended transactions \
         did not become final it is at least the timeout."
            .to_owned(),
    );
    let generator = &summary.generator;
    let [p50, p99, limit] =
        [generator.lag_p50_us, generator.lag_p99_us, generator.lag_limit_us].map(|us| format::duration_us(us as f64));
    lines.push(format!(
        "The generator sent {} of what was intended, with a lag of {p50} in the median and {p99} at p99; a p99 above \
         {limit} would make the run invalid.",
        format::percent(generator.sent_share)
    ));
    if let Some(steady) = &summary.steady {
        lines.push(format!(
            "Steadiness: the backlog changes by {} of the offered rate per second (Theil-Sen), the halves of the \
             window differ by {}.",
            format::percent(steady.backlog_slope_share),
            format::percent(steady.halves_difference)
        ));
    }
    lines
}

/// What was submitted, a sentence for each load.
fn loads(record: &RunRecord) -> Vec<String> {
    let loads = record.loads.iter();
    loads
        .map(|load| {
            let label = load.label.as_ref().map_or(String::new(), |label| format!(" ({label})"));
            let loop_text = match load.mode {
                LoadMode::Open => "open loop: arrivals were scheduled before the run",
                LoadMode::Closed => "closed loop: not a latency test",
                LoadMode::Saturate => "as many as the system takes",
            };
            format!("Load {}{label}: {}; {loop_text}.", load.name, load.description)
        })
        .collect()
}
