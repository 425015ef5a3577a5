//! What a node reads at start: who it is, where it listens, whom it may talk to, what it decides with.

pub use crate::snapshots::SnapshotConfig;

use crate::testing::{ClockConfig, TestingConfig};
use regatta_base::{ChainId, Height, InstanceId, PublicKey, limits};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// Configuration of one node, as in its `node.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Name of the network; part of every signed statement.
    pub chain: ChainId,
    /// Name of this node, for people.
    pub name: String,
    /// Private key file (PKCS #8 PEM, mode 0600), relative to the configuration file.
    pub key_file: String,
    /// Folder of the journal, relative to the configuration file.
    pub data_dir: String,
    /// The address of this node: it listens on it and dials from it.
    pub ip: IpAddr,
    /// Port of the peer-to-peer protocol.
    pub p2p_port: u16,
    /// Port of the control interface, on the same address.
    pub http_port: u16,
    /// Whether this node passes on votes between validators that are not neighbours.
    #[serde(default = "yes")]
    pub relay_votes: bool,
    /// Limits of the mempool that each instance has.
    #[serde(default)]
    pub mempool: MempoolConfig,
    /// Durability and quota of the journal.
    #[serde(default)]
    pub store: StoreConfig,
    /// Who may replace the program of this node, and how.
    #[serde(default, skip_serializing_if = "UpgradeConfig::is_off")]
    pub upgrade: UpgradeConfig,
    /// Extras for tests.
    #[serde(default, skip_serializing_if = "TestingConfig::is_default")]
    pub testing: TestingConfig,
    /// The consensus instances.
    #[serde(rename = "instance")]
    pub instances: Vec<InstanceConfig>,
    /// The only nodes that this one talks to.
    #[serde(rename = "peer", default)]
    pub peers: Vec<PeerConfig>,
}

fn yes() -> bool {
    true
}

/// One static peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its name, for people.
    pub name: String,
    /// Its identity: a connection that proves another key is refused.
    pub key: PublicKey,
    /// Where it listens.
    pub address: SocketAddr,
}

/// One validator of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorConfig {
    /// Its identity.
    pub key: PublicKey,
    /// Its voting weight, at least 1.
    pub weight: u64,
}

/// Heights of silence after which a leader's turn is given up at once, unless a configuration says otherwise.
pub const SILENT_HEIGHTS: Height = 1;
/// Most heights of silence that may be asked for.
pub const SILENT_HEIGHTS_MAX: Height = 1_000_000;

/// One consensus instance that this node follows or votes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceConfig {
    /// Its name.
    pub id: InstanceId,
    /// Shortest time between two blocks, in milliseconds.
    #[serde(default = "default_block_interval_ms")]
    pub block_interval_ms: u64,
    /// Whether blocks follow one another also while nothing waits to be ordered.
    #[serde(default)]
    pub empty_blocks: bool,
    /// Unit of the round timeout in milliseconds: round r lasts unit · (3 + 2r).
    #[serde(default = "default_round_timeout_ms")]
    pub round_timeout_ms: u64,
    /// Longest round, in milliseconds.
    #[serde(default = "default_round_timeout_ms_max")]
    pub round_timeout_ms_max: u64,
    /// So many heights a leader that let its turn pass must have been silent for its next turn to be given up at once;
    /// 0 waits for it at every turn.
    #[serde(
        default = "default_silent_heights",
        skip_serializing_if = "is_default_silent_heights"
    )]
    pub silent_heights: Height,
    /// A batch is sent when it holds this many bytes.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes: usize,
    /// A batch is sent when its first transaction has waited this long, in milliseconds.
    #[serde(default = "default_batch_delay_ms")]
    pub batch_delay_ms: u64,
    /// How votes travel; the same at every node of the instance.
    #[serde(default)]
    pub vote_topology: VoteTopology,
    /// When snapshots of the state are written, and when one is fetched.
    #[serde(default)]
    pub snapshots: SnapshotConfig,
    /// The validators and their weights.
    #[serde(rename = "validator")]
    pub validators: Vec<ValidatorConfig>,
}

/// How the votes of an instance travel between its nodes. Whatever it is, a height that stalls falls back to sending
/// everything to everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteTopology {
    /// From every validator to every other over their own link; nobody passes anything on, and other nodes get
    /// decisions only.
    AllToAll,
    /// Along the edges of whatever graph there is, in per-neighbour batches, to each neighbour that lacks them. The
    /// default, since it needs nothing of the graph.
    #[default]
    Relay,
    /// To the leader of the round, who answers everybody with the certificate: two hops more, and a number of
    /// messages that grows with the validators and not with their square.
    LeaderAggregate,
}

