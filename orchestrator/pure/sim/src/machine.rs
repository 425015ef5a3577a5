//! Processors: a few cores, tasks that wait for one, and who is next.

use std::collections::VecDeque;

/// The processors of all hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineModel {
    /// Cores of a machine, at least 1.
    pub cores: usize,
    /// All hosts share one machine, as with processes of one computer; otherwise each has a machine of its own.
    pub shared: bool,
}

impl Default for MachineModel {
    fn default() -> Self {
        Self {
            cores: 2,
            shared: false,
        }
    }
}

/// The cores of one machine.
#[derive(Debug)]
pub(crate) struct Machine<T> {
    idle: usize,
    ready: VecDeque<T>,
}

impl<T> Machine<T> {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            idle: cores.max(1),
            ready: VecDeque::new(),
        }
    }

    /// A task wants a core: it gets one at once, or waits behind the others.
    pub(crate) fn want(&mut self, task: T) -> Option<T> {
        if self.idle > 0 {
            self.idle -= 1;
            return Some(task);
        }
        self.ready.push_back(task);
        None
    }

    /// A core is free: the task that has waited longest gets it.
    pub(crate) fn release(&mut self) -> Option<T> {
        let next = self.ready.pop_front();
        self.idle += usize::from(next.is_none());
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_handed_out_in_the_order_of_asking() {
        let mut machine = Machine::new(2);
        assert_eq!((machine.want(1), machine.want(2)), (Some(1), Some(2)));
        assert_eq!((machine.want(3), machine.want(4)), (None, None));
        assert_eq!((machine.release(), machine.release()), (Some(3), Some(4)));
        assert_eq!((machine.release(), machine.release()), (None, None));
        assert_eq!(
            (machine.want(5), machine.want(6), machine.want(7)),
            (Some(5), Some(6), None)
        );
    }
}
