//! Validators of which some are puppets: their nodes propose, but what they vote is said by the test.

use crate::{
    Event, Time,
    header::Header,
    mutants::Knobs,
    tests::world::{World, secret},
    wire::{Body, Plain},
};
use rand::RngExt;
use regatta_api::{config::VoteTopology, view::EvidenceKind};
use regatta_base::{Digest, Height, HexBytes, Signature, encode};
use regatta_consensus::{
    Certificate, Content, Message, Phase, Proposal, Scope, Signed, Signers, Statement, TimeoutVote, Validator,
    ValidatorSet, header_digest,
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// How long a frame takes, in milliseconds; everything else takes no time.
const FRAME_MS: u64 = 2;
/// Most votes of one signer that may wait: two kinds at two heights.
const WAITING_PER_SIGNER_MAX: usize = 4;

/// How votes travel and who is faulty.
pub(super) struct Cast<'a> {
    pub(super) nodes: usize,
    pub(super) edges: &'a [(usize, usize)],
    pub(super) topology: VoteTopology,
    /// Milliseconds between proposals of empty blocks; none: there are no empty blocks.
    pub(super) interval: Option<Time>,
    pub(super) faulty: usize,
}

/// Proposals of round 0 by height: the first one that was sent.
type Proposals = Rc<RefCell<BTreeMap<Height, Proposal>>>;
/// Says what does not get through: sender, receiver and message.
type Block = Box<dyn Fn(usize, usize, &Message) -> bool>;

/// A world, what was seen in it, and what went wrong.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) violations: BTreeSet<String>,
    nodes: usize,
    scope: Scope,
    faulty: BTreeSet<usize>,
    proposals: Proposals,
    blocked: Rc<RefCell<Option<Block>>>,
    /// Who was told a vote that does not hold early enough to find out, and by whom.
    deceived: BTreeSet<(usize, usize)>,
    /// The lowest height when time passed last, since when it was that, and until when.
    pace: Option<(Option<Height>, Time, Time)>,
}

fn content(phase: Phase, digest: Digest) -> Content {
    match phase {
        Phase::One => Content::Vote1(digest),
        Phase::Two => Content::Vote2(digest),
    }
}

/// The proposal with a signature that does not hold.
pub(super) fn spoilt(mut proposal: Proposal) -> Message {
    proposal.vote.signature = Signature([3; 64]);
    Message::Proposal(proposal)
}

impl Scene {
    /// The last `cast.faulty` nodes are puppets.
    pub(super) fn new(seed: u64, knobs: Knobs, cast: &Cast<'_>) -> Self {
        let nodes = cast.nodes;
        let mut world = World::with_config(seed, nodes, nodes, cast.edges, |_, mut config| {
            let instance = &mut config.instances[0];
            instance.vote_topology = cast.topology;
            instance.empty_blocks = cast.interval.is_some();
            instance.block_interval_ms = cast.interval.unwrap_or(instance.block_interval_ms);
            config
        });
        world.break_rules(knobs);
        world.steady = Some(FRAME_MS);
        let member = |node| Validator {
            key: secret(node).public(),
            weight: 1,
        };
        let set = ValidatorSet::new((0..nodes).map(member).collect()).unwrap();
        let scope = Scope::new(&"test".parse().unwrap(), &"main".parse().unwrap(), set);
        let faulty: BTreeSet<usize> = (nodes - cast.faulty..nodes).collect();
        let (proposals, blocked) = (Proposals::default(), Rc::new(RefCell::new(None::<Block>)));
        let (seen, closed, puppets) = (Rc::clone(&proposals), Rc::clone(&blocked), faulty.clone());
        world.censor = Some(Box::new(move |from, to, message| {
            if let Message::Proposal(proposal) = message
                && proposal.vote.statement.round == 0
            {
                let height = message.height();
                seen.borrow_mut().entry(height).or_insert_with(|| proposal.clone());
            }
            let is_said = !matches!(message, Message::Vote(_) | Message::Timeout(_)) || !puppets.contains(&from);
            is_said && !closed.borrow().as_ref().is_some_and(|block| block(from, to, message))
        }));
        Self {
            world,
            violations: BTreeSet::new(),
            nodes,
            scope,
            faulty,
            proposals,
            blocked,
            deceived: BTreeSet::new(),
            pace: None,
        }
    }

    /// Those that run and are no puppets.
    pub(super) fn honest(&self) -> impl Iterator<Item = usize> + use<> {
        let is_honest = |node: &usize| self.world.is_up(*node) && !self.faulty.contains(node);
        let honest: Vec<usize> = (0..self.nodes).filter(is_honest).collect();
        honest.into_iter()
    }