fn default_block_interval_ms() -> u64 {
    10
}
fn default_silent_heights() -> Height {
    SILENT_HEIGHTS
}
fn is_default_silent_heights(heights: &Height) -> bool {
    *heights == SILENT_HEIGHTS
}
fn default_round_timeout_ms() -> u64 {
    500
}
fn default_round_timeout_ms_max() -> u64 {
    60_000
}
fn default_batch_bytes() -> usize {
    256 * 1024
}
fn default_batch_delay_ms() -> u64 {
    4
}

/// Limits of the transactions of each instance that a node holds and has not seen ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MempoolConfig {
    /// Most pending transactions in all.
    pub transactions_max: usize,
    /// Most pending bytes in all.
    pub bytes_max: usize,
    /// Most pending transactions of one sender.
    pub per_sender_max: usize,
}

impl Default for MempoolConfig {
    fn default() -> Self {
        Self {
            transactions_max: 100_000,
            bytes_max: 64 * 1024 * 1024,
            per_sender_max: 10_000,
        }
    }
}

/// Durability and quota of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Whether a record is flushed to the device before what depends on it leaves the node.
    pub durable: bool,
    /// Most bytes that the journal and snapshots may take; beyond it transactions are refused.
    pub disk_bytes_max: u64,
    /// A file of the journal takes no more records from this many bytes on; files are removed as a whole.
    pub segment_bytes: u64,
    /// How many of the last blocks are kept although snapshots make up for them: a number, or `all`.
    pub retain_blocks: Retain,
}

/// Upgrades over the air.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpgradeConfig {
    /// Keys whose releases are installed; without one nothing ever is.
    pub trusted_keys: Vec<PublicKey>,
    /// How many of them must have signed a release and its build.
    pub threshold: u32,
    /// Folder of programs and releases, relative to the configuration file.
    pub store: String,
    /// Most bytes of a program and of all that are kept.
    pub disk_bytes_max: u64,
    /// How many proven programs are kept, the running one included.
    pub keep: u32,
    /// How long a new program may take until it has caught up, in milliseconds; then the node goes back to the old one.
    pub trial_ms: u64,
}

impl UpgradeConfig {
    /// Whether nothing is ever installed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.trusted_keys.is_empty()
    }
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self {
            trusted_keys: Vec::new(),
            threshold: 1,
            store: "releases".to_owned(),
            disk_bytes_max: 2 * 1024 * 1024 * 1024,
            keep: 3,
            trial_ms: 60_000,
        }
    }
}

/// Longest trial of a new program, in milliseconds.
const TRIAL_MS: std::ops::RangeInclusive<u64> = 1000..=3_600_000;
/// Most trusted keys, and most programs that are kept.
const TRUSTED_KEYS_MAX: usize = 64;
const KEEP_MAX: u32 = 100;

/// How many blocks a node keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RetainText", into = "RetainText")]
pub enum Retain {
    /// Every one.
    All,
    /// At least so many of the last ones.
    Last(u64),
}

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum RetainText {
    Number(u64),
    Word(String),
}

impl From<Retain> for RetainText {
    fn from(retain: Retain) -> Self {
        match retain {
            Retain::All => Self::Word("all".to_owned()),
            Retain::Last(blocks) => Self::Number(blocks),
        }
    }
}

impl TryFrom<RetainText> for Retain {
    type Error = String;

    fn try_from(text: RetainText) -> Result<Self, String> {
        match text {
            RetainText::Number(blocks) => Ok(Self::Last(blocks)),
            RetainText::Word(word) if word == "all" => Ok(Self::All),
            RetainText::Word(word) => Err(format!(
                "retain_blocks = \"{word}\"; help: use a number of blocks, or \"all\""
            )),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            durable: true,
            disk_bytes_max: 16 * 1024 * 1024 * 1024,
            segment_bytes: 64 * 1024 * 1024,
            retain_blocks: Retain::Last(1000),
        }
    }
}

/// Smaller files cost more than they free, and positions within larger ones do not fit their 32 bits.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Everything that is wrong with a configuration, found at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

