//! Where in the journal each block and each batch is.

use regatta_base::{Digest, Height};
use std::collections::{HashMap, VecDeque};

/// Position of a record: number of the file in the upper half, byte in the lower; 0 is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Location(u64);

impl Location {
    /// No place: the batch was not found when its block was written.
    pub(super) const NOWHERE: Self = Self(0);

    pub(super) fn new(file: u32, byte: u32) -> Self {
        Self(u64::from(file) << 32 | u64::from(byte))
    }

    pub(super) fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn byte(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }
}

/// Batches of decided blocks whose places are remembered, in case another block names them too.
const RETIRED_MAX: usize = 4096;
/// Most batches whose places are remembered; the older half is forgotten when there are more.
const BATCHES_MAX: usize = 1 << 20;

/// Places of one instance's blocks: consecutive heights from the first one.
#[derive(Debug, Default)]
struct Chain {
    first: Height,
    places: VecDeque<Place>,
}

/// Where a block is, and the oldest file with a batch of it.
#[derive(Debug, Clone, Copy)]
struct Place {
    block: Location,
    oldest: u32,
}

/// Places of all blocks, and of batches that no block has taken yet.
#[derive(Debug, Default)]
pub(super) struct Index {
    chains: Vec<Chain>,
    batches: HashMap<(u16, Digest), Location>,
    retired: VecDeque<(u16, Digest)>,
    /// Files up to this one are gone.
    gone: u32,
}

impl Index {
    /// Remembers a batch.
    pub(super) fn add_batch(&mut self, instance: u16, digest: Digest, at: Location) {
        if self.batches.len() >= BATCHES_MAX {
            self.forget_older_half();
        }
        self.batches.insert((instance, digest), at);
    }

    fn forget_older_half(&mut self) {
        let mut places: Vec<Location> = self.batches.values().copied().collect();
        let middle = places.len() / 2;
        let (_, median, _) = places.select_nth_unstable(middle);
        let median = *median;
        self.batches.retain(|_, place| *place >= median);
    }

    /// Where the batches of a block are, each [`Location::NOWHERE`] when unknown.
    pub(super) fn find_batches(&self, instance: u16, digests: &[Digest]) -> Vec<Location> {
        let place = |digest: &Digest| self.batches.get(&(instance, *digest)).copied();
        digests
            .iter()
            .map(|digest| place(digest).unwrap_or(Location::NOWHERE))
            .collect()
    }

    fn chain(&mut self, instance: u16) -> &mut Chain {
        let position = usize::from(instance);
        if self.chains.len() <= position {
            self.chains.resize_with(position + 1, Chain::default);
        }
        &mut self.chains[position]
    }

    /// The instance goes on after `height`, whatever came before.
    pub(super) fn skip(&mut self, instance: u16, height: Height) {
        *self.chain(instance) = Chain {
            first: height.saturating_add(1),
            places: VecDeque::new(),
        };
    }

    /// Remembers a block, whose batches are at `places`. `false` when its height does not follow the one before.
    pub(super) fn add_block(
        &mut self,
        instance: u16,
        height: Height,
        at: Location,
        (batches, places): (&[Digest], &[Location]),
    ) -> bool {
        let chain = self.chain(instance);
        if chain.first == 0 && chain.places.is_empty() {
            chain.first = height;
        }
        if height != chain.first + chain.places.len() as u64 {
            return false;
        }
        let files = places.iter().filter(|place| **place != Location::NOWHERE);
        chain.places.push_back(Place {
            block: at,
            oldest: files.map(|place| place.file()).min().unwrap_or(at.file()),
        });
        self.retire(instance, batches);
        true
    }

    fn retire(&mut self, instance: u16, batches: &[Digest]) {
        self.retired.extend(batches.iter().map(|digest| (instance, *digest)));
        while self.retired.len() > RETIRED_MAX {
            if let Some(key) = self.retired.pop_front() {
                self.batches.remove(&key);
            }
        }
    }

    /// Where a block is.
    pub(super) fn find_block(&self, instance: usize, height: Height) -> Option<Location> {
        let chain = self.chains.get(instance)?;
        let position = usize::try_from(height.checked_sub(chain.first)?).ok()?;
        chain.places.get(position).map(|place| place.block)
    }

    /// For each block after `through` the oldest file with a batch of it.
    pub(super) fn oldest_after(&self, instance: u16, through: Height) -> impl Iterator<Item = u32> {
        let chain = self.chains.get(usize::from(instance));
        let skip = chain.map_or(0, |chain| (through + 1).saturating_sub(chain.first));
        let places = chain.into_iter().flat_map(|chain| &chain.places);
        places
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .map(|place| place.oldest)
    }

    /// Forgets what is in files up to `file`, which is about to go.
    pub(super) fn prune(&mut self, file: u32) {
        self.gone = self.gone.max(file);
        self.forget_torn();
        self.batches.retain(|_, place| place.file() > file);
    }

    /// Forgets blocks up to the last one of which a part is gone: a block may outlive a batch of it by a file, and cannot
    /// be shown then.
    pub(super) fn forget_torn(&mut self) {
        for chain in &mut self.chains {
            let is_torn = |place: &Place| place.block.file().min(place.oldest) <= self.gone;
            let torn = chain.places.iter().rposition(is_torn).map_or(0, |last| last + 1);
            chain.places.drain(..torn);
            chain.first += torn as u64;
        }
    }