    pub(super) fn faulty(&self) -> impl Iterator<Item = usize> + use<> {
        self.faulty.clone().into_iter()
    }

    pub(super) fn block(&mut self, block: impl Fn(usize, usize, &Message) -> bool + 'static) {
        *self.blocked.borrow_mut() = Some(Box::new(block));
    }

    /// The height that a node decides.
    pub(super) fn next(&self, node: usize) -> Height {
        self.world.height(node) + 1
    }

    /// The latest height of which a proposal was sent, and what it proposes.
    pub(super) fn newest_proposal(&self) -> Option<(Height, Digest)> {
        let proposals = self.proposals.borrow();
        proposals
            .last_key_value()
            .map(|(height, proposal)| (*height, proposal.digest()))
    }

    pub(super) fn proposal(&self, height: Height) -> Option<Digest> {
        self.proposals.borrow().get(&height).map(Proposal::digest)
    }

    /// The first proposal of a height that was sent, whoever got it.
    pub(super) fn sent(&self, height: Height) -> Option<Proposal> {
        self.proposals.borrow().get(&height).cloned()
    }

    /// The leader of round 0.
    pub(super) fn leader(&self, height: Height) -> usize {
        usize::from(self.scope.validators().leader(height, 0))
    }

    /// Whether it leads round 0 of a height.
    pub(super) fn turns_of(&self, who: usize) -> impl Fn(Height) -> bool + use<> {
        let set = self.scope.validators().clone();
        move |height| usize::from(set.leader(height, 0)) == who
    }

    pub(super) fn some_digest(&mut self) -> Digest {
        Digest(self.world.rng.random())
    }

    fn signed(&self, signer: usize, height: Height, content: Content) -> Signed {
        let statement = Statement {
            height,
            round: 0,
            content,
        };
        Signed {
            statement,
            signer: signer as u16,
            signature: secret(signer).sign(&self.scope.signing_bytes(&statement)),
        }
    }

    /// A vote of round 0.
    pub(super) fn vote(&self, signer: usize, height: Height, phase: Phase, digest: Digest) -> Message {
        Message::Vote(self.signed(signer, height, content(phase, digest)))
    }

    /// A proposal of a block that nobody will vote for, with one batch that nobody holds.
    pub(super) fn some_proposal(&mut self, signer: usize, height: Height) -> (Proposal, Digest) {
        let [parent, batch, state_root, next_validators] = std::array::from_fn(|_| self.some_digest());
        let header = Header {
            height,
            parent,
            batches: vec![batch],
            state_root,
            next_validators,
        };
        let header = header.encode();
        let vote = self.signed(signer, height, Content::Propose(header_digest(&header)));
        let justification = None;
        let proposal = Proposal {
            vote,
            header,
            justification,
        };
        (proposal, batch)
    }

    /// A certificate of round 0 of which no signature holds.
    pub(super) fn false_quorum(&self, height: Height, phase: Phase, digest: Digest) -> Message {
        let size = self.scope.validators().len();
        Message::Quorum(Certificate {
            phase,
            height,
            round: 0,
            digest,
            signers: Signers::of(size, 0..size as u16),
            signatures: vec![Signature([3; 64]); size],
        })
    }

    /// An empty block in its place whose signature does not hold: everything about it may wait.
    pub(super) fn false_proposal(&mut self, signer: usize, height: Height) -> Message {
        let (proposal, _) = self.some_proposal(signer, height);
        let mut header = Header::decode(&proposal.header).unwrap();
        header.batches.clear();
        let header = header.encode();
        let vote = self.signed(signer, height, Content::Propose(header_digest(&header)));
        spoilt(Proposal {
            vote,
            header,
            ..proposal
        })
    }

    /// The same with a signature that does not hold.
    pub(super) fn forged(&self, signer: usize, height: Height, phase: Phase, digest: Digest) -> Message {
        let signature = Signature([3; 64]);
        let vote = self.signed(signer, height, content(phase, digest));
        Message::Vote(Signed { signature, ..vote })
    }

