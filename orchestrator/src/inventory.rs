//! Inventories of hosts from a command: run beside the scenario, with limits on time and output.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use regatta_plan::source::SCENARIO_BYTES_MAX;
use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

/// Longest run of an inventory command: clouds answer in seconds.
const TIME_MAX: Duration = Duration::from_secs(60);
/// What an error quotes of the command's complaints, in bytes.
const QUOTED_BYTES_MAX: usize = 2000;

/// Why a command gave no inventory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InventoryError {
    /// The list is empty.
    #[error(
        "`provider.inventory_command` names no program\n  help: write inventory_command = [\"program\", \"argument\"]"
    )]
    Empty,
    /// It does not start, or its output cannot be read.
    #[error(
        "cannot run the inventory command `{program}`: {error}\n  help: it is a program and its arguments, run without a shell beside the scenario"
    )]
    Refused {
        /// The program.
        program: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It ran too long.
    #[error(
        "the inventory command `{0}` did not end within {TIME_MAX:?}\n  help: run it by hand, and let it print once and end"
    )]
    TooSlow(PathBuf),
    /// It printed too much.
    #[error(
        "the inventory command `{0}` printed more than {SCENARIO_BYTES_MAX} bytes\n  help: let it print the hosts of one run"
    )]
    TooLong(PathBuf),
    /// What it printed is no text.
    #[error("the inventory command `{0}` printed what is no UTF-8\n  help: let it print TOML or JSON")]
    NotText(PathBuf),
    /// It said that it failed.
    #[error(
        "the inventory command `{program}` failed ({status})\n{complaint}\n  help: run it by hand in the scenario's folder"
    )]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed to stderr.
        complaint: String,
    },
}

/// What `command` prints, run in `folder`; a program with a `/` in its name lies relative to it. Blocks until it has ended.
///
/// # Errors
/// [`InventoryError`] when there is no such program, or it fails, or takes or prints too much; it runs no longer then, nor
/// does what it started and left in its process group.
pub(crate) fn run(command: &[String], folder: &Path) -> Result<String, InventoryError> {
    run_within(command, folder, TIME_MAX)
}

fn run_within(command: &[String], folder: &Path, most: Duration) -> Result<String, InventoryError> {
    let (name, arguments) = command.split_first().ok_or(InventoryError::Empty)?;
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let program = if name.contains('/') {
        folder.join(name)
    } else {
        PathBuf::from(name)
    };
    let refused = |error| InventoryError::Refused {
        program: program.clone(),
        error,
    };
    let program = match name.contains('/') {
        true => program.canonicalize().map_err(refused)?,
        false => program.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(refused)?;
    let work = || runtime.block_on(execute(&program, arguments, folder, most));
    // The caller may itself be work of a runtime, which must not wait for another one on its thread.
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn execute(
    program: &Path,
    arguments: &[String],
    folder: &Path,
    most: Duration,
) -> Result<String, InventoryError> {
    let refused = |error| InventoryError::Refused {
        program: program.to_owned(),
        error,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(refused)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = async { tokio::try_join!(all(stdout, SCENARIO_BYTES_MAX), end(stderr)) };
    let output = tokio::time::timeout(most, output).await;
    // Its group is known by its process, which has not been waited for.
    if !matches!(output, Ok(Ok((Some(_), _)))) {
        kill_group(&child);
    }
    let ended = tokio::time::timeout(most, child.wait()).await;
    if ended.is_err() {
        kill_group(&child);
    }
    let (Ok(output), Ok(status)) = (output, ended) else {
        return Err(InventoryError::TooSlow(program.to_owned()));
    };
    let (stdout, stderr) = output.map_err(refused)?;
    let stdout = stdout.ok_or_else(|| InventoryError::TooLong(program.to_owned()))?;
    let status = status.map_err(refused)?;
    if !status.success() {
        return Err(InventoryError::Failed {
            program: program.to_owned(),
            status,
            complaint: String::from_utf8_lossy(&stderr).trim().to_owned(),
        });
    }
    String::from_utf8(stdout).map_err(|_| InventoryError::NotText(program.to_owned()))
}

fn kill_group(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended by itself in the meantime.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// All that `stream` has; `None` when that is more than `most` bytes.
async fn all(stream: Option<impl AsyncRead + Unpin>, most: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(most as u64 + 1).read_to_end(&mut bytes).await?;
    }
    Ok((bytes.len() <= most).then_some(bytes))
}

/// The last bytes of `stream`.
async fn end(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return Ok(kept) };
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(kept),
            count => kept.extend_from_slice(&buffer[..count]),
        }
        let extra = kept.len().saturating_sub(QUOTED_BYTES_MAX);
        kept.drain(..extra);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str) -> Result<String, InventoryError> {
        let command = ["sh", "-c", script].map(str::to_owned);
        run_within(&command, Path::new(""), Duration::from_secs(20))
    }

    #[test]
    fn the_output_is_the_inventory() {
        assert_eq!(shell("echo '[[host]]'; echo noise >&2").unwrap(), "[[host]]\n");
    }

    #[test]
    fn a_program_beside_the_scenario_runs_in_its_folder() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hosts.txt"), "here").unwrap();
        let program = folder.path().join("list");
        std::fs::write(&program, "#!/bin/sh\ncat \"$1\"\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let command = ["./list", "hosts.txt"].map(str::to_owned);
        assert_eq!(run(&command, folder.path()).unwrap(), "here");
    }

    #[test]
    fn what_fails_says_so() {
        let failed = shell("echo no credentials >&2; exit 3").unwrap_err().to_string();
        assert!(
            failed.contains("no credentials") && failed.contains("exit status: 3"),
            "{failed}"
        );
        let missing = run(&["no-such-program-here".to_owned()], Path::new(".")).unwrap_err();
        assert!(matches!(missing, InventoryError::Refused { .. }), "{missing}");
        assert!(matches!(run(&[], Path::new(".")), Err(InventoryError::Empty)));
        assert!(matches!(shell("printf '\\377'"), Err(InventoryError::NotText(_))));
    }

    #[test]
    fn too_much_output_ends_the_command() {
        let begun = Instant::now();
        assert!(matches!(shell("yes"), Err(InventoryError::TooLong(_))));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn what_takes_too_long_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 600 & echo $! > '{}'; wait", pids.display());
        let command = ["sh".to_owned(), "-c".to_owned(), script];
        let slow = run_within(&command, Path::new("."), Duration::from_secs(3)).unwrap_err();
        assert!(matches!(slow, InventoryError::TooSlow(_)), "{slow}");
        let pid: u32 = std::fs::read_to_string(pids).unwrap().trim().parse().unwrap();
        let gone = || {
            let state = procfs::process::Process::new(pid as i32).and_then(|process| process.stat());
            state.map_or(true, |stat| stat.state == 'Z')
        };
        let begun = Instant::now();
        while !gone() {
            assert!(begun.elapsed() < Duration::from_secs(10), "process {pid} still runs");
            std::thread::yield_now();
        }
    }
}
