//! Making hosts ready: reached, given their agent and the programs of their nodes, with spare ones for those that fail.

use super::{
    SshError, SshProvider, collect, doors, limits,
    words::{facts_text, groups_in_words},
};
use crate::{
    fleet::{
        Agent, AgentProgram, Connections, Crew, Doors, FleetError, HostClient, HostError, HostFailure, News, RunTerms,
        Spread, Target, Tree, reach_in_words,
    },
    rundir::{Entry, HostState, Journal, RunDir},
    seal::Sealed,
};
use regatta_base::encode;
use regatta_fleet::{Answer, File, Name, OrderBody, Packed, Policy, Program, RelativePath};
use regatta_plan::{
    Plan, PlannedAbsence,
    scenario::{Control, Leave},
};
use regatta_report::{format, model::Disclosure};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a host may take to write the files of its nodes.
const PLACE_DEADLINE: Duration = Duration::from_secs(60);
/// How long a host that is of no use may take to let go of the run.
const FORGET_DEADLINE: Duration = Duration::from_secs(5);
/// Time between two samples of hosts, in milliseconds.
const SAMPLE_MS: u64 = 1000;
/// Hosts whose facts the report lists one by one.
const FACTS_MAX: usize = 64;

/// What is to be put where.
pub(crate) struct Deployment<'a> {
    /// The plan as it was made.
    pub(crate) plan: &'a Plan,
    /// Folder that files of keys are relative to.
    pub(crate) base: &'a Path,
    /// The run.
    pub(crate) run: &'a RunDir,
    /// Sealed programs by build.
    pub(crate) builds: &'a BTreeMap<String, Sealed>,
    /// The agent.
    pub(crate) agent: AgentProgram,
    /// Where the states of hosts are noted.
    pub(crate) journal: &'a Journal,
}

/// Hosts that are ready for their nodes.
#[derive(Debug)]
pub(crate) struct FleetReady {
    /// The plan with the nodes of failed hosts on spare ones, or away.
    pub(crate) plan: Plan,
    pub(super) crew: Crew,
    pub(super) news: News,
    pub(super) programs: BTreeMap<String, Program>,
    pub(super) facts: Vec<Disclosure>,
    pub(super) run: Name,
    /// Whether an earlier lab made them ready.
    pub(super) is_resumed: bool,
    /// To nodes whose ports the lab does not reach.
    pub(super) doors: Doors,
}

impl FleetReady {
    /// The plan with the nodes of failed hosts on spare ones, or away.
    pub(crate) fn placed_plan(&self) -> &Plan {
        &self.plan
    }

    /// Lets go of hosts that were made ready for nothing.
    pub(crate) async fn give_up(self, journal: &Journal) {
        collect::remove(&self.crew, &self.run, journal).await;
    }
}

/// A program to send.
struct Parcel {
    name: Name,
    packed: Packed,
    builds: BTreeSet<String>,
}

/// Makes the hosts of a plan ready.
///
/// # Errors
/// [`SshError`] when more hosts fail than spare ones take over and the plan tolerates.
pub(crate) async fn deploy(deployment: Deployment<'_>) -> Result<FleetReady, SshError> {
    let Deployment {
        plan,
        base,
        run,
        builds,
        agent,
        journal,
    } = deployment;
    let targets = Target::of_plan(&plan.hosts, base).map_err(|(host, error)| SshError::Host { host, error })?;
    let connections = Arc::new(Connections::prepare(targets, &run.path("ssh"))?);
    // Whoever looks after the run later finds the same keys to log in with.
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    let path = run.path("ssh").join("base");
    std::fs::write(&path, base.as_os_str().as_encoded_bytes()).map_err(|error| SshError::File { path, error })?;
    let terms = terms(plan, run, builds)?;
    let (crew, news) = Crew::new();
    let mut gang = Gang {
        original: plan,
        plan: plan.clone(),
        connections,
        agent: Agent::Sent(agent),
        // Compressing takes a while, and so does reaching hosts.
        packing: Some(tokio::task::spawn_blocking({
            let builds = builds.clone();
            move || parcels(&builds)
        })),
        parcels: Vec::new(),
        journal,
        crew,
        failed: BTreeMap::new(),
        facts: Vec::new(),
        sent_bytes: 0,
        handed_on: 0,
    };
    if let Err(error) = gang.assemble(&terms).await {
        // Hosts that were fine are not to keep a run that never was for as long as its lease.
        collect::remove(&gang.crew, &terms.run, journal).await;
        return Err(error);
    }
    let doors = doors(&gang.crew, &mut gang.plan).await?;
    let programs = builds.iter().map(|(build, sealed)| (build.clone(), program(sealed)));
    Ok(FleetReady {
        programs: programs.collect(),
        plan: gang.plan,
        crew: gang.crew,
        news,
        facts: gang.facts,
        run: terms.run,
        is_resumed: false,
        doors,
    })
}

