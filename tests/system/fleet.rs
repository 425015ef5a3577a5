//! Fleets over SSH, on real OpenSSH servers that a test starts.

use super::support::{
    lab::Lab,
    process::{Ended, Running, run},
    sshd::{PORT, SshServers, make_key},
    wait::until,
};
use std::path::Path;

const SSH: &str = "/usr/bin/ssh";

/// Arguments that run `command` on a host with the plain client of OpenSSH.
fn arguments(servers: &SshServers, host: u8, command: &str) -> Vec<String> {
    let key = servers.client_key();
    let options = "-F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
                   -o IdentitiesOnly=yes -i";
    let mut arguments: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
    arguments.extend([key.display().to_string(), "-p".to_owned(), PORT.to_string()]);
    arguments.extend([servers.address(host).to_string(), command.to_owned()]);
    arguments
}

fn ssh(servers: &SshServers, host: u8, command: &str) -> Ended {
    let arguments = arguments(servers, host, command);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(Path::new(SSH), &arguments)
}

#[test]
fn the_servers_of_these_tests_are_real_and_stand_side_by_side() {
    let mut servers = SshServers::start(3);
    for host in 0..3 {
        assert_eq!(ssh(&servers, host, "echo here").success(), "here\n");
        assert!(
            servers.log(host).contains("Accepted publickey"),
            "{}",
            servers.log(host)
        );
    }
    assert_ne!(servers.host_key(0), servers.host_key(1));
    assert_eq!(servers.inventory().matches("[[provider.host]]").count(), 3);
    servers.end(1);
    assert_ne!(
        ssh(&servers, 1, "true").code(),
        Some(0),
        "an ended server accepts nobody"
    );
    ssh(&servers, 2, "true").success();
}

