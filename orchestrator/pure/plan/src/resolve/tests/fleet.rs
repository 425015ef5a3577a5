//! Fleets: hosts that cannot be used, nodes that find no place, and placement that keeps its promises.

use super::host;
use crate::{Diagnostics, Place, Plan, Resolved, Source, hosts, resolve, scenario::ProviderKind};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

const NODES: &str = r#"
[[group]]
name = "val"
count = 4
role = "validator"
regions = { eu = 1, us = 1 }
[[group]]
name = "full"
count = 4
role = "full"
[peering]
mesh = { kind = "full_mesh", of = "all" }
[[consensus]]
id = "main"
"#;

/// A public key that differs by `seed`, as OpenSSH writes it.
fn host_key(seed: u8) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    bytes.extend([seed; 32]);
    let digit = |bits: u32, place: u32| char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]);
    let text: String = bytes
        .chunks_exact(3)
        .map(|three| u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]))
        .flat_map(|bits| (0..4).map(move |place| digit(bits, place)))
        .collect();
    format!("ssh-ed25519 {text}")
}

/// A host with a key of its own and these other keys.
fn host_line(number: u8, more: &str) -> String {
    format!(
        "[[provider.host]]\naddr = \"192.0.2.{number}\"\nhost_key = \"{}\"\n{more}\n",
        host_key(number)
    )
}

pub(super) fn fleet(hosts: &[&str], more: &str) -> String {
    let hosts: Vec<String> = hosts
        .iter()
        .zip(1..)
        .map(|(keys, number)| host_line(number, keys))
        .collect();
    format!("[provider]\nkind = \"ssh\"\n{more}\n{}{NODES}", hosts.concat())
}

fn outcome(text: &str) -> Result<Resolved, Diagnostics> {
    resolve(&Source::read("s.toml", text, &[]), &host())
}

#[track_caller]
pub(super) fn plan(text: &str) -> Plan {
    let Resolved { plan, warnings } = outcome(text).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings}");
    plan
}

fn problems(text: &str) -> String {
    match outcome(text) {
        Ok(resolved) => resolved.warnings.to_string(),
        Err(problems) => problems.to_string(),
    }
}

/// Problems of a fleet of one large host with these keys of its own.
fn problems_of(keys: &str) -> String {
    problems(&format!(
        "[provider]\nkind = \"ssh\"\n[[provider.host]]\n{keys}\n{NODES}"
    ))
}

#[test]
fn nodes_have_addresses_of_hosts_and_ports_of_slots() {
    let plan = plan(&fleet(
        &["region = \"eu\"\nslots = 4", "region = \"us\"\nslots = 4"],
        "",
    ));
    assert_eq!((plan.provider, plan.hosts.len()), (ProviderKind::Ssh, 2));
    for node in &plan.nodes {
        let host = &plan.hosts[node.host.unwrap() as usize];
        assert_eq!(node.address, host.ip);
        assert!(node.region.is_none() || node.region == host.region, "{node:?}");
    }
    let ports: BTreeSet<(Ipv4Addr, u16, u16)> = plan
        .nodes
        .iter()
        .map(|node| (node.address, node.p2p_port, node.http_port))
        .collect();
    let expected = (1..=2)
        .flat_map(|host| (0..4).map(move |slot| (Ipv4Addr::new(192, 0, 2, host), 7000 + 2 * slot, 7001 + 2 * slot)));
    assert_eq!(ports, expected.collect());
    assert_eq!(plan.targets["main"], "x86_64-unknown-linux-musl");
    assert_eq!(plan.hosts_used(), [0, 1]);
}

#[test]
fn a_plan_of_a_fleet_reads_back_as_itself() {
    let text = fleet(
        &[
            "slots = 4\nname = \"a\"\nuser = \"root\"\nkey = \"~/.ssh/id\"",
            "slots = 4\njump = \"a\"",
            "spare = true\nslots = 8",
        ],
        "",
    );
    let plan = plan(&text);
    let json = serde_json::to_string(&plan).unwrap();
    let read: Plan = serde_json::from_str(&json).unwrap();
    assert_eq!((read.digest(), &read), (plan.digest(), &plan));
    insta::assert_snapshot!(plan.render());
}