/// Finds the hosts of a run whose lab died, with whatever agent is there. Those that do not answer are noted.
///
/// # Errors
/// [`SshError`] when none of them answers.
pub(crate) async fn reattach(plan: &Plan, run: &RunDir, journal: &Journal) -> Result<FleetReady, SshError> {
    let base = std::fs::read_to_string(run.path("ssh").join("base")).unwrap_or_default();
    let targets =
        Target::of_plan(&plan.hosts, Path::new(&base)).map_err(|(host, error)| SshError::Host { host, error })?;
    let connections = Arc::new(Connections::prepare(targets, &run.path("ssh"))?);
    let terms = terms(plan, run, &BTreeMap::new())?;
    let hosts: BTreeSet<u32> = plan.nodes.iter().filter_map(|node| node.host).collect();
    let hosts: Vec<u32> = hosts.into_iter().collect();
    let (mut crew, news) = Crew::new();
    let mut failures = crew
        .muster(&connections, &hosts, &Agent::Present, Some(&terms), &BTreeMap::new())
        .await;
    failures.extend(limits::lift_all(&crew, plan).await);
    for client in crew.clients() {
        let entry = Entry::Host {
            host: client.target().name.clone(),
            state: HostState::Back,
            text: "found by another lab".to_owned(),
        };
        // A full disk here is no reason to leave nodes alone there.
        let _ = journal.write(entry);
    }
    if crew.clients().next().is_none() {
        let failed = failures.into_iter().map(|failure| (failure.name, failure.error));
        return Err(SshError::Fleet(FleetError::Hosts {
            failed: failed.collect(),
            of: hosts.len(),
        }));
    }
    let disclose = |failure: &HostFailure| Disclosure {
        section: "hosts".to_owned(),
        name: format!("{} failed", failure.name),
        value: failure.error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    let mut plan = plan.clone();
    Ok(FleetReady {
        doors: doors(&crew, &mut plan).await?,
        plan,
        facts: failures.iter().map(disclose).collect(),
        crew,
        news,
        programs: BTreeMap::new(),
        run: terms.run,
        is_resumed: true,
    })
}

fn terms(plan: &Plan, run: &RunDir, builds: &BTreeMap<String, Sealed>) -> Result<RunTerms, SshError> {
    let mut pinned: Vec<_> = builds.values().flat_map(|sealed| sealed.pinned.clone()).collect();
    pinned.sort_by_key(ToString::to_string);
    pinned.dedup();
    Ok(RunTerms {
        run: run.id().parse()?,
        lease_ms: plan.budget.unattended_ms.unwrap_or(plan.budget.lease_ms),
        policy: Policy {
            pinned,
            threshold: 1,
            // A lab starts old builds on purpose, to compare them; hosts remember the highest that they were told.
            sequence_min: 0,
        },
    })
}

fn program(sealed: &Sealed) -> Program {
    Program {
        manifest: sealed.bundle.manifest.clone(),
        signatures: encode(&sealed.bundle.signatures),
    }
}

/// Each program once, cut and compressed, however many builds it is.
fn parcels(builds: &BTreeMap<String, Sealed>) -> Result<Vec<Parcel>, SshError> {
    let mut parcels: Vec<Parcel> = Vec::new();
    for (build, sealed) in builds {
        let digest = sealed.program_digest();
        if let Some(parcel) = parcels.iter_mut().find(|parcel| parcel.packed.digest == digest) {
            parcel.builds.insert(build.clone());
            continue;
        }
        let failed = |reason: String| SshError::Program {
            program: build.clone(),
            reason,
        };
        let bytes = std::fs::read(sealed.program_path()).map_err(|error| failed(error.to_string()))?;
        let packed = Packed::of(&bytes).map_err(|error| failed(error.to_string()))?;
        if packed.digest != digest {
            return Err(failed(
                "it was altered after sealing\n  help: run again to build and seal it anew".to_owned(),
            ));
        }
        parcels.push(Parcel {
            name: sealed.manifest.product.parse()?,
            packed,
            builds: BTreeSet::from([build.clone()]),
        });
    }
    Ok(parcels)
}

/// Hosts on their way to be ready.
struct Gang<'a> {
    original: &'a Plan,
    plan: Plan,
    connections: Arc<Connections>,
    agent: Agent,
    packing: Option<tokio::task::JoinHandle<Result<Vec<Parcel>, SshError>>>,
    parcels: Vec<Parcel>,
    journal: &'a Journal,
    crew: Crew,
    failed: BTreeMap<u32, HostFailure>,
    facts: Vec<Disclosure>,
    /// Bytes that the lab sent.
    sent_bytes: u64,
    /// Programs that hosts got from other hosts.
    handed_on: usize,
}

