//! Nodes that come late to a network whose old blocks are gone: they catch up by snapshots, and the lab checks them all.

use super::support::{lab::Lab, programs};
use serde_json::Value;

/// Frequent snapshots, few blocks, and small files of the journal, so that little time makes the first blocks go.
const PRUNING: &str = "[node]\nsnapshot_interval = 20\nsnapshot_lag = 25\nkeep_blocks = 20\njournal_file = \"64KiB\"\n";

fn scenario(lab: &Lab) -> String {
    lab.scenario(&format!(
        "{PRUNING}\
         [[group]]\nname = \"late\"\ncount = 2\nrole = \"full\"\njoin = \"12s\"\n\
         [peering.newcomers]\nkind = \"bipartite\"\nfrom = \"late\"\nto = \"val\"\ndegree = 2\n\
         [phases]\nwarmup = \"2s\"\nmeasure = \"16s\"\ncooldown = \"1s\"\ndrain = \"30s\"\n\
         [[load]]\nrate = 40\nmix = {{ opaque = 0.5, put = 0.5 }}\nsize = 1024\ntarget = \"full\"\n\
         [[fault]]\nat = \"13s\"\nfor = \"2s\"\nkind = \"crash\"\nnodes = [\"val-2\"]\ndisk = \"lost\"\n"
    ))
}

fn invariant<'a>(result: &'a Value, name: &str) -> &'a Value {
    let all = result["record"]["invariants"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap()
}

fn number(invariant: &Value, name: &str) -> f64 {
    let numbers = invariant["numbers"].as_array().unwrap();
    let found = numbers.iter().find(|number| number["name"] == name);
    found.unwrap()["value"].as_f64().unwrap()
}

#[test]
fn late_nodes_and_a_lost_disk_catch_up_by_snapshot_and_an_archive_tells_of_the_rest() {
    let lab = Lab::new();
    let scenario = scenario(&lab);
    let binary = programs::node().to_str().unwrap();
    let arguments = ["run", &scenario, "--set", "group.full.archive=true", "--binary", binary];
    let ended = lab.command(&arguments);
    let run = lab.latest();
    run.assert_correct();
    let result = run.result();
    let absences = result["record"]["churn"]["absences"].as_array().unwrap();
    assert_eq!(absences.len(), 2, "{}", ended.stderr);
    for absence in absences {
        let fetched = &absence["fetched"];
        assert!(fetched["snapshot_height"].as_u64().unwrap() >= 20, "{absence:#}");
        assert!(fetched["snapshot_bytes"].as_u64().unwrap() > 1000, "{absence:#}");
        assert!(
            absence["caught_up_ms"].as_u64() > absence["returned_ms"].as_u64(),
            "{absence:#}"
        );
    }
    assert_eq!(result["summary"]["churn"]["by_snapshot"], 2);
    let continuity = invariant(&result, "continuity");
    assert!(number(continuity, "ledgers that begin later") >= 3.0, "{continuity:#}");
    assert_eq!(
        number(continuity, "blocks that no node has in full"),
        0.0,
        "{continuity:#}"
    );
    let agreement = invariant(&result, "agreement");
    assert!(number(agreement, "snapshots compared") >= 4.0, "{agreement:#}");
    let markdown = run.text("report.md");
    assert!(markdown.contains("(2 of them by snapshot)"), "{markdown}");
}

#[test]
fn without_an_archive_the_checks_say_what_nobody_has_and_who_vouches_for_it() {
    let lab = Lab::new();
    let scenario = scenario(&lab);
    let ended = lab.start_run(&scenario).wait();
    let run = lab.latest();
    run.assert_correct();
    let result = run.result();
    let gone = number(invariant(&result, "continuity"), "blocks that no node has in full");
    assert!(gone >= 20.0, "{}", ended.stderr);
    let loss = invariant(&result, "no_loss");
    let attested = number(loss, "in blocks that no node has any more, by the word of validators");
    assert!(attested > 0.0, "{loss:#}");
    let words = invariant(&result, "no_duplicates")["evidence"].as_str().unwrap();
    assert!(words.contains("were not looked at"), "{words}");
}
