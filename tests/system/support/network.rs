//! A network of nodes wired and started by hand, without the lab.

use super::{
    process::{Running, run},
    programs,
    subnet::Subnet,
    wait::until,
};
use nix::sys::signal::Signal;
use regatta_api::{
    config::{
        InstanceConfig, MempoolConfig, NodeConfig, PeerConfig, SnapshotConfig, StoreConfig, ValidatorConfig,
        VoteTopology,
    },
    view::{BlockSummary, Latest, PeerView, Readiness, SubmitRequest, SubmitResponse, TransactionStatus},
};
use regatta_apps::{Domain, transaction};
use regatta_base::{Height, HexBytes, PublicKey, SecretKey, TransactionId};
use regatta_client::{Client, ClientError};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const P2P_PORT: u16 = 7000;
const HTTP_PORT: u16 = 7001;

/// Nodes, validators first. Every process ends with this value.
pub struct Network {
    folder: TempDir,
    runtime: tokio::runtime::Runtime,
    pub nodes: Vec<Node>,
}

/// One node and, when it runs, its process.
pub struct Node {
    pub config: NodeConfig,
    pub key: SecretKey,
    pub process: Option<Running>,
    starts: u32,
}

impl Node {
    pub fn http(&self) -> SocketAddr {
        SocketAddr::new(self.config.ip, self.config.http_port)
    }

    pub fn p2p(&self) -> SocketAddr {
        SocketAddr::new(self.config.ip, self.config.p2p_port)
    }

    /// The row that another node lists this one with.
    pub fn as_peer(&self) -> PeerConfig {
        PeerConfig {
            name: self.config.name.clone(),
            key: self.key.public(),
            address: self.p2p(),
        }
    }
}

impl Network {
    /// Validators linked with each other, and full nodes linked with the first two of them. Nothing runs yet.
    pub fn new(validators: u8, full: u8) -> Self {
        let subnet = Subnet::take();
        let keys: Vec<SecretKey> = (0..validators + full)
            .map(|index| SecretKey::from_seed([index + 1; 32]))
            .collect();
        let set: Vec<PublicKey> = keys[..usize::from(validators)].iter().map(SecretKey::public).collect();
        let node = |index: u8| Node {
            config: config(index, validators, subnet, &set),
            key: SecretKey::from_seed([index + 1; 32]),
            process: None,
            starts: 0,
        };
        let mut nodes: Vec<Node> = (0..validators + full).map(node).collect();
        let rows: Vec<PeerConfig> = nodes.iter().map(Node::as_peer).collect();
        let linked = |a: usize, b: usize| {
            let (low, high) = (a.min(b), a.max(b));
            low != high && (high < usize::from(validators) || low < 2)
        };
        for (index, node) in nodes.iter_mut().enumerate() {
            let peers = rows.iter().enumerate().filter(|(other, _)| linked(index, *other));
            node.config.peers = peers.map(|(_, row)| row.clone()).collect();
        }
        Self {
            folder: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            nodes,
        }
    }

    /// Starts every node and waits until all take transactions.
    pub fn started(mut self) -> Self {
        for index in 0..self.nodes.len() {
            self.start(index);
        }
        for index in 0..self.nodes.len() {
            self.wait_ready(index);
        }
        self
    }

    pub fn folder(&self, index: usize) -> PathBuf {
        self.folder.path().join(&self.nodes[index].config.name)
    }

    /// Writes a node's files and starts it.
    pub fn start(&mut self, index: usize) {
        let folder = self.folder(index);
        fs::create_dir_all(&folder).unwrap();
        let node = &mut self.nodes[index];
        fs::write(folder.join("node.toml"), node.config.to_toml().unwrap()).unwrap();
        write_private(&folder.join("key.pem"), &node.key.to_pem().unwrap());
        let parent = std::process::id().to_string();
        let config = folder.join("node.toml");
        let mut arguments = vec![
            "run",
            "--die-with-parent",
            &parent,
            "--config",
            config.to_str().unwrap(),
        ];
        if node.starts == 0 {
            arguments.push("--new");
        }
        node.starts += 1;
        let name = format!("start-{}", node.starts);
        node.process = Some(Running::start(programs::node(), &arguments, &folder, &name));
    }

    pub fn process(&mut self, index: usize) -> &mut Running {
        self.nodes[index].process.as_mut().expect("the node was started")
    }

    /// Stops a node in order.
    pub fn stop(&mut self, index: usize) {
        let process = self.nodes[index].process.take().expect("the node was started");
        process.signal(Signal::SIGTERM);
        process.wait().success();
    }

    /// Kills a node like a power cut.
    pub fn kill(&mut self, index: usize) {
        let process = self.nodes[index].process.take().expect("the node was started");
        process.signal(Signal::SIGKILL);
        assert_eq!(process.wait().signal(), Some(Signal::SIGKILL as i32));
    }

    pub fn client(&self, index: usize) -> Client {
        Client::new(self.nodes[index].http())
    }

    /// Waits for an answer.
    pub fn ask<T>(&self, question: impl Future<Output = Result<T, ClientError>>) -> Result<T, String> {
        self.runtime.block_on(question).map_err(|error| error.to_string())
    }

