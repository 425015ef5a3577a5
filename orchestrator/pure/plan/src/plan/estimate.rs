//! What a run will cost, before anything starts: hosts, time and bytes.

use super::Plan;
use crate::units::Duration;
use serde::Serialize;
use std::fmt::{self, Write};

/// Most bytes in the log of a node.
pub const LOG_BYTES_MAX: u64 = 16 << 20;
/// Program and agent as they travel to a host: a release build with its symbols stripped, compressed.
const PROGRAM_BYTES: u64 = 8 << 20;
/// Configuration of a node beside its neighbours and validators, and its key.
const CONFIG_BYTES: u64 = 1200;
/// Name, key and address of a neighbour; key and weight of a validator.
const CONFIG_BYTES_PER_LINE: u64 = 130;
/// Header and signature of a transaction.
const TRANSACTION_OVERHEAD_BYTES: u64 = 160;
/// Time to start and stop whatever the size, and for each node and each host on top, on a quiet machine.
const BASE_MS: u64 = 4000;
const NODE_MS: u64 = 30;
const HOST_MS: u64 = 200;

/// What a run will cost. Bytes are estimates but for logs, whose limit is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Nodes.
    pub nodes: u32,
    /// Hosts of a fleet with nodes, and those that they are reached over.
    pub hosts: u32,
    /// Hosts of a fleet that stay free until another fails.
    pub spares: u32,
    /// How long the load runs, in milliseconds.
    pub load_ms: u64,
    /// About how long the run takes once its programs are built, in milliseconds.
    pub about_ms: u64,
    /// How long it takes at most, in milliseconds.
    pub most_ms: u64,
    /// Bytes of programs that go to hosts.
    pub program_bytes: u64,
    /// Bytes of configurations that go to hosts.
    pub config_bytes: u64,
    /// Bytes of the load between clients and nodes and among nodes.
    pub load_bytes: u64,
    /// Bytes of logs at most, which come back from hosts.
    pub log_bytes_max: u64,
    /// Bytes of transactions that all nodes store.
    pub stored_bytes: u64,
}

impl Estimate {
    /// Bytes that networks between hosts carry: none where all nodes are on this machine.
    #[must_use]
    pub fn transfer_bytes(&self) -> u64 {
        let all = [
            self.program_bytes,
            self.config_bytes,
            self.load_bytes,
            self.log_bytes_max,
        ];
        if self.hosts == 0 {
            return 0;
        }
        all.into_iter().fold(0, u64::saturating_add)
    }

    /// Bytes on disks: transactions and logs.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.stored_bytes.saturating_add(self.log_bytes_max)
    }

    /// One line about time.
    #[must_use]
    pub fn time(&self) -> String {
        let (load, most) = (Duration::from_millis(self.load_ms), Duration::from_millis(self.most_ms));
        format!(
            "about {} once built, {load} of it load; at most {most}",
            about_minutes(self.about_ms)
        )
    }

    /// One line about bytes that networks between hosts carry.
    #[must_use]
    pub fn network(&self) -> String {
        let parts = [
            ("programs", self.program_bytes),
            ("configurations", self.config_bytes),
            ("load", self.load_bytes),
            ("logs at most", self.log_bytes_max),
        ];
        let parts: Vec<String> = parts.map(|(what, bytes)| format!("{what} {}", about(bytes))).into();
        format!("{}: {}", about(self.transfer_bytes()), parts.join(", "))
    }

    /// One line about bytes on disks.
    #[must_use]
    pub fn disk(&self) -> String {
        let (stored, logs) = (about(self.stored_bytes), about(self.log_bytes_max));
        format!(
            "{}: {stored} of transactions, logs at most {logs}",
            about(self.disk_bytes())
        )
    }
}

