//! `serve`: the agent of a folder, from its start until nobody needs it.

use crate::{
    agent::Agent,
    attach::{READY, TOO_MANY, WELCOME},
    clock::now_us,
    connection,
    facts::{own_digest, own_groups},
    leftovers::end_leftovers,
    options::Options,
    root::{Root, about},
    store::Store,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{dup2_stdout, setsid},
};
use regatta_fleet::limits::CONNECTIONS_MAX;
use regatta_process::{HeldFile, Keeper, NodeLog};
use std::{
    cell::{Cell, RefCell},
    fs::{self, File, Permissions},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::{LocalSet, spawn_local},
    time::Instant,
};

/// Most bytes of the agent's log.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// How long an agent waits for a lab when it has no run.
const IDLE: Duration = Duration::from_secs(10);
/// How long nodes may take to stop when the agent is told to end.
const GRACE: Duration = Duration::from_secs(10);

/// Serves the folder `root`.
///
/// # Errors
/// That another agent does, or what the system said.
pub(crate) fn serve(root: Root, options: &Options) -> io::Result<()> {
    // A session of its own, so that the end of the login that started it does not end it. Where it leads one already,
    // the system refuses, and there is nothing to do.
    let _ = setsid();
    // Nor does it keep a file system in use that happened to be where it was started.
    std::env::set_current_dir(root.path())?;
    let _lock = root.lock_agent().map_err(about("another agent serves this folder"))?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let log = NodeLog::open(&root.path().join("agent.log"), LOG_BYTES_MAX).map_err(about("agent.log"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let agent = Rc::new(Agent {
        store: Store::new(root.store(), options.store_bytes_max),
        keeper: Keeper::start()?,
        groups: own_groups(root.path()),
        runs: RefCell::default(),
        program: own_digest()?,
        began_us: now_us(),
        connections: Cell::new(0),
        shares: Cell::new(0),
        changed: Notify::new(),
        log: RefCell::new(log),
        root,
    });
    LocalSet::new().block_on(&runtime, listen(&agent))
}

/// Accepts connections until the agent is idle or told to end.
async fn listen(agent: &Rc<Agent>) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = bind(agent)?;
    agent.note(&format!(
        "agent {} began as process {}",
        agent.program.short(),
        std::process::id()
    ));
    agent.store.sweep().map_err(about("store/partial"))?;
    let left = end_leftovers(&agent.root)?;
    if left > 0 {
        agent.note(&format!("ended {left} processes that an earlier agent had left"));
    }
    if let Ok(groups) = &agent.groups {
        match groups.sweep() {
            Ok(0) => {}
            Ok(swept) => agent.note(&format!("removed {swept} control groups that earlier agents had left")),
            Err(error) => agent.note(&format!("control groups of earlier agents stay: {error}")),
        }
    }
    say_ready()?;
    let mut idle_since = Instant::now();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                match accepted {
                    Ok((stream, _)) => admit(agent, stream),
                    Err(error) => {
                        // Out of descriptors: runs go on, and so does this once some are free.
                        agent.note(&format!("cannot accept a connection: {error}"));
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
            () = agent.changed.notified() => {}
            () = tokio::time::sleep_until(idle_since + IDLE), if agent.is_idle() => {
                if let Some(_door) = nobody_comes(agent, &listener)? {
                    agent.note("nobody needs this agent any more");
                    return remove_socket(agent);
                }
            }
            _ = terminate.recv() => return end(agent).await,
            _ = interrupt.recv() => return end(agent).await,
        }
        idle_since = Instant::now();
    }
}

/// Listens at the folder's socket. Whoever calls holds the agent's lock: a socket that is there was left by one that was
/// killed.
fn bind(agent: &Agent) -> io::Result<UnixListener> {
    let path = agent.root.socket();
    remove_socket(agent)?;
    let listener = UnixListener::bind(&path).map_err(about("agent.sock"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(about("agent.sock"))?;
    Ok(listener)
}

fn remove_socket(agent: &Agent) -> io::Result<()> {
    match fs::remove_file(agent.root.socket()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(about("agent.sock")(error)),
        _ => Ok(()),
    }
}

/// Tells whoever started this agent that it listens, and lets go of the stream that said so.
fn say_ready() -> io::Result<()> {
    // Whoever started it may have gone.
    let _ = writeln!(io::stdout(), "{READY}");
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(())
}

/// Closes the door when nobody stands there. While it is held nobody can connect: see `attach`.
///
/// # Errors
/// What the system said; an agent whose folder is gone is one that nobody can find any more, and ends with this.
fn nobody_comes(agent: &Agent, listener: &UnixListener) -> io::Result<Option<HeldFile>> {
    let door = match agent.root.try_lock_door() {
        Ok(door) => door,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    Ok((poll(&mut waiting, PollTimeout::ZERO) == Ok(0)).then_some(door))
}

fn admit(agent: &Rc<Agent>, mut stream: UnixStream) {
    if agent.connections.get() >= CONNECTIONS_MAX {
        agent.note(&format!("a connection was refused: {CONNECTIONS_MAX} are open"));
        // One byte, for which a new connection has room. Whoever connected may have gone.
        spawn_local(async move { stream.write_all(&[TOO_MANY]).await });
        return;
    }
    agent.connections.set(agent.connections.get() + 1);
    let agent = Rc::clone(agent);
    spawn_local(async move {
        // Whoever connected may have gone; then there is nothing to read either.
        let _ = stream.write_all(&[WELCOME]).await;
        connection::serve(Rc::clone(&agent), stream).await;
        agent.connections.set(agent.connections.get() - 1);
        agent.changed();
    });
}

/// Stops all nodes of all runs, and ends.
async fn end(agent: &Rc<Agent>) -> io::Result<()> {
    agent.note("the agent was told to end");
    let runs: Vec<_> = agent.runs.borrow().values().cloned().collect();
    let stops: Vec<_> = runs
        .iter()
        .cloned()
        .map(|run| {
            let agent = Rc::clone(agent);
            spawn_local(async move { run.stop(&agent, GRACE).await })
        })
        .collect();
    for stop in stops {
        // Nobody aborts these tasks, and they do not panic.
        let _ = stop.await;
    }
    remove_socket(agent)
}
