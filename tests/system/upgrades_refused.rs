//! Bad releases on the wire: brought by clients and told by neighbours, refused with a reason, and of no other effect.

use super::support::{
    network::Network,
    releases::{Made, Signer},
    wait::until,
};
use regatta_api::view::ReleaseStage;
use regatta_base::{HexBytes, SecretKey};
use regatta_seal::{Bundle, Document};
use std::{fs, os::unix::fs::PermissionsExt};

/// A document that is not what the signer meant, and what the node says about it.
type Bad = (&'static str, Document);

fn flipped(bytes: &HexBytes) -> HexBytes {
    let mut bytes = bytes.0.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

/// Both signed again after a change.
fn changed(signer: &Signer, made: &Made, change: impl FnOnce(&mut Made)) -> Document {
    let mut made = Made {
        program: Vec::new(),
        manifest: made.manifest.clone(),
        release: made.release.clone(),
    };
    change(&mut made);
    signer.document(&made)
}

/// A manifest whose bytes are not canonical, signed with the right key.
fn not_canonical(signer: &Signer, made: &Made) -> Document {
    let good = signer.document(made);
    let mut manifest = good.manifest.0.to_vec();
    manifest.push(0);
    let digest = regatta_base::Digest::of_bytes(&manifest);
    let message = [b"regatta-build-v1".as_slice(), &digest.0].concat();
    let bundle = Bundle {
        manifest,
        signatures: vec![(signer.key.public(), signer.key.sign(&message))],
    };
    let mut release = made.release.clone();
    release.build = digest;
    release.sign(&bundle, &signer.key)
}

fn bad_documents(signer: &Signer, made: &Made) -> Vec<Bad> {
    let good = signer.document(made);
    let stranger = SecretKey::from_seed([66; 32]);
    let mut unsigned = good.clone();
    unsigned.signatures[0].1.0[9] ^= 4;
    let mut unsigned_build = good.clone();
    unsigned_build.manifest_signatures[0].1.0[9] ^= 4;
    let bundle = Bundle::sign(&made.manifest, &signer.key);
    vec![
        (
            "valid signatures",
            Document {
                release: flipped(&good.release),
                ..good.clone()
            },
        ),
        (
            "another build",
            Document {
                manifest: flipped(&good.manifest),
                ..good.clone()
            },
        ),
        ("valid signatures", unsigned),
        ("valid signatures", unsigned_build),
        ("valid signatures", made.release.sign(&bundle, &stranger)),
        ("expired", changed(signer, made, |made| made.release.expires = 9)),
        ("expired", changed(signer, made, |made| made.manifest.expires = 9)),
        (
            "is for riscv",
            changed(signer, made, |made| {
                made.manifest.artifacts[0].target = "riscv64-none".to_owned();
            }),
        ),
        (
            "names no artifact",
            changed(signer, made, |made| made.manifest.artifacts.clear()),
        ),
        (
            "plain file name",
            changed(signer, made, |made| {
                made.manifest.artifacts[0].path = "../../etc/x".to_owned();
            }),
        ),
        (
            "pieces",
            changed(signer, made, |made| made.manifest.artifacts[0].size += 1 << 20),
        ),
        (
            "are allowed",
            changed(signer, made, |made| made.manifest.artifacts[0].size = 1 << 40),
        ),
        (
            "protocol",
            changed(signer, made, |made| made.manifest.protocol = (1, 2)),
        ),
        (
            "network",
            changed(signer, made, |made| made.release.chain = "another".parse().unwrap()),
        ),
        (
            "break the protocol",
            changed(signer, made, |made| made.manifest.byzantine = true),
        ),
        ("canonical", not_canonical(signer, made)),
    ]
}

#[test]
fn every_bad_release_that_a_client_brings_is_refused_with_its_reason() {
    let signer = Signer::new();
    let mut network = Network::new(1, 1).trusting(&signer).started();
    let made = signer.make(5, b"#!/bin/sh\nexit 0\n".to_vec(), 1_000_000_000, 20);
    let table = bad_documents(&signer, &made);
    let count = table.len();
    for (reason, document) in table {
        let refused = network.offer(0, &document).unwrap_err();
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
    assert_eq!(network.upgrade(0).unwrap().release, None);
    // Nothing of that keeps a good one from being taken, and after it everything older is refused.
    let taken = network.offer(0, &signer.document(&made)).unwrap();
    assert_eq!(taken.missing, [0]);
    let after: [(&str, Document); 3] = [
        (
            "the node has accepted 5",
            changed(&signer, &made, |made| made.release.number = 4),
        ),
        (
            "two releases have number 5",
            changed(&signer, &made, |made| made.release.activate_at += 1),
        ),
        (
            "two manifests have sequence",
            changed(&signer, &made, |made| {
                made.release.number = 6;
                made.manifest.version = "other".to_owned();
            }),
        ),
    ];
    for (reason, document) in after {
        let refused = network.offer(0, &document).unwrap_err();
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
    let mut piece = made.piece(0);
    piece.bytes = flipped(&piece.bytes);
    assert!(network.bring(0, &piece).unwrap_err().contains("not what was signed"));
    piece.bytes = [made.program.as_slice(), b"more"].concat().into();
    assert!(network.bring(0, &piece).unwrap_err().contains("not what was signed"));
    network.bring(0, &made.piece(0)).unwrap();
    assert!(count >= 16 && !network.process(0).has_ended());
    network.wait_ready(0);
}

#[test]
fn without_a_trusted_key_a_release_is_refused_and_nothing_is_written() {
    let signer = Signer::new();
    let mut network = Network::new(1, 0).started();
    let made = signer.make(1, b"#!/bin/sh\nexit 0\n".to_vec(), 5, 5);
    let refused = network.offer(0, &signer.document(&made)).unwrap_err();
    assert!(
        refused.contains("no key is trusted") && refused.contains("upgrade.trusted_keys"),
        "{refused}"
    );
    assert!(network.bring(0, &made.piece(0)).is_err());
    assert!(!network.folder(0).join("releases").exists());
    assert!(!network.process(0).has_ended());
}

#[test]
fn a_release_that_a_neighbour_tells_is_judged_anew() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let mut network = Network::new(4, 0).trusting(&signer);
    // One node trusts somebody whom the others do not.
    network.nodes[0].config.upgrade.trusted_keys = vec![stranger.key.public()];
    let mut network = network.started();
    let made = stranger.make(1, b"#!/bin/sh\nexit 0\n".to_vec(), 1_000_000_000, 5);
    network.offer(0, &stranger.document(&made)).unwrap();
    for index in 1..4 {
        until("the release to be refused", || {
            let refused = network.metrics(index)["regatta_releases_refused_total"];
            if refused == 1.0 {
                Ok(())
            } else {
                Err(format!("{refused} refused"))
            }
        });
        let log = network.process(index).stderr();
        assert!(log.contains("0 valid signatures by trusted keys"), "{log}");
        assert_eq!(network.upgrade(index).unwrap().release, None);
        network.wait_ready(index);
    }
}

#[test]
fn a_neighbour_that_sends_bad_pieces_is_noted_and_the_program_comes_from_others() {
    let signer = Signer::new();
    let mut network = Network::new(4, 0).trusting(&signer);
    for index in 0..3 {
        network.start(index);
    }
    for index in 0..3 {
        until("the control interface", || {
            network.ask(network.client(index).latest()).map(drop)
        });
    }
    // Many small pieces of nothing in particular; never switched to.
    let mut program = b"#!/bin/sh\nexit 0\n".to_vec();
    program.resize(12 << 20, b'#');
    let made = signer.make(1, program, 1_000_000_000, 5);
    let taken = network.offer(0, &signer.document(&made)).unwrap();
    taken
        .missing
        .iter()
        .for_each(|chunk| network.bring(0, &made.piece(*chunk)).unwrap());
    let wait_all = |network: &Network, index: usize| {
        until("all pieces", || {
            let release = network.upgrade(index)?.release.ok_or("no release")?;
            if release.stage == ReleaseStage::Ready {
                Ok(())
            } else {
                Err(format!("{release:?}"))
            }
        });
    };
    (0..3).for_each(|index| wait_all(&network, index));
    // Somebody alters the program on the disk of one node, in every piece.
    let path = network
        .folder(1)
        .join("releases")
        .join(made.digest().to_string())
        .join("regatta-node");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&path, vec![b'!'; made.program.len()]).unwrap();
    // At first nobody else is there to be asked.
    network.stop(0);
    network.stop(2);
    network.start(3);
    let bad = |network: &Network| {
        let metrics = network.ask(network.client(3).metrics())?;
        Ok::<f64, String>(metrics["regatta_release_chunks_bad_total"])
    };
    until("a bad piece", || match bad(&network)? {
        0.0 => Err("none yet".to_owned()),
        _ => Ok(()),
    });
    network.start(0);
    network.start(2);
    wait_all(&network, 3);
    let bad = bad(&network).unwrap();
    // Two may be under way when the first one shows what the neighbour is.
    assert!((1.0..=2.0).contains(&bad), "{bad} bad pieces");
    let log = network.process(3).stderr();
    assert!(log.contains("not what was signed"), "{log}");
    network.assert_agreement();
}
