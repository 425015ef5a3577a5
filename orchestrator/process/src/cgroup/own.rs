//! A group that a process lives in from its start to its end, in every hierarchy that is there, so that nothing that it
//! started stays behind.

use super::{
    Begun, CgroupError, Controller, Place, at, cpu::CpuLimit, enter, is_removed, known, memory::MemoryLimit, name,
    quota_us, remove, try_alone,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use regatta_fleet::{Starved, Throttled};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long processes may take to go after SIGKILL.
const GONE_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two looks at whether they have gone.
const GONE_PAUSE: Duration = Duration::from_millis(5);
/// What the names of these groups have after who made them, before the owner: only what is in such a one is ever ended.
const OWN: &str = "own-";

/// Where processes get groups of their own: each hierarchy once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnGroups {
    /// Whose they are, also after they were left behind.
    owner: String,
    places: Vec<Place>,
    /// What a group can limit, and at which of these places.
    controllers: Vec<(Controller, usize)>,
}

/// The groups of one process, which are removed with this value.
#[derive(Debug)]
pub struct OwnGroup {
    paths: Vec<PathBuf>,
    cpu: Option<CpuLimit>,
    memory: Option<MemoryLimit>,
}

impl OwnGroups {
    /// Finds where this process may make groups and move processes into them, and does so with itself to see. What is left
    /// in them is ended by the next [`OwnGroups::sweep`] of the same `owner`, a word without a hyphen.
    ///
    /// # Errors
    /// [`CgroupError`] of the last hierarchy that was tried, when there is none.
    pub fn find(owner: &str) -> Result<Self, CgroupError> {
        debug_assert!(!owner.contains('-'), "it ends at the first hyphen");
        let (mut places, mut controllers) = (Vec::<Place>::new(), Vec::new());
        let mut refused = CgroupError::None(Controller::Pids);
        for controller in [Controller::Pids, Controller::Memory, Controller::Cpu] {
            let found = Place::find(controller).and_then(|place| place.is_open().map(|()| place));
            match found {
                Ok(place) => {
                    let known = places.iter().position(|other| other.parent == place.parent);
                    controllers.push((controller, known.unwrap_or(places.len())));
                    if known.is_none() {
                        places.push(place);
                    }
                }
                // That one is not there says less than that one refuses.
                Err(CgroupError::None(_)) => {}
                Err(error) => refused = error,
            }
        }
        if places.is_empty() {
            // It limits nothing, and keeps together what belongs together all the same.
            let unified = Place::find_unified()?;
            if let Some(place) = unified {
                place.is_open()?;
                places.push(place);
            }
        }
        match places.is_empty() {
            true => Err(refused),
            false => Ok(Self {
                owner: owner.to_owned(),
                places,
                controllers,
            }),
        }
    }

    /// Whether a group can limit this.
    #[must_use]
    pub fn limits(&self, controller: Controller) -> bool {
        self.controllers.iter().any(|(one, _)| *one == controller)
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut versions: Vec<u32> = self.places.iter().map(|place| place.version.number()).collect();
        versions.dedup();
        let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
        let names: Vec<&str> = self
            .controllers
            .iter()
            .map(|(controller, _)| controller.name())
            .collect();
        let names = match names.is_empty() {
            true => "limiting nothing".to_owned(),
            false => names.join(", "),
        };
        format!("version {} ({names})", versions.join(" and "))
    }

    /// Puts a process that was just started into groups of its own, called after `what`.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses; no group is left then.
    pub fn hold(&self, what: &str, pid: u32) -> Result<OwnGroup, CgroupError> {
        let group = self.make(what)?;
        group.enter(pid)?;
        Ok(group)
    }

