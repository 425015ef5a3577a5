//! Whether the lab notices that the network is not what the scenario asks for, and measures what is not the same both ways.

use super::support::{
    detour::{Detour, End, Way},
    lab::{Lab, Run},
    namespaces::allowed,
    process::Running,
    wait::until,
};
use serde_json::Value;
use std::{net::Ipv4Addr, time::Duration};

/// Packets of three measurements beside the load with their bursts, and of the answers to three of the other direction.
const MEASURED: u32 = 3 * (110 + 8 + 10);

/// One validator and a node that follows it over an access line, whose addresses are in this file.
const LINE: &str = "[provider]\nkind = \"netns\"\n\
    [phases]\nwarmup = \"1s\"\nmeasure = \"16s\"\ncooldown = \"0s\"\n[[load]]\nrate = 10\n\
    [link]\nmatrix = { self = \"2ms\" }\n\
    [[link.direction]]\nfrom = \"full\"\nto = \"val\"\ndelay = \"30ms\"\nrate = \"4Mbit\"\nloss = \"2%\"\n\
    [[link.direction]]\nfrom = \"val\"\nto = \"full\"\ndelay = \"20ms\"\nrate = \"20Mbit\"\n";

/// What the scenario asks for from the follower to the validator, and back.
const THERE: Way = Way {
    delay: Duration::from_millis(30),
    loss_percent: 2,
    rate_bits: Some(4_000_000),
};
const BACK: Way = Way {
    delay: Duration::from_millis(20),
    loss_percent: 0,
    rate_bits: Some(20_000_000),
};

fn scenario(lab: &Lab) -> String {
    let text = format!(
        "# Is a network that is wrong only beside the load noticed?\nschema = 1\nname = \"line\"\nseed = 5\n\
         [net]\nipv4 = \"{}\"\n\
         [[group]]\nname = \"val\"\ncount = 1\nrole = \"validator\"\n\
         [[group]]\nname = \"full\"\ncount = 1\nrole = \"full\"\n\
         [peering]\nattach = {{ kind = \"bipartite\", from = \"full\", to = \"val\", degree = 1 }}\n\
         [[consensus]]\nid = \"main\"\nblock_interval = \"50ms\"\n{LINE}",
        lab.subnet.text()
    );
    lab.write("line.toml", &text)
}

