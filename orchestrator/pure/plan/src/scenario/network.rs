//! Who takes part: addresses, programs, links, groups and consensus instances.

use crate::{
    defaults,
    units::{BitRate, Duration, Ratio},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, collections::BTreeMap, fmt, net::Ipv4Addr, str::FromStr};

/// A range of IPv4 addresses: `127.60.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The lowest address of the range.
    pub base: Ipv4Addr,
    /// Leading bits that all its addresses share, 0 to 32.
    pub prefix: u8,
}

impl Network {
    /// Number of addresses in the range.
    #[must_use]
    pub fn len(self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }

    /// Always false: a range has at least one address.
    #[must_use]
    pub fn is_empty(self) -> bool {
        false
    }

    /// Whether `address` lies in the range.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let offset = u64::from(u32::from(address)).checked_sub(u64::from(u32::from(self.base)));
        offset.is_some_and(|offset| offset < self.len())
    }

    /// The address of node `index`: the range's first address names the network and is skipped.
    #[must_use]
    pub fn node_address(self, index: u32) -> Option<Ipv4Addr> {
        let offset = u64::from(index) + 1;
        // The last address is the broadcast address where the range is a real subnet.
        (offset + 1 < self.len()).then(|| Ipv4Addr::from((u64::from(u32::from(self.base)) + offset) as u32))
    }

    /// How many nodes the range has room for.
    #[must_use]
    pub fn capacity(self) -> u64 {
        self.len().saturating_sub(2)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an IPv4 range such as \"127.60.0.0/16\"");
        let (base, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let base: Ipv4Addr = base.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > 32 {
            return Err(wrong());
        }
        let network = Self { base, prefix };
        let mask = (network.len() - 1) as u32;
        if u32::from(base) & mask != 0 {
            let fixed = Ipv4Addr::from(u32::from(base) & !mask);
            return Err(format!(
                "`{text}` has address bits beyond its prefix; did you mean \"{fixed}/{prefix}\"?"
            ));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "ipv4-network" })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Addresses and ports: every node has an address of its own and all use the same ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Net {
    /// Range that node addresses are taken from, in node order; inside 127.0.0.0/8 for `local`, which for `netns` stands
    /// for the same range in 10.0.0.0/8; otherwise a private one for `netns`. Nodes of `ssh` have their hosts' addresses.
    pub ipv4: Network,
    /// TCP port between nodes; for `ssh` that of the first node of a host, and two more for each further one.
    pub p2p_port: u16,
    /// TCP port of each node's control interface; the same holds for `ssh`.
    pub http_port: u16,
}

impl Default for Net {
    fn default() -> Self {
        let (base, prefix) = defaults::NETWORK;
        Self {
            ipv4: Network { base, prefix },
            p2p_port: defaults::P2P_PORT,
            http_port: defaults::HTTP_PORT,
        }
    }
}

/// A program that nodes run: give exactly one of `source` and `release`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Build {
    /// Folder of the workspace to build from, relative to where the lab runs.
    pub source: Option<String>,
    /// Signed release to fetch, e.g. `"regatta-node@0.2.0"`.
    pub release: Option<String>,
    /// Machines that it is built for, as a target of the compiler, e.g. `"x86_64-unknown-linux-musl"`; for `ssh`, whose
    /// hosts get a static program of that target unless given.
    pub target: Option<String>,
}

/// Emulated network conditions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// One-way delay by pair of regions (`"eu-us"`), symmetric unless both directions are given; `self` is inside one.
    pub matrix: BTreeMap<String, Duration>,
    /// Variation of the delay; packets of one link keep their order.
    pub jitter: Option<Ratio>,
    /// Share of packets that are lost: IP packets of at most 1,500 bytes for `netns`.
    pub loss: Option<Ratio>,
    /// Rate of each node's network card, each way.
    pub rate: Option<BitRate>,
    /// Share of packets that leave their place and arrive later: IP packets for `netns`, which TCP puts in order again;
    /// whole frames for `sim`, which no TCP link does.
    pub reorder: Option<Ratio>,
    /// Share of packets that arrive twice: IP packets for `netns`, which TCP drops; whole frames for `sim`.
    pub duplicate: Option<Ratio>,
    /// Directions with conditions of their own: links that are not the same both ways.
    pub direction: Vec<LinkDirection>,
}

/// What some nodes send to others, where it is not as the keys of `[link]` say; what they answer is another direction.
/// Where two give the same key of one direction, the later one counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkDirection {
    /// Those that send: a group, a node, `"region:eu"` or `"all"`; for `netns` also programs of others.
    pub from: String,
    /// Those that receive, written alike.
    pub to: String,
    /// One-way delay.
    #[serde(default)]
    pub delay: Option<Duration>,
    /// Variation of the delay.
    #[serde(default)]
    pub jitter: Option<Ratio>,
    /// Share of packets that are lost.
    #[serde(default)]
    pub loss: Option<Ratio>,
    /// Rate from each node that sends to each that receives, beside what their network cards carry.
    #[serde(default)]
    pub rate: Option<BitRate>,
}

/// Several nodes of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name of the group and prefix of its nodes' names.
    pub name: String,
    /// Number of nodes.
    pub count: u32,
    /// What its nodes do.
    pub role: Role,
    /// Regions and their shares of the nodes, e.g. `{ eu = 2, us = 1 }`.
    #[serde(default)]
    pub regions: BTreeMap<String, u32>,
    /// How its nodes behave.
    #[serde(default)]
    pub behaviour: Behaviour,
    /// Name of the build that its nodes run.
    #[serde(default = "default_build")]
    pub build: String,
    /// When its nodes start, from the start of the warm-up; without it, before it with all others.
    #[serde(default)]
    pub join: Option<Duration>,
    /// Its nodes keep every block, whatever `node.keep_blocks` says: what others let go of is found there.
    #[serde(default)]
    pub archive: bool,
}

