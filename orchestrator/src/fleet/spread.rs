//! How a program comes to the hosts of a fleet: from the lab alone, or also from hosts that have it by then.
//!
//! In a tree the lab sends to a few hosts, each host that has the program hands it on to as many, and so on. Whoever gets it
//! checks its digest. A host that gets nothing from another gets it from the lab, and nobody asks that other one again.

use super::{
    client::{ANSWER_DEADLINE, HostClient},
    crew::{Crew, HostFailure, failure},
    error::HostError,
};
use futures::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use rand::{TryRng, rngs::SysRng};
use regatta_base::Digest;
use regatta_fleet::{Answer, Chunk, Holding, Name, OrderBody, Packed, Token, limits::SHARE_DEADLINE_MS};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

/// Hosts that get a program from the lab at the same time where it sends to all: enough to fill its link, few enough for
/// its memory.
const SENT_AT_ONCE: usize = 16;
/// Hosts that may fail to hand it on before the first one does: then the lab sends to all.
const IN_VAIN_MAX: usize = 3;
/// Pieces on their way to one host.
const PIECES_AT_ONCE: usize = 4;
/// How long a host may take for one piece.
const PIECE_DEADLINE: Duration = Duration::from_secs(60);
/// How long one host may take to get a program from another.
const FETCH_DEADLINE: Duration = Duration::from_millis(SHARE_DEADLINE_MS);

/// A tree of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Hosts that one with the program, and the lab, serve at once; 0 where the lab sends to all.
    pub(crate) fan_out: usize,
    /// Where hosts offer it to others, and their regions. One that is missing offers nothing.
    pub(crate) places: BTreeMap<u32, (Ipv4Addr, Option<String>)>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// Bytes that the lab sent.
    pub(crate) sent_bytes: u64,
    /// Hosts that got it from another one.
    pub(crate) handed_on: usize,
    /// Where each host got it from, in words, where there was a choice.
    pub(crate) origins: BTreeMap<u32, String>,
    /// Hosts that have it from nobody.
    pub(crate) failed: Vec<HostFailure>,
}

/// One transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Lab { child: u32 },
    Host { parent: u32, child: u32 },
}

/// Who sends to whom, decided one transfer at a time.
#[derive(Debug)]
struct Moves<'a> {
    tree: &'a Tree,
    /// Whether hosts hand it on: they may, and it was not always in vain.
    is_tree: bool,
    /// Hosts that may get it from anybody.
    waiting: VecDeque<u32>,
    /// Hosts that get it from the lab.
    direct: VecDeque<u32>,
    /// Hosts that have it, and how many each serves.
    parents: BTreeMap<u32, usize>,
    /// Hosts that the lab serves.
    served: usize,
    handed_on: usize,
    /// Hosts that did not hand it on.
    in_vain: BTreeSet<u32>,
}

impl<'a> Moves<'a> {
    fn new(tree: &'a Tree, have: &[u32], lack: &[u32]) -> Self {
        let mut this = Self {
            tree,
            is_tree: tree.fan_out > 0,
            waiting: lack.iter().copied().collect(),
            direct: VecDeque::new(),
            parents: BTreeMap::new(),
            served: 0,
            handed_on: 0,
            in_vain: BTreeSet::new(),
        };
        have.iter().for_each(|&host| this.add_parent(host));
        this
    }

    fn add_parent(&mut self, host: u32) {
        if self.is_tree && self.tree.places.contains_key(&host) {
            self.parents.insert(host, 0);
        }
    }

    /// The next transfer that may begin now.
    fn next(&mut self) -> Option<Move> {
        if let Some(next) = self.next_from_host() {
            return Some(next);
        }
        let at_once = if self.is_tree { self.tree.fan_out } else { SENT_AT_ONCE };
        if self.served >= at_once {
            return None;
        }
        let child = self.direct.pop_front().or_else(|| self.waiting.pop_front())?;
        self.served += 1;
        Some(Move::Lab { child })
    }

    /// A host of the same region before others, and one that serves few before those that serve more.
    fn next_from_host(&mut self) -> Option<Move> {
        let &child = self.waiting.front()?;
        let region = |host: &u32| self.tree.places.get(host).and_then(|(_, region)| region.as_deref());
        let free = self.parents.iter().filter(|(_, serves)| **serves < self.tree.fan_out);
        let nearest = free.min_by_key(|(host, serves)| (region(host) != region(&child), **serves));
        let parent = *nearest?.0;
        *self.parents.entry(parent).or_default() += 1;
        self.waiting.pop_front();
        Some(Move::Host { parent, child })
    }