    /// What somebody puts among the votes about a block who is no validator, or speaks of something else: signed by a key
    /// outside the set, signed for another instance, and of a signer that there is not.
    pub(super) fn strays(&self, signer: usize, height: Height, phase: Phase, digest: Digest) -> [Message; 3] {
        let elsewhere = Scope::new(
            &"test".parse().unwrap(),
            &"other".parse().unwrap(),
            self.scope.validators().clone(),
        );
        let vote = self.signed(signer, height, content(phase, digest));
        let stranger = secret(self.nodes).sign(&self.scope.signing_bytes(&vote.statement));
        let other = secret(signer).sign(&elsewhere.signing_bytes(&vote.statement));
        let nobody = self.nodes as u16;
        [
            Message::Vote(Signed {
                signature: stranger,
                ..vote
            }),
            Message::Vote(Signed {
                signature: other,
                ..vote
            }),
            Message::Vote(Signed { signer: nobody, ..vote }),
        ]
    }

    /// Gives round 0 up and denies every second vote.
    pub(super) fn denial(&self, signer: usize, height: Height) -> Message {
        let vote = self.signed(signer, height, Content::Timeout(None));
        Message::Timeout(TimeoutVote { vote, high: None })
    }

    /// A node gets this in one frame from a neighbour.
    pub(super) fn tell(&mut self, to: usize, from: usize, messages: &[Message]) {
        let messages = messages.iter().map(|message| HexBytes::from(encode(message)));
        let tag = self.world.node(to).tag_for_tests();
        let peer = self.world.peer_index(to, from);
        let frame = Plain::Instance(tag, Body::Consensus(messages.collect())).encode();
        self.world.step(to, Event::Frame(peer, frame));
        self.watch_room(to);
    }

    /// As much as may waits, and nothing of decided or far heights.
    pub(super) fn watch_room(&mut self, node: usize) {
        let next = self.next(node);
        let mut of_signer: BTreeMap<u16, usize> = BTreeMap::new();
        for (height, _, signer) in self.waiting(node) {
            *of_signer.entry(signer).or_default() += 1;
            if !(next..=next + 1).contains(&height) {
                self.violations
                    .insert(format!("room: a vote about {height} waits at {next}"));
            }
        }
        if let Some(most) = of_signer.values().max().filter(|most| **most > WAITING_PER_SIGNER_MAX) {
            self.violations.insert(format!("room: {most} votes of one signer wait"));
        }
        if let Some(height) = self.ahead(node).map(|(height, _)| height).filter(|of| *of != next + 1) {
            self.violations
                .insert(format!("room: a proposal of {height} waits at {next}"));
        }
    }

    pub(super) fn waiting(&mut self, node: usize) -> Vec<(Height, Phase, u16)> {
        self.world.node_mut(node).chain_for_tests().waiting()
    }

    /// The proposal that waits at a node.
    pub(super) fn ahead(&mut self, node: usize) -> Option<(Height, Digest)> {
        self.world.node_mut(node).chain_for_tests().waiting_proposal()
    }

    /// Votes whose signatures a node checks: their signers and what they say.
    pub(super) fn checking(&mut self, node: usize) -> Vec<(usize, Height, Phase, Digest)> {
        let checking = self.world.node_mut(node).chain_for_tests().checking();
        let votes = checking.into_iter().filter_map(|vote| {
            let (phase, digest) = match vote.statement.content {
                Content::Vote1(digest) => (Phase::One, digest),
                Content::Vote2(digest) => (Phase::Two, digest),
                Content::Propose(_) | Content::Timeout(_) => return None,
            };
            Some((usize::from(vote.signer), vote.statement.height, phase, digest))
        });
        votes.collect()
    }

    pub(super) fn is_busy(&mut self, node: usize) -> bool {
        self.world.node_mut(node).chain_for_tests().is_busy()
    }

    /// Whether `node` takes the leader `who` for dead.
    pub(super) fn seems_dead(&mut self, node: usize, who: usize) -> bool {
        let key = secret(who).public();
        self.world.node_mut(node).chain_for_tests().seems_dead(&key)
    }

    /// A puppet says two things that exclude each other, in one frame: who gets that must know it at once. One proof
    /// against a signer at a height is enough, whichever it is.
    pub(super) fn contradict(&mut self, to: usize, from: usize, first: Message, second: Message, kind: EvidenceKind) {
        let height = first.height();
        if self.next(to) != height || !self.is_busy(to) {
            return;
        }
        self.tell(to, from, &[first, second]);
        self.world.run(0);
        let list = self.world.node(to).evidence(None).unwrap();
        let is_known = list
            .iter()
            .any(|one| (usize::from(one.signer), one.height) == (from, height));
        if !is_known && self.next(to) == height {
            self.violations.insert(format!("evidence: {kind:?} goes unnoticed"));
        }
    }

