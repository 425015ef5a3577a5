//! A fault with every choice made: what, to whom, between whom, how much, and when.

use super::links::LinkConditions;
use crate::{
    scenario::FaultKind,
    units::{BitRate, Duration, Size},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Position in [`super::Plan::faults`].
    pub index: u32,
    /// What is done.
    pub kind: FaultKind,
    /// Nodes that it is done to, ascending; none yet where [`PlannedFault::leads`] says who it is.
    pub nodes: Vec<u32>,
    /// The instance whose next leader it is done to, found when the fault begins.
    #[serde(default)]
    pub leads: Option<String>,
    /// Sides of a partition or of changed links: what nodes of different sides send each other is affected, nodes of no side
    /// are not. Without sides, all links of `nodes` are.
    pub sets: Vec<Vec<u32>>,
    /// Only what the first side sends to the others is affected.
    pub one_way: bool,
    /// How much of it.
    #[serde(default)]
    pub extent: FaultExtent,
    /// Start in milliseconds after the start of the load.
    pub at_ms: u64,
    /// End in milliseconds after the start of the load; a crashed node is started again then.
    pub until_ms: u64,
    /// Whether it takes a quorum away on purpose.
    pub breaks_quorum: bool,
    /// The build that an upgrade is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
}

/// How much of a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultExtent {
    /// There is no more and no less of it.
    #[default]
    Whole,
    /// A crash that takes the disk along.
    DiskLost,
    /// What links become.
    Link(LinkChange),
    /// A clock is so many milliseconds ahead.
    Ahead(u64),
    /// Each flush of the disk takes so many nanoseconds more.
    FlushDelay(u64),
    /// So many millionths of one core are left.
    Cpu(u32),
    /// So many bytes of memory are left.
    Memory(u64),
}

/// What a fault makes of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkChange {
    /// Nanoseconds that each direction takes longer.
    pub delay_ns: u64,
    /// Variation of the whole delay in millionths, in place of what it was.
    pub jitter_ppm: Option<u32>,
    /// Lost packets in millionths, in place of what it was.
    pub loss_ppm: Option<u32>,
    /// Bits per second of each link, beside whatever limit the node has.
    pub rate_bits: Option<u64>,
}

/// For people: a time that was drawn has nine digits, of which two or three matter.
fn about(nanos: u64) -> Duration {
    let unit = [1_000_000, 1000]
        .into_iter()
        .find(|unit| nanos >= 10 * unit)
        .unwrap_or(1);
    Duration((nanos + unit / 2) / unit * unit)
}

impl fmt::Display for FaultExtent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole => Ok(()),
            Self::DiskLost => f.write_str(" with its disk"),
            Self::Link(change) => write!(f, "{change}"),
            Self::Ahead(ms) => write!(f, " +{}", Duration::from_millis(ms)),
            Self::FlushDelay(nanos) => write!(f, " +{} a flush", about(nanos)),
            Self::Cpu(ppm) => write!(f, " {}% of a core", f64::from(ppm) / 1e4),
            Self::Memory(bytes) => write!(f, " {}", Size(bytes)),
        }
    }
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.delay_ns > 0 {
            write!(f, " +{}", about(self.delay_ns))?;
        }
        let share = |ppm: u32| f64::from(ppm) / 1e4;
        if let Some(ppm) = self.jitter_ppm {
            write!(f, " jitter {}%", share(ppm))?;
        }
        if let Some(ppm) = self.loss_ppm {
            write!(f, " loss {}%", share(ppm))?;
        }
        self.rate_bits.map_or(Ok(()), |rate| write!(f, " {}", BitRate(rate)))
    }
}

