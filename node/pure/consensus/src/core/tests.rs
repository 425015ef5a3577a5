//! The step function input by input: timers, answers that come late, what is ignored.

mod sets;

use super::*;
use crate::{
    Content, Evidence, HEADER_BYTES_MAX, Phase, TimeoutCertificate,
    fixtures::{HEADER, certificate, config, proposal, signed, timeout, timeout_certificate},
    header_digest,
};

fn step(core: &mut Core, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    core.step(input, &mut effects);
    effects
}

/// Steps and feeds own messages back, as the layer above does; returns all effects in order.
fn drive(core: &mut Core, input: Input) -> Vec<Effect> {
    let scope = core.config.scope.clone();
    let mut effects = step(core, input);
    let mut place = 0;
    while place < effects.len() {
        if let Effect::SignSend(draft) = &effects[place] {
            let signature = crate::sim::sign(&scope, draft.signer, &draft.statement);
            let message = draft.clone().signed(signature);
            core.step(Input::Recv(message), &mut effects);
        }
        place += 1;
    }
    effects
}

fn validator(index: u16) -> Core {
    Core::new(config(Some(index)))
}

fn said(effects: &[Effect]) -> Vec<Content> {
    let drafts = effects.iter().filter_map(|effect| match effect {
        Effect::SignSend(draft) => Some(draft.statement.content),
        _ => None,
    });
    drafts.collect()
}

fn vote(core: &Core, signer: u16, round: Round, content: Content) -> Input {
    Input::Recv(Message::Vote(signed(
        &core.config.scope,
        signer,
        core.height,
        round,
        content,
    )))
}

fn give_up(core: &mut Core, round: Round) -> Vec<Effect> {
    let certificate = timeout_certificate(&core.config.scope, core.height, round, &[None; 3]);
    step(core, Input::Recv(Message::TimeoutQuorum(certificate)))
}

fn applied(height: Height) -> Input {
    Input::Applied {
        height,
        validators: None,
    }
}

fn synced(height: Height) -> Input {
    let set = || crate::sim::scope(&[1; 4]).validators().clone();
    Input::Synced {
        height,
        validators: [set(), set()],
    }
}

fn validated(ok: bool) -> Input {
    Input::Validated {
        height: 1,
        round: 0,
        digest: header_digest(HEADER),
        ok,
    }
}

#[test]
fn the_round_timeout_grows_and_is_capped() {
    let mut core = validator(0);
    let timer = |id, after_ms| Effect::SetTimer { id, after_ms };
    assert_eq!(step(&mut core, Input::Work), [timer(1, 300)]);
    assert_eq!(step(&mut core, Input::Work), []);
    assert!(give_up(&mut core, 0).contains(&timer(2, 500)));
    assert!(give_up(&mut core, 5).contains(&timer(3, 1_000)));
    let mut endless = Core::new(Config {
        timeout_base_ms: u64::MAX,
        timeout_cap_ms: u64::MAX,
        ..config(Some(0))
    });
    assert_eq!(step(&mut endless, Input::Work), [timer(1, u64::MAX)]);
}

/// Votes of both kinds by 0 and 2 and an own one make two quorums; what is broadcast of them by the core?
fn quorums_told(index: u16, leader_aggregates: bool) -> Vec<Phase> {
    let mut core = Core::new(Config {
        leader_aggregates,
        ..config(Some(index))
    });
    let proposal = proposal(&core.config.scope, 1, 0, HEADER, None);
    let mut effects = drive(&mut core, Input::Recv(Message::Proposal(proposal)));
    effects.extend(drive(&mut core, validated(true)));
    for content in [Content::Vote1, Content::Vote2] {
        for signer in (0..4).filter(|signer| *signer != index).take(2) {
            let input = vote(&core, signer, 0, content(header_digest(HEADER)));
            effects.extend(drive(&mut core, input));
        }
    }
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Decide(_))));
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(Message::Quorum(certificate)) => Some(certificate.phase),
        _ => None,
    });
    told.collect()
}

