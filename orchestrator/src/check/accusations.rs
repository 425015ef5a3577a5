//! Accusations: each proof of misconduct that a node tells of holds, and convicts only whom the scenario lets misbehave.

use crate::check::{
    evidence::Evidence,
    ledger::{Accusation, Ledger, Rules},
    proofs::{Judge, judge_of, judges},
};
use rand::CryptoRng;
use regatta_base::{
    PublicKey,
    keyring::{Claim, verify_each},
};
use regatta_report::model::Invariant;
use std::collections::BTreeSet;

/// Bytes of a digest in a statement.
const DIGEST: usize = 32;

/// What a signed statement says, read from its bytes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said<'a> {
    height: u64,
    round: u32,
    content: Content<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content<'a> {
    /// A proposal or one of the two votes, by its kind, for a digest.
    Digest(u8, &'a [u8]),
    /// A timeout with the round of the signer's greatest second vote.
    Timeout(Option<u32>),
}

/// The kind of the second vote, which a later timeout may not deny.
const VOTE2: u8 = 3;

/// Reads kind ‖ height ‖ round ‖ (digest | high) behind `prefix`; `None` when the bytes are no statement of this
/// instance.
fn parse<'a>(prefix: &[u8], message: &'a [u8]) -> Option<Said<'a>> {
    let rest = message.strip_prefix(prefix)?;
    let (&kind, rest) = rest.split_first()?;
    let (height, rest) = rest.split_first_chunk::<8>()?;
    let (round, rest) = rest.split_first_chunk::<4>()?;
    let content = match (kind, rest.len()) {
        (1..=VOTE2, DIGEST) => Content::Digest(kind, rest),
        (4, 0) => Content::Timeout(None),
        (5, 4) => Content::Timeout(Some(u32::from_be_bytes(rest.try_into().ok()?))),
        _ => return None,
    };
    Some(Said {
        height: u64::from_be_bytes(*height),
        round: u32::from_be_bytes(*round),
        content,
    })
}

/// Whether no correct validator signs both: two of a kind in one round, or a second vote that a timeout of the same
/// round or a later one denies.
fn contradict(a: Said<'_>, b: Said<'_>) -> bool {
    if a.height != b.height {
        return false;
    }
    let denies = |vote: Said<'_>, timeout: Said<'_>, high: Option<u32>| {
        timeout.round >= vote.round && high.is_none_or(|high| high < vote.round)
    };
    match (a.content, b.content) {
        (Content::Digest(kind, one), Content::Digest(other, two)) => kind == other && a.round == b.round && one != two,
        (Content::Timeout(one), Content::Timeout(two)) => a.round == b.round && one != two,
        (Content::Digest(VOTE2, _), Content::Timeout(high)) => denies(a, b, high),
        (Content::Timeout(high), Content::Digest(VOTE2, _)) => denies(b, a, high),
        _ => false,
    }
}

/// Both signatures to verify, or why the accusation proves nothing whatever they are. `judge` are the validators of its
/// height.
fn claims<'a>(judge: &Judge, accusation: &'a Accusation) -> Result<[Claim<'a>; 2], String> {
    let view = &accusation.view;
    let known = judge.validators.get(usize::from(view.signer));
    let (known, _) = *known.ok_or_else(|| format!("signer {} is no validator", view.signer))?;
    if known != view.key {
        return Err(format!(
            "signer {} shows key {}, the set of its height has {}",
            view.signer,
            view.key.short(),
            known.short()
        ));
    }
    let statements = [&view.first, &view.second];
    let [Some(first), Some(second)] = statements.map(|statement| parse(&judge.prefix, statement.message.as_ref()))
    else {
        return Err("the signed bytes are no statement of this instance".to_owned());
    };
    if first.height != view.height || !contradict(first, second) {
        return Err("the two statements do not contradict each other".to_owned());
    }
    Ok(statements.map(|statement| Claim {
        key: known,
        message: statement.message.as_ref(),
        signature: statement.signature,
    }))
}

