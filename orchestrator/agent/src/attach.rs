//! `attach`: joins the standard streams with the agent's socket, and starts the agent where there is none.

use crate::{
    facts::runs_systemd,
    options::Options,
    root::{Root, about},
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What an agent says on its stdout when it listens.
pub(crate) const READY: &str = "ready";
/// Bytes that are carried at once.
const RELAY_BYTES: usize = 64 * 1024;
/// First byte that an agent sends on a connection that it serves.
pub(crate) const WELCOME: u8 = 1;
/// First and only byte on one that it does not.
pub(crate) const TOO_MANY: u8 = 0;
/// How long an agent may take to answer, or to go.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// Most of an agent's last words that are repeated, in bytes.
const LAST_WORDS_MAX: u64 = 4096;

/// What an agent, and so its nodes, have of the environment of whoever happened to start it: not a word about that login,
/// such as where its keys can be used.
const ENVIRONMENT: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Joins the streams until either side ends.
///
/// # Errors
/// What the system said, or why the agent did not start.
pub(crate) fn attach(root: &Root, options: &Options) -> io::Result<()> {
    let stream = connect(root, options)?;
    let mut upwards = stream.try_clone()?;
    let (mut stdin, mut stdout) = standard_streams()?;
    thread::Builder::new().name("upwards".to_owned()).spawn(move || {
        // An error is an end as well: the agent then closes its side, which ends the other direction.
        let _ = relay(&mut stdin, &mut upwards);
        let _ = upwards.shutdown(Shutdown::Write);
    })?;
    let mut downwards = stream;
    relay(&mut downwards, &mut stdout).map_err(about("the connection to the agent"))
}

/// Duplicates of stdin and stdout without the buffers of the standard library: what is carried are frames and not lines.
pub(crate) fn standard_streams() -> io::Result<(File, File)> {
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    Ok((stdin, File::from(io::stdout().as_fd().try_clone_to_owned()?)))
}

/// Copies until the end. Not by `io::copy`: that has the kernel move the bytes, and while it waits for more of them it
/// keeps whoever reads the pipe from those that are already there.
pub(crate) fn relay(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; RELAY_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A connection to the agent of `root`. Whoever holds the door's lock is alone in looking for an agent, in starting one
/// and in ending one: so two at once get the same one.
fn connect(root: &Root, options: &Options) -> io::Result<UnixStream> {
    let _door = root.lock_door()?;
    let until = Instant::now() + ANSWER_DEADLINE;
    loop {
        match greeted(root) {
            // It is there, even where it says why not.
            Err(error) if error.kind() != io::ErrorKind::ResourceBusy => {}
            answer => return answer,
        }
        let was_held = root.lock_agent().is_err();
        match start_any(root, options) {
            Ok(()) => return greeted(root).map_err(about("the new agent")),
            // One that was killed a moment ago holds its lock until the system has cleaned up after it.
            Err(_) if was_held && Instant::now() < until => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
}

/// A connection whose other end has said that it lives: a socket takes connections also while its process is ending.
fn greeted(root: &Root) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(root.socket())?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    let mut greeting = [0];
    stream.read_exact(&mut greeting)?;
    stream.set_read_timeout(None)?;
    match greeting[0] {
        WELCOME => Ok(stream),
        _ => {
            let message = "too many connections to the agent are open\n  help: end other labs that use this host";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
        }
    }
}

/// Starts an agent by the first way that works.
fn start_any(root: &Root, options: &Options) -> io::Result<()> {
    let program = std::env::current_exe().map_err(about("the path of this program"))?;
    let mut refused = io::Error::other("no way to start an agent");
    for mut command in commands(&program, root.path(), options, runs_systemd()) {
        match start(root, &mut command) {
            Ok(()) => return Ok(()),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// How to start an agent, best first. Where systemd ends whatever a login leaves behind, a scope of its own keeps the
/// agent from that.
fn commands(program: &Path, root: &Path, options: &Options, systemd: bool) -> Vec<Command> {
    let mut plain = vec![program.as_os_str().to_owned()];
    plain.extend(["serve".into(), "--root".into(), root.as_os_str().to_owned()]);
    plain.extend(["--store-max".into(), options.store_bytes_max.to_string().into()]);
    let mut scoped = vec![
        "systemd-run".into(),
        "--scope".into(),
        "--quiet".into(),
        "--collect".into(),
    ];
    if !nix::unistd::geteuid().is_root() {
        scoped.push("--user".into());
    }
    scoped.push("--".into());
    scoped.extend(plain.iter().cloned());
    let lines = if systemd { vec![scoped, plain] } else { vec![plain] };
    let command = |line: Vec<std::ffi::OsString>| {
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env_clear();
        command.envs(
            ENVIRONMENT
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        command
    };
    lines.into_iter().map(command).collect()
}

/// Starts an agent and waits until it listens. Its stdout is a pipe to here until then, and nothing of this session's
/// afterwards: SSH would not end as long as somebody holds its streams.
fn start(root: &Root, command: &mut Command) -> io::Result<()> {
    let words = root.path().join("agent.stderr");
    let stderr = File::create(&words).map_err(about(words.display()))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().map_err(about(command.get_program().display()))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout.take(64)).read_line(&mut line)?;
    }
    if line.trim_end() == READY {
        return Ok(());
    }
    // It ended, or is about to: its stdout is closed.
    let status = child.wait()?;
    let mut last = String::new();
    let read = File::open(&words).and_then(|file| file.take(LAST_WORDS_MAX).read_to_string(&mut last));
    read.map_err(about(words.display()))?;
    Err(io::Error::other(format!(
        "the agent did not start: {status}\n{}",
        last.trim_end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::PathBuf};

    #[test]
    fn systemd_is_asked_first_where_it_runs() {
        let options = Options {
            root: "r".into(),
            store_bytes_max: 7,
        };
        let line = |command: &Command| -> String {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
            words.join(" ")
        };
        let lines = |systemd| -> Vec<String> {
            let commands = commands(Path::new("/a/agent"), Path::new("/r"), &options, systemd);
            commands.iter().map(line).collect()
        };
        let plain = "/a/agent serve --root /r --store-max 7".to_owned();
        assert_eq!(lines(false), std::slice::from_ref(&plain));
        let both = lines(true);
        assert_eq!(
            (both.len(), &both[1]),
            (2, &plain),
            "where systemd refuses, it starts all the same"
        );
        assert!(
            both[0].starts_with("systemd-run --scope") && both[0].ends_with(&plain),
            "{both:?}"
        );
    }

    /// A script in `folder` that may be executed.
    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Starts an agent that says its arguments by the way of systemd, which is a script of the test; returns what that
    /// wrote.
    fn start_by_systemd(text: &str) -> (io::Result<()>, String) {
        let folder = tempfile::tempdir().unwrap();
        let program = script(
            folder.path(),
            "agent",
            "#!/bin/sh\necho ready\necho \"agent $*\" >>said\n",
        );
        script(folder.path(), "systemd-run", text);
        let root = Root::open(&folder.path().join("root")).unwrap();
        let options = Options {
            root: root.path().to_owned(),
            store_bytes_max: 7,
        };
        let mut command = commands(&program, root.path(), &options, true).remove(0);
        // Found first; what the scripts themselves call is found as always.
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", folder.path().display()));
        command.current_dir(folder.path());
        let result = start(&root, &mut command);
        let said = folder.path().join("said");
        // The agent is a child of the script, and writes after its first line.
        let until = Instant::now() + ANSWER_DEADLINE;
        let is_whole = |text: &str| text.contains("\nagent ") || text.contains("refused");
        loop {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            if is_whole(&text) || Instant::now() > until {
                return (result, text);
            }
            thread::sleep(PAUSE);
        }
    }

    #[test]
    fn the_agent_is_started_by_systemd_in_a_scope_with_its_own_arguments() {
        let (result, said) = start_by_systemd(
            "#!/bin/sh\necho \"systemd $*\" >said\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n",
        );
        result.unwrap();
        let (scope, agent) = said.split_once("\nagent ").unwrap();
        let user = if nix::unistd::geteuid().is_root() {
            ""
        } else {
            "--user "
        };
        assert!(
            scope.starts_with(&format!("systemd --scope --quiet --collect {user}-- /")),
            "{said}"
        );
        assert!(
            agent.starts_with("serve --root /") && agent.ends_with(" --store-max 7\n"),
            "{said}"
        );
    }

    #[test]
    fn a_systemd_that_refuses_is_quoted() {
        let (result, _) = start_by_systemd(
            "#!/bin/sh\necho refused >said\necho \"Failed to start transient scope unit\" >&2\nexit 1\n",
        );
        let error = result.unwrap_err().to_string();
        assert!(error.contains("Failed to start transient scope unit"), "{error}");
    }

    #[test]
    fn nothing_of_the_login_goes_to_the_agent() {
        let options = Options {
            root: "r".into(),
            store_bytes_max: 7,
        };
        for command in commands(Path::new("/a/agent"), Path::new("/r"), &options, true) {
            let names = command.get_envs().map(|(name, _)| name.to_string_lossy().into_owned());
            for name in names.collect::<Vec<_>>() {
                assert!(ENVIRONMENT.contains(&name.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn an_agent_that_does_not_start_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let mut command = Command::new("/bin/sh");
        let error = start(&root, command.args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(
            error.to_string().contains("no luck") && error.to_string().contains('3'),
            "{error}"
        );
    }
}
