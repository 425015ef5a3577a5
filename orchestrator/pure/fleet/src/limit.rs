//! Less of a processor or of memory for a node, for as long as a fault lasts, and what that did to it.

use crate::message::{Refusal, What};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Least and greatest share of one core, in millionths.
const SHARE_PPM: std::ops::RangeInclusive<u32> = 10_000..=1_000_000;
/// Least and greatest memory in bytes: a pebibyte is no limit.
const MEMORY_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 50;

/// What a node can have less of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Time on processors.
    Cpu,
    /// Memory.
    Memory,
}

/// How much of it is left to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// A share of one core.
    Cpu {
        /// In millionths.
        share_ppm: u32,
    },
    /// So much memory.
    Memory {
        /// In bytes.
        bytes: u64,
    },
}

/// What a limit of time on processors did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    /// Periods of the system's scheduler in which the node had something to do.
    pub periods: u64,
    /// Those at whose end it was held back.
    pub throttled: u64,
}

/// What a limit of memory did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starved {
    /// Most bytes of memory while the limit held.
    pub peak_bytes: u64,
    /// How often the node came up against it.
    pub hits: u64,
    /// Whether the kernel killed it for want of memory.
    pub killed: bool,
    /// Whether it held more than the limit from the beginning and could not give it back.
    pub held_more: bool,
}

/// What a limit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// One of time on processors.
    Cpu(Throttled),
    /// One of memory.
    Memory(Starved),
}

impl Limit {
    /// What it is of.
    #[must_use]
    pub fn of(self) -> Resource {
        match self {
            Self::Cpu { .. } => Resource::Cpu,
            Self::Memory { .. } => Resource::Memory,
        }
    }

    /// Refuses one that leaves nothing, or that is none.
    ///
    /// # Errors
    /// A [`Refusal`] that names the bounds.
    pub fn check(self) -> Result<(), Refusal> {
        let refused = |what: String| Err(Refusal::new(What::Order, what));
        match self {
            Self::Cpu { share_ppm } if !SHARE_PPM.contains(&share_ppm) => refused(format!(
                "{share_ppm} millionths of a core; at least {} and at most {} are allowed",
                SHARE_PPM.start(),
                SHARE_PPM.end()
            )),
            Self::Memory { bytes } if !MEMORY_BYTES.contains(&bytes) => refused(format!(
                "{bytes} bytes of memory; at least {} and at most {} are allowed",
                MEMORY_BYTES.start(),
                MEMORY_BYTES.end()
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "time on processors",
            Self::Memory => "memory",
        })
    }
}

impl Throttled {
    /// Both together: one process of a node after the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            periods: self.periods.saturating_add(other.periods),
            throttled: self.throttled.saturating_add(other.throttled),
        }
    }

    /// What came after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            periods: self.periods.saturating_sub(before.periods),
            throttled: self.throttled.saturating_sub(before.throttled),
        }
    }
}

impl Starved {
    /// Both together: one process of a node after the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            peak_bytes: self.peak_bytes.max(other.peak_bytes),
            hits: self.hits.saturating_add(other.hits),
            killed: self.killed || other.killed,
            held_more: self.held_more || other.held_more,
        }
    }
}

impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.throttled {
            0 => write!(f, "never needed more"),
            throttled => write!(f, "held back in {throttled} of {} periods", self.periods),
        }
    }
}

impl fmt::Display for Starved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peak = format!("{}KiB", self.peak_bytes / 1024);
        if self.held_more {
            return write!(f, "held {peak}, more than the limit, and was killed");
        }
        if self.killed {
            return write!(f, "killed by the kernel, it needed more");
        }
        match self.hits {
            0 => write!(f, "lived with at most {peak}, never at the limit"),
            1 => write!(f, "lived with at most {peak}, once at the limit"),
            hits => write!(f, "lived with at most {peak}, {hits} times at the limit"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(throttled) => throttled.fmt(f),
            Self::Memory(starved) => starved.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_limits_within_bounds_are_accepted(share_ppm in any::<u32>(), bytes in any::<u64>()) {
            let cpu = Limit::Cpu { share_ppm }.check();
            prop_assert_eq!(cpu.is_ok(), (10_000..=1_000_000).contains(&share_ppm));
            let memory = Limit::Memory { bytes }.check();
            prop_assert_eq!(memory.is_ok(), (1 << 20..=1 << 50).contains(&bytes));
            for refusal in [cpu, memory].into_iter().filter_map(Result::err) {
                prop_assert!(refusal.what == What::Order && refusal.message.contains("at most"), "{}", refusal);
            }
        }

        #[test]
        fn counters_of_one_process_after_the_other_add_up(one in any::<[u64; 2]>(), more in any::<[u64; 2]>()) {
            let throttled = |[periods, throttled]: [u64; 2]| Throttled { periods, throttled };
            let both = throttled(one).and(throttled(more));
            prop_assert!(both.periods >= one[0].max(more[0]) && both.throttled >= one[1].max(more[1]));
            let starved = |[peak_bytes, hits]: [u64; 2]| Starved { peak_bytes, hits, killed: hits % 2 == 1, held_more: false };
            let both = starved(one).and(starved(more));
            prop_assert_eq!(both.peak_bytes, one[0].max(more[0]));
            prop_assert_eq!(both.killed, one[1] % 2 == 1 || more[1] % 2 == 1);
        }
    }

    #[test]
    fn what_was_seen_is_said_in_words() {
        let cpu = |throttled| Seen::Cpu(Throttled { periods: 40, throttled }).to_string();
        assert_eq!(
            [cpu(0), cpu(35)],
            ["never needed more", "held back in 35 of 40 periods"]
        );
        let memory = |hits, killed, held_more| {
            let peak_bytes = 3 << 20;
            Seen::Memory(Starved {
                peak_bytes,
                hits,
                killed,
                held_more,
            })
            .to_string()
        };
        assert_eq!(
            memory(0, false, false),
            "lived with at most 3072KiB, never at the limit"
        );
        assert_eq!(memory(1, false, false), "lived with at most 3072KiB, once at the limit");
        assert_eq!(memory(9, true, false), "killed by the kernel, it needed more");
        assert_eq!(
            memory(0, false, true),
            "held 3072KiB, more than the limit, and was killed"
        );
    }
}