/// Every accusation that any node tells of holds, and nobody honest is accused.
pub(crate) fn accusations(rules: &Rules, ledger: &Ledger, rng: &mut impl CryptoRng) -> Invariant {
    let mut evidence = Evidence::new("accusations");
    // What the chain of headers does not prove is found by the check of certificates.
    let judges = judges(rules, ledger, |_, _| {});
    let may_misbehave: BTreeSet<PublicKey> = rules
        .byzantine
        .iter()
        .filter_map(|&signer| Some(rules.validators.get(usize::from(signer))?.0))
        .collect();
    let name = |node: u32| ledger.nodes.get(node as usize).map_or("?", |node| node.node.as_str());
    let mut wanted: Vec<(&Accusation, [Claim<'_>; 2])> = Vec::new();
    for accusation in &ledger.accusations {
        let (node, view) = (name(accusation.node), &accusation.view);
        let judge = judge_of(&judges, view.height).ok_or_else(|| "nobody decides that height".to_owned());
        match judge.and_then(|judge| claims(judge, accusation)) {
            Ok(pair) => wanted.push((accusation, pair)),
            Err(why) => evidence.violation(|| format!("{node} at height {}: {why}", view.height)),
        }
        if !may_misbehave.contains(&view.key) {
            evidence.violation(|| {
                format!(
                    "{node} accuses validator {} ({}) of {} at height {}, and the scenario has it honest",
                    view.signer,
                    view.key.short(),
                    view.kind,
                    view.height
                )
            });
        }
    }
    let flat: Vec<Claim<'_>> = wanted.iter().flat_map(|(_, pair)| *pair).collect();
    for ((accusation, _), valid) in wanted.iter().zip(verify_each(&flat, rng).chunks(2)) {
        if valid != [true, true] {
            let (node, height) = (name(accusation.node), accusation.view.height);
            evidence.violation(|| format!("{node} at height {height}: a signature does not verify"));
        }
    }
    let accused: BTreeSet<u16> = ledger
        .accusations
        .iter()
        .map(|accusation| accusation.view.signer)
        .collect();
    let told = ledger.accusations.len() as u64;
    evidence.number("accusations", told);
    evidence.number("validators accused", accused.len() as u64);
    evidence.finish(if told == 0 {
        "no node knows of a validator that contradicted itself".to_owned()
    } else {
        format!("{told} proofs against {} misbehaving validators hold", accused.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(round: u32, content: Content<'_>) -> Said<'_> {
        Said {
            height: 1,
            round,
            content,
        }
    }

    #[test]
    fn the_rule_of_contradiction_is_the_protocols() {
        let vote = |kind, round, mark: &'static [u8]| said(round, Content::Digest(kind, mark));
        let timeout = |round, high| said(round, Content::Timeout(high));
        for kind in 1..=3 {
            assert!(contradict(vote(kind, 2, b"a"), vote(kind, 2, b"b")));
            assert!(!contradict(vote(kind, 2, b"a"), vote(kind, 2, b"a")));
            assert!(!contradict(vote(kind, 2, b"a"), vote(kind, 3, b"b")));
        }
        assert!(!contradict(vote(1, 2, b"a"), vote(2, 2, b"b")));
        assert!(contradict(timeout(2, None), timeout(2, Some(1))));
        assert!(!contradict(timeout(2, None), timeout(3, Some(1))));
        for (high, denied) in [(None, true), (Some(1), true), (Some(2), false)] {
            assert_eq!(contradict(vote(3, 2, b"a"), timeout(2, high)), denied);
            assert_eq!(contradict(timeout(4, high), vote(3, 2, b"a")), denied);
            assert!(
                !contradict(timeout(1, high), vote(3, 2, b"a")),
                "the timeout came before"
            );
            assert!(
                !contradict(vote(1, 2, b"a"), timeout(2, high)),
                "a first vote is no lock"
            );
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(b"p", &bytes);
        }
    }
}
