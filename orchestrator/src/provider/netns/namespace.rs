//! Network namespaces without names: held by descriptors and processes alone, and gone with the last of them.

use super::netlink::Netlink;
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};
use regatta_process::Place;
use std::{io, net::Ipv4Addr, thread};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// The loopback device is the first of every namespace.
const LOOPBACK: u32 = 1;
/// Largest packet on a link in bytes, as on most of the internet.
pub(super) const MTU: u32 = 1500;
/// Threads that make namespaces at the same time.
const MAKERS: usize = 4;
/// Packets that may wait in a device for the switch.
const QUEUE_PACKETS: u32 = 2048;

/// Why there is no namespace: the step and what the system said.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {step}: {error}\n  help: network namespaces need root or CAP_NET_ADMIN and CAP_SYS_ADMIN, and /dev/net/tun; \
     without them use provider.kind = \"local\""
)]
pub(crate) struct NamespaceError {
    step: &'static str,
    error: io::Error,
}

fn step(step: &'static str) -> impl Fn(io::Error) -> NamespaceError {
    move |error| NamespaceError { step, error }
}

/// A namespace with one device, whose other end is a descriptor in the lab's hands.
pub(super) struct Namespace {
    /// Keeps the namespace, and is how others enter it.
    pub place: Place,
    /// What comes out of the namespace is read here, and what is written here goes in.
    pub device: SyncDevice,
}

/// Makes a namespace with a device for each of `addresses`.
///
/// With `large` the kernel hands over packets before it cuts them, and leaves out their checksums: for links on which no
/// single packet has a fate of its own.
///
/// # Errors
/// [`NamespaceError`]; then nothing is left of them.
pub(super) fn make(addresses: &[Ipv4Addr], prefix: u8, large: bool) -> Result<Vec<Namespace>, NamespaceError> {
    // Threads that make namespaces end up in the last one: so they are threads that do nothing else. There are several
    // since each waits for the kernel most of the time.
    let make_all = |addresses: &[Ipv4Addr]| -> Result<Vec<Namespace>, NamespaceError> {
        addresses
            .iter()
            .map(|&address| make_one(address, prefix, large))
            .collect()
    };
    thread::scope(|scope| {
        let shares = addresses.chunks(addresses.len().div_ceil(MAKERS).max(1));
        let makers: Vec<_> = shares.map(|share| scope.spawn(move || make_all(share))).collect();
        let mut namespaces = Vec::with_capacity(addresses.len());
        for maker in makers {
            let lost = |_| step("make a namespace")(io::Error::other("the thread for it panicked"));
            namespaces.extend(maker.join().map_err(lost)??);
        }
        Ok(namespaces)
    })
}

fn make_one(address: Ipv4Addr, prefix: u8, large: bool) -> Result<Namespace, NamespaceError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| step("make a network namespace")(error.into()))?;
    let place = Place::current().map_err(step("open a network namespace"))?;
    let device = DeviceBuilder::new()
        .layer(Layer::L3)
        .offload(large)
        .enable(false)
        .build_sync()
        .map_err(step("make a TUN device"))?;
    // The device ends with its namespace and not with the descriptor: the kernel takes a thousand namespaces apart
    // together and later, but the devices of closed descriptors one after the other, while whoever closes them waits.
    device.persist().map_err(step("make a TUN device last"))?;
    device.set_nonblocking(true).map_err(step("set up a TUN device"))?;
    configure(&device, address, prefix).map_err(step("set up the devices of a namespace"))?;
    Ok(Namespace { place, device })
}

fn configure(device: &SyncDevice, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let index = if_nametoindex(device.name()?.as_str())?;
    let mut netlink = Netlink::open()?;
    netlink.up(LOOPBACK, None)?;
    netlink.address(index, address, prefix)?;
    netlink.up(index, Some((MTU, QUEUE_PACKETS)))
}

/// Whether this user may make namespaces with devices here.
///
/// # Errors
/// [`NamespaceError`] says what was refused.
pub(crate) fn probe() -> Result<(), NamespaceError> {
    make(&[Ipv4Addr::new(10, 60, 0, 1)], 16, true).map(drop)
}
