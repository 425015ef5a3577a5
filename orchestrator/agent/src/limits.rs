//! What nodes are left of processors and memory while faults are on, whichever process of theirs runs.
//!
//! A limit is of the node and not of its process: one that is started while it is on enters its group when that is limited
//! already, and what was seen of all of them counts together.

use regatta_fleet::{Limit, Refusal, Resource, Seen, Starved, Throttled, What};
use regatta_process::cgroup::{Begun, CgroupError, Controller, OwnGroup, OwnGroups};
use std::{
    cell::{RefCell, RefMut},
    rc::Rc,
};

/// The groups of one process, as the node and whoever waits for its end know them.
pub(crate) type Group = Rc<RefCell<OwnGroup>>;

/// The limits of one node.
#[derive(Debug, Default)]
pub(crate) struct Limits(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    /// Share of a core in millionths, when there is a limit.
    cpu: Option<u32>,
    /// Bytes, when there is a limit.
    memory: Option<u64>,
    /// What was seen of processes that have ended, or by when the limit was lifted.
    throttled: Throttled,
    starved: Starved,
    /// The process that runs, and its groups.
    current: Option<(u32, Group)>,
    /// The newest process that the kernel killed for want of memory.
    killed: Option<u32>,
}

/// What groups of nodes can limit, if there are any.
pub(crate) fn limitable(groups: &Result<OwnGroups, String>) -> Vec<Resource> {
    let known = [(Resource::Cpu, Controller::Cpu), (Resource::Memory, Controller::Memory)];
    let limits = |controller| groups.as_ref().is_ok_and(|groups| groups.limits(controller));
    let limited = known.into_iter().filter(|(_, controller)| limits(*controller));
    limited.map(|(resource, _)| resource).collect()
}

impl Limits {
    /// Makes what is on hold for groups that nobody has entered yet.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub(crate) fn prepare(&self, group: &mut OwnGroup) -> Result<(), CgroupError> {
        let state = self.0.borrow();
        if let Some(share_ppm) = state.cpu {
            group.limit_cpu(share_ppm)?;
        }
        if let Some(bytes) = state.memory {
            group.limit_memory(bytes)?;
        }
        Ok(())
    }

    /// Whether there is a limit.
    pub(crate) fn is_on(&self) -> bool {
        let state = self.0.borrow();
        state.cpu.is_some() || state.memory.is_some()
    }

    /// Process `pid` lives in these groups.
    pub(crate) fn begin(&self, pid: u32, group: &Group) {
        self.0.borrow_mut().current = Some((pid, Rc::clone(group)));
    }

    /// Process `pid` has ended, and its groups are about to go; whether it was killed for want of the memory that a limit
    /// took away.
    pub(crate) fn end(&self, pid: u32, group: &Group) -> bool {
        let mut state = self.0.borrow_mut();
        state.note(pid, &group.borrow());
        if state.current.as_ref().is_some_and(|(of, _)| *of == pid) {
            state.current = None;
        }
        state.killed == Some(pid)
    }

    /// Whether process `pid` was killed for want of the memory that a limit took away.
    pub(crate) fn has_starved(&self, pid: u32) -> bool {
        let state = self.0.borrow();
        let current = state.current.as_ref().filter(|(of, _)| *of == pid);
        let starves = |group: &Group| state.memory.is_some() && group.borrow().starved().killed;
        state.killed == Some(pid) || current.is_some_and(|(_, group)| starves(group))
    }

    /// Leaves the node so much from now on; whether it holds more and cannot give it back. `runs` says whether it has a
    /// process, which must then have groups.
    ///
    /// # Errors
    /// [`What::System`] says what was refused; the limit is not on then.
    pub(crate) fn limit(&self, limit: Limit, runs: bool) -> Result<bool, Refusal> {
        let mut state = self.0.borrow_mut();
        let group = state.current.as_ref().map(|(_, group)| Rc::clone(group));
        if runs && group.is_none() {
            let message = "the node has no control group of its own\n  help: the agent's log says why";
            return Err(Refusal::new(What::System, message));
        }
        let mut group = group.as_ref().map(|group| group.borrow_mut());
        match limit {
            Limit::Cpu { share_ppm } if state.cpu == Some(share_ppm) => Ok(false),
            Limit::Cpu { share_ppm } => {
                let limited = group.as_mut().map_or(Ok(()), |group| group.limit_cpu(share_ppm));
                limited.map_err(|error| refused(&error))?;
                (state.cpu, state.throttled) = (Some(share_ppm), Throttled::default());
                Ok(false)
            }
            // The answer to the first one may not have arrived.
            Limit::Memory { bytes } if state.memory == Some(bytes) => Ok(held_more(group.as_ref())),
            Limit::Memory { bytes } => {
                let limited = group
                    .as_mut()
                    .map_or(Ok(Begun::Holds), |group| group.limit_memory(bytes));
                let begun = limited.map_err(|error| refused(&error))?;
                (state.memory, state.starved) = (Some(bytes), Starved::default());
                Ok(begun == Begun::HeldMore)
            }
        }
    }

    /// Lifts a limit and says what it did; where there is none, what the last one did.
    ///
    /// # Errors
    /// [`What::System`] says what was refused; the limit stays on then.
    pub(crate) fn lift(&self, of: Resource) -> Result<Seen, Refusal> {
        let mut state = self.0.borrow_mut();
        if let Some((pid, group)) = state.current.clone() {
            let group = group.borrow();
            match of {
                Resource::Cpu if state.cpu.is_some() => group.lift_cpu().map_err(|error| refused(&error))?,
                Resource::Memory if state.memory.is_some() => group.lift_memory().map_err(|error| refused(&error))?,
                Resource::Cpu | Resource::Memory => {}
            }
            state.note_of(of, pid, &group);
        }
        Ok(match of {
            Resource::Cpu => {
                state.cpu = None;
                Seen::Cpu(state.throttled)
            }
            Resource::Memory => {
                state.memory = None;
                Seen::Memory(state.starved)
            }
        })
    }

    /// Lifts all that is on, as far as the system allows; what it refused.
    pub(crate) fn lift_all(&self) -> Vec<String> {
        let lifts = [Resource::Cpu, Resource::Memory].map(|of| self.lift(of));
        lifts
            .into_iter()
            .filter_map(|lifted| lifted.err().map(|refusal| refusal.message))
            .collect()
    }
}

impl State {
    /// Adds what was seen of a process under the limits that are on.
    fn note(&mut self, pid: u32, group: &OwnGroup) {
        self.note_of(Resource::Cpu, pid, group);
        self.note_of(Resource::Memory, pid, group);
    }

    fn note_of(&mut self, of: Resource, pid: u32, group: &OwnGroup) {
        match of {
            Resource::Cpu if self.cpu.is_some() => self.throttled = self.throttled.and(group.throttled()),
            Resource::Memory if self.memory.is_some() => {
                let starved = group.starved();
                self.starved = self.starved.and(starved);
                if starved.killed {
                    self.killed = Some(pid);
                }
            }
            Resource::Cpu | Resource::Memory => {}
        }
    }
}

fn held_more(group: Option<&RefMut<'_, OwnGroup>>) -> bool {
    group.is_some_and(|group| group.starved().held_more)
}

fn refused(error: &CgroupError) -> Refusal {
    Refusal::new(What::System, error.to_string())
}