    /// Makes groups called after `what`, with nobody in them.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses; no group is left then.
    pub fn make(&self, what: &str) -> Result<OwnGroup, CgroupError> {
        let mut group = OwnGroup {
            paths: Vec::new(),
            cpu: None,
            memory: None,
        };
        for place in &self.places {
            let path = place.parent.join(name(&format!("{OWN}{}-{what}", self.owner)));
            at(&path, fs::create_dir(&path).or_else(known))?;
            group.paths.push(path);
        }
        for (controller, index) in &self.controllers {
            let (version, path) = (self.places[*index].version, group.paths[*index].clone());
            match controller {
                Controller::Cpu => group.cpu = Some(CpuLimit::of(version, path)),
                Controller::Memory => group.memory = Some(MemoryLimit::of(version, path)),
                Controller::Pids => {}
            }
        }
        Ok(group)
    }

    /// Ends what is left in groups of this owner that were left behind, and removes these and all other empty ones; how many
    /// groups that were.
    ///
    /// # Errors
    /// [`CgroupError`] when a process does not go, or a group cannot be removed.
    pub fn sweep(&self) -> Result<usize, CgroupError> {
        let mut removed = 0;
        for place in &self.places {
            for path in place.left_behind()? {
                removed += usize::from(if is_of(&self.owner, &path) {
                    emptied(&path)?
                } else {
                    is_removed(&path)?
                });
            }
        }
        Ok(removed)
    }
}

impl OwnGroup {
    /// Ends what the process left behind in its groups, and removes them when nobody is in them; whether all are gone.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn is_ended(&mut self) -> Result<bool, CgroupError> {
        while let Some(path) = self.paths.last() {
            end_all(path)?;
            if !is_removed(path)? && path.exists() {
                return Ok(false);
            }
            self.paths.pop();
        }
        Ok(true)
    }

    /// Puts a process that was just started into it.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn enter(&self, pid: u32) -> Result<(), CgroupError> {
        self.paths.iter().try_for_each(|path| enter(path, pid))
    }

    /// Leaves it so many millionths of one processor.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses, or has no groups that limit this.
    pub fn limit_cpu(&mut self, share_ppm: u32) -> Result<(), CgroupError> {
        let cpu = self.cpu.as_mut().ok_or(CgroupError::None(Controller::Cpu))?;
        cpu.limit(quota_us(share_ppm))
    }

    /// Leaves it so many bytes of memory.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses, or has no groups that limit this.
    pub fn limit_memory(&mut self, bytes: u64) -> Result<Begun, CgroupError> {
        let memory = self.memory.as_mut().ok_or(CgroupError::None(Controller::Memory))?;
        memory.limit(bytes)
    }

    /// Takes the limit of its time away.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn lift_cpu(&self) -> Result<(), CgroupError> {
        self.cpu.as_ref().map_or(Ok(()), CpuLimit::lift)
    }

    /// Takes the limit of its memory away.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn lift_memory(&self) -> Result<(), CgroupError> {
        self.memory.as_ref().map_or(Ok(()), MemoryLimit::lift)
    }

    /// How often it was held back since the newest limit of its time began.
    #[must_use]
    pub fn throttled(&self) -> Throttled {
        self.cpu.as_ref().map(CpuLimit::seen).unwrap_or_default()
    }

    /// What the newest limit of its memory has done so far.
    #[must_use]
    pub fn starved(&self) -> Starved {
        self.memory.as_ref().map(MemoryLimit::seen).unwrap_or_default()
    }

    /// Its folders.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        // What stays is taken by the next sweep.
        let _ = self.is_ended();
    }
}

impl Place {
    /// Whether processes can be moved into a group here and back, by this process itself.
    fn is_open(&self) -> Result<(), CgroupError> {
        let own = std::process::id();
        let _alone = try_alone();
        let probe = self.parent.join(name("probe-own"));
        at(&probe, fs::create_dir(&probe).or_else(known))?;
        let moved = enter(&probe, own);
        // Whom another thread has started meanwhile was born there, and comes back as well.
        remove(&probe, &self.home).and(moved)
    }
}

fn is_of(owner: &str, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let what = name.splitn(4, '-').nth(3).and_then(|what| what.strip_prefix(OWN));
    what.and_then(|what| what.split_once('-'))
        .is_some_and(|(of, _)| of == owner)
}

