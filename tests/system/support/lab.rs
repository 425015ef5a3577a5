//! The lab as a person meets it: scenario files, commands, and what it leaves in its folder of runs.

use super::{
    process::{Ended, Running, is_alive},
    programs,
    subnet::Subnet,
    wait::until,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// A folder of runs with scenarios beside it. Clusters that are up are taken down with it.
pub struct Lab {
    folder: TempDir,
    pub subnet: Subnet,
    commands: AtomicU32,
    may_have_clusters: bool,
}

impl Lab {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            subnet: Subnet::take(),
            commands: AtomicU32::new(0),
            may_have_clusters: false,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn runs(&self) -> PathBuf {
        self.path("runs")
    }

    /// Writes a scenario file.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A small scenario on this lab's addresses; `more` is appended.
    pub fn scenario(&self, more: &str) -> String {
        let text = format!(
            "# Does a small network do what a test expects?\nschema = 1\nname = \"small\"\nseed = 5\n\
             [net]\nipv4 = \"{}\"\n\
             [[group]]\nname = \"val\"\ncount = 4\nrole = \"validator\"\n\
             [[group]]\nname = \"full\"\ncount = 1\nrole = \"full\"\n\
             [peering]\ncore = {{ kind = \"full_mesh\", of = \"val\" }}\n\
             attach = {{ kind = \"bipartite\", from = \"full\", to = \"val\", degree = 2 }}\n\
             [[consensus]]\nid = \"main\"\nblock_interval = \"50ms\"\n{more}",
            self.subnet.text()
        );
        self.write("small.toml", &text)
    }

    /// Starts a command of the lab.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let runs = self.runs();
        let arguments = [arguments, &["--runs", runs.to_str().unwrap()]].concat();
        Running::start(
            programs::lab(),
            &arguments,
            self.folder.path(),
            &format!("command-{number}"),
        )
    }

    /// Runs a command of the lab to its end.
    pub fn command(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait()
    }

    /// Starts `regatta run` with the node that is already built.
    pub fn start_run(&self, scenario: &str) -> Running {
        self.start(&["run", scenario, "--binary", programs::node().to_str().unwrap()])
    }

    /// Whatever cluster is up at the end of the test is brought down.
    pub fn ends_clusters(&mut self) {
        self.may_have_clusters = true;
    }

    /// Brings up a cluster that stays.
    pub fn up(&mut self, scenario: &str) -> Ended {
        self.may_have_clusters = true;
        self.command(&["up", scenario, "--json", "--binary", programs::node().to_str().unwrap()])
    }

    /// The newest run.
    pub fn latest(&self) -> Run {
        Run::open(&self.runs().join("latest"))
    }

    /// The run that `lab` makes, as soon as it says which one.
    pub fn run_of(&self, lab: &Running) -> Run {
        until("a run", || {
            let stderr = lab.stderr();
            let id = stderr.lines().find_map(|line| line.strip_prefix("run "));
            id.map(|id| Run::open(&self.runs().join(id.trim()))).ok_or(stderr)
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.may_have_clusters {
            let _ = self.command(&["down", "--all"]);
        }
    }
}

/// The folder of one run.
pub struct Run {
    pub folder: PathBuf,
}

impl Run {
    fn open(path: &Path) -> Self {
        let folder = path
            .canonicalize()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { folder }
    }

    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    pub fn result(&self) -> Value {
        serde_json::from_str(&self.text("result.json")).expect("the run has a result")
    }

    /// Lines of the journal that are written so far.
    pub fn journal(&self) -> Vec<Value> {
        let text = self.text("journal.ndjson");
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Processes of all nodes that were ever started, in order, with their nodes.
    pub fn started(&self) -> Vec<(String, u32)> {
        let journal = self.journal();
        let lines = journal.iter().filter(|line| line["kind"] == "node_started");
        lines
            .map(|line| {
                let pid = line["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
                (line["node"].as_str().unwrap().to_owned(), pid.unwrap())
            })
            .collect()
    }

    /// Waits until the journal says that a step of a kind has begun, e.g. `measure`.
    pub fn wait_for_step(&self, kind: &str, lab: &Running) {
        until(&format!("step {kind}"), || {
            let is_it = |step: &Value| *step == kind || !step[kind].is_null();
            let begun = |line: &Value| line["kind"] == "step_started" && is_it(&line["step"]);
            let found = self.journal().iter().any(begun);
            if found { Ok(()) } else { Err(lab.stderr()) }
        });
    }

    /// Waits until none of the run's nodes is left.
    pub fn wait_until_nobody_is_left(&self) {
        let started = self.started();
        assert!(!started.is_empty(), "no node was ever started");
        until("no node to be left", || {
            let left: Vec<&(String, u32)> = started.iter().filter(|(_, pid)| is_alive(*pid)).collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
    }

    /// Checks what every run owes, however fast or slow the machine is: the invariants hold and the books close.
    pub fn assert_correct(&self) {
        let result = self.result();
        let invariants = result["record"]["invariants"].as_array().unwrap();
        assert!(
            invariants.len() >= 5,
            "only {} invariants were checked",
            invariants.len()
        );
        for invariant in invariants {
            assert_eq!(invariant["holds"], true, "{invariant:#}");
        }
        assert_eq!(
            result["summary"]["accounting"]["closes"], true,
            "{:#}",
            result["record"]["accounting"]
        );
    }
}
