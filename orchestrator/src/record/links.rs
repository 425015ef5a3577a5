//! What the switch between network namespaces did, for the report.

use crate::provider::SwitchTally;
use regatta_report::{
    format,
    model::{Disclosure, NamedText},
};

/// Heading of its lines in the disclosure list.
const SECTION: &str = "links";

/// The lines of the switch in the disclosure list: how it was scheduled, what it carried, how late it was.
pub(crate) fn disclosure(scheduling: &[NamedText], tally: &SwitchTally) -> Vec<Disclosure> {
    let mut lines: Vec<(String, String)> = scheduling
        .iter()
        .map(|line| (line.name.clone(), line.value.clone()))
        .collect();
    lines.push((
        "traffic between nodes".to_owned(),
        format!(
            "{}, {}",
            format::plural(tally.packets, "packet"),
            format::bytes(tally.bytes as f64)
        ),
    ));
    lines.push((
        "traffic between the lab and nodes".to_owned(),
        format!(
            "{}, without delay, loss or limit: clients stand beside their nodes",
            format::plural(tally.lab_packets, "packet")
        ),
    ));
    let late = |q: f64| format::duration_us(tally.late_us.value_at_quantile(q) as f64);
    lines.push((
        "release error of the switch".to_owned(),
        format!(
            "p50 {}, p99 {}, most {}",
            late(0.5),
            late(0.99),
            format::duration_us(tally.late_us.max() as f64)
        ),
    ));
    let each = tally.cpu_ns as f64 / 1e3 / (tally.packets + tally.lab_packets).max(1) as f64;
    lines.push(("CPU of the switch for a packet".to_owned(), format::duration_us(each)));
    let unwanted = [
        ("packets without room", tally.crowded_out),
        ("packets of strangers", tally.strays),
        ("packets that a device refused", tally.refused),
    ];
    let lost = tally.lost.iter().map(|(why, &count)| (reason(*why), count));
    lines.extend(
        lost.chain(unwanted)
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), format::integer(count))),
    );
    let line = |(name, value)| Disclosure {
        section: SECTION.to_owned(),
        name,
        value,
    };
    lines.into_iter().map(line).collect()
}

fn reason(why: regatta_link::Loss) -> &'static str {
    match why {
        regatta_link::Loss::Cut => "packets lost to partitions",
        regatta_link::Loss::Queue => "packets lost in full queues",
        regatta_link::Loss::Chance => "packets lost by chance",
    }
}
