//! Exports of scenarios: they fit the schemas of the engines that they are for, and what they write runs.

use super::support::{
    lab::Lab,
    process::{Ended, Running, run},
    programs,
    wait::until,
};
use regatta_tests::workspace_root;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const ENGINES: [&str; 3] = ["compose", "kubernetes", "shadow"];
const NODES: [&str; 5] = ["val-0", "val-1", "val-2", "val-3", "full-0"];

fn export(lab: &Lab, scenario: &str, engine: &str, folder: &Path, more: &[&str]) -> Ended {
    let (node, folder) = (programs::node().to_str().unwrap(), folder.to_str().unwrap());
    let arguments = ["export", scenario, "--to", engine, folder, "--binary", node];
    lab.command(&[&arguments, more].concat())
}

/// A key that signs builds.
fn key(lab: &Lab) -> String {
    let path = lab.path("release.pem");
    if !path.exists() {
        lab.command(&["keygen", path.to_str().unwrap()]).success();
    }
    path.to_str().unwrap().to_owned()
}

/// Holds an export against the published schemas, which `tests/all` installs.
fn check(engine: &str, folder: &Path) -> Ended {
    let root = workspace_root();
    let tools = std::env::var_os("REGATTA_SCHEMAS").map_or_else(|| root.join("target/schemas"), PathBuf::from);
    assert!(
        tools.join("python").is_dir(),
        "no published schemas in {}; run ./tests/all once, or see how it installs them",
        tools.display()
    );
    let script = root.join("tests/schemas/check.py");
    let arguments = [
        script.to_str().unwrap(),
        tools.to_str().unwrap(),
        engine,
        folder.to_str().unwrap(),
    ];
    run(Path::new("/usr/bin/env"), &[&["python3"], &arguments[..]].concat())
}

#[test]
fn exports_fit_the_published_schemas() {
    let lab = Lab::new();
    let link = "[link]\nmatrix = { self = \"2ms\" }\nloss = \"0.1%\"\n[[load]]\nrate = 10\n";
    let scenario = lab.scenario(link);
    let key = key(&lab);
    // In each of them one word is damaged, which the schemas must notice.
    let damages = [
        ("compose.yaml", "restart:", "restrat:"),
        ("base/nodes/val-0.yaml", "publishNotReadyAddresses:", "publishNotReady:"),
        ("shadow.yaml", "start_time:", "starts:"),
    ];
    for (engine, (file, word, other)) in ENGINES.into_iter().zip(damages) {
        let folder = lab.path(engine);
        let said = export(&lab, &scenario, engine, &folder, &["--key", &key]);
        assert!(said.success().contains("5 nodes"), "{}", said.stdout);
        let checked = check(engine, &folder);
        assert!(checked.success().contains(" 0 problems"), "{}", checked.stdout);
        let path = folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(word), "{text}");
        fs::write(&path, text.replace(word, other)).unwrap();
        let noticed = check(engine, &folder);
        assert_eq!(noticed.code(), Some(1), "{}{}", noticed.stdout, noticed.stderr);
        // The same command repairs it, since nothing else is there.
        export(&lab, &scenario, engine, &folder, &["--key", &key]).success();
        check(engine, &folder).success();
    }
}

#[test]
fn exported_configurations_and_keys_make_a_network_that_agrees() {
    let lab = Lab::new();
    let folder = lab.path("export");
    // Shadow gives every node a machine; here they share one, so private addresses become the same ones of loopback.
    export(&lab, &lab.scenario(""), "shadow", &folder, &[]).success();
    let loopback = lab.subnet.text().replace("0/24", "");
    let private = loopback.replacen("127", "10", 1);
    let program = folder.join("bin/main/regatta-node");
    let mut nodes: Vec<Running> = Vec::new();
    for name in NODES {
        let config = folder.join("template/config").join(name).join("node.toml");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(&private), "{text}");
        fs::write(&config, text.replace(&private, &loopback)).unwrap();
        let arguments = ["run", "--config", config.to_str().unwrap(), "--new"];
        nodes.push(Running::start(&program, &arguments, &lab.path(""), name));
    }
    let client = lab.path("client.pem");
    let client = client.to_str().unwrap();
    run(&program, &["keygen", "--out", client]).success();
    let at = |index: usize| format!("{}:7001", lab.subnet.address(index as u8));
    let put = [
        "send",
        "put",
        "colour",
        "blue",
        "--wait=120",
        "--key",
        client,
        "--to",
        &at(4),
    ];
    until("a transaction to be executed", || {
        let ended = nodes.iter_mut().position(Running::has_ended);
        assert!(ended.is_none(), "{:?}: {}", ended, nodes[ended.unwrap_or(0)].stderr());
        let sent = run(&program, &put);
        if sent.code() == Some(0) {
            Ok(())
        } else {
            Err(sent.stderr)
        }
    });
    for (index, name) in NODES.into_iter().enumerate() {
        until("the value at every node", || {
            let query = run(&program, &["query", "state", "colour", "--to", &at(index)]);
            if query.stdout == "blue\n" {
                Ok(())
            } else {
                Err(query.stdout + &query.stderr)
            }
        });
        assert!(folder.join("template/data").join(name).is_dir());
    }
}

#[test]
fn what_is_in_the_way_and_what_is_missing_is_said() {
    let lab = Lab::new();
    let scenario = lab.scenario("");
    let folder = lab.path("export");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("thesis.txt"), "mine").unwrap();
    export(&lab, &scenario, "compose", &folder, &[]).failure(1, &["thesis.txt", "help:"]);
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        1,
        "nothing was written beside it"
    );
    export(&lab, &scenario, "kubernetes", &lab.path("new"), &[]).failure(2, &["--key", "help:"]);
    export(
        &lab,
        &scenario,
        "compose",
        &lab.path("new"),
        &["--network", "198.51.100.0/24"],
    )
    .failure(2, &["T027"]);
    export(&lab, &scenario, "compose", &lab.path("new"), &["--provider", "local"]).failure(2, &["--to"]);
    assert!(!lab.path("new").exists());
    let script = lab.write("script", "#!/bin/sh\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let new = lab.path("new");
    let given = [
        "export",
        &scenario,
        "--to",
        "compose",
        new.to_str().unwrap(),
        "--binary",
        &script,
    ];
    lab.command(&given).failure(1, &["no 64-bit Linux program", "help:"]);
}
