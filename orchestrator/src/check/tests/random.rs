//! Random ledgers: a sound one passes every check, and one planted bug fails exactly the check that is for it.

use crate::{
    check::{Absence, BlockRow, Found, Inclusion, Ledger, NodeLedger, Proof, Rules, check},
    load::{Submission, Submitted},
};
use proptest::{prelude::*, sample::Index};
use regatta_base::{Digest, SecretKey, encode, seed};
use std::collections::{BTreeMap, BTreeSet};

/// What to make a sound ledger from.
#[derive(Debug, Clone)]
struct Shape {
    weights: Vec<u64>,
    nodes: usize,
    /// Transactions of each block.
    blocks: Vec<u32>,
    salt: u64,
}

fn shape() -> impl Strategy<Value = Shape> {
    let weights = proptest::collection::vec(1u64..5, 1..6);
    let blocks = proptest::collection::vec(0u32..4, 1..7);
    (weights, 1usize..5, blocks, any::<u64>()).prop_map(|(weights, nodes, blocks, salt)| Shape {
        weights,
        nodes,
        blocks,
        salt,
    })
}

/// A bug to plant. Each needs something to spoil; where there is nothing, nothing is planted.
#[derive(Debug, Clone, Copy)]
enum Bug {
    Fork,
    StateRoot,
    Parent,
    Behind,
    Signature,
    Quorum,
    MissingCertificate,
    Lost,
    Twice,
    Foreign,
}

const BUGS: [Bug; 10] = [
    Bug::Fork,
    Bug::StateRoot,
    Bug::Parent,
    Bug::Behind,
    Bug::Signature,
    Bug::Quorum,
    Bug::MissingCertificate,
    Bug::Lost,
    Bug::Twice,
    Bug::Foreign,
];

impl Shape {
    fn digest(&self, what: &str, number: u64) -> Digest {
        Digest::of(what, &[&self.salt.to_be_bytes(), &number.to_be_bytes()])
    }

    fn key(&self, index: usize) -> SecretKey {
        SecretKey::from_seed(self.digest("key", index as u64).0)
    }

    fn rules(&self) -> Rules {
        let validators = self.weights.iter().enumerate();
        Rules {
            chain: "random".parse().unwrap(),
            instance: "a".parse().unwrap(),
            validators: validators
                .map(|(index, weight)| (self.key(index).public(), *weight))
                .collect(),
            byzantine: BTreeSet::new(),
            exclusive: true,
            snapshots: false,
            kept: None,
            archives: BTreeSet::new(),
            keys: BTreeMap::new(),
        }
    }

    fn hash(&self, height: u64) -> Digest {
        Digest::of("regatta block header v1", &[&self.header(height)])
    }

    fn header(&self, height: u64) -> Vec<u8> {
        let set = Digest::of("regatta validator set v1", &[&encode(&self.rules().validators)]);
        let batches = vec![self.digest("batch", height)];
        encode(&(height, Digest::ZERO, batches, Digest::ZERO, set))
    }

    fn proof(&self, node: u32, height: u64) -> Proof {
        let set = Digest::of("regatta validator set v1", &[&encode(&self.rules().validators)]);
        let (hash, height_bytes) = (self.hash(height), height.to_be_bytes());
        let parts: [&[u8]; 7] = [
            b"regatta consensus v1\x06random\x01a",
            &set.0,
            &[3],
            &height_bytes,
            &7u32.to_be_bytes(),
            &hash.0,
            &[],
        ];
        let message = parts.concat();
        let signers = self.quorum().into_iter().map(|index| {
            let key = self.key(index);
            (index as u16, key.public(), key.sign(&message))
        });
        Proof {
            node,
            height,
            round: 7,
            hash,
            contents: self.digest("contents", height),
            signers: signers.collect(),
            message,
            header: self.header(height),
            next_validators: None,
        }
    }

    /// The first validators whose weight is a quorum: without the last of them it is none.
    fn quorum(&self) -> Vec<usize> {
        let total: u64 = self.weights.iter().sum();
        let mut weight = 0;
        let mut quorum = Vec::new();
        for (index, own) in self.weights.iter().enumerate() {
            quorum.push(index);
            weight += own;
            if 3 * weight > 2 * total {
                break;
            }
        }
        quorum
    }

    fn sound(&self) -> (Ledger, Submitted) {
        let target = self.blocks.len() as u64;
        let row = |(index, transactions): (usize, &u32)| {
            let height = index as u64 + 1;
            BlockRow {
                height,
                hash: self.hash(height),
                parent: self.hash(height - 1),
                state_root: self.digest("root", height),
                transactions: *transactions,
                failed: 0,
            }
        };
        let blocks: Vec<BlockRow> = self.blocks.iter().enumerate().map(row).collect();
        let included: Vec<Inclusion> = blocks
            .iter()
            .flat_map(|block| std::iter::repeat_n(block.height, block.transactions as usize))
            .zip(0..)
            .map(|(height, number)| Inclusion {
                id: self.digest("transaction", number),
                height,
                ok: true,
            })
            .collect();
        let rows = included.iter().map(|inclusion| Submission {
            id: inclusion.id,
            sent: true,
            acknowledged: true,
            finalised: true,
            target: 0,
        });
        let submitted = Submitted {
            targets: vec!["full-0".to_owned()],
            rows: rows.collect(),
        };
        let node = |index: usize| NodeLedger {
            node: format!("node-{index}"),
            blocks: blocks.clone(),
            ..NodeLedger::default()
        };
        let ledger = Ledger {
            target,
            top: target,
            nodes: (0..self.nodes).map(node).collect(),
            reference: 0,
            included,
            proofs: (1..=target).map(|height| self.proof(0, height)).collect(),
            absent: Vec::new(),
            accusations: Vec::new(),
        };
        (ledger, submitted)
    }

