//! From a scenario file and options to a plan, with every problem printed at once.

use super::{CliError, Global, output::print_json};
use crate::{
    build::Signing,
    cluster::{check_programs, choose_network},
    inventory,
    provider::capabilities,
    rundir::RunDir,
};
use anstream::eprintln;
use clap::Args;
use regatta_plan::{
    Capabilities, Plan, PlannedHost, Resolved, Scenario, Source, hosts, resolve, scenario::ProviderKind,
    shrink::to_toml,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Longest scenario file that is read, in bytes; the plan's own limit is lower and has the better message.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// The key that pins the address range.
const NETWORK_KEY: &str = "net.ipv4";

/// A scenario file with changes.
#[derive(Debug, Clone, Args)]
pub(super) struct ScenarioArgs {
    /// Scenario file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Change a key of the scenario, e.g. `phases.measure=60s` or `load.0.rate=500`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Provider of hosts in place of the scenario's: `local`, `netns`, `ssh`, or `sim` for nodes in virtual time
    #[arg(long, value_name = "KIND")]
    provider: Option<String>,
    /// Seed of everything random, in place of the scenario's
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Run this executable instead of building, for build NAME or for `main`
    #[arg(long, value_name = "[NAME=]PATH")]
    binary: Vec<String>,
}

/// What only a scenario with hosts has a use for.
#[derive(Debug, Clone, Args)]
pub(super) struct FleetArgs {
    /// Private key that signs the builds: for hosts, which accept no other (`regatta keygen`)
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// Agent for hosts, in place of one that is built
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Hosts that may fail while the run is set up, as `5%` or `2`: `provider.tolerate` of the scenario
    #[arg(long, value_name = "SHARE|NUMBER")]
    tolerate: Option<String>,
}

impl FleetArgs {
    /// What signs the builds, and the agent.
    pub(super) fn signing(&self) -> Signing {
        Signing {
            key: self.key.clone(),
            agent: self.agent.clone(),
        }
    }

    /// The scenario with what is said here about its hosts.
    pub(super) fn on(&self, scenario: &ScenarioArgs) -> ScenarioArgs {
        let tolerate = self.tolerate.iter();
        scenario.with(tolerate.map(|portion| format!("provider.tolerate={portion}")))
    }
}

/// A scenario that was read and resolved.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) plan: Plan,
    /// The scenario with all changes and files.
    pub(super) scenario: Scenario,
    pub(super) text: String,
    pub(super) base: PathBuf,
    pub(super) given: BTreeMap<String, PathBuf>,
    pub(super) reproduce: String,
}

impl ScenarioArgs {
    /// Reads the scenario, checks it against this machine and makes the plan; prints warnings.
    ///
    /// A scenario that pins no address range gets one that is free.
    ///
    /// # Errors
    /// [`CliError::Usage`] with every problem of the scenario at once.
    pub(super) fn load(&self, global: &Global, verb: &str) -> Result<Loaded, CliError> {
        let text = read(&self.file)?;
        let name = self.file.display().to_string();
        let mut overrides = self.overrides();
        let mut source = Source::read(&name, &text, &overrides);
        if let Some(network) = self.free_network(&text, &source)? {
            overrides.push(format!("{NETWORK_KEY}={network}"));
            source = Source::read(&name, &text, &overrides);
        }
        let is_changed = self.include(&mut source)? || !overrides.is_empty();
        let kind = source
            .scenario()
            .map_or(ProviderKind::Local, |scenario| scenario.provider.kind);
        let resolved = Self::resolved(global, &source, &capabilities(kind, &global.runs))?;
        let scenario = source.scenario().cloned().unwrap_or_default();
        let text = if is_changed { to_toml(&scenario)? } else { text };
        check_programs(&resolved.plan).map_err(|error| CliError::Usage(format!("error: {error}")))?;
        Ok(Loaded {
            plan: resolved.plan,
            scenario,
            base: self.file.parent().map(Path::to_owned).unwrap_or_default(),
            text,
            given: self.given()?,
            reproduce: self.reproduce(verb),
        })
    }

