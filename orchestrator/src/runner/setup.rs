//! What the runner needs before the first node starts: the cluster's files, the clock, the sampler, the loads.

use super::{Progress, StepError, live::Live, orders::Desk, steps::Runner};
use crate::{
    cluster::{self, Cluster, chain, endpoint},
    inject::Injector,
    load::{self, Endpoint, LoadLimits, LoadSpec, Prepared, RunClock},
    provider::{self, SshProvider},
    rundir::PLACEMENT,
    sample::{Sampler, SamplerConfig, Watched},
};
use regatta_plan::{Plan, PlannedLoad, PlannedNode};
use regatta_report::model::ProcessKind;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Name of the lab's own process in samples and reports.
pub(super) const LAB_PROCESS: &str = "lab";

/// Everything that lives as long as the nodes.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) cluster: Arc<Cluster>,
    pub(super) injector: Arc<Injector>,
    pub(super) live: Arc<Live>,
    /// Tasks that end with the run.
    pub(super) watchers: Vec<tokio::task::JoinHandle<()>>,
    /// The task that measures links beside the load.
    pub(super) attestation: Option<tokio::task::JoinHandle<()>>,
    /// The task that stops the nodes when memory is short.
    pub(super) memory: Option<tokio::task::JoinHandle<()>>,
    /// The task that ends with the cluster.
    pub(super) nodes: tokio::task::JoinHandle<()>,
}

impl Runner {
    /// Prepares nodes, clock, sampler and loads; called before the first node is started.
    pub(super) async fn prepare_field(&mut self) -> Result<(), StepError> {
        if self.field.is_some() {
            return Ok(());
        }
        let plan = Arc::clone(&self.plan);
        for (name, sealed) in self.programs.sealed().iter().filter(|_| !self.evidence.is_resumed()) {
            sealed
                .write_to(&self.run.path("build"), name)
                .map_err(cluster::ClusterError::from)?;
        }
        let (events, inbox) = mpsc::unbounded_channel();
        let builds = self.programs.sealed().clone();
        let journal = Arc::clone(&self.journal);
        let fleet = self.fleet.take();
        let fleet = fleet.map(|ready| SshProvider::new(ready, &plan, Arc::clone(&journal)));
        self.held = fleet.as_ref().map(SshProvider::hold);
        let cluster = Cluster::prepare(Arc::clone(&plan), self.run.clone(), journal, builds, events, fleet)?
            .with_release_key(self.job.signing.key.clone());
        cluster.place().await?;
        let clock = RunClock::start();
        self.evidence.clock_started();
        let sampler = Sampler::start(SamplerConfig {
            elsewhere: cluster.elsewhere(),
            ..SamplerConfig::new(clock, self.run.path("samples"))
        })?;
        sampler.watch(Watched {
            name: LAB_PROCESS.to_owned(),
            kind: ProcessKind::Lab,
            pid: std::process::id().cast_signed(),
            elsewhere: false,
            data_dir: None,
            http: None,
        });
        // A run that is only finished sends nothing.
        if !self.evidence.is_resumed() {
            self.prepared = self.prepare_loads(&cluster, clock).await?;
        }
        let live = Arc::new(Live::new(clock, plan, self.run.clone(), sampler));
        self.field = Some(self.watch(cluster, live, inbox));
        // From here on the cluster sees to its hosts.
        self.held = None;
        Ok(())
    }

    /// Has hosts that were made ready for nothing let go of the run, which they would keep until its lease ends.
    pub(super) async fn let_hosts_go(&mut self) {
        if let Some(fleet) = self.fleet.take() {
            fleet.give_up(&self.journal).await;
        }
        if let Some(held) = self.held.take() {
            held.let_go(&self.journal).await;
        }
    }

    /// Makes the hosts of a fleet ready. From here on the plan is the one with nodes where they turned out to go.
    pub(super) async fn deploy(&mut self) -> Result<(), StepError> {
        let agent = self.programs.agent().cloned().ok_or(StepError::OutOfOrder)?;
        let ready = provider::deploy(provider::Deployment {
            plan: &self.plan,
            base: &self.job.base,
            run: &self.run,
            builds: self.programs.sealed(),
            agent,
            journal: &self.journal,
        });
        let ready = ready.await.map_err(cluster::ClusterError::from)?;
        if ready.plan != *self.plan {
            // For whoever looks after the run when this lab has died.
            self.run.write_json(PLACEMENT, &ready.plan)?;
        }
        self.plan = Arc::new(ready.plan.clone());
        self.fleet = Some(ready);
        Ok(())
    }

    /// Takes the last samples, unless they were taken: while the nodes still run, so that their last counters are among
    /// them, and before they are stopped, which is to be quick.
    pub(super) async fn finish_sampling(&mut self) {
        let sampler = self.field.as_ref().and_then(|field| field.live.take_sampler());
        if let Some(sampler) = sampler {
            self.evidence.samples = sampler.finish().await;
        }
    }

