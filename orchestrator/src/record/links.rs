//! The network between nodes in namespaces: its row of the record, and the doubts that it gives rise to.

use crate::provider::SwitchTally;
use regatta_link::Loss;
use regatta_report::{
    Counts, format,
    model::{Beside, Disclosure, Finding, LinkProbe, Links, NamedNumber, NamedText},
};

/// Greatest error of a link, as a share of what was wanted, before the run is in doubt, and before it is void.
const ERROR_MAX: (f64, f64) = (0.10, 0.25);
/// Lateness of the switch is compared with this delay where links have less, in microseconds.
const DELAY_US_MIN: f64 = 10_000.0;
/// The share of packets by which lateness is judged.
const LATE_QUANTILE: f64 = 0.99;

/// What the switch counted and what measurements found.
#[must_use]
pub(crate) fn links(tally: &SwitchTally, (probes, beside): (Vec<LinkProbe>, Option<Beside>)) -> Links {
    let reason = |why: &Loss| match why {
        Loss::Cut => "by partitions",
        Loss::Queue => "in full queues of cards",
        Loss::Chance => "by chance, as wanted",
    };
    let lost = tally.lost.iter().map(|(why, count)| (reason(why), *count));
    let unwanted = [
        ("for want of memory", tally.crowded_out),
        ("from or to strangers", tally.strays),
        ("refused by a device", tally.refused),
    ];
    let number = |(name, count): (&str, u64)| NamedNumber {
        name: name.to_owned(),
        value: count as f64,
    };
    let all = tally.packets + tally.lab_packets;
    Links {
        packets: tally.packets,
        bytes: tally.bytes,
        lab_packets: tally.lab_packets,
        lost: lost
            .chain(unwanted)
            .filter(|(_, count)| *count > 0)
            .map(number)
            .collect(),
        release_us: Counts::from_histogram(&tally.late_us),
        cpu_us_per_packet: tally.cpu_ns as f64 / 1e3 / all.max(1) as f64,
        probes,
        beside,
    }
}

/// How the switch was scheduled, and by which rule it treats the lab.
pub(crate) fn disclosure(scheduling: &[NamedText], links: &Links) -> Vec<Disclosure> {
    let line = |name: &str, value: String| Disclosure {
        section: "links".to_owned(),
        name: name.to_owned(),
        value,
    };
    let mut lines: Vec<Disclosure> = scheduling
        .iter()
        .map(|text| line(&text.name, text.value.clone()))
        .collect();
    let lab = format::plural(links.lab_packets, "packet");
    lines.push(line(
        "between the lab and nodes",
        format!("{lab}, without delay, loss or limit: clients stand beside their nodes"),
    ));
    lines
}

/// What is wrong with the links: they are not what the scenario asks for, or the switch was late.
pub(crate) fn findings(links: &Links) -> Vec<Finding> {
    let worst = links.probes.iter().max_by(|a, b| a.error.total_cmp(&b.error));
    let off = worst.and_then(|probe| {
        let text = format!(
            "links are not as the scenario asks: from {} to {} they were off by {} {} the load, the limit is",
            probe.from,
            probe.to,
            format::percent(probe.error),
            probe.moment
        );
        judge("link-error", probe.error, &text)
    });
    let late = late_share(links).and_then(|(share, late_us)| {
        let text = format!(
            "the switch between nodes was late: {} at p99 is {} of a link's delay, the limit is",
            format::duration_us(late_us),
            format::percent(share)
        );
        judge("switch-late", share, &text)
    });
    off.into_iter().chain(late).collect()
}

/// Lateness of the switch as a share of the least delay between sampled nodes; none where no link has a delay.
fn late_share(links: &Links) -> Option<(f64, f64)> {
    let delays = links.probes.iter().map(|probe| probe.wanted_delay_us);
    let least = delays.filter(|delay| *delay > 0.0).reduce(f64::min)?.max(DELAY_US_MIN);
    let late = links.release_us.quantile(LATE_QUANTILE)? as f64;
    Some((late / least, late))
}

fn judge(code: &str, observed: f64, text: &str) -> Option<Finding> {
    let (doubtful, void) = ERROR_MAX;
    (observed > doubtful).then(|| Finding {
        code: code.to_owned(),
        void: observed > void,
        text: format!(
            "{text} {}",
            format::percent(if observed > void { void } else { doubtful })
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(error: f64, late_us: u64) -> Links {
        Links {
            release_us: Counts(vec![(late_us, 100)]),
            probes: vec![LinkProbe {
                wanted_delay_us: 40_000.0,
                error,
                ..LinkProbe::default()
            }],
            ..Links::default()
        }
    }

    #[test]
    fn errors_and_lateness_are_doubts_and_then_void() {
        let found = |links: &Links| {
            findings(links)
                .into_iter()
                .map(|finding| (finding.code, finding.void))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&with(0.05, 300)), []);
        assert_eq!(found(&with(0.2, 300)), [("link-error".to_owned(), false)]);
        assert_eq!(found(&with(0.5, 300)), [("link-error".to_owned(), true)]);
        assert_eq!(found(&with(0.0, 6000)), [("switch-late".to_owned(), false)]);
        assert_eq!(found(&with(0.0, 30_000)), [("switch-late".to_owned(), true)]);
        assert_eq!(found(&Links::default()), []);
    }
}
