//! Namespaces and their switch for real. Without the rights they are skipped and say so, but never where CI is set.

use super::{namespace::make, switch::unplug, *};
use crate::testing::{block_on, plan};
use regatta_link::{Change, Links, Partition, Rate, Wanted};
use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

/// How long a packet is waited for that must arrive.
const LONG: Duration = Duration::from_secs(20);

/// Whether namespaces can be made here.
fn allowed() -> bool {
    match probe() {
        Ok(()) => true,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "CI must be able to: {error}");
            eprintln!("SKIPPED: {error}");
            false
        }
    }
}

fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 60, 0, node + 1)
}

/// A socket in a namespace. The thread that opens it is gone afterwards.
fn socket(place: &Place, node: u8) -> UdpSocket {
    let open = || {
        place.enter().unwrap();
        let socket = UdpSocket::bind((address(node), 9000)).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket
    };
    thread::scope(|scope| scope.spawn(open).join().unwrap())
}

fn to(node: u8) -> SocketAddr {
    (address(node), 9000).into()
}

/// A switch between the namespaces of `model` with a socket in each.
fn network(model: Model) -> (Switch, Vec<UdpSocket>) {
    let count = model.nodes() as u8;
    // The last one is the lab's.
    let addresses: Vec<Ipv4Addr> = (0..=count).map(address).collect();
    let large = !model.acts_on_packets();
    let namespaces = make(&addresses, 16, large).unwrap();
    let (devices, places) = unplug(&addresses, namespaces);
    let switch = Switch::start(switch::Wiring {
        namespaces: devices,
        fabric: switch::fabric(model, 1),
        large,
    });
    let sockets = places
        .iter()
        .zip(0..)
        .map(|(place, node)| socket(place, node))
        .collect();
    (switch.unwrap(), sockets)
}

/// Sends one datagram and waits for it; how long that took.
fn one_way(sockets: &[UdpSocket], from: u8, target: u8) -> Duration {
    let sent = Instant::now();
    sockets[usize::from(from)].send_to(b"ping", to(target)).unwrap();
    let (length, sender) = sockets[usize::from(target)].recv_from(&mut [0; 16]).unwrap();
    assert_eq!((length, sender), (4, to(from)));
    sent.elapsed()
}

#[test]
fn packets_pass_between_namespaces_with_the_delay_of_their_direction() {
    if !allowed() {
        return;
    }
    let model = Model {
        regions: vec![0, 1],
        delay_ns: vec![vec![0, 30_000_000], vec![80_000_000, 0]],
        ..Model::plain(2)
    };
    let (switch, sockets) = network(model);
    // A packet is never early; how late it may be depends on the machine, and the switch itself says it.
    assert!(one_way(&sockets, 0, 1) >= Duration::from_millis(30));
    assert!(one_way(&sockets, 1, 0) >= Duration::from_millis(80));
    // Nothing delays the lab's own packets: the answer to a first one overtakes a packet between nodes.
    sockets[1].send_to(b"slow", to(0)).unwrap();
    sockets[2].send_to(b"fast", to(0)).unwrap();
    let mut first = [0; 4];
    sockets[0].recv_from(&mut first).unwrap();
    assert_eq!(&first, b"fast");
    let tally = block_on(switch.tally()).unwrap();
    assert_eq!((tally.packets, tally.lab_packets, tally.refused), (2, 1, 0));
    assert_eq!(tally.late_us.len(), 2);
    assert!(tally.cpu_ns > 0);
}

#[test]
fn a_partition_loses_packets_until_it_is_healed() {
    if !allowed() {
        return;
    }
    let (switch, sockets) = network(Model::plain(3));
    switch.part(7, Partition::new(3, &[vec![0], vec![1]], true));
    sockets[0].send_to(b"lost", to(1)).unwrap();
    // Orders and packets take the same queue of one thread: what follows shows that the first is decided.
    one_way(&sockets, 1, 0);
    one_way(&sockets, 2, 1);
    one_way(&sockets, 0, 2);
    let tally = block_on(switch.tally()).unwrap();
    assert_eq!(tally.lost.get(&regatta_link::Loss::Cut), Some(&1));
    switch.heal(7);
    assert!(block_on(switch.tally()).is_some(), "the order is carried out");
    one_way(&sockets, 0, 1);
}

