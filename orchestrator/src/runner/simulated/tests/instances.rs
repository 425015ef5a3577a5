//! Several instances over the same simulated links.

use super::play;
use regatta_plan::{Capabilities, Source, resolve};

#[test]
fn instances_share_simulated_nodes_and_nothing_else() {
    let text = "name = \"two\"\nseed = 4\n[provider]\nkind = \"sim\"\n\
        [[group]]\nname = \"val\"\ncount = 5\nrole = \"validator\"\n\
        [peering]\nall = { kind = \"full_mesh\", of = \"all\" }\n\
        [[consensus]]\nid = \"one\"\nvalidators = [\"val-0\", \"val-1\", \"val-2\", \"val-3\"]\nfollowers = []\n\
        [[consensus]]\nid = \"two\"\nvalidators = [\"val-1\", \"val-2\", \"val-3\", \"val-4\"]\nfollowers = []\n\
        block_interval = \"100ms\"\n\
        [phases]\nwarmup = \"500ms\"\nmeasure = \"3s\"\ncooldown = \"500ms\"\n\
        [[load]]\nconsensus = \"one\"\nrate = 40\ntarget = \"val-0\"\n\
        [[load]]\nconsensus = \"two\"\nrate = 20\ntarget = \"val-4\"\n\
        [[churn]]\nrow = [{ node = \"val-2\", at = \"1s\", until = \"2s\" }]\n";
    let source = Source::read("s.toml", text, &[]);
    let resolved = resolve(&source, &Capabilities::default());
    let done = play(resolved.unwrap_or_else(|problems| panic!("{problems}")).plan);
    done.assert_correct();
    let record = &done.result().record;
    assert!(record.invariants.iter().any(|invariant| invariant.name == "isolation"));
    let [one, two] = record.instances.as_slice() else {
        panic!("{:?}", record.instances);
    };
    assert!(one.height > two.height && two.height > 20, "{one:?} {two:?}");
    assert!(one.accounting.finalised_ok > 100 && two.accounting.finalised_ok > 50);
    // The node that was away caught up in both.
    let returns = record
        .invariants
        .iter()
        .find(|invariant| invariant.name == "returns")
        .unwrap();
    assert!(
        returns.evidence.starts_with("1 returns caught up"),
        "{}",
        returns.evidence
    );
}
