//! The folder of releases and programs: what is accepted, what is fetched, what is kept.

use super::{
    UpgradeError,
    state::{State, write_durably},
};
use crate::{build_info::BYZANTINE, store::DirLock};
use bytes::Bytes;
use regatta_api::{NodeConfig, config::UpgradeConfig, view::ReleaseTaken};
use regatta_base::{ChainId, Digest, limits::PEER_PROTOCOL_VERSION};
use regatta_core::ReleaseFacts;
use regatta_seal::{
    Accepted, CHUNK_BYTES, Document, Policy, Purpose, RELEASE_BYTES_MAX, ReleaseError, ReleasePolicy, VerifiedProgram,
    install, unix_seconds,
};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long a program may take to say what it is.
const VERSION_TIME_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks at a program that says what it is.
const VERSION_PAUSE: Duration = Duration::from_millis(10);

/// The release that is followed, with what is there of its program.
#[derive(Debug)]
struct Current {
    accepted: Accepted,
    document: Bytes,
    held: Vec<bool>,
    is_whole: bool,
}

/// A node's folder of releases; one process at a time.
#[derive(Debug)]
pub struct Depot {
    folder: PathBuf,
    config: UpgradeConfig,
    chain: ChainId,
    running: Digest,
    state: State,
    current: Option<Current>,
    _lock: DirLock,
}

impl Depot {
    /// Opens the folder, making it when it is not there, for a node whose program has the digest `running`.
    ///
    /// # Errors
    /// [`UpgradeError`] when it cannot be used.
    pub fn open(folder: &Path, node: &NodeConfig, running: Digest) -> Result<Self, UpgradeError> {
        for folder in [folder.join("releases"), folder.join("parts")] {
            fs::create_dir_all(&folder).map_err(UpgradeError::io("make", folder))?;
        }
        let lock = DirLock::take(folder)?;
        let mut depot = Self {
            folder: folder.to_owned(),
            config: node.upgrade.clone(),
            chain: node.chain.clone(),
            running,
            state: State::read(folder)?,
            current: None,
            _lock: lock,
        };
        depot.take_up()?;
        Ok(depot)
    }

    /// What outlives the process.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Changes what outlives the process, durably.
    ///
    /// # Errors
    /// [`UpgradeError::Io`] when it cannot be written.
    pub fn change(&mut self, change: impl FnOnce(&mut State)) -> Result<(), UpgradeError> {
        change(&mut self.state);
        self.state.write(&self.folder)
    }

    /// Goes on with the last release that was accepted. One that is not good any more is left alone.
    fn take_up(&mut self) -> Result<(), UpgradeError> {
        let number = self.state.history.number;
        if number == 0 {
            return Ok(());
        }
        let document = self.read_document(number)?;
        match self.judge(&document) {
            Ok(accepted) => self.follow(accepted, document),
            Err(error) => {
                tracing::warn!(number, %error, "the last release is not followed any more");
                Ok(())
            }
        }
    }

    fn judge(&self, document: &[u8]) -> Result<Accepted, ReleaseError> {
        let policy = ReleasePolicy {
            pinned: &self.config.trusted_keys,
            threshold: self.config.threshold,
            now: unix_seconds(),
            chain: &self.chain,
            protocol: PEER_PROTOCOL_VERSION,
            size_max: self.config.disk_bytes_max,
            byzantine: BYZANTINE,
            history: &self.state.history,
        };
        policy.check(document)
    }