#[test]
fn changed_links_are_slow_until_they_are_healed() {
    if !allowed() {
        return;
    }
    let (switch, sockets) = network(Model::plain(3));
    let change = Change {
        links: Links::Between(Partition::new(3, &[vec![0], vec![1]], true)),
        delay_ns: 150_000_000,
        jitter_ppm: None,
        loss_ppm: None,
        rate_bits: None,
    };
    switch.change(7, change);
    assert!(block_on(switch.tally()).is_some(), "the order is carried out");
    assert!(one_way(&sockets, 0, 1) >= Duration::from_millis(150));
    // The other direction is as it was: its packet overtakes one that left before it.
    sockets[0].send_to(b"slow", to(1)).unwrap();
    one_way(&sockets, 1, 2);
    sockets[2].send_to(b"fast", to(1)).unwrap();
    let mut first = [0; 4];
    sockets[1].recv_from(&mut first).unwrap();
    assert_eq!(&first, b"fast");
    switch.heal(7);
    let lost = Change {
        links: Links::Of([0].into()),
        delay_ns: 0,
        jitter_ppm: None,
        loss_ppm: Some(regatta_link::MILLION),
        rate_bits: None,
    };
    switch.change(8, lost);
    assert!(block_on(switch.tally()).is_some(), "the order is carried out");
    sockets[0].send_to(b"gone", to(2)).unwrap();
    one_way(&sockets, 1, 2);
    let tally = block_on(switch.tally()).unwrap();
    assert_eq!(tally.lost.get(&regatta_link::Loss::Chance), Some(&1));
}

#[test]
fn large_packets_and_small_ones_arrive_whole() {
    if !allowed() {
        return;
    }
    use std::io::{Read, Write};
    for loss_ppm in [0, 1] {
        let model = Model {
            loss_ppm,
            ..Model::plain(2)
        };
        let addresses: Vec<Ipv4Addr> = (0..3).map(address).collect();
        let large = !model.acts_on_packets();
        let (devices, places) = unplug(&addresses, make(&addresses, 16, large).unwrap());
        let switch = Switch::start(switch::Wiring {
            namespaces: devices,
            fabric: switch::fabric(model, 1),
            large,
        })
        .unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let received = thread::scope(|scope| {
            let (ready, listening) = std::sync::mpsc::channel();
            let receiver = scope.spawn({
                let places = &places;
                move || {
                    places[1].enter().unwrap();
                    let listener = std::net::TcpListener::bind((address(1), 9000)).unwrap();
                    ready.send(()).unwrap();
                    let mut all = Vec::new();
                    listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
                    all
                }
            });
            listening.recv().unwrap();
            let sender = scope.spawn(|| {
                places[0].enter().unwrap();
                let mut stream = std::net::TcpStream::connect((address(1), 9000)).unwrap();
                stream.write_all(&bytes).unwrap();
            });
            sender.join().unwrap();
            receiver.join().unwrap()
        });
        assert!(received == bytes, "a megabyte arrives as it was sent");
        let tally = block_on(switch.tally()).unwrap();
        // 1,448 bytes of each small packet are payload.
        assert_eq!(large, tally.packets < 600, "{} packets", tally.packets);
    }
}

#[test]
fn strangers_reach_nobody() {
    if !allowed() {
        return;
    }
    let (switch, sockets) = network(Model::plain(2));
    sockets[0]
        .send_to(b"away", (Ipv4Addr::new(10, 60, 7, 7), 9000))
        .unwrap();
    one_way(&sockets, 0, 1);
    assert_eq!(block_on(switch.tally()).unwrap().strays, 1);
}