    /// As [`ScenarioArgs::load`], for an engine that brings machines and a network of its own: what this machine has and the
    /// scenario's provider count for nothing. Addresses are those of `network`, or else private ones.
    ///
    /// # Errors
    /// As [`ScenarioArgs::load`].
    pub(super) fn load_elsewhere(&self, global: &Global, network: Option<&str>) -> Result<Loaded, CliError> {
        if let Some(kind) = &self.provider {
            let text = format!(
                "error: --provider {kind} has no effect on an export\n  help: leave it out; --to names the engine"
            );
            return Err(CliError::Usage(text));
        }
        let text = read(&self.file)?;
        let name = self.name();
        let elsewhere = format!("provider={{kind=\"{}\"}}", ProviderKind::Netns);
        let network = network.map(|network| format!("{NETWORK_KEY}={network}"));
        let overrides: Vec<String> = self.set.iter().cloned().chain([elsewhere]).chain(network).collect();
        let overrides = [
            overrides,
            self.seed.map(|seed| format!("seed={seed}")).into_iter().collect(),
        ]
        .concat();
        let mut source = Source::read(&name, &text, &overrides);
        self.include(&mut source)?;
        let resolved = Self::resolved(global, &source, &Capabilities::elsewhere(ProviderKind::Netns))?;
        let scenario = source.scenario().cloned().unwrap_or_default();
        if !scenario.process.is_empty() {
            let text = "error: programs of others ([[process]]) are not exported\n  help: leave them out, and add them to \
                        what the engine reads";
            return Err(CliError::Usage(text.to_owned()));
        }
        Ok(Loaded {
            plan: resolved.plan,
            text: to_toml(&scenario)?,
            scenario,
            base: self.file.parent().map(Path::to_owned).unwrap_or_default(),
            given: self.given()?,
            reproduce: self.reproduce("export"),
        })
    }

    /// Resolves `source` and prints what is wrong with it.
    fn resolved(global: &Global, source: &Source, host: &Capabilities) -> Result<Resolved, CliError> {
        let resolved = match resolve(source, host) {
            Ok(resolved) => resolved,
            Err(problems) => {
                if global.json {
                    print_json(&problems.to_json())?;
                }
                return Err(CliError::Usage(problems.to_string()));
            }
        };
        if !resolved.warnings.is_empty() {
            eprintln!("{}\n", resolved.warnings);
        }
        Ok(resolved)
    }

    /// The hosts of the scenario's fleet, pinned or not.
    ///
    /// # Errors
    /// [`CliError::Usage`] with every problem of the scenario's form and of its hosts.
    pub(super) async fn hosts(&self) -> Result<Vec<PlannedHost>, CliError> {
        let source = self.source()?;
        let is_fleet = source
            .scenario()
            .is_none_or(|scenario| scenario.provider.kind == ProviderKind::Ssh);
        if !is_fleet {
            let text = format!(
                "error: `{}` has no hosts\n  help: give it provider.kind = \"ssh\"",
                self.name()
            );
            return Err(CliError::Usage(text));
        }
        hosts(&source).map_err(|problems| CliError::Usage(problems.to_string()))
    }

    /// The scenario as it stands in its files.
    fn source(&self) -> Result<Source, CliError> {
        let mut source = Source::read(&self.name(), &read(&self.file)?, &self.overrides());
        self.include(&mut source)?;
        Ok(source)
    }

    /// Files that hosts of the scenario stand in beside its own.
    pub(super) async fn inventory_files(&self) -> Result<Vec<PathBuf>, CliError> {
        let source = Source::read(&self.name(), &read(&self.file)?, &self.overrides());
        let named = source
            .scenario()
            .and_then(|scenario| scenario.provider.inventory.clone());
        Ok(named.map(|file| self.folder().join(file)).into_iter().collect())
    }

