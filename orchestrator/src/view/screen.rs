//! The terminal: taken, drawn by a thread of its own, and given back whatever happens.

use super::{
    Shared, draw,
    keys::{Effect, Leaving, Overlay, Ui},
    tail::tail,
};
use nix::sys::signal::{Signal, raise};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyEventKind},
        execute,
        terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use std::{
    io::{self, IsTerminal, Stderr, Write},
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Least time between two pictures when only the run changed.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Longest wait for a key before looking at what changed.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Lines of a log that are read: more than any terminal shows.
const LOG_LINES_MAX: usize = 200;

/// Whether the terminal is drawn on now, for whoever has to give it back in a hurry.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Whether stderr and stdin are a terminal that can be drawn on, and nobody asked for plain lines.
pub(crate) fn may_draw() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_dumb = set("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && io::stdin().is_terminal() && set("NO_COLOR").is_none() && !is_dumb
}

/// A terminal that is being drawn on. Dropping it gives the terminal back.
#[derive(Debug)]
pub(crate) struct Screen {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Takes the terminal and draws `shared` on it. `leaving` says what leaving it does.
    ///
    /// # Errors
    /// What the system said, when the terminal cannot be taken or a thread cannot be started.
    pub(crate) fn start(shared: Arc<Shared>, leaving: Leaving) -> io::Result<Self> {
        let ui = Ui {
            leaving,
            // What is done to a run goes through it; whoever only watches a cluster has nobody to ask.
            may_break: leaving == Leaving::EndsRun,
            ..Ui::default()
        };
        let terminal = take()?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let started = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || show(terminal, &shared, ui, &asked));
        match started {
            Ok(thread) => Ok(Self {
                stop,
                thread: Some(thread),
            }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread gave the terminal back and printed itself.
            let _ = thread.join();
        }
        give_back();
    }
}

fn take() -> io::Result<Terminal<CrosstermBackend<Stderr>>> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        // What a panic prints must be readable, on the screen that stays.
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    // Not every terminal empties the other screen, and only what changes is drawn.
    let taken = execute!(io::stderr(), EnterAlternateScreen, Clear(ClearType::All))
        .and_then(|()| Terminal::new(CrosstermBackend::new(io::stderr())));
    if taken.is_err() {
        give_back();
    }
    taken
}

/// Gives the terminal back, once however often it is called.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that has gone away cannot be given back.
        let _ = disable_raw_mode();
        let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
        let _ = io::stderr().flush();
    }
}

/// Draws until it is asked to stop or the terminal is gone.
fn show(mut terminal: Terminal<CrosstermBackend<Stderr>>, shared: &Shared, mut ui: Ui, stop: &AtomicBool) {
    let mut drawn: Option<(u64, Instant)> = None;
    while !stop.load(Ordering::Relaxed) {
        let version = shared.lock().version;
        let is_due = drawn.is_none_or(|(last, at)| last != version && at.elapsed() >= DRAW_INTERVAL);
        if is_due && paint(&mut terminal, shared, &ui).is_ok() {
            drawn = Some((version, Instant::now()));
        }
        match next_key(shared, &mut ui) {
            Ok(true) => drawn = None,
            Ok(false) => {}
            // No more keys: the terminal is gone, and SIGHUP ends the run in order.
            Err(_) => return,
        }
    }
}

/// Waits a moment for a key or a new size and says whether anything has to be drawn anew.
fn next_key(shared: &Shared, ui: &mut Ui) -> io::Result<bool> {
    if !event::poll(KEY_WAIT)? {
        // A log grows without the board.
        return Ok(false);
    }
    match event::read()? {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let effect = ui.key(key, &shared.lock().board);
            match effect {
                // As from the keyboard of a terminal that nobody draws on.
                Some(Effect::Stop) => raise(Signal::SIGINT)?,
                Some(Effect::Give(order)) => shared.give(order),
                None => {}
            }
            Ok(true)
        }
        Event::Resize(..) => Ok(true),
        _ => Ok(false),
    }
}

fn paint(terminal: &mut Terminal<CrosstermBackend<Stderr>>, shared: &Shared, ui: &Ui) -> io::Result<()> {
    let log = match ui.overlay {
        Overlay::Log => read_log(shared, ui.node),
        _ => Vec::new(),
    };
    let board = shared.lock().board.clone();
    terminal.draw(|frame| {
        let area = frame.area();
        draw::draw(&board, ui, &log, area, frame.buffer_mut());
    })?;
    Ok(())
}

fn read_log(shared: &Shared, node: usize) -> Vec<String> {
    let state = shared.lock();
    let name = state.board.setting.nodes.get(node).map(|node| node.name.clone());
    let path = state.run.as_ref().zip(name).map(|(run, name)| run.log(&name));
    drop(state);
    let Some(path) = path else { return Vec::new() };
    tail(&path, LOG_LINES_MAX).unwrap_or_else(|error| vec![format!("{}: {error}", path.display())])
}
