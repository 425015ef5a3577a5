//! `regatta doctor`: whether this machine can run testnets, and how large.

use super::{
    CliError, FAILED, Global, Outcome,
    output::{print, print_json, table},
};
use crate::provider::{AddressClaim, HostLimits, probe_namespaces};
use clap::Args;
use regatta_process::cgroup::{Controller, Place};
use regatta_report::format;
use serde::Serialize;
use std::net::Ipv4Addr;

/// Descriptors that a hundred nodes and the lab need in one process.
const DESCRIPTORS_MIN: u64 = 4096;
/// Free disk that a run of the first scenarios needs, in bytes.
const DISK_BYTES_MIN: u64 = 2 << 30;
/// Memory that a hundred nodes need, in bytes.
const MEMORY_BYTES_MIN: u64 = 2 << 30;
/// An address that only local testnets use.
const PROBE: Ipv4Addr = Ipv4Addr::new(127, 250, 250, 250);

/// Check this machine: tools, limits, addresses, disk
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  regatta doctor")]
pub(super) struct Doctor {}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    good: bool,
    found: String,
    help: &'static str,
}

impl Doctor {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let mut findings = vec![
            cargo().await,
            compiler().await,
            addresses(),
            namespaces(),
            groups("processor shares", Controller::Cpu, "cpu"),
            groups("memory limits", Controller::Memory, "memory"),
        ];
        findings.extend(limits(&HostLimits::read(&global.runs)));
        if global.json {
            print_json(&findings)?;
        } else {
            show(&findings)?;
        }
        Ok(if findings.iter().all(|finding| finding.good) {
            0
        } else {
            FAILED
        })
    }
}

fn show(findings: &[Finding]) -> Result<(), CliError> {
    let row = |finding: &Finding| {
        let mark = if finding.good { "ok" } else { "MISSING" };
        let help = if finding.good {
            String::new()
        } else {
            format!("help: {}", finding.help)
        };
        vec![mark.to_owned(), finding.what.to_owned(), finding.found.clone(), help]
    };
    print(&table(&findings.iter().map(row).collect::<Vec<_>>()))
}

/// First line of what a tool prints about itself.
async fn tool(what: &'static str, program: &str, help: &'static str) -> Finding {
    let output = tokio::process::Command::new(program).arg("--version").output().await;
    let line = output.ok().filter(|output| output.status.success());
    let line = line.and_then(|output| {
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .map(str::to_owned)
    });
    Finding {
        what,
        good: line.is_some(),
        found: line.unwrap_or_else(|| format!("`{program}` does not run")),
        help,
    }
}

async fn cargo() -> Finding {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    tool("cargo", &program, "install Rust with https://rustup.rs").await
}

async fn compiler() -> Finding {
    tool(
        "C compiler",
        "cc",
        "install gcc or clang: some dependencies are written in C",
    )
    .await
}

fn addresses() -> Finding {
    let claim = AddressClaim::take(PROBE, 0);
    Finding {
        what: "addresses",
        good: claim.is_ok(),
        found: claim.map_or_else(
            |error| error.to_string(),
            |_| "127.0.0.0/8 can be listened on".to_owned(),
        ),
        help: "the local provider needs a loopback interface with 127.0.0.0/8, as Linux has",
    }
}

/// Not every machine has them, and only one provider needs them: without them a machine is no worse.
fn namespaces() -> Finding {
    let found = match probe_namespaces() {
        Ok(()) => "allowed: provider.kind = \"netns\" works here".to_owned(),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default().to_owned();
            format!("not allowed ({reason}): use provider.kind = \"local\", or run as root")
        }
    };
    Finding {
        what: "namespaces",
        good: true,
        found,
        help: "",
    }
}

/// As namespaces: one kind of fault needs them.
fn groups(what: &'static str, controller: Controller, kind: &str) -> Finding {
    let found = match Place::find(controller) {
        Ok(place) => format!("{}: faults of kind \"{kind}\" work here", place.describe()),
        Err(error) => {
            let reason = error.to_string();
            format!(
                "not to be had ({}): no faults of kind \"{kind}\"",
                reason.lines().next().unwrap_or_default()
            )
        }
    };
    Finding {
        what,
        good: true,
        found,
        help: "",
    }
}

fn limits(limits: &HostLimits) -> Vec<Finding> {
    let bytes = |value: u64| format::bytes(value as f64);
    vec![
        Finding {
            what: "cores",
            good: limits.cores >= 2,
            found: limits.cores.to_string(),
            help: "with one core the load generator and the nodes disturb each other",
        },
        Finding {
            what: "memory",
            good: limits.memory_available_bytes >= MEMORY_BYTES_MIN,
            found: format!(
                "{} of {} free",
                bytes(limits.memory_available_bytes),
                bytes(limits.memory_total_bytes)
            ),
            help: "close other programs or run fewer nodes",
        },
        Finding {
            what: "descriptors",
            good: limits.descriptors_hard >= DESCRIPTORS_MIN,
            found: format!("{} now, {} at most", limits.descriptors_soft, limits.descriptors_hard),
            help: "raise the hard limit (ulimit -Hn, /etc/security/limits.conf)",
        },
        Finding {
            what: "disk",
            good: limits.disk_free_bytes >= DISK_BYTES_MIN,
            found: format!("{} free for runs", bytes(limits.disk_free_bytes)),
            help: "free some space or choose another folder with --runs",
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;

    #[test]
    fn what_is_missing_is_found() {
        let poor = HostLimits {
            cores: 1,
            memory_total_bytes: 1 << 30,
            memory_available_bytes: 1 << 20,
            descriptors_soft: 256,
            descriptors_hard: 1024,
            descriptors_total: 1024,
            processes: 10,
            disk_free_bytes: 1 << 20,
        };
        assert!(
            limits(&poor)
                .iter()
                .all(|finding| !finding.good && !finding.help.is_empty())
        );
        assert!(!block_on(tool("nothing", "regatta-no-such-tool", "")).good);
    }

    #[test]
    fn this_machine_has_loopback_addresses() {
        assert!(addresses().good);
    }
}