#[test]
fn only_a_leader_that_aggregates_tells_of_the_quorums_that_it_forms() {
    let leader = config(None).scope.validators().leader(1, 0);
    assert_eq!(quorums_told(leader, true), [Phase::One, Phase::Two]);
    assert_eq!(quorums_told(leader, false), []);
    assert_eq!(quorums_told((leader + 1) % 4, true), []);
}

#[test]
fn only_the_running_timer_ends_a_round_and_only_once() {
    let mut core = validator(0);
    step(&mut core, Input::Work);
    give_up(&mut core, 0);
    assert_eq!(step(&mut core, Input::Timer(1)), [], "of round 0");
    assert_eq!(said(&step(&mut core, Input::Timer(2))), [Content::Timeout(None)]);
    assert_eq!(step(&mut core, Input::Timer(2)), []);
    assert_eq!(step(&mut core, Input::Timer(99)), []);
}

#[test]
fn every_statement_is_persisted_right_before_it_is_said() {
    let mut leader = validator(1);
    let mut effects = drive(&mut leader, Input::Work);
    let header = HEADER.to_vec();
    effects.extend(drive(
        &mut leader,
        Input::Built {
            height: 1,
            round: 0,
            header,
        },
    ));
    for signer in [0, 2, 3] {
        let input = vote(&leader, signer, 0, Content::Vote1(header_digest(HEADER)));
        effects.extend(drive(&mut leader, input));
    }
    assert_eq!(said(&effects).len(), 3, "{effects:?}");
    for pair in effects.windows(2) {
        if let Effect::SignSend(_) = pair[1] {
            assert!(matches!(pair[0], Effect::Persist(_)), "{pair:?}");
        }
    }
}

#[test]
fn a_leader_builds_once_and_ignores_what_it_did_not_ask_for() {
    let built = |round, header: &[u8]| Input::Built {
        height: 1,
        round,
        header: header.to_vec(),
    };
    let mut leader = validator(1);
    assert_eq!(drive(&mut leader, built(0, HEADER)), [], "nobody asked");
    let build = Effect::Build {
        height: 1,
        round: 0,
        parent: None,
    };
    assert!(step(&mut leader, Input::Work).contains(&build));
    assert!(!step(&mut leader, Input::Work).contains(&build));
    assert_eq!(drive(&mut leader, built(1, HEADER)), [], "another round");
    assert_eq!(
        drive(&mut leader, built(0, &[0; HEADER_BYTES_MAX + 1])),
        [],
        "too large"
    );
    let effects = drive(&mut leader, built(0, HEADER));
    let digest = header_digest(HEADER);
    assert_eq!(said(&effects), [Content::Propose(digest), Content::Vote1(digest)]);
    assert_eq!(drive(&mut leader, built(0, b"another")), [], "proposed already");
}

#[test]
fn a_vote_waits_for_the_payload_and_not_beyond_the_timeout() {
    let mut core = validator(0);
    let input = Input::Recv(Message::Proposal(proposal(&core.config.scope, 1, 0, HEADER, None)));
    let effects = drive(&mut core, input.clone());
    assert!(matches!(effects[..], [Effect::SetTimer { .. }, Effect::Validate(_)]));
    assert_eq!(drive(&mut core, input), [], "a repeat asks nothing");
    assert_eq!(said(&drive(&mut core, Input::Timer(1))), [Content::Timeout(None)]);
    assert_eq!(drive(&mut core, validated(true)), []);
    let mut core = validator(0);
    let input = Input::Recv(Message::Proposal(proposal(&core.config.scope, 1, 0, HEADER, None)));
    drive(&mut core, input);
    let effects = drive(&mut core, validated(true));
    assert_eq!(said(&effects), [Content::Vote1(header_digest(HEADER))]);
}