    /// A transfer is over.
    fn ended(&mut self, one: Move, went_well: bool) {
        match one {
            Move::Lab { child } => {
                debug_assert!(self.served > 0, "it was begun");
                self.served -= 1;
                if went_well {
                    self.add_parent(child);
                }
            }
            Move::Host { parent, child } if went_well => {
                self.handed_on += 1;
                // Given up meanwhile, it serves nobody any more.
                if let Some(serves) = self.parents.get_mut(&parent) {
                    *serves -= 1;
                }
                self.add_parent(child);
            }
            Move::Host { parent, child } => {
                self.parents.remove(&parent);
                self.direct.push_back(child);
                self.in_vain.insert(parent);
                if self.handed_on == 0 && self.in_vain.len() >= IN_VAIN_MAX {
                    // Hosts do not reach each other.
                    self.is_tree = false;
                    self.parents.clear();
                }
            }
        }
    }
}

impl Crew {
    /// Brings a program to every one of `hosts` that lacks it.
    pub(crate) async fn spread(&self, hosts: &[u32], packed: &Packed, name: &Name, tree: &Tree) -> Spread {
        let mut spread = Spread::default();
        let (have, lack) = match tree.fan_out {
            // Who has it already says so when its turn comes.
            0 => (Vec::new(), hosts.to_vec()),
            _ => self.who_has(hosts, packed, &mut spread).await,
        };
        let mut moves = Moves::new(tree, &have, &lack);
        let mut under_way = FuturesUnordered::new();
        loop {
            while let Some(next) = moves.next() {
                under_way.push(self.carry(next, packed, name, tree));
            }
            let Some((one, result)) = under_way.next().await else {
                break;
            };
            moves.ended(one, result.is_ok());
            self.note(one, result, &mut spread, tree);
        }
        spread.handed_on = moves.handed_on;
        spread
    }

    /// Hosts that have it, and those that do not.
    async fn who_has(&self, hosts: &[u32], packed: &Packed, spread: &mut Spread) -> (Vec<u32>, Vec<u32>) {
        let clients = hosts.iter().filter_map(|&host| self.client(host));
        let asked = clients.map(|client| async move { (client, holding(client, packed.digest).await) });
        let (mut have, mut lack) = (Vec::new(), Vec::new());
        for (client, held) in futures::future::join_all(asked).await {
            match held {
                Ok(Holding::Whole) => have.push(client.target().index),
                Ok(Holding::Partial(_)) => lack.push(client.target().index),
                Err(error) => spread.failed.push(failure(client, error)),
            }
        }
        (have, lack)
    }

    /// Does one transfer; returns the bytes that the lab sent.
    async fn carry(&self, one: Move, packed: &Packed, name: &Name, tree: &Tree) -> (Move, Result<u64, HostError>) {
        let result = match one {
            Move::Lab { child } => match self.client(child) {
                Some(client) => send(client, packed, name).await,
                None => Ok(0),
            },
            Move::Host { parent, child } => match (self.client(parent), self.client(child), tree.places.get(&parent)) {
                (Some(parent), Some(child), Some(&(address, _))) => {
                    hand_on(parent, child, address, packed, name).await.map(|()| 0)
                }
                _ => Err(HostError::Unexpected),
            },
        };
        (one, result)
    }

    fn note(&self, one: Move, result: Result<u64, HostError>, spread: &mut Spread, tree: &Tree) {
        let name = |host: u32| {
            self.client(host)
                .map_or_else(String::new, |client| client.target().name.clone())
        };
        match (one, result) {
            (Move::Lab { child }, Ok(bytes)) => {
                spread.sent_bytes += bytes;
                if tree.fan_out > 0 {
                    let before = spread.origins.remove(&child);
                    let text =
                        before.map_or_else(|| "from the lab".to_owned(), |why| format!("from the lab, since {why}"));
                    spread.origins.insert(child, text);
                }
            }
            (Move::Lab { child }, Err(error)) => {
                spread
                    .failed
                    .extend(self.client(child).map(|client| failure(client, error)));
            }
            (Move::Host { parent, child }, Ok(_)) => {
                spread.origins.insert(child, format!("from host `{}`", name(parent)));
            }
            (Move::Host { parent, child }, Err(error)) => {
                let reason = error.to_string();
                let first = reason.lines().next().unwrap_or_default();
                spread
                    .origins
                    .insert(child, format!("host `{}` did not hand it on: {first}", name(parent)));
            }
        }
    }
}

