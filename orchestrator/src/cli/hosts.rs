//! `regatta hosts`: the hosts of a fleet before anything runs there.

use super::{
    CliError, FAILED, Global, Outcome,
    output::{print, print_json, table},
    scenario::ScenarioArgs,
};
use crate::fleet::{Connections, HostError, Pin, Probed, ScannedKey, Target, fingerprint, pin, probe, scan};
use anstream::eprintln;
use clap::{Args, Subcommand};
use futures::{StreamExt, stream};
use regatta_plan::PlannedHost;
use regatta_report::format;
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::Instant,
};

/// Hosts that are asked at once.
const ASKED_AT_ONCE: usize = 32;

/// List, check and trust the hosts of a fleet
#[derive(Debug, Args)]
#[command(after_help = "\
A run talks to a host only when the key that it shows is the one that the scenario or its inventory pins.

Examples:
  regatta hosts trust fleet.toml      show the fingerprints of keys that are not pinned, ask, and pin them
  regatta hosts check fleet.toml      connect to every host and say what it is
  regatta hosts list fleet.toml")]
pub(super) struct Hosts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the hosts of a scenario
    List {
        #[command(flatten)]
        scenario: ScenarioArgs,
    },
    /// Connect to every host and say what it is
    Check {
        #[command(flatten)]
        scenario: ScenarioArgs,
    },
    /// Show the keys that hosts have and pin them
    Trust {
        #[command(flatten)]
        scenario: ScenarioArgs,
        /// Pin without asking: for fingerprints that were compared elsewhere
        #[arg(long)]
        yes: bool,
        /// Also replace keys that are pinned and that hosts do not have any more
        #[arg(long)]
        replace: bool,
    },
}

impl Hosts {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        match &self.verb {
            Verb::List { scenario } => list(global, &scenario.hosts().await?).await,
            Verb::Check { scenario } => check(global, scenario, &scenario.hosts().await?).await,
            Verb::Trust { scenario, yes, replace } => {
                let hosts = scenario.hosts().await?;
                trust(scenario, &hosts, *yes, *replace).await
            }
        }
    }
}

/// The hosts as the SSH client must know them.
pub(super) fn targets(scenario: &ScenarioArgs, hosts: &[PlannedHost]) -> Result<Vec<Target>, CliError> {
    Target::of_plan(hosts, &scenario.folder())
        .map_err(|(host, error)| CliError::Usage(format!("error: host `{host}`: {error}")))
}

async fn list(global: &Global, hosts: &[PlannedHost]) -> Outcome {
    if global.json {
        print_json(&hosts)?;
        return Ok(0);
    }
    let mut rows = vec![words(&["host", "address", "user", "region", "slots", "key"])];
    for host in hosts {
        let key = match &host.host_key {
            Some(key) => fingerprint(key).await?,
            None => "not pinned".to_owned(),
        };
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let slots = format!("{}{}", host.slots, if host.spare { ", spare" } else { "" });
        let address = format!("{}:{}", host.addr, host.port);
        rows.push(vec![
            host.name.clone(),
            address,
            or_none(&host.user),
            or_none(&host.region),
            slots,
            key,
        ]);
    }
    print(&table(&rows))?;
    Ok(0)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

async fn check(global: &Global, scenario: &ScenarioArgs, hosts: &[PlannedHost]) -> Outcome {
    let connections = Connections::temporary(targets(scenario, hosts)?)?;
    let probes = connections.targets().iter().map(|target| {
        let connections = &connections;
        async move {
            let began = Instant::now();
            let probed = probe(connections, target).await;
            (target, probed, began.elapsed())
        }
    });
    let probes: Vec<_> = probes.collect();
    let mut answers: Vec<_> = stream::iter(probes).buffer_unordered(ASKED_AT_ONCE).collect().await;
    answers.sort_by_key(|(target, ..)| target.index);
    let failed = answers.iter().filter(|(_, probed, _)| probed.is_err()).count();
    for (target, probed, _) in &answers {
        if let Err(error) = probed {
            eprintln!("error: host `{}` {error}", target.name);
        }
    }
    let rows: Vec<Vec<String>> = answers
        .iter()
        .filter_map(|(target, probed, took)| Some(row(target, probed.as_ref().ok()?, took.as_secs_f64())))
        .collect();
    if global.json {
        let line = |row: &Vec<String>| serde_json::json!({ "host": row[0], "is": row[1..] });
        print_json(&rows.iter().map(line).collect::<Vec<_>>())?;
    } else {
        let head = words(&[
            "host",
            "answers after",
            "machine",
            "cores",
            "memory free",
            "disk free",
            "kernel",
        ]);
        print(&table(&[vec![head], rows].concat()))?;
    }
    eprintln!("{} of {} hosts can be used", answers.len() - failed, answers.len());
    Ok(if failed == 0 { 0 } else { FAILED })
}

fn row(target: &Target, probed: &Probed, took_s: f64) -> Vec<String> {
    vec![
        target.name.clone(),
        format!("{} s", format::number(took_s)),
        probed.arch.clone(),
        probed.cores.to_string(),
        format::bytes(probed.memory_bytes as f64),
        format::bytes(probed.disk_bytes as f64),
        probed.kernel.clone(),
    ]
}

/// What a host's key is compared with what is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Pinned,
    New,
    Changed,
}

