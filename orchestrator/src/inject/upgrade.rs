//! Upgrades over the air as faults: a release is made, told to one node, and the nodes do the rest.

use super::InjectError;
use crate::{
    cluster::{Cluster, ClusterError},
    seal::{Activation, Document, ReleaseError, Sealed},
};
use regatta_api::view::{Latest, ReleaseChunk, ReleaseOffer};
use regatta_base::{Digest, HexBytes};
use regatta_client::{Client, ClientError};
use regatta_plan::PlannedFault;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

/// For so long the network is looked at to see how fast its heights grow.
const PACE_TIME: Duration = Duration::from_secs(1);
/// Least and most heights between two batches of nodes; otherwise as many as [`PACE_TIME`] brings, so that a batch has that
/// time, whatever the machine.
const BATCH_BLOCKS: (u64, u64) = (4, 1000);
/// Pause between two looks at what the nodes run.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a network is not upgraded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// The plan names no build, or one that was not sealed.
    #[error("build `{0}` was not sealed before the nodes are to run it")]
    NotSealed(String),
    /// The release cannot be made.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The name of the network or of an instance is none.
    #[error(transparent)]
    Name(#[from] regatta_base::ids::NameError),
    /// The program cannot be read.
    #[error("the sealed program: {0}")]
    Program(#[from] io::Error),
    /// No node takes the release.
    #[error("no node takes the release; the last one said: {0}")]
    NotTaken(String),
    /// A node did not change its program in time.
    #[error("{} of {of} nodes do not run program {program} after {after_s} s:\n{}", .left.len(), .left.join("\n"))]
    NotUpgraded {
        /// Who, with what it says.
        left: Vec<String>,
        /// How many were to.
        of: usize,
        /// The program.
        program: String,
        /// How long was waited, in seconds.
        after_s: u64,
    },
}

/// What a node of the fault says of its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It runs the new one.
    Upgraded,
    /// It does not, or does not answer.
    Not(String),
}

/// Makes the release of a fault's build and brings it with its program to the first node that takes it.
pub(super) async fn release(cluster: &Cluster, fault: &PlannedFault) -> Result<(), InjectError> {
    let told = tell(cluster, fault).await;
    told.map_err(|error| InjectError::Upgrade {
        fault: fault.index,
        error,
    })
}

async fn tell(cluster: &Cluster, fault: &PlannedFault) -> Result<(), UpgradeError> {
    let sealed = sealed(cluster, fault)?;
    cluster.allow(&fault.nodes, sealed.program_digest());
    let mut last = "none was asked".to_owned();
    for &node in &fault.nodes {
        let client = cluster.client(node);
        let (height, pace) = match pace(&client).await {
            Ok(pace) => pace,
            Err(error) => {
                last = error.to_string();
                continue;
            }
        };
        let document = document(cluster, fault, sealed, (height, pace))?;
        match bring(&client, &document, sealed).await? {
            Ok(()) => return Ok(()),
            Err(refusal) => last = refusal,
        }
    }
    Err(UpgradeError::NotTaken(last))
}

/// How far a node is, and how many heights its network makes in [`PACE_TIME`].
async fn pace(client: &Client) -> Result<(u64, u64), ClientError> {
    let height = |latest: Latest| latest.instances.first().map_or(0, |instance| instance.height);
    let before = height(client.latest().await?);
    tokio::time::sleep(PACE_TIME).await;
    let after = height(client.latest().await?);
    Ok((after, after.saturating_sub(before)))
}

fn sealed<'a>(cluster: &'a Cluster, fault: &PlannedFault) -> Result<&'a Sealed, UpgradeError> {
    let build = fault.build.as_deref().unwrap_or_default();
    let sealed = cluster.build(build);
    sealed.ok_or_else(|| UpgradeError::NotSealed(build.to_owned()))
}

/// The signed release: soon after the present height, and for whatever build the fault names, also an older one.
fn document(
    cluster: &Cluster,
    fault: &PlannedFault,
    sealed: &Sealed,
    (height, pace): (u64, u64),
) -> Result<Document, UpgradeError> {
    let plan = cluster.plan();
    let instance = plan.instances.first().map_or("", |instance| instance.id.as_str());
    let activation = Activation {
        chain: crate::cluster::chain(plan)?,
        number: u64::from(fault.index) + 1,
        instance: instance.parse()?,
        activate_at: height + pace,
        batch_blocks: pace.clamp(BATCH_BLOCKS.0, BATCH_BLOCKS.1),
        allow_rollback_to: Some(sealed.manifest.sequence),
    };
    Ok(sealed.release(activation, cluster.release_key())?)
}

/// Brings a release and the pieces of its program; what the node says when it does not take them.
async fn bring(client: &Client, document: &Document, sealed: &Sealed) -> Result<Result<(), String>, io::Error> {
    let program = File::open(sealed.program_path())?;
    let size = program.metadata()?.len();
    let offer = ReleaseOffer {
        document: HexBytes::from(document.encode()),
    };
    let taken = match client.offer_release(&offer).await {
        Ok(taken) => taken,
        Err(error) => return Ok(Err(error.to_string())),
    };
    for chunk in taken.missing {
        let begin = u64::from(chunk) * u64::from(taken.chunk_bytes);
        let mut bytes = vec![0; size.saturating_sub(begin).min(u64::from(taken.chunk_bytes)) as usize];
        program.read_exact_at(&mut bytes, begin)?;
        let piece = ReleaseChunk {
            artifact: taken.artifact,
            chunk,
            bytes: bytes.into(),
        };
        if let Err(error) = client.bring_chunk(&piece).await {
            return Ok(Err(error.to_string()));
        }
    }
    Ok(Ok(()))
}

/// Whether a node runs the program of the fault's build.
pub(crate) async fn standing(cluster: &Cluster, node: u32, program: Digest) -> Standing {
    match cluster.client(node).version().await {
        Ok(version) if version.binary == program => Standing::Upgraded,
        Ok(version) => Standing::Not(format!("it runs {}", version.binary.short())),
        Err(error) => Standing::Not(error.to_string()),
    }
}

/// The program of a fault's build.
pub(crate) fn program(cluster: &Cluster, fault: &PlannedFault) -> Option<Digest> {
    sealed(cluster, fault).ok().map(Sealed::program_digest)
}

/// Waits until every node of the fault runs the new program and takes transactions.
pub(super) async fn wait(cluster: &Cluster, fault: &PlannedFault, deadline: Duration) -> Result<(), InjectError> {
    let failed = |error| InjectError::Upgrade {
        fault: fault.index,
        error,
    };
    let program = sealed(cluster, fault).map_err(failed)?.program_digest();
    let began = Instant::now();
    loop {
        let mut left = Vec::new();
        for &node in &fault.nodes {
            if let Standing::Not(why) = standing(cluster, node, program).await {
                left.push(format!("  {}: {why}", cluster.plan().nodes[node as usize].name));
            }
        }
        if left.is_empty() {
            break;
        }
        if began.elapsed() >= deadline {
            let (of, after_s) = (fault.nodes.len(), began.elapsed().as_secs());
            let program = program.short();
            let error = UpgradeError::NotUpgraded {
                left,
                of,
                program,
                after_s,
            };
            return Err(failed(error));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let ready = cluster.wait_ready(&fault.nodes, deadline).await;
    ready.map_err(|error: ClusterError| InjectError::NotHealed {
        fault: fault.index,
        error,
    })
}
