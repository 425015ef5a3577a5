//! Links as the scenario wants them beside what was measured, the same in every form of the report.

use crate::{
    format,
    model::{LinkProbe, Links},
    result::RunResult,
};
use std::collections::BTreeMap;

/// What the columns are called; the first three are names.
pub(super) const HEAD: [&str; 12] = [
    "when",
    "from",
    "to",
    "delay wanted",
    "measured",
    "round trip wanted",
    "measured",
    "loss wanted",
    "measured",
    "rate wanted and measured",
    "error",
    "not judged",
];
/// When links are measured, beside the load and around it.
const MOMENTS: [&str; 4] = ["before", "during", "throughout", "after"];
/// Bounds of a rate are told where the upper one is more than this many times the lower one.
const BOUNDS_TOLD: f64 = 1.05;
/// Most rows that are shown; the worst ones.
const ROWS_MAX: usize = 24;

/// The rows, worst first; none where no link was measured.
pub(super) fn rows(result: &RunResult) -> Vec<Vec<String>> {
    let Some(links) = &result.record.links else {
        return Vec::new();
    };
    let mut probes: Vec<&LinkProbe> = links.probes.iter().collect();
    probes.sort_by(|a, b| b.error.total_cmp(&a.error));
    probes.truncate(ROWS_MAX);
    probes.into_iter().map(row).collect()
}

fn row(probe: &LinkProbe) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let lost = probe.sent.saturating_sub(probe.received);
    let rate = probe
        .wanted_rate_bits
        .map(|wanted| format!("{} / {}", bits(wanted as f64), rate(probe)));
    vec![
        probe.moment.clone(),
        probe.from.clone(),
        probe.to.clone(),
        format::duration_us(probe.wanted_delay_us),
        or_dash(probe.delay_us.map(format::duration_us)),
        format::duration_us(probe.wanted_round_trip_us),
        or_dash(probe.round_trip_us.map(format::duration_us)),
        format::percent(probe.wanted_loss),
        format!("{} of {}", format::integer(lost), format::integer(probe.sent)),
        or_dash(rate),
        format::percent(probe.error),
        if probe.not_judged.is_empty() {
            "–".to_owned()
        } else {
            probe.not_judged.join("; ")
        },
    ]
}

/// The measured rate, or between which bounds it is.
fn rate(probe: &LinkProbe) -> String {
    match (probe.rate_bits, probe.rate_bits_max) {
        (Some(least), Some(most)) if most > least * BOUNDS_TOLD => format!("{} to {}", bits(least), bits(most)),
        (Some(rate), _) => bits(rate),
        _ => "not measured".to_owned(),
    }
}

fn bits(value: f64) -> String {
    let scaled = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    let (scale, unit) = scaled
        .into_iter()
        .find(|(scale, _)| value >= *scale)
        .unwrap_or((1.0, "bit/s"));
    format!("{} {unit}", format::number(value / scale))
}

/// What the network between the nodes did, in sentences; none where the lab did not make it.
pub(super) fn sentences(result: &RunResult) -> Vec<String> {
    result.record.links.as_ref().map_or_else(Vec::new, of_links)
}

fn of_links(links: &Links) -> Vec<String> {
    let mut sentences = Vec::new();
    let errors = |moment: &str| {
        let of = links.probes.iter().filter(|probe| probe.moment == moment);
        let worst = of.map(|probe| probe.error).reduce(f64::max)?;
        Some(format!("{} {moment}", format::percent(worst)))
    };
    let found: Vec<String> = MOMENTS.into_iter().filter_map(errors).collect();
    if !found.is_empty() {
        sentences.push(format!(
            "links: measured against the scenario they were off by at most {} the load",
            found.join(", ")
        ));
    }
    sentences.extend(round_trips(links));
    sentences.extend(beside(links));
    sentences.extend(not_judged(links));
    let late = |q| format::duration_us(links.release_us.quantile(q).unwrap_or_default() as f64);
    sentences.push(format!(
        "switch: {} between nodes, {}; {} late at p50, {} at p99; {} of CPU each",
        format::plural(links.packets, "packet"),
        format::bytes(links.bytes as f64),
        late(0.5),
        late(0.99),
        format::duration_us(links.cpu_us_per_packet)
    ));
    let lost: Vec<String> = links
        .lost
        .iter()
        .map(|reason| format!("{} {}", format::integer(reason.value as u64), reason.name))
        .collect();
    if !lost.is_empty() {
        sentences.push(format!("packets that did not arrive: {}", lost.join(", ")));
    }
    sentences
}