/// Ends everything in a group and removes it; false when another has done so by then.
fn emptied(path: &Path) -> Result<bool, CgroupError> {
    let began = Instant::now();
    while path.exists() {
        end_all(path)?;
        if is_removed(path)? {
            return Ok(true);
        }
        if began.elapsed() > GONE_DEADLINE {
            return at(path, Err(io::Error::other("its processes do not end")));
        }
        std::thread::sleep(GONE_PAUSE);
    }
    Ok(false)
}

/// Kills everything in a group. Nothing is in it but what was born there.
fn end_all(path: &Path) -> Result<(), CgroupError> {
    let procs = path.join("cgroup.procs");
    let pids = match fs::read_to_string(&procs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => at(&procs, read)?,
    };
    for pid in pids.lines().filter_map(|line| line.parse::<i32>().ok()) {
        // 0 is a process that this one cannot see, and would mean its own group.
        if pid > 0 {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::skip, *};
    use crate::start_ticks;
    use std::process::{Child, Command, Stdio};

    const OWNER: &str = "test";

    /// Where groups can be made; a machine without them says so, which is what its agents say as well.
    fn groups() -> Option<OwnGroups> {
        skip::or_skip(OwnGroups::find(OWNER))
    }

    /// A process with a child of its own that outlives it; ends with a line on its stdin.
    fn parent() -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "read go; sleep 1000 & echo $!; read line"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn tell(child: &mut Child, line: &str) {
        use std::io::Write;
        writeln!(child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn grandchild(child: &mut Child) -> u32 {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim().parse().unwrap()
    }

    #[test]
    fn what_a_process_leaves_behind_ends_with_its_group() {
        let Some(groups) = groups() else { return };
        let mut child = parent();
        let mut group = groups.hold("left", child.id()).unwrap();
        let paths = group.paths().to_vec();
        assert!(!paths.is_empty() && !groups.describe().is_empty());
        for path in &paths {
            let inside = fs::read_to_string(path.join("cgroup.procs")).unwrap();
            assert_eq!(inside.trim(), child.id().to_string(), "{}", path.display());
        }
        tell(&mut child, "go");
        let left = grandchild(&mut child);
        tell(&mut child, "end");
        child.wait().unwrap();
        assert!(start_ticks(left).is_some(), "it outlives its parent");
        let began = Instant::now();
        while !group.is_ended().unwrap() {
            assert!(began.elapsed() < GONE_DEADLINE, "{paths:?}");
            std::thread::sleep(GONE_PAUSE);
        }
        assert!(start_ticks(left).is_none(), "and not the group");
        assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");
    }

    #[test]
    fn groups_of_a_dead_agent_are_swept_with_what_is_in_them() {
        let Some(groups) = groups() else { return };
        let mut child = parent();
        // As this process would have named it, had it begun at another time.
        let dead = groups.places.iter().map(|place| {
            let path = place
                .parent
                .join(format!("regatta-{}-1-{OWN}{OWNER}-left", std::process::id()));
            fs::create_dir(&path).unwrap();
            enter(&path, child.id()).unwrap();
            path
        });
        let dead: Vec<PathBuf> = dead.collect();
        let mut other = parent();
        let own = groups.hold("stays", other.id()).unwrap();
        // Waiting would close it, and the shell would end by itself.
        let stdin = child.stdin.take();
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        assert!(groups.sweep().unwrap() >= dead.len());
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(reaper.join().unwrap().signal(), Some(9));
        drop(stdin);
        assert!(dead.iter().all(|path| !path.exists()), "{dead:?}");
        assert!(start_ticks(other.id()).is_some() && own.paths().iter().all(|path| path.exists()));
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn only_groups_of_one_owner_are_emptied() {
        assert!(is_of("a1", Path::new("/x/regatta-12-345-own-a1-run-val-0-7")));
        for other in [
            "regatta-12-345-val-0",
            "regatta-12-345-own-a2-run-val-0-7",
            "regatta-12-345-own-a1",
            "regatta-12-345-memory-own-a1-x",
            "own-a1-1",
            "",
        ] {
            assert!(!is_of("a1", Path::new(other)), "{other}");
        }
    }
}
