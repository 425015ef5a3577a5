//! Processes on this machine, each in a network namespace of its own, with a switch between them.
//!
//! Nothing has a name: namespaces are held by descriptors of the lab and by the processes inside, devices by the
//! switch. When the lab ends, in whichever way, all of them are gone. The namespace of the host gets no device, route or
//! packet: the lab itself moves into a namespace of its own to talk to nodes.

mod meter;
mod namespace;
mod netlink;
mod packet;
mod probe;
mod switch;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use namespace::{NamespaceError, probe};
pub(crate) use probe::Probe;
pub(crate) use switch::Switch;
pub(crate) use tally::Tally;

use regatta_link::{Direction, Model, Observed, Own};
use regatta_plan::{Plan, PlannedDirection, PlannedLinks};
use regatta_process::{Keeper, Place, Process, ProcessSpec, StartError};
use std::{
    io,
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
    thread::{self, ThreadId},
};

/// The provider of namespaces.
#[derive(Debug)]
pub(crate) struct NetnsProvider {
    keeper: Keeper,
    switch: Switch,
    places: Vec<Place>,
    addresses: Vec<Ipv4Addr>,
    /// Held while links are measured: two measurements at one time would disturb each other.
    measuring: Mutex<()>,
    /// Where the thread that made this came from.
    home: (ThreadId, Place),
    is_emulated: bool,
}

/// Why there are no namespaces for a plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetnsError {
    /// The system refused a namespace or its device.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The system refused the switch or the thread that starts processes.
    #[error("cannot start the switch between namespaces: {0}\n  help: `regatta doctor` shows this machine's limits")]
    Refused(#[from] io::Error),
    /// The plan has no links. Plans are made for their provider, so this is one from elsewhere.
    #[error("the plan says nothing about links between namespaces; make it anew with this version of the lab")]
    NoLinks,
}

impl NetnsProvider {
    /// Makes a namespace for each node and each program of others of `plan` and moves the calling thread into one of its own, from where it reaches
    /// all nodes. Threads that it starts from then on are there as well.
    ///
    /// # Errors
    /// [`NetnsError`]; then nothing is left.
    pub(crate) fn new(plan: &Plan) -> Result<Self, NetnsError> {
        let links = plan.links.as_ref().ok_or(NetnsError::NoLinks)?;
        let model = model(plan, links);
        // Packets with fates of their own must be as small as real ones.
        let mut changes = plan.faults.iter().filter_map(regatta_plan::PlannedFault::link);
        let single = changes.any(|change| change.loss_ppm.is_some() || change.rate_bits.is_some());
        let large = !model.acts_on_packets() && !single;
        let mut addresses = plan.addresses();
        addresses.push(links.lab);
        let namespaces = namespace::make(&addresses, links.prefix, large)?;
        let (devices, mut places) = switch::unplug(&addresses, namespaces);
        let keeper = Keeper::start()?;
        let switch = Switch::start(switch::Wiring {
            namespaces: devices,
            fabric: switch::fabric(model, plan.seed),
            large,
        })?;
        let home = (thread::current().id(), Place::current()?);
        if let Some(lab) = places.pop() {
            lab.enter()?;
        }
        Ok(Self {
            keeper,
            switch,
            places,
            addresses,
            measuring: Mutex::new(()),
            home,
            is_emulated: !links.is_plain(),
        })
    }

    /// Starts a process in the namespace of its node.
    ///
    /// # Errors
    /// [`StartError`] when the system refuses it.
    pub(super) async fn start(&self, node: u32, spec: ProcessSpec) -> Result<Process, StartError> {
        let place = self.places.get(node as usize).cloned();
        self.keeper.spawn(spec, place).await
    }

    /// Measures links, some at a time, through the namespaces of their nodes; blocks for as long as that takes.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn attest(&self, probes: &[Probe]) -> io::Result<Vec<Observed>> {
        // One that was given up may still be under way.
        let _alone = self.measuring.lock().unwrap_or_else(PoisonError::into_inner);
        probe::measure_all(probes, (&self.places, &self.addresses), &self.switch)
    }

    /// The network between the nodes.
    pub(crate) fn switch(&self) -> &Switch {
        &self.switch
    }

    /// One line for the report.
    pub(super) fn describe(&self) -> &'static str {
        if self.is_emulated {
            "network namespaces, emulated links"
        } else {
            "network namespaces, links without delay"
        }
    }
}

impl Drop for NetnsProvider {
    fn drop(&mut self) {
        let (thread, place) = &self.home;
        if *thread == thread::current().id() {
            // Fails only where this thread may not do any more what it did before; it stays cut off then.
            let _ = place.enter();
        }
    }
}

/// The links of a plan as the switch takes them, and as measurements must find them.
pub(crate) fn model(plan: &Plan, links: &PlannedLinks) -> Model {
    let region = |name: Option<&str>| {
        let name = name.unwrap_or_default();
        links
            .regions
            .iter()
            .position(|region| region == name)
            .unwrap_or_default()
    };
    Model {
        regions: plan.regions().map(region).collect(),
        delay_ns: links.delay_ns.clone(),
        jitter_ppm: links.jitter_ppm,
        loss_ppm: links.loss_ppm,
        reorder_ppm: links.reorder_ppm,
        duplicate_ppm: links.duplicate_ppm,
        rate_bits: links.rate_bits,
        directions: links.directions.iter().map(|own| direction(plan, own)).collect(),
    }
}

fn direction(plan: &Plan, planned: &PlannedDirection) -> Direction {
    let own = Own {
        delay_ns: planned.delay_ns,
        jitter_ppm: planned.jitter_ppm,
        loss_ppm: planned.loss_ppm,
        rate_bits: planned.rate_bits,
    };
    Direction::new(plan.places(), (&planned.from, &planned.to), own)
}
