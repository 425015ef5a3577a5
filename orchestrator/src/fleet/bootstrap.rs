//! How the agent comes to a host and begins to talk: one command over one session, which sends the program only where it
//! is missing and then becomes the agent's end of the connection.

use super::{
    error::{HostError, quoted},
    reach::Watch,
    target::Target,
};
use flate2::{Compression, write::GzEncoder};
use openssh::{Child, ChildStdin, ChildStdout, Session, Stdio};
use regatta_base::Digest;
use std::{
    io::{self, Write},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    sync::OnceCell,
};
use tokio_util::sync::CancellationToken;

/// Name of the agent's program.
pub(crate) const AGENT_NAME: &str = "regatta-agent";
/// What every line begins with that the command says to the lab.
const MARK: &str = "regatta-bootstrap ";
/// Most bytes that start-up files of a shell may print before.
const NOISE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of the command's complaints that are kept.
const COMPLAINTS_BYTES_MAX: usize = 8 * 1024;
/// How long the whole may take, the upload included.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long a host's last words may take that come beside its answer.
const LAST_WORDS_DEADLINE: Duration = Duration::from_secs(2);
/// Largest agent in bytes.
const AGENT_BYTES_MAX: u64 = 256 << 20;

/// The agent's program.
#[derive(Debug, Clone)]
pub(crate) struct AgentProgram {
    pub(super) bytes: Arc<[u8]>,
    pub(super) digest: Digest,
    /// Architecture that it is for, where that is known.
    pub(super) arch: Option<String>,
    /// The same through gzip, once a host has asked for that.
    packed: Arc<OnceCell<Arc<[u8]>>>,
}

impl AgentProgram {
    /// Reads the program; `target` is the triple that it was built for.
    ///
    /// # Errors
    /// What the system said; too large a file is an error too.
    pub(crate) fn read(path: &Path, target: Option<&str>) -> std::io::Result<Self> {
        let size = std::fs::metadata(path)?.len();
        if size > AGENT_BYTES_MAX {
            return Err(std::io::Error::other(format!(
                "{size} bytes; an agent has at most {AGENT_BYTES_MAX}"
            )));
        }
        let bytes: Arc<[u8]> = std::fs::read(path)?.into();
        Ok(Self {
            digest: Digest::of_bytes(&bytes),
            bytes,
            arch: target.and_then(|target| target.split('-').next()).map(str::to_owned),
            packed: Arc::default(),
        })
    }

    /// The program through gzip, which hosts have that know no other compression. It is made once, beside whatever else goes
    /// on.
    async fn packed(&self) -> Result<Arc<[u8]>, HostError> {
        let bytes = Arc::clone(&self.bytes);
        let pack = || async {
            let packed = tokio::task::spawn_blocking(move || gzip(&bytes)).await;
            packed.map_err(io::Error::other)?.map(Arc::from)
        };
        let packed = self.packed.get_or_try_init(pack).await.cloned();
        packed.map_err(|error: io::Error| HostError::Bootstrap(format!("it cannot be compressed: {error}")))
    }

    /// Its digest.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes)?;
    packed.finish()
}

/// Which agent is to answer.
#[derive(Debug, Clone)]
pub(crate) enum Agent {
    /// This one, sent where it is missing.
    Sent(AgentProgram),
    /// Whichever is there, for looking after what other labs left.
    Present,
}

/// Keeps a command's session, which ends with this value. Nobody may wait for the command's end meanwhile: the client drops
/// what has not arrived yet when that is known.
pub(super) type Held = Child<Arc<Session>>;

/// The two ends of a connection to an agent, and what it complains about.
pub(super) struct Streams {
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
    pub(super) complaints: Complaints,
    /// Time until the shell said its first word, and from there until the agent's program was there.
    pub(super) took: (Duration, Duration),
    pub(super) held: Held,
}

impl Streams {
    /// The two ends alone; the connection ends with the first.
    pub(super) fn into_ends(self) -> (GeneratorOutput, ChildStdin) {
        let output = GeneratorOutput {
            output: self.output,
            _held: self.held,
        };
        (output, self.input)
    }
}

/// What a load generator says; ends its connection when dropped.
#[derive(Debug)]
pub(crate) struct GeneratorOutput {
    output: ChildStdout,
    _held: Held,
}

impl AsyncRead for GeneratorOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

/// What came over standard error, bounded.
#[derive(Debug, Clone, Default)]
pub(super) struct Complaints {
    kept: Arc<Mutex<Vec<u8>>>,
    ended: CancellationToken,
}

