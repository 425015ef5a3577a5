//! Programs of others: they know nothing of the lab, and end with it all the same.
//!
//! ```text
//! keeper --+-- holder         first process of a process namespace; ends at the end of its input, which the keeper holds
//!          +-- launcher, which becomes the program, in that namespace
//! ```
//! When the holder ends the system ends everything in the namespace, also what has left its group and session. Where this
//! user may not make such namespaces, the launcher has the system end the program with the thread that started it; the
//! program's own children are then its own business.

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal, wait::waitpid},
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};
use tokio::process::{Child, Command};

/// Arguments that make the lab's program a holder or a launcher.
pub const HOLD: [&str; 2] = ["foreign", "hold"];
/// See [`HOLD`]; the program and its arguments follow.
pub const LAUNCH: [&str; 3] = ["foreign", "launch", "--"];
/// How often a holder without children looks for some that were left to it.
const ORPHANS_INTERVAL: Duration = Duration::from_millis(500);

/// What is different about a program of others.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// A program that knows [`HOLD`] and [`LAUNCH`].
    pub launcher: PathBuf,
    /// Variables beside those of the keeper.
    pub environment: Vec<(String, String)>,
    /// Text in the line of output that counts as the announcement; without it, the first line does.
    pub announcement: Option<String>,
}

/// A process namespace with the process that keeps it.
pub(crate) struct Container {
    holder: Child,
    namespace: File,
}

impl Container {
    /// Makes one; none where this user may not.
    pub(crate) fn start(launcher: &Path) -> io::Result<Option<Self>> {
        let home = own_namespace()?;
        match unshare(CloneFlags::CLONE_NEWPID) {
            Err(Errno::EPERM) => return Ok(None),
            other => other?,
        }
        let holder = Command::new(launcher)
            .args(HOLD)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        setns(&home, CloneFlags::CLONE_NEWPID)?;
        let holder = holder?;
        let pid = holder
            .id()
            .ok_or_else(|| io::Error::other("the holder ended at once"))?;
        let namespace = File::open(format!("/proc/{pid}/ns/pid"))?;
        Ok(Some(Self { holder, namespace }))
    }

    /// Does `work`; a process that it starts is born in the namespace.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let home = own_namespace()?;
        setns(&self.namespace, CloneFlags::CLONE_NEWPID)?;
        let result = work();
        setns(&home, CloneFlags::CLONE_NEWPID)?;
        result
    }

    /// Ends everything in the namespace, and returns when it is gone.
    pub(crate) async fn end(mut self) {
        // Fails only where it has ended already.
        let _ = self.holder.kill().await;
    }
}

/// The namespace that this thread itself is in.
fn own_namespace() -> io::Result<File> {
    File::open("/proc/thread-self/ns/pid")
}

/// Keeps a process namespace until the end of the standard input; never returns before.
///
/// # Errors
/// What the system said when it refused a thread.
pub fn hold() -> io::Result<()> {
    let input = thread::Builder::new().spawn(|| {
        let mut ignored = [0; 64];
        while io::stdin().read(&mut ignored).is_ok_and(|count| count > 0) {}
        std::process::exit(0);
    })?;
    while !input.is_finished() {
        // What the programs leave behind is left to this process, and stays in the system's table until it is waited for.
        if waitpid(None, None).is_err() {
            thread::sleep(ORPHANS_INTERVAL);
        }
    }
    Ok(())
}

/// Becomes the program, which ends with the thread that started this process. Returns why it could not.
#[must_use]
pub fn launch(program: &OsString, arguments: &[OsString]) -> io::Error {
    if let Err(error) = set_pdeathsig(Signal::SIGKILL) {
        return error.into();
    }
    std::process::Command::new(program).args(arguments).exec()
}