#[test]
fn a_cut_connection_ends_the_client_and_a_new_one_is_accepted() {
    let servers = SshServers::start(1);
    let folder = tempfile::tempdir().unwrap();
    let command = format!(
        "echo $$; exec tail -f {}/sshd_config >/dev/null",
        servers.home(0).display()
    );
    let client = Running::start(Path::new(SSH), &arguments(&servers, 0, &command), folder.path(), "ssh");
    let process = until("the command to run", || {
        let text = client.stdout();
        text.lines().next().map(str::to_owned).ok_or_else(|| client.stderr())
    });
    assert!(servers.cut(0) >= 1);
    assert_eq!(client.wait().code(), Some(255));
    // It knows nothing of its connection: this is what an agent must see to.
    until("the command to be seen", || {
        let left = servers.left_running();
        if left.len() == 1 {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    ssh(&servers, 0, &format!("kill -9 {process}")).success();
    until("nothing to be left", || {
        let left = servers.left_running();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

/// A scenario with these hosts and a node on each.
fn scenario(lab: &Lab, hosts: &str) -> String {
    let count = hosts.matches("[[provider.host]]").count();
    let text = format!(
        "# Does a fleet do what a test expects?\nschema = 1\nname = \"fleet\"\nseed = 5\n\
         [provider]\nkind = \"ssh\"\n[[group]]\nname = \"val\"\ncount = {count}\nrole = \"validator\"\n\
         [peering]\ncore = {{ kind = \"full_mesh\", of = \"val\" }}\n[[consensus]]\nid = \"main\"\n{hosts}"
    );
    lab.write("fleet.toml", &text)
}

/// Folders and SSH clients that verbs without a run left behind.
fn left_by_clients() -> Vec<String> {
    let temporary = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let folders = temporary.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let folders = folders.filter(|name| name.starts_with("regatta-ssh-"));
    let clients = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (line.starts_with("ssh") && line.contains("regatta-ssh-")).then_some(line)
    });
    folders.chain(clients).collect()
}

#[test]
fn keys_are_shown_before_they_are_pinned_and_nothing_is_pinned_unasked() {
    let (lab, servers) = (Lab::new(), SshServers::start(3));
    let hosts: String = (0..3).map(|host| servers.entry(host, "")).collect();
    let file = scenario(&lab, &hosts);
    let asked = lab.command(&["hosts", "trust", &file]);
    asked.failure(2, &["nothing is pinned", "help: compare the fingerprints"]);
    assert_eq!(asked.stdout.matches("SHA256:").count(), 3, "{}", asked.stdout);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("host_key"));
    lab.command(&["plan", &file]).failure(2, &["has no pinned key"]);
    lab.command(&["hosts", "trust", &file, "--yes"]).success();
    let text = std::fs::read_to_string(&file).unwrap();
    for host in 0..3 {
        assert!(text.contains(&servers.host_key(host)), "{text}");
    }
    assert!(text.starts_with("# Does a fleet"), "what a person wrote stays");
    assert!(
        lab.command(&["hosts", "check", &file])
            .stderr
            .contains("3 of 3 hosts can be used")
    );
    assert_eq!(
        lab.command(&["hosts", "list", &file])
            .success()
            .matches("SHA256:")
            .count(),
        3
    );
}

#[test]
fn each_host_that_cannot_be_used_is_named_with_its_reason() {
    let (lab, mut servers) = (Lab::new(), SshServers::start(5));
    let stranger = lab.path("stranger");
    make_key(&stranger);
    let other_login = servers
        .entry(3, &servers.host_key(3))
        .replace(servers.client_key().to_str().unwrap(), stranger.to_str().unwrap());
    let hosts = [
        servers.entry(0, &servers.host_key(0)),
        // The key of a server that is not among the hosts.
        servers.entry(1, &servers.host_key(4)),
        servers.entry(2, &servers.host_key(2)),
        other_login,
    ]
    .concat();
    servers.end(2);
    let file = scenario(&lab, &hosts);
    let checked = lab.command(&["hosts", "check", &file]);
    let host = |host: u8| format!("host `{}` ", servers.address(host));
    checked.failure(
        1,
        &[
            &format!("{}has another host key than the pinned one", host(1)),
            &format!("{}cannot be reached", host(2)),
            &format!("{}refuses the login", host(3)),
            "1 of 4 hosts can be used",
        ],
    );
    assert!(
        checked.stdout.contains(&servers.address(0).to_string()),
        "{}",
        checked.stdout
    );
    // Nothing was asked of the impostor beyond its key.
    assert!(!servers.log(1).contains("Accepted"), "{}", servers.log(1));
    let trusted = lab.command(&["hosts", "trust", &file, "--yes"]);
    trusted.failure(1, &["1 hosts have another key than the pinned one"]);
    assert!(trusted.stdout.contains("OTHER THAN PINNED"), "{}", trusted.stdout);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&servers.host_key(1)));
    lab.command(&["hosts", "trust", &file, "--yes", "--replace"])
        .failure(1, &["keys are pinned"]);
    assert!(std::fs::read_to_string(&file).unwrap().contains(&servers.host_key(1)));
    until("nothing to be left", || {
        let left = left_by_clients();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn a_host_behind_another_is_reached_over_it() {
    let (lab, servers) = (Lab::new(), SshServers::start(2));
    let inner = servers.entry(1, "") + &format!("jump = \"{}\"\n", servers.address(0));
    let file = scenario(&lab, &(servers.entry(0, &servers.host_key(0)) + &inner));
    lab.command(&["hosts", "trust", &file, "--yes"]).success();
    assert!(
        lab.command(&["hosts", "check", &file])
            .stderr
            .contains("2 of 2 hosts can be used")
    );
    // Once to look for the key, once for itself and once on the way to the inner one.
    assert!(
        servers.log(0).matches("Accepted publickey").count() >= 3,
        "{}",
        servers.log(0)
    );
    assert!(servers.log(1).contains("Accepted publickey"), "{}", servers.log(1));
}
