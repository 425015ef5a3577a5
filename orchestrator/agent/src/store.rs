//! Programs by their digest: uploads that resume, bounded, and counted only when they are what they claim to be.
//!
//! `store/partial/<digest>` grows while a program arrives; `store/<digest>/<name>` is a whole one, read-only. The file
//! `store/minimum` is the least sequence of a manifest that this host accepts, and only grows.

use crate::{
    facts::{digest_of, free_bytes},
    root::make_private,
};
use regatta_base::{Digest, decode};
use regatta_fleet::{Chunk, Holding, Name, Policy, Program, Refusal, TransferError, Upload, What, limits::CHUNK_BYTES};
use regatta_process::disk_bytes;
use regatta_seal::{Bundle, Purpose, VerifiedProgram, unix_seconds};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    time::Duration,
};

/// Mode of a whole program.
const PROGRAM_MODE: u32 = 0o555;
/// Uploads whose files are open at once. A further one takes the place of the one that waited longest for its next piece,
/// which is then taken up from the disk.
const UPLOADS_MAX: usize = 8;
/// How long the beginning of a program is kept that nobody goes on with.
const PARTIAL_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the disk that programs leave free: nodes need them more.
const RESERVE_BYTES: u64 = 16 << 20;
/// Longest encoding of signatures in bytes.
const SIGNATURES_BYTES_MAX: usize = 64 * 1024;

/// The store of a host.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    bytes_max: u64,
    uploads: RefCell<BTreeMap<Digest, Arriving>>,
    pieces: Cell<u64>,
}

/// A program that arrives.
#[derive(Debug)]
struct Arriving {
    upload: Upload,
    file: File,
    /// Number of the piece that came last, of all pieces.
    last: u64,
}