    pub fn wait_ready(&mut self, index: usize) -> Readiness {
        let client = self.client(index);
        let name = self.nodes[index].config.name.clone();
        until(&format!("{name} to be ready with all links"), || {
            if self.process(index).has_ended() {
                let log = self.process(index).stderr();
                panic!("{name} ended:\n{log}");
            }
            let answer = self.ask(client.readiness())?;
            let linked = answer.peers_connected == answer.peers_configured;
            if answer.ready && linked {
                Ok(answer)
            } else {
                Err(format!("{answer:?}"))
            }
        })
    }

    pub fn latest(&self, index: usize) -> Latest {
        self.ask(self.client(index).latest()).unwrap()
    }

    pub fn height(&self, index: usize) -> Height {
        self.latest(index).instances[0].height
    }

    pub fn peers(&self, index: usize) -> Vec<PeerView> {
        self.ask(self.client(index).peers()).unwrap()
    }

    pub fn metrics(&self, index: usize) -> BTreeMap<String, f64> {
        self.ask(self.client(index).metrics()).unwrap()
    }

    /// Signs a transaction that puts `value` under `key`.
    pub fn put(&self, sender: &SecretKey, sequence: u64, key: &str, value: &str) -> HexBytes {
        let config = &self.nodes[0].config;
        let domain = Domain::new(&config.chain, &config.instances[0].id);
        HexBytes(transaction::put(
            &domain,
            sender,
            sequence,
            key.as_bytes(),
            value.as_bytes(),
        ))
    }

    pub fn submit(&self, index: usize, transactions: Vec<HexBytes>) -> Result<SubmitResponse, String> {
        let request = SubmitRequest {
            instance: None,
            transactions,
        };
        self.ask(self.client(index).submit(&request))
    }

    /// Submits a transaction that must be acknowledged.
    pub fn acknowledged(&self, index: usize, transaction: HexBytes) -> TransactionId {
        let response = self.submit(index, vec![transaction]).unwrap();
        let result = &response.results[0];
        assert_eq!(result.rejected, None, "refused by {}", self.nodes[index].config.name);
        result.id.unwrap()
    }

    /// Waits until a node has executed a transaction.
    pub fn wait_executed(&self, index: usize, id: &TransactionId) -> TransactionStatus {
        until(&format!("{id} to be executed"), || {
            let status = self.ask(self.client(index).status(id))?;
            match status {
                TransactionStatus::Executed { .. } => Ok(status),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// Waits until every running node has the blocks of the one that is farthest now, and checks that they are equal.
    pub fn assert_agreement(&self) -> Height {
        let running: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].process.is_some())
            .collect();
        // A node that becomes another program answers nobody for a moment.
        let height = |index: &usize| {
            let name = &self.nodes[*index].config.name;
            let latest = until(&format!("{name} to say its height"), || {
                self.ask(self.client(*index).latest())
            });
            latest.instances[0].height
        };
        let top = running.iter().map(height).max().unwrap();
        let first = self.blocks(running[0], top);
        for index in &running[1..] {
            assert_eq!(
                self.blocks(*index, top),
                first,
                "{} has another ledger",
                self.nodes[*index].config.name
            );
        }
        top
    }

    /// Hashes and state roots of the blocks up to `top`, once the node has them.
    fn blocks(&self, index: usize, top: Height) -> Vec<BlockSummary> {
        until(
            &format!("{} to have block {top}", self.nodes[index].config.name),
            || {
                let mut blocks = Vec::new();
                while (blocks.len() as u64) < top {
                    let from = blocks.len() as u64 + 1;
                    let range = self.ask(self.client(index).blocks(from, 500))?;
                    if range.blocks.is_empty() {
                        return Err(format!("{} blocks", blocks.len()));
                    }
                    blocks.extend(range.blocks);
                }
                blocks.truncate(usize::try_from(top).unwrap());
                Ok(blocks)
            },
        )
    }

    /// Runs a command of `regatta-node` against node `index`.
    pub fn command(&self, index: usize, arguments: &[&str]) -> super::process::Ended {
        let to = self.nodes[index].http().to_string();
        run(programs::node(), &[arguments, &["--to", &to]].concat())
    }
}

fn config(index: u8, validators: u8, subnet: Subnet, set: &[PublicKey]) -> NodeConfig {
    let name = if index < validators {
        format!("val-{index}")
    } else {
        format!("full-{}", index - validators)
    };
    NodeConfig {
        chain: "by-hand".parse().unwrap(),
        name,
        key_file: "key.pem".to_owned(),
        data_dir: "data".to_owned(),
        ip: IpAddr::V4(subnet.address(index)),
        p2p_port: P2P_PORT,
        http_port: HTTP_PORT,
        relay_votes: true,
        mempool: MempoolConfig::default(),
        store: StoreConfig::default(),
        upgrade: Default::default(),
        testing: Default::default(),
        instances: vec![InstanceConfig {
            id: "main".parse().unwrap(),
            block_interval_ms: 20,
            empty_blocks: false,
            round_timeout_ms: 500,
            round_timeout_ms_max: 5000,
            silent_heights: 1,
            batch_bytes: 256 * 1024,
            batch_delay_ms: 4,
            vote_topology: VoteTopology::Relay,
            snapshots: SnapshotConfig::default(),
            validators: set.iter().map(|key| ValidatorConfig { key: *key, weight: 1 }).collect(),
        }],
        peers: Vec::new(),
    }
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
