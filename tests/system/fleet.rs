//! Fleets over SSH, on real OpenSSH servers that a test starts.

use super::support::{
    process::{Ended, Running, run},
    sshd::{PORT, SshServers},
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