impl Complaints {
    async fn gather(self, mut stream: impl AsyncRead + Unpin) {
        // Also when this task is given up, nobody waits for more.
        let _ended = self.ended.clone().drop_guard();
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let room = COMPLAINTS_BYTES_MAX.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..count.min(room)]);
        }
    }

    /// What came so far.
    pub(super) fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        quoted(&String::from_utf8_lossy(&kept))
    }

    /// All that came, once the stream has ended; what came so far where somebody on the host keeps it open.
    async fn last_words(&self) -> String {
        let _ = tokio::time::timeout(LAST_WORDS_DEADLINE, self.ended.cancelled()).await;
        self.text()
    }
}

/// What the session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// To talk to the agent.
    Attach,
    /// To generate a load.
    Generate,
}

impl Errand {
    /// Arguments of the agent's program, in the words of the shell.
    fn arguments(self) -> &'static str {
        match self {
            Self::Attach => r#"attach --root "$d""#,
            Self::Generate => "generate",
        }
    }
}

/// Puts the agent's program there where it is missing and joins the session to it.
///
/// # Errors
/// [`HostError`] with what the host complained about.
pub(super) async fn begin(
    session: Session,
    target: &Target,
    agent: &Agent,
    errand: Errand,
) -> Result<Streams, HostError> {
    let work = tokio::time::timeout(DEADLINE, begin_unbounded(session, target, agent, errand));
    work.await.unwrap_or(Err(HostError::Late {
        step: "starting the agent",
        after: DEADLINE,
    }))
}

async fn begin_unbounded(
    session: Session,
    target: &Target,
    agent: &Agent,
    errand: Errand,
) -> Result<Streams, HostError> {
    let mut watch = Watch::start();
    let command = match agent {
        Agent::Sent(program) => command(target, program, errand),
        Agent::Present => present_command(target, errand),
    };
    let mut child = Arc::new(session)
        .arc_raw_command(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .await
        .map_err(|error| HostError::Lost(quoted(&error.to_string())))?;
    let (Some(mut input), Some(mut output), Some(errors)) =
        (child.stdin().take(), child.stdout().take(), child.stderr().take())
    else {
        return Err(HostError::Lost(String::new()));
    };
    let complaints = Complaints::default();
    tokio::spawn(complaints.clone().gather(errors));
    let shell = match agent {
        Agent::Sent(program) => install(&mut input, &mut output, &complaints, program, &mut watch).await?,
        Agent::Present => find(&mut output, &complaints, &mut watch).await?,
    };
    Ok(Streams {
        input,
        output,
        complaints,
        took: (shell, watch.step()),
        held: child,
    })
}

/// Follows what the command says until it is about to become the agent; returns when it said its first word.
async fn install(
    input: &mut ChildStdin,
    output: &mut ChildStdout,
    complaints: &Complaints,
    agent: &AgentProgram,
    watch: &mut Watch,
) -> Result<Duration, HostError> {
    let mut noise = 0;
    let first = marked(output, &mut noise, complaints).await?;
    let shell = watch.step();
    let mut words = first.split(' ');
    let (state, arch, how) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next());
    if let Some(own) = agent.arch.as_deref().filter(|own| *own != arch) {
        let text = format!("the host is {arch} and the agent is built for {own}; set `target` of the build");
        return Err(HostError::Bootstrap(text));
    }
    match state {
        "present" => return Ok(shell),
        "absent" => {}
        _ => return Err(failed(complaints, &first).await),
    }
    // A host whose disk is full stops reading and says so; both ends must be watched.
    let (head, bytes) = match how {
        Some("gzip") => {
            let packed = agent.packed().await?;
            (format!("{}\n", packed.len()), packed)
        }
        _ => (String::new(), Arc::clone(&agent.bytes)),
    };
    let sending = async {
        // Told by what the command says next.
        let _ = input.write_all(head.as_bytes()).await;
        let _ = input.write_all(&bytes).await;
        let _ = input.flush().await;
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = marked(output, &mut noise, complaints) => answer?,
        () = sending => return Err(HostError::Unexpected),
    };
    match answer.as_str() {
        "ready" => Ok(shell),
        other => Err(failed(complaints, other).await),
    }
}

/// Follows the command that looks for an agent.
async fn find(output: &mut ChildStdout, complaints: &Complaints, watch: &mut Watch) -> Result<Duration, HostError> {
    match marked(output, &mut 0, complaints).await?.as_str() {
        said if said.starts_with("present") => Ok(watch.step()),
        "none" => Err(HostError::NoAgent),
        other => Err(failed(complaints, other).await),
    }
}

