//! Processes that a test starts: watched, and gone when the test ends.

use super::wait::until;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// A process and what it prints. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a process ended and what it had printed.
#[derive(Debug, Clone)]
pub struct Ended {
    status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Running {
    /// Starts `program` in the folder of the workspace; its output goes to files in `folder` named after `name`.
    pub fn start(program: &Path, arguments: &[impl AsRef<OsStr>], folder: &Path, name: &str) -> Self {
        let stdout = folder.join(format!("{name}.stdout"));
        let stderr = folder.join(format!("{name}.stderr"));
        let child = Command::new(program)
            .args(arguments)
            .current_dir(regatta_tests::workspace_root())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Signals the process, which has not been waited for: its id is its own.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Whether it has ended by now.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> Ended {
        let status = until("the process to end", || {
            let status = self.child.try_wait().unwrap();
            status.ok_or_else(|| format!("it runs\n{}{}", self.stdout(), self.stderr()))
        });
        Ended {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Exit code; none after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Its stdout, when it succeeded.
    #[track_caller]
    pub fn success(&self) -> &str {
        assert_eq!(self.code(), Some(0), "{}{}", self.stdout, self.stderr);
        &self.stdout
    }

    /// Checks the exit code and that stderr holds every part.
    #[track_caller]
    pub fn failure(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code(), Some(code), "{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in:\n{}", self.stderr);
        }
    }
}

/// Runs a program to its end.
pub fn run(program: &Path, arguments: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    Running::start(program, arguments, folder.path(), "program").wait()
}

/// Whether process `pid` is there and does anything. One that ended and that nobody has waited for does not count.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Processes whose command, working folder or environment names `folder`, in words: for what nobody noted the number of.
pub fn mentioning(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = std::process::id();
    let lines = pids.filter(|pid| *pid != own && is_alive(*pid)).map(|pid| {
        let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\0', " ");
        let place = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let is_in_environment = text(read("environ")).contains(name);
        let environment = if is_in_environment {
            format!(" with {name}")
        } else {
            String::new()
        };
        format!("{pid}: {}in {}{environment}", text(read("cmdline")), place.display())
    });
    lines.filter(|line| line.contains(name)).collect()
}
