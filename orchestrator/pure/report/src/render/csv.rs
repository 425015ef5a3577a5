//! Tables for spreadsheets and scripts: RFC 4180, one header row, units in the names.

use crate::{figure::bins, result::RunResult};
use std::fmt::Write as _;

/// Counts and latency quantiles for each second since the origin.
#[must_use]
pub fn seconds_csv(result: &RunResult) -> String {
    let mut text = "second,intended,sent,finalised,failed_or_rejected,response_p50_us,response_p90_us,response_p99_us,response_max_us\n".to_owned();
    for bin in bins(&result.record, usize::MAX) {
        let counts =
            [bin.start_s as u64, bin.intended, bin.sent, bin.finalised, bin.refused].map(|count| count.to_string());
        // A second without transactions has no latency: the cells stay empty.
        let quantiles =
            [0.5, 0.9, 0.99, 1.0].map(|q| bin.latency.quantile(q).map_or_else(String::new, |us| us.to_string()));
        row(&mut text, counts.into_iter().chain(quantiles));
    }
    text
}

/// One row for each node of the plan.
#[must_use]
pub fn nodes_csv(result: &RunResult) -> String {
    let mut text =
        "name,role,group,region,address,height,transactions,cpu_percent,cpu_total_s,rss_max_bytes,private_max_bytes,\
                    descriptors_max,disk_bytes,peers,messages_in,messages_out,bytes_in,bytes_out,restarts,binary_digest,\
                    binary_digest_end\n"
            .to_owned();
    for (node, summary) in result.record.nodes.iter().zip(&result.summary.nodes) {
        let names = [&node.name, node.role.as_str(), &node.group, &node.region, &node.address].map(field);
        let counts = [
            summary.rss_max_bytes,
            summary.private_max_bytes,
            summary.descriptors_max,
            summary.disk_bytes,
            summary.peers,
            summary.messages_in,
            summary.messages_out,
            summary.bytes_in,
            summary.bytes_out,
            u64::from(summary.restarts),
        ];
        let progress = [summary.height, summary.transactions].map(|count| count.to_string());
        let cpu = [summary.cpu_percent, summary.cpu_total_s].map(|value| format!("{value:.3}"));
        row(
            &mut text,
            names
                .into_iter()
                .chain(progress)
                .chain(cpu)
                .chain(counts.map(|count| count.to_string()))
                .chain([&node.binary_digest, &node.binary_digest_end].map(|digest| field(digest))),
        );
    }
    text
}

/// Every sample of every process.
#[must_use]
pub fn samples_csv(result: &RunResult) -> String {
    let mut text =
        "process,at_ms,cpu_s,rss_bytes,private_bytes,descriptors,disk_bytes,height,peers,transactions,mempool,\
                    messages_in,messages_out,bytes_in,bytes_out\n"
            .to_owned();
    for process in &result.record.processes {
        let name = field(&process.name);
        for sample in &process.samples {
            let counts = [
                sample.rss_bytes,
                sample.private_bytes,
                sample.descriptors,
                sample.disk_bytes,
                sample.height,
                sample.peers,
                sample.transactions,
                sample.mempool,
                sample.messages_in,
                sample.messages_out,
                sample.bytes_in,
                sample.bytes_out,
            ];
            let first = [name.clone(), sample.at_ms.to_string(), format!("{:.3}", sample.cpu_s)];
            row(
                &mut text,
                first.into_iter().chain(counts.map(|count| count.to_string())),
            );
        }
    }
    text
}

/// Appends a row of ready cells.
fn row(text: &mut String, cells: impl IntoIterator<Item = String>) {
    for (index, cell) in cells.into_iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{cell}");
    }
    text.push('\n');
}

/// A text as a CSV field; a leading `= + - @` gets a quote in front so that no spreadsheet takes it for a formula.
fn field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    if guard.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        return text.to_owned();
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evaluate,
        fixture::{self, SMALL},
    };

    #[test]
    fn every_row_has_every_column() {
        let result = evaluate(fixture::record(SMALL), false);
        let rows = [
            result.record.seconds.len(),
            2,
            result.record.processes.iter().map(|p| p.samples.len()).sum(),
        ];
        for (text, rows) in [seconds_csv(&result), nodes_csv(&result), samples_csv(&result)]
            .into_iter()
            .zip(rows)
        {
            let columns = text.lines().next().unwrap().split(',').count();
            assert!(text.lines().all(|line| line.split(',').count() == columns), "{text}");
            assert_eq!(text.lines().count(), rows + 1);
        }
    }

    #[test]
    fn fields_are_quoted_when_they_must_be() {
        assert_eq!(field("val-0"), "val-0");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field("=1+1"), "\"'=1+1\"");
    }
}
