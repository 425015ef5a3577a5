//! What a world is made of.

use crate::{Costs, DiskModel, MachineModel, NetworkModel};
use regatta_api::NodeConfig;
use regatta_base::SecretKey;
use regatta_core::NodeError;

/// One host with its node.
#[derive(Debug, Clone)]
pub struct HostSetup {
    /// Configuration of the node; its peers must be other hosts' keys.
    pub config: NodeConfig,
    /// Key of the node.
    pub secret: SecretKey,
    /// Position of its region in [`NetworkModel::delay_ns`].
    pub region: usize,
    /// Not started with the others: [`crate::World::start`] starts it.
    pub late: bool,
}

/// Everything that a world is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The hosts; a host's index is its position.
    pub hosts: Vec<HostSetup>,
    /// The links between them and to clients.
    pub network: NetworkModel,
    /// Their processors.
    pub machine: MachineModel,
    /// Their disks.
    pub disk: DiskModel,
    /// What handling costs.
    pub costs: Costs,
    /// Seed of everything random.
    pub seed: u64,
}

/// Why there is no such world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// A node does not start.
    #[error("node `{name}`: {error}")]
    Node {
        /// The node.
        name: String,
        /// What it says.
        error: NodeError,
    },
    /// A peer is no host of this world, or does not know the other side.
    #[error("node `{name}` has a peer `{peer}` that is no host of this world or does not have it as a peer")]
    Peer {
        /// The node.
        name: String,
        /// Its peer.
        peer: String,
    },
    /// A region has no row in the matrix of delays.
    #[error("node `{name}` is in region {region}, and there are {regions}")]
    Region {
        /// The node.
        name: String,
        /// Its region.
        region: usize,
        /// Rows of the matrix.
        regions: usize,
    },
}
