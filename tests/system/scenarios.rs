//! Scenarios that cannot be: refused before anything is started, every problem at once, with place and help.

use super::support::lab::Lab;

/// A scenario's text without what its network looks like.
const HEAD: &str = "# Is this refused?\nschema = 1\nname = \"refused\"\n[[consensus]]\nid = \"main\"\n";

/// Checks that a scenario is refused with each part, by `plan` and by `run`, and that nothing was made.
fn assert_refused(text: &str, parts: &[&str]) {
    let lab = Lab::new();
    let file = lab.write("refused.toml", &format!("{HEAD}{text}"));
    lab.command(&["plan", &file]).failure(2, parts);
    lab.command(&["run", &file]).failure(2, parts);
    assert!(!lab.runs().exists(), "a refused scenario left a run");
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_name() {
    let text = "[[group]]\nname = \"val\"\ncuont = 4\nrole = \"validator\"\n[phases]\nmesure = \"3s\"\n";
    assert_refused(
        text,
        &[
            "error[T002]: unknown key `cuont`",
            "refused.toml:8:1",
            "did you mean `count`?",
            "unknown key `mesure`",
            "did you mean `measure`?",
        ],
    );
}

#[test]
fn an_impossible_regular_graph_is_refused() {
    let text = "[[group]]\nname = \"val\"\ncount = 61\nrole = \"validator\"\n\
                [peering]\nmesh = { kind = \"k_regular\", of = \"val\", k = 7 }\n";
    assert_refused(
        text,
        &[
            "error[T014]",
            "7-regular over 61 nodes: 61 × 7 is odd",
            "use k = 6 or count = 62",
        ],
    );
}

#[test]
fn a_graph_in_pieces_is_refused() {
    let text = "[[group]]\nname = \"val\"\ncount = 4\nrole = \"validator\"\n\
                [[group]]\nname = \"full\"\ncount = 3\nrole = \"full\"\n\
                [peering]\ncore = { kind = \"full_mesh\", of = \"val\" }\nrim = { kind = \"ring\", of = \"full\" }\n";
    assert_refused(text, &["error[T018]", "the graph is in 2 pieces", "full-0", "help: "]);
}