/// What was measured beside the load, and what that took of the network.
fn beside(links: &Links) -> Option<String> {
    let beside = links.beside.as_ref()?;
    let mut text = format!(
        "beside the load: {} of {} of {} directions took {} of the switch's packets and {} of its bytes",
        format::plural(beside.measurements, "measurement"),
        format::integer(beside.directions),
        format::integer(beside.of_directions),
        format::percent(beside.packets as f64 / links.packets.max(1) as f64),
        format::percent(beside.bytes as f64 / links.bytes.max(1) as f64),
    );
    if beside.left_out > 0 {
        let left_out = format::integer(beside.left_out);
        text += &format!("; {left_out} more were left out since a fault was on those links");
    }
    Some(text)
}

/// What measurements do not answer, each reason with the number of times.
fn not_judged(links: &Links) -> Option<String> {
    let mut reasons: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for probe in &links.probes {
        for reason in &probe.not_judged {
            *reasons.entry((reason, &probe.moment)).or_default() += 1;
        }
    }
    let told: Vec<String> = reasons
        .iter()
        .map(|((reason, moment), count)| format!("{reason} ({} {moment})", format::integer(*count)))
        .collect();
    (!told.is_empty()).then(|| format!("links not judged: {}", told.join(", ")))
}

/// The round trip that is farthest from what was asked, at each time of measuring.
fn round_trips(links: &Links) -> Option<String> {
    let off = |probe: &LinkProbe| Some((probe.round_trip_us? - probe.wanted_round_trip_us).abs());
    let measured = links.probes.iter().filter(|probe| off(probe).is_some());
    let worst = measured.max_by(|a, b| off(a).unwrap_or_default().total_cmp(&off(b).unwrap_or_default()))?;
    let is_same = |probe: &&LinkProbe| probe.from == worst.from && probe.to == worst.to;
    let at = |moment: &str| {
        let of = links
            .probes
            .iter()
            .filter(is_same)
            .filter(|probe| probe.moment == moment);
        let farthest = of.max_by(|a, b| off(a).unwrap_or_default().total_cmp(&off(b).unwrap_or_default()))?;
        Some(format!("{} {moment}", format::duration_us(farthest.round_trip_us?)))
    };
    let found: Vec<String> = MOMENTS.into_iter().filter_map(at).collect();
    Some(format!(
        "round trip farthest from its {}: {} and back from {}, {} the load",
        format::duration_us(worst.wanted_round_trip_us),
        worst.from,
        worst.to,
        found.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Counts, evaluate, fixture,
        model::{Beside, NamedNumber},
    };

    #[test]
    fn links_are_in_every_form_and_absent_where_there_are_none() {
        let mut record = fixture::record(fixture::SMALL);
        assert!(sentences(&evaluate(record.clone(), false)).is_empty());
        record.links = Some(Links {
            packets: 1234,
            bytes: 5_000_000,
            release_us: Counts(vec![(40, 99), (700, 1)]),
            cpu_us_per_packet: 8.0,
            lost: vec![NamedNumber {
                name: "by chance".to_owned(),
                value: 17.0,
            }],
            probes: vec![LinkProbe {
                moment: "before".to_owned(),
                from: "val-0".to_owned(),
                to: "val-1".to_owned(),
                wanted_delay_us: 40_000.0,
                delay_us: Some(40_400.0),
                wanted_round_trip_us: 70_000.0,
                round_trip_us: Some(71_500.0),
                wanted_loss: 0.01,
                sent: 500,
                received: 494,
                wanted_rate_bits: Some(100_000_000),
                rate_bits: Some(99_000_000.0),
                rate_bits_max: Some(120_000_000.0),
                not_judged: vec!["loss: too few packets were sent".to_owned()],
                error: 0.01,
                ..LinkProbe::default()
            }],
            beside: Some(Beside {
                directions: 2,
                of_directions: 6,
                measurements: 7,
                left_out: 3,
                packets: 123,
                bytes: 50_000,
            }),
            ..Links::default()
        });
        let result = evaluate(record, false);
        for text in [
            crate::render::text(&result, "report.html"),
            crate::render::markdown(&result),
            crate::render::html(&result).unwrap(),
        ] {
            assert!(
                text.contains("at most 1.00 % before") || text.contains("at most 1 % before"),
                "{text}"
            );
            assert!(text.contains("17 by chance"), "{text}");
            for told in [
                "7 measurements of 2 of 6 directions took",
                "3 more were left out",
                "links not judged: loss: too few packets were sent (1 before)",
            ] {
                assert!(text.contains(told), "{text}");
            }
            let round_trip = "farthest from its 70.0 ms: val-0 and back from val-1, 71.5 ms before the load";
            assert!(text.contains(round_trip), "{text}");
        }
        let page = crate::render::html(&result).unwrap();
        assert!(
            page.contains("6 of 500") && page.contains("100 Mbit/s / 99"),
            "no table"
        );
    }
}
