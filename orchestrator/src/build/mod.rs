//! The programs of a run: built or given, sealed, and verified.

mod cargo;
mod target;

pub(crate) use cargo::{BuildError, Recipe, build_agent, build_node, commit, describe_binary, find_workspace};

use crate::{
    fleet::AgentProgram,
    seal::{Built, Purpose, SealError, Sealed, Store, read_key},
};
use regatta_base::SecretKey;
use regatta_plan::{BuildSource, Plan, scenario::ProviderKind};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Why a program of the plan is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It does not build.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It is not sealed, or not what was sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The plan names no such build.
    #[error("the plan has no build `{0}`")]
    Unknown(String),
    /// A signed release cannot be fetched.
    #[error("build `{0}`: releases are not supported yet\n  help: use source = \".\"")]
    Release(String),
    /// A program for other machines, and no key of the operator's.
    #[error(
        "builds for other machines need a key of yours; the key of this lab's store is for this machine alone\n  help: \
         make one with `regatta keygen release-key.pem`, then add --key release-key.pem"
    )]
    NoKey,
    /// The agent cannot be read.
    #[error("agent `{path}`: {error}")]
    Agent {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A step came before the one that it needs.
    #[error("build `{0}` is sealed before it is built")]
    NotBuilt(String),
}

/// Machines that programs are made for when nobody says which: a static program runs on any Linux of this architecture.
const HOST_TARGET: &str = "x86_64-unknown-linux-musl";

/// What a build that comes from `source` is started for.
pub(crate) fn purpose(provider: ProviderKind, source: Option<&BuildSource>) -> Purpose {
    Purpose {
        here: provider.is_on_this_machine(),
        byzantine: matches!(source, Some(BuildSource::Byzantine(_))),
    }
}

/// The programs of a run on their way from source to sealed.
#[derive(Debug)]
pub(crate) struct Programs {
    sources: BTreeMap<String, BuildSource>,
    provider: ProviderKind,
    /// Folder that relative sources start from: that of the scenario file.
    base: PathBuf,
    /// Executables given on the command line instead of a build, by build name.
    given: BTreeMap<String, PathBuf>,
    store: Store,
    /// Key that signs; without it, the store's development key.
    key: Option<SecretKey>,
    built: BTreeMap<String, Built>,
    sealed: BTreeMap<String, Sealed>,
    /// Targets of the compiler by build, where it is not this machine's.
    targets: BTreeMap<String, String>,
    signing: Signing,
    /// The agent of hosts, where there are any.
    agent: Option<AgentProgram>,
    /// Where that is, for whoever takes the run over.
    agent_file: Option<AgentFile>,
}

/// An agent's program on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentFile {
    /// The file.
    pub(crate) path: PathBuf,
    /// What it was built for, where that is known.
    pub(crate) target: Option<String>,
}

impl AgentFile {
    /// Reads the program.
    ///
    /// # Errors
    /// [`ProgramError::Agent`] says what the system said.
    pub(crate) fn read(&self) -> Result<AgentProgram, ProgramError> {
        AgentProgram::read(&self.path, self.target.as_deref()).map_err(|error| ProgramError::Agent {
            path: self.path.clone(),
            error,
        })
    }
}

/// What the operator gives for programs on other machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Signing {
    /// File with the key that signs.
    pub(crate) key: Option<PathBuf>,
    /// An agent in place of a build of it.
    pub(crate) agent: Option<PathBuf>,
}

impl Programs {
    /// The programs of `plan`; `given` replaces builds by executables.
    pub(crate) fn new(plan: &Plan, base: &Path, given: BTreeMap<String, PathBuf>, store: Store) -> Self {
        Self {
            sources: plan.builds.clone(),
            provider: plan.provider,
            base: base.to_owned(),
            given,
            store,
            key: None,
            built: BTreeMap::new(),
            sealed: BTreeMap::new(),
            targets: plan.targets.clone(),
            signing: Signing::default(),
            agent: None,
            agent_file: None,
        }
    }