fn shell(folder: &Path, script: &str) -> ProcessSpec {
    ProcessSpec {
        name: "sh".to_owned(),
        program: "/bin/sh".into(),
        held: None,
        folder: None,
        arguments: vec!["-c".into(), script.into()],
        log: folder.join("sh.log"),
        log_bytes_max: 1 << 20,
        foreign: None,
    }
}

/// Names of the network devices that a process started by `provider` sees.
async fn devices_of(provider: &NetnsProvider, node: u32, folder: &Path) -> Vec<String> {
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1; echo end";
    let process = provider.start(node, shell(folder, script)).await.unwrap();
    process.ended().await;
    let text = std::fs::read_to_string(folder.join("sh.log")).unwrap();
    let names = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && *line != "end");
    names.map(str::to_owned).collect()
}

#[test]
fn processes_see_their_own_namespace_and_the_host_sees_nothing() {
    if !allowed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan(2);
    plan.provider = regatta_plan::scenario::ProviderKind::Netns;
    plan.links = Some(crate::testing::links());
    let host = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names = |text: &str| {
        text.lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect()
    };
    let (before, home): (Vec<String>, u64) = (names(&host()), Place::current().unwrap().number().unwrap());
    block_on(async {
        let provider = NetnsProvider::new(&plan).unwrap();
        assert_ne!(
            Place::current().unwrap().number().unwrap(),
            home,
            "the lab lives among the nodes"
        );
        assert_eq!(devices_of(&provider, 1, folder.path()).await, ["lo", "tun0"]);
        drop(provider);
    });
    assert_eq!(Place::current().unwrap().number().unwrap(), home);
    let after: Vec<String> = names(&host());
    assert_eq!(after, before);
}

/// Two regions, 30 ms and 50 ms apart.
fn two_regions() -> (regatta_plan::Plan, PlannedLinks) {
    let mut plan = plan(2);
    plan.provider = regatta_plan::scenario::ProviderKind::Netns;
    for (node, region) in plan.nodes.iter_mut().zip(0..) {
        node.region = Some(["eu", "us"][region as usize].to_owned());
        node.address = address(region);
    }
    let links = PlannedLinks {
        regions: vec!["eu".to_owned(), "us".to_owned()],
        delay_ns: vec![vec![0, 30_000_000], vec![50_000_000, 0]],
        ..crate::testing::links()
    };
    plan.links = Some(links.clone());
    (plan, links)
}

/// The errors that measurements of what `made` describes have against `plan`, there and back.
fn errors(made: &regatta_plan::Plan, plan: &regatta_plan::Plan, light: bool) -> Vec<f64> {
    let provider = NetnsProvider::new(made).unwrap();
    let found = observe(&provider, plan, light);
    found
        .iter()
        .map(|(observed, wanted)| observed.judge(wanted).error)
        .collect()
}

/// What measurements find against what `plan` wants, there and back.
fn observe(provider: &NetnsProvider, plan: &regatta_plan::Plan, light: bool) -> Vec<(Observed, Wanted)> {
    let model = model(plan, plan.links.as_ref().unwrap());
    let probes = [(0, 1), (1, 0)].map(|(from, to)| Probe {
        from,
        to,
        wanted: Wanted::of(&model, from, to),
        light,
    });
    let observed = provider.attest(&probes).unwrap();
    observed.into_iter().zip(probes.map(|probe| probe.wanted)).collect()
}

/// Some measurements beside a load there, taken together as the lab does.
fn together(provider: &NetnsProvider, plan: &regatta_plan::Plan) -> (Observed, Wanted) {
    let found: Vec<(Observed, Wanted)> = (0..5).map(|_| observe(provider, plan, true).swap_remove(0)).collect();
    let rates: Vec<Rate> = found.iter().map(|(observed, _)| observed.rate).collect();
    let sum = |count: fn(&Observed) -> u64| found.iter().map(|(observed, _)| count(observed)).sum();
    let (first, wanted) = found[0].clone();
    let all = Observed {
        sent: sum(|observed| observed.sent),
        received: sum(|observed| observed.received),
        queued_out: sum(|observed| observed.queued_out),
        rate: Rate::middle(&rates, 3),
        ..first
    };
    (all, wanted)
}

