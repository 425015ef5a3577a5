//! What a check must refuse, and that the claims cover every byte that somebody signed.

use super::*;
use crate::{
    MESSAGE_BYTES_MAX, Signers, Validator,
    fixtures::{HEADER, certificate, one_of_each, proposal, signed, timeout, timeout_certificate},
    sim::{scope, verifies},
};
use proptest::prelude::*;
use regatta_base::{SecretKey, Signature, decode, encode, keyring, limits::VALIDATORS_MAX, seed};

fn four() -> Scope {
    scope(&[1; 4])
}

#[test]
fn valid_messages_pass_and_claim_all_their_signatures() {
    let scope = four();
    let claims: Vec<usize> = one_of_each(&scope)
        .iter()
        .map(|message| message.claims(&scope).unwrap().len())
        .collect();
    assert_eq!(claims, [1, 7, 4, 1, 1, 1, 4, 3, 6, 3, 0]);
    assert!(one_of_each(&scope).iter().all(|message| verifies(&scope, message)));
}

#[test]
fn nothing_verifies_under_another_chain_instance_or_set() {
    let scope = four();
    let name = |text: &str| text.parse().unwrap();
    let validators = scope.validators().clone();
    let mut heavier = validators.members().to_vec();
    heavier[3].weight = 2;
    let others = [
        Scope::new(&"mainnet".parse().unwrap(), &name("main"), validators.clone()),
        Scope::new(&"sim".parse().unwrap(), &name("other"), validators),
        Scope::new(
            &"sim".parse().unwrap(),
            &name("main"),
            ValidatorSet::new(heavier).unwrap(),
        ),
    ];
    for other in others {
        for message in one_of_each(&scope).iter().filter(|message| message.signed().is_some()) {
            assert!(!verifies(&other, message), "{message:?}");
        }
    }
}