    /// Plants `bug` somewhere; names the check that must find it, or nothing when there is nothing to spoil.
    fn plant(&self, bug: Bug, at: Index, ledger: &mut Ledger, submitted: &mut Submitted) -> Option<&'static str> {
        let other = (self.nodes > 1).then(|| 1 + at.index(self.nodes - 1));
        let block = at.index(self.blocks.len());
        let wrong = self.digest("wrong", 0);
        match bug {
            Bug::Fork => {
                // A fork that is consistent in itself: the next block names the forged one.
                let blocks = &mut ledger.nodes[other?].blocks;
                blocks[block].hash = wrong;
                blocks
                    .iter_mut()
                    .skip(block + 1)
                    .take(1)
                    .for_each(|next| next.parent = wrong);
            }
            Bug::StateRoot => ledger.nodes[other?].blocks[block].state_root = wrong,
            Bug::Parent => ledger.nodes[other.unwrap_or(0)].blocks[(block > 0).then_some(block)?].parent = wrong,
            Bug::Behind => ledger.nodes[other?].blocks.truncate(block),
            Bug::Signature => {
                let signers = &mut ledger.proofs[block].signers;
                let signer = at.index(signers.len());
                signers[signer].2.0[at.index(64)] ^= 1 << at.index(8);
            }
            Bug::Quorum => drop(ledger.proofs[block].signers.pop()),
            Bug::MissingCertificate => drop(ledger.proofs.remove(block)),
            Bug::Lost => {
                let id = self.digest("lost", 0);
                let template = submitted.rows.first().copied()?;
                submitted.rows.push(Submission { id, ..template });
                ledger.absent.push(Absence {
                    id,
                    found: Found::Nowhere,
                });
            }
            Bug::Twice => {
                let first = ledger.included.first().copied()?;
                let last = ledger.blocks_mut_at_top(1);
                ledger.included.push(Inclusion { height: last, ..first });
            }
            Bug::Foreign => {
                let height = ledger.blocks_mut_at_top(1);
                ledger.included.push(Inclusion {
                    id: wrong,
                    height,
                    ok: true,
                });
            }
        }
        Some(match bug {
            Bug::Fork | Bug::StateRoot => "agreement",
            Bug::Parent => "continuity",
            Bug::Behind => "convergence",
            Bug::Signature | Bug::Quorum | Bug::MissingCertificate => "certificates",
            Bug::Lost => "no_loss",
            Bug::Twice => "no_duplicates",
            Bug::Foreign => "integrity",
        })
    }
}

impl Ledger {
    /// Lets the top block of every node list `more` transactions; gives back its height.
    fn blocks_mut_at_top(&mut self, more: u32) -> u64 {
        for block in self.nodes.iter_mut().filter_map(|node| node.blocks.last_mut()) {
            block.transactions += more;
        }
        self.target
    }
}

fn failing(shape: &Shape, ledger: &Ledger, submitted: &Submitted) -> Vec<String> {
    let invariants = check(
        &shape.rules(),
        ledger,
        &[submitted],
        &mut seed::rng(shape.salt, "check"),
    );
    let failed = invariants.into_iter().filter(|invariant| !invariant.holds);
    failed.map(|invariant| invariant.name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_sound_ledger_of_any_shape_passes(shape in shape()) {
        let (ledger, submitted) = shape.sound();
        prop_assert_eq!(failing(&shape, &ledger, &submitted), Vec::<String>::new());
    }

    #[test]
    fn one_planted_bug_fails_the_check_that_is_for_it(shape in shape(), bug in 0..BUGS.len(), at in any::<Index>()) {
        let (mut ledger, mut submitted) = shape.sound();
        if let Some(name) = shape.plant(BUGS[bug], at, &mut ledger, &mut submitted) {
            prop_assert_eq!(failing(&shape, &ledger, &submitted), vec![name.to_owned()]);
        }
    }

    #[test]
    fn a_stolen_key_of_less_than_a_quorum_proves_nothing(shape in shape(), at in any::<Index>()) {
        // One validator signs a forged block as often as it likes, under every index.
        prop_assume!(3 * shape.weights[0] <= 2 * shape.weights.iter().sum::<u64>());
        let (mut ledger, submitted) = shape.sound();
        let forged = &mut ledger.proofs[at.index(shape.blocks.len())];
        let (key, message) = (shape.key(0), forged.message.clone());
        for index in 0..shape.weights.len() {
            forged.signers.push((index as u16, key.public(), key.sign(&message)));
        }
        forged.signers.retain(|(_, signer, _)| *signer == key.public());
        prop_assert_eq!(failing(&shape, &ledger, &submitted), vec!["certificates".to_owned()]);
    }
}
