//! Checks the folder of a finished run: what it claims follows from what it recorded.

use serde_json::Value;
use std::path::PathBuf;

/// Names the folder of the run.
const RUN: &str = "REGATTA_RUN";
/// Checks that every run makes.
const INVARIANTS_MIN: usize = 5;

/// Sum of the ends that the accounting identity knows.
fn ends(accounting: &Value) -> u64 {
    let rejected = accounting["rejected"].as_array().into_iter().flatten();
    let rejected: u64 = rejected.filter_map(|row| row["count"].as_u64()).sum();
    let ends = ["not_sent", "timed_out", "unknown", "finalised_ok", "finalised_failed"];
    rejected + ends.iter().filter_map(|end| accounting[end].as_u64()).sum::<u64>()
}

/// Everything that is wrong with a result; `measured` says whether its figures have to be valid too.
fn faults(result: &Value, measured: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let (record, verdict) = (&result["record"], &result["verdict"]);
    check(record["partial"] == false, "the run is partial".to_owned());
    check(record["failure"].is_null(), format!("failure: {}", record["failure"]));
    let expected: &[&str] = if measured {
        &["valid"]
    } else {
        &["valid", "invalid", "inconclusive"]
    };
    let status = verdict["status"].as_str().unwrap_or_default();
    check(expected.contains(&status), format!("verdict: {}", verdict["sentence"]));
    let invariants = record["invariants"].as_array().map_or(&[][..], Vec::as_slice);
    check(
        invariants.len() >= INVARIANTS_MIN,
        format!("{} invariants were checked", invariants.len()),
    );
    for invariant in invariants {
        check(invariant["holds"] == true, format!("invariant: {invariant}"));
    }
    let accounting = &record["accounting"];
    let intended = accounting["intended"].as_u64().unwrap_or_default();
    check(intended > 0, "no transaction was intended".to_owned());
    check(
        intended == ends(accounting),
        format!("the books do not close: {accounting}"),
    );
    check(
        accounting["finalised_ok"].as_u64() > Some(intended / 2),
        format!("most are lost: {accounting}"),
    );
    let nodes = result["summary"]["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    check(!nodes.is_empty(), "no nodes".to_owned());
    for node in nodes {
        check(
            node["height"].as_u64() > Some(0),
            format!("node without blocks: {}", node["name"]),
        );
        check(
            node["rss_max_bytes"].as_u64() > Some(0),
            format!("node without samples: {}", node["name"]),
        );
    }
    faults
}

#[test]
#[ignore = "needs a finished run, named by REGATTA_RUN; tests/all makes one"]
fn the_run_is_what_it_claims_to_be() {
    let folder = PathBuf::from(std::env::var(RUN).unwrap_or_else(|_| panic!("{RUN} names no folder")));
    let text = std::fs::read_to_string(folder.join("result.json")).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    // The figures of a machine that is busy with something else are void; the rest is not.
    let measured = result["verdict"]["exit_code"] == 0;
    assert_eq!(faults(&result, measured), [""; 0]);
    println!("{}", result["verdict"]["sentence"].as_str().unwrap());
    for file in [
        "report.html",
        "report.md",
        "plan.json",
        "journal.ndjson",
        "scenario.toml",
    ] {
        let length = std::fs::metadata(folder.join(file)).map_or(0, |metadata| metadata.len());
        assert!(length > 0, "{file} is missing or empty");
    }
}

/// A result in which nothing is wrong.
#[cfg(test)]
fn sound() -> Value {
    let invariant = serde_json::json!({ "name": "agreement", "holds": true });
    serde_json::json!({
        "verdict": { "status": "valid", "sentence": "VALID" },
        "summary": { "nodes": [{ "name": "val-0", "height": 3, "rss_max_bytes": 9 }] },
        "record": {
            "partial": false, "failure": null, "invariants": vec![invariant; INVARIANTS_MIN],
            "accounting": {
                "intended": 10, "not_sent": 1, "rejected": [{ "reason": "mempool_full", "count": 1 }],
                "timed_out": 0, "unknown": 1, "finalised_ok": 6, "finalised_failed": 1
            }
        }
    })
}

#[test]
fn every_fault_of_a_result_is_found() {
    assert_eq!(faults(&sound(), true), [""; 0]);
    let broken = [
        ("/record/partial", Value::from(true)),
        ("/record/failure", Value::from("a node ended")),
        ("/record/invariants/2/holds", Value::from(false)),
        ("/record/invariants", Value::from(Vec::<Value>::new())),
        ("/record/accounting/intended", Value::from(11)),
        ("/record/accounting/rejected/0/count", Value::from(2)),
        ("/verdict/status", Value::from("incorrect")),
        ("/summary/nodes/0/height", Value::from(0)),
        ("/summary/nodes/0/rss_max_bytes", Value::from(0)),
        ("/summary/nodes", Value::from(Vec::<Value>::new())),
    ];
    for (place, value) in broken {
        let mut result = sound();
        *result.pointer_mut(place).unwrap() = value;
        assert_eq!(faults(&result, true).len(), 1, "{place}");
    }
    let mut void = sound();
    void["verdict"]["status"] = Value::from("invalid");
    assert_eq!((faults(&void, true).len(), faults(&void, false).len()), (1, 0));
}