#[test]
fn signing_bytes_tell_all_statements_apart() {
    let scope = four();
    let (a, b) = (Digest([1; 32]), Digest([2; 32]));
    let contents = [
        Content::Propose(a),
        Content::Vote1(a),
        Content::Vote2(a),
        Content::Vote2(b),
        Content::Timeout(None),
        Content::Timeout(Some(0)),
        Content::Timeout(Some(1)),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for content in contents {
        for (height, round) in [(1, 0), (1, 1), (2, 0), (256, 0)] {
            let fresh = seen.insert(scope.signing_bytes(&Statement { height, round, content }));
            assert!(fresh, "{content:?} at {height}/{round}");
        }
    }
}

#[test]
fn statements_of_strangers_and_followers_of_turns_are_refused() {
    let scope = four();
    let digest = header_digest(HEADER);
    let stranger = Message::Vote(signed(&scope, 4, 1, 0, Content::Vote1(digest)));
    assert_eq!(
        stranger.check(&scope),
        Err(StructureError::UnknownSigner {
            signer: 4,
            validators: 4
        })
    );
    let mut early = proposal(&scope, 1, 0, HEADER, None);
    early.vote = signed(&scope, 2, 1, 0, Content::Propose(digest));
    assert_eq!(
        Message::Proposal(early).check(&scope),
        Err(StructureError::NotLeader { signer: 2, leader: 1 })
    );
    let late = Message::Vote(signed(&scope, 0, 1, Round::MAX, Content::Vote1(digest)));
    assert_eq!(late.check(&scope), Err(StructureError::Round(Round::MAX)));
}

#[test]
fn statements_in_the_wrong_envelope_are_refused() {
    let scope = four();
    let digest = header_digest(HEADER);
    let mut denial = timeout(&scope, 0, 1, 0, None);
    denial.vote = signed(&scope, 0, 1, 0, Content::Vote1(digest));
    let mut proposed = proposal(&scope, 1, 0, HEADER, None);
    proposed.vote = signed(&scope, 1, 1, 0, Content::Vote1(digest));
    let commit = Commit {
        certificate: certificate(&scope, Phase::One, 1, 0, &[0, 1, 2]),
        header: HEADER.to_vec(),
    };
    let wrong = [
        Message::Vote(signed(&scope, 1, 1, 0, Content::Propose(digest))),
        Message::Vote(signed(&scope, 1, 1, 0, Content::Timeout(None))),
        Message::Timeout(denial),
        Message::Proposal(proposed),
        Message::Commit(commit),
    ];
    for message in wrong {
        assert_eq!(message.check(&scope), Err(StructureError::WrongKind), "{message:?}");
    }
}

#[test]
fn certificates_need_a_quorum_and_one_signature_for_each_signer() {
    let scope = four();
    let good = certificate(&scope, Phase::One, 1, 0, &[0, 1, 2]);
    let few = certificate(&scope, Phase::One, 1, 0, &[0, 1]);
    let no_quorum = Err(StructureError::NoQuorum { weight: 2, total: 4 });
    assert_eq!(few.check(&scope), no_quorum);
    let mut missing = good.clone();
    missing.signatures.pop();
    assert_eq!(missing.check(&scope), Err(StructureError::Shape));
    let mut beyond = good.clone();
    beyond.signers = Signers::of(8, [0, 1, 7]);
    assert_eq!(beyond.check(&scope), Err(StructureError::Shape));
    let mut short = timeout_certificate(&scope, 1, 0, &[None; 3]);
    short.highs.pop();
    assert_eq!(Message::TimeoutQuorum(short).check(&scope), Err(StructureError::Shape));
    let few = timeout_certificate(&scope, 1, 0, &[None; 2]);
    assert_eq!(Message::TimeoutQuorum(few).check(&scope), no_quorum);
    let late = Certificate {
        round: Round::MAX,
        ..good
    };
    assert_eq!(late.check(&scope), Err(StructureError::Round(Round::MAX)));
}

#[test]
fn a_timeout_certificate_shows_the_greatest_lock() {
    let scope = four();
    let good = timeout_certificate(&scope, 1, 2, &[None, Some(1), Some(0)]);
    assert_eq!(Message::TimeoutQuorum(good.clone()).check(&scope), Ok(()));
    let hidden = TimeoutCertificate {
        high: None,
        ..good.clone()
    };
    let lower = TimeoutCertificate {
        high: Some(certificate(&scope, Phase::One, 1, 0, &[0, 1, 2])),
        ..good.clone()
    };
    let second = TimeoutCertificate {
        high: Some(certificate(&scope, Phase::Two, 1, 1, &[0, 1, 2])),
        ..good.clone()
    };
    let elsewhere = TimeoutCertificate {
        high: Some(certificate(&scope, Phase::One, 2, 1, &[0, 1, 2])),
        ..good
    };
    let ahead = timeout_certificate(&scope, 1, 2, &[None, Some(3), None]);
    for wrong in [hidden, lower, second, elsewhere, ahead] {
        let message = Message::TimeoutQuorum(wrong);
        assert_eq!(message.check(&scope), Err(StructureError::Attachment));
    }
    let mut bare = timeout(&scope, 0, 1, 1, Some(0));
    bare.high = None;
    assert_eq!(Message::Timeout(bare).check(&scope), Err(StructureError::Attachment));
}

#[test]
fn a_justification_belongs_to_the_round_before() {
    let scope = four();
    let tc = |height, round| {
        Some(Justification::Timeout(timeout_certificate(
            &scope, height, round, &[None; 3],
        )))
    };
    let qc = |phase| Some(Justification::Quorum(certificate(&scope, phase, 1, 0, &[0, 1, 2])));
    let cases = [
        (0, tc(1, 0)),
        (1, None),
        (1, tc(1, 1)),
        (1, tc(2, 0)),
        (2, tc(1, 0)),
        (1, qc(Phase::Two)),
        (2, qc(Phase::One)),
    ];
    for (round, justification) in cases {
        let message = Message::Proposal(proposal(&scope, 1, round, HEADER, justification));
        assert_eq!(message.check(&scope), Err(StructureError::Attachment), "{message:?}");
    }
}

#[test]
fn headers_prove_themselves() {
    let scope = four();
    let mut swapped = proposal(&scope, 1, 0, HEADER, None);
    swapped.header = b"other".to_vec();
    assert_eq!(Message::Proposal(swapped).check(&scope), Err(StructureError::Header));
    let large = proposal(&scope, 1, 0, &[0; HEADER_BYTES_MAX + 1], None);
    assert_eq!(Message::Proposal(large).check(&scope), Err(StructureError::Header));
    let commit = Commit {
        certificate: certificate(&scope, Phase::Two, 1, 0, &[0, 1, 2]),
        header: b"other".to_vec(),
    };
    assert_eq!(Message::Commit(commit).check(&scope), Err(StructureError::Header));
}

#[test]
fn real_keys_verify_in_one_batch_and_a_flipped_bit_does_not() {
    let secrets: Vec<SecretKey> = (0..4).map(|i| SecretKey::from_seed([i; 32])).collect();
    let members = secrets.iter().map(|secret| Validator {
        key: secret.public(),
        weight: 1,
    });
    let validators = ValidatorSet::new(members.collect()).unwrap();
    let scope = Scope::new(&"sim".parse().unwrap(), &"main".parse().unwrap(), validators);
    let mut message = Message::Quorum(certificate(&scope, Phase::One, 1, 0, &[0, 1, 3]));
    let Message::Quorum(certificate) = &mut message else {
        unreachable!()
    };
    let bytes = scope.signing_bytes(&certificate.statement());
    certificate.signatures = [0, 1, 3].map(|signer: usize| secrets[signer].sign(&bytes)).to_vec();
    let holds = |message: &Message| {
        let claims = message.claims(&scope).unwrap();
        let claims: Vec<_> = claims.iter().map(SignatureClaim::as_claim).collect();
        keyring::verify_all(&claims, &mut seed::rng(1, "batch"))
    };
    assert!(holds(&message));
    let Message::Quorum(certificate) = &mut message else {
        unreachable!()
    };
    certificate.digest.0[0] ^= 1;
    assert!(!holds(&message));
}

#[test]
fn the_largest_message_and_record_fit_their_limit() {
    let size = VALIDATORS_MAX;
    let signatures = vec![Signature([0xff; 64]); size];
    let signers = Signers::of(size, 0..size as u16);
    let high = Certificate {
        phase: Phase::One,
        height: u64::MAX,
        round: ROUND_MAX,
        digest: Digest([0xff; 32]),
        signers: signers.clone(),
        signatures: signatures.clone(),
    };
    let justification = Some(Justification::Timeout(TimeoutCertificate {
        height: u64::MAX,
        round: ROUND_MAX,
        signers,
        highs: vec![Some(ROUND_MAX); size],
        signatures,
        high: Some(high),
    }));
    let message = Message::Proposal(proposal(
        &four(),
        u64::MAX,
        ROUND_MAX,
        &[0; HEADER_BYTES_MAX],
        justification,
    ));
    let bytes = encode(&message);
    assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(decode::<Message>(&bytes, MESSAGE_BYTES_MAX), Ok(message));
}

proptest! {
    /// Neither decoding nor checking panics, whatever a peer does to a valid message; and no change of
    /// a bit leaves it valid.
    #[test]
    fn a_damaged_message_is_refused(kind in 0usize..10, place: prop::sample::Index, bit in 0u8..8) {
        let scope = four();
        let message = one_of_each(&scope).swap_remove(kind);
        let mut bytes = encode(&message);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(damaged) = decode::<Message>(&bytes, MESSAGE_BYTES_MAX) {
            prop_assert!(!verifies(&scope, &damaged), "{damaged:?}");
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = decode::<Message>(&bytes, MESSAGE_BYTES_MAX) {
            let _ = message.claims(&four());
        }
    }
}
