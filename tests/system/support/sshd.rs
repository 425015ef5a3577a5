//! Real OpenSSH servers, each on a loopback address of its own with a host key of its own: the hosts of a fleet.

use super::{process::is_alive, subnet::Subnet, wait::until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Port of every server.
pub const PORT: u16 = 2222;
/// The server must be started by its absolute path, which it executes again for each connection.
const PROGRAM: &str = "/usr/sbin/sshd";
/// Where a server of root locks up its unprivileged half.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// Some servers, which end with this value and with its thread, and one key that all of them accept.
pub struct SshServers {
    folder: TempDir,
    pub subnet: Subnet,
    servers: Vec<Server>,
}

struct Server {
    listener: Child,
    host_key: String,
}

/// A process by id and start time: no other one is ever mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    pid: u32,
    start_ticks: u64,
}

impl SshServers {
    /// Starts `count` servers and returns when all of them listen.
    pub fn start(count: u8) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "no {PROGRAM}; help: apt-get install openssh-server"
        );
        if nix::unistd::geteuid().is_root() {
            fs::create_dir_all(PRIVILEGE_SEPARATION).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        make_key(&folder.path().join("client"));
        let mut this = Self {
            folder,
            subnet: Subnet::take(),
            servers: Vec::new(),
        };
        for host in 0..count {
            let server = this.launch(host);
            this.servers.push(server);
        }
        for host in 0..count {
            this.wait_until_it_listens(host);
        }
        this
    }

    fn launch(&self, host: u8) -> Server {
        let home = self.folder.path().join(format!("host-{host}"));
        fs::create_dir(&home).unwrap();
        let key = home.join("key");
        make_key(&key);
        let accepted = self.folder.path().join("client.pub");
        let config = home.join("sshd_config");
        // What is not said here is as a server has it that nobody touched: MaxStartups 10:30:100, MaxSessions 10.
        let text = format!(
            "ListenAddress {}:{PORT}\nHostKey {}\nPidFile {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             LogLevel VERBOSE\nSetEnv HOME={}\n",
            self.address(host),
            key.display(),
            home.join("pid").display(),
            accepted.display(),
            // The start-up files of whoever runs the tests are not those of a host.
            home.display(),
        );
        fs::write(&config, text).unwrap();
        Server {
            listener: serve(&home, &config),
            host_key: fs::read_to_string(key.with_extension("pub")).unwrap().trim().to_owned(),
        }
    }

    fn wait_until_it_listens(&mut self, host: u8) {
        let address = SocketAddr::new(self.address(host).into(), PORT);
        let log = self.home(host).join("log");
        let listener = &mut self.servers[usize::from(host)].listener;
        until("an SSH server to listen", || {
            if let Some(status) = listener.try_wait().unwrap() {
                panic!(
                    "server {host} ended ({status}):\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
            TcpStream::connect_timeout(&address, Duration::from_secs(1))
                .map(drop)
                .map_err(|error| error.to_string())
        });
    }

    pub fn count(&self) -> u8 {
        self.servers.len() as u8
    }

    /// The address of a server, which is that of the nodes on it.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        self.subnet.address(host)
    }

    /// A folder of a host's own, with its server's files.
    pub fn home(&self, host: u8) -> PathBuf {
        self.folder.path().join(format!("host-{host}"))
    }

    /// Where the lab keeps its things on a host.
    pub fn dir(&self, host: u8) -> PathBuf {
        self.home(host).join("regatta")
    }

    /// What the server wrote.
    pub fn log(&self, host: u8) -> String {
        fs::read_to_string(self.home(host).join("log")).unwrap_or_default()
    }

    /// The private key that every server accepts.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client")
    }

    /// Type and bytes of a server's public key, as a scenario pins it.
    pub fn host_key(&self, host: u8) -> String {
        let key = &self.servers[usize::from(host)].host_key;
        key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// All hosts as an inventory names them.
    pub fn inventory(&self) -> String {
        (0..self.count())
            .map(|host| self.entry(host, &self.host_key(host)))
            .collect()
    }

    /// One host as an inventory names it, with `host_key` pinned; an empty one is left out.
    pub fn entry(&self, host: u8, host_key: &str) -> String {
        let pinned = match host_key {
            "" => String::new(),
            key => format!("host_key = \"{key}\"\n"),
        };
        format!(
            "[[provider.host]]\naddr = \"{}\"\nport = {PORT}\nkey = \"{}\"\ndir = \"{}\"\n{pinned}",
            self.address(host),
            self.client_key().display(),
            self.dir(host).display(),
        )
    }

    /// Ends every connection of a server as a broken network does; the server itself goes on. Returns how many processes
    /// served them.
    pub fn cut(&self, host: u8) -> usize {
        let sessions = self.sessions(host);
        sessions.iter().for_each(|session| session.kill());
        sessions.len()
    }

    /// Ends a server with its connections: nobody answers there any more.
    pub fn end(&mut self, host: u8) {
        let sessions = self.sessions(host);
        let listener = &mut self.servers[usize::from(host)].listener;
        listener.kill().unwrap();
        listener.wait().unwrap();
        sessions.iter().for_each(|session| session.kill());
    }

    /// Starts a server anew that runs `command` whatever a client asks for.
    pub fn force(&mut self, host: u8, command: &str) {
        self.end(host);
        let config = self.home(host).join("sshd_config");
        let text = fs::read_to_string(&config).unwrap() + &format!("ForceCommand {command}\n");
        fs::write(&config, text).unwrap();
        self.servers[usize::from(host)].listener = serve(&self.home(host), &config);
        self.wait_until_it_listens(host);
    }

    /// Kills the agent of a host with its nodes, as a machine does that fails; returns whether there was one.
    pub fn kill_agent(&self, host: u8) -> bool {
        let folder = self.dir(host).display().to_string();
        let is_agent = |known: &Known| {
            let line = fs::read(format!("/proc/{}/cmdline", known.pid)).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains("regatta-agent serve ") && line.contains(&folder)
        };
        let agents: Vec<Known> = processes()
            .into_iter()
            .map(|(known, _)| known)
            .filter(is_agent)
            .collect();
        agents.iter().for_each(Known::kill);
        !agents.is_empty()
    }

    /// Processes that serve connections: children of the listener, which it has not waited for.
    fn sessions(&self, host: u8) -> Vec<Known> {
        let listener = self.servers[usize::from(host)].listener.id();
        let mut found: Vec<Known> = Vec::new();
        let mut parents = vec![listener];
        let all = processes();
        while let Some(parent) = parents.pop() {
            let children = all
                .iter()
                .filter(|(_, stat)| stat.parent == parent && stat.name == "sshd");
            for (known, _) in children {
                found.push(*known);
                parents.push(known.pid);
            }
        }
        found
    }

    /// Processes that belong to a host's folder, by their command lines or by where they run: nodes run in their run's.
    pub fn left_running(&self) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        let listeners: Vec<u32> = self.servers.iter().map(|server| server.listener.id()).collect();
        let foreign = |known: &Known| !listeners.contains(&known.pid) && is_alive(known.pid);
        let lines = processes()
            .into_iter()
            .filter(|(known, _)| foreign(known))
            .map(|(known, _)| {
                let line = fs::read(format!("/proc/{}/cmdline", known.pid)).unwrap_or_default();
                let place = fs::read_link(format!("/proc/{}/cwd", known.pid)).unwrap_or_default();
                format!(
                    "{}in {}",
                    String::from_utf8_lossy(&line).replace('\0', " "),
                    place.display()
                )
            });
        lines.filter(|line| line.contains(&folder)).collect()
    }
}

