//! What the node asks of the operating system: its parent, and who holds a port.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// The parent has gone before this process could bind its life to it.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The system refuses.
    #[error("cannot ask for a signal on the parent's death: {0}; help: leave the option out")]
    System(#[from] nix::Error),
    /// Another process is the parent already.
    #[error("the parent is process {actual} and not {expected}: the one that started this node has died")]
    Gone {
        /// The process that was named.
        expected: u32,
        /// The present parent.
        actual: u32,
    },
}

/// Makes the system end this process when the thread that started it ends.
///
/// # Errors
/// [`ParentError::Gone`] when `parent` is not the parent any more: it died before the call.
pub fn die_with_parent(parent: u32) -> Result<(), ParentError> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let actual = std::os::unix::process::parent_id();
    if actual == parent {
        Ok(())
    } else {
        Err(ParentError::Gone {
            expected: parent,
            actual,
        })
    }
}

/// A socket cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {source}{detail}; help: {help}")]
pub struct ListenError {
    /// What the socket is for.
    pub purpose: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
    detail: String,
    help: &'static str,
}

/// Explains why listening failed; names the process that holds the port when there is one.
#[must_use]
pub fn explain_listen(purpose: &'static str, address: SocketAddr, source: io::Error) -> ListenError {
    let (detail, help) = match source.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder_of_port(Path::new("/proc"), address);
            let holder = holder.unwrap_or_else(|| "a process of another user or host".to_owned());
            (
                format!(" (held by {holder})"),
                "stop that process or choose another port",
            )
        }
        io::ErrorKind::AddrNotAvailable => (String::new(), "use an address of this host, for example 127.0.0.1"),
        io::ErrorKind::PermissionDenied => (String::new(), "use a port above 1023"),
        _ => (String::new(), "choose another address or port"),
    };
    ListenError {
        purpose,
        address,
        source,
        detail,
        help,
    }
}

/// Process id and command line of `pid`, as far as they can be read.
pub(crate) fn describe_process(pid: &str) -> String {
    describe_in(Path::new("/proc"), pid)
}

fn describe_in(proc_dir: &Path, pid: &str) -> String {
    if !is_process_id(pid) {
        return "another process".to_owned();
    }
    let command = fs::read(proc_dir.join(pid).join("cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let command: String = command.trim().chars().take(200).collect();
    if command.is_empty() {
        format!("process {pid}")
    } else {
        format!("process {pid}: {command}")
    }
}

fn is_process_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Who listens on `address`: first the socket's inode by the table of sockets, then its owner.
fn holder_of_port(proc_dir: &Path, address: SocketAddr) -> Option<String> {
    let inode = ["net/tcp", "net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(proc_dir.join(table)).ok()?;
        listening_inode(&text, address).map(str::to_owned)
    })?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir(proc_dir).ok()?.flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if !is_process_id(&name) {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let mut links = descriptors
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        if links.any(|link| link.as_os_str() == wanted.as_str()) {
            return Some(describe_in(proc_dir, &name));
        }
    }
    None
}

/// Inode of the socket that listens on `address`, or on all addresses with its port.
fn listening_inode(table: &str, address: SocketAddr) -> Option<&str> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (ip, port) = local.split_once(':')?;
        let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
        let ip = parse_ip(ip)?;
        let same_ip = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
        (*state == LISTEN && same_port && same_ip).then_some(*inode)
    })
}

/// The kernel prints an address as 32-bit words in the byte order of the machine.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for word in text.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let holder = TcpListener::bind("127.8.1.2:0").unwrap();
        let address = holder.local_addr().unwrap();
        let source = TcpListener::bind(address).unwrap_err();
        let text = explain_listen("peers", address, source).to_string();
        assert!(
            text.contains(&format!("held by process {}: ", std::process::id())),
            "{text}"
        );
        assert!(text.contains("help: "), "{text}");
    }

    #[test]
    fn a_holder_on_all_addresses_is_found_too() {
        let holder = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let found = holder_of_port(Path::new("/proc"), SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(found.unwrap().starts_with(&format!("process {}", std::process::id())));
    }

    #[test]
    fn an_address_of_another_host_is_explained() {
        let address: SocketAddr = "192.0.2.1:7000".parse().unwrap();
        let source = TcpListener::bind(address).unwrap_err();
        let text = explain_listen("peers", address, source).to_string();
        assert!(
            text.contains("192.0.2.1:7000") && text.contains("an address of this host"),
            "{text}"
        );
    }

    #[test]
    fn tables_that_make_no_sense_name_nobody() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        for table in ["", "head\n0: zz:zz 0 0A", "head\n 0: 0100007F:0050 0 01 0 0 0 0 0 77"] {
            assert_eq!(listening_inode(table, address), None);
        }
        let row = "head\n 0: 0100007F:0050 00000000:0000 0A 0 0 0 0 0 77";
        assert_eq!(listening_inode(row, address), Some("77"));
    }

    #[test]
    fn only_the_real_parent_is_accepted() {
        let parent = std::os::unix::process::parent_id();
        let error = die_with_parent(parent.wrapping_add(1)).unwrap_err();
        assert!(
            matches!(error, ParentError::Gone { actual, .. } if actual == parent),
            "{error}"
        );
    }

    #[test]
    fn text_that_is_no_process_id_is_not_followed() {
        assert_eq!(describe_process("../etc"), "another process");
        assert_eq!(describe_process(""), "another process");
        assert_eq!(describe_process("4294967295"), "process 4294967295");
    }
}
