//! From a scenario that fails to a smaller one that fails in the same way.
//!
//! ```text
//! explicit(scenario, plan) -> Scenario     faults with names, churn as rows, in virtual time
//! shrink(scenario, host, test) -> Shrunk   candidates, each checked by the ordinary resolver, until none is smaller
//! to_toml(scenario) -> String              the file that is left
//! ```
//! Whoever calls decides what "in the same way" means and how long to go on.

mod explicit;
mod minimise;
mod nodes;
mod simpler;
#[cfg(test)]
mod tests;
mod write;

pub use explicit::explicit;
pub use minimise::{Answer, minimise};
pub use write::to_toml;

use crate::{Capabilities, Plan, Scenario, Source, resolve};
use regatta_base::Digest;
use std::collections::BTreeMap;

/// A scenario to try.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// It.
    pub scenario: Scenario,
    /// Its file.
    pub text: String,
    /// Its plan.
    pub plan: Plan,
}

/// What a scenario is made of, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Nodes.
    pub nodes: u64,
    /// Links.
    pub edges: u64,
    /// Consensus instances.
    pub instances: u64,
    /// Faults.
    pub faults: u64,
    /// Absences.
    pub absences: u64,
    /// Transactions that are offered.
    pub transactions: u64,
    /// Milliseconds of load.
    pub load_ms: u64,
    /// Objectives.
    pub objectives: u64,
}

impl Weight {
    /// What `plan` weighs.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            nodes: plan.nodes.len() as u64,
            edges: plan.edges.len() as u64,
            instances: plan.instances.len() as u64,
            faults: plan.faults.len() as u64,
            absences: plan.churn.absences.len() as u64,
            transactions: plan.loads.iter().fold(0, |sum, load| sum.saturating_add(load.expected)),
            load_ms: plan.phases.load_ms(),
            objectives: plan.objectives.len() as u64,
        }
    }

    /// Its numbers with their names.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, u64); 8] {
        [
            ("nodes", self.nodes),
            ("links", self.edges),
            ("instances", self.instances),
            ("faults", self.faults),
            ("absences", self.absences),
            ("transactions", self.transactions),
            ("milliseconds of load", self.load_ms),
            ("objectives", self.objectives),
        ]
    }
}

/// What shrinking came to.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The smallest scenario that still fails.
    pub smallest: Candidate,
    /// Whether nothing smaller was left to try; otherwise it was told to stop.
    pub complete: bool,
    /// Candidates that were no scenario: without a quorum or in pieces, say. Nobody was asked about them.
    pub refused: u32,
}

/// Checks that `scenario` is one and reads back from its own file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn candidate(scenario: &Scenario, host: &Capabilities) -> Result<Candidate, String> {
    let text = to_toml(scenario).map_err(|error| error.to_string())?;
    let source = Source::read("shrunk.toml", &text, &[]);
    if source.scenario() != Some(scenario) {
        return Err(format!("the file does not say the same as its scenario:\n{text}"));
    }
    let plan = resolve(&source, host).map_err(|problems| problems.to_string())?.plan;
    Ok(Candidate {
        scenario: scenario.clone(),
        text,
        plan,
    })
}

/// Makes `start`, which fails, smaller for as long as `test` says that a candidate still fails.
pub async fn shrink(start: Candidate, host: &Capabilities, test: impl AsyncFnMut(&Candidate) -> Answer) -> Shrunk {
    let mut search = Search {
        smallest: start,
        host,
        test,
        known: BTreeMap::new(),
        refused: 0,
        stopped: false,
        needs_disturbance: false,
    };
    search.needs_disturbance = search.passes_undisturbed().await;
    loop {
        let before = Digest::of("regatta shrunk v1", &[search.smallest.text.as_bytes()]);
        search.round().await;
        let after = Digest::of("regatta shrunk v1", &[search.smallest.text.as_bytes()]);
        if search.stopped || before == after {
            break;
        }
    }
    Shrunk {
        smallest: search.smallest,
        complete: !search.stopped,
        refused: search.refused,
    }
}

