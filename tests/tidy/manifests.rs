//! Rules for manifests: who may depend on whom, how many outsiders there are, and which lints hold.

use super::finding::{File, Finding};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// Most external packages that the workspace names. The last three: for fleets a program is compressed once and expanded
/// on every host, and hosts are reached through OpenSSH itself; and the curve under `ed25519-dalek` has a name of its own
/// here, so that batches of signatures know the keys of before. One more since: the agent comes to a host through gzip, the only
/// compression that every host undoes by itself; the package was there already, below another one.
const EXTERNAL_MAX: usize = 49;
/// The floors from the lowest to the highest: a package may depend on lower floors only.
const FLOORS: [&[&str]; 8] = [
    &["regatta-base"],
    &["regatta-consensus", "regatta-api"],
    &[
        "regatta-apps",
        "regatta-fleet",
        "regatta-link",
        "regatta-plan",
        "regatta-seal",
    ],
    &["regatta-core", "regatta-process", "regatta-report"],
    &["regatta-client", "regatta-sim"],
    &["regatta-load"],
    &["regatta-agent", "regatta-node", "regatta"],
    &["regatta-tests", "regatta-benches"],
];
/// The lab and its parts.
const LAB: [&str; 9] = [
    "regatta",
    "regatta-agent",
    "regatta-fleet",
    "regatta-link",
    "regatta-load",
    "regatta-plan",
    "regatta-process",
    "regatta-report",
    "regatta-tests",
];
/// What the lab runs, or what only that is made of.
const NEVER_IN_LAB: [&str; 3] = ["regatta-node", "regatta-core", "regatta-consensus"];
/// The one part of the lab that is made of the node's core: it plays nodes in virtual time.
const SIMULATOR: &str = "regatta-sim";
/// External packages with sockets, threads, clocks or files at their heart.
const NEVER_IN_PURE: [&str; 9] = [
    "axum",
    "hyper",
    "hyper-util",
    "libp2p",
    "nix",
    "procfs",
    "socket2",
    "tempfile",
    "tokio",
];
/// Sections that name dependencies.
const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// One package of the workspace.
#[derive(Debug, Clone)]
pub struct Package {
    file: File,
    name: String,
    /// Names of dependencies of any kind, with the section that each stands in.
    dependencies: Vec<(String, &'static str)>,
    /// Dependencies that do not take their version from the workspace.
    unshared: Vec<String>,
    inherits_lints: bool,
}

impl Package {
    /// Reads a package's manifest; none for a manifest without a package.
    pub fn read(file: &File) -> Option<Self> {
        let table: Table = file.text.parse().ok()?;
        let name = table.get("package")?.get("name")?.as_str()?.to_owned();
        let mut dependencies = Vec::new();
        let mut unshared = Vec::new();
        for section in SECTIONS {
            let entries = table.get(section).and_then(Value::as_table).into_iter().flatten();
            for (dependency, value) in entries {
                dependencies.push((dependency.clone(), section));
                if value.get("workspace").and_then(Value::as_bool) != Some(true) {
                    unshared.push(dependency.clone());
                }
            }
        }
        let lints = table.get("lints").and_then(|lints| lints.get("workspace"));
        Some(Self {
            file: file.clone(),
            name,
            dependencies,
            unshared,
            inherits_lints: lints.and_then(Value::as_bool) == Some(true),
        })
    }

    fn finding(&self, what: String) -> Finding {
        self.file.finding(1, what)
    }

    fn is_pure(&self) -> bool {
        self.file.path.contains("/pure/")
    }
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|packages| packages.contains(&name))
}

/// A package depends on lower floors only, in tests as well.
pub fn floors(package: &Package) -> Vec<Finding> {
    let Some(own) = floor(&package.name) else {
        return vec![package.finding(format!("`{}` stands on no floor; add it to the table", package.name))];
    };
    let climbs = |(dependency, _): &&(String, &str)| floor(dependency).is_some_and(|other| other >= own);
    let found = package.dependencies.iter().filter(climbs);
    found
        .map(|(dependency, section)| {
            package.finding(format!(
                "{section}: `{dependency}` is not on a lower floor than `{}`",
                package.name
            ))
        })
        .collect()
}

/// The lab runs signed programs and never links one, whichever way round; only the simulator knows the node's core.
pub fn lab_links_no_node(packages: &[Package]) -> Vec<Finding> {
    let by_name: BTreeMap<&str, &Package> = packages
        .iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    let mut found = Vec::new();
    for name in LAB {
        let Some(package) = by_name.get(name) else { continue };
        let reached = reach(&by_name, name);
        for banned in NEVER_IN_LAB.iter().filter(|banned| reached.contains(**banned)) {
            found.push(package.finding(format!("`{name}` depends on `{banned}`; the lab links no node")));
        }
    }
    found
}

fn reach<'a>(by_name: &BTreeMap<&str, &'a Package>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut pending = vec![from];
    while let Some(name) = pending.pop() {
        // What the simulator is made of is its own affair, as long as it is no node.
        let Some(package) = by_name.get(name).filter(|_| name != SIMULATOR) else {
            continue;
        };
        for (dependency, _) in &package.dependencies {
            if reached.insert(dependency.as_str()) {
                pending.push(dependency);
            }
        }
    }
    reached
}