/// The reason that the command gives, or what the host complained about beside it: that comes on another stream, at a time
/// of its own.
async fn failed(complaints: &Complaints, said: &str) -> HostError {
    if let Some(why) = said.strip_prefix("failed ").filter(|why| !why.trim().is_empty()) {
        return HostError::Bootstrap(quoted(why.trim()));
    }
    let text = complaints.last_words().await;
    HostError::Bootstrap(if text.is_empty() { quoted(said) } else { text })
}

/// The rest of the next line that begins with the mark. Reads byte by byte: what follows is the agent's.
async fn marked(output: &mut ChildStdout, noise: &mut usize, complaints: &Complaints) -> Result<String, HostError> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match output.read(&mut byte).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(failed(complaints, "the session ended").await),
        }
        *noise += 1;
        if *noise > NOISE_BYTES_MAX {
            return Err(HostError::Bootstrap(format!(
                "its shell prints more than {NOISE_BYTES_MAX} bytes at login"
            )));
        }
        if byte[0] != b'\n' {
            line.push(byte[0]);
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(said) = text.trim_end().strip_prefix(MARK) {
            return Ok(said.to_owned());
        }
        line.clear();
    }
}

/// The command, for whatever shell the user has: it hands all of it to `sh`. It has no single quotes, and nothing of the
/// inventory in it that a shell takes for more than a word.
fn command(target: &Target, agent: &AgentProgram, errand: Errand) -> String {
    let arguments = errand.arguments();
    let (folder, digest, size) = (folder(target), agent.digest, agent.bytes.len());
    let script = format!(
        r#"{folder}
umask 077
p="$d/agent/{digest}"
f="$p/{AGENT_NAME}"
size() {{ wc -c 2>/dev/null <"$1" | tr -d " "; }}
if [ -x "$f" ] && [ "$(size "$f")" = {size} ]; then
echo "{MARK}present $(uname -m)"
else
t="$p/.part.$$"
trap "rm -f \"$t\"" EXIT
trap "exit 73" HUP INT TERM
g=""
if command -v gzip >/dev/null 2>&1; then g=" gzip"; fi
echo "{MARK}absent $(uname -m)$g"
unpack() {{ if [ "$g" ]; then read -r n && head -c "$n" | gzip -dc; else head -c {size}; fi; }}
receive() {{ mkdir -p "$p" && unpack >"$t" && [ "$(size "$t")" = {size} ] && chmod 700 "$t" && mv "$t" "$f"; }}
if e="$(receive 2>&1)"; then
trap - EXIT HUP INT TERM
echo "{MARK}ready"
else
echo "{MARK}failed $(echo "$e" | tr "\n" " ")"
exit 72
fi
fi
exec "$f" {arguments}"#
    );
    quote(&script)
}

/// The command that joins the session to the newest agent that is there.
fn present_command(target: &Target, errand: Errand) -> String {
    let arguments = errand.arguments();
    let folder = folder(target);
    let script = format!(
        r#"{folder}
f="$(ls -t "$d"/agent/*/{AGENT_NAME} 2>/dev/null | head -n 1)"
if [ -z "$f" ]; then echo "{MARK}none"; exit 0; fi
echo "{MARK}present $(uname -m)"
exec "$f" {arguments}"#
    );
    quote(&script)
}

/// Finds the lab's folder.
fn folder(target: &Target) -> String {
    let dir = &target.dir;
    format!("d=\"{dir}\"\ncase \"$d\" in \"~/\"*) d=\"$HOME/${{d#??}}\";; /*) ;; *) d=\"$HOME/$d\";; esac")
}

fn quote(script: &str) -> String {
    debug_assert!(!script.contains('\''), "it is quoted as a whole");
    format!("exec /bin/sh -c '{script}'")
}

#[cfg(test)]
mod tests {
    use super::{super::target::target, *};
    use std::{
        fs,
        io::{Read, Write},
        os::unix::fs::PermissionsExt,
        process::{Command, Stdio},
    };

    fn agent(script: &str) -> AgentProgram {
        AgentProgram {
            bytes: script.as_bytes().into(),
            digest: Digest::of_bytes(script.as_bytes()),
            arch: None,
            packed: Arc::default(),
        }
    }

    /// What is sent to a host that has gzip.
    fn packed(agent: &AgentProgram) -> Vec<u8> {
        let packed = gzip(&agent.bytes).unwrap();
        [format!("{}\n", packed.len()).into_bytes(), packed].concat()
    }

    /// Runs the command as a host does; returns what it printed.
    fn bootstrap(home: &Path, agent: &AgentProgram, sent: &[u8]) -> String {
        let path = std::env::var("PATH").unwrap();
        bootstrap_with(&path, home, agent, sent)
    }

