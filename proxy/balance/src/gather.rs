//! From lists of endpoints to the blocks of a set. What the set before had in the same list is taken over as it is; only other
//! lists are gone through. Start at [`Gathered::new`].

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use config_model::model::{Endpoint, EndpointAddress, EndpointList};
use foldhash::HashMap;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table;

use crate::blocks::{Blocks, EntryIndex, HALF};
use crate::set::{EndpointSet, Entry};

/// Entries by the hash of their addresses, which stands beside each: where the table grows nobody has to look at endpoints.
pub(crate) type AddressTable = HashTable<(u32, EntryIndex)>;

/// Blocks, each address once.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// What each block was made of.
    pub(crate) lists: Box<[EndpointList]>,
    pub(crate) blocks: Blocks,
    pub(crate) by_address: AddressTable,
    /// Whether an address came up a second time and was left out there.
    pub(crate) has_doubles: bool,
    /// Those of the blocks that the set before did not have.
    pub(crate) fresh: Vec<usize>,
    /// Entries of the set before whose addresses are gone.
    pub(crate) gone: Vec<Entry>,
}

impl Gathered {
    /// Entries of `lists`, with the state of those of `previous` that have the same address. Of several with one address the first
    /// is kept.
    pub(crate) fn new(lists: Vec<EndpointList>, previous: Option<&EndpointSet>, now: Instant) -> Self {
        let lists = addressable(lists);
        // If an address that is left out somewhere goes elsewhere, it has to appear: that takes a look at all of them.
        let is_shareable = previous.is_some_and(|previous| !previous.gathered().has_doubles);
        let mut gathering = Gathering::new(&lists, previous, is_shareable).run(&lists, now);
        if gathering.is_out_of_order {
            gathering = Gathering::new(&lists, previous, false).run(&lists, now);
        }
        let Gathering { blocks, by_address, has_doubles, fresh, moves, .. } = gathering;
        let blocks = Blocks::new(blocks.into_iter().flatten().collect());
        let mut gathered = Self { lists: lists.into(), blocks, by_address, has_doubles, fresh, gone: Vec::new() };
        if let Some(previous) = previous {
            gathered.gone = gathered.missing_of(previous.gathered(), &moves);
        }
        gathered
    }

    /// Entries of `previous` that are in none of its blocks that were taken over, and whose addresses are not here.
    fn missing_of(&self, previous: &Self, moves: &[Option<usize>]) -> Vec<Entry> {
        let left = previous.blocks.list().iter().zip(moves).filter(|(_, moved)| moved.is_none());
        let entries = left.flat_map(|(block, _)| block.iter());
        entries.filter(|entry| self.find(&entry.endpoint.address).is_none()).cloned().collect()
    }

    /// Where the entry with this address is.
    pub(crate) fn find(&self, address: &EndpointAddress) -> Option<EntryIndex> {
        self.lookup(address, hash_of(address))
    }

    fn lookup(&self, address: &EndpointAddress, hash: u32) -> Option<EntryIndex> {
        let found = self.by_address.find(spread(hash), |&(_, index)| self.has_address(index, address));
        found.map(|&(_, index)| index)
    }

    fn has_address(&self, index: EntryIndex, address: &EndpointAddress) -> bool {
        self.blocks.get(index).is_some_and(|entry| entry.endpoint.address == *address)
    }
}

/// Blocks on their way.
struct Gathering<'p> {
    previous: Option<&'p Gathered>,
    /// Where each block of the set before is now, if it was taken over.
    moves: Vec<Option<usize>>,
    /// Those of lists that are not gone through yet are absent.
    blocks: Vec<Option<Arc<[Entry]>>>,
    by_address: AddressTable,
    has_doubles: bool,
    /// Whether an address is in a list and also in a block behind it that was taken over, which is the one that would have to
    /// leave.
    is_out_of_order: bool,
    fresh: Vec<usize>,
    /// Where the next entry was in the set before, most likely: order seldom changes.
    expected: EntryIndex,
}

impl<'p> Gathering<'p> {
    /// Nothing but the blocks of `previous` whose lists are the same in memory, if they are to be shared.
    fn new(lists: &[EndpointList], previous: Option<&'p EndpointSet>, is_shared: bool) -> Self {
        let previous = previous.map(EndpointSet::gathered);
        let mut blocks = vec![None; lists.len()];
        let known = previous.map(|previous| &*previous.lists).unwrap_or_default();
        let mut moves = vec![None; known.len()];
        if is_shared {
            let places: HashMap<*const Arc<Endpoint>, usize> =
                lists.iter().enumerate().map(|(number, list)| (list.as_ptr(), number)).collect();
            for (moved, list) in moves.iter_mut().zip(known) {
                *moved = places.get(&list.as_ptr()).copied();
            }
        }
        let known = previous.map(|previous| previous.blocks.list()).unwrap_or_default();
        for (moved, block) in moves.iter().zip(known) {
            if let Some(place) = moved.and_then(|moved| blocks.get_mut(moved)) {
                *place = Some(Arc::clone(block));
            }
        }
        let by_address = match previous.filter(|_| moves.iter().any(Option::is_some)) {
            Some(previous) => moved(previous, &moves),
            None => AddressTable::with_capacity(lists.iter().map(|list| list.len()).sum()),
        };
        let expected = EntryIndex(0);
        let (has_doubles, is_out_of_order, fresh) = (false, false, Vec::new());
        Self { previous, moves, blocks, by_address, has_doubles, is_out_of_order, fresh, expected }
    }