/// A refusal for what the system said about `what`; a full disk is a case of its own.
pub(crate) fn refused(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Refusal {
    move |error| {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if full {
            return Refusal::new(
                What::DiskFull,
                format!(
                    "{what}: the disk is full\n  help: make room on the host, or choose a folder on another disk (key `dir`)"
                ),
            );
        }
        let kind = if error.kind() == io::ErrorKind::NotFound {
            What::Missing
        } else {
            What::System
        };
        Refusal::new(kind, format!("{what}: {error}"))
    }
}

impl Store {
    /// The store in `folder`, of at most `bytes_max` bytes.
    pub(crate) fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self {
            folder,
            bytes_max,
            uploads: RefCell::default(),
            pieces: Cell::new(0),
        }
    }

    fn partial(&self, digest: Digest) -> PathBuf {
        self.folder.join("partial").join(digest.to_string())
    }

    fn whole(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Bytes of all programs on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        disk_bytes(&self.folder)
    }

    /// Removes beginnings of programs that nobody went on with for a day.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.folder.join("partial"))?.flatten() {
            // A clock that was set back makes it young, and then it stays for now.
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > PARTIAL_LIFETIME {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// How much of a program is here. The folder of a whole one has exactly one file, whose digest was right.
    pub(crate) fn holding(&self, digest: Digest) -> Holding {
        let whole = fs::read_dir(self.whole(digest)).is_ok_and(|mut entries| entries.next().is_some());
        if whole {
            return Holding::Whole;
        }
        if let Some(arriving) = self.uploads.borrow().get(&digest) {
            return Holding::Partial(arriving.upload.have());
        }
        let found = fs::metadata(self.partial(digest)).map_or(0, |facts| facts.len());
        Holding::Partial(found - found % CHUNK_BYTES as u64)
    }

    /// Takes a piece of a program. The answer says how much is here afterwards.
    ///
    /// # Errors
    /// [`What::DiskFull`] and [`What::Digest`] leave nothing of the program behind; [`What::Order`] changes nothing, unless
    /// two pieces disagree about the size.
    pub(crate) fn put(&self, digest: Digest, name: &Name, total: u64, chunk: &Chunk) -> Result<Holding, Refusal> {
        if self.holding(digest) == Holding::Whole {
            return Ok(Holding::Whole);
        }
        let plain = chunk
            .expand()
            .map_err(|error| Refusal::new(What::Order, error.to_string()))?;
        let mut uploads = self.uploads.borrow_mut();
        let mut arriving = match uploads.remove(&digest) {
            Some(arriving) => arriving,
            None => self.arrive(digest, total)?,
        };
        self.pieces.set(self.pieces.get() + 1);
        arriving.last = self.pieces.get();
        while uploads.len() >= UPLOADS_MAX {
            let idle = uploads.iter().min_by_key(|(_, arriving)| arriving.last);
            let idle = idle.map(|(digest, _)| *digest);
            uploads.retain(|digest, _| Some(*digest) != idle);
        }
        let fits = arriving.upload.fits(total, chunk.offset, plain.len());
        let known = match fits {
            Ok(known) => known,
            Err(error) => {
                let refusal = Refusal::new(What::Order, error.to_string());
                // One digest has one size: who was wrong about it is not known, so that all begins anew.
                let is_kept = arriving.upload.have() > 0 && !matches!(error, TransferError::OtherSize { .. });
                if !is_kept {
                    return Err(self.forget(digest, refusal));
                }
                uploads.insert(digest, arriving);
                return Err(refusal);
            }
        };
        if let Some(known) = known {
            let written = arriving.file.write_all(&plain[known..]);
            if let Err(error) = written {
                return Err(self.forget(digest, refused(format!("program {}", digest.short()))(error)));
            }
            arriving.upload.advance(plain.len() - known);
        }
        if arriving.upload.is_whole() {
            drop(arriving);
            return self
                .finish(digest, name)
                .map_err(|refusal| self.forget(digest, refusal));
        }
        let have = arriving.upload.have();
        uploads.insert(digest, arriving);
        Ok(Holding::Partial(have))
    }

    /// Removes what is there of an upload that cannot go on.
    fn forget(&self, digest: Digest, refusal: Refusal) -> Refusal {
        match fs::remove_file(self.partial(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let message = format!("{}\n  and its partial file stays behind: {error}", refusal.message);
                Refusal::new(refusal.what, message)
            }
            _ => refusal,
        }
    }

    /// Begins an upload, or takes one up that was cut off.
    fn arrive(&self, digest: Digest, total: u64) -> Result<Arriving, Refusal> {
        let path = self.partial(digest);
        let found = fs::metadata(&path).map_or(0, |facts| facts.len());
        let upload = Upload::resume(total, found).map_err(|error| Refusal::new(What::Order, error.to_string()))?;
        // A whole one that was not moved to its place was cut off there: its last chunk comes again.
        let upload = if upload.is_whole() {
            Upload::resume(total, total - 1)
        } else {
            Ok(upload)
        };
        let upload = upload.map_err(|error| Refusal::new(What::Order, error.to_string()))?;
        self.check_room(total - upload.have())?;
        let shown = format!("program {}", digest.short());
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(refused(&shown))?;
        file.set_len(upload.have()).map_err(refused(&shown))?;
        Ok(Arriving { upload, file, last: 0 })
    }

    fn check_room(&self, bytes: u64) -> Result<(), Refusal> {
        let used = self.bytes();
        if used.saturating_add(bytes) > self.bytes_max {
            let message = format!(
                "{bytes} more bytes of programs do not fit: {used} of at most {} are used\n  help: remove programs from \
                 `{}` that no run needs, or allow more (--store-max)",
                self.bytes_max,
                self.folder.display()
            );
            return Err(Refusal::new(What::DiskFull, message));
        }
        let free = free_bytes(&self.folder);
        if bytes.saturating_add(RESERVE_BYTES) > free {
            let message = format!(
                "{bytes} more bytes of programs do not fit: the disk has {free} left, of which {RESERVE_BYTES} stay free\n  \
                 help: make room on the host, or choose a folder on another disk (key `dir`)"
            );
            return Err(Refusal::new(What::DiskFull, message));
        }
        Ok(())
    }

    /// Checks the digest of a program that has arrived and moves it to its place.
    fn finish(&self, digest: Digest, name: &Name) -> Result<Holding, Refusal> {
        let (partial, folder) = (self.partial(digest), self.whole(digest));
        let shown = format!("program {}", digest.short());
        let found = digest_of(&partial).map_err(refused(&shown))?;
        if found != digest {
            let message = format!(
                "{shown} arrived as {}: it was damaged and has been thrown away\n  help: send it again",
                found.short()
            );
            return Err(Refusal::new(What::Digest, message));
        }
        fs::set_permissions(&partial, Permissions::from_mode(PROGRAM_MODE)).map_err(refused(&shown))?;
        make_private(&folder).map_err(refused(&shown))?;
        fs::rename(&partial, folder.join(name.as_str())).map_err(refused(&shown))?;
        Ok(Holding::Whole)
    }

    /// The file of a whole program, and its size in bytes.
    ///
    /// # Errors
    /// `NotFound` when it is not here or not whole.
    pub(crate) fn open_whole(&self, digest: Digest) -> io::Result<(File, u64)> {
        let mut entries = fs::read_dir(self.whole(digest))?;
        let entry = entries.next().ok_or(io::ErrorKind::NotFound)??;
        let file = File::open(entry.path())?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// The least sequence of a manifest that is accepted here.
    pub(crate) fn minimum(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join("minimum")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Raises the least sequence; a lower one changes nothing.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn raise_minimum(&self, minimum: u64) -> Result<(), Refusal> {
        if minimum <= self.minimum() {
            return Ok(());
        }
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            writeln!(file, "{minimum}")?;
            file.as_file().sync_all()?;
            file.persist(self.folder.join("minimum")).map_err(|error| error.error)
        };
        write().map(drop).map_err(refused("the least sequence of a program"))
    }

    /// Checks a program's manifest by `policy` and the program by its manifest; the open file is what may be executed.
    ///
    /// # Errors
    /// [`What::Seal`] names the check that failed.
    pub(crate) fn verify(&self, policy: &Policy, program: &Program) -> Result<VerifiedProgram, Refusal> {
        let seal = |error: &dyn std::fmt::Display| Refusal::new(What::Seal, error.to_string());
        let signatures = decode(&program.signatures, SIGNATURES_BYTES_MAX).map_err(|error| seal(&error))?;
        let bundle = Bundle {
            manifest: program.manifest.clone(),
            signatures,
        };
        let policy = regatta_seal::Policy {
            pinned: policy.pinned.clone(),
            threshold: policy.threshold,
            now: unix_seconds(),
            sequence_min: policy.sequence_min.max(self.minimum()),
            purpose: Purpose {
                here: false,
                byzantine: false,
            },
        };
        let manifest = policy.check(&bundle).map_err(|error| seal(&error))?;
        let artifact = manifest.program().map_err(|error| seal(&error))?;
        VerifiedProgram::open(&self.whole(artifact.blake3), artifact).map_err(|error| seal(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_fleet::Packed;

    struct Fixture {
        folder: tempfile::TempDir,
        packed: Packed,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            make_private(&folder.path().join("partial")).unwrap();
            let file: Vec<u8> = (0..2 * CHUNK_BYTES + 5).map(|at| (at / 3 % 256) as u8).collect();
            let packed = Packed::of(&file).unwrap();
            Self { folder, packed }
        }

        fn store(&self) -> Store {
            Store::new(self.folder.path().to_owned(), 1 << 30)
        }

        fn put(&self, store: &Store, chunk: usize) -> Result<Holding, Refusal> {
            let name: Name = "program".parse().unwrap();
            store.put(self.packed.digest, &name, self.packed.total, &self.packed.chunks[chunk])
        }

        fn partials(&self) -> usize {
            fs::read_dir(self.folder.path().join("partial")).unwrap().count()
        }
    }

    #[test]
    fn a_program_arrives_in_pieces_and_is_resumed_by_the_next_agent() {
        let fixture = Fixture::new();
        let store = fixture.store();
        assert_eq!(store.holding(fixture.packed.digest), Holding::Partial(0));
        assert_eq!(fixture.put(&store, 0), Ok(Holding::Partial(CHUNK_BYTES as u64)));
        drop(store);
        // What was half written when the agent died does not count.
        let path = fixture
            .folder
            .path()
            .join("partial")
            .join(fixture.packed.digest.to_string());
        File::options()
            .append(true)
            .open(path)
            .unwrap()
            .write_all(b"torn")
            .unwrap();
        let store = fixture.store();
        assert_eq!(
            store.holding(fixture.packed.digest),
            Holding::Partial(CHUNK_BYTES as u64)
        );
        assert_eq!(fixture.put(&store, 1), Ok(Holding::Partial(2 * CHUNK_BYTES as u64)));
        assert_eq!(
            fixture.put(&store, 0),
            Ok(Holding::Partial(2 * CHUNK_BYTES as u64)),
            "sent twice"
        );
        assert_eq!(fixture.put(&store, 2), Ok(Holding::Whole));
        assert_eq!(fixture.put(&store, 2), Ok(Holding::Whole), "sent after it was whole");
        let path = store.whole(fixture.packed.digest).join("program");
        assert_eq!(digest_of(&path).unwrap(), fixture.packed.digest);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, PROGRAM_MODE);
        assert_eq!(fixture.partials(), 0);
    }

    #[test]
    fn a_program_that_was_whole_and_not_yet_in_its_place_is_finished() {
        let fixture = Fixture::new();
        let store = fixture.store();
        for chunk in 0..2 {
            fixture.put(&store, chunk).unwrap();
        }
        drop(store);
        let path = fixture
            .folder
            .path()
            .join("partial")
            .join(fixture.packed.digest.to_string());
        let last = fixture.packed.chunks[2].expand().unwrap();
        File::options()
            .append(true)
            .open(path)
            .unwrap()
            .write_all(&last)
            .unwrap();
        assert_eq!(fixture.put(&fixture.store(), 2), Ok(Holding::Whole));
    }

    #[test]
    fn a_damaged_program_is_thrown_away() {
        let fixture = Fixture::new();
        let store = fixture.store();
        let mut wrong = fixture.packed.clone();
        wrong.digest = Digest::of_bytes(b"another program");
        let name: Name = "program".parse().unwrap();
        let put = |chunk: usize| store.put(wrong.digest, &name, wrong.total, &wrong.chunks[chunk]);
        put(0).unwrap();
        put(1).unwrap();
        assert_eq!(put(2).unwrap_err().what, What::Digest);
        assert_eq!(
            (store.holding(wrong.digest), fixture.partials()),
            (Holding::Partial(0), 0)
        );
    }

    #[test]
    fn a_wrong_size_does_not_keep_the_right_one_out() {
        let fixture = Fixture::new();
        let store = fixture.store();
        let name: Name = "program".parse().unwrap();
        let chunk = &fixture.packed.chunks[0];
        let wrong = fixture.packed.total + 1;
        store.put(fixture.packed.digest, &name, wrong, chunk).unwrap();
        assert_eq!(fixture.put(&store, 1).unwrap_err().what, What::Order);
        assert_eq!(fixture.partials(), 0);
        assert_eq!(
            fixture.put(&store, 1).unwrap_err().what,
            What::Order,
            "the first piece is missing"
        );
        assert_eq!(fixture.partials(), 0, "and nothing was begun");
        for chunk in 0..3 {
            fixture.put(&store, chunk).unwrap();
        }
        assert_eq!(store.holding(fixture.packed.digest), Holding::Whole);
    }

    #[test]
    fn what_is_over_the_quota_is_refused_before_it_is_written() {
        let fixture = Fixture::new();
        let store = Store::new(fixture.folder.path().to_owned(), fixture.packed.total - 1);
        let refusal = fixture.put(&store, 0).unwrap_err();
        assert!(
            refusal.what == What::DiskFull && refusal.message.contains("help:"),
            "{refusal}"
        );
        assert_eq!(fixture.partials(), 0);
    }

    #[test]
    fn few_files_are_open_and_what_waited_is_taken_up_from_the_disk() {
        let fixture = Fixture::new();
        let store = fixture.store();
        let name: Name = "program".parse().unwrap();
        fixture.put(&store, 0).unwrap();
        for number in 0..2 * UPLOADS_MAX {
            let digest = Digest::of_bytes(&[number as u8]);
            store
                .put(digest, &name, fixture.packed.total, &fixture.packed.chunks[0])
                .unwrap();
        }
        assert_eq!(store.uploads.borrow().len(), UPLOADS_MAX);
        fixture.put(&store, 1).unwrap();
        assert_eq!(fixture.put(&store, 2), Ok(Holding::Whole));
    }

    #[test]
    fn a_beginning_that_nobody_goes_on_with_is_removed() {
        let fixture = Fixture::new();
        fixture.put(&fixture.store(), 0).unwrap();
        fixture.store().sweep().unwrap();
        assert_eq!(fixture.partials(), 1, "it is young");
        let path = fixture.store().partial(fixture.packed.digest);
        let old = std::time::SystemTime::now() - 2 * PARTIAL_LIFETIME;
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(old)
            .unwrap();
        fixture.store().sweep().unwrap();
        assert_eq!(fixture.partials(), 0);
    }

    #[test]
    fn the_least_sequence_only_grows() {
        let fixture = Fixture::new();
        let store = fixture.store();
        assert_eq!(store.minimum(), 0);
        for (told, kept) in [(5, 5), (3, 5), (9, 9)] {
            store.raise_minimum(told).unwrap();
            assert_eq!(store.minimum(), kept);
        }
    }
}