fn default_build() -> String {
    defaults::BUILD.to_owned()
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes, and serves clients.
    Validator,
    /// Follows, verifies certificates and serves clients.
    Full,
    /// A full node that never gets load.
    Observer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Validator => "validator",
            Self::Full => "full",
            Self::Observer => "observer",
        })
    }
}

/// How a node behaves; all but `honest` need builds made for tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Follows the protocol.
    #[default]
    Honest,
    /// Shows each half of its neighbours another proposal, and votes for both.
    Equivocate,
    /// Follows, and says nothing in consensus.
    Silent,
    /// Says everything in consensus late, by the base of the round timeout.
    Delay,
}

impl Behaviour {
    /// Whether it follows the protocol.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        *self == Self::Honest
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Honest => "honest",
            Self::Equivocate => "equivocate",
            Self::Silent => "silent",
            Self::Delay => "delay",
        })
    }
}

/// One consensus instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consensus {
    /// Name of the instance.
    pub id: String,
    /// Who votes: `{ GROUP-or-NODE = WEIGHT }` or a list of groups and nodes; without it, every validator with weight 1.
    #[serde(default)]
    pub validators: Option<Validators>,
    /// Groups and nodes that follow the instance without voting; without it, all that do not vote. Other nodes do not run
    /// it at all: they neither hold nor pass on anything of it.
    #[serde(default)]
    pub followers: Option<Vec<String>>,
    /// Least time between two blocks; a block may take longer and never less, 0 means as fast as it goes.
    #[serde(default = "default_block_interval")]
    pub block_interval: Duration,
    /// Whether blocks follow one another also while nothing waits to be ordered: for measuring agreement alone.
    #[serde(default)]
    pub empty_blocks: bool,
    /// Base of the round timeout: round r waits base x (3 + 2r).
    #[serde(default = "default_round_timeout")]
    pub round_timeout: Duration,
    /// So many heights a leader that let its turn pass must have been silent for its next turn to be given up at once; 0
    /// waits for it at every turn. Without it, what nodes do by themselves.
    #[serde(default)]
    pub silent_heights: Option<u64>,
    /// Number of byzantine validators that the instance is meant to stand; n must be at least 3f + 1.
    #[serde(default)]
    pub byzantine: Option<u32>,
    /// How votes travel; without it, `all_to_all` among up to 16 validators that are all linked directly,
    /// `leader_aggregate` among more of them, and `relay` where some are not linked directly.
    #[serde(default)]
    pub vote_topology: Option<VoteTopology>,
}

fn default_block_interval() -> Duration {
    defaults::BLOCK_INTERVAL
}

fn default_round_timeout() -> Duration {
    defaults::ROUND_TIMEOUT
}

/// Voters of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Validators {
    /// Weight of each node, by group or node.
    Weights(BTreeMap<String, u64>),
    /// Groups and nodes, each node with weight 1.
    List(Vec<String>),
}

/// How votes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoteTopology {
    /// In per-neighbour batches along the edges of the graph, whatever it is.
    Relay,
    /// From every validator to every other in one hop; all of them must be linked directly. Other nodes get decisions.
    AllToAll,
    /// To the leader of the round, who answers with certificates: five hops instead of three, and messages
    /// by the number of validators and not by its square.
    LeaderAggregate,
}

impl VoteTopology {
    /// Its name in a scenario.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::AllToAll => "all_to_all",
            Self::LeaderAggregate => "leader_aggregate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_know_their_addresses() {
        let range = network("127.60.0.0/29");
        assert_eq!((range.len(), range.capacity()), (8, 6));
        assert_eq!(range.node_address(0), Some(Ipv4Addr::new(127, 60, 0, 1)));
        assert_eq!(range.node_address(5), Some(Ipv4Addr::new(127, 60, 0, 6)));
        assert_eq!(range.node_address(6), None);
        assert!(range.contains(Ipv4Addr::new(127, 60, 0, 7)));
        assert!(!range.contains(Ipv4Addr::new(127, 60, 0, 8)) && !range.contains(Ipv4Addr::new(127, 59, 255, 255)));
    }

    #[test]
    fn the_smallest_and_the_largest_range() {
        assert_eq!((network("1.2.3.4/32").len(), network("1.2.3.4/32").capacity()), (1, 0));
        assert_eq!(network("1.2.3.4/32").node_address(0), None);
        assert_eq!(network("0.0.0.0/0").len(), 1 << 32);
        assert!(network("0.0.0.0/0").contains(Ipv4Addr::BROADCAST));
    }

    #[test]
    fn texts_that_are_no_range_are_refused() {
        for text in [
            "",
            "127.60.0.0",
            "127.60.0.0/33",
            "127.60.0/16",
            "127.60.0.0/-1",
            "::1/64",
            "127.60.0.0/16/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let error = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert!(error.contains("did you mean \"10.0.0.0/8\"?"), "{error}");
    }

    proptest! {
        #[test]
        fn addresses_are_distinct_and_inside(prefix in 8_u8..=32, seed: u32, count in 0_u32..300) {
            let base = Ipv4Addr::from(seed & (u32::MAX << (32 - u32::from(prefix))));
            let range = Network { base, prefix };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            let addresses: Vec<Ipv4Addr> = (0..count).map_while(|index| range.node_address(index)).collect();
            prop_assert_eq!(addresses.len() as u64, u64::from(count).min(range.capacity()));
            prop_assert!(addresses.is_sorted() && addresses.iter().all(|&address| range.contains(address)));
        }
    }
}