impl LinkChange {
    /// The conditions of a link that has it on top.
    #[must_use]
    pub fn on(&self, base: LinkConditions) -> LinkConditions {
        LinkConditions {
            delay_ns: base.delay_ns.saturating_add(self.delay_ns),
            jitter_ppm: self.jitter_ppm.unwrap_or(base.jitter_ppm),
            loss_ppm: self.loss_ppm.unwrap_or(base.loss_ppm),
            rate_bits: self.rate_bits.into_iter().chain(base.rate_bits).min(),
        }
    }
}

impl PlannedFault {
    /// Whether it affects what `from` sends to `to`; only faults of links do.
    #[must_use]
    pub fn covers(&self, from: u32, to: u32) -> bool {
        if !self.kind.is_on_links() || from == to {
            return false;
        }
        if self.sets.is_empty() {
            return self.nodes.contains(&from) || self.nodes.contains(&to);
        }
        let side = |node: u32| self.sets.iter().position(|side| side.contains(&node));
        match (side(from), side(to)) {
            (Some(from), Some(to)) => from != to && (!self.one_way || from == 0),
            _ => false,
        }
    }

    /// What it makes of links, if it changes them.
    #[must_use]
    pub fn link(&self) -> Option<LinkChange> {
        match self.extent {
            FaultExtent::Link(change) => Some(change),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, sets: &[&[u32]], one_way: bool) -> PlannedFault {
        PlannedFault {
            index: 0,
            kind,
            nodes: sets.concat(),
            leads: None,
            sets: sets.iter().map(|side| side.to_vec()).collect(),
            one_way,
            extent: FaultExtent::Whole,
            at_ms: 0,
            until_ms: 1,
            breaks_quorum: true,
            build: None,
        }
    }

    #[test]
    fn sides_are_apart_and_whoever_stands_on_none_reaches_both() {
        let fault = fault(FaultKind::Partition, &[&[0, 1], &[2, 3]], false);
        assert!(fault.covers(0, 2) && fault.covers(2, 0) && fault.covers(1, 3));
        assert!(!fault.covers(0, 1) && !fault.covers(0, 4) && !fault.covers(4, 2));
    }

    #[test]
    fn one_way_is_what_the_first_side_sends() {
        let fault = fault(FaultKind::Link, &[&[0], &[1, 3], &[2]], true);
        assert!(fault.covers(0, 1) && fault.covers(0, 2));
        assert!(!fault.covers(1, 0) && !fault.covers(1, 2));
    }

    #[test]
    fn without_sides_it_is_all_links_of_the_nodes_and_processes_have_none() {
        let mut fault = fault(FaultKind::Link, &[], false);
        fault.nodes = vec![1];
        assert!(fault.covers(1, 0) && fault.covers(0, 1) && !fault.covers(0, 2));
        fault.kind = FaultKind::Crash;
        assert!(!fault.covers(1, 0));
    }

    #[test]
    fn a_change_adds_delay_and_the_lower_rate_counts() {
        let base = LinkConditions {
            delay_ns: 10,
            jitter_ppm: 1,
            loss_ppm: 2,
            rate_bits: Some(100),
        };
        let change = LinkChange {
            delay_ns: 5,
            loss_ppm: Some(7),
            rate_bits: Some(200),
            ..LinkChange::default()
        };
        let expected = LinkConditions {
            delay_ns: 15,
            loss_ppm: 7,
            ..base
        };
        assert_eq!(change.on(base), expected);
    }

    /// Seen in a run of nemesis: `link full-3 +49565734ns`.
    #[test]
    fn times_that_were_drawn_are_shown_as_people_write_them() {
        let link = |delay_ns| {
            let change = LinkChange {
                delay_ns,
                ..LinkChange::default()
            };
            FaultExtent::Link(change).to_string()
        };
        assert_eq!(link(49_565_734), " +50ms");
        assert_eq!(link(1_565_734), " +1566us");
        assert_eq!(link(80_000_000), " +80ms");
        assert_eq!(link(7), " +7ns");
        assert_eq!(FaultExtent::FlushDelay(41_377_141).to_string(), " +41ms a flush");
    }
}