#[test]
fn links_as_asked_for_are_found_to_be_in_place() {
    if !allowed() {
        return;
    }
    let (mut plan, mut links) = two_regions();
    links.rate_bits = Some(20_000_000);
    links.loss_ppm = 50_000;
    plan.links = Some(links);
    for light in [true, false] {
        // A machine that has other things to do may be late once; not again and again.
        let good = (0..5).any(|_| errors(&plan, &plan, light).iter().all(|error| *error < 0.25));
        assert!(good, "light {light}: {:?}", errors(&plan, &plan, light));
    }
}

/// 10 ms and 20 Mbit/s there, 40 ms and 5 Mbit/s with losses back.
fn asymmetric() -> (regatta_plan::Plan, PlannedLinks) {
    let (mut plan, links) = two_regions();
    let direction = |(from, to), delay_ms, rate, loss_ppm| PlannedDirection {
        from: vec![from],
        to: vec![to],
        delay_ns: Some(delay_ms * 1_000_000_u64),
        jitter_ppm: None,
        loss_ppm,
        rate_bits: Some(rate),
    };
    let links = PlannedLinks {
        directions: vec![
            direction((0, 1), 10, 20_000_000, None),
            direction((1, 0), 40, 5_000_000, Some(200_000)),
        ],
        ..links
    };
    plan.links = Some(links.clone());
    (plan, links)
}

/// The links with one thing of their two directions swapped.
fn swapped(links: &PlannedLinks, swap: impl Fn(&mut PlannedDirection, &mut PlannedDirection)) -> PlannedLinks {
    let mut links = links.clone();
    let (there, back) = links.directions.split_at_mut(1);
    swap(&mut there[0], &mut back[0]);
    links
}

#[test]
fn each_direction_of_a_link_is_found_as_it_was_asked_for() {
    if !allowed() {
        return;
    }
    let (plan, _) = asymmetric();
    for light in [true, false] {
        let good = (0..5).any(|_| errors(&plan, &plan, light).iter().all(|error| *error < 0.25));
        assert!(good, "light {light}: {:?}", errors(&plan, &plan, light));
    }
}

#[test]
fn swapped_directions_are_caught_in_each_of_them() {
    if !allowed() {
        return;
    }
    let (plan, links) = asymmetric();
    let planted = [
        (
            "delay",
            swapped(&links, |a, b| std::mem::swap(&mut a.delay_ns, &mut b.delay_ns)),
        ),
        (
            "loss",
            swapped(&links, |a, b| std::mem::swap(&mut a.loss_ppm, &mut b.loss_ppm)),
        ),
        (
            "rate",
            swapped(&links, |a, b| std::mem::swap(&mut a.rate_bits, &mut b.rate_bits)),
        ),
        ("all", swapped(&links, |a, b| std::mem::swap(&mut a.from, &mut b.from))),
    ];
    for (what, mut links) in planted {
        if what == "all" {
            let (there, back) = links.directions.split_at_mut(1);
            std::mem::swap(&mut there[0].to, &mut back[0].to);
        }
        let mut made = plan.clone();
        made.links = Some(links);
        let errors = errors(&made, &plan, false);
        assert!(errors.iter().all(|error| *error > 0.25), "{what}: {errors:?}");
        assert_void(errors[0], what);
    }
}

/// A run whose links were off by this much is void.
fn assert_void(error: f64, what: &str) {
    let probe = regatta_report::model::LinkProbe {
        error,
        ..Default::default()
    };
    let record = regatta_report::RunRecord {
        findings: crate::record::link_findings(&regatta_report::model::Links {
            probes: vec![probe],
            ..Default::default()
        }),
        ..Default::default()
    };
    let verdict = regatta_report::evaluate(record, false).verdict;
    assert_eq!(verdict.exit_code, 6, "{what}: {}", verdict.sentence);
}