impl Gang<'_> {
    /// Goes on until every node has a host that is ready, or stays away.
    async fn assemble(&mut self, terms: &RunTerms) -> Result<(), SshError> {
        let began = Instant::now();
        let mut ready = BTreeSet::new();
        let mut connect_s = 0.0;
        loop {
            let needed: BTreeSet<u32> = self.plan.nodes.iter().filter_map(|node| node.host).collect();
            let new: Vec<u32> = needed
                .into_iter()
                .filter(|host| !ready.contains(host) && !self.failed.contains_key(host))
                .collect();
            if new.is_empty() {
                break;
            }
            let failures = self
                .crew
                .muster(&self.connections, &new, &self.agent, Some(terms), &BTreeMap::new())
                .await;
            connect_s = f64::max(connect_s, began.elapsed().as_secs_f64());
            for &host in &new {
                if let Some(client) = self.crew.client(host) {
                    let facts = client.hello().facts;
                    let text = format!("{} {}, {} cores", facts.arch, facts.kernel, facts.cores);
                    self.note(host, HostState::Ready, text);
                }
            }
            if let Some(packing) = self.packing.take() {
                self.parcels = packing.await.unwrap_or_else(|error| Err(packing_failed(&error)))?;
            }
            let unfit = limits::unfit(&self.crew, &self.plan, &new);
            self.forget(&unfit, terms).await;
            self.replace(unfit)?;
            let late = self.send(&new).await;
            self.forget(&late, terms).await;
            let mended = self.replace(failures.into_iter().chain(late).collect());
            ready.extend(new.into_iter().filter(|host| !self.failed.contains_key(host)));
            mended?;
        }
        self.disclose(connect_s, began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Sends its programs to each of `hosts` that answered.
    async fn send(&mut self, hosts: &[u32]) -> Vec<HostFailure> {
        let tree = tree(self.original);
        let mut failures: Vec<HostFailure> = Vec::new();
        let mut origins: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for parcel in &self.parcels {
            let runs = |host: &u32| {
                self.plan
                    .nodes_on(*host)
                    .any(|node| parcel.builds.contains(&node.build))
            };
            let fine = |host: &u32| failures.iter().all(|failure| failure.host != *host);
            let hosts: Vec<u32> = hosts.iter().copied().filter(|host| runs(host) && fine(host)).collect();
            let spread = self.crew.spread(&hosts, &parcel.packed, &parcel.name, &tree).await;
            let Spread {
                sent_bytes,
                handed_on,
                origins: from,
                failed,
            } = spread;
            self.sent_bytes += sent_bytes;
            self.handed_on += handed_on;
            for (host, text) in from {
                origins.entry(host).or_default().push(text);
            }
            failures.extend(failed);
        }
        for &host in hosts {
            let failed = failures.iter().any(|failure| failure.host == host);
            if !failed && self.crew.client(host).is_some() {
                let text = origins.remove(&host).unwrap_or_default().join(", ");
                self.note(host, HostState::Deployed, text);
            }
        }
        failures
    }

    /// Has hosts that are reached and of no use let go of the run; one that does not answer does so when the lease ends.
    async fn forget(&self, failures: &[HostFailure], terms: &RunTerms) {
        let order = |failure: &HostFailure| (failure.host, OrderBody::Remove { run: terms.run.clone() });
        self.crew
            .order_each(failures.iter().map(order).collect(), FORGET_DEADLINE)
            .await;
    }

    /// Gives the nodes of failed hosts to spare ones, or has them stay away as far as the plan tolerates that.
    fn replace(&mut self, failures: Vec<HostFailure>) -> Result<(), SshError> {
        for failure in failures {
            self.crew.dismiss(failure.host);
            self.note(failure.host, HostState::Failed, failure.error.to_string());
            self.failed.insert(failure.host, failure);
        }
        let failed: Vec<u32> = self.failed.keys().copied().collect();
        let replaced = self.original.replace_hosts(&failed);
        for (from, to) in &replaced.moved {
            let already = self.plan.nodes_on(*to).next().is_some();
            if !already {
                let name = |host: u32| {
                    self.original
                        .hosts
                        .get(host as usize)
                        .map_or("", |host| host.name.as_str())
                };
                self.note(*from, HostState::Replaced, format!("`{}` takes its nodes", name(*to)));
            }
        }
        self.plan = replaced.plan;
        if replaced.lost.len() as u32 > self.original.hosts_lost_max {
            return Err(SshError::Fleet(FleetError::Hosts {
                failed: self
                    .failed
                    .values()
                    .map(|failure| (failure.name.clone(), failure.error.clone()))
                    .collect(),
                of: self
                    .original
                    .nodes
                    .iter()
                    .filter_map(|node| node.host)
                    .collect::<BTreeSet<_>>()
                    .len(),
            }));
        }
        stay_away(&mut self.plan, &replaced.lost);
        Ok(())
    }

    fn note(&self, host: u32, state: HostState, text: String) {
        let host = self.original.hosts.get(host as usize).map(|host| host.name.clone());
        // A full disk here must not leave hosts half ready.
        let _ = self.journal.write(Entry::Host {
            host: host.unwrap_or_default(),
            state,
            text,
        });
    }

    fn disclose(&mut self, connect_s: f64, ready_s: f64) {
        let (sent_bytes, handed_on) = (self.sent_bytes, self.handed_on);
        let mut add = |name: String, value: String| {
            self.facts.push(Disclosure {
                section: "hosts".to_owned(),
                name,
                value,
            });
        };
        let count = self.crew.clients().count();
        add(
            "hosts".to_owned(),
            format!("{count}, reached in {} s", format::number(connect_s)),
        );
        let clients = self.crew.clients();
        let reaches = clients.map(|client| (client.target().name.as_str(), client.reach()));
        if let Some(words) = reach_in_words(reaches) {
            add("reaching one host".to_owned(), words);
        }
        let packed: u64 = self.parcels.iter().map(|parcel| parcel.packed.packed_bytes()).sum();
        let bytes = |bytes: u64| format::bytes(bytes as f64);
        let mut text = format!(
            "{}, {} sent to all in {} s",
            bytes(packed),
            bytes(sent_bytes),
            format::number(ready_s)
        );
        if self.original.fan_out > 0 {
            text = format!("{text}, {handed_on} handed on by hosts");
        }
        add("programs, compressed".to_owned(), text);
        for client in self.crew.clients().take(FACTS_MAX) {
            add(client.target().name.clone(), facts_text(client));
        }
        if count > FACTS_MAX {
            add("more hosts".to_owned(), format!("{}, not listed", count - FACTS_MAX));
        }
        for (words, hosts) in groups_in_words(self.crew.clients()) {
            add(format!("control groups of {hosts}"), words);
        }
        if self.plan.control == Control::Ssh {
            let value = "through the SSH connection of each host, load and samples of the lab too";
            add("control interfaces".to_owned(), value.to_owned());
        }
        for failure in self.failed.values() {
            let reason = failure.error.to_string();
            let first = reason.lines().next().unwrap_or_default();
            add(format!("{} failed", failure.name), first.to_owned());
        }
    }
}

/// Where hosts of a plan offer programs to others.
fn tree(plan: &Plan) -> Tree {
    let known = plan.hosts.iter().filter(|host| !host.ip.is_unspecified());
    let places = known.map(|host| (host.index, (host.ip, host.region.clone())));
    Tree {
        fan_out: plan.fan_out as usize,
        places: places.collect(),
    }
}

/// The thread that compresses is gone.
fn packing_failed(error: &tokio::task::JoinError) -> SshError {
    SshError::Program {
        program: "all".to_owned(),
        reason: error.to_string(),
    }
}

/// Nodes of `lost` hosts are never started: nobody sends them load, nobody waits for them, and the report says so.
fn stay_away(plan: &mut Plan, lost: &[u32]) {
    let lost_node = |node: &regatta_plan::PlannedNode| node.host.is_some_and(|host| lost.contains(&host));
    let away: Vec<u32> = plan
        .nodes
        .iter()
        .filter(|node| lost_node(node))
        .map(|node| node.index)
        .collect();
    // They do not come and go either. Steps of the plan point at absences by position: all keep theirs.
    let (mut noted, absences) = (BTreeSet::new(), plan.churn.absences.iter_mut());
    for absence in absences.filter(|absence| away.contains(&absence.node)) {
        (absence.at_ms, absence.until_ms) = (0, None);
        noted.insert(absence.node);
    }
    for &node in away.iter().filter(|node| !noted.contains(*node)) {
        let index = plan.churn.absences.len() as u32;
        plan.churn.absences.push(PlannedAbsence {
            index,
            node,
            at_ms: 0,
            until_ms: None,
            leave: Leave::Kill,
            breaks_quorum: false,
        });
    }
    for load in &mut plan.loads {
        load.targets.retain(|target| !away.contains(target));
    }
}

impl SshProvider {
    /// Puts configuration and keys of their nodes on all hosts, and has hosts tell of themselves from now on.
    ///
    /// # Errors
    /// [`SshError`] for a file that cannot be read, and the first host that refuses.
    pub(crate) async fn place(&self, run: &RunDir, plan: &Plan) -> Result<(), SshError> {
        let mut orders = Vec::new();
        for client in self.crew.clients() {
            let host = client.target().index;
            orders.push((host, files(run, plan, host)?));
        }
        self.each(orders).await?;
        let sample = |client: &Arc<HostClient>| {
            let order = OrderBody::Sample {
                interval_ms: SAMPLE_MS,
                private: false,
            };
            (client.target().index, order)
        };
        self.each(self.crew.clients().map(sample).collect()).await
    }

    async fn each(&self, orders: Vec<(u32, OrderBody)>) -> Result<(), SshError> {
        for (host, answer) in self.crew.order_each(orders, PLACE_DEADLINE).await {
            match answer? {
                Answer::Done => {}
                _ => {
                    let host = self
                        .crew
                        .client(host)
                        .map_or_else(String::new, |client| client.target().name.clone());
                    let error = HostError::Unexpected;
                    return Err(SshError::Host { host, error });
                }
            }
        }
        Ok(())
    }
}

/// The folders and files of the nodes on one host, at the places that they have in the run's folder here.
fn files(run: &RunDir, plan: &Plan, host: u32) -> Result<OrderBody, SshError> {
    let path = |text: String| RelativePath::try_from(text);
    let (mut folders, mut files) = (vec![path("logs".to_owned())?], Vec::new());
    for node in plan.nodes_on(host) {
        folders.push(path(format!("config/{}", node.name))?);
        folders.push(path(format!("data/{}", node.name))?);
        for (name, mode) in [("node.toml", 0o600), ("key.pem", 0o600)] {
            let here = run.config(&node.name).join(name);
            let bytes = std::fs::read(&here).map_err(|error| SshError::File { path: here, error })?;
            files.push(File {
                path: path(format!("config/{}/{name}", node.name))?,
                mode,
                bytes,
            });
        }
    }
    Ok(OrderBody::Place { folders, files })
}
