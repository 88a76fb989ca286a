//! Entries in blocks, one for each list of endpoints that a set was made of. A block that a change doesn't touch is the very same
//! object in the next set, so that one endpoint of ten thousand costs what its own block does.

use std::sync::Arc;

use crate::set::Entry;

/// Where an entry of a set is, and of no other set: the number of its block in the upper half, the place in it in the lower. In a
/// set that was made of one list this is the place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryIndex(pub u32);

/// Blocks of a set, and entries of a block.
pub(crate) const HALF: usize = 1 << 16;

impl EntryIndex {
    /// The entry at `place` of a block, both below [`HALF`].
    pub(crate) fn new(block: usize, place: usize) -> Self {
        Self(((block << 16) | place) as u32)
    }

    /// Which of the set's blocks it is in.
    pub fn block(self) -> usize {
        (self.0 >> 16) as usize
    }

    /// Its place in the block.
    pub fn place(self) -> usize {
        (self.0 & 0xFFFF) as usize
    }
}

/// The entries of a set. Copies are one reference.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks(Arc<[Arc<[Entry]>]>);

impl Blocks {
    pub(crate) fn new(blocks: Vec<Arc<[Entry]>>) -> Self {
        Self(blocks.into())
    }

    pub(crate) fn list(&self) -> &[Arc<[Entry]>] {
        &self.0
    }

    #[inline]
    pub(crate) fn get(&self, index: EntryIndex) -> Option<&Entry> {
        self.0.get(index.block())?.get(index.place())
    }

    /// In order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (EntryIndex, &Entry)> {
        self.0.iter().enumerate().flat_map(|(number, block)| {
            block.iter().enumerate().map(move |(place, entry)| (EntryIndex::new(number, place), entry))
        })
    }
}
