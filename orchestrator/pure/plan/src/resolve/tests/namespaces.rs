//! What a scenario means between network namespaces: addresses, links, and what a host may refuse.

use super::{assert_codes, rendered};
use crate::{
    Capabilities, Code, Plan, Source, resolve,
    scenario::{Network, ProviderKind},
};
use std::net::Ipv4Addr;

const TEXT: &str = r#"
[provider]
kind = "netns"
[link]
matrix = { "eu-us" = "40ms", "us-eu" = "60ms", "ap-eu" = "100ms", "ap-us" = "80ms", self = "1ms" }
jitter = "5%"
loss = "0.1%"
reorder = "0.2%"
duplicate = "0.3%"
rate = "100Mbit"
[[group]]
name = "val"
count = 4
role = "validator"
regions = { eu = 2, us = 1, ap = 1 }
[peering]
core = { kind = "full_mesh", of = "val" }
[[consensus]]
id = "main"
round_timeout = "1s"
"#;

fn plan(overrides: &[&str]) -> Plan {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    let source = Source::read("s.toml", TEXT, &overrides);
    resolve(&source, &Capabilities::default())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .plan
}

#[test]
fn loopback_ranges_stand_for_private_ones() {
    let first = |overrides: &[&str]| {
        let plan = plan(overrides);
        let links = plan.links.unwrap();
        (plan.nodes[0].address, links.lab, links.prefix)
    };
    let at = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
    assert_eq!(first(&[]), (at(10, 60, 0, 1), at(10, 60, 255, 254), 16));
    assert_eq!(
        first(&["net.ipv4=127.99.3.0/24"]),
        (at(10, 99, 3, 1), at(10, 99, 3, 254), 24)
    );
    assert_eq!(
        first(&["net.ipv4=192.168.7.0/28"]),
        (at(192, 168, 7, 1), at(192, 168, 7, 14), 28)
    );
}

#[test]
fn the_lab_takes_an_address_that_no_node_has() {
    // Eight addresses are six usable ones: five nodes and the lab.
    assert_eq!(plan(&["net.ipv4=10.9.0.0/29", "group.val.count=5"]).nodes.len(), 5);
    let text = TEXT.replace("count = 4", "count = 6");
    let source = Source::read("s.toml", &text, &["net.ipv4=10.9.0.0/29".to_owned()]);
    let problems = resolve(&source, &Capabilities::default()).unwrap_err();
    assert!(
        problems
            .0
            .iter()
            .any(|problem| problem.code == Code::AddressRangeTooSmall),
        "{problems}"
    );
}

#[test]
fn links_are_those_of_the_scenario_in_each_direction() {
    let links = plan(&[]).links.unwrap();
    assert_eq!(links.regions, ["ap", "eu", "us"]);
    let ms = |row: &[u64]| row.iter().map(|delay| delay / 1_000_000).collect::<Vec<_>>();
    assert_eq!(ms(&links.delay_ns[0]), [1, 100, 80]);
    assert_eq!(ms(&links.delay_ns[1]), [100, 1, 40]);
    assert_eq!(ms(&links.delay_ns[2]), [80, 60, 1]);
    let shares = [links.jitter_ppm, links.loss_ppm, links.reorder_ppm, links.duplicate_ppm];
    assert_eq!(shares, [50_000, 1000, 2000, 3000]);
    assert_eq!(links.rate_bits, Some(100_000_000));
    assert!(!links.is_plain());
}

#[test]
fn without_links_nothing_happens_to_packets_and_other_providers_have_none() {
    let text = "[provider]\nkind = \"netns\"\n[[group]]\nname = \"val\"\ncount = 4\nrole = \"validator\"\n\
                [peering]\ncore = { kind = \"full_mesh\", of = \"val\" }\n[[consensus]]\nid = \"main\"\n";
    let links = |overrides: &[String]| {
        let source = Source::read("s.toml", text, overrides);
        resolve(&source, &Capabilities::default()).unwrap().plan.links
    };
    assert!(links(&[]).unwrap().is_plain());
    assert_eq!(links(&["provider.kind=local".to_owned()]), None);
}

#[test]
fn public_ranges_are_refused() {
    assert_codes(
        &["provider.kind=netns", "net.ipv4=8.8.0.0/16"],
        &[Code::AddressRangeUnusable],
    );
    insta::assert_snapshot!(rendered(&["provider.kind=netns", "net.ipv4=8.8.0.0/16"]), @r#"
    error[T027]: 8.8.0.0/16 is not a private range, and the `netns` provider uses no other addresses
      --> --set net.ipv4=8.8.0.0/16
       = help: use ipv4 = "10.60.0.0/16"
    "#);
}

#[test]
fn a_host_without_the_rights_says_what_to_do_instead() {
    let host = Capabilities {
        provider: ProviderKind::Netns,
        namespaces_refused: Some("cannot make a network namespace: EPERM\n  help: more".to_owned()),
        ..Capabilities::default()
    };
    let problems = resolve(&Source::read("s.toml", TEXT, &[]), &host).unwrap_err();
    insta::assert_snapshot!(problems.to_string(), @r#"
    error[T056]: network namespaces are not to be had here: cannot make a network namespace: EPERM
      --> s.toml:3:8
       = help: run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN and /dev/net/tun; or use kind = "local"
    "#);
    let local = Source::read(
        "s.toml",
        TEXT,
        &["provider.kind=local".to_owned(), "link={}".to_owned()],
    );
    let resolved = resolve(&local, &host).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(resolved.warnings.0.is_empty(), "{}", resolved.warnings);
}

#[test]
fn ranges_are_valid_networks_after_the_change() {
    let range: Network = "127.60.0.0/16".parse().unwrap();
    assert_eq!(
        plan(&[]).nodes[3].address.octets()[1..],
        range.node_address(3).unwrap().octets()[1..]
    );
}