/// Packages below a `pure` folder have no runtime, no sockets and no files, also not by way of a dependency.
pub fn pure_packages(package: &Package) -> Vec<Finding> {
    if !package.is_pure() {
        return Vec::new();
    }
    let banned = |(dependency, section): &&(String, &str)| {
        *section == "dependencies" && NEVER_IN_PURE.contains(&dependency.as_str())
    };
    let found = package.dependencies.iter().filter(banned);
    found
        .map(|(dependency, _)| package.finding(format!("pure, and depends on `{dependency}`")))
        .collect()
}

/// Lints and versions are said once, in the workspace.
pub fn shared(package: &Package) -> Vec<Finding> {
    let lints = (!package.inherits_lints).then(|| package.finding("does not inherit the lints".to_owned()));
    let versions = package.unshared.iter();
    let versions = versions.map(|name| package.finding(format!("`{name}` is not taken from the workspace")));
    lints.into_iter().chain(versions).collect()
}

/// There are few outsiders, and each is needed by somebody.
pub fn outsiders(root: &File, packages: &[Package]) -> Vec<Finding> {
    let table: Table = root.text.parse().unwrap_or_default();
    let named = table
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"));
    let named = named.and_then(Value::as_table).cloned().unwrap_or_default();
    let external: Vec<&String> = named
        .iter()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(name, _)| name)
        .collect();
    let mut found = Vec::new();
    if external.len() > EXTERNAL_MAX {
        let what = format!("{} external packages; at most {EXTERNAL_MAX}", external.len());
        found.push(root.finding(1, what));
    }
    for name in external {
        let used = packages
            .iter()
            .any(|package| package.dependencies.iter().any(|(other, _)| other == name));
        if !used {
            found.push(root.finding(1, format!("no package needs `{name}`")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(path: &str, name: &str, rest: &str) -> Package {
        let text = format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}");
        Package::read(&File::new(path, &text)).unwrap()
    }

    #[test]
    fn a_step_up_is_found_in_every_section() {
        for section in SECTIONS {
            let up = format!("[{section}]\nregatta-core.workspace = true\nregatta-base.workspace = true\n");
            let found = floors(&package("a/Cargo.toml", "regatta-apps", &up));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].what.contains("regatta-core"), "{found:?}");
        }
        let level = "[dependencies]\nregatta-api.workspace = true\n";
        assert_eq!(floors(&package("a/Cargo.toml", "regatta-consensus", level)).len(), 1);
        assert_eq!(floors(&package("a/Cargo.toml", "regatta-apps", level)), []);
        assert_eq!(floors(&package("a/Cargo.toml", "regatta-unheard-of", "")).len(), 1);
    }

    #[test]
    fn a_lab_that_links_the_node_is_found_through_others() {
        let direct = "[dev-dependencies]\nregatta-node.workspace = true\n";
        assert_eq!(lab_links_no_node(&[package("a", "regatta", direct)]).len(), 1);
        let through = [
            package("a", "regatta", "[dependencies]\nregatta-client.workspace = true\n"),
            package(
                "b",
                "regatta-client",
                "[dependencies]\nregatta-consensus.workspace = true\n",
            ),
        ];
        assert_eq!(lab_links_no_node(&through).len(), 1);
        assert_eq!(lab_links_no_node(&through[..1]), []);
    }

    #[test]
    fn only_the_simulator_may_know_the_core() {
        let core = "[dependencies]\nregatta-core.workspace = true\n";
        let lab = package("a", "regatta", "[dependencies]\nregatta-sim.workspace = true\n");
        assert_eq!(lab_links_no_node(&[lab, package("b", "regatta-sim", core)]), []);
        assert_eq!(lab_links_no_node(&[package("a", "regatta", core)]).len(), 1);
        let node = "[dependencies]\nregatta-node.workspace = true\n";
        assert_eq!(
            floors(&package("orchestrator/pure/sim/Cargo.toml", "regatta-sim", node)).len(),
            1
        );
    }

    #[test]
    fn a_runtime_in_a_pure_package_is_found() {
        let runtime = "[dependencies]\ntokio.workspace = true\n";
        assert_eq!(pure_packages(&package("node/pure/a/Cargo.toml", "a", runtime)).len(), 1);
        assert_eq!(pure_packages(&package("node/Cargo.toml", "a", runtime)), []);
    }

    #[test]
    fn own_lints_and_own_versions_are_found() {
        let file = File::new(
            "a/Cargo.toml",
            "[package]\nname = \"a\"\n[dependencies]\nrand = \"1\"\n",
        );
        assert_eq!(shared(&Package::read(&file).unwrap()).len(), 2);
        let good = "[dependencies]\nrand.workspace = true\nbytes = { workspace = true, features = [] }\n";
        assert_eq!(shared(&package("a/Cargo.toml", "a", good)), []);
    }

    #[test]
    fn too_many_and_unneeded_outsiders_are_found() {
        let root = |count: usize| {
            let lines: String = (0..count).map(|n| format!("x{n} = \"1\"\n")).collect();
            File::new(
                "Cargo.toml",
                &format!("[workspace.dependencies]\nours = {{ path = \"ours\" }}\n{lines}"),
            )
        };
        let needs = |count: usize| {
            let lines: String = (0..count).map(|n| format!("x{n}.workspace = true\n")).collect();
            package("a", "a", &format!("[dependencies]\n{lines}"))
        };
        assert_eq!(outsiders(&root(EXTERNAL_MAX), &[needs(EXTERNAL_MAX)]), []);
        assert_eq!(outsiders(&root(EXTERNAL_MAX + 1), &[needs(EXTERNAL_MAX + 1)]).len(), 1);
        assert_eq!(outsiders(&root(2), &[needs(1)]).len(), 1);
    }
}