    /// Judges a document and follows it from now on; whether it is news.
    ///
    /// # Errors
    /// [`UpgradeError`] says why it is not followed.
    pub fn offer(&mut self, document: &Bytes) -> Result<bool, UpgradeError> {
        let accepted = self.judge(document)?;
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.accepted.id == accepted.id)
        {
            return Ok(false);
        }
        self.make_room(&accepted)?;
        // The document first: the state never names one that is not there.
        write_durably(&self.document_path(accepted.release.number), document)?;
        self.change(|state| state.history.accept(&accepted))?;
        self.follow(accepted, document.clone())?;
        Ok(true)
    }

    /// Looks what is there of a release's program.
    fn follow(&mut self, accepted: Accepted, document: Bytes) -> Result<(), UpgradeError> {
        let whole = VerifiedProgram::open(&self.program_folder(&accepted.program.blake3), &accepted.program);
        let is_whole = whole.is_ok();
        let held = if is_whole {
            vec![true; accepted.release.chunks.len()]
        } else {
            self.held_pieces(&accepted)?
        };
        self.current = Some(Current {
            accepted,
            document,
            held,
            is_whole,
        });
        Ok(())
    }

    /// Which pieces of an unfinished program are on the disk: those whose digests say so, whatever else a crash left.
    fn held_pieces(&self, accepted: &Accepted) -> Result<Vec<bool>, UpgradeError> {
        let path = self.part_path(&accepted.program.blake3);
        let chunks = &accepted.release.chunks;
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![false; chunks.len()]),
            other => other.map_err(UpgradeError::io("open", &path))?,
        };
        let mut held = Vec::with_capacity(chunks.len());
        for (chunk, digest) in chunks.iter().enumerate() {
            let piece = read_piece(&file, chunk as u64).map_err(UpgradeError::io("read", &path))?;
            held.push(Digest::of_bytes(&piece) == *digest);
        }
        Ok(held)
    }

    /// What the core has to know of the release that is followed, and the pieces that are there.
    #[must_use]
    pub fn known(&self) -> Option<(ReleaseFacts, Vec<bool>)> {
        let current = self.current.as_ref()?;
        let Accepted {
            id, release, program, ..
        } = &current.accepted;
        let is_settled = program.blake3 == self.running || self.state.has_failed(release.number);
        let facts = ReleaseFacts {
            id: *id,
            document: current.document.clone(),
            number: release.number,
            artifact: program.blake3,
            chunks: release.chunks.clone(),
            instance: release.instance.clone(),
            activate_at: release.activate_at,
            batch_blocks: release.batch_blocks,
            settled: is_settled,
        };
        Some((facts, current.held.clone()))
    }

    /// What whoever brought the release has to bring next.
    #[must_use]
    pub fn taken(&self) -> Option<ReleaseTaken> {
        let current = self.current.as_ref()?;
        let missing = (0_u32..).zip(&current.held).filter(|(_, held)| !**held);
        Some(ReleaseTaken {
            artifact: current.accepted.program.blake3,
            chunk_bytes: CHUNK_BYTES,
            missing: missing.map(|(chunk, _)| chunk).collect(),
        })
    }

    /// Writes a piece, if it is the one that was signed; whether all are there now.
    ///
    /// # Errors
    /// [`UpgradeError`] when it is another one or cannot be written.
    pub fn store(&mut self, artifact: Digest, chunk: u32, bytes: &[u8]) -> Result<bool, UpgradeError> {
        let path = self.part_path(&artifact);
        let current = self
            .current
            .as_mut()
            .filter(|current| current.accepted.program.blake3 == artifact);
        let current = current.ok_or(UpgradeError::UnknownProgram(artifact))?;
        let place = chunk as usize;
        let signed = current.accepted.release.chunks.get(place);
        if signed.is_none_or(|signed| *signed != Digest::of_bytes(bytes)) {
            return Err(UpgradeError::BadPiece { artifact, chunk });
        }
        if !current.held[place] {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(UpgradeError::io("open", &path))?;
            let written = file.write_all_at(bytes, u64::from(chunk) * u64::from(CHUNK_BYTES));
            written.map_err(UpgradeError::io("write", &path))?;
            current.held[place] = true;
        }
        Ok(current.held.iter().all(|held| *held))
    }

    /// Puts the program together, checks it as a whole, and lets it say what it is.
    ///
    /// # Errors
    /// [`UpgradeError`] when it is not the one that was signed, or does not run here.
    pub fn complete(&mut self) -> Result<(), UpgradeError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let program = current.accepted.program.clone();
        let part = self.folder.join("parts").join(format!("{}.part", program.blake3));
        let verified = if current.is_whole {
            VerifiedProgram::open(&self.folder.join(program.blake3.to_string()), &program)
        } else {
            install(&part, &self.folder, &program)
        };
        match verified {
            Ok(verified) => {
                current.is_whole = true;
                check_version(&verified)
            }
            Err(error) => {
                // Each piece was right and the whole is not: the signer divided another program.
                current.held.fill(false);
                let _ = fs::remove_file(&part);
                Err(error.into())
            }
        }
    }

    /// A piece that is there; nothing when it is not.
    ///
    /// # Errors
    /// [`UpgradeError::Io`] when it cannot be read.
    pub fn load(&self, artifact: Digest, chunk: u32) -> Result<Option<Bytes>, UpgradeError> {
        let current = self
            .current
            .as_ref()
            .filter(|current| current.accepted.program.blake3 == artifact);
        let Some(current) = current.filter(|current| current.held.get(chunk as usize) == Some(&true)) else {
            return Ok(None);
        };
        let path = if current.is_whole {
            self.program_folder(&artifact).join(&current.accepted.program.path)
        } else {
            self.part_path(&artifact)
        };
        let file = File::open(&path).map_err(UpgradeError::io("open", &path))?;
        let piece = read_piece(&file, u64::from(chunk)).map_err(UpgradeError::io("read", &path))?;
        Ok(Some(piece.into()))
    }

    /// Checks a release's program once more, as before each start, and opens it. Gives back the sequence of its build too.
    ///
    /// # Errors
    /// [`UpgradeError`] names the check that failed.
    pub fn verify(&self, number: u64) -> Result<(VerifiedProgram, u64), UpgradeError> {
        let document = Document::decode(&self.read_document(number)?).map_err(ReleaseError::from)?;
        let policy = Policy {
            pinned: self.config.trusted_keys.clone(),
            threshold: self.config.threshold,
            now: unix_seconds(),
            // What was proven may be started again, also where a newer one was proven since and failed.
            sequence_min: 0,
            purpose: Purpose {
                here: BYZANTINE,
                byzantine: BYZANTINE,
            },
        };
        let manifest = policy.check(&document.bundle())?;
        let program = manifest.program()?;
        let verified = VerifiedProgram::open(&self.program_folder(&program.blake3), program)?;
        Ok((verified, manifest.sequence))
    }

    /// Removes programs that are neither proven nor followed, and checks that the next one fits.
    fn make_room(&self, next: &Accepted) -> Result<(), UpgradeError> {
        let is_kept = |name: &str| {
            let proven = self
                .state
                .proven
                .iter()
                .any(|proven| proven.program.to_string() == name);
            proven || next.program.blake3.to_string() == name || self.running.to_string() == name
        };
        let list = |folder: PathBuf| -> Result<Vec<(String, PathBuf)>, UpgradeError> {
            let entries = fs::read_dir(&folder).map_err(UpgradeError::io("list", &folder))?;
            let paths = entries.flatten().map(|entry| entry.path());
            Ok(paths
                .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
                .collect())
        };
        let mut used = 0;
        let mut programs = list(self.folder.clone())?;
        programs.retain(|(name, path)| name.parse::<Digest>().is_ok() && path.is_dir());
        programs.extend(list(self.folder.join("parts"))?);
        for (name, path) in programs {
            if name == next.program.blake3.to_string() {
                continue;
            }
            if is_kept(&name) {
                used += bytes_under(&path);
                continue;
            }
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(UpgradeError::io("remove", &path))?;
        }
        let left = self.config.disk_bytes_max.saturating_sub(used);
        if next.program.size > left {
            let needed = next.program.size;
            return Err(UpgradeError::Full { needed, left });
        }
        Ok(())
    }

    fn read_document(&self, number: u64) -> Result<Bytes, UpgradeError> {
        let path = self.document_path(number);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(UpgradeError::io("open", &path))?;
        let mut bounded = file.take(RELEASE_BYTES_MAX as u64 + 1);
        bounded
            .read_to_end(&mut bytes)
            .map_err(UpgradeError::io("read", &path))?;
        Ok(bytes.into())
    }

    fn document_path(&self, number: u64) -> PathBuf {
        self.folder.join("releases").join(format!("{number:020}.release"))
    }

    fn part_path(&self, program: &Digest) -> PathBuf {
        self.folder.join("parts").join(format!("{program}.part"))
    }

    fn program_folder(&self, program: &Digest) -> PathBuf {
        self.folder.join(program.to_string())
    }
}