    /// The same, signed with `key`.
    pub(crate) fn signed_with(self, key: SecretKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same, signed with the operator's own key and with the operator's agent.
    pub(crate) fn signed_by(mut self, signing: Signing) -> Self {
        self.signing = signing;
        self
    }

    /// Builds program `name`, or takes the executable that was given for it.
    ///
    /// # Errors
    /// [`ProgramError`] with the compiler's last lines.
    pub(crate) async fn build(&mut self, name: &str, on_line: &mut dyn FnMut(&str)) -> Result<(), ProgramError> {
        let source = self
            .sources
            .get(name)
            .ok_or_else(|| ProgramError::Unknown(name.to_owned()))?;
        let (folder, byzantine) = match source {
            BuildSource::Source(folder) => (folder, false),
            BuildSource::Byzantine(folder) => (folder, true),
            BuildSource::Release(_) => return Err(ProgramError::Release(name.to_owned())),
        };
        if self.provider == ProviderKind::Ssh && self.key.is_none() && self.signing.key.is_none() {
            // Said before minutes are spent on a build.
            return Err(ProgramError::NoKey);
        }
        let target = self.targets.get(name).map(String::as_str);
        let root = find_workspace(&self.base.join(folder));
        let built = match self.given.get(name) {
            Some(executable) => {
                let built = describe_binary(root.as_deref().ok(), executable).await?;
                Built { byzantine, ..built }
            }
            None => {
                let root = root
                    .as_ref()
                    .map_err(|_| BuildError::NoWorkspace(self.base.join(folder)))?;
                build_node(root, Recipe { byzantine, target }, on_line).await?
            }
        };
        self.built.insert(name.to_owned(), built);
        if self.provider == ProviderKind::Ssh && self.agent.is_none() {
            let root = root.or_else(|_| find_workspace(Path::new(".")));
            let file = self.provide_agent(root, target, on_line).await?;
            self.agent = Some(file.read()?);
            self.agent_file = Some(file);
        }
        Ok(())
    }

    /// Takes the agent that was given, or builds it for the machines that `target` names.
    async fn provide_agent(
        &self,
        root: Result<PathBuf, BuildError>,
        target: Option<&str>,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<AgentFile, ProgramError> {
        Ok(match &self.signing.agent {
            Some(given) => AgentFile {
                path: given.clone(),
                target: None,
            },
            None => {
                let built = build_agent(&root?, target.unwrap_or(HOST_TARGET), on_line).await?;
                AgentFile {
                    path: built.executable,
                    target: Some(built.target),
                }
            }
        })
    }

    /// The agent of hosts, once a program was built.
    pub(crate) fn agent(&self) -> Option<&AgentProgram> {
        self.agent.as_ref()
    }

    /// Where the agent of hosts is, once a program was built.
    pub(crate) fn agent_file(&self) -> Option<&AgentFile> {
        self.agent_file.as_ref()
    }

    /// Seals program `name` with the operator's key, or with the store's development key where nodes stay here.
    ///
    /// # Errors
    /// [`ProgramError`] when the store cannot hold it.
    pub(crate) fn seal(&mut self, name: &str) -> Result<&Sealed, ProgramError> {
        let built = self
            .built
            .get(name)
            .ok_or_else(|| ProgramError::NotBuilt(name.to_owned()))?;
        let sealed = match (&self.key, &self.signing.key) {
            (Some(key), _) => self.store.seal(built, key)?,
            (None, Some(file)) => self.store.seal(built, &read_key(file).map_err(SealError::from)?)?,
            (None, None) if self.provider.is_on_this_machine() => {
                self.store.seal(built, &self.store.development_key()?)?
            }
            (None, None) => return Err(ProgramError::NoKey),
        };
        Ok(self.sealed.entry(name.to_owned()).insert_entry(sealed).into_mut())
    }

    /// Checks the seal of program `name`.
    ///
    /// # Errors
    /// [`ProgramError`] names the check that failed.
    pub(crate) fn verify(&self, name: &str) -> Result<(), ProgramError> {
        let sealed = self
            .sealed
            .get(name)
            .ok_or_else(|| ProgramError::NotBuilt(name.to_owned()))?;
        sealed.verify(purpose(self.provider, self.sources.get(name)))?;
        Ok(())
    }

    /// Builds, seals and verifies all programs of the plan.
    ///
    /// # Errors
    /// [`ProgramError`] of the first one that fails.
    pub(crate) async fn provide(&mut self, on_line: &mut dyn FnMut(&str)) -> Result<(), ProgramError> {
        let names: Vec<String> = self.sources.keys().cloned().collect();
        for name in names {
            self.build(&name, on_line).await?;
            self.seal(&name)?;
            self.verify(&name)?;
        }
        Ok(())
    }

    /// The commit of the workspace that the scenario is in, or else the one that the lab is started in, and whether files
    /// were changed since: what simulated nodes are made of.
    pub(crate) async fn commit(&self) -> (String, bool) {
        let root = find_workspace(&self.base).or_else(|_| find_workspace(Path::new(".")));
        match root {
            Ok(root) => commit(&root).await,
            Err(_) => ("unknown".to_owned(), true),
        }
    }

    /// Takes programs that an earlier lab sealed for the same run.
    pub(crate) fn adopt(&mut self, sealed: BTreeMap<String, Sealed>) {
        self.sealed = sealed;
    }

    /// What is sealed so far, by build name.
    pub(crate) fn sealed(&self) -> &BTreeMap<String, Sealed> {
        &self.sealed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{block_on, plan};

    fn programs(folder: &Path, given: BTreeMap<String, PathBuf>) -> Programs {
        let store = Store::open(&folder.join("store")).unwrap();
        Programs::new(&plan(1), folder, given, store)
    }

    #[test]
    fn a_given_executable_is_sealed_in_place_of_a_build() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("node");
        std::fs::write(&executable, "#!/bin/sh\n").unwrap();
        let mut programs = programs(folder.path(), BTreeMap::from([("main".to_owned(), executable)]));
        block_on(programs.build("main", &mut |_| {})).unwrap();
        let sealed = programs.seal("main").unwrap();
        assert_eq!(
            (sealed.manifest.product.as_str(), sealed.manifest.commit.as_str()),
            ("node", "unknown")
        );
        programs.verify("main").unwrap();
    }

    #[test]
    fn a_build_for_tests_is_sealed_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("node");
        std::fs::write(&executable, "#!/bin/sh\n").unwrap();
        let mut plan = plan(1);
        let bad = "main-byzantine".to_owned();
        plan.builds.insert(bad.clone(), BuildSource::Byzantine(".".to_owned()));
        let store = Store::open(&folder.path().join("store")).unwrap();
        let given = BTreeMap::from([(bad.clone(), executable)]);
        let mut programs = Programs::new(&plan, folder.path(), given, store);
        block_on(programs.build(&bad, &mut |_| {})).unwrap();
        assert!(programs.seal(&bad).unwrap().manifest.byzantine);
        programs.verify(&bad).unwrap();
        // In place of an honest build it is refused.
        let sealed = programs.sealed()[&bad].clone();
        programs.sealed.insert("main".to_owned(), sealed);
        assert!(matches!(
            programs.verify("main"),
            Err(ProgramError::Seal(SealError::ByzantineUnasked { .. }))
        ));
    }

    #[test]
    fn steps_out_of_order_and_unknown_names_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let mut programs = programs(folder.path(), BTreeMap::new());
        assert!(matches!(programs.seal("main"), Err(ProgramError::NotBuilt(_))));
        assert!(matches!(programs.verify("main"), Err(ProgramError::NotBuilt(_))));
        let unknown = block_on(programs.build("other", &mut |_| {}));
        assert!(matches!(unknown, Err(ProgramError::Unknown(_))));
        let outside = block_on(programs.build("main", &mut |_| {}));
        assert!(matches!(outside, Err(ProgramError::Build(BuildError::NoWorkspace(_)))));
    }
}