async fn trust(scenario: &ScenarioArgs, hosts: &[PlannedHost], yes: bool, replace: bool) -> Outcome {
    let scanned = scan_all(&targets(scenario, hosts)?).await?;
    let mut rows = vec![words(&["host", "address", "key", "fingerprint", ""])];
    let mut failed = 0;
    let mut pins = Vec::new();
    let mut changed = 0;
    for (target, shown) in &scanned {
        let shown = match shown {
            Ok(shown) => shown,
            Err(error) => {
                eprintln!("error: host `{}` {error}", target.name);
                failed += 1;
                continue;
            }
        };
        let standing = match target.host_key.as_deref() {
            None => Standing::New,
            Some(pinned) if pinned == shown.key => Standing::Pinned,
            Some(_) => Standing::Changed,
        };
        changed += usize::from(standing == Standing::Changed);
        rows.push(trust_row(target, shown, standing));
        if standing == Standing::New || standing == Standing::Changed && replace {
            pins.push(Pin {
                addr: target.addr.clone(),
                port: target.port,
                key: shown.key.clone(),
            });
        }
    }
    print(&table(&rows))?;
    if changed > 0 && !replace {
        eprintln!(
            "warning: {changed} hosts have another key than the pinned one; nothing is changed for them\n  help: find out why \
             before you pin the new ones with --replace"
        );
        failed += changed;
    }
    if !pins.is_empty() {
        confirm(pins.len(), yes)?;
        write_pins(scenario, &pins).await?;
    }
    Ok(if failed == 0 { 0 } else { FAILED })
}

fn trust_row(target: &Target, shown: &ScannedKey, standing: Standing) -> Vec<String> {
    let kind = shown.key.split(' ').next().unwrap_or_default();
    let standing = match standing {
        Standing::Pinned => "pinned",
        Standing::New => "new",
        Standing::Changed => "OTHER THAN PINNED",
    };
    let address = format!("{}:{}", target.addr, target.port);
    vec![
        target.name.clone(),
        address,
        kind.to_owned(),
        shown.fingerprint.clone(),
        standing.to_owned(),
    ]
}

async fn scan_all(targets: &[Target]) -> Result<Vec<(Target, Result<ScannedKey, HostError>)>, CliError> {
    let connections = Connections::temporary(targets.to_vec())?;
    let scans = targets.iter().map(|target| {
        let connections = &connections;
        async move { (target.clone(), scan(connections, target).await) }
    });
    let scans: Vec<_> = scans.collect();
    let mut scanned: Vec<_> = stream::iter(scans).buffer_unordered(ASKED_AT_ONCE).collect().await;
    scanned.sort_by_key(|(target, _)| target.index);
    Ok(scanned)
}

/// Asks at the terminal, unless `yes`.
fn confirm(count: usize, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    let refused = |why: &str| {
        CliError::Usage(format!(
            "error: nothing is pinned: {why}\n  help: compare the fingerprints, then use --yes"
        ))
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused("nobody can be asked without a terminal"));
    }
    eprint!("Are these {count} fingerprints right? Their keys will be pinned. [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(refused("not confirmed")),
    }
}

/// Writes the keys into the scenario or its inventory; those that stand in neither are printed.
async fn write_pins(scenario: &ScenarioArgs, pins: &[Pin]) -> Result<(), CliError> {
    let mut files: Vec<PathBuf> = vec![scenario.path().to_owned()];
    files.extend(scenario.inventory_files().await?);
    let mut left: Vec<Pin> = pins.to_vec();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let Some((new, found)) = pin(&text, &left) else {
            continue;
        };
        let count = found.iter().filter(|found| **found).count();
        if count == 0 {
            continue;
        }
        replace_file(&file, &new)?;
        eprintln!("{count} keys are pinned in {}", file.display());
        let mut found = found.into_iter();
        left.retain(|_| !found.next().unwrap_or(false));
    }
    if left.is_empty() {
        return Ok(());
    }
    for pin in &left {
        print(&format!("{}:{}  host_key = \"{}\"\n", pin.addr, pin.port, pin.key))?;
    }
    let text = "these hosts are in no TOML file of the scenario\n  help: add each `host_key` where the host is named";
    Err(CliError::Failed(text.to_owned()))
}

/// Replaces a file in one step, so that nobody finds half of it.
fn replace_file(file: &Path, text: &str) -> Result<(), CliError> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    std::fs::set_permissions(new.path(), std::fs::metadata(file)?.permissions())?;
    new.persist(file)
        .map_err(|error| CliError::Failed(format!("`{}`: {}", file.display(), error.error)))?;
    Ok(())
}