impl Plan {
    /// What the run will cost.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        let hosts = self.hosts_used().len() as u64;
        let spares = self.hosts.iter().filter(|host| host.spare).count() as u64;
        let nodes = self.nodes.len() as u64;
        let simulated = self.world.is_some();
        let real = |bytes: u64| if simulated { 0 } else { bytes };
        let lines = 2 * self.edges.len() as u64 + self.voters_told();
        let programs = self.builds.len().max(1) as u64;
        let load_ms = self.phases.load_ms();
        let about_ms = load_ms + BASE_MS + NODE_MS * nodes + HOST_MS * (hosts + spares);
        let on_hosts = |bytes: u64| if hosts == 0 { 0 } else { bytes };
        Estimate {
            nodes: nodes as u32,
            hosts: hosts as u32,
            spares: spares as u32,
            load_ms,
            about_ms: about_ms.min(self.budget.wall_ms),
            most_ms: self.budget.wall_ms,
            program_bytes: on_hosts(PROGRAM_BYTES * programs * (hosts + spares)),
            config_bytes: on_hosts(CONFIG_BYTES * nodes + CONFIG_BYTES_PER_LINE * lines),
            load_bytes: real(self.load_bytes(1)),
            log_bytes_max: real(LOG_BYTES_MAX * nodes),
            stored_bytes: real(self.load_bytes(0)),
        }
    }

    /// Validators in the configurations of all nodes together.
    fn voters_told(&self) -> u64 {
        let told = |instance: &super::PlannedInstance| {
            instance.validators.len() as u64 * (instance.validators.len() + instance.followers.len()) as u64
        };
        self.instances.iter().map(told).sum()
    }

    /// Bytes of all transactions at every node that runs their instance, and `more` times beside that.
    fn load_bytes(&self, more: u64) -> u64 {
        let of = |load: &super::PlannedLoad| {
            let runs = self
                .instance(&load.instance)
                .map_or(0, |instance| instance.validators.len() + instance.followers.len());
            let each = u64::from(load.size) + TRANSACTION_OVERHEAD_BYTES;
            load.expected.saturating_mul(each).saturating_mul(runs as u64 + more)
        };
        self.loads.iter().map(of).fold(0, u64::saturating_add)
    }

    /// What `regatta run --dry-run` prints: where, how long, how many bytes, and the digest.
    #[must_use]
    pub fn render_costs(&self) -> String {
        let mut text = format!(
            "dry run   {}  seed {}  provider {}\n",
            self.name, self.seed, self.provider
        );
        // Writing to a string cannot fail.
        let _ = self.write_costs(&mut text);
        let _ = self.write_hosts(&mut text, usize::MAX);
        let _ = writeln!(text, "digest    {}", self.digest());
        text
    }

    /// Hosts, time and bytes, a line each.
    pub(super) fn write_costs(&self, out: &mut String) -> fmt::Result {
        let estimate = self.estimate();
        let nodes = estimate.nodes;
        match (estimate.hosts, estimate.spares) {
            (0, _) if self.world.is_some() => writeln!(out, "hosts     this machine, {nodes} simulated nodes")?,
            (0, _) => writeln!(out, "hosts     this machine, {nodes} nodes")?,
            (hosts, 0) => writeln!(out, "hosts     {hosts}, {nodes} nodes")?,
            (hosts, spares) => writeln!(out, "hosts     {hosts} and {spares} spare, {nodes} nodes")?,
        }
        writeln!(out, "time      {}", estimate.time())?;
        if estimate.hosts > 0 {
            writeln!(out, "network   {}", estimate.network())?;
        }
        writeln!(out, "disk      {}", estimate.disk())
    }

    /// A row for each of the first `most` hosts of a fleet.
    pub(super) fn write_hosts(&self, out: &mut String, most: usize) -> fmt::Result {
        if self.hosts.is_empty() {
            return Ok(());
        }
        let width = self.hosts.iter().map(|host| host.name.len()).max().unwrap_or(0).max(4);
        writeln!(out, "\n{:width$}  address          region      slots  nodes", "host")?;
        for host in self.hosts.iter().take(most) {
            let region = host.region.as_deref().unwrap_or("-");
            let (name, ip, slots) = (&host.name, host.ip.to_string(), host.slots);
            let nodes: Vec<&str> = self.nodes_on(host.index).map(|node| node.name.as_str()).collect();
            let nodes = match nodes.len() {
                0 if host.spare => "spare".to_owned(),
                0 => "-".to_owned(),
                1..=8 => nodes.join(" "),
                more => format!("{} and {} more", nodes[..8].join(" "), more - 8),
            };
            writeln!(out, "{name:width$}  {ip:15}  {region:10}  {slots:5}  {nodes}")?;
        }
        match self.hosts.len().saturating_sub(most) {
            0 => Ok(()),
            more => writeln!(out, "... and {more} more hosts"),
        }
    }
}

/// Two digits of a number of bytes, in the unit that fits.
fn about(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value >= 9.95 || unit == 0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Whole minutes, rounded up; seconds below the first.
fn about_minutes(millis: u64) -> String {
    match millis.div_ceil(60_000) {
        0 | 1 => format!("{} s", millis.div_ceil(1000)),
        minutes => format!("{minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_in_words() {
        let words = [0, 999, 1000, 10 << 10, 1 << 20, 1_500_000_000, u64::MAX].map(about);
        assert_eq!(
            words,
            [
                "0 B",
                "999 B",
                "1.0 KiB",
                "10 KiB",
                "1.0 MiB",
                "1.4 GiB",
                "16777216 TiB"
            ]
        );
        assert_eq!(
            [0, 1, 59_001, 60_001, 120_000].map(about_minutes),
            ["0 s", "1 s", "60 s", "2 min", "2 min"]
        );
    }

    proptest! {
        #[test]
        fn any_number_of_bytes_is_short(bytes: u64) {
            prop_assert!(about(bytes).len() <= 12);
        }
    }
}