/// The end of a node: its process and its address, which is the one of its plan.
fn end(run: &Run, name: &str) -> End {
    let started = run.started();
    let (_, pid) = started.iter().find(|(node, _)| node == name).unwrap();
    let plan: Value = serde_json::from_str(&run.text("plan.json")).unwrap();
    let nodes = plan["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["name"] == name).unwrap();
    let address: Ipv4Addr = node["address"].as_str().unwrap().parse().unwrap();
    End { pid: *pid, address }
}

/// Leads packets past the switch in the middle of a run, for as long as it takes to be measured.
fn plant(run: &Run, lab: &Running, there: Way) {
    run.wait_for_step("measure", lab);
    let detour = Detour::between((end(run, "full-0"), there), (end(run, "val-0"), BACK));
    // The load goes on after that.
    until("three measurements past the switch", || {
        let datagrams = detour.datagrams();
        if datagrams >= MEASURED {
            Ok(())
        } else {
            Err(format!("{datagrams} datagrams\n{}", lab.stderr()))
        }
    });
}

/// The measurements of what the follower sends to the validator, at one time.
fn there(result: &Value, moment: &str) -> Vec<Value> {
    let probes = result["record"]["links"]["probes"].as_array().unwrap();
    let is_it = |probe: &&Value| probe["moment"] == moment && probe["from"] == "full-0" && probe["to"] == "val-0";
    probes.iter().filter(is_it).cloned().collect()
}

fn number(probe: &Value, key: &str) -> f64 {
    probe[key].as_f64().unwrap_or_else(|| panic!("{key} of {probe:#}"))
}

#[test]
fn a_network_that_is_wrong_only_beside_the_load_voids_the_run() {
    let lab = Lab::new();
    if !allowed(&lab) {
        return;
    }
    let scenario = scenario(&lab);
    let loss = Way {
        loss_percent: 30,
        ..THERE
    };
    let rate = Way {
        rate_bits: Some(12_000_000),
        ..THERE
    };
    let delay = Way {
        delay: Duration::from_millis(70),
        ..THERE
    };
    for (what, way) in [("loss", loss), ("rate", rate), ("delay", delay)] {
        let running = lab.start_run(&scenario);
        let run = lab.run_of(&running);
        plant(&run, &running, way);
        let ended = running.wait();
        run.assert_correct();
        let result = run.result();
        for moment in ["before", "after"] {
            let [probe] = &there(&result, moment)[..] else {
                panic!("{what}: not measured once {moment}");
            };
            // A busy machine may disturb one; what is planted is off by more than twice as much.
            assert!(number(probe, "error") < 0.5, "{what}: {probe:#}");
        }
        let during = there(&result, "during");
        let worst = |key: &str| {
            during
                .iter()
                .filter_map(|probe| probe[key].as_f64())
                .fold(0.0, f64::max)
        };
        match what {
            "loss" => {
                let together = &there(&result, "throughout")[0];
                let lost = number(together, "sent") - number(together, "received");
                assert!(lost / number(together, "sent") > 0.1, "{together:#}");
                assert!(number(together, "error") > 0.25, "{together:#}");
            }
            "rate" => assert!(worst("rate_bits") > 8_000_000.0, "{during:#?}"),
            _ => {
                assert!(worst("delay_us") >= 70_000.0, "{during:#?}");
                assert!(worst("round_trip_us") >= 90_000.0, "{during:#?}");
            }
        }
        assert_eq!(ended.code(), Some(6), "{what}: {}{}", ended.stdout, ended.stderr);
        let problems = result["verdict"]["problems"].to_string();
        assert!(
            problems.contains("links are not as the scenario asks"),
            "{what}: {problems}"
        );
        assert!(
            problems.contains("during the load") || problems.contains("throughout the load"),
            "{problems}"
        );
        run.wait_until_nobody_is_left();
    }
}

/// How far the follower is behind the validators on average while measured, in milliseconds: in blocks, at their pace.
fn lag_ms(result: &Value) -> f64 {
    let processes = result["record"]["processes"].as_array().unwrap();
    let window = &result["record"]["phases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|phase| phase["kind"] == "measure");
    let window = window.unwrap_or_else(|| panic!("not measured: {:#}", result["record"]["phases"]));
    let (start, end) = (number(window, "start_ms"), number(window, "end_ms"));
    let heights = |name: &str| -> Vec<(f64, f64)> {
        let process = processes.iter().find(|process| process["name"] == name).unwrap();
        let samples = process["samples"].as_array().unwrap().iter();
        let all = samples.map(|sample| (number(sample, "at_ms"), number(sample, "height")));
        all.filter(|(at, _)| (start..=end).contains(at)).collect()
    };
    let (ahead, behind) = (heights("val-0"), heights("full-0"));
    assert!(ahead.len() >= 4 && ahead.len() == behind.len(), "{ahead:?} {behind:?}");
    let blocks = ahead
        .iter()
        .zip(&behind)
        .map(|((_, ahead), (_, behind))| ahead - behind);
    let blocks = blocks.sum::<f64>() / ahead.len() as f64;
    let (first, last) = (ahead[0], ahead[ahead.len() - 1]);
    blocks * (last.0 - first.0) / (last.1 - first.1)
}

/// A follower whose links take so long up to the validators and down from them: how far it is behind them, which only the
/// way down decides, and how long its clients wait for a transaction, which takes both. In milliseconds.
fn follower(provider: &str, (up_ms, down_ms): (u32, u32)) -> (f64, f64) {
    let lab = Lab::new();
    let links = format!(
        "round_timeout = \"2s\"\n[provider]\nkind = \"{provider}\"\n\
         [phases]\nwarmup = \"1s\"\nmeasure = \"6s\"\ncooldown = \"0s\"\n[[load]]\nrate = 30\ntarget = \"full\"\n\
         [link]\nmatrix = {{ self = \"1ms\" }}\n\
         [[link.direction]]\nfrom = \"full\"\nto = \"val\"\ndelay = \"{up_ms}ms\"\n\
         [[link.direction]]\nfrom = \"val\"\nto = \"full\"\ndelay = \"{down_ms}ms\"\n"
    );
    let scenario = lab.scenario(&links);
    let running = lab.start_run(&scenario);
    let run = lab.run_of(&running);
    running.wait();
    run.assert_correct();
    let result = run.result();
    let response = &result["summary"]["response"][0];
    assert_eq!(number(response, "q"), 0.5);
    (lag_ms(&result), number(&response["value"], "value") / 1e3)
}

/// Runs it both ways round: the sum is the same, and the way down is not.
fn directions_are_measured_as_asked(provider: &str) {
    let (lag, response) = follower(provider, (20, 400));
    assert!(
        (300.0..700.0).contains(&lag),
        "{provider}: {lag} ms behind, 400 ms down"
    );
    assert!(response >= 420.0, "{provider}: {response} ms there and back");
    let (lag, response) = follower(provider, (400, 20));
    assert!((0.0..250.0).contains(&lag), "{provider}: {lag} ms behind, 20 ms down");
    // What is not the way down is the way up.
    assert!(
        response - lag >= 250.0 && response >= 420.0,
        "{provider}: {response} ms, {lag} ms behind"
    );
}

#[test]
fn directions_between_simulated_nodes_are_measured_as_asked() {
    directions_are_measured_as_asked("sim");
}

#[test]
fn directions_between_nodes_on_loopback_are_measured_as_asked() {
    directions_are_measured_as_asked("local");
}
