//! `regatta watch`: a cluster that is up, drawn on the terminal or told in lines.

use super::{CliError, Global, Outcome, output::print_json, runs::the_cluster, signals::Signals};
use crate::{
    rundir::RunDir,
    supervisor::{Answer, ClusterStatus, Request, ask, is_absent},
    view::{Leaving, Looks, Screen, Shared, may_draw},
};
use anstream::eprintln;
use clap::Args;
use regatta_plan::Plan;
use regatta_report::{
    format,
    live::{Board, NodeState},
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

/// Time between two looks: each asks every node.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two lines where nothing is drawn.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Watch a cluster that is up
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal the cluster is drawn as `regatta run` draws a run: nodes, heights of every instance, programs of others. \
Elsewhere, and with --plain, NO_COLOR or TERM=dumb, a line tells every 5 seconds how it is; with --json its whole status.

Leaving (q or Ctrl-C) leaves the cluster as it is. It ends when the cluster does.

Examples:
  regatta watch
  regatta watch latest --plain")]
pub(super) struct Watch {
    /// Run, by id, unique prefix or `latest`; without it, the only cluster that is up
    run: Option<String>,
    /// Print plain lines, also on a terminal
    #[arg(long)]
    plain: bool,
}

impl Watch {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let (run, status) = the_cluster(&global.runs, self.run.as_deref()).await?;
        let plan = run.placed_plan()?;
        let mut signals = Signals::listen()?;
        if !self.plain && !global.json && may_draw() {
            draw(&run, &plan, &mut signals).await?;
            return Ok(0);
        }
        tokio::select! {
            told = tell(global, &run, &plan, status) => told?,
            _ = signals.next() => {}
        }
        Ok(0)
    }
}

/// Draws a cluster that is up until somebody leaves or it is gone.
///
/// # Errors
/// [`CliError`] when the terminal cannot be taken.
pub(super) async fn draw(run: &RunDir, plan: &Plan, signals: &mut Signals) -> Result<(), CliError> {
    let (view, gone) = View::start(run, plan, Leaving::Nothing)?;
    let is_gone = tokio::select! {
        _ = gone => true,
        _ = signals.next() => false,
    };
    // The terminal first: what follows is to stay on it.
    drop(view);
    if is_gone {
        eprintln!("{} is not up any more", run.id());
    } else {
        eprintln!(
            "{} goes on; `regatta watch {0}` shows it again, `regatta down {0}` ends it",
            run.id()
        );
    }
    Ok(())
}

/// The picture of one cluster. Dropping it gives the terminal back.
pub(super) struct View {
    shared: Arc<Shared>,
    looks: JoinHandle<()>,
    _screen: Screen,
}

impl View {
    /// Takes the terminal. What comes with it completes when a cluster that was there is not up any more.
    ///
    /// # Errors
    /// [`CliError`] when the terminal cannot be taken.
    pub(super) fn start(
        run: &RunDir,
        plan: &Plan,
        leaving: Leaving,
    ) -> Result<(Self, oneshot::Receiver<()>), CliError> {
        let shared = Shared::new(plan);
        shared.set_run(run);
        // There is no timeline: nothing begins and ends by itself.
        shared.change(|board| board.setting.phases.clear());
        let screen = Screen::start(Arc::clone(&shared), leaving)?;
        let (end, gone) = oneshot::channel();
        let (run, plan, board) = (run.clone(), plan.clone(), Arc::clone(&shared));
        let looks = tokio::spawn(async move {
            follow(&run, &plan, &board).await;
            // Whoever waited may have left.
            let _ = end.send(());
        });
        let view = Self {
            shared,
            looks,
            _screen: screen,
        };
        Ok((view, gone))
    }

    /// Shows a step of the start.
    pub(super) fn step(&self, text: &str) {
        self.shared.change(|board| {
            board.step_begins(text);
            board.add_line("step", "", text);
        });
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.looks.abort();
    }
}