    /// A puppet's bad vote is at a node before that one can have voted: whoever counts it finds out.
    pub(super) fn deceive(&mut self, to: usize, from: usize, height: Height, digest: Digest) {
        let bad = self.forged(from, height, Phase::One, digest);
        self.tell(to, from, &[bad]);
        self.deceived.insert((to, from));
    }

    /// As [`Scene::deceive`], with any message that does not hold.
    pub(super) fn slip_in(&mut self, to: usize, from: usize, message: Message) {
        self.tell(to, from, &[message]);
        self.deceived.insert((to, from));
    }

    /// A puppet that leads the next height forges a proposal of it, which gets in the way of its real one.
    pub(super) fn misplace(&mut self, to: usize, from: usize) {
        let height = self.next(to) + 1;
        let forged = self.false_proposal(from, height);
        self.tell(to, from, &[forged]);
        self.deceived.insert((to, from));
    }

    /// Somebody brings a proposal of another validator with a false signature, before or after that one does.
    pub(super) fn misquote(&mut self, to: usize, from: usize, proposal: Proposal) {
        let before = self.ahead(to);
        self.tell(to, from, &[spoilt(proposal)]);
        if self.ahead(to).is_some() && self.ahead(to) != before {
            self.blame("room: a proposal waits that its leader did not bring");
        }
    }

    /// Somebody brings a false vote of another validator: that must not keep the real one out.
    pub(super) fn impersonate(&mut self, to: usize, from: usize, forged: Message) {
        let before = self.waiting(to).len();
        self.tell(to, from, &[forged]);
        if self.waiting(to).len() > before {
            self.violations
                .insert("room: a vote waits that its signer did not bring".to_owned());
        }
    }

    pub(super) fn blame(&mut self, text: impl Into<String>) {
        self.violations.insert(text.into());
    }

    /// Lets time pass; every honest node must decide a height within `most` milliseconds. The time of a height goes on
    /// from call to call if nothing else lets time pass between them.
    pub(super) fn go_on(&mut self, duration: u64, most: u64) {
        let end = self.world.now + duration;
        let lowest = |scene: &Self| scene.honest().map(|node| scene.world.height(node)).min();
        let (mut height, mut since) = match self.pace {
            Some((height, since, until)) if until == self.world.now => (height, since),
            _ => (lowest(self), self.world.now),
        };
        while self.world.now < end {
            self.world.run(1);
            if lowest(self) != height {
                (height, since) = (lowest(self), self.world.now);
            } else if self.world.now - since > most {
                self.blame("slow: a height takes too long");
                since = self.world.now;
            }
        }
        self.pace = Some((height, since, end));
    }

    /// Judges what is left at the end, and returns everything that went wrong.
    pub(super) fn judge(mut self) -> BTreeSet<String> {
        for node in self.honest() {
            let list = self.world.node(node).evidence(None).unwrap();
            if list.iter().any(|one| !self.faulty.contains(&usize::from(one.signer))) {
                self.blame("evidence: it accuses an honest validator");
            }
            self.check_blocks(node);
        }
        for (by, of) in self.world.accused.clone() {
            if !self.faulty.contains(&of) && !self.faulty.contains(&by) {
                self.blame("blame: an honest validator is accused");
            }
        }
        for pair in self.deceived.clone() {
            if !self.world.accused.contains(&pair) {
                self.blame("blame: who signed badly is not accused");
            }
        }
        self.violations
    }

    /// All blocks of honest nodes are the same, and their certificates hold.
    fn check_blocks(&mut self, node: usize) {
        for height in 1..=self.world.height(node) {
            let stored = self.world.load(node, height).expect("a block that was executed");
            let block = self.world.node(node).block(None, height, &stored).unwrap();
            let message = block.certificate_message.as_ref();
            let holds = |signer: &regatta_api::view::SignerView| signer.key.verifies(message, &signer.signature);
            if !block.signers.iter().all(holds) {
                self.blame("certificate: a signature does not hold");
            }
            let first = self.honest().next().filter(|first| self.world.height(*first) >= height);
            let other = first.and_then(|first| self.world.node(first).summaries(None, height, 1)?.pop());
            if other.is_some_and(|other| other.hash != block.summary.hash) {
                self.blame("agreement: two blocks at one height");
            }
        }
    }

    /// Every block so far was decided in round 0.
    pub(super) fn check_rounds(&mut self) {
        let node = self.honest().next().unwrap();
        let blocks = self
            .world
            .node(node)
            .summaries(None, 1, u16::MAX.into())
            .unwrap_or_default();
        if blocks.iter().any(|block| block.round > 0) {
            self.blame("slow: a height took more than one round");
        }
    }
}