#[test]
fn a_swapped_justification_is_ignored_and_the_true_one_still_accepted() {
    let mut core = validator(0);
    let scope = core.config.scope.clone();
    let justified = |header: &[u8], highs: &[Option<Round>]| {
        let certificate = timeout_certificate(&scope, 1, 0, highs);
        let justification = Some(Justification::Timeout(certificate));
        Input::Recv(Message::Proposal(proposal(&scope, 1, 1, header, justification)))
    };
    let effects = drive(&mut core, justified(b"new", &[None, Some(0), None]));
    assert_eq!(core.round(), 1, "the certificate counts");
    assert_eq!(said(&effects), []);
    let effects = drive(&mut core, justified(b"new", &[None; 3]));
    assert!(matches!(effects[..], [Effect::Validate(_)]), "{effects:?}");
}

#[test]
fn a_quorum_of_the_previous_round_justifies_its_own_value_only() {
    let scope = config(None).scope;
    let justified = |header: &[u8]| {
        let quorum = certificate(&scope, Phase::One, 1, 0, &[0, 1, 2]);
        let justification = Some(Justification::Quorum(quorum));
        Input::Recv(Message::Proposal(proposal(&scope, 1, 1, header, justification)))
    };
    let mut core = validator(0);
    drive(&mut core, justified(b"other"));
    assert_eq!(core.round(), 0);
    let effects = drive(&mut core, justified(HEADER));
    assert_eq!(core.round(), 1);
    assert!(
        matches!(
            effects[..],
            [
                Effect::Persist(WalRecord::Entry(_)),
                Effect::SetTimer { .. },
                Effect::Validate(_)
            ]
        ),
        "{effects:?}"
    );
}

/// A faulty leader may show a quorum of its round to one node and take it along to the next round, where the others
/// could never follow if they waited for that node's timeout.
#[test]
fn who_gave_a_round_up_follows_its_quorum_to_the_next_and_can_show_it_after_a_crash() {
    let mut core = validator(0);
    step(&mut core, Input::Work);
    let mut records: Vec<WalRecord> = drive(&mut core, Input::Timer(1))
        .into_iter()
        .filter_map(logged)
        .collect();
    let quorum = certificate(&core.config.scope, Phase::One, 1, 0, &[1, 2, 3]);
    let effects = drive(&mut core, Input::Recv(Message::Quorum(quorum.clone())));
    assert_eq!((core.round(), said(&effects)), (1, vec![]), "and does not vote for it");
    records.extend(effects.into_iter().filter_map(logged));
    let mut core = Core::recover(config(Some(0)), &records);
    assert_eq!(core.round(), 1);
    assert!(step(&mut core, Input::Start).contains(&Effect::Broadcast(Message::Quorum(quorum.clone()))));
    // Its leader proposes the value again, justified by that quorum.
    let mut leader = Core::recover(config(Some(2)), &[WalRecord::Entry(Justification::Quorum(quorum))]);
    leader.learn((header_digest(HEADER), HEADER.to_vec()), true);
    assert_eq!(
        said(&step(&mut leader, Input::Start)),
        [Content::Propose(header_digest(HEADER))]
    );
}

fn logged(effect: Effect) -> Option<WalRecord> {
    match effect {
        Effect::Persist(record) => Some(record),
        _ => None,
    }
}

