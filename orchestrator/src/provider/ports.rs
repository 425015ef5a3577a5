//! Loopback addresses: whether they are free, who holds them, and which range to take.

use procfs::{
    net::TcpState,
    process::{FDTarget, Process},
};
use regatta_plan::{Plan, scenario::Network};
use std::{
    fmt,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
};

/// Longest command line in a message, in characters.
const COMMAND_CHARS_MAX: usize = 120;
/// First and last second octet that is tried when the scenario leaves the choice to the lab.
const OCTETS: std::ops::RangeInclusive<u8> = 60..=199;

/// A process that holds an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its process id.
    pub pid: i32,
    /// Its command line.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (`{}`)", self.pid, self.command)
    }
}

/// Why addresses cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    /// Somebody listens there.
    #[error(
        "{node}: {address} is in use by {}\n  help: `regatta down --all` stops clusters of this lab; or stop that \
         process; or choose another range with --set net.ipv4=127.77.0.0/16",
        .holder.as_ref().map_or("a process that this user cannot see".to_owned(), ToString::to_string)
    )]
    InUse {
        /// Who wanted it.
        node: String,
        /// The address.
        address: SocketAddr,
        /// Who has it, as far as this user may know.
        holder: Option<Holder>,
    },
    /// The system refuses the address for another reason.
    #[error(
        "{node}: cannot listen on {address}: {error}\n  help: the local provider needs loopback addresses (127.0.0.0/8)"
    )]
    Refused {
        /// Who wanted it.
        node: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Every range is taken.
    #[error(
        "every range from 127.60.0.0/16 to 127.199.0.0/16 is in use\n  help: `regatta down --all`, or pin net.ipv4"
    )]
    NoRange,
}

/// A range of addresses, taken by listening on its first address, which no node gets. The kernel lets go of it however
/// the lab ends, so a range never stays taken.
#[derive(Debug)]
pub(crate) struct AddressClaim {
    _listener: TcpListener,
}

impl AddressClaim {
    /// Takes the range that starts at `base` for this process.
    ///
    /// # Errors
    /// [`AddressError::InUse`] when another lab has it.
    pub(crate) fn take(base: Ipv4Addr, port: u16) -> Result<Self, AddressError> {
        let address = SocketAddr::new(IpAddr::V4(base), port);
        let listener = TcpListener::bind(address).map_err(|error| refusal("the lab", address, error))?;
        Ok(Self { _listener: listener })
    }
}

/// Checks that every address of `plan` can be listened on.
///
/// # Errors
/// [`AddressError`] for the first one that cannot, with who holds it.
pub(crate) fn check_free(plan: &Plan) -> Result<(), AddressError> {
    for node in &plan.nodes {
        for port in [node.p2p_port, node.http_port] {
            let address = SocketAddr::new(IpAddr::V4(node.address), port);
            if let Err(error) = TcpListener::bind(address) {
                return Err(refusal(&node.name, address, error));
            }
        }
    }
    Ok(())
}

/// The first range of 65,536 loopback addresses, beginning with `preferred`, that nobody has taken.
///
/// # Errors
/// [`AddressError::NoRange`] when all are taken.
pub(crate) fn free_network(preferred: Network, port: u16) -> Result<Network, AddressError> {
    let others = OCTETS.map(|octet| Network {
        base: Ipv4Addr::new(127, octet, 0, 0),
        prefix: 16,
    });
    let is_free = |network: &Network| AddressClaim::take(network.base, port).is_ok();
    std::iter::once(preferred)
        .chain(others)
        .find(is_free)
        .ok_or(AddressError::NoRange)
}

fn refusal(node: &str, address: SocketAddr, error: io::Error) -> AddressError {
    let node = node.to_owned();
    if error.kind() == ErrorKind::AddrInUse {
        let holder = holder_of(address);
        AddressError::InUse { node, address, holder }
    } else {
        AddressError::Refused { node, address, error }
    }
}

/// The process that listens on `address`, or on its port on all addresses; `None` when this user may not know.
pub(crate) fn holder_of(address: SocketAddr) -> Option<Holder> {
    let covers = |local: SocketAddr| {
        local.port() == address.port() && (local.ip() == address.ip() || local.ip().is_unspecified())
    };
    let sockets = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let inodes: Vec<u64> = sockets
        .filter(|socket| socket.state == TcpState::Listen && covers(socket.local_address))
        .map(|socket| socket.inode)
        .collect();
    let holds = |process: &Process| {
        let descriptors = process.fd().into_iter().flatten().flatten();
        descriptors
            .into_iter()
            .any(|fd| matches!(fd.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
    };
    let process = procfs::process::all_processes().ok()?.flatten().find(holds)?;
    let command = process
        .cmdline()
        .unwrap_or_default()
        .join(" ")
        .replace(char::is_control, " ");
    Some(Holder {
        pid: process.pid,
        command: command.chars().take(COMMAND_CHARS_MAX).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let mut plan = plan(1);
        let listener = TcpListener::bind("127.199.7.1:0").unwrap();
        plan.nodes[0].p2p_port = listener.local_addr().unwrap().port();
        let error = check_free(&plan).unwrap_err();
        let AddressError::InUse {
            node,
            holder: Some(holder),
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!((node.as_str(), holder.pid), ("val-0", std::process::id() as i32));
        assert!(error.to_string().contains("help:"), "{error}");
        drop(listener);
        assert_eq!(holder_of("127.199.7.1:1".parse().unwrap()), None);
    }

    #[test]
    fn a_wildcard_listener_is_found_too() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let holder = holder_of(SocketAddr::new(Ipv4Addr::new(127, 199, 7, 3).into(), port));
        assert_eq!(holder.map(|holder| holder.pid), Some(std::process::id() as i32));
    }

    #[test]
    fn addresses_of_other_machines_are_refused_with_a_reason() {
        let mut plan = plan(1);
        plan.nodes[0].address = Ipv4Addr::new(203, 0, 113, 1);
        assert!(matches!(check_free(&plan), Err(AddressError::Refused { .. })));
    }

    #[test]
    fn a_taken_range_is_passed_over() {
        let probe = TcpListener::bind("127.199.0.0:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        let preferred: Network = "127.199.0.0/16".parse().unwrap();
        let other = free_network(preferred, port).unwrap();
        assert_ne!(other, preferred);
        drop(probe);
        assert_eq!(free_network(preferred, port).unwrap(), preferred);
    }
}
