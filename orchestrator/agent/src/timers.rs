//! Fault timers: they run by the host's clock, whether the lab is there or not.

use crate::{
    agent::Agent,
    clock::sleep_until_us,
    node::{End, Node},
    run::Run,
};
use regatta_fleet::{FaultTimer, NodeEvent, Refusal, TimedFault, What, limits::TIMERS_MAX};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use tokio_util::sync::CancellationToken;

/// The timers of a run.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Cancelled to forget those that have not begun.
    forget: RefCell<CancellationToken>,
    /// Cancelled to end all: nothing is begun and nothing undone.
    halt: RefCell<CancellationToken>,
    count: Cell<usize>,
}

impl Timers {
    /// Forgets those that have not begun.
    pub(crate) fn forget(&self) {
        self.forget.take().cancel();
    }

    /// Ends all.
    pub(crate) fn halt(&self) {
        self.halt.take().cancel();
    }
}

/// Adds timers to a run.
///
/// # Errors
/// [`What::Missing`] names a node that is not here; [`What::Order`] when there are too many, or one ends before it begins.
/// Then none is added.
pub(crate) fn add(agent: &Rc<Agent>, run: &Rc<Run>, timers: Vec<FaultTimer>) -> Result<(), Refusal> {
    run.check_lease()?;
    let count = run.timers.count.get() + timers.len();
    if count > TIMERS_MAX {
        return Err(Refusal::new(
            What::Order,
            format!("{count} fault timers; at most {TIMERS_MAX} are allowed"),
        ));
    }
    for timer in &timers {
        run.node(&timer.node)?;
        if timer.end_us.is_some_and(|end_us| end_us < timer.begin_us) {
            return Err(Refusal::new(
                What::Order,
                format!("fault timer {} ends before it begins", timer.id),
            ));
        }
    }
    run.timers.count.set(count);
    for timer in timers {
        let (forget, halt) = (run.timers.forget.borrow().clone(), run.timers.halt.borrow().clone());
        let (agent, run) = (Rc::clone(agent), Rc::clone(run));
        tokio::task::spawn_local(async move {
            play(&agent, &run, &timer, &forget, &halt).await;
            run.timers.count.set(run.timers.count.get() - 1);
        });
    }
    Ok(())
}

/// One timer from its beginning to its end.
async fn play(agent: &Agent, run: &Rc<Run>, timer: &FaultTimer, forget: &CancellationToken, halt: &CancellationToken) {
    tokio::select! {
        () = sleep_until_us(timer.begin_us) => {}
        () = forget.cancelled() => return,
        () = halt.cancelled() => return,
    }
    let began = begin(run, timer, halt).await;
    let failed = began.is_err();
    tell(run, timer, false, began);
    let Some(end_us) = timer.end_us.filter(|_| !failed) else {
        return;
    };
    tokio::select! {
        () = sleep_until_us(end_us) => {}
        () = halt.cancelled() => return,
    }
    let undone = undo(agent, run, timer, halt).await;
    tell(run, timer, true, undone);
}

fn tell(run: &Run, timer: &FaultTimer, undone: bool, result: Result<(), Refusal>) {
    run.tell(NodeEvent::Fault {
        id: timer.id,
        undone,
        planned_us: if undone {
            timer.end_us.unwrap_or_default()
        } else {
            timer.begin_us
        },
        error: result.err().map(|refusal| refusal.message),
    });
}

fn halted() -> Refusal {
    Refusal::new(What::Order, "the run is being stopped")
}

async fn begin(run: &Run, timer: &FaultTimer, halt: &CancellationToken) -> Result<(), Refusal> {
    let node = run.node(&timer.node)?;
    let _life = node.life().await;
    if halt.is_cancelled() {
        return Err(halted());
    }
    let Some(process) = node.running() else {
        return Err(Refusal::new(
            What::Missing,
            format!("node `{}` does not run", timer.node),
        ));
    };
    match timer.fault {
        TimedFault::Pause => process.pause(true),
        TimedFault::Crash { lose_disk } => {
            node.end(End::Kill).await;
            if lose_disk {
                node.lose_disk(run)?;
            }
        }
    }
    Ok(())
}

async fn undo(agent: &Agent, run: &Rc<Run>, timer: &FaultTimer, halt: &CancellationToken) -> Result<(), Refusal> {
    let node = run.node(&timer.node)?;
    let _life = node.life().await;
    if halt.is_cancelled() {
        return Err(halted());
    }
    match timer.fault {
        TimedFault::Pause => resume(&node),
        TimedFault::Crash { .. } if node.running().is_some() => Ok(()),
        TimedFault::Crash { .. } => run.start_again(agent, &node).await,
    }
}

fn resume(node: &Node) -> Result<(), Refusal> {
    let Some(process) = node.running() else {
        return Err(Refusal::new(
            What::Missing,
            format!("node `{}` does not run any more", node.name()),
        ));
    };
    process.pause(false);
    Ok(())
}