#[test]
fn planted_links_that_are_not_those_of_the_scenario_void_the_run() {
    if !allowed() {
        return;
    }
    let (plan, links) = two_regions();
    let planted = [
        PlannedLinks {
            delay_ns: vec![vec![0, 60_000_000], vec![50_000_000, 0]],
            ..links.clone()
        },
        PlannedLinks {
            delay_ns: vec![vec![0, 30_000_000], vec![0, 0]],
            ..links.clone()
        },
        PlannedLinks {
            loss_ppm: 200_000,
            ..links
        },
    ];
    for links in planted {
        let mut made = plan.clone();
        made.links = Some(links);
        let worst = errors(&made, &plan, false).into_iter().fold(0.0, f64::max);
        assert!(worst > 0.5, "{worst} for {:?}", made.links);
        assert_void(worst, "planted links");
    }
}

#[test]
fn links_that_are_wrong_only_beside_the_load_are_caught_there() {
    if !allowed() {
        return;
    }
    let (mut plan, mut links) = two_regions();
    links.rate_bits = Some(20_000_000);
    plan.links = Some(links);
    let planted = Change {
        links: Links::Between(Partition::new(2, &[vec![0], vec![1]], true)),
        delay_ns: 0,
        jitter_ppm: None,
        loss_ppm: None,
        rate_bits: None,
    };
    let planted = [
        (
            "delay",
            Change {
                delay_ns: 20_000_000,
                ..planted.clone()
            },
        ),
        (
            "loss",
            Change {
                loss_ppm: Some(100_000),
                ..planted.clone()
            },
        ),
        (
            "rate",
            Change {
                rate_bits: Some(8_000_000),
                ..planted
            },
        ),
    ];
    for (what, change) in planted {
        let provider = NetnsProvider::new(&plan).unwrap();
        let is_right = || {
            let found = observe(&provider, &plan, false);
            found
                .iter()
                .all(|(observed, wanted)| observed.judge(wanted).error < 0.25)
        };
        assert!((0..5).any(|_| is_right()), "{what}: wrong before");
        provider.switch().change(7, change);
        let (observed, wanted) = together(&provider, &plan);
        provider.switch().heal(7);
        let error = observed.judge(&wanted).error;
        assert!(error > 0.25, "{what}: {observed:?}");
        if what == "delay" {
            assert!(observed.round_trip_ns().unwrap() >= 100_000_000, "{observed:?}");
        }
        assert_void(error, what);
        assert!((0..5).any(|_| is_right()), "{what}: wrong after");
    }
}

#[test]
fn what_nodes_send_meanwhile_is_no_error_of_the_network() {
    if !allowed() {
        return;
    }
    let (plan, _) = asymmetric();
    let provider = NetnsProvider::new(&plan).unwrap();
    // Half of what the direction carries, in the steps of a busy link: ten packets at a time.
    let stops = std::sync::atomic::AtomicBool::new(false);
    let other = socket(&provider.places[0], 0);
    let found = thread::scope(|scope| {
        scope.spawn(|| {
            while !stops.load(std::sync::atomic::Ordering::Relaxed) {
                for _ in 0..10 {
                    other.send_to(&[0; 1222], to(1)).unwrap();
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let found = (0..5).map(|_| together(&provider, &plan)).find(|(observed, wanted)| {
            let judged = observed.judge(wanted);
            judged.error < 0.25 && judged.open.is_empty()
        });
        stops.store(true, std::sync::atomic::Ordering::Relaxed);
        found
    });
    let (observed, wanted) = found.expect("a shared link is as it was asked for");
    let Rate::Between(least, most) = observed.rate else {
        panic!("{observed:?}");
    };
    assert!(
        most >= least && most > 0.9 * wanted.rate_bits.unwrap() as f64,
        "{observed:?}"
    );
}
