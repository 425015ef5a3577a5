//! Programs that hosts hand on to each other, and fleets that do without some of their hosts, on real OpenSSH servers.

use super::{
    fleet_runs::{Fleet, SHORT, assert_went_well, noted},
    support::{lab::Run, programs, sshd::SshServers, wait::until},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What the journal says of `state`, by host.
fn texts(run: &Run, state: &str) -> Vec<(String, String)> {
    let journal = run.journal();
    let of_state = journal
        .iter()
        .filter(|line| line["kind"] == "host" && line["state"] == state);
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    of_state.map(|line| (text(line, "host"), text(line, "text"))).collect()
}

/// Ports of one address that somebody listens at.
fn listening(address: Ipv4Addr) -> Vec<u16> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("{:08X}:", u32::from_le_bytes(address.octets()));
    let rows = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let listening = rows.filter(|row| row[3] == "0A" && row[1].starts_with(&local));
    listening
        .map(|row| u16::from_str_radix(&row[1][local.len()..], 16).unwrap())
        .collect()
}

/// Ports that the system gives to whoever names none.
fn ephemeral() -> std::ops::RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let mut words = text.split_whitespace().map(|word| word.parse().unwrap());
    words.next().unwrap()..=words.next().unwrap()
}

#[test]
fn hosts_hand_a_program_on_and_one_that_dies_meanwhile_is_not_missed() {
    let fleet = Fleet::new(SshServers::start(8), 0, SHORT);
    let node = large_node(&fleet);
    let lab = fleet.start_set(&[text(&node)], &["provider.distribute=tree", "provider.fan_out=2"]);
    let run = fleet.lab.run_of(&lab);
    let offers = |host: u8| {
        let log = fs::read_to_string(fleet.servers.dir(host).join("agent.log")).unwrap_or_default();
        (
            log.matches("is offered to one host").count(),
            log.matches("handed on").count(),
        )
    };
    let parent = until("a host to hand the program on", || {
        let handing = |host: &u8| offers(*host).0 > offers(*host).1;
        (0..8).find(handing).ok_or_else(|| lab.stderr())
    });
    assert!(fleet.servers.kill_agent(parent), "it was alive");
    run.wait_for_step("measure", &lab);
    for host in 0..8 {
        let ports = listening(fleet.servers.address(host));
        assert!(
            !ports.iter().any(|port| ephemeral().contains(port)),
            "nothing listens for the lab's sake: {ports:?}"
        );
    }
    assert_went_well(&run, lab);
    let deployed = texts(&run, "deployed");
    assert_eq!((deployed.len(), noted(&run, "cleared")), (8, 8), "{deployed:#?}");
    let count = |says: &str| deployed.iter().filter(|(_, text)| text.contains(says)).count();
    assert!(count("from host `") >= 2, "{deployed:#?}");
    let name = fleet.servers.address(parent).to_string();
    let missed = format!("from the lab, since host `{name}` did not hand it on");
    assert!((1..=2).contains(&count(&missed)), "{deployed:#?}");
    let record = &run.result()["record"]["environment"];
    let told = record.as_array().unwrap().iter();
    let mut told = told.filter(|line| line["name"] == "programs, compressed");
    let text = told.next().unwrap()["value"].as_str().unwrap().to_owned();
    assert!(text.contains("handed on by hosts"), "{text}");
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

/// The node's program, followed by bytes that do not compress: what takes a while from host to host.
fn large_node(fleet: &Fleet) -> PathBuf {
    const PADDING_BYTES: usize = 48 << 20;
    let path = fleet.lab.path("large-node");
    fs::copy(programs::node_for_hosts(), &path).unwrap();
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..PADDING_BYTES)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&bytes).unwrap();
    path
}

#[test]
fn a_run_goes_on_without_as_many_hosts_as_it_tolerates_and_says_which() {
    let mut fleet = Fleet::new(SshServers::start(20), 0, SHORT);
    fleet.servers.end(7);
    let lab = fleet.start_also(&[text(programs::node_for_hosts())], &["--tolerate", "5%"]);
    let run = fleet.lab.run_of(&lab);
    assert_went_well(&run, lab);
    let dead = fleet.servers.address(7).to_string();
    let failed = texts(&run, "failed");
    assert!(
        failed.len() == 1 && failed[0].0 == dead && failed[0].1.contains("cannot be reached"),
        "{failed:?}"
    );
    assert_eq!((noted(&run, "deployed"), noted(&run, "cleared")), (19, 19));
    let result = run.result();
    let missing = result["record"]["environment"].as_array().unwrap().iter();
    let mut missing = missing.filter(|line| line["name"] == format!("{dead} failed").as_str());
    let reason = missing.next().expect("the report names it")["value"].clone();
    assert!(reason.as_str().unwrap().contains("cannot be reached"), "{reason}");
    assert!(run.text("report.html").contains(&format!("{dead} failed")));
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

#[test]
fn one_host_more_than_a_run_tolerates_ends_it_and_all_of_them_are_named() {
    let mut fleet = Fleet::new(SshServers::start(20), 0, SHORT);
    for host in [7, 12] {
        fleet.servers.end(host);
    }
    let lab = fleet.start_also(&[text(programs::node_for_hosts())], &["--tolerate", "1"]);
    let run = fleet.lab.run_of(&lab);
    let ended = lab.wait();
    let dead = |host: u8| format!("host `{}` cannot be reached", fleet.servers.address(host));
    ended.failure(
        1,
        &["2 of 20 hosts cannot be used", &dead(7), &dead(12), "help: is it up"],
    );
    assert_eq!(noted(&run, "failed"), 2);
    fleet.wait_until_nobody_is_left();
    assert_eq!(fleet.folders(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_no_number_of_hosts_is_refused_as_the_scenarios_key_is() {
    let fleet = Fleet::new(SshServers::start(5), 0, SHORT);
    let refusal = |word: &str| {
        let ended = fleet
            .lab
            .command(&["run", fleet.scenario(), "--dry-run", "--tolerate", word]);
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        let by_key = format!("provider.tolerate={word}");
        let also = fleet
            .lab
            .command(&["run", fleet.scenario(), "--dry-run", "--set", &by_key]);
        assert_eq!(ended.stderr, also.stderr);
        ended.stderr
    };
    let many = refusal("many");
    assert!(
        many.contains("`many` is not a share such as \"5%\", or a whole number such as 2"),
        "{many}"
    );
    let quorum = refusal("2");
    assert!(
        quorum.contains("error[T023]") && quorum.contains("without 2 hosts"),
        "{quorum}"
    );
    let costs = fleet
        .lab
        .command(&["run", fleet.scenario(), "--dry-run", "--tolerate", "1"]);
    costs.success();
}
