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

const ADSL: &str = "[[link.direction]]\nfrom = \"region:eu\"\nto = \"all\"\ndelay = \"5ms\"\nrate = \"2Mbit\"\n\
                    [[link.direction]]\nfrom = \"val-0\"\nto = \"region:us\"\nloss = \"1%\"\njitter = \"0%\"\ndelay = \"7ms\"\n";

fn asymmetric(more: &str, overrides: &[&str]) -> Result<Plan, String> {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    let source = Source::read("s.toml", &format!("{TEXT}{more}"), &overrides);
    let resolved = resolve(&source, &Capabilities::default());
    resolved
        .map(|resolved| resolved.plan)
        .map_err(|problems| problems.to_string())
}

#[test]
fn a_direction_has_what_it_is_given_and_the_matrix_for_the_rest() {
    let plan = asymmetric(ADSL, &[]).unwrap();
    let region = |wanted: &str| {
        plan.nodes
            .iter()
            .find(|node| node.region.as_deref() == Some(wanted))
            .unwrap()
            .index
    };
    let (eu, us, ap) = (0, region("us"), region("ap"));
    assert_eq!(plan.nodes[0].region.as_deref(), Some("eu"));
    let own = |from, to| {
        let found = plan.conditions(from, to).unwrap();
        (
            found.delay_ns / 1_000_000,
            found.jitter_ppm,
            found.loss_ppm,
            found.rate_bits,
        )
    };
    assert_eq!(own(eu, ap), (5, 50_000, 1000, Some(2_000_000)));
    assert_eq!(
        own(eu, us),
        (7, 0, 10_000, Some(2_000_000)),
        "the later one counts, where it says something"
    );
    assert_eq!(
        own(ap, eu),
        (100, 50_000, 1000, None),
        "what comes back is another direction"
    );
    assert_eq!(own(us, ap), (80, 50_000, 1000, None));
    let text = plan.render();
    assert!(
        text.contains("direction val-0 ") && text.contains(": 5ms 2Mbit"),
        "{text}"
    );
    assert!(text.contains("7ms ±0% loss 1%"), "{text}");
    let simulated = asymmetric(ADSL, &["provider.kind=sim"]).unwrap();
    assert_eq!(simulated.world.unwrap().directions, plan.links.unwrap().directions);
    let local = asymmetric(ADSL, &["provider.kind=local", "link.reorder=0%"]);
    assert!(
        local.unwrap_err().contains("error[T041]"),
        "packets are not emulated there"
    );
}

#[test]
fn directions_of_nobody_or_without_conditions_are_refused() {
    let one = |text: &str| asymmetric(&format!("[[link.direction]]\n{text}\n"), &[]).unwrap_err();
    let cases: [(&str, &[&str]); 4] = [
        (
            "from = \"region:eux\"\nto = \"vall\"\nrate = \"1Mbit\"",
            &[
                "error[T051]: no node is in region `eux`",
                "did you mean `eu`?",
                "error[T011]: there is no group or node `vall`",
                "did you mean `val`?",
            ],
        ),
        (
            "from = \"val-0\"\nto = \"val-0\"\nrate = \"0bit\"",
            &["a rate of 0 passes nothing", "`val-0` sends nothing to itself"],
        ),
        (
            "from = \"val-0\"\nto = \"val-1\"",
            &[
                "a direction that changes nothing",
                "give it `delay`, `jitter`, `loss` or `rate`",
            ],
        ),
        (
            "from = \"val-0\"\ndelay = \"1ms\"\nlate = \"1ms\"",
            &["error[T004]", "`to`", "error[T002]", "`late`"],
        ),
    ];
    for (text, expected) in cases {
        let refused = one(text);
        assert!(expected.iter().all(|part| refused.contains(part)), "{refused}");
        assert!(refused.contains("--> s.toml:2"), "it says where: {refused}");
    }
    let many = "[[link.direction]]\nfrom = \"val-0\"\nto = \"val-1\"\ndelay = \"1ms\"\n".repeat(65);
    let refused = asymmetric(&many, &[]).unwrap_err();
    assert!(
        refused.contains("65 directions") && refused.contains("help: name groups"),
        "{refused}"
    );
}
