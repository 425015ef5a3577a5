//! What an agent does with each order.

use crate::{
    agent::Agent,
    clock::now_us,
    files,
    node::End,
    run::{Run, end_all},
    sampler::sample,
    share::{Wanted, fetch, share},
    store::refused,
    timers,
};
use regatta_fleet::{Answer, Name, OrderBody, Refusal, RunStatus, Signal, What, limits::GRACE_MS_MAX};
use regatta_process::disk_bytes;
use std::{fs, rc::Rc, time::Duration};

/// Most folders of runs that a status looks at.
const FOLDERS_MAX: usize = 1000;

/// Whether an order may take long: others are obeyed meanwhile.
pub(crate) fn is_slow(body: &OrderBody) -> bool {
    matches!(
        body,
        OrderBody::Fetch { .. }
            | OrderBody::Start { .. }
            | OrderBody::Signal { .. }
            | OrderBody::LoseDisk { .. }
            | OrderBody::Stop { .. }
    )
}

/// Does what an order of the connection about `run` asks for; it was read at `received_us`.
pub(crate) async fn obey(agent: &Rc<Agent>, run: Option<&Rc<Run>>, body: OrderBody, received_us: u64) -> Answer {
    let result = match body.check() {
        Ok(()) => obeyed(agent, run, body, received_us).await,
        Err(refusal) => Err(refusal),
    };
    result.unwrap_or_else(Answer::from)
}

async fn obeyed(
    agent: &Rc<Agent>,
    run: Option<&Rc<Run>>,
    body: OrderBody,
    received_us: u64,
) -> Result<Answer, Refusal> {
    match body {
        OrderBody::Clock { sent_us } => Ok(Answer::Clock {
            sent_us,
            received_us,
            answered_us: now_us(),
        }),
        OrderBody::Has { digests } => Ok(Answer::Holds {
            held: digests.into_iter().map(|digest| agent.store.holding(digest)).collect(),
        }),
        OrderBody::Put {
            digest,
            name,
            total,
            chunk,
        } => agent.store.put(digest, &name, total, &chunk).map(Answer::Holding),
        OrderBody::Status => status(agent),
        OrderBody::Remove { run } => remove(agent, &run),
        OrderBody::Hello(_) => Err(Refusal::new(What::Order, "a second hello on one connection")),
        of_run => {
            let none = || Refusal::new(What::Order, "the hello of this connection named no run");
            obeyed_by_run(agent, run.ok_or_else(none)?, of_run).await
        }
    }
}

/// Orders that are about the run of the connection.
async fn obeyed_by_run(agent: &Rc<Agent>, run: &Rc<Run>, body: OrderBody) -> Result<Answer, Refusal> {
    match body {
        OrderBody::Renew { lease_ms } => run.renew(lease_ms)?,
        OrderBody::Place { folders, files } => {
            run.check_lease()?;
            folders
                .iter()
                .try_for_each(|folder| files::place_folder(run.folder(), folder))?;
            files
                .iter()
                .try_for_each(|file| files::place_file(run.folder(), file))?;
        }
        OrderBody::Share { digest, address, token } => {
            let port = share(agent, run, (digest, token), address).await?;
            return Ok(Answer::Sharing { port });
        }
        OrderBody::Fetch {
            digest,
            name,
            total,
            from,
            token,
        } => {
            let wanted = Wanted {
                digest,
                name,
                total,
                from,
                token,
            };
            return fetch(agent, run, wanted).await.map(Answer::Holding);
        }
        OrderBody::Start { program, nodes } => {
            let (program, nodes) = run.start(agent, &program, nodes).await?;
            return Ok(Answer::Started { program, nodes });
        }
        OrderBody::Signal { nodes, signal } => return signalled(run, &nodes, signal).await,
        OrderBody::LoseDisk { node } => {
            let node = run.node(&node)?;
            let _life = node.life().await;
            node.lose_disk(run)?;
        }
        OrderBody::Sample { interval_ms, private } => {
            run.check_lease()?;
            sample(run, interval_ms, private);
        }
        OrderBody::Read { path, offset, length } => return files::read(run.folder(), &path, offset, length),
        OrderBody::List { folder } => return files::list(run.folder(), folder.as_ref()),
        OrderBody::Faults { timers } => timers::add(agent, run, timers)?,
        OrderBody::ForgetFaults => run.timers.forget(),
        OrderBody::Limit { node, limit } => {
            let held_more = run.limit(agent, &node, limit)?;
            return Ok(Answer::Limited { held_more });
        }
        OrderBody::Lift { node, of } => return run.limits(&node)?.lift(of).map(Answer::Lifted),
        OrderBody::Stop { grace_ms } => {
            let forced = run.stop(agent, grace(grace_ms)).await;
            return Ok(Answer::Stopped { forced });
        }
        // Those that need no run were taken before.
        other => return Err(Refusal::new(What::Order, format!("{other:?} is not about a run"))),
    }
    Ok(Answer::Done)
}

fn grace(grace_ms: u64) -> Duration {
    Duration::from_millis(grace_ms.min(GRACE_MS_MAX))
}

async fn signalled(run: &Run, names: &[Name], signal: Signal) -> Result<Answer, Refusal> {
    // All are known before the first one is touched.
    let nodes = names.iter().map(|name| run.node(name)).collect::<Result<Vec<_>, _>>()?;
    let exits = match signal {
        Signal::Stop { grace_ms } => end_all(&nodes, End::Stop(grace(grace_ms))).await,
        Signal::Kill => end_all(&nodes, End::Kill).await,
        Signal::Pause | Signal::Resume => {
            let processes = nodes.iter().filter_map(|node| node.running());
            processes.for_each(|process| process.pause(signal == Signal::Pause));
            nodes
                .iter()
                .map(|node| node.process().and_then(|process| process.exit()))
                .collect()
        }
    };
    Ok(Answer::Signalled { exits })
}

/// All runs that live here, and those of which only a folder is left.
fn status(agent: &Agent) -> Result<Answer, Refusal> {
    let mut runs: Vec<RunStatus> = agent.runs.borrow().values().map(|run| run.status()).collect();
    let entries = fs::read_dir(agent.root.runs()).map_err(refused("the folder of runs"))?;
    for entry in entries.flatten().take(FOLDERS_MAX) {
        let Some(run) = entry.file_name().to_str().and_then(|name| name.parse::<Name>().ok()) else {
            continue;
        };
        if !agent.runs.borrow().contains_key(&run) {
            runs.push(RunStatus {
                run,
                lease_left_ms: None,
                attached: false,
                nodes: Vec::new(),
                disk_bytes: disk_bytes(&entry.path()),
            });
        }
    }
    runs.sort_by(|a, b| a.run.cmp(&b.run));
    Ok(Answer::Status {
        runs,
        store_bytes: agent.store.bytes(),
        up_s: (now_us() - agent.began_us) / 1_000_000,
    })
}

/// Removes what a run left, and forgets it.
fn remove(agent: &Agent, name: &Name) -> Result<Answer, Refusal> {
    let run = agent.runs.borrow().get(name).cloned();
    if let Some(run) = run {
        if run.is_running() {
            let message = format!("nodes of run `{name}` run here\n  help: stop it first");
            return Err(Refusal::new(What::Busy, message));
        }
        run.close();
        agent.runs.borrow_mut().remove(name);
    }
    fs::remove_dir_all(agent.root.run(name)).map_err(refused(format!("the folder of run `{name}`")))?;
    agent.note(&format!("run {name} was removed"));
    agent.changed();
    Ok(Answer::Done)
}
