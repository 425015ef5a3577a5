//! Whether a process is what was sealed: by the kernel's word where it can give it, and by the node's own elsewhere.
//!
//! A node that is asked reads and digests its whole program, which costs it more than all the rest of its start. Where
//! the kernel says that it executes the very file that was verified, the lab knows as much without asking; then one node
//! of each build is asked, whose answer stands for all processes of that file.

use super::{Cluster, ClusterError};
use crate::{provider::Process, record::Ran, seal::VerifiedProgram};
use futures::{StreamExt, stream};
use regatta_base::Digest;
use regatta_plan::PlannedNode;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Nodes that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// What is known of the programs that nodes execute.
#[derive(Debug, Default)]
pub(super) struct Executed(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The verified program of each node that was started here.
    verified: BTreeMap<u32, Arc<VerifiedProgram>>,
    /// Builds of which a node was asked, or is being asked.
    asked: BTreeSet<String>,
    /// What each node ran when it first listened.
    first: BTreeMap<u32, Digest>,
}

impl Executed {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Node `node` is started from `program`.
    pub(super) fn starts(&self, node: u32, program: Arc<VerifiedProgram>) {
        self.known().verified.insert(node, program);
    }

    /// Whether node `node` of `build`, which is process `pid`, has to be asked what it runs. Whoever is told so asks.
    fn must_ask(&self, node: u32, build: &str, pid: u32) -> bool {
        let mut known = self.known();
        let is_verified = known
            .verified
            .get(&node)
            .is_some_and(|program| program.is_executed_by(pid));
        !is_verified || known.asked.insert(build.to_owned())
    }

    /// Node `node` listens and runs `program`.
    fn listens(&self, node: u32, program: Digest) {
        self.known().first.entry(node).or_insert(program);
    }

    /// The answer of a node of `build` did not come.
    fn unanswered(&self, build: &str) {
        self.known().asked.remove(build);
    }
}

impl Cluster {
    /// Checks that a node which listens runs the program that was sealed.
    ///
    /// # Errors
    /// [`ClusterError::OtherProgram`] and [`ClusterError::OtherKind`]; [`ClusterError::NotReady`] when it does not answer.
    pub(super) async fn check_program(&self, node: &PlannedNode, process: &Process) -> Result<(), ClusterError> {
        if !self.executed.must_ask(node.index, &node.build, process.pid()) {
            // The file that was verified is what it executes.
            self.executed.listens(node.index, self.sealed_program(node)?.0);
            return Ok(());
        }
        let checked = self.ask_program(node).await;
        if checked.is_err() {
            self.executed.unanswered(&node.build);
        }
        checked
    }

    async fn ask_program(&self, node: &PlannedNode) -> Result<(), ClusterError> {
        let version = match self.client(node.index).version().await {
            Ok(version) => version,
            Err(error) => return Err(self.late(node, &error.to_string())),
        };
        let (sealed, byzantine) = self.sealed_program(node)?;
        if version.byzantine != byzantine {
            return Err(ClusterError::OtherKind {
                node: node.name.clone(),
                byzantine: version.byzantine,
            });
        }
        if version.binary == sealed || self.was_released(node.index, version.binary) {
            self.executed.listens(node.index, version.binary);
            return Ok(());
        }
        Err(ClusterError::OtherProgram {
            node: node.name.clone(),
            running: version.binary.short(),
            sealed: sealed.short(),
        })
    }

    /// What each node ran when it first listened, and what it runs now, in plan order. Whoever was released a program, or
    /// was started by an earlier lab, is asked; the others have had no way to become another program.
    pub(crate) async fn ran(&self) -> Vec<Ran> {
        let first = self.executed.known().first.clone();
        let ask = |node: &PlannedNode| {
            let start = first.get(&node.index).copied();
            let (runs, may_differ) = (self.pid(node.index).is_some(), self.has_release(node.index));
            let client = (runs && (may_differ || start.is_none())).then(|| self.client(node.index));
            async move {
                let end = match client {
                    Some(client) => client.version().await.ok().map(|version| version.binary),
                    None => start.filter(|_| runs),
                };
                Ran { start, end }
            }
        };
        let asks: Vec<_> = self.plan.nodes.iter().map(ask).collect();
        stream::iter(asks).buffered(ASKED_AT_ONCE).collect().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_seal::Artifact;
    use std::os::unix::fs::PermissionsExt;

    /// The program that this test is.
    fn own_program() -> Arc<VerifiedProgram> {
        let path = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let artifact = Artifact {
            path: path.file_name().unwrap().to_str().unwrap().to_owned(),
            size: bytes.len() as u64,
            blake3: Digest::of_bytes(&bytes),
            mode: path.metadata().unwrap().permissions().mode() & 0o777,
            target: format!("{}-unknown-{}-gnu", std::env::consts::ARCH, std::env::consts::OS),
        };
        Arc::new(VerifiedProgram::open(path.parent().unwrap(), &artifact).unwrap())
    }

    #[test]
    fn one_node_of_a_build_is_asked_and_everybody_who_executes_something_else() {
        let (executed, program, own) = (Executed::default(), own_program(), std::process::id());
        for node in 0..3 {
            executed.starts(node, Arc::clone(&program));
        }
        assert!(executed.must_ask(0, "main", own), "the first one of the build");
        assert!(!executed.must_ask(1, "main", own));
        assert!(executed.must_ask(2, "next", own), "another build may be another kind");
        let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(executed.must_ask(2, "main", other.id()), "another program");
        assert!(executed.must_ask(7, "main", own), "one that was not started here");
        other.kill().unwrap();
        other.wait().unwrap();
        executed.unanswered("main");
        assert!(executed.must_ask(1, "main", own), "nobody of the build has answered");
    }
}