/// Looks at a cluster until it is not up any more; one that has not answered yet is waited for.
async fn follow(run: &RunDir, plan: &Plan, shared: &Shared) {
    let mut looks = Looks::new();
    loop {
        match ask(run, &Request::Status {}).await {
            Ok(Answer::Status(status)) => shared.change(|board| looks.take(plan, &status, board)),
            Err(error) if is_absent(&error) && looks.has_seen() => return,
            Err(error) if is_absent(&error) => {}
            Err(error) => shared.change(|board| board.step_begins(&format!("no answer: {error}"))),
            Ok(answer) => shared.change(|board| board.step_begins(&format!("unexpected answer {answer:?}"))),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Tells in lines how a cluster is, until it is not up any more.
async fn tell(global: &Global, run: &RunDir, plan: &Plan, first: ClusterStatus) -> Result<(), CliError> {
    let (mut looks, mut board) = (Looks::new(), Board::new(crate::view::setting(plan)));
    let mut status = first;
    loop {
        looks.take(plan, &status, &mut board);
        match global.json {
            true => print_json(&status)?,
            false => eprintln!("{}", line(&board)),
        }
        tokio::time::sleep(LINE_INTERVAL).await;
        status = match ask(run, &Request::Status {}).await {
            Ok(Answer::Status(status)) => status,
            Err(error) if is_absent(&error) => {
                eprintln!("{} is not up any more", run.id());
                return Ok(());
            }
            Ok(answer) => {
                return Err(CliError::Failed(format!(
                    "run {}: unexpected answer {answer:?}",
                    run.id()
                )));
            }
            Err(error) => return Err(CliError::Failed(format!("run {}: {error}", run.id()))),
        };
    }
}

/// How a cluster is, in one line.
fn line(board: &Board) -> String {
    let states = NodeState::ALL.into_iter().filter(|state| board.counts.get(*state) > 0);
    let states: Vec<String> = states
        .map(|state| format!("{} {}", board.counts.get(state), state.as_str()))
        .collect();
    let instances = board.setting.instances.iter().zip(&board.spreads);
    let heights = instances.filter_map(|(name, spread)| {
        let spread = (*spread)?;
        let [low, high] = [spread.min, spread.max].map(format::integer);
        Some(format!("  {name} {low}..{high}"))
    });
    let down = board
        .programs
        .iter()
        .filter(|program| program.state == NodeState::Down)
        .count();
    let programs = match board.programs.len() {
        0 => String::new(),
        all => format!("  programs {} of {all}", all - down),
    };
    format!(
        "{:>8.1}s  {}{}{programs}  cpu {:.0} %  memory {}",
        board.at_ms as f64 / 1e3,
        states.join(", "),
        heights.collect::<String>(),
        board.total.cpu_percent,
        format::bytes(board.total.rss_bytes as f64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        supervisor::{InstanceStatus, NodeStatus, ProcessUsage, ProgramStatus},
        testing::plan,
    };

    fn status(plan: &Plan, height: u64) -> ClusterStatus {
        let node = |node: &regatta_plan::PlannedNode| NodeStatus {
            name: node.name.clone(),
            role: node.role.to_string(),
            http: String::new(),
            pid: Some(7),
            state: "running".to_owned(),
            height: Some(height),
            links: Some((2, 2)),
            pending: Some(1),
            instances: vec![InstanceStatus {
                id: "side".to_owned(),
                height: height + u64::from(node.index),
                pending: 1,
            }],
            usage: Some(ProcessUsage {
                cpu_ms: 10,
                rss_bytes: 1 << 20,
            }),
        };
        ClusterStatus {
            run: "small-1".to_owned(),
            pid: 1,
            ready: true,
            up_s: 3,
            lease_left_s: 9,
            namespace: None,
            programs: vec![ProgramStatus {
                name: "web-0".to_owned(),
                address: String::new(),
                pid: Some(8),
                state: "exited with code 3".to_owned(),
                usage: None,
            }],
            usage: None,
            nodes: plan.nodes.iter().map(node).collect(),
        }
    }

    #[test]
    fn a_line_tells_of_states_heights_of_instances_and_programs() {
        let mut plan = plan(3);
        let side = regatta_plan::PlannedInstance {
            id: "side".to_owned(),
            ..plan.instances[0].clone()
        };
        plan.instances.push(side);
        let mut setting = crate::view::setting(&plan);
        setting.programs.push(regatta_report::live::Place::default());
        let (mut looks, mut board) = (Looks::new(), Board::new(setting));
        looks.take(&plan, &status(&plan, 40), &mut board);
        let text = line(&board);
        assert!(text.contains("3 ready  side 40..42  programs 0 of 1"), "{text}");
        assert_eq!(board.step, "lease ends in 9 s");
        let mut next = status(&plan, 40);
        next.nodes[1].state = "killed by signal 9".to_owned();
        looks.take(&plan, &next, &mut board);
        assert!(line(&board).contains("2 ready, 1 down"), "{}", line(&board));
        let event = board.events.back().unwrap();
        assert_eq!(
            (event.kind.as_str(), event.text.as_str()),
            ("crash", "val-1 killed by signal 9")
        );
        assert_eq!(board.events.len(), 1, "the program had ended before");
    }
}
