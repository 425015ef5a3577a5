//! `run`: a node until it is told to stop.

use super::{error::CliError, key_file, print::print};
use crate::{
    host,
    http::{self, Control},
    runtime,
    upgrade::{
        self,
        trial::{self, Launch},
    },
};
use clap::{Args, ValueEnum};
use regatta_api::NodeConfig;
use regatta_base::{PublicKey, SecretKey};
use serde::Serialize;
use std::{
    io::{IsTerminal, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What is logged unless RUST_LOG says otherwise.
const LOG_LEVEL: &str = "info,libp2p_swarm=warn";

/// Run a node until SIGTERM or SIGINT
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line of JSON on stdout once it listens; logs go to stderr, RUST_LOG says how many.

Example:
  regatta-node run --config node.toml --new")]
pub(crate) struct Run {
    /// The node's configuration; paths in it are relative to its folder
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This is the node's first start: nothing was ever said with its key, so that it may vote without a journal. Refused
    /// when there is one. A validator that is started without both asks the others what it cannot have said
    #[arg(long)]
    new: bool,
    /// Stop in order when stdin ends
    #[arg(long)]
    stop_with_stdin: bool,
    /// Be killed when the process PID ends, which must be the one that started this
    #[arg(long, value_name = "PID")]
    die_with_parent: Option<u32>,
    /// Form of the log lines
    #[arg(long, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// A line of JSON each
    Json,
}

/// The line on stdout: from now on the node can be asked.
#[derive(Debug, Serialize)]
struct Listening<'a> {
    event: &'static str,
    name: &'a str,
    key: PublicKey,
    p2p: SocketAddr,
    http: SocketAddr,
    records_replayed: u64,
}

impl Run {
    pub(crate) async fn execute(self) -> Result<(), CliError> {
        if let Some(parent) = self.die_with_parent {
            host::die_with_parent(parent).map_err(CliError::failure)?;
        }
        start_log(self.log_format);
        let folder = self.config.parent().unwrap_or(Path::new("")).to_owned();
        let config = read_config(&self.config)?;
        let key = key_file::load(&folder.join(&config.key_file)).map_err(CliError::usage)?;
        let launch = self.launch();
        let place = upgrade::begin(&config, &folder, &launch).map_err(CliError::failure)?;
        let stop = CancellationToken::new();
        stop_on_signals(&stop)?;
        if self.stop_with_stdin {
            stop_with_stdin(stop.clone())?;
        }
        // The node may end by itself to go on as another program, while nobody told the process to stop.
        let ended = serve((&config, &key), &folder, (self.new, place), stop.child_token()).await?;
        let Some((switch, depot)) = ended.filter(|_| !stop.is_cancelled()) else {
            return Ok(());
        };
        let switched = trial::switch(depot, &config, &launch, switch, &stop).await;
        switched.map_err(CliError::failure)
    }

    /// How a later program of this node is to be started.
    fn launch(&self) -> Launch {
        Launch {
            config: self.config.clone(),
            stop_with_stdin: self.stop_with_stdin,
            die_with_parent: self.die_with_parent,
            log_format: if self.log_format == LogFormat::Json {
                "json"
            } else {
                "text"
            },
        }
    }
}

pub(super) fn read_config(path: &Path) -> Result<NodeConfig, CliError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::usage(format!(
            "cannot read {shown}: {error}; help: name the node's configuration with --config"
        ))
    })?;
    NodeConfig::parse(&text).map_err(|errors| CliError::usage(format!("{shown}: {errors}")))
}

async fn serve(
    (config, key): (&NodeConfig, &SecretKey),
    folder: &Path,
    (is_new, place): (bool, upgrade::Place),
    stop: CancellationToken,
) -> Result<Option<(trial::Switch, upgrade::Depot)>, CliError> {
    // The port first: reading a long journal only to find it taken would waste minutes.
    let listener = http::bind(SocketAddr::new(config.ip, config.http_port))
        .await
        .map_err(CliError::failure)?;
    let running = runtime::start_in(config, key, folder, is_new, place, stop.clone());
    let mut running = running.map_err(CliError::failure)?;
    running.wait_for_record().await;
    let listening = Listening {
        event: "listening",
        name: &config.name,
        key: key.public(),
        p2p: running.p2p_address,
        http: listener.local_addr().map_err(CliError::failure)?,
        records_replayed: running.records_replayed,
    };
    tracing::info!(
        name = config.name,
        key = key.public().short(),
        p2p = %listening.p2p,
        http = %listening.http,
        records_replayed = listening.records_replayed,
        "listening"
    );
    let control = Control::new(running.handle.clone(), config, key.public());
    let server = tokio::spawn(http::serve(listener, control));
    // A node whose starter does not read its stdout is as good as any.
    match print(true, &listening, |_| String::new()) {
        Ok(()) | Err(CliError::OutputClosed) => {}
        Err(error) => return Err(error),
    }
    let result = running.wait_for_switch().await;
    // Also when the node ended by itself, so that the server ends too.
    stop.cancel();
    server.await.map_err(CliError::failure)?;
    result.map_err(CliError::failure)
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_LEVEL));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// The first SIGTERM or SIGINT stops the node in order.
fn stop_on_signals(stop: &CancellationToken) -> Result<(), CliError> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(|error| CliError::failure(format!("cannot handle signals: {error}")))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                tracing::info!("stopping: the process was told to by a signal");
                stop.cancel();
            }
        });
    }
    Ok(())
}

/// Stops the node when whoever holds the other end of stdin closes it or dies.
fn stop_with_stdin(stop: CancellationToken) -> Result<(), CliError> {
    let wait = move || {
        let mut buffer = [0; 512];
        let mut stdin = std::io::stdin().lock();
        // What is written there means nothing; an error is an end too.
        while matches!(stdin.read(&mut buffer), Ok(1..)) {}
        tracing::info!("stopping: stdin has ended");
        stop.cancel();
    };
    let spawned = std::thread::Builder::new().name("stdin".to_owned()).spawn(wait);
    spawned
        .map(drop)
        .map_err(|error| CliError::failure(format!("cannot start a thread: {error}")))
}
