//! What the sampler is told and what it gives back.

use crate::load::RunClock;
use regatta_process::{HostSample, Usage};
use regatta_report::model::{Process, ProcessKind};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// How to sample.
#[derive(Debug, Clone)]
pub struct SamplerConfig {
    /// Clock of the run.
    pub clock: RunClock,
    /// Folder for the sample files; made when missing.
    pub folder: PathBuf,
    /// Time between two rounds. 1 s.
    pub interval: Duration,
    /// Most bytes of all sample files; beyond it samples are taken and not written.
    pub bytes_max: u64,
    /// What hosts tell of processes that run there.
    pub elsewhere: Elsewhere,
}

/// The last look at each process on other machines, by name, with the bytes of its data folder.
pub type Elsewhere = Arc<Mutex<BTreeMap<String, (Usage, u64)>>>;

impl SamplerConfig {
    /// One round a second, at most 256 MiB of files.
    #[must_use]
    pub fn new(clock: RunClock, folder: PathBuf) -> Self {
        Self {
            clock,
            folder,
            interval: Duration::from_secs(1),
            bytes_max: 256 << 20,
            elsewhere: Elsewhere::default(),
        }
    }
}

/// A process to sample. Watching a name again means that it was restarted.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The node's name, or a name for the lab's process.
    pub name: String,
    /// Whose process it is.
    pub kind: ProcessKind,
    /// Its process id.
    pub pid: i32,
    /// Whether it runs on another machine, which tells of it.
    pub elsewhere: bool,
    /// Its data folder.
    pub data_dir: Option<PathBuf>,
    /// Its control interface, for metrics.
    pub http: Option<SocketAddr>,
}

/// Everything that was sampled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleOutcome {
    /// Every watched process, in the order of first watching.
    pub processes: Vec<Process>,
    /// The host over time.
    pub host: Vec<HostSample>,
    /// Samples that were taken and not written because the files had reached their limit.
    pub unwritten: u64,
}

/// Why sampling cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// A sample file cannot be made.
    #[error("cannot write samples to {path}: {source}; help: check the run folder's permissions and free space")]
    File {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The operating system refused the thread or its event queue.
    #[error("cannot start the sampler: {0}; help: check the process limit (ulimit -u)")]
    Thread(std::io::Error),
}
