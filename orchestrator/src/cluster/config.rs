//! From a plan to the files that each node reads at start: its configuration and its key.

use crate::{
    rundir::RunDir,
    seal::{KeyFileError, write_key},
};
use regatta_api::{
    config::{
        ConfigErrors, InstanceConfig, MempoolConfig, NodeConfig, PeerConfig, Retain, SILENT_HEIGHTS, SnapshotConfig,
        StoreConfig, UpgradeConfig, ValidatorConfig, VoteTopology,
    },
    testing::{Behaviour, LinkShape, ShapedLink, TestingConfig},
};
use regatta_base::{ChainId, PublicKey, SecretKey, ids::NameError, seed};
use regatta_plan::{
    LinkConditions, Plan, PlannedFault, PlannedInstance, PlannedNode,
    scenario::{self, ProviderKind},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// Longest round of consensus in milliseconds, whatever the base of the timeout.
const ROUND_TIMEOUT_MS_MAX: u64 = 60_000;

/// Why a plan has no node configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A name is no name on a chain.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The configuration does not pass its own checks.
    #[error("configuration of `{node}`: {errors}")]
    Refused {
        /// The node.
        node: String,
        /// What is wrong.
        errors: ConfigErrors,
    },
    /// A file cannot be written.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The key file cannot be written.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// The network's name: that of the scenario.
///
/// # Errors
/// [`NameError`] when the scenario's name is none that a chain may have.
pub(crate) fn chain(plan: &Plan) -> Result<ChainId, NameError> {
    plan.name.parse()
}

/// The development key of a node, from the scenario's seed: whoever has the scenario has the key.
pub(crate) fn node_key(plan: &Plan, node: &PlannedNode) -> SecretKey {
    SecretKey::from_seed(seed::bytes(plan.seed, &format!("node/{}", node.name)))
}

/// Configurations of all nodes, in plan order.
///
/// # Errors
/// [`ConfigError`] names the node whose configuration is refused.
pub(crate) fn node_configs(plan: &Plan) -> Result<Vec<NodeConfig>, ConfigError> {
    let keys: Vec<PublicKey> = plan.nodes.iter().map(|node| node_key(plan, node).public()).collect();
    let instances: Vec<(&PlannedInstance, bool, InstanceConfig)> = plan
        .instances
        .iter()
        .map(|instance| {
            let needs_relays = !validators_connected(plan, instance);
            Ok((instance, needs_relays, instance_config(plan, instance, &keys)?))
        })
        .collect::<Result<_, NameError>>()?;
    let config = |node: &PlannedNode| -> Result<NodeConfig, ConfigError> {
        let own = || instances.iter().filter(|(instance, ..)| instance.runs(node.index));
        let votes_everywhere = own().all(|(instance, ..)| instance.votes(node.index));
        let config = NodeConfig {
            chain: chain(plan)?,
            name: node.name.clone(),
            key_file: "key.pem".to_owned(),
            data_dir: format!("../../data/{}", node.name),
            ip: IpAddr::V4(node.address),
            p2p_port: node.p2p_port,
            http_port: node.http_port,
            relay_votes: votes_everywhere || own().any(|(_, needs_relays, _)| *needs_relays),
            mempool: MempoolConfig {
                transactions_max: plan.node.mempool_transactions as usize,
                bytes_max: plan.node.mempool_bytes.0 as usize,
                per_sender_max: plan.node.mempool_per_sender as usize,
            },
            store: StoreConfig {
                durable: plan.node.durable,
                disk_bytes_max: plan.budget.disk_bytes,
                // The checks read every block that somebody keeps.
                retain_blocks: match plan.node.keep_blocks.filter(|_| !node.archive) {
                    Some(blocks) => Retain::Last(blocks.into()),
                    None => Retain::All,
                },
                segment_bytes: plan.node.journal_file.0,
            },
            upgrade: UpgradeConfig::default(),
            testing: TestingConfig {
                behaviour: behaviour(node),
                faults: takes_orders(plan),
                uplink_bits: uplink(plan),
                links: links(plan, node, &keys),
                ..TestingConfig::default()
            },
            instances: own().map(|(.., config)| config.clone()).collect(),
            peers: peers(plan, node, &keys),
        };
        let node = node.name.clone();
        config.check().map_err(|errors| ConfigError::Refused { node, errors })?;
        Ok(config)
    };
    debug_assert!(
        plan.nodes
            .iter()
            .zip(0..)
            .all(|(node, position)| node.index == position)
    );
    plan.nodes.iter().map(config).collect()
}

fn behaviour(node: &PlannedNode) -> Behaviour {
    match node.behaviour {
        scenario::Behaviour::Honest => Behaviour::Honest,
        scenario::Behaviour::Equivocate => Behaviour::Equivocate,
        scenario::Behaviour::Silent => Behaviour::Silent,
        scenario::Behaviour::Delay => Behaviour::Delay,
    }
}

fn instance_config(plan: &Plan, instance: &PlannedInstance, keys: &[PublicKey]) -> Result<InstanceConfig, NameError> {
    let validator = |&(node, weight): &(u32, u64)| ValidatorConfig {
        key: keys[node as usize],
        weight,
    };
    Ok(InstanceConfig {
        id: instance.id.parse()?,
        block_interval_ms: instance.block_interval_ms,
        empty_blocks: instance.empty_blocks,
        round_timeout_ms: instance.round_timeout_ms,
        round_timeout_ms_max: ROUND_TIMEOUT_MS_MAX.max(instance.round_timeout_ms),
        silent_heights: instance.silent_heights.unwrap_or(SILENT_HEIGHTS),
        batch_bytes: plan.node.batch_bytes.0 as usize,
        batch_delay_ms: plan.node.batch_delay.millis(),
        vote_topology: match instance.vote_topology {
            scenario::VoteTopology::AllToAll => VoteTopology::AllToAll,
            scenario::VoteTopology::Relay => VoteTopology::Relay,
            scenario::VoteTopology::LeaderAggregate => VoteTopology::LeaderAggregate,
        },
        snapshots: snapshots(plan),
        validators: instance.validators.iter().map(validator).collect(),
    })
}

/// When snapshots are written and fetched. Without any, a node that is far behind fetches the blocks all the same.
fn snapshots(plan: &Plan) -> SnapshotConfig {
    let node = &plan.node;
    if node.snapshot_interval == 0 {
        return SnapshotConfig::OFF;
    }
    SnapshotConfig {
        interval: node.snapshot_interval.into(),
        lag: node.snapshot_lag.into(),
        keep: node.keep_snapshots.into(),
    }
}

fn peers(plan: &Plan, node: &PlannedNode, keys: &[PublicKey]) -> Vec<PeerConfig> {
    let peer = |index: u32| {
        let peer = &plan.nodes[index as usize];
        PeerConfig {
            name: peer.name.clone(),
            key: keys[index as usize],
            address: SocketAddr::new(IpAddr::V4(peer.address), peer.p2p_port),
        }
    };
    plan.peers(node.index).into_iter().map(peer).collect()
}

/// What all links of a node carry together, in bits per second; 0 where nothing but the machine limits it.
fn uplink(plan: &Plan) -> u64 {
    let links = plan.links.as_ref().filter(|_| plan.provider.has_links_made_by_nodes());
    links.and_then(|links| links.rate_bits).unwrap_or(0)
}

/// What the node makes of its links, where the scenario gives them conditions and nothing else makes them.
fn links(plan: &Plan, node: &PlannedNode, keys: &[PublicKey]) -> Vec<ShapedLink> {
    let made_here = plan.provider.has_links_made_by_nodes();
    let peers = plan.peers(node.index).into_iter().filter(|_| made_here);
    let link = |peer: u32| {
        let shape = shape(plan.conditions(node.index, peer)?);
        let peer = keys[peer as usize];
        (shape != LinkShape::default()).then_some(ShapedLink { peer, shape })
    };
    peers.filter_map(link).collect()
}

/// The link's conditions as the sending node makes them.
pub(crate) fn shape(conditions: LinkConditions) -> LinkShape {
    LinkShape {
        delay_us: conditions.delay_ns.div_ceil(1000),
        jitter_ppm: conditions.jitter_ppm,
        loss_ppm: conditions.loss_ppm,
        rate_bits: conditions.rate_bits.unwrap_or(0),
    }
}

/// Whether nodes of this plan make faults themselves, by order.
pub(crate) fn takes_orders(plan: &Plan) -> bool {
    // Between namespaces the switch makes faults of links, and nodes need know nothing of them.
    let links = plan.provider != ProviderKind::Netns;
    let ordered = |fault: &PlannedFault| (links && fault.kind.is_on_links()) || fault.kind.is_made_by_node();
    plan.faults.iter().any(ordered)
}

/// Whether the validators of `instance` reach each other over links between validators alone. Then votes need no
/// relay through full nodes.
fn validators_connected(plan: &Plan, instance: &PlannedInstance) -> bool {
    let mut unreached: BTreeSet<u32> = instance.validators.iter().map(|(node, _)| *node).collect();
    let Some(first) = unreached.pop_first() else {
        return true;
    };
    let mut pending = vec![first];
    while let Some(node) = pending.pop() {
        for peer in plan.peers(node) {
            if unreached.remove(&peer) {
                pending.push(peer);
            }
        }
    }
    unreached.is_empty()
}

/// Writes `config/<node>/node.toml` and `key.pem` of every node.
///
/// # Errors
/// [`ConfigError`] names the file that cannot be written.
pub(crate) fn write_configs(
    plan: &Plan,
    run: &RunDir,
    trusted: &BTreeMap<u32, Vec<PublicKey>>,
) -> Result<(), ConfigError> {
    for (node, mut config) in plan.nodes.iter().zip(node_configs(plan)?) {
        if let Some(keys) = trusted.get(&node.index) {
            config.upgrade.trusted_keys.clone_from(keys);
            config.upgrade.store = format!("../../data/{}/releases", node.name);
        }
        let folder = run.config(&node.name);
        let file = |path: PathBuf| |error| ConfigError::File { path, error };
        std::fs::create_dir_all(&folder).map_err(file(folder.clone()))?;
        let data = run.data(&node.name);
        std::fs::create_dir_all(&data).map_err(file(data.clone()))?;
        let text = config.to_toml().map_err(|errors| ConfigError::Refused {
            node: node.name.clone(),
            errors,
        })?;
        let path = folder.join("node.toml");
        std::fs::write(&path, text).map_err(file(path.clone()))?;
        write_key(&folder.join("key.pem"), &node_key(plan, node))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, plan};
    use regatta_plan::{PlannedDirection, scenario::Role};
    use std::os::unix::fs::PermissionsExt;

    /// Two validators that only meet through a full node.
    fn split_plan() -> Plan {
        let mut plan = plan(2);
        plan.nodes.push(node(2, "full", Role::Full));
        plan.instances[0].followers = vec![2];
        plan.edges = vec![(0, 2), (1, 2)];
        plan
    }

    #[test]
    fn every_node_knows_its_neighbours_and_no_others() {
        let plan = split_plan();
        let configs = node_configs(&plan).unwrap();
        let names =
            |index: usize| -> Vec<&str> { configs[index].peers.iter().map(|peer| peer.name.as_str()).collect() };
        assert_eq!(names(0), ["full-2"]);
        assert_eq!(names(2), ["val-0", "val-1"]);
        assert_eq!(configs[0].peers[0].key, node_key(&plan, &plan.nodes[2]).public());
        assert_eq!(configs[0].peers[0].address, "127.199.7.3:7000".parse().unwrap());
        assert_eq!(configs[2].instances[0].validators.len(), 2);
    }

    #[test]
    fn silence_is_the_scenarios_or_the_nodes_own_and_no_more_than_a_node_accepts() {
        let mut plan = plan(1);
        let silence = |plan: &Plan| node_configs(plan).map(|configs| configs[0].instances[0].silent_heights);
        assert_eq!(silence(&plan).unwrap(), SILENT_HEIGHTS);
        plan.instances[0].silent_heights = Some(0);
        assert_eq!(silence(&plan).unwrap(), 0);
        // The check of scenarios has the same limit.
        plan.instances[0].silent_heights = Some(1_000_000);
        assert_eq!(silence(&plan).unwrap(), 1_000_000);
        plan.instances[0].silent_heights = Some(1_000_001);
        assert!(silence(&plan).is_err());
    }

    #[test]
    fn each_end_of_a_link_makes_its_own_direction() {
        let mut plan = split_plan();
        let own = PlannedDirection {
            from: vec![2],
            to: vec![0, 1],
            delay_ns: Some(7_000_000),
            loss_ppm: Some(10_000),
            rate_bits: Some(2_000_000),
            ..PlannedDirection::default()
        };
        plan.links = Some(regatta_plan::PlannedLinks {
            delay_ns: vec![vec![3_000_000]],
            directions: vec![own],
            ..crate::testing::links()
        });
        let configs = node_configs(&plan).unwrap();
        let shapes = |index: usize| -> Vec<LinkShape> {
            let links = configs[index].testing.links.iter();
            links.map(|link| link.shape).collect()
        };
        let common = LinkShape {
            delay_us: 3000,
            ..LinkShape::default()
        };
        let own = LinkShape {
            delay_us: 7000,
            loss_ppm: 10_000,
            rate_bits: 2_000_000,
            ..LinkShape::default()
        };
        assert_eq!(
            (shapes(0), shapes(1), shapes(2)),
            (vec![common], vec![common], vec![own; 2])
        );
    }

    #[test]
    fn full_nodes_relay_votes_only_where_validators_need_them() {
        let mut plan = split_plan();
        assert!(node_configs(&plan).unwrap()[2].relay_votes);
        plan.edges.push((0, 1));
        let configs = node_configs(&plan).unwrap();
        assert!(!configs[2].relay_votes && configs[0].relay_votes);
    }

    #[test]
    fn a_node_is_told_of_the_instances_that_it_runs() {
        let mut plan = split_plan();
        plan.edges.push((0, 1));
        let mut side = plan.instances[0].clone();
        (side.id, side.validators, side.followers) = ("side".to_owned(), vec![(0, 1)], vec![2]);
        plan.instances[0].followers = Vec::new();
        plan.instances.push(side);
        let configs = node_configs(&plan).unwrap();
        let runs = |node: usize| -> Vec<&str> { configs[node].instances.iter().map(|one| one.id.as_str()).collect() };
        assert_eq!(
            (runs(0), runs(1), runs(2)),
            (vec!["main", "side"], vec!["main"], vec!["side"])
        );
    }

    #[test]
    fn keys_follow_from_the_seed_and_differ_by_node() {
        let mut plan = plan(2);
        let first = node_key(&plan, &plan.nodes[0]).public();
        assert_eq!(node_key(&plan, &plan.nodes[0]).public(), first);
        assert_ne!(node_key(&plan, &plan.nodes[1]).public(), first);
        plan.seed += 1;
        assert_ne!(node_key(&plan, &plan.nodes[0]).public(), first);
    }

    #[test]
    fn snapshots_and_what_is_kept_are_as_the_scenario_says() {
        let mut plan = plan(3);
        let config = node_configs(&plan).unwrap().remove(0);
        assert_eq!(config.instances[0].snapshots, SnapshotConfig::OFF);
        assert_eq!(config.store.retain_blocks, Retain::All);
        (plan.node.snapshot_interval, plan.node.snapshot_lag) = (50, 20);
        (plan.node.keep_snapshots, plan.node.keep_blocks) = (3, Some(40));
        plan.node.journal_file = regatta_plan::units::Size(1 << 17);
        plan.nodes[2].archive = true;
        let configs = node_configs(&plan).unwrap();
        let expected = SnapshotConfig {
            interval: 50,
            lag: 20,
            keep: 3,
        };
        assert!(
            configs
                .iter()
                .all(|config| config.instances[0].snapshots == expected && config.store.segment_bytes == 1 << 17)
        );
        let retained: Vec<Retain> = configs.iter().map(|config| config.store.retain_blocks).collect();
        assert_eq!(retained, [Retain::Last(40), Retain::Last(40), Retain::All]);
    }

    #[test]
    fn written_files_are_what_a_node_reads() {
        let runs = tempfile::tempdir().unwrap();
        let plan = plan(3);
        let run = RunDir::create(runs.path(), &plan, "", 0).unwrap();
        write_configs(&plan, &run, &BTreeMap::new()).unwrap();
        let text = std::fs::read_to_string(run.config("val-1").join("node.toml")).unwrap();
        let config = NodeConfig::parse(&text).unwrap();
        assert_eq!(config, node_configs(&plan).unwrap()[1]);
        let key = run.config("val-1").join(&config.key_file);
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            run.config("val-1").join(&config.data_dir).canonicalize().unwrap(),
            run.data("val-1")
        );
    }

    #[test]
    fn a_configuration_that_a_node_would_refuse_is_refused_here() {
        let mut plan = plan(2);
        plan.nodes[1].http_port = plan.nodes[1].p2p_port;
        let error = node_configs(&plan).unwrap_err().to_string();
        assert!(error.contains("val-1") && error.contains("help:"), "{error}");
    }
}