    /// Goes through the lists that are left.
    fn run(mut self, lists: &[EndpointList], now: Instant) -> Self {
        for (number, list) in lists.iter().enumerate() {
            if self.blocks.get(number).is_some_and(Option::is_none) {
                let block = self.block(number, list, now);
                self.fresh.push(number);
                if let Some(place) = self.blocks.get_mut(number) {
                    *place = Some(block);
                }
            }
        }
        self
    }

    fn block(&mut self, number: usize, list: &EndpointList, now: Instant) -> Arc<[Entry]> {
        let mut entries: Vec<Entry> = Vec::with_capacity(list.len());
        for endpoint in &**list {
            let hash = hash_of(&endpoint.address);
            let index = EntryIndex::new(number, entries.len());
            let has_address = |&(_, known): &(u32, EntryIndex)| {
                let block = self.blocks.get(known.block()).and_then(Option::as_deref).unwrap_or(&entries);
                block.get(known.place()).is_some_and(|entry| entry.endpoint.address == endpoint.address)
            };
            match self.by_address.entry(spread(hash), has_address, |&(hash, _)| spread(hash)) {
                hash_table::Entry::Occupied(known) => {
                    self.has_doubles = true;
                    self.is_out_of_order |= known.get().1 > index;
                }
                hash_table::Entry::Vacant(slot) => {
                    slot.insert((hash, index));
                    let known = self.known(&endpoint.address, hash);
                    entries.push(Entry::taking_over(endpoint, known, now));
                }
            }
        }
        entries.into()
    }

    /// The entry of the set before with this address.
    fn known(&mut self, address: &EndpointAddress, hash: u32) -> Option<&'p Entry> {
        let previous = self.previous?;
        let is_expected = previous.has_address(self.expected, address);
        let found = if is_expected { self.expected } else { previous.lookup(address, hash)? };
        self.expected = EntryIndex(found.0.wrapping_add(1));
        previous.blocks.get(found)
    }
}

/// The addresses of blocks that were taken over, at their new places.
fn moved(previous: &Gathered, moves: &[Option<usize>]) -> AddressTable {
    let mut by_address = previous.by_address.clone();
    if moves.iter().enumerate().any(|(number, moved)| moved.is_some_and(|moved| moved != number)) {
        by_address.retain(|(_, index)| match moves.get(index.block()) {
            Some(&Some(block)) => {
                *index = EntryIndex::new(block, index.place());
                true
            }
            _ => false,
        });
        return by_address;
    }
    // All are where they were, mostly all but one: only its addresses go.
    for (number, block) in previous.blocks.list().iter().enumerate() {
        if moves.get(number).is_some_and(Option::is_none) {
            for (place, entry) in block.iter().enumerate() {
                let index = EntryIndex::new(number, place);
                let hash = spread(hash_of(&entry.endpoint.address));
                if let Ok(known) = by_address.find_entry(hash, |&(_, known)| known == index) {
                    known.remove();
                }
            }
        }
    }
    by_address
}

/// Lists whose entries [`EntryIndex`] can tell apart: others where there are too many or too long ones. More than four thousand
/// million endpoints do not fit into memory.
fn addressable(lists: Vec<EndpointList>) -> Vec<EndpointList> {
    if lists.len() <= HALF && lists.iter().all(|list| list.len() <= HALF) {
        return lists;
    }
    let all: Vec<Arc<Endpoint>> = lists.iter().flat_map(|list| list.iter().cloned()).collect();
    all.chunks(HALF).take(HALF).map(EndpointList::from).collect()
}

/// Addresses come from the configuration, which is trusted: a hash without a secret will do.
fn hash_of(address: &EndpointAddress) -> u32 {
    FixedState::default().hash_one(address) as u32
}

/// As the table wants it, which looks at both ends.
fn spread(hash: u32) -> u64 {
    (u64::from(hash) << 32) | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use config_model::model::{Balancing, ClusterPolicy, Health, Locality, Workload};

    use super::*;
    use crate::set::SetRules;

    fn list(port: u16) -> EndpointList {
        let workload = Workload::all(&"unknown".into());
        let endpoint = Endpoint {
            address: EndpointAddress::Ip(SocketAddr::from(([10, 0, 0, 1], port))),
            weight: 1,
            health: Health::Ready,
            priority: 0,
            locality_share: None,
            proxies: None,
            locality: Locality::default(),
            workload: workload.into(),
        };
        [Arc::new(endpoint)].into()
    }

    #[test]
    fn addresses_that_are_gone_leave_the_table() {
        let rules = SetRules { balancing: Balancing::RoundRobin, policy: Arc::new(ClusterPolicy::default()) };
        let stays = list(1);
        let mut set = EndpointSet::of_lists(vec![Arc::clone(&stays)], rules.clone(), None, Instant::now());
        for port in 2..9 {
            let lists = vec![Arc::clone(&stays), list(port)];
            set = EndpointSet::of_lists(lists, rules.clone(), Some(&set), Instant::now());
            assert_eq!(set.gathered().by_address.len(), 2);
        }
    }
}