impl NodeConfig {
    /// Reads and checks the text of a `node.toml`.
    ///
    /// # Errors
    /// All problems at once, each with what to do about it.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigErrors(vec![error.to_string()]))?;
        config.check()?;
        Ok(config)
    }

    /// The text that [`NodeConfig::parse`] reads.
    ///
    /// # Errors
    /// When a value has no TOML form, which a parsed configuration never has.
    pub fn to_toml(&self) -> Result<String, ConfigErrors> {
        toml::to_string(self).map_err(|error| ConfigErrors(vec![error.to_string()]))
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// All problems at once, each with what to do about it.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let mut problems = Vec::new();
        if self.p2p_port == self.http_port {
            problems.push(format!(
                "p2p_port and http_port are both {}; help: use two ports",
                self.p2p_port
            ));
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.store.segment_bytes) {
            problems.push(format!(
                "segment_bytes = {}; help: use {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}",
                self.store.segment_bytes
            ));
        }
        self.check_peers(&mut problems);
        self.check_upgrade(&mut problems);
        if !ClockConfig::RATE_PERMILLE.contains(&self.testing.clock.rate_permille) {
            problems.push(format!(
                "testing.clock.rate_permille = {}; help: use {} to {}",
                self.testing.clock.rate_permille,
                ClockConfig::RATE_PERMILLE.start(),
                ClockConfig::RATE_PERMILLE.end()
            ));
        }
        if self.instances.is_empty() {
            problems.push("no [[instance]]; help: name at least one consensus instance".to_owned());
        }
        if self.instances.len() > limits::INSTANCES_MAX {
            let (count, most) = (self.instances.len(), limits::INSTANCES_MAX);
            problems.push(format!("{count} instances; help: a node runs at most {most}"));
        }
        let mut ids = BTreeSet::new();
        for instance in &self.instances {
            if !ids.insert(&instance.id) {
                problems.push(format!("instance `{}` is listed twice; help: keep one", instance.id));
            }
            instance.check(&mut problems);
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors(problems))
        }
    }

    fn check_upgrade(&self, problems: &mut Vec<String>) {
        let upgrade = &self.upgrade;
        let keys: BTreeSet<&PublicKey> = upgrade.trusted_keys.iter().collect();
        if keys.len() != upgrade.trusted_keys.len() || keys.len() > TRUSTED_KEYS_MAX {
            problems.push(format!(
                "upgrade.trusted_keys: help: list at most {TRUSTED_KEYS_MAX} keys, each once"
            ));
        }
        if !upgrade.is_off() && !(1..=keys.len() as u64).contains(&u64::from(upgrade.threshold)) {
            problems.push(format!(
                "upgrade.threshold = {}; help: use 1 to {}, the number of trusted keys",
                upgrade.threshold,
                keys.len()
            ));
        }
        if !(1..=KEEP_MAX).contains(&upgrade.keep) {
            problems.push(format!("upgrade.keep = {}; help: use 1 to {KEEP_MAX}", upgrade.keep));
        }
        if !TRIAL_MS.contains(&upgrade.trial_ms) {
            let (least, most) = (TRIAL_MS.start(), TRIAL_MS.end());
            problems.push(format!(
                "upgrade.trial_ms = {}; help: use {least} to {most}",
                upgrade.trial_ms
            ));
        }
        if upgrade.store.is_empty() || upgrade.store == self.data_dir {
            problems.push(format!(
                "upgrade.store = \"{}\"; help: name a folder of its own",
                upgrade.store
            ));
        }
    }

    fn check_peers(&self, problems: &mut Vec<String>) {
        if self.peers.len() > limits::PEERS_MAX {
            problems.push(format!(
                "{} peers; help: a node has at most {}",
                self.peers.len(),
                limits::PEERS_MAX
            ));
        }
        let mut keys = BTreeSet::new();
        for peer in &self.peers {
            if !keys.insert(peer.key) {
                problems.push(format!(
                    "peer `{}` has a key that another peer has; help: list each peer once",
                    peer.name
                ));
            }
            if peer.address == SocketAddr::new(self.ip, self.p2p_port) {
                problems.push(format!(
                    "peer `{}` is this node's own address; help: remove it",
                    peer.name
                ));
            }
        }
        for link in &self.testing.links {
            if !keys.remove(&link.peer) {
                let peer = link.peer.short();
                problems.push(format!(
                    "testing.link: {peer} is no peer, or is listed twice; help: list each peer at most once"
                ));
            }
            problems.extend(link.shape.problem().map(|problem| format!("testing.link: {problem}")));
        }
    }
}

