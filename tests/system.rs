//! Whole-system tests: the two programs as processes, over sockets and disks, when things go right and when they do not.

#[cfg(test)]
mod system {
    /// What the tests stand on.
    mod support {
        pub mod detour;
        pub mod lab;
        pub mod namespaces;
        pub mod network;
        pub mod process;
        pub mod programs;
        pub mod releases;
        pub mod skip;
        pub mod sshd;
        pub mod subnet;
        pub mod terminal;
        pub mod wait;
    }

    mod attestation;
    mod changes;
    mod churn;
    mod clusters;
    mod command_line;
    mod endings;
    mod export;
    mod faults;
    mod fleet;
    mod fleet_build;
    mod fleet_changes;
    mod fleet_control;
    mod fleet_limits;
    mod fleet_loads;
    mod fleet_runs;
    mod fleet_spread;
    mod fleet_up;
    mod foreign;
    mod hostile;
    mod idle;
    mod instances;
    mod journals;
    mod killed;
    mod late;
    mod limits;
    mod memory;
    mod misconduct;
    mod namespaces;
    mod parity;
    mod partitions;
    mod power;
    mod recovery;
    mod scenarios;
    mod shrink;
    mod snapshots;
    mod starts;
    mod sweep;
    mod upgrades;
    mod upgrades_back;
    mod upgrades_by_lab;
    mod upgrades_refused;
    mod watching;
}