    fn watch(&self, cluster: Cluster, live: Arc<Live>, inbox: mpsc::UnboundedReceiver<cluster::NodeEvent>) -> Field {
        let disk = super::live::watch_disk(Arc::clone(&live), self.plan.budget.disk_bytes, self.interrupts.clone());
        let beat = super::live::beat(Arc::clone(&live), Arc::clone(&self.observer));
        let look = super::live::look(Arc::clone(&live), Arc::clone(&self.observer));
        let nodes = super::live::watch_nodes(Arc::clone(&live), inbox, self.interrupts.clone());
        let cluster = Arc::new(cluster);
        let (watched, holding) = (Arc::clone(&live), Arc::clone(&cluster));
        let memory = super::endings::watch_memory(watched, holding, self.interrupts.clone());
        let heights = super::heights::follow(Arc::clone(&live), Arc::clone(&cluster), Arc::clone(&self.observer));
        let injector = Arc::new(Injector::new(Arc::clone(&cluster)));
        let desk = Desk {
            cluster: Arc::clone(&cluster),
            injector: Arc::clone(&injector),
            live: Arc::clone(&live),
            journal: Arc::clone(&self.journal),
            observer: Arc::clone(&self.observer),
            interrupts: self.interrupts.clone(),
        };
        Field {
            injector,
            cluster,
            live,
            watchers: vec![
                tokio::spawn(disk),
                tokio::spawn(beat),
                tokio::spawn(look),
                tokio::spawn(heights),
                tokio::spawn(desk.serve()),
            ],
            attestation: None,
            memory: Some(tokio::spawn(memory)),
            nodes: tokio::spawn(nodes),
        }
    }

    /// Builds and signs the transactions of all loads: those of this process one after the other, beside those of hosts.
    async fn prepare_loads(&self, cluster: &Cluster, clock: RunClock) -> Result<Vec<Prepared>, StepError> {
        let (here, there): (Vec<_>, Vec<_>) = self.plan.loads.iter().partition(|load| load.host.is_none());
        let here = async {
            let mut prepared = Vec::new();
            for load in here {
                prepared.push((load.index, self.prepare_load(cluster, load, clock).await?));
            }
            Ok::<_, StepError>(prepared)
        };
        let there = there
            .into_iter()
            .map(async |load| Ok::<_, StepError>((load.index, self.prepare_load(cluster, load, clock).await?)));
        let (mut prepared, there) = futures::future::try_join(here, futures::future::try_join_all(there)).await?;
        prepared.extend(there);
        prepared.sort_by_key(|(index, _)| *index);
        Ok(prepared.into_iter().map(|(_, prepared)| prepared).collect())
    }

    async fn prepare_load(
        &self,
        cluster: &Cluster,
        load: &PlannedLoad,
        clock: RunClock,
    ) -> Result<Prepared, StepError> {
        let spec = load_spec(&self.plan, load, format!("load/{}", load.index), clock)?;
        let tell = |progress: load::PrepareProgress| {
            self.observer.tell(&Progress::Prepared(progress.built, progress.total));
        };
        Ok(match load.host {
            None => load::prepare(spec, tell).await?,
            Some(host) => {
                let generator = cluster.generator(load.index, host, clock).await?;
                Prepared::There(generator.prepare(spec, tell).await?)
            }
        })
    }
}

/// What the generator needs to know for `load`.
pub(crate) fn load_spec(plan: &Plan, load: &PlannedLoad, salt: String, clock: RunClock) -> Result<LoadSpec, StepError> {
    // Hosts reach each other at their ports, whichever way the lab goes.
    let endpoint = |node: &PlannedNode| match load.host {
        None => endpoint(node),
        Some(_) => endpoint(&PlannedNode {
            control: None,
            ..node.clone()
        }),
    };
    let endpoints: Vec<Endpoint> = plan.nodes.iter().map(endpoint).collect();
    let targets = load.targets.iter().map(|&node| endpoints[node as usize].clone());
    // Validators know best what became of a transaction whose answer was lost.
    let instance = plan.instance(&load.instance);
    let runs = |node: &&PlannedNode| instance.is_none_or(|instance| instance.runs(node.index));
    let votes = |node: &&PlannedNode| instance.is_some_and(|instance| instance.votes(node.index));
    let (validators, others): (Vec<_>, Vec<_>) = plan.nodes.iter().filter(runs).partition(votes);
    Ok(LoadSpec {
        load: load.clone(),
        phases: plan.phases,
        chain: chain(plan)?,
        instance: load.instance.parse()?,
        seed: plan.seed,
        salt,
        targets: targets.collect(),
        resolvers: validators.into_iter().chain(others).map(endpoint).collect(),
        clock,
        limits: LoadLimits::default(),
    })
}
