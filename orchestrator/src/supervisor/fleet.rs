//! A cluster on hosts: what its supervisor must know beyond the run's folder, and how it makes the hosts ready.
//!
//! The process that runs `regatta up` ends when all nodes are ready, and its connections with it. So it is the supervisor
//! that logs in to the hosts, and that renews their leases for as long as the cluster stays.

use super::{Startup, SupervisorError};
use crate::{
    build::AgentFile,
    provider::{Deployment, FleetReady, deploy},
    rundir::{Journal, PLACEMENT, RunDir},
    seal::{SealError, Sealed, read_key},
};
use regatta_plan::Plan;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    pin::{Pin, pin},
    time::Instant,
};

/// What the operator gave for hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FleetTerms {
    /// File of the key that programs were sealed with.
    pub(crate) key: PathBuf,
    /// The agent.
    pub(crate) agent: AgentFile,
    /// Folder that files of keys are relative to.
    pub(crate) base: PathBuf,
}

impl FleetTerms {
    /// Hosts accept what the operator's key has signed, and not what the key of this machine's store has.
    pub(super) fn pin(&self, builds: &mut BTreeMap<String, Sealed>) -> Result<(), SupervisorError> {
        let key = read_key(&self.key).map_err(SealError::from)?.public();
        builds.values_mut().for_each(|sealed| sealed.pinned = vec![key]);
        Ok(())
    }

    /// Makes the hosts ready, and notes where nodes turned out to go.
    pub(super) async fn deploy(
        &self,
        run: &RunDir,
        plan: &Plan,
        builds: &BTreeMap<String, Sealed>,
        journal: &Journal,
        tell: &dyn Fn(&Startup),
    ) -> Result<FleetReady, SupervisorError> {
        let began = Instant::now();
        let agent = self.agent.read()?;
        let deployment = Deployment {
            plan,
            base: &self.base,
            run,
            builds,
            agent,
            journal,
        };
        let ready = deploy(deployment).await?;
        if ready.placed_plan() != plan {
            run.write_json(PLACEMENT, ready.placed_plan())?;
        }
        let took_s = began.elapsed().as_secs_f64();
        tell(&Startup::Step(format!("deploy to hosts ({took_s:.1} s)")));
        Ok(ready)
    }
}

/// What `ready` gives, unless `signal` comes first: then hosts that are half ready let go of the run, and there is none.
pub(super) async fn unless(
    signal: Pin<&mut impl Future<Output = ()>>,
    ready: impl Future<Output = Result<FleetReady, SupervisorError>>,
    journal: &Journal,
) -> Result<Option<FleetReady>, SupervisorError> {
    let mut ready = pin!(ready);
    tokio::select! {
        ready = &mut ready => return ready.map(Some),
        () = signal => {}
    }
    // Each of its steps has a deadline. Left in the middle, hosts would keep an empty run until its lease ends.
    if let Ok(ready) = ready.await {
        ready.give_up(journal).await;
    }
    Ok(None)
}
