//! Checks and objectives as JUnit test cases, for services that show test results.

use crate::{figure::escape, result::RunResult};

/// Validity, invariants and objectives as one JUnit document.
#[must_use]
pub fn junit(result: &RunResult) -> String {
    let cases = cases(result);
    let count = |wanted: fn(&Outcome) -> bool| cases.iter().filter(|case| wanted(&case.outcome)).count();
    let failures = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Undecided(_)));
    let identity = &result.record.identity;
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" \
         skipped=\"{skipped}\" timestamp=\"{}\">\n",
        escape(&identity.run),
        cases.len(),
        escape(&identity.started_at),
    );
    for case in &cases {
        text += &format!(
            "<testcase classname=\"{}\" name=\"{}\">",
            escape(case.kind),
            escape(&case.name)
        );
        match &case.outcome {
            Outcome::Passed => {}
            Outcome::Failed(why) => text += &format!("<failure message=\"{}\"/>", escape(why)),
            Outcome::Undecided(why) => text += &format!("<skipped message=\"{}\"/>", escape(why)),
        }
        text += "</testcase>\n";
    }
    text + "</testsuite>\n</testsuites>\n"
}

enum Outcome {
    Passed,
    Failed(String),
    Undecided(String),
}

struct Case {
    kind: &'static str,
    name: String,
    outcome: Outcome,
}

/// Validity first, then correctness, then objectives.
fn cases(result: &RunResult) -> Vec<Case> {
    let record = &result.record;
    let summary = &result.summary;
    let pass = |holds: bool, why: &str| {
        if holds {
            Outcome::Passed
        } else {
            Outcome::Failed(why.to_owned())
        }
    };
    let validity = |name: &str, outcome| Case {
        kind: "validity",
        name: name.to_owned(),
        outcome,
    };
    let mut cases = vec![
        validity(
            "the run was carried out",
            pass(record.failure.is_none(), record.failure.as_deref().unwrap_or_default()),
        ),
        validity("the run is complete", pass(!record.partial, "it was interrupted")),
        validity(
            "the accounting closes",
            pass(
                summary.accounting.closes,
                &format!("off by {}", summary.accounting.difference),
            ),
        ),
        validity(
            "the generator kept its schedule",
            pass(summary.generator.valid, "too late or too little"),
        ),
    ];
    for finding in record.findings.iter().filter(|finding| finding.void) {
        cases.push(validity(&finding.code, Outcome::Failed(finding.text.clone())));
    }
    for invariant in &record.invariants {
        let outcome = pass(invariant.holds, &invariant.evidence);
        cases.push(Case {
            kind: "correctness",
            name: invariant.name.clone(),
            outcome,
        });
    }
    for objective in &record.objectives {
        let outcome = match objective.met {
            Some(met) => pass(met, &objective.told()),
            None => Outcome::Undecided(objective.told()),
        };
        cases.push(Case {
            kind: "objectives",
            name: format!("{} {}", objective.metric, objective.wanted),
            outcome,
        });
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evaluate,
        fixture::{self, SMALL, objective},
    };

    /// Names of the elements if every one is closed in order and no text holds a bare angle bracket.
    fn elements(xml: &str) -> Option<Vec<String>> {
        let (mut open, mut all) = (Vec::new(), Vec::new());
        let mut rest = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
        while let Some(start) = rest.find('<') {
            let end = start + rest[start..].find('>')?;
            let tag = &rest[start + 1..end];
            if tag.contains('<') || tag.matches('"').count() % 2 != 0 {
                return None;
            }
            let name = tag.trim_matches('/').split(' ').next()?.to_owned();
            if tag.starts_with('/') {
                (open.pop()? == name).then_some(())?;
            } else {
                all.push(name.clone());
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
            rest = &rest[end + 1..];
        }
        open.is_empty().then_some(all)
    }

    #[test]
    fn the_document_is_well_formed_whatever_the_names() {
        let mut record = fixture::record(SMALL);
        record.invariants[1].holds = false;
        record.invariants[1].evidence = "<script> & \"quotes\" ]]> \u{1} 'done'".to_owned();
        record
            .objectives
            .push(objective("latency_p99", "< 1s", "needs blocks", None));
        let xml = junit(&evaluate(record, false));
        let elements = elements(&xml).unwrap_or_else(|| panic!("{xml}"));
        let count = |name: &str| elements.iter().filter(|element| *element == name).count();
        assert_eq!(
            (count("testcase"), count("failure"), count("skipped")),
            (11, 1, 1),
            "{xml}"
        );
        assert!(
            xml.contains("failures=\"1\" skipped=\"1\"") && xml.contains("tests=\"11\""),
            "{xml}"
        );
        assert!(!xml.contains("<script") && !xml.contains('\u{1}'));
    }
}
