//! The reference pages say what the code does.
//!
//! `REGATTA_WRITE_REFERENCE=1 cargo test -p regatta-node reference` writes the generated ones anew.

use super::super::{openapi, routes};
use regatta_api::{
    Reject,
    metrics::{Metric, MetricKind},
};
use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf};

pub(crate) fn page(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference")).join(name)
}

/// Compares a generated page with the one in the repository, or writes it when told so.
pub(crate) fn check_generated(name: &str, text: &str) {
    let path = page(name);
    if std::env::var_os("REGATTA_WRITE_REFERENCE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/reference/{name} is out of date; help: REGATTA_WRITE_REFERENCE=1 cargo test -p regatta-node reference"
    );
}

#[test]
fn the_openapi_document_is_the_one_in_the_repository() {
    check_generated("openapi.json", openapi::document());
}

#[test]
fn every_route_is_documented_and_nothing_else_is() {
    let document: serde_json::Value = serde_json::from_str(openapi::document()).unwrap();
    let documented: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut served: BTreeSet<&str> = routes().into_iter().map(|(path, _)| path).collect();
    // An alias for scrapers, and the document itself.
    assert!(served.remove("/metrics") && served.remove("/openapi.json"));
    assert_eq!(documented, served);
}

#[test]
fn every_operation_says_how_it_refuses_and_offers_both_encodings() {
    let document: serde_json::Value = serde_json::from_str(openapi::document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let refusal = &operation["responses"]["default"]["content"];
            for media_type in ["application/json", "application/msgpack"] {
                let schema = &refusal[media_type]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/ApiError", "{method} {path}");
            }
            let content = &operation["responses"]["200"]["content"];
            let json = content.get("application/json").is_some();
            assert_eq!(json, content.get("application/msgpack").is_some(), "{method} {path}");
        }
    }
    let body = &document["paths"]["/v1/transactions"]["post"]["requestBody"]["content"];
    assert!(body.get("application/msgpack").is_some(), "{body}");
}

#[test]
fn every_schema_that_is_referred_to_is_there() {
    let document: serde_json::Value = serde_json::from_str(openapi::document()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in openapi::document().split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[test]
fn the_page_of_the_control_interface_names_every_route_and_reason() {
    let text = fs::read_to_string(page("control-interface.md")).unwrap();
    for (path, _) in routes() {
        assert!(
            text.contains(&format!("`{path}")) || text.contains(&format!(" {path}")),
            "{path} is missing"
        );
    }
    for reject in Reject::ALL {
        assert!(text.contains(&format!("`{reject}`")), "{reject} is missing");
    }
    let reasons = text.split("| reason |").nth(1).unwrap().lines().skip(2);
    let rows = reasons.take_while(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Reject::ALL.len(), "the table of reasons has other rows");
}

#[test]
fn the_page_of_metrics_is_made_from_the_table() {
    let mut text =
        "# Metrics of a node\n\n`GET /metrics` answers in the text format of Prometheus. Counters start at 0 \
                    with each process.\n\n| name | kind | meaning |\n|---|---|---|\n"
            .to_owned();
    for metric in Metric::ALL {
        let row = metric.row();
        let kind = match row.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        writeln!(text, "| `{}` | {kind} | {} |", row.name, row.help).unwrap();
    }
    check_generated("metrics.md", &text);
}