    /// The same on a host that has the programs in `path`.
    fn bootstrap_with(path: &str, home: &Path, agent: &AgentProgram, sent: &[u8]) -> String {
        let mut child = Command::new("/bin/sh")
            .env("PATH", path)
            .arg("-c")
            .arg(command(&target(0), agent, Errand::Attach))
            .env("HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // An agent that is there already reads nothing of it.
        let _ = child.stdin.take().unwrap().write_all(sent);
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        text
    }

    #[test]
    fn the_agent_is_sent_once_and_executed_each_time() {
        let home = tempfile::tempdir().unwrap();
        let agent = agent("#!/bin/sh\necho \"agent $*\"\n");
        let first = bootstrap(home.path(), &agent, &packed(&agent));
        assert!(
            first.contains("regatta-bootstrap absent ") && first.contains("regatta-bootstrap ready\n"),
            "{first}"
        );
        let root = home.path().join(".regatta");
        assert!(
            first.ends_with(&format!("agent attach --root {}\n", root.display())),
            "{first}"
        );
        let again = bootstrap(home.path(), &agent, b"");
        assert!(
            again.starts_with("regatta-bootstrap present ") && again.contains("agent attach"),
            "{again}"
        );
        let folder = root.join("agent").join(agent.digest.to_string());
        let mode = fs::metadata(folder.join(AGENT_NAME)).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, fs::read_dir(folder).unwrap().count()), (0o700, 1));
    }

    /// A folder with the programs that the command needs of a host, and no other.
    fn few_programs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["chmod", "head", "mkdir", "mv", "rm", "sh", "tr", "uname", "wc"] {
            let places = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(name));
            let program = places.iter().find(|program| program.exists()).unwrap();
            std::os::unix::fs::symlink(program, folder.path().join(name)).unwrap();
        }
        folder
    }

    #[test]
    fn a_host_without_gzip_gets_the_agent_as_it_is() {
        let (home, programs) = (tempfile::tempdir().unwrap(), few_programs());
        let agent = agent("#!/bin/sh\necho \"agent $*\"\n");
        let path = programs.path().to_str().unwrap();
        let said = bootstrap_with(path, home.path(), &agent, &agent.bytes);
        let absent = said.lines().next().unwrap();
        assert!(
            absent.starts_with("regatta-bootstrap absent ") && !absent.contains("gzip"),
            "{said}"
        );
        assert!(said.contains("regatta-bootstrap ready\nagent attach"), "{said}");
    }

    #[test]
    fn an_upload_that_is_cut_off_or_damaged_leaves_nothing() {
        let (home, programs) = (tempfile::tempdir().unwrap(), few_programs());
        let agent = agent("#!/bin/sh\necho never\n");
        let (plain, whole) = (programs.path().to_str().unwrap(), packed(&agent));
        let mut damaged = whole.clone();
        damaged[20] ^= 1;
        let said = [
            bootstrap_with(plain, home.path(), &agent, &agent.bytes[..5]),
            bootstrap(home.path(), &agent, &whole[..whole.len() - 5]),
            bootstrap(home.path(), &agent, &whole[..1]),
            bootstrap(home.path(), &agent, b"no number\n"),
            bootstrap(home.path(), &agent, &damaged),
        ];
        for said in said {
            let last = said.lines().last().unwrap();
            assert!(last.starts_with("regatta-bootstrap failed"), "{said}");
        }
        let folder = home.path().join(".regatta/agent").join(agent.digest.to_string());
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    }

    /// Seen on a busy machine: the reason came over standard error after the lab had given the host up.
    #[test]
    fn a_host_that_cannot_keep_the_agent_says_why_in_its_answer() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".regatta")).unwrap();
        fs::write(home.path().join(".regatta/agent"), "no folder").unwrap();
        let agent = agent("#!/bin/sh\necho never\n");
        let said = bootstrap(home.path(), &agent, &packed(&agent));
        let failed = said.lines().last().unwrap().strip_prefix("regatta-bootstrap failed ");
        let why = failed.unwrap_or_else(|| panic!("{said}"));
        assert!(why.contains("mkdir") && why.contains("Not a directory"), "{said}");
    }

    #[test]
    fn a_damaged_agent_is_sent_again() {
        let home = tempfile::tempdir().unwrap();
        let agent = agent("#!/bin/sh\necho \"agent\"\n");
        bootstrap(home.path(), &agent, &packed(&agent));
        let path = home
            .path()
            .join(".regatta/agent")
            .join(agent.digest.to_string())
            .join(AGENT_NAME);
        fs::write(&path, "short").unwrap();
        let said = bootstrap(home.path(), &agent, &packed(&agent));
        assert!(said.contains("absent") && said.ends_with("agent\n"), "{said}");
    }
}
