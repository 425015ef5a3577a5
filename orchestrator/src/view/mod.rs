//! Live views of a run: a terminal that is drawn, or plain lines, and a page; all of one board.
//!
//! ```text
//! runner --tell--> Panel --fold--> Board <--draw-- Screen (own thread, keys -> Orders)
//!                                        <--JSON-- web page (own thread)
//! ```

mod cluster;
mod draw;
mod keys;
mod screen;
mod tail;
#[cfg(test)]
mod tests;
mod web;

pub(crate) use cluster::Looks;
pub(crate) use keys::Leaving;
pub(crate) use screen::{Screen, may_draw};
pub(crate) use web::Web;

use crate::{
    progress::Printer,
    rundir::RunDir,
    runner::{Observer, Order, Orders, Progress},
};
use anstream::eprintln;
use regatta_plan::{Plan, scenario};
use regatta_report::{
    live::{Board, Place, Setting},
    model::{PhaseKind, Role},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Time between two looks at the nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What the views of one run share.
#[derive(Debug)]
pub(crate) struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    board: Board,
    /// Counts changes, so that nothing is drawn twice.
    version: u64,
    orders: Option<Orders>,
    run: Option<RunDir>,
    /// Lines to leave behind when the screen is gone.
    transcript: Vec<String>,
}

impl Shared {
    /// Views of a run of `plan`.
    pub(crate) fn new(plan: &Plan) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            board: Board::new(setting(plan)),
            version: 0,
            orders: None,
            run: None,
            transcript: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is shown.
    fn board<T>(&self, read: impl FnOnce(&Board) -> T) -> T {
        read(&self.lock().board)
    }

    /// Changes what is shown.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Board)) {
        let mut state = self.lock();
        change(&mut state.board);
        state.version += 1;
    }

    /// The run that is watched.
    pub(crate) fn set_run(&self, run: &RunDir) {
        self.lock().run = Some(run.clone());
        self.change(|board| run.id().clone_into(&mut board.setting.run));
    }

    /// Where orders go from now on.
    pub(crate) fn set_orders(&self, orders: &Orders) {
        self.lock().orders = Some(orders.clone());
    }

    fn give(&self, order: Order) {
        let orders = self.lock().orders.clone();
        match orders {
            Some(orders) => orders.give(order),
            None => self.change(|board| board.add_line("refused", "", "no node runs yet")),
        }
    }

    /// Lines to print once the screen is gone: what a scrolled terminal would have kept.
    pub(crate) fn transcript(&self) -> Vec<String> {
        self.lock().transcript.clone()
    }
}

/// What does not change in a run of `plan`.
pub(crate) fn setting(plan: &Plan) -> Setting {
    let role = |role| match role {
        scenario::Role::Validator => Role::Validator,
        scenario::Role::Full => Role::Full,
        scenario::Role::Observer => Role::Observer,
    };
    let place = |node: &regatta_plan::PlannedNode| Place {
        name: node.name.clone(),
        role: role(node.role),
        region: node.region.clone().unwrap_or_default(),
    };
    let program = |program: &regatta_plan::PlannedProcess| Place {
        name: program.name.clone(),
        region: program.region.clone().unwrap_or_default(),
        ..Place::default()
    };
    let phases = &plan.phases;
    Setting {
        run: String::new(),
        scenario: plan.name.clone(),
        question: plan.question.clone(),
        nodes: plan.nodes.iter().map(place).collect(),
        edges: plan.edges.clone(),
        instances: plan.instances.iter().map(|instance| instance.id.clone()).collect(),
        programs: plan.processes.iter().map(program).collect(),
        phases: vec![
            (PhaseKind::Warmup, phases.warmup_ms),
            (PhaseKind::Measure, phases.measure_ms),
            (PhaseKind::Cooldown, phases.cooldown_ms),
        ],
    }
}

/// Shows a run: on the screen, as lines, on a page, or as lines and on a page.
#[derive(Debug)]
pub(crate) struct Panel {
    shared: Arc<Shared>,
    /// Where nothing is drawn.
    printer: Option<Printer>,
    /// Whether somebody looks at the board.
    is_watched: bool,
}

impl Panel {
    /// Draws, when `drawn`, and prints lines otherwise; `page` says that a page shows the board as well.
    pub(crate) fn new(shared: Arc<Shared>, drawn: bool, page: bool) -> Self {
        Self {
            shared,
            printer: (!drawn).then(Printer::new),
            is_watched: drawn || page,
        }
    }

    /// Tells those who look at the screen where the page is.
    pub(crate) fn show_address(&self, address: SocketAddr) {
        let text = format!("http://{address}/");
        self.shared.change(|board| board.add_line("page", "", &text));
    }

    /// Says something that is no progress of the run.
    pub(crate) fn say(&self, text: &str) {
        self.shared.change(|board| board.add_line("lab", "", text));
        if self.printer.is_some() {
            eprintln!("{text}");
        }
    }
}

impl Observer for Panel {
    fn tell(&self, progress: &Progress<'_>) {
        if let Some(printer) = &self.printer {
            printer.tell(progress);
        }
        let shared = &self.shared;
        match progress {
            Progress::Run(run) => {
                shared.set_run(run);
                shared.lock().transcript.push(format!("run       {}", run.id()));
            }
            Progress::StepStarted(step) => shared.change(|board| board.step_begins(&step.step.to_string())),
            Progress::StepEnded { step, took, error } => {
                let text = format!("{} ({:.2} s)", step.step, took.as_secs_f64());
                match error {
                    None => shared.change(|board| board.add_line("step", "", &text)),
                    Some(error) => {
                        shared.change(|board| board.add_line("failed", "", &format!("{text}: {error}")));
                        let line = format!("{:>8.2}s  {}: FAILED\nerror: {error}", took.as_secs_f64(), step.step);
                        shared.lock().transcript.push(line);
                    }
                }
            }
            Progress::Build(line) => shared.change(|board| board.step_begins(line.trim())),
            Progress::Prepared(built, of) => {
                shared.change(|board| board.step_begins(&format!("{built} of {of} transactions signed")));
            }
            Progress::Ending(why) => {
                shared.change(|board| board.add_line("ending", "", why));
                shared.lock().transcript.push(format!("ending the run: {why}"));
            }
            Progress::Look(glimpse) => shared.change(|board| board.look(glimpse)),
            Progress::Orders(orders) => shared.set_orders(orders),
            Progress::Refused(why) => shared.change(|board| board.add_line("refused", "", why)),
            Progress::Heartbeat(_) => {}
        }
    }

    fn heartbeat_interval(&self) -> Duration {
        match &self.printer {
            Some(printer) => printer.heartbeat_interval(),
            // Nobody reads heartbeats where looks are drawn.
            None => Duration::from_secs(60),
        }
    }

    fn look_interval(&self) -> Option<Duration> {
        self.is_watched.then_some(LOOK_INTERVAL)
    }
}
