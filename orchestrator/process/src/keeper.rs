//! The one thread that starts processes and sees them end.
//!
//! A node asks the kernel to end it with its parent, and the kernel means the parent *thread*. So all nodes are started
//! by one thread that lives as long as the program. It also holds their stdin (which closes when the program dies), reads their
//! output and waits for them, so that a process id is only ever signalled while its process has not been waited for:
//! no other process can have got it.

use crate::{
    Exit, LAUNCH, Place, Process, ProcessSpec, StartError,
    foreign::Container,
    log::NodeLog,
    process::{Order, State},
    start_ticks,
};
use bytes::BytesMut;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{io, os::unix::process::ExitStatusExt, process::Stdio, thread::JoinHandle, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::{mpsc, oneshot, watch},
    task::LocalSet,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest line of output that is kept whole, in bytes; a longer one is split.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How long the output of an ended process is still read: a child of its own may hold the pipe open.
const LAST_OUTPUT_MAX: Duration = Duration::from_millis(500);
/// Attempts to execute a file that somebody still holds open for writing, and the pause between two.
const BUSY_ATTEMPTS_MAX: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How much sooner the kernel takes a process than its starter when memory is gone, in thousandths of all memory.
const SACRIFICE: i32 = 500;
/// The score of whoever is taken first.
const SCORE_MAX: i32 = 1000;

struct Request {
    spec: ProcessSpec,
    /// Network namespace of the process; without it, that of the thread.
    place: Option<Place>,
    reply: oneshot::Sender<Result<Process, StartError>>,
}

/// Handle of the thread. When it is dropped, what the thread started is killed and waited for.
#[derive(Debug)]
pub struct Keeper {
    requests: Option<mpsc::UnboundedSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system said when it refused the thread.
    pub fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, serve(inbox)))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Starts a process from the thread, in the network namespace `place`.
    ///
    /// # Errors
    /// [`StartError`] when the system refuses it.
    pub async fn spawn(&self, spec: ProcessSpec, place: Option<Place>) -> Result<Process, StartError> {
        let stopping = StartError::Stopping(spec.name.clone());
        let (reply, answer) = oneshot::channel();
        let request = Request { spec, place, reply };
        if self
            .requests
            .as_ref()
            .is_none_or(|requests| requests.send(request).is_err())
        {
            return Err(stopping);
        }
        answer.await.unwrap_or(Err(stopping))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // Only fails when the thread panicked; its children have been killed with it.
            let _ = thread.join();
        }
    }
}

/// Starts what is asked for, one process after the other, until the [`Keeper`] is gone; then kills what still runs.
async fn serve(mut inbox: mpsc::UnboundedReceiver<Request>) {
    let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
    while let Some(request) = inbox.recv().await {
        handle(request, &closing, &tasks).await;
    }
    closing.cancel();
    tasks.close();
    tasks.wait().await;
}

async fn handle(request: Request, closing: &CancellationToken, tasks: &TaskTracker) {
    let Request { spec, place, reply } = request;
    let name = spec.name.clone();
    let result = start(spec, place, closing, tasks).await;
    // Whoever asked may have given up; then the process ends with its handle.
    let _ = reply.send(result.map_err(|error| StartError::Refused { name, error }));
}

async fn start(
    spec: ProcessSpec,
    place: Option<Place>,
    closing: &CancellationToken,
    tasks: &TaskTracker,
) -> io::Result<Process> {
    let log = NodeLog::open(&spec.log, spec.log_bytes_max)?;
    let container = match &spec.foreign {
        Some(foreign) => Container::start(&foreign.launcher)?,
        None => None,
    };
    let child = spawn(&spec, place.as_ref(), container.as_ref()).await?;
    let pid = child
        .id()
        .ok_or_else(|| io::Error::other("the process ended at once"))?;
    offer_first(pid);
    let (orders, inbox) = mpsc::unbounded_channel();
    let (state, watched) = watch::channel(State::Running(None));
    let kept = Kept {
        has_group: spec.foreign.is_some(),
        announcement: spec.foreign.and_then(|foreign| foreign.announcement),
        container,
    };
    let supervision = supervise(child, log, inbox, (state, kept), closing.clone());
    tasks.spawn_local(async move {
        // The program's path may name this descriptor, and an interpreter opens it when it likes.
        let _held = spec.held;
        supervision.await;
    });
    Ok(Process {
        pid,
        start_ticks: start_ticks(pid).unwrap_or_default(),
        orders,
        state: watched,
    })
}

