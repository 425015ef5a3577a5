//! One node of a run: started from a verified program, watched, ended.

use crate::{
    agent::Agent,
    leftovers::Note,
    limits::{Group, Limits},
    run::Run,
    store::refused,
};
use regatta_fleet::{AGENT_PID, Name, NodeEvent, NodeStart, NodeState, NodeStatus, Program, Refusal, Started, What};
use regatta_process::{Exit, Process, ProcessSpec};
use regatta_seal::VerifiedProgram;
use std::{cell::RefCell, ffi::OsString, fs, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

/// How long what a node left behind in its control group may take to go after SIGKILL.
const GROUP_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two looks at whether it has gone.
const GROUP_PAUSE: Duration = Duration::from_millis(5);

/// A node and its newest process.
#[derive(Debug)]
pub(crate) struct Node {
    spec: NodeStart,
    program: Program,
    process: RefCell<Option<Process>>,
    /// Those of this name in its run, before this and after it.
    limits: Rc<Limits>,
    /// Held while it is started or ended, so that one is done before the other begins.
    life: Mutex<()>,
}

/// How a node is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// By itself, or by force after the grace period.
    Stop(Duration),
    /// By force.
    Kill,
}

impl Node {
    /// A node that was not started yet.
    pub(crate) fn new(spec: NodeStart, program: Program, limits: Rc<Limits>) -> Self {
        Self {
            spec,
            program,
            process: RefCell::default(),
            limits,
            life: Mutex::default(),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Name {
        &self.spec.node
    }

    /// The program that it is started from.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Waits until nobody else starts or ends it, and keeps others from it.
    pub(crate) async fn life(&self) -> MutexGuard<'_, ()> {
        self.life.lock().await
    }

    /// Its newest process.
    pub(crate) fn process(&self) -> Option<Process> {
        self.process.borrow().clone()
    }

    /// Its process, when that runs.
    pub(crate) fn running(&self) -> Option<Process> {
        self.process().filter(|process| process.exit().is_none())
    }

    /// How it is; nothing before its first start.
    pub(crate) fn status(&self) -> Option<NodeStatus> {
        let process = self.process()?;
        let started = self.started(&process);
        let state = match process.exit() {
            Some(exit) => NodeState::Ended(Exit {
                starved: self.limits.has_starved(process.pid()),
                ..exit
            }),
            None => NodeState::Running(process.announcement()),
        };
        Some(NodeStatus { started, state })
    }

    fn started(&self, process: &Process) -> Started {
        Started {
            node: self.name().clone(),
            pid: process.pid(),
            start_ticks: process.start_ticks(),
        }
    }

    /// Starts it from an open program; `again` says which arguments. Whoever calls holds its [`Node::life`].
    ///
    /// # Errors
    /// [`What::System`] says what was refused.
    pub(crate) async fn start(
        &self,
        agent: &Agent,
        run: &Rc<Run>,
        program: Arc<VerifiedProgram>,
        again: bool,
    ) -> Result<Started, Refusal> {
        debug_assert!(self.running().is_none(), "one process at a time");
        let logs = run.folder().join("logs");
        crate::root::make_private(&logs).map_err(refused("folder `logs`"))?;
        let own = std::process::id().to_string();
        let arguments = if again { &self.spec.again } else { &self.spec.arguments };
        let argument = |text: &String| OsString::from(if text == AGENT_PID { &own } else { text });
        let spec = ProcessSpec {
            foreign: None,
            name: self.name().to_string(),
            program: program.path(),
            held: Some(program),
            folder: Some(run.folder().to_owned()),
            arguments: arguments.iter().map(argument).collect(),
            log: logs.join(format!("{}.log", self.name())),
            log_bytes_max: self.spec.log_bytes_max.min(regatta_fleet::limits::LOG_BYTES_MAX),
        };
        let process = agent.keeper.spawn(spec, None).await;
        let process = process.map_err(|error| Refusal::new(What::System, error.to_string()))?;
        let started = self.started(&process);
        self.process.replace(Some(process.clone()));
        let note = match Note::of(&agent.root, &started) {
            Ok(note) => note,
            Err(error) => {
                // A process that nobody would find again does not stay.
                process.kill().await;
                return Err(refused(format!("the note about node `{}`", self.name()))(error));
            }
        };
        let group = match hold(agent, run, &started, &self.limits) {
            Ok(group) => group,
            Err(refusal) => {
                process.kill().await;
                return Err(refusal);
            }
        };
        run.tell(NodeEvent::Started(started.clone()));
        let limits = Rc::clone(&self.limits);
        tokio::task::spawn_local(watch(
            Rc::clone(run),
            self.name().clone(),
            process,
            (note, group, limits),
        ));
        Ok(started)
    }

    /// Ends it, when it runs. Whoever calls holds its [`Node::life`].
    pub(crate) async fn end(&self, end: End) -> Option<Exit> {
        let process = self.process()?;
        Some(match end {
            End::Stop(grace) => process.stop(grace).await,
            End::Kill => process.kill().await,
        })
    }

    /// Empties its data folder. Whoever calls holds its [`Node::life`].
    ///
    /// # Errors
    /// [`What::Busy`] while it runs.
    pub(crate) fn lose_disk(&self, run: &Run) -> Result<(), Refusal> {
        if self.running().is_some() {
            let message = format!(
                "node `{}` runs: its disk is not taken from it\n  help: end it first",
                self.name()
            );
            return Err(Refusal::new(What::Busy, message));
        }
        let data = run.folder().join("data").join(self.name().as_str());
        fs::remove_dir_all(&data).map_err(refused(format!("data of `{}`", self.name())))?;
        crate::root::make_private(&data).map_err(refused(format!("data of `{}`", self.name())))
    }
}

/// Puts a node that was just started into a control group of its own, under the limits that are on. Where there is none to
/// be had it goes on without one, unless it is to be limited.
fn hold(agent: &Agent, run: &Run, started: &Started, limits: &Limits) -> Result<Option<Group>, Refusal> {
    let Ok(groups) = &agent.groups else { return Ok(None) };
    // Two processes of one name and run follow each other, and the group of the first may just be ending.
    let what = format!("{}-{}-{}", run.name(), started.node, started.pid);
    let held = groups.make(&what).and_then(|mut group| {
        limits.prepare(&mut group)?;
        group.enter(started.pid).map(|()| group)
    });
    match held {
        Ok(group) => {
            let group = Rc::new(RefCell::new(group));
            limits.begin(started.pid, &group);
            Ok(Some(group))
        }
        Err(error) if limits.is_on() => {
            let message = format!("node `{}` cannot be limited as a fault asks: {error}", started.node);
            Err(Refusal::new(What::System, message))
        }
        Err(error) => {
            agent.note(&format!("node {} has no control group: {error}", started.node));
            Ok(None)
        }
    }
}

/// Ends what a node left behind in its group, and removes that.
async fn end_group(group: &Group) {
    let until = Instant::now() + GROUP_DEADLINE;
    // An error stays an error; what stays is taken by the next agent's sweep.
    while Instant::now() < until && group.borrow_mut().is_ended().is_ok_and(|ended| !ended) {
        tokio::time::sleep(GROUP_PAUSE).await;
    }
}

/// Tells what becomes of a process.
async fn watch(run: Rc<Run>, node: Name, process: Process, (note, group, limits): (Note, Option<Group>, Rc<Limits>)) {
    if let Ok(line) = process.announced().await {
        let node = node.clone();
        run.tell(NodeEvent::Announced { node, line });
    }
    let (mut exit, pid) = (process.ended().await, process.pid());
    if let Some(group) = group {
        exit.starved = limits.end(pid, &group);
        end_group(&group).await;
    }
    drop(note);
    run.tell(NodeEvent::Ended { node, pid, exit });
}