    /// The scenario's file.
    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// Folder that relative files start from.
    pub(super) fn folder(&self) -> PathBuf {
        self.file.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Reads the files that the scenario names, which lie beside it, and runs its inventory command; whether there are any.
    fn include(&self, source: &mut Source) -> Result<bool, CliError> {
        let files = source.files();
        let command = source.inventory_command().map(<[String]>::to_vec);
        let is_changed = !files.is_empty() || command.is_some();
        for file in files {
            let path = self
                .file
                .parent()
                .map_or_else(|| PathBuf::from(&file), |folder| folder.join(&file));
            let content = read(&path)?;
            source.include(&file, &content);
        }
        if let Some(command) = command {
            let folder = self.file.parent().unwrap_or(Path::new(""));
            source.include_command(&inventory::run(&command, folder)?);
        }
        Ok(is_changed)
    }

    /// What was named.
    pub(super) fn name(&self) -> String {
        self.file.display().to_string()
    }

    /// Whether that is a scenario's file.
    pub(super) fn is_file(&self) -> bool {
        self.file.is_file()
    }

    /// The same changes of the scenario of a run, as it was run.
    pub(super) fn of_run(&self, run: &RunDir) -> Self {
        Self {
            file: run.path("scenario.toml"),
            ..self.clone()
        }
    }

    /// Another scenario as it is, on a provider, with the same executables.
    pub(super) fn of_file(&self, file: &Path, provider: ProviderKind) -> Self {
        Self {
            file: file.to_owned(),
            set: Vec::new(),
            provider: Some(provider.to_string()),
            seed: None,
            binary: self.binary.clone(),
        }
    }

    /// The same scenario with further changes.
    pub(super) fn with(&self, changes: impl IntoIterator<Item = String>) -> Self {
        let mut args = self.clone();
        args.set.extend(changes);
        args
    }

    /// As [`ScenarioArgs::load`], with nodes in virtual time; with the provider that it would otherwise be.
    ///
    /// # Errors
    /// As [`ScenarioArgs::load`].
    pub(super) fn load_simulated(&self, global: &Global, verb: &str) -> Result<(Loaded, ProviderKind), CliError> {
        let text = read(&self.file)?;
        let source = Source::read(&self.name(), &text, &self.overrides());
        let kind = source
            .scenario()
            .map_or(ProviderKind::Local, |scenario| scenario.provider.kind);
        let simulated = Self {
            provider: Some(ProviderKind::Sim.to_string()),
            ..self.clone()
        };
        Ok((simulated.load(global, verb)?, kind))
    }

    fn overrides(&self) -> Vec<String> {
        let provider = self.provider.as_ref().map(|kind| format!("provider.kind={kind}"));
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        self.set.iter().cloned().chain(provider).chain(seed).collect()
    }

    /// Another range than the default, when the scenario pins none and the default is taken.
    fn free_network(&self, text: &str, source: &Source) -> Result<Option<String>, CliError> {
        let Some(scenario) = source.scenario() else {
            return Ok(None);
        };
        let pinned = self.set.iter().any(|change| change.starts_with(NETWORK_KEY)) || pins_network(text);
        if pinned || scenario.provider.kind != ProviderKind::Local {
            return Ok(None);
        }
        let free = choose_network(scenario.net.ipv4, scenario.net.p2p_port)?;
        Ok((free != scenario.net.ipv4).then(|| free.to_string()))
    }

    fn given(&self) -> Result<BTreeMap<String, PathBuf>, CliError> {
        let pair = |text: &String| match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), PathBuf::from(path))),
            Some(_) => Err(CliError::Usage(format!(
                "error: --binary {text}\n  help: write --binary main=PATH"
            ))),
            None => Ok(("main".to_owned(), PathBuf::from(text))),
        };
        self.binary.iter().map(pair).collect()
    }

    pub(super) fn reproduce(&self, verb: &str) -> String {
        let mut words = vec![
            "cargo run --release --".to_owned(),
            verb.to_owned(),
            quoted(&self.file.to_string_lossy()),
        ];
        words.extend(self.set.iter().map(|change| format!("--set {}", quoted(change))));
        words.extend(self.provider.iter().map(|kind| format!("--provider {}", quoted(kind))));
        words.extend(self.seed.map(|seed| format!("--seed {seed}")));
        words.join(" ")
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Whether the file itself names an address range.
fn pins_network(text: &str) -> bool {
    let document: Option<toml::Table> = toml::from_str(text).ok();
    document.is_some_and(|document| document.get("net").and_then(|net| net.get("ipv4")).is_some())
}

fn read(file: &Path) -> Result<String, CliError> {
    let failed = |error: std::io::Error| {
        CliError::Usage(format!(
            "error: cannot read `{}`: {error}\n  help: `ls topologies` shows the scenarios of this checkout",
            file.display()
        ))
    };
    let input = std::fs::File::open(file).map_err(failed)?;
    std::io::read_to_string(std::io::Read::take(input, FILE_BYTES_MAX)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(set: &[&str], binary: &[&str]) -> ScenarioArgs {
        ScenarioArgs {
            file: "topologies/a b.toml".into(),
            set: set.iter().map(ToString::to_string).collect(),
            provider: None,
            seed: Some(3),
            binary: binary.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_command_that_repeats_a_run_can_be_pasted() {
        let command = args(&["load.0.rate=500", "name='x'"], &[]).reproduce("run");
        let expected =
            "cargo run --release -- run 'topologies/a b.toml' --set load.0.rate=500 --set 'name='\\''x'\\''' --seed 3";
        assert_eq!(command, expected);
    }

    #[test]
    fn executables_are_named_or_main() {
        let given = args(&[], &["target/node", "other=/x/node"]).given().unwrap();
        assert_eq!(given["main"], PathBuf::from("target/node"));
        assert_eq!(given["other"], PathBuf::from("/x/node"));
        assert!(args(&[], &["=x"]).given().is_err());
    }

    #[test]
    fn a_pinned_range_is_seen() {
        assert!(pins_network("[net]\nipv4 = \"127.60.0.0/16\"\n"));
        assert!(!pins_network("[net]\np2p_port = 7000\n"));
        assert!(!pins_network("not toml ="));
    }
}