impl Drop for SshServers {
    fn drop(&mut self) {
        for host in 0..self.count() {
            self.end_quietly(host);
        }
    }
}

impl SshServers {
    fn end_quietly(&mut self, host: u8) {
        let sessions = self.sessions(host);
        let listener = &mut self.servers[usize::from(host)].listener;
        let _ = listener.kill();
        let _ = listener.wait();
        sessions.iter().for_each(|session| session.kill());
    }
}

impl Known {
    fn kill(&self) {
        let same = start_ticks(self.pid) == Some(self.start_ticks);
        if same {
            let _ = kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

/// Starts a server that ends with the thread that started it, however that ends.
fn serve(home: &Path, config: &Path) -> Child {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", PROGRAM, "-D", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(home.join("log")).unwrap())
        .spawn()
        .unwrap()
}

/// Makes an Ed25519 key without a pass phrase at `path` and its public half beside it.
pub fn make_key(path: &Path) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "ssh-keygen makes a key");
    let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "a private key is private");
}

struct Stat {
    name: String,
    parent: u32,
}

/// Every process that this user can see.
fn processes() -> Vec<(Known, Stat)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (front, rest) = text.rsplit_once(')')?;
        let name = front.split_once('(')?.1.to_owned();
        let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
        let start_ticks = rest.split_whitespace().nth(19)?.parse().ok()?;
        Some((Known { pid, start_ticks }, Stat { name, parent }))
    })
    .collect()
}

fn start_ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