    /// Whether the file of a place is gone.
    pub(super) fn is_gone(&self, place: Location) -> bool {
        place.file() <= self.gone
    }

    /// The first block of each instance from which on all can be read, once files are gone.
    pub(super) fn first_blocks(&self) -> Vec<(usize, Height)> {
        let chains = self.chains.iter().enumerate().filter(|_| self.gone > 0);
        chains
            .filter(|(_, chain)| chain.first > 0)
            .map(|(instance, chain)| (instance, chain.first))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> Digest {
        Digest::of_bytes(&number.to_le_bytes())
    }

    #[test]
    fn blocks_are_found_by_height_and_gaps_are_refused() {
        let mut index = Index::default();
        for height in 5..9u64 {
            assert!(index.add_block(1, height, Location::new(1, height as u32), (&[], &[])));
        }
        assert!(!index.add_block(1, 10, Location::new(1, 10), (&[], &[])));
        assert!(!index.add_block(1, 8, Location::new(1, 8), (&[], &[])));
        assert_eq!(index.find_block(1, 8), Some(Location::new(1, 8)));
        for (instance, height) in [(1, 4), (1, 9), (0, 5), (2, 5)] {
            assert_eq!(index.find_block(instance, height), None);
        }
    }

    #[test]
    fn batches_of_decided_blocks_are_forgotten_in_the_end() {
        let mut index = Index::default();
        let count = RETIRED_MAX as u32 + 10;
        for number in 0..count {
            index.add_batch(0, digest(number), Location::new(1, number + 1));
            let batches = ([digest(number)], [Location::new(1, number + 1)]);
            assert!(index.add_block(0, u64::from(number) + 1, Location::new(2, 1), (&batches.0, &batches.1)));
        }
        index.add_batch(0, digest(count), Location::new(3, 3));
        let found = index.find_batches(0, &[digest(0), digest(count - 1), digest(count)]);
        assert_eq!(found, [Location::NOWHERE, Location::new(1, count), Location::new(3, 3)]);
        assert_eq!(index.batches.len(), RETIRED_MAX + 1);
    }

    #[test]
    fn what_is_pruned_is_not_found_and_what_blocks_need_is_told() {
        let mut index = Index::default();
        for height in 1..=9u64 {
            let place = Location::new(height as u32, 40);
            let batch = [digest(height as u32)];
            index.add_batch(0, batch[0], place);
            // The batch of block 7 is from long before.
            let batch_at = if height == 7 { Location::new(2, 40) } else { place };
            assert!(index.add_block(0, height, place, (&batch, &[batch_at])));
        }
        assert_eq!(index.oldest_after(0, 5).min(), Some(2));
        assert_eq!(index.oldest_after(0, 7).min(), Some(8));
        assert_eq!(index.oldest_after(0, 9).min(), None);
        index.prune(3);
        // Block 7 lost its batch.
        assert_eq!((index.find_block(0, 7), index.first_blocks()), (None, vec![(0, 8)]));
        assert_eq!(index.find_block(0, 8), Some(Location::new(8, 40)));
        assert!(index.is_gone(Location::new(3, 40)) && !index.is_gone(Location::new(4, 40)));
        assert_eq!(index.find_batches(0, &[digest(3)]), [Location::NOWHERE]);
        index.skip(0, 100);
        assert!(index.find_block(0, 4).is_none() && !index.add_block(0, 100, Location::new(9, 50), (&[], &[])));
        assert!(index.add_block(0, 101, Location::new(9, 50), (&[], &[])));
    }

    /// Seen in a run of the lab: a node named a block as its first one, and could not show it.
    #[test]
    fn a_block_whose_batch_is_in_a_file_that_went_is_not_the_first() {
        let mut index = Index::default();
        for height in 1..=6u64 {
            // The batch of each block is in the file before.
            let (file, batch) = (height as u32 + 1, [digest(height as u32)]);
            let batch_at = [Location::new(file - 1, 40)];
            assert!(index.add_block(0, height, Location::new(file, 40), (&batch, &batch_at)));
        }
        assert_eq!(index.first_blocks(), [], "nothing is gone");
        index.prune(2);
        assert_eq!(index.first_blocks(), [(0, 3)]);
        assert_eq!(index.find_block(0, 2), None);
        // The same when the journal is read again without its first files.
        let mut again = Index::default();
        again.prune(2);
        for height in 2..=6u64 {
            let (file, batch) = (height as u32 + 1, [digest(height as u32)]);
            let batch_at = [Location::new(file - 1, 40)];
            assert!(again.add_block(0, height, Location::new(file, 40), (&batch, &batch_at)));
        }
        again.forget_torn();
        assert_eq!(again.first_blocks(), [(0, 3)]);
        assert!(again.add_block(0, 7, Location::new(8, 40), (&[], &[])));
    }

    #[test]
    fn the_older_half_of_unused_batches_is_forgotten() {
        let mut index = Index::default();
        for number in 0..10 {
            index.add_batch(0, digest(number), Location::new(1, number + 1));
        }
        index.forget_older_half();
        assert_eq!(index.batches.len(), 5);
        assert_eq!(index.find_batches(0, &[digest(9)]), [Location::new(1, 10)]);
    }
}
