//! What a full node costs that has nothing to do.

use super::support::network::Network;

/// Most resident memory of an idle full node in release mode, in KiB. The aim is 12 MiB; the rest is for other allocators.
const RESIDENT_KIB_MAX: u64 = 16 * 1024;

/// Resident memory of a process in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn an_idle_full_node_is_small() {
    let mut network = Network::new(4, 1).started();
    let pid = network.process(4).pid();
    let resident = resident_kib(pid);
    println!("an idle full node has {resident} KiB resident");
    if !cfg!(debug_assertions) {
        assert!(resident <= RESIDENT_KIB_MAX, "{resident} KiB resident");
    }
}