/// A part of a scenario that can be taken away piece by piece.
trait Part {
    /// How many pieces there are.
    fn count(&self, scenario: &Scenario) -> usize;
    /// The scenario with the pieces of `kept` alone.
    fn keep(&self, scenario: &Scenario, kept: &[usize]) -> Scenario;
}

/// The search for a smaller scenario.
struct Search<'a, T> {
    smallest: Candidate,
    host: &'a Capabilities,
    test: T,
    /// What was tried before, by the digest of its file.
    known: BTreeMap<Digest, Answer>,
    refused: u32,
    stopped: bool,
    /// Without faults and absences the scenario does not fail: neither may a candidate, or it fails of something else.
    needs_disturbance: bool,
}

impl<T: AsyncFnMut(&Candidate) -> Answer> Search<'_, T> {
    /// Tries everything once: first what makes the other candidates quick to try.
    async fn round(&mut self) {
        self.part(&simpler::Faults).await;
        self.part(&simpler::Absences).await;
        self.part(&simpler::Nodes).await;
        self.part(&simpler::Loads).await;
        self.part(&simpler::Instances).await;
        self.part(&simpler::Objectives).await;
        self.part(&simpler::FaultNodes).await;
        self.simplify().await;
        self.edges().await;
    }

    async fn part(&mut self, part: &dyn Part) {
        if self.stopped {
            return;
        }
        let whole = self.smallest.scenario.clone();
        let count = part.count(&whole);
        let _kept = minimise(count, async |kept: &[usize]| self.ask(part.keep(&whole, kept)).await).await;
    }

    /// Links that rules made are written out first, so that each can go alone.
    async fn edges(&mut self) {
        if self.stopped || self.smallest.plan.edges.len() > simpler::EDGES_MAX {
            return;
        }
        let written = simpler::with_edges(&self.smallest);
        if written.peering == self.smallest.scenario.peering || self.ask(written).await == Answer::Fails {
            self.part(&simpler::Edges).await;
        }
    }

    /// Makes times shorter and numbers smaller, one after the other, as often as it goes.
    async fn simplify(&mut self) {
        let mut step = 0;
        while step < simpler::STEPS.len() && !self.stopped {
            let simpler = simpler::STEPS[step](&self.smallest.scenario);
            let went = match simpler {
                Some(simpler) => self.ask(simpler).await == Answer::Fails,
                None => false,
            };
            step += usize::from(!went);
        }
    }

    /// Whether a scenario fails for its faults and absences, if the first one does; if so, it is the smallest so far.
    async fn ask(&mut self, scenario: Scenario) -> Answer {
        let (mut answer, candidate) = self.play(&scenario).await;
        if answer == Answer::Fails && self.needs_disturbance {
            answer = match self.play(&undisturbed(&scenario)).await.0 {
                Answer::Passes => Answer::Fails,
                Answer::Fails => Answer::Passes,
                Answer::Stop => Answer::Stop,
            };
        }
        if let Some(candidate) = candidate.filter(|_| answer == Answer::Fails) {
            self.smallest = candidate;
        }
        answer
    }

    async fn passes_undisturbed(&mut self) -> bool {
        let quiet = undisturbed(&self.smallest.scenario);
        quiet != self.smallest.scenario && self.play(&quiet).await.0 == Answer::Passes
    }

    /// What the test says of a scenario; it is asked once.
    async fn play(&mut self, scenario: &Scenario) -> (Answer, Option<Candidate>) {
        let Ok(candidate) = candidate(scenario, self.host) else {
            self.refused += 1;
            return (Answer::Passes, None);
        };
        let digest = Digest::of("regatta shrunk v1", &[candidate.text.as_bytes()]);
        let answer = match self.known.get(&digest) {
            Some(answer) => *answer,
            None => (self.test)(&candidate).await,
        };
        match answer {
            Answer::Stop => self.stopped = true,
            answer => {
                self.known.insert(digest, answer);
            }
        }
        (answer, Some(candidate))
    }
}

/// The same network under the same load, and nothing happens to it.
fn undisturbed(scenario: &Scenario) -> Scenario {
    Scenario {
        fault: Vec::new(),
        churn: Vec::new(),
        ..scenario.clone()
    }
}