/// Executes the program; tries again while a file that was just written counts as busy, which another thread's child
/// causes between its fork and its exec.
async fn spawn(spec: &ProcessSpec, place: Option<&Place>, container: Option<&Container>) -> io::Result<Child> {
    let mut attempts = 0;
    loop {
        let mut command = match &spec.foreign {
            Some(foreign) => {
                let mut command = Command::new(&foreign.launcher);
                command.args(LAUNCH).arg(&spec.program);
                command.envs(foreign.environment.iter().map(|(key, value)| (key, value)));
                command
            }
            None => Command::new(&spec.program),
        };
        command
            .args(&spec.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C at the terminal is for the program, which then stops its nodes cleanly.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(folder) = &spec.folder {
            command.current_dir(folder);
        }
        let mut born = || match container {
            Some(container) => container.within(|| command.spawn()),
            None => command.spawn(),
        };
        let result = match place {
            Some(place) => within(place, born),
            None => born(),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < BUSY_ATTEMPTS_MAX => {
                attempts += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Has the kernel take a process that was just started before this program when memory is gone: one node less is a finding,
/// a dead lab is a lost run. What protects this program is not handed down.
fn offer_first(pid: u32) {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok();
    let Some(own) = own.and_then(|text| text.trim().parse().ok()) else {
        return;
    };
    // Refused only where the process is gone or has become somebody else's: then there is nothing to offer.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score_of_child(own).to_string());
}

/// The score of a process whose starter has `own`.
fn score_of_child(own: i32) -> i32 {
    own.max(0).saturating_add(SACRIFICE).min(SCORE_MAX)
}

/// Does `work` with this thread in the network namespace `place`: a process is born where its parent is.
fn within<T>(place: &Place, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let home = Place::current()?;
    place.enter()?;
    let result = work();
    home.enter()?;
    result
}

/// What a program of others has beside its process.
struct Kept {
    /// Signals go to all of its group.
    has_group: bool,
    announcement: Option<String>,
    container: Option<Container>,
}

/// Everything about one running process.
struct Supervised {
    child: Child,
    log: NodeLog,
    state: watch::Sender<State>,
    ordered: bool,
    forced: bool,
    kill_at: Option<Instant>,
    has_group: bool,
    /// Text of the line that is the announcement, where not simply the first one is.
    announcement: Option<String>,
}

async fn supervise(
    mut child: Child,
    log: NodeLog,
    mut orders: mpsc::UnboundedReceiver<Order>,
    (state, kept): (watch::Sender<State>, Kept),
    closing: CancellationToken,
) {
    let mut stdin = child.stdin.take();
    let mut stdout = child.stdout.take().map(LineReader::<ChildStdout>::new);
    let mut stderr = child.stderr.take().map(LineReader::<ChildStderr>::new);
    let mut this = Supervised {
        child,
        log,
        state,
        ordered: false,
        forced: false,
        kill_at: None,
        has_group: kept.has_group,
        announcement: kept.announcement,
    };
    let status = loop {
        let kill_at = this.kill_at;
        tokio::select! {
            line = next_line(&mut stdout) => this.printed(&line),
            line = next_line(&mut stderr) => this.complained(&line),
            order = orders.recv() => {
                let ends = matches!(order, None | Some(Order::Stop(_) | Order::Kill));
                this.obey(order.unwrap_or(Order::Kill));
                if ends {
                    stdin = None;
                }
            }
            () = sleep_until(kill_at) => this.force(),
            () = closing.cancelled(), if !this.forced => this.force(),
            status = this.child.wait() => break status,
        }
    };
    drop(stdin);
    if let Some(container) = kept.container {
        container.end().await;
    }
    let rest = async {
        drain(stdout, &mut this.log).await;
        drain(stderr, &mut this.log).await;
    };
    let _ = tokio::time::timeout(LAST_OUTPUT_MAX, rest).await;
    this.end(status.ok());
}

impl Supervised {
    /// Takes a line of stderr: only a wanted text makes it an announcement.
    fn complained(&mut self, line: &[u8]) {
        if self.announcement.is_some() {
            self.printed(line);
        } else {
            self.log.write_line(line);
        }
    }

    /// Takes a line of stdout: the first one, or the first with the wanted text, is the announcement.
    fn printed(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        if self.announcement.as_ref().is_some_and(|wanted| !text.contains(wanted)) {
            return self.log.write_line(line);
        }
        self.state.send_if_modified(|state| {
            let first = *state == State::Running(None);
            if first {
                *state = State::Running(Some(text));
            }
            first
        });
        self.log.write_line(line);
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Stop(grace) => {
                self.ordered = true;
                self.signal(Signal::SIGTERM);
                // Somebody may have stopped it: then it acts on nothing but this.
                self.signal(Signal::SIGCONT);
                self.kill_at = Some(Instant::now() + grace);
            }
            Order::Kill => {
                self.ordered = true;
                self.signal(Signal::SIGKILL);
            }
            Order::Pause => self.signal(Signal::SIGSTOP),
            Order::Resume => self.signal(Signal::SIGCONT),
        }
    }

    fn force(&mut self) {
        self.kill_at = None;
        (self.ordered, self.forced) = (true, true);
        self.signal(Signal::SIGKILL);
    }

    /// Signals the process. Its id is known exactly as long as it has not been waited for.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let whom = if self.has_group { -pid } else { pid };
            let _ = kill(Pid::from_raw(whom), signal);
        }
    }

    fn end(self, status: Option<std::process::ExitStatus>) {
        let exit = Exit {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            ordered: self.ordered,
            forced: self.forced,
            starved: false,
            tail: self.log.tail(),
        };
        let _ = self.state.send(State::Ended(exit));
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Writes what is left in a stream to the log.
async fn drain<R: AsyncRead + Unpin>(reader: Option<LineReader<R>>, log: &mut NodeLog) {
    let Some(mut reader) = reader else { return };
    while let Some(line) = reader.next().await {
        log.write_line(&line);
    }
}

/// The next line of `reader`; at its end the reader is dropped and the wait never ends.
async fn next_line<R: AsyncRead + Unpin>(reader: &mut Option<LineReader<R>>) -> Vec<u8> {
    if let Some(open) = reader {
        if let Some(line) = open.next().await {
            return line;
        }
        *reader = None;
    }
    std::future::pending().await
}

/// Splits a stream into lines of bounded length. Dropping an unfinished `next` loses nothing.
struct LineReader<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
        }
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Some(line.to_vec());
            }
            debug_assert!(!self.buffer.contains(&b'\n'), "a whole line has been given out");
            if self.buffer.len() >= LINE_BYTES_MAX {
                return Some(self.buffer.split().to_vec());
            }
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) if self.buffer.is_empty() => return None,
                Ok(0) | Err(_) => return Some(self.buffer.split().to_vec()),
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::score_of_child;

    #[test]
    fn children_are_taken_first_and_inherit_no_protection() {
        assert_eq!([0, 200, 900, 1000].map(score_of_child), [500, 700, 1000, 1000]);
        assert_eq!(score_of_child(-1000), 500);
    }
}
