//! `regatta parity`: one scenario with real and with simulated nodes, and where they differ.

use super::{
    CliError, Global, Outcome,
    output::{print, print_json},
    report::read_result,
    run::job_of,
    scenario::{Loaded, ScenarioArgs, quoted},
    signals::Signals,
};
use crate::{
    progress::Printer,
    provider::raise_descriptor_limit,
    rundir::at,
    runner::{self, Interrupts},
};
use anstream::eprintln;
use clap::Args;
use regatta_plan::scenario::ProviderKind;
use regatta_report::{Parity as Page, RunResult, parity};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Exit code when a figure differs by more than it may.
const APART: u8 = 3;
/// Exit codes of runs that were carried out and measure something: as they should be, objective missed, inconclusive.
const MEASURED: [u8; 3] = [0, 3, 5];

/// Run a scenario with real and with simulated nodes, and show where they differ
#[derive(Debug, Args)]
#[command(after_help = "\
The scenario runs twice: as it stands, and with its nodes in virtual time on one simulated machine with as many cores as \
this one. The page has a table of every figure with simulated / real, and the distributions of both.

Examples:
  regatta parity topologies/quickstart.toml
  regatta parity topologies/blocks-4.toml --out reports/parity/blocks-4
  regatta parity topologies/quickstart.toml --within 2       3 when a figure differs by more than twice
  regatta parity topologies/quickstart.toml --real latest    only the simulated run is made

Exit codes:
  0 both ran   1 not carried out   2 usage or scenario   3 a figure differs by more than --within
  4 correctness   6 invalid run")]
pub(super) struct Parity {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// A run of the scenario with real nodes, in place of a new one: by id, unique prefix, `latest` or folder
    #[arg(long, value_name = "RUN")]
    real: Option<String>,
    /// Cores of the simulated machine; as many as this one has unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: Option<u32>,
    /// Most by which a figure may differ, in either direction, e.g. 2 for twice or half
    #[arg(long, value_name = "FACTOR")]
    within: Option<f64>,
    /// Folder for the page and its figures; `parity/SCENARIO` in the folder of all runs unless given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Parity {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        if let Some(within) = self.within.filter(|within| !(1.0..=1e6).contains(within)) {
            let text = format!("error: --within {within}\n  help: write a factor of 1 or more, such as 2");
            return Err(CliError::Usage(text));
        }
        let (simulated, provider) = self.simulated_args().load_simulated(global, "run")?;
        if provider == ProviderKind::Sim {
            let text = format!(
                "error: the nodes of `{}` are simulated already\n  help: add --provider local, if it can run so",
                self.scenario.name()
            );
            return Err(CliError::Usage(text));
        }
        let real = match &self.real {
            Some(name) => read_result(&global.runs, name)?.1,
            None => carry_out(global, self.scenario.load(global, "run")?).await?,
        };
        let simulated = carry_out(global, simulated).await?;
        let page = parity(&real, &simulated, &self.reproduce());
        let folder = self.out.clone().unwrap_or_else(|| folder_of(&global.runs, &page));
        write(&folder, &page, &real, &simulated)?;
        self.tell(global, &folder, &page)?;
        let bad = [&real, &simulated].map(|result| result.verdict.exit_code);
        match bad.into_iter().find(|code| !MEASURED.contains(code)) {
            Some(code) => Ok(code),
            None => Ok(self.judge(&page)),
        }
    }

    /// The scenario with all nodes on one simulated machine.
    fn simulated_args(&self) -> ScenarioArgs {
        let cores = self.cores.or_else(|| {
            let cores = std::thread::available_parallelism().ok()?;
            u32::try_from(cores.get()).ok()
        });
        let changes = cores.map(|cores| format!("provider.cores={cores}"));
        self.scenario
            .with(["provider.shared=true".to_owned()].into_iter().chain(changes))
    }

    /// Says which figures are further apart than they may be.
    fn judge(&self, page: &Page) -> u8 {
        let Some(within) = self.within else { return 0 };
        let far = page.beyond(within);
        for one in &far {
            eprintln!("apart     {one}");
        }
        if far.is_empty() { 0 } else { APART }
    }

    fn reproduce(&self) -> String {
        let cores = self.cores.map(|cores| format!(" --cores {cores}")).unwrap_or_default();
        let out = self
            .out
            .as_ref()
            .map(|out| format!(" --out {}", quoted(&out.to_string_lossy())));
        self.scenario.reproduce("parity") + &cores + &out.unwrap_or_default()
    }

    fn tell(&self, global: &Global, folder: &Path, page: &Page) -> Result<(), CliError> {
        if global.json {
            return print_json(&serde_json::json!({ "folder": folder, "parity": page }));
        }
        let file = folder.join("parity.html");
        print(&format!("{}\npage: {}\n", page.text(), file.display()))
    }
}

/// One run, from its scenario to its report.
async fn carry_out(global: &Global, loaded: Loaded) -> Result<RunResult, CliError> {
    raise_descriptor_limit();
    let interrupts = Interrupts::new();
    let mut signals = Signals::listen()?;
    let work = runner::run(job_of(global, loaded), Arc::new(Printer::new()), interrupts.clone());
    let finished = tokio::select! {
        finished = work => finished?,
        second = signals.interrupt_twice(&interrupts) => {
            return Err(CliError::Failed(format!("{second}: ended at once, without a report")));
        }
    };
    if interrupts.get().is_some() {
        return Err(CliError::Failed(
            "interrupted: half a run is at parity with nothing".to_owned(),
        ));
    }
    eprintln!("{}", finished.result.verdict.sentence);
    Ok(finished.result)
}

/// Where the page of a scenario goes; its name has no separators, which the plan checked.
fn folder_of(runs: &Path, page: &Page) -> PathBuf {
    runs.join("parity").join(&page.scenario)
}

fn write(folder: &Path, page: &Page, real: &RunResult, simulated: &RunResult) -> Result<(), CliError> {
    for artefact in page.artefacts(real, simulated)? {
        let path = folder.join(&artefact.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(at(parent))?;
        }
        std::fs::write(&path, &artefact.bytes).map_err(at(&path))?;
    }
    Ok(())
}