#[test]
fn a_decision_waits_for_its_header() {
    let mut core = validator(0);
    let digest = header_digest(HEADER);
    let quorum = certificate(&core.config.scope, Phase::Two, 1, 3, &[0, 1, 2]);
    let need = Effect::NeedHeader { height: 1, digest };
    let effects = step(&mut core, Input::Recv(Message::Quorum(quorum.clone())));
    assert!(effects.contains(&need) && core.voter().is_none(), "{effects:?}");
    assert_eq!(step(&mut core, Input::Header(b"other".to_vec())), []);
    step(&mut core, Input::Retry);
    let again = step(&mut core, Input::Retry);
    assert!(again.contains(&need));
    assert!(
        again.contains(&Effect::Broadcast(Message::Quorum(quorum))),
        "others may lack it"
    );
    let effects = step(&mut core, Input::Header(HEADER.to_vec()));
    let commit = match &effects[..] {
        [Effect::Persist(WalRecord::Decide(first)), Effect::Decide(second)] if first == second => first.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((commit.height(), commit.digest()), (1, digest));
    assert_eq!(step(&mut core, Input::Recv(Message::Commit(commit))), [], "once");
}

#[test]
fn only_a_status_about_the_past_is_answered_and_the_future_asks_for_sync_once_a_tick() {
    let mut core = Core::new(Config {
        height: 5,
        ..config(None)
    });
    let status = |height| Input::Recv(Message::Status { height });
    assert_eq!(step(&mut core, status(3)), [Effect::Behind { height: 3 }]);
    assert_eq!(step(&mut core, status(5)), []);
    let digest = header_digest(HEADER);
    let old = signed(&core.config.scope, 0, 4, 0, Content::Vote1(digest));
    assert_eq!(step(&mut core, Input::Recv(Message::Vote(old))), []);
    let next = signed(&core.config.scope, 0, 6, 0, Content::Vote1(digest));
    assert_eq!(step(&mut core, Input::Recv(Message::Vote(next))), [], "votes overtake");
    assert_eq!(step(&mut core, status(9)), [Effect::NeedSync { height: 8 }]);
    assert_eq!(step(&mut core, status(u64::MAX)), []);
    step(&mut core, Input::Retry);
    let far = signed(&core.config.scope, 0, 7, 0, Content::Vote1(digest));
    assert_eq!(
        step(&mut core, Input::Recv(Message::Vote(far))),
        [Effect::NeedSync { height: 6 }]
    );
}

#[test]
fn messages_for_the_next_height_count_once_it_is_entered() {
    let mut core = validator(0);
    let scope = core.config.scope.clone();
    let digest = header_digest(HEADER);
    for signer in 1..4 {
        let vote = signed(&scope, signer, 2, 0, Content::Vote1(digest));
        drive(&mut core, Input::Recv(Message::Vote(vote)));
    }
    let effects = drive(&mut core, synced(1));
    assert_eq!(core.height(), 2);
    assert_eq!(said(&effects), [Content::Vote2(digest)]);
    assert_eq!(drive(&mut core, applied(1)), [], "already passed");
}

#[test]
fn a_follower_never_says_anything() {
    let mut core = Core::new(config(None));
    let scope = core.config.scope.clone();
    let digest = header_digest(HEADER);
    let mut effects = step(&mut core, Input::Work);
    effects.extend(step(
        &mut core,
        Input::Recv(Message::Proposal(proposal(&scope, 1, 0, HEADER, None))),
    ));
    for signer in 0..3 {
        let input = vote(&core, signer, 0, Content::Vote1(digest));
        effects.extend(step(&mut core, input));
        let denial = Message::Timeout(timeout(&scope, signer, 1, 0, Some(0)));
        effects.extend(step(&mut core, Input::Recv(denial)));
    }
    assert_eq!(core.round(), 1);
    assert_eq!(effects, []);
    for signer in 0..3 {
        let input = vote(&core, signer, 0, Content::Vote2(digest));
        effects.extend(step(&mut core, input));
    }
    assert!(
        matches!(effects[..], [Effect::Persist(_), Effect::Decide(_)]),
        "{effects:?}"
    );
}

#[test]
fn malformed_and_far_off_messages_change_nothing() {
    let mut core = validator(0);
    let digest = header_digest(HEADER);
    let stranger = vote(&core, 9, 0, Content::Vote1(digest));
    assert_eq!(step(&mut core, stranger), []);
    let few = certificate(&core.config.scope, Phase::Two, 1, 0, &[0, 1]);
    assert_eq!(step(&mut core, Input::Recv(Message::Quorum(few))), []);
    for signer in 1..4 {
        let far = vote(&core, signer, 1_000, Content::Vote1(digest));
        step(&mut core, far);
    }
    assert_eq!(core.round(), 0, "outside the window");
    let quorum = certificate(&core.config.scope, Phase::One, 1, 1_000, &[0, 1, 2]);
    step(&mut core, Input::Recv(Message::Quorum(quorum)));
    assert_eq!(core.round(), 1_000, "a certificate needs no window");
}

#[test]
fn evidence_shows_both_statements() {
    let mut core = validator(0);
    let (a, b) = (header_digest(b"a"), header_digest(b"b"));
    let (first, second) = (
        vote(&core, 2, 0, Content::Vote1(a)),
        vote(&core, 2, 0, Content::Vote1(b)),
    );
    step(&mut core, first);
    let effects = step(&mut core, second);
    let [Effect::Evidence(evidence)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert!(evidence.is_proof());
    let same = Evidence {
        second: evidence.first,
        ..*evidence
    };
    assert!(!same.is_proof());
    let mut other = *evidence;
    other.second.signer = 3;
    assert!(!other.is_proof(), "two signers prove nothing");
}

#[test]
fn recovery_resends_the_last_round_and_keeps_its_certificate() {
    let scope = config(None).scope;
    let entry = timeout_certificate(&scope, 1, 1, &[None; 3]);
    let records = [
        WalRecord::Timeout {
            height: 1,
            round: 1,
            high: None,
        },
        WalRecord::Entry(Justification::Timeout(entry.clone())),
        WalRecord::Vote1 {
            height: 1,
            round: 2,
            digest: header_digest(HEADER),
        },
    ];
    let mut core = Core::recover(config(Some(0)), &records);
    assert_eq!(core.round(), 2);
    let effects = step(&mut core, Input::Start);
    assert_eq!(said(&effects), [Content::Vote1(header_digest(HEADER))]);
    assert!(effects.contains(&Effect::Broadcast(Message::TimeoutQuorum(entry))));
    let applied = Config {
        height: 2,
        ..config(Some(0))
    };
    let mut core = Core::recover(applied, &records);
    assert_eq!(
        step(&mut core, Input::Start),
        [Effect::Broadcast(Message::Status { height: 2 })]
    );
}

#[test]
fn a_log_ahead_of_the_applied_blocks_is_replayed_height_by_height() {
    let scope = config(None).scope;
    let commit = crate::Commit {
        certificate: certificate(&scope, Phase::Two, 1, 0, &[0, 1, 2]),
        header: HEADER.to_vec(),
    };
    let records = [
        WalRecord::Decide(commit.clone()),
        WalRecord::Timeout {
            height: 2,
            round: 0,
            high: None,
        },
    ];
    let mut core = Core::recover(config(Some(0)), &records);
    assert_eq!(step(&mut core, Input::Start), [Effect::Decide(commit)]);
    let effects = step(&mut core, applied(1));
    assert_eq!(said(&effects), [Content::Timeout(None)]);
    assert_eq!(step(&mut core, Input::Timer(1)), [], "given up already");
}

#[test]
fn records_survive_encoding() {
    let scope = config(None).scope;
    let quorum = certificate(&scope, Phase::One, 1, 0, &[0, 1, 2]);
    let certificate: TimeoutCertificate = timeout_certificate(&scope, 1, 0, &[None, Some(0), None]);
    let records = vec![
        WalRecord::Vote2 { quorum: quorum.clone() },
        WalRecord::Timeout {
            height: 1,
            round: 0,
            high: Some(quorum),
        },
        WalRecord::Propose {
            height: 1,
            round: 1,
            header: HEADER.to_vec(),
            justification: Some(Justification::Timeout(certificate.clone())),
        },
        WalRecord::Entry(Justification::Timeout(certificate)),
    ];
    let bytes = regatta_base::encode(&records);
    assert_eq!(regatta_base::decode(&bytes, 100_000), Ok(records));
}