impl InstanceConfig {
    fn check(&self, problems: &mut Vec<String>) {
        let id = &self.id;
        if self.validators.is_empty() || self.validators.len() > limits::VALIDATORS_MAX {
            problems.push(format!(
                "instance `{id}`: help: list 1 to {} validators",
                limits::VALIDATORS_MAX
            ));
        }
        if self.batch_bytes == 0 || self.batch_bytes > limits::BATCH_BYTES_MAX - limits::TRANSACTION_BYTES_MAX {
            let most = limits::BATCH_BYTES_MAX - limits::TRANSACTION_BYTES_MAX;
            problems.push(format!(
                "instance `{id}`: batch_bytes = {}; help: use 1 to {most}",
                self.batch_bytes
            ));
        }
        if self.round_timeout_ms == 0 || self.round_timeout_ms_max < self.round_timeout_ms {
            problems.push(format!(
                "instance `{id}`: help: 1 <= round_timeout_ms <= round_timeout_ms_max"
            ));
        }
        if self.silent_heights > SILENT_HEIGHTS_MAX {
            problems.push(format!(
                "instance `{id}`: silent_heights is {}; help: at most {SILENT_HEIGHTS_MAX}, or 0 to wait for a leader at \
                 every turn",
                self.silent_heights
            ));
        }
        let snapshots = self.snapshots.problem();
        problems.extend(snapshots.map(|problem| format!("instance `{id}`: {problem}")));
        let mut keys = BTreeSet::new();
        for validator in &self.validators {
            if validator.weight == 0 {
                problems.push(format!(
                    "instance `{id}`: validator {} has weight 0; help: remove it",
                    validator.key.short()
                ));
            }
            if !keys.insert(validator.key) {
                problems.push(format!(
                    "instance `{id}`: validator {} is listed twice; help: keep one",
                    validator.key.short()
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LinkShape, ShapedLink};

    fn sample() -> NodeConfig {
        let key = |byte| PublicKey([byte; 32]);
        NodeConfig {
            chain: "test".parse().unwrap(),
            name: "val-0".to_owned(),
            key_file: "key.pem".to_owned(),
            data_dir: "data".to_owned(),
            ip: "127.60.0.1".parse().unwrap(),
            p2p_port: 7000,
            http_port: 7001,
            relay_votes: true,
            mempool: MempoolConfig::default(),
            store: StoreConfig::default(),
            upgrade: UpgradeConfig::default(),
            testing: TestingConfig::default(),
            instances: vec![InstanceConfig {
                id: "main".parse().unwrap(),
                block_interval_ms: 10,
                empty_blocks: false,
                round_timeout_ms: 500,
                round_timeout_ms_max: 1000,
                silent_heights: 5,
                batch_bytes: 1000,
                batch_delay_ms: 4,
                vote_topology: VoteTopology::Relay,
                snapshots: SnapshotConfig::default(),
                validators: vec![ValidatorConfig { key: key(1), weight: 1 }],
            }],
            peers: vec![PeerConfig {
                name: "val-1".to_owned(),
                key: key(2),
                address: "127.60.0.2:7000".parse().unwrap(),
            }],
        }
    }

    #[test]
    fn text_round_trips() {
        let mut config = sample();
        assert_eq!(NodeConfig::parse(&config.to_toml().unwrap()), Ok(config.clone()));
        config.instances[0].snapshots = SnapshotConfig::OFF;
        config.store.retain_blocks = Retain::All;
        assert_eq!(NodeConfig::parse(&config.to_toml().unwrap()), Ok(config));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut config = sample();
        config.http_port = 7000;
        config.peers.push(config.peers[0].clone());
        config.instances[0].validators[0].weight = 0;
        config.instances[0].batch_bytes = 0;
        config.instances[0].silent_heights = SILENT_HEIGHTS_MAX + 1;
        config.instances[0].snapshots.keep = 1;
        config.testing.clock.rate_permille = 0;
        config.testing.links = vec![ShapedLink {
            peer: PublicKey([9; 32]),
            shape: LinkShape {
                rate_bits: 1,
                ..LinkShape::default()
            },
        }];
        let errors = config.check().unwrap_err();
        assert_eq!(errors.0.len(), 9, "{errors}");
        assert!(errors.0.iter().all(|problem| problem.contains("help: ")), "{errors}");
    }

    #[test]
    fn a_node_runs_so_many_instances_and_no_more() {
        let mut config = sample();
        let one = config.instances.remove(0);
        for index in 0..=limits::INSTANCES_MAX {
            assert_eq!(config.check().is_ok(), index > 0, "{index}");
            let id = format!("i-{index}").parse().unwrap();
            config.instances.push(InstanceConfig { id, ..one.clone() });
        }
        let errors = config.check().unwrap_err();
        assert!(errors.0[0].contains("65 instances"), "{errors}");
    }

    #[test]
    fn blocks_are_retained_by_number_or_all_and_nothing_else() {
        let text = |value: &str| sample().to_toml().unwrap().replace("retain_blocks = 1000", value);
        let retain = |value: &str| NodeConfig::parse(&text(value)).map(|config| config.store.retain_blocks);
        assert_eq!(retain("retain_blocks = \"all\""), Ok(Retain::All));
        assert_eq!(retain("retain_blocks = 7"), Ok(Retain::Last(7)));
        for wrong in ["retain_blocks = \"none\"", "retain_blocks = -1", "segment_bytes = 1"] {
            assert!(retain(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let text = sample().to_toml().unwrap().replace("relay_votes", "relay_voltes");
        let error = NodeConfig::parse(&text).unwrap_err().to_string();
        assert!(error.contains("relay_voltes") && error.contains("line"), "{error}");
    }
}
