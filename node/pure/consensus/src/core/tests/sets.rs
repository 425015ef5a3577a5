//! Validator sets by height, and leaders that fell silent.

use super::*;

/// Four validators until height 2; from height 3 on the last one is gone and a fifth has joined.
fn changed() -> Scope {
    let old = crate::sim::scope(&[1; 4]);
    let mut members = old.validators().members().to_vec();
    members[3].key = crate::sim::key(4);
    old.of(crate::ValidatorSet::new(members).unwrap())
}

fn decide(core: &mut Core, scope: &Scope, height: Height) -> Vec<Effect> {
    let quorum = certificate(scope, Phase::Two, height, 0, &[0, 1, 2]);
    let commit = crate::Commit {
        certificate: quorum,
        header: HEADER.to_vec(),
    };
    step(core, Input::Recv(Message::Commit(commit)))
}

#[test]
fn a_set_takes_effect_two_heights_after_the_block_that_changed_it() {
    let mut core = validator(3);
    let (old, new) = (core.config.scope.clone(), changed());
    decide(&mut core, &old, 1);
    let change = Input::Applied {
        height: 1,
        validators: Some(new.validators().clone()),
    };
    step(&mut core, change);
    assert_eq!((core.scope_at(2), core.scope_at(3)), (Some(&old), Some(&new)));
    assert_eq!((core.scope_at(1), core.scope_at(4)), (None, None));
    assert_eq!(core.voter(), Some(3), "still a validator of height 2");
    decide(&mut core, &old, 2);
    step(&mut core, applied(2));
    assert_eq!((core.scope_at(3), core.scope_at(4)), (Some(&new), Some(&new)));
    assert_eq!(core.voter(), None, "no longer one of height 3");
}

#[test]
fn who_joins_votes_under_its_index_in_the_new_set_and_only_from_then_on() {
    let (old, new) = (config(None).scope, changed());
    let mut core = Core::new(Config {
        next_scope: new.clone(),
        key: Some(crate::sim::key(4)),
        height: 2,
        ..config(None)
    });
    let digest = header_digest(HEADER);
    let proposal_of = |scope: &Scope, height| Input::Recv(Message::Proposal(proposal(scope, height, 0, HEADER, None)));
    assert_eq!(said(&drive(&mut core, proposal_of(&old, 2))), []);
    // The next height's votes are judged by the next height's set: this one of the old set's is not valid.
    let stale = certificate(&old, Phase::Two, 3, 0, &[0, 1, 2]);
    assert!(
        Message::Quorum(stale)
            .claims(&new)
            .is_ok_and(|claims| claims.len() == 3)
    );
    assert!(!crate::sim::verifies(
        &new,
        &Message::Vote(signed(&old, 3, 3, 0, Content::Vote1(digest)))
    ));
    decide(&mut core, &old, 2);
    step(&mut core, applied(2));
    assert_eq!(core.voter(), Some(3));
    drive(&mut core, proposal_of(&new, 3));
    let ok = Input::Validated {
        height: 3,
        round: 0,
        digest,
        ok: true,
    };
    let effects = step(&mut core, ok);
    let drafts: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::SignSend(draft) => Some((draft.signer, draft.statement.content)),
            _ => None,
        })
        .collect();
    assert_eq!(drafts, [(3, Content::Vote1(digest))]);
}

#[test]
fn a_sync_brings_the_sets_of_the_next_two_heights() {
    let mut core = validator(3);
    let (old, new) = (core.config.scope.clone(), changed());
    let sets = [old.validators().clone(), new.validators().clone()];
    step(
        &mut core,
        Input::Synced {
            height: 7,
            validators: sets,
        },
    );
    assert_eq!((core.scope_at(8), core.scope_at(9)), (Some(&old), Some(&new)));
    let late = Input::Synced {
        height: 7,
        validators: [new.validators().clone(), new.validators().clone()],
    };
    step(&mut core, late);
    assert_eq!(core.scope_at(8), Some(&old), "passed already");
}

#[test]
fn a_leader_is_silent_from_a_missed_turn_to_its_next_statement() {
    let played = |silent_heights, sign_of_life: Option<Height>| {
        let mut core = Core::new(Config {
            silent_heights,
            ..config(Some(0))
        });
        let (scope, leader) = (core.config.scope.clone(), crate::sim::key(1));
        step(&mut core, Input::Work);
        assert!(!core.lacks_sign_of(&leader, 1));
        drive(&mut core, Input::Timer(1));
        assert!(core.lacks_sign_of(&leader, 1) && !core.lacks_sign_of(&leader, 0));
        for height in 1..5 {
            let commit = crate::Commit {
                certificate: certificate(&scope, Phase::Two, height, 0, &[0, 2, 3]),
                header: HEADER.to_vec(),
            };
            step(&mut core, Input::Recv(Message::Commit(commit)));
            step(&mut core, applied(height));
        }
        if let Some(height) = sign_of_life {
            step(&mut core, Input::Heard { key: leader, height });
        }
        said(&drive(&mut core, Input::Work))
    };
    assert_eq!(played(1, None), [Content::Timeout(None)], "it leads (5, 0)");
    assert_eq!(played(4, None), [Content::Timeout(None)], "silent for four heights");
    assert_eq!(played(5, None), [], "not for five");
    assert_eq!(played(0, None), [], "never");
    assert_eq!(played(1, Some(2)), [], "heard since");
    assert_eq!(
        played(1, Some(0)),
        [Content::Timeout(None)],
        "an old statement says nothing"
    );
}