/// Has one host offer the program and another get it there.
async fn hand_on(
    parent: &Arc<HostClient>,
    child: &Arc<HostClient>,
    address: Ipv4Addr,
    packed: &Packed,
    name: &Name,
) -> Result<(), HostError> {
    let mut secret = [0; 32];
    let random = SysRng.try_fill_bytes(&mut secret);
    random.map_err(|error| HostError::Client(error.to_string()))?;
    let token = Token::new(secret);
    let offer = OrderBody::Share {
        digest: packed.digest,
        address,
        token: token.clone(),
    };
    let Answer::Sharing { port } = parent.order_once(offer, ANSWER_DEADLINE).await? else {
        return Err(HostError::Unexpected);
    };
    let wanted = OrderBody::Fetch {
        digest: packed.digest,
        name: name.clone(),
        total: packed.total,
        from: SocketAddrV4::new(address, port),
        token,
    };
    match child.order_once(wanted, FETCH_DEADLINE).await? {
        Answer::Holding(Holding::Whole) => Ok(()),
        _ => Err(HostError::Unexpected),
    }
}

/// Sends what the host lacks of a program.
async fn send(client: &HostClient, packed: &Packed, name: &Name) -> Result<u64, HostError> {
    let have = match holding(client, packed.digest).await? {
        Holding::Whole => return Ok(0),
        Holding::Partial(have) => have,
    };
    let pieces = packed.rest(have);
    let mut sent = 0;
    // A piece is taken only after the one before it, and orders of one connection keep their order.
    let puts = pieces.iter().map(|piece| put(client, packed, name, piece));
    let mut answers = stream::iter(puts.collect::<Vec<_>>()).buffered(PIECES_AT_ONCE);
    let mut last = Holding::Partial(have);
    while let Some(answer) = answers.next().await {
        let (bytes, holding) = answer?;
        sent += bytes;
        last = holding;
    }
    match last {
        Holding::Whole => Ok(sent),
        Holding::Partial(_) => Err(HostError::Unexpected),
    }
}

async fn put(client: &HostClient, packed: &Packed, name: &Name, piece: &Chunk) -> Result<(u64, Holding), HostError> {
    let bytes = piece.bytes.len() as u64;
    let order = OrderBody::Put {
        digest: packed.digest,
        name: name.clone(),
        total: packed.total,
        chunk: piece.clone(),
    };
    match client.order(order, PIECE_DEADLINE).await? {
        Answer::Holding(holding) => Ok((bytes, holding)),
        _ => Err(HostError::Unexpected),
    }
}