#[test]
fn hosts_that_cannot_be_used() {
    let key = format!("host_key = \"{}\"\nslots = 8", host_key(1));
    let with = |keys: &str| problems_of(&format!("{keys}\n{key}"));
    let all = [
        with("addr = \"::1\""),
        with("addr = \"root@192.0.2.1\""),
        with("addr = \"-oProxyCommand=sh\""),
        with("addr = \"192.0.2\""),
        with("addr = \"node.example.org\""),
        with("addr = \"0.0.0.0\""),
        with("addr = \"192.0.2.1\"\nport = 0"),
        with("addr = \"192.0.2.1\"\nuser = \"-l x\""),
        with("addr = \"192.0.2.1\"\nname = \"A\""),
        with("addr = \"192.0.2.1\"\ndir = \"../x\""),
        with("addr = \"192.0.2.1\"\nkey = \"\""),
        with("addr = \"192.0.2.1\"\nkey = \"-----BEGIN OPENSSH PRIVATE KEY-----\\nSECRET\""),
        with("addr = \"192.0.2.1\"\njump = \"there\""),
        with("addr = \"192.0.2.1\"\nmemory = \"32MiB\""),
        with("addr = \"192.0.2.1\"\nhost_kye = \"x\""),
        problems_of("addr = \"192.0.2.1\"\nslots = 8"),
        problems_of("addr = \"192.0.2.1\"\nslots = 8\nhost_key = \"SHA256:abc\""),
        problems_of("addr = \"192.0.2.1\"\nslots = 9999\nhost_key = \"ssh-ed25519 AAAA\""),
        problems(&format!("[provider]\nkind = \"ssh\"\n{NODES}")),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn hosts_that_are_one_and_chains_without_end() {
    let same = format!(
        "{}{}",
        host_line(1, "slots = 4"),
        host_line(1, "slots = 4\nname = \"other\"")
    );
    let shared = format!(
        "{}{}",
        host_line(1, "slots = 4"),
        host_line(2, "slots = 4\nip = \"192.0.2.1\"")
    );
    let named = format!(
        "{}{}",
        host_line(1, "slots = 4\nname = \"a\""),
        host_line(2, "slots = 4\nname = \"a\"")
    );
    let circle = format!(
        "{}{}{}",
        host_line(1, "slots = 4\nname = \"a\"\njump = \"b\""),
        host_line(2, "slots = 4\nname = \"b\"\njump = \"a\""),
        host_line(3, "slots = 4\njump = \"a\"")
    );
    let all =
        [same, shared, named, circle].map(|hosts| problems(&format!("[provider]\nkind = \"ssh\"\n{hosts}{NODES}")));
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn nodes_that_find_no_place() {
    let all = [
        problems(&fleet(&["slots = 4", "slots = 3", "slots = 8\nspare = true"], "")),
        problems(&fleet(&["slots = 8\nregion = \"eu\""], "")),
        problems(&fleet(
            &["slots = 1\nregion = \"eu\"", "slots = 7\nregion = \"us\""],
            "",
        )),
        problems(&fleet(
            &[
                "slots = 1\nregion = \"eu\"",
                "slots = 1\nregion = \"us\"",
                "slots = 1",
                "slots = 9\nregion = \"ap\"",
            ],
            "",
        )),
        problems(&fleet(
            &["slots = 8", "slots = 8\nregion = \"ap\"", "slots = 8\nregion = \"af\""],
            "",
        )),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn what_does_not_go_with_a_fleet() {
    let one = ["slots = 8"];
    let with = |more: &str| problems(&(fleet(&one, "") + more));
    let all = [
        with("[net]\nipv4 = \"10.0.0.0/16\"\n"),
        with("[net]\nhttp_port = 7002\n"),
        with("[net]\np2p_port = 65530\n"),
        with("[link]\nreorder = \"5%\"\n"),
        with("[build.main]\nsource = \".\"\ntarget = \"-musl\"\n"),
        problems(&fleet(&one, "tolerate = \"100%\"")),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
    assert_eq!(with("[link]\njitter = \"5%\"\n"), "");
    let plan = plan(&(fleet(&one, "") + "[link]\nmatrix = { \"eu-us\" = \"40ms\" }\n"));
    let (eu, us) = (0, 1);
    assert_eq!(plan.conditions(eu, us).unwrap().delay_ns, 40_000_000);
}

#[test]
fn other_providers_say_that_they_have_no_use_for_hosts() {
    let text = fleet(&["slots = 8"], "tolerate = \"5%\"\ninventory = \"more.toml\"").replace("\"ssh\"", "\"local\"");
    let source = Source::read("s.toml", &text, &[]);
    assert!(source.files().is_empty());
    insta::assert_snapshot!(problems(&text));
}

#[test]
fn inventories_are_read_as_if_they_stood_in_the_scenario() {
    let file = host_line(2, "slots = 4").replace("provider.host", "host");
    let json = format!(
        "[{{\"addr\": \"192.0.2.3\", \"slots\": 4, \"user\": null, \"host_key\": \"{}\"}}]",
        host_key(3)
    );
    let text = fleet(
        &["slots = 1"],
        "inventory = \"hosts.toml\"\ninventory_command = [\"cloud\", \"list\"]",
    );
    let mut source = Source::read("s.toml", &text, &["provider.host.1.slots=3".to_owned()]);
    assert_eq!(source.files(), BTreeSet::from(["hosts.toml".to_owned()]));
    assert_eq!(
        source.inventory_command(),
        Some(["cloud".to_owned(), "list".to_owned()].as_slice())
    );
    source.include("hosts.toml", &file);
    source.include_command(&json);
    assert_eq!((source.files().len(), source.inventory_command()), (0, None));
    let plan = resolve(&source, &host())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .plan;
    let slots: Vec<(&str, u32)> = plan.hosts.iter().map(|host| (host.addr.as_str(), host.slots)).collect();
    assert_eq!(slots, [("192.0.2.1", 1), ("192.0.2.2", 3), ("192.0.2.3", 4)]);
}

#[test]
fn what_is_wrong_with_an_inventory_is_shown_in_it() {
    let with = |inventory: &str| {
        let mut source = Source::read("s.toml", &fleet(&[], "inventory = \"hosts.toml\""), &[]);
        source.include("hosts.toml", inventory);
        resolve(&source, &host()).unwrap_err()
    };
    let sound = host_line(1, "slots = 8").replace("provider.host", "host");
    let misspelt = with(&sound.replace("slots", "slot"));
    assert!(
        matches!(&misspelt.0[0].place, Place::File { file, line: 4, column: 1, .. } if file == "hosts.toml"),
        "{misspelt}"
    );
    let all = [
        misspelt.to_string(),
        with(&format!("{sound}{sound}")).to_string(),
        with("[[host]\n").to_string(),
        with("x = 3\n").to_string(),
        with("{\"host\": 3}").to_string(),
        with("[{]").to_string(),
        with("[]").to_string(),
        with("[{\"addr\": \"192.0.2.1\", \"slots\": 8}]").to_string(),
        with("").to_string(),
        with(&"#".repeat(crate::source::SCENARIO_BYTES_MAX + 1)).to_string(),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn an_inventory_that_nobody_read_is_no_empty_one() {
    insta::assert_snapshot!(problems(&fleet(&[], "inventory_command = [\"cloud\"]")));
}

#[test]
fn hosts_that_do_nothing_are_pointed_out() {
    let jumped = [
        "slots = 4\njump = \"gate\"",
        "slots = 4",
        "slots = 0\nname = \"gate\"",
        "slots = 1\nspare = true",
    ];
    plan(&fleet(&jumped, ""));
    let text = problems(&fleet(&["slots = 1"; 9], ""));
    assert!(
        text.contains("T048") && text.contains("gets no node") && text.contains("spare = true"),
        "{text}"
    );
}

#[test]
fn hosts_can_be_looked_at_before_their_keys_are_pinned() {
    let text = format!("[provider]\nkind = \"ssh\"\n[[provider.host]]\naddr = \"192.0.2.1\"\nport = 2222\n{NODES}");
    let found = hosts(&Source::read("s.toml", &text, &[])).unwrap();
    assert_eq!((found.len(), found[0].port, &found[0].host_key), (1, 2222, &None));
    assert!(problems(&text).contains("T055"), "{}", problems(&text));
    let refused = hosts(&Source::read("s.toml", &text.replace("192", "x y"), &[])).unwrap_err();
    assert!(refused.to_string().contains("T064"), "{refused}");
}

#[test]
fn spare_hosts_take_the_nodes_of_failed_ones() {
    let keys = [
        "region = \"eu\"\nslots = 4",
        "region = \"us\"\nslots = 4",
        "slots = 4\nspare = true",
        "region = \"us\"\nslots = 4\nspare = true",
        "region = \"us\"\nslots = 3\nspare = true",
    ];
    let plan = plan(&fleet(&keys, ""));
    assert!((2..5).all(|spare| plan.nodes_on(spare).next().is_none()));
    let replaced = plan.replace_hosts(&[1, 1]);
    assert_eq!((replaced.moved, replaced.lost), (vec![(1, 3)], vec![]));
    let ports = |plan: &Plan| -> Vec<u16> { plan.nodes.iter().map(|node| node.p2p_port).collect() };
    assert_eq!(ports(&replaced.plan), ports(&plan));
    assert!(
        replaced
            .plan
            .nodes_on(3)
            .all(|node| node.address == Ipv4Addr::new(192, 0, 2, 4))
    );
    assert_eq!(replaced.plan.nodes_on(1).count(), 0);
    assert_ne!(replaced.plan.digest(), plan.digest());
    let both = plan.replace_hosts(&[0, 1, 3]);
    assert_eq!((both.moved, both.lost), (vec![(0, 2)], vec![1]));
    assert_eq!(plan.replace_hosts(&[2]).plan, plan);
}

#[test]
fn tolerated_hosts_are_counted_of_those_with_nodes() {
    let keys = ["slots = 1"; 8];
    let tolerated = |share: &str| plan(&fleet(&keys, &format!("tolerate = \"{share}\""))).hosts_lost_max;
    assert_eq!([tolerated("0%"), tolerated("12%"), tolerated("12.5%")], [0, 0, 1]);
    assert!(problems(&fleet(&keys, "tolerate = \"25%\"")).contains("T023"));
    let counted = |count: u32| plan(&fleet(&keys, &format!("tolerate = {count}"))).hosts_lost_max;
    assert_eq!([counted(0), counted(1)], [0, 1]);
    for more in ["2", "9", "4294967295"] {
        assert!(
            problems(&fleet(&keys, &format!("tolerate = {more}"))).contains("T023"),
            "{more}"
        );
    }
    let wrong = problems(&fleet(&keys, "tolerate = \"many\""));
    assert!(
        wrong.contains("`many` is not a share such as \"5%\", or a whole number such as 2"),
        "{wrong}"
    );
}

#[test]
fn programs_go_directly_or_by_a_tree_of_hosts() {
    let fan_out = |more: &str| plan(&fleet(&["slots = 8"], more)).fan_out;
    assert_eq!([fan_out(""), fan_out("distribute = \"direct\"")], [0, 0]);
    let tree = "distribute = \"tree\"";
    assert_eq!([fan_out(tree), fan_out(&format!("{tree}\nfan_out = 16"))], [4, 16]);
    let said = |more: &str| problems(&fleet(&["slots = 8"], more));
    for fan_out in ["0", "17"] {
        let text = said(&format!("{tree}\nfan_out = {fan_out}"));
        assert!(text.contains("T062") && text.contains("1 to 16"), "{text}");
    }
    assert!(said("fan_out = 2").contains("T048"));
}

#[test]
fn budgets_limit_hosts_and_bytes() {
    let keys = [
        "slots = 4",
        "slots = 4\njump = \"gate\"",
        "slots = 0\nname = \"gate\"",
        "slots = 4\nspare = true",
    ];
    let with = |budget: &str| fleet(&keys, "") + "[[load]]\nrate = 100\n" + budget;
    let sound = plan(&with("[budget]\nhosts = 4\ntransfer = \"200MiB\"\n"));
    assert_eq!(
        (sound.budget.hosts, sound.budget.transfer_bytes),
        (Some(4), Some(200 << 20))
    );
    insta::assert_snapshot!(sound.render_costs());
    insta::assert_snapshot!(problems(&with("[budget]\nhosts = 3\ntransfer = \"100MiB\"\n")));
    let local = with("[budget]\nhosts = 0\ntransfer = 0\n").replace("\"ssh\"", "\"local\"");
    assert_eq!(outcome(&local).unwrap().plan.estimate().transfer_bytes(), 0);
}

#[test]
fn nodes_that_nobody_looks_after_go_on_for_a_time_that_the_scenario_says() {
    let with = |unattended: &str| {
        let budget = format!("[budget]\nlease = \"1h\"\nunattended = \"{unattended}\"\n");
        fleet(&["slots = 8"], "") + &budget
    };
    assert_eq!(plan(&with("10s")).budget.unattended_ms, Some(10_000));
    assert_eq!(plan(&with("1h")).budget.unattended_ms, Some(3_600_000));
    assert_eq!(plan(&fleet(&["slots = 8"], "")).budget.unattended_ms, None);
    for bad in ["9s", "3601s"] {
        assert!(
            problems(&with(bad)).contains("is not between 10s and the lease of 1h"),
            "{bad}"
        );
    }
    let local = with("10s").replace("\"ssh\"", "\"local\"");
    assert!(problems(&local).contains("`unattended` has no effect"));
}

#[test]
fn costs_grow_with_hosts_nodes_and_load() {
    let of = |hosts: usize, rate: u32| {
        let text = fleet(&vec!["slots = 8"; hosts], "") + &format!("[[load]]\nrate = {rate}\n");
        plan(&text).estimate()
    };
    let (small, large) = (of(2, 100), of(4, 200));
    assert_eq!((small.hosts, large.hosts), (2, 4));
    assert_eq!(large.program_bytes, 2 * small.program_bytes);
    assert_eq!(large.load_bytes, 2 * small.load_bytes);
    assert!(large.about_ms > small.about_ms && large.about_ms <= large.most_ms);
    // 37 s of 100 transactions of 672 bytes, at 8 nodes and once from the client.
    assert_eq!(small.load_bytes, 3700 * 672 * 9);
}

/// A fleet of hosts with regions and slots, and groups with regions.
fn random() -> impl Strategy<Value = String> {
    let region = proptest::option::of("[abc]");
    let hosts = proptest::collection::vec((region, 0_u32..6, any::<bool>()), 1..9);
    let group = (1_u32..8, proptest::collection::btree_map("[abcd]", 1_u32..3, 0..3));
    (any::<u32>(), hosts, proptest::collection::vec(group, 1..4)).prop_map(|(seed, hosts, groups)| {
        let mut text = format!("seed = {seed}\n[provider]\nkind = \"ssh\"\n");
        for ((region, slots, spare), number) in hosts.into_iter().zip(1..) {
            let region = region.map_or(String::new(), |region| format!("region = \"{region}\"\n"));
            text += &host_line(
                number,
                &format!("{region}slots = {slots}\nspare = {}", spare && slots > 0),
            );
        }
        for (index, (count, regions)) in groups.into_iter().enumerate() {
            let regions: Vec<String> = regions
                .iter()
                .map(|(region, share)| format!("{region} = {share}"))
                .collect();
            let regions = regions.join(", ");
            text += &format!(
                "[[group]]\nname = \"g{index}\"\ncount = {count}\nrole = \"validator\"\nregions = {{ {regions} }}\n"
            );
        }
        text + "[peering]\nmesh = { kind = \"full_mesh\", of = \"all\" }\n[[consensus]]\nid = \"main\"\n"
    })
}

/// Whether nodes fit on hosts, found by trying to move one node after the other along paths of others.
fn can_be_placed(text: &str) -> bool {
    let source = Source::read("s.toml", text, &[]);
    let scenario = source.scenario().unwrap();
    let hosts: Vec<_> = scenario.provider.host.iter().filter(|host| !host.spare).collect();
    let mut slots = Vec::new();
    for host in &hosts {
        slots.extend((0..host.slots.unwrap()).map(|_| host.region.clone()));
    }
    let local = Source::read("s.toml", text, &["provider.kind=local".to_owned()]);
    let nodes = resolve(&local, &host()).unwrap().plan.nodes;
    let mut taken: Vec<Option<usize>> = vec![None; slots.len()];
    let fits = |node: usize, slot: usize| {
        let (node, slot) = (&nodes[node].region, &slots[slot]);
        node.is_none() || slot.is_none() || node == slot
    };
    fn seat(
        node: usize,
        taken: &mut Vec<Option<usize>>,
        seen: &mut Vec<bool>,
        fits: &dyn Fn(usize, usize) -> bool,
    ) -> bool {
        for slot in 0..taken.len() {
            if fits(node, slot) && !std::mem::replace(&mut seen[slot], true) {
                let free = taken[slot].is_none_or(|other| seat(other, taken, seen, fits));
                if free {
                    taken[slot] = Some(node);
                    return true;
                }
            }
        }
        false
    }
    (0..nodes.len()).all(|node| {
        let mut seen = vec![false; taken.len()];
        seat(node, &mut taken, &mut seen, &fits)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn placement_keeps_slots_regions_and_spares_and_places_whatever_can_be_placed(text in random()) {
        let outcome = outcome(&text);
        prop_assert_eq!(outcome.is_ok(), can_be_placed(&text), "{:?}", outcome.map(drop));
        let Ok(Resolved { plan, .. }) = outcome else { return Ok(()) };
        let mut used: BTreeMap<u32, u32> = BTreeMap::new();
        let mut endpoints = BTreeSet::new();
        for node in &plan.nodes {
            let host = &plan.hosts[node.host.unwrap() as usize];
            *used.entry(host.index).or_default() += 1;
            prop_assert!(!host.spare);
            prop_assert!(node.region.is_none() || host.region.is_none() || node.region == host.region);
            prop_assert!(endpoints.insert((node.address, node.p2p_port)) && endpoints.insert((node.address, node.http_port)));
        }
        for (host, count) in used {
            prop_assert!(count <= plan.hosts[host as usize].slots);
        }
        prop_assert_eq!(super::fleet::outcome(&text).unwrap().plan.digest(), plan.digest());
    }

    #[test]
    fn nodes_spread_over_equal_hosts(seed: u32, hosts in 1_usize..9) {
        let keys = vec!["slots = 8"; hosts];
        let text = format!("seed = {seed}\n{}", fleet(&keys, ""));
        let plan = outcome(&text).unwrap().plan;
        let counts: Vec<usize> = (0..hosts as u32).map(|host| plan.nodes_on(host).count()).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }

    #[test]
    fn arbitrary_inventories_never_panic(text in ".{0,200}", value in "[\\[\\]{}a-z\",:=0-9\n ]{0,80}") {
        for inventory in [&text, &value] {
            let mut source = Source::read("s.toml", &fleet(&[], "inventory = \"hosts.toml\""), &[]);
            source.include("hosts.toml", inventory);
            let _ = resolve(&source, &host());
        }
    }
}

/// Four hosts and a load that so many of them generate.
fn generated_by(generators: &str) -> String {
    let load = format!("[[load]]\nrate = 100\nsenders = 10\ntarget = \"full\"\ngenerators = {generators}\n");
    format!(
        "{}{load}",
        fleet(&["slots = 4", "slots = 4", "slots = 4", "spare = true"], "")
            .replace("regions = { eu = 1, us = 1 }\n", "")
    )
}

#[test]
fn a_load_of_several_generators_is_shared_and_nothing_of_it_is_lost() {
    let plan = plan(&generated_by("3"));
    let hosts: Vec<Option<u32>> = plan.loads.iter().map(|load| load.host).collect();
    assert_eq!(hosts, [Some(0), Some(1), Some(2)]);
    let indices: Vec<u32> = plan.loads.iter().map(|load| load.index).collect();
    assert_eq!(indices, [0, 1, 2]);
    let rates: f64 = plan
        .loads
        .iter()
        .map(|load| match load.rate {
            crate::scenario::Rate::Constant(rate) => rate,
            crate::scenario::Rate::Ramp { .. } => 0.0,
        })
        .sum();
    assert!((rates - 100.0).abs() < 1e-9, "{rates}");
    let first: BTreeSet<u32> = plan.loads.iter().map(|load| load.targets[0]).collect();
    assert_eq!(first.len(), 3, "each begins with another target");
    assert!(
        plan.loads
            .iter()
            .all(|load| load.senders == 4 && load.targets.len() == 4)
    );
}

#[test]
fn generators_that_do_not_exist_are_refused() {
    for generators in ["0", "4"] {
        let problems = problems(&generated_by(generators));
        assert!(
            problems.contains("the fleet has 3") && problems.contains("help: use 1 to 3"),
            "{problems}"
        );
    }
    let local = generated_by("2").replace("kind = \"ssh\"", "kind = \"local\"");
    assert!(
        problems(&local).contains("`generators` has no effect"),
        "{}",
        problems(&local)
    );
}