/// One piece of a file; shorter at its end.
fn read_piece(file: &File, chunk: u64) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; CHUNK_BYTES as usize];
    let (mut filled, begin) = (0, chunk * u64::from(CHUNK_BYTES));
    while filled < piece.len() {
        match file.read_at(&mut piece[filled..], begin + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    piece.truncate(filled);
    Ok(piece)
}

/// Bytes of a file, or of the files in a folder.
fn bytes_under(path: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
        Err(_) => size(path),
    }
}

/// Lets the program print its version: what cannot even do that is not worth ending the node for.
fn check_version(program: &VerifiedProgram) -> Result<(), UpgradeError> {
    let unfit = |reason: String| UpgradeError::Unfit(reason);
    let mut child = Command::new(program.path())
        .arg("version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| unfit(error.to_string()))?;
    let until = Instant::now() + VERSION_TIME_MAX;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(unfit(format!("`version` ended with {status}"))),
            Ok(None) if Instant::now() < until => std::thread::sleep(VERSION_PAUSE),
            Ok(None) => {
                // It is ours and was not waited for, so that its number is nobody else's.
                let _ = child.kill();
                let _ = child.wait();
                return Err(unfit(format!("`version` took more than {VERSION_TIME_MAX:?}")));
            }
            Err(error) => return Err(unfit(error.to_string())),
        }
    }
}