async fn holding(client: &HostClient, digest: Digest) -> Result<Holding, HostError> {
    let order = OrderBody::Has { digests: vec![digest] };
    match client.order(order, PIECE_DEADLINE).await? {
        Answer::Holds { held } => held.first().copied().ok_or(HostError::Unexpected),
        _ => Err(HostError::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(hosts: u32, fan_out: usize, region: impl Fn(u32) -> Option<String>) -> Tree {
        let place = |host: u32| (host, (Ipv4Addr::new(127, 0, 0, host as u8), region(host)));
        Tree {
            fan_out,
            places: (0..hosts).map(place).collect(),
        }
    }

    #[test]
    fn the_lab_sends_to_a_few_and_hosts_hand_it_on() {
        let tree = tree(7, 2, |_| None);
        let mut moves = Moves::new(&tree, &[], &[0, 1, 2, 3, 4, 5, 6]);
        let first = [moves.next(), moves.next(), moves.next()];
        assert_eq!(
            first,
            [Some(Move::Lab { child: 0 }), Some(Move::Lab { child: 1 }), None]
        );
        moves.ended(Move::Lab { child: 0 }, true);
        let next = [moves.next(), moves.next(), moves.next(), moves.next()];
        let from = |child| Some(Move::Host { parent: 0, child });
        assert_eq!(next, [from(2), from(3), Some(Move::Lab { child: 4 }), None]);
    }

    #[test]
    fn without_a_tree_the_lab_sends_to_all() {
        let tree = Tree::default();
        let mut moves = Moves::new(&tree, &[], &(0..40).collect::<Vec<_>>());
        let begun: Vec<Move> = std::iter::from_fn(|| moves.next()).collect();
        assert_eq!(begun.len(), SENT_AT_ONCE);
        assert!(begun.iter().all(|one| matches!(one, Move::Lab { .. })));
    }

    #[test]
    fn a_host_that_hands_nothing_on_is_asked_once_and_the_nearest_first() {
        let tree = tree(4, 1, |host| Some(if host % 2 == 0 { "eu" } else { "us" }.to_owned()));
        let mut moves = Moves::new(&tree, &[0, 1], &[3, 2]);
        let (first, second) = (Move::Host { parent: 1, child: 3 }, Move::Host { parent: 0, child: 2 });
        assert_eq!([moves.next(), moves.next()], [Some(first), Some(second)]);
        moves.ended(second, true);
        moves.ended(first, false);
        assert_eq!(moves.next(), Some(Move::Lab { child: 3 }));
        assert!(!moves.parents.contains_key(&1));
    }

    #[test]
    fn one_host_that_dies_with_several_to_serve_is_one_failure() {
        let tree = tree(9, 4, |_| None);
        let mut moves = Moves::new(&tree, &[0], &[1, 2, 3, 4, 5]);
        let begun: Vec<Move> = std::iter::from_fn(|| moves.next()).take(4).collect();
        for one in begun {
            moves.ended(one, false);
        }
        assert!(moves.is_tree);
        assert_eq!(moves.direct, [1, 2, 3, 4]);
    }

    #[test]
    fn hosts_that_never_reach_each_other_are_left_to_the_lab() {
        let tree = tree(30, 2, |_| None);
        let mut moves = Moves::new(&tree, &[0, 1, 2, 3], &(4..40).collect::<Vec<_>>());
        for _ in 0..IN_VAIN_MAX {
            let Some(one @ Move::Host { .. }) = moves.next() else {
                panic!("a host is asked");
            };
            moves.ended(one, false);
        }
        assert!(moves.parents.is_empty(), "nor is the fourth one asked");
        let rest: Vec<Move> = std::iter::from_fn(|| moves.next()).collect();
        assert_eq!(rest.len(), SENT_AT_ONCE);
        assert!(rest.iter().all(|one| matches!(one, Move::Lab { .. })));
    }

    proptest! {
        /// Whatever fails, each host is served by the lab or by one other host, and nobody serves more than it should.
        #[test]
        fn everybody_is_served(
            hosts in 1_u32..60,
            fan_out in 0_usize..6,
            have in 0_u32..4,
            luck in proptest::collection::vec((any::<u8>(), any::<bool>()), 1..80),
        ) {
            let tree = tree(hosts, fan_out, |host| Some(format!("r{}", host % 3)));
            let all: Vec<u32> = (0..hosts).collect();
            let (have, lack) = all.split_at(have.min(hosts) as usize);
            let mut moves = Moves::new(&tree, have, lack);
            let (mut under_way, mut served, mut luck) = (Vec::new(), BTreeSet::new(), luck.into_iter().cycle());
            loop {
                under_way.extend(std::iter::from_fn(|| moves.next()));
                for parent in all.iter().filter(|_| fan_out > 0) {
                    let serves = under_way.iter().filter(|one| matches!(one, Move::Host { parent: p, .. } if p == parent));
                    prop_assert!(serves.count() <= fan_out);
                }
                if under_way.is_empty() {
                    break;
                }
                let (which, goes_well) = luck.next().unwrap_or((0, true));
                let one = under_way.swap_remove(usize::from(which) % under_way.len());
                let (child, is_served) = match one {
                    Move::Lab { child } => (child, true),
                    Move::Host { child, .. } => (child, goes_well),
                };
                if is_served {
                    prop_assert!(served.insert(child), "once");
                }
                moves.ended(one, goes_well);
            }
            prop_assert_eq!(served.into_iter().collect::<Vec<_>>(), lack.to_vec());
        }
    }
}
