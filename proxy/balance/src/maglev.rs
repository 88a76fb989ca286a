//! Consistent hashing with a table of constant size. Source: "Maglev: A Fast and Reliable Software Network Load Balancer",
//! 3.4; Envoy, `maglev`, whose order and weighting are followed, so that a fleet of both proxies sends a key to one endpoint.

use xxhash_rust::xxh64::xxh64;

use crate::ring::Host;

/// An entry that is still free.
const FREE: u32 = u32::MAX;

/// Which host each remainder of a hash belongs to.
#[derive(Debug)]
pub(crate) struct Maglev {
    table: Box<[u32]>,
}

/// A host while the table is filled.
struct Filler {
    position: u32,
    offset: u64,
    skip: u64,
    weight: f64,
    /// Turns it must have come to before it takes another entry.
    target: f64,
    next: u64,
}

impl Maglev {
    /// Fills a table of `size` entries, a prime.
    pub(crate) fn new(hosts: &[Host], size: u64) -> Self {
        if hosts.is_empty() {
            return Self { table: Box::default() };
        }
        let size = size.max(2);
        let heaviest = hosts.iter().map(|host| host.weight).fold(0.0, f64::max);
        let mut table = vec![FREE; usize::try_from(size).unwrap_or(usize::MAX)].into_boxed_slice();
        let mut fillers = fillers(hosts, size);
        let mut left = size;
        let mut round = 0.0;
        while left > 0 {
            round += 1.0;
            for filler in &mut fillers {
                // The heaviest takes an entry in every round, one of a third of its weight in every third.
                if left == 0 || round * filler.weight < filler.target {
                    continue;
                }
                filler.target += heaviest;
                filler.take_entry(&mut table, size);
                left -= 1;
            }
        }
        Self { table }
    }

    /// The position of the host of this key; of the `number`-th after it, if that is above 0; `None` if there is none at all.
    pub(crate) fn pick(&self, hash: u64, number: u64) -> Option<u32> {
        // So many bits from the top of the key are turned, as Envoy does it.
        let hash = hash ^ number.wrapping_neg();
        let place = hash.checked_rem(self.table.len() as u64)?;
        self.table.get(place as usize).copied()
    }
}

impl Filler {
    /// Takes the first free entry of its own permutation of the table.
    fn take_entry(&mut self, table: &mut [u32], size: u64) {
        while self.next < size {
            let place = (u128::from(self.offset) + u128::from(self.skip) * u128::from(self.next)) % u128::from(size);
            self.next += 1;
            match table.get_mut(place as usize) {
                Some(entry) if *entry == FREE => return *entry = self.position,
                _ => {}
            }
        }
        // A permutation reaches every entry if the size is a prime, as it should be.
        if let Some(entry) = table.iter_mut().find(|entry| **entry == FREE) {
            *entry = self.position;
        }
    }
}

/// In the order of their keys, which the outcome depends on.
fn fillers(hosts: &[Host], size: u64) -> Vec<Filler> {
    let mut sorted: Vec<(u32, &Host)> = (0..).zip(hosts).collect();
    sorted.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
    let filler = |(position, host): (u32, &Host)| Filler {
        position,
        offset: xxh64(host.key.as_bytes(), 0) % size,
        skip: xxh64(host.key.as_bytes(), 1) % (size - 1) + 1,
        weight: host.weight,
        target: 0.0,
        next: 0,
    };
    sorted.into_iter().map(filler).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(ports: std::ops::Range<u16>) -> Vec<Host> {
        let weight = 1.0 / f64::from(ports.end - ports.start);
        ports.map(|port| Host { key: format!("127.0.0.1:{port}"), weight }).collect()
    }

    fn entries(table: &Maglev, count: usize) -> Vec<usize> {
        let mut entries = vec![0; count];
        table.table.iter().for_each(|&owner| entries[owner as usize] += 1);
        entries
    }

    #[test]
    fn the_table_is_envoys() {
        // As listed in Envoy's own tests: port - 90 of each entry.
        let table = Maglev::new(&hosts(90..96), 7);
        assert_eq!(*table.table, [2, 4, 0, 1, 5, 0, 3]);
        for hash in 0..21 {
            assert_eq!(table.pick(hash, 0), Some(table.table[hash as usize % 7]));
        }
    }

    #[test]
    fn entries_are_in_proportion_to_weight() {
        let mut hosts = hosts(90..93);
        [1.0, 2.0, 5.0].into_iter().zip(&mut hosts).for_each(|(weight, host)| host.weight = weight / 8.0);
        let entries = entries(&Maglev::new(&hosts, 65_537), 3);
        for (entries, weight) in entries.into_iter().zip([1usize, 2, 5]) {
            assert!(entries.abs_diff(65_537 * weight / 8) < 5, "{entries} entries for weight {weight}");
        }
    }

    #[test]
    fn an_empty_table_has_nobody() {
        assert_eq!(Maglev::new(&[], 7).pick(7, 0), None);
    }

    #[test]
    fn a_host_that_leaves_moves_few_keys_of_others() {
        let (four, three) = (Maglev::new(&hosts(90..94), 65_537), Maglev::new(&hosts(90..93), 65_537));
        let kept = (0..65_537).filter(|&hash| four.pick(hash, 0) != Some(3));
        let moved = kept.filter(|&hash| four.pick(hash, 0) != three.pick(hash, 0)).count();
        assert!(moved < 65_537 / 20, "{moved} entries");
    }

    #[test]
    fn a_size_that_is_no_prime_fills_the_table_nevertheless() {
        let table = Maglev::new(&hosts(90..93), 64);
        assert!(table.table.iter().all(|&owner| owner < 3));
    }

    proptest! {
        #[test]
        fn hosts_of_equal_weight_have_as_many_entries_but_for_one(count in 1u16..50) {
            let entries = entries(&Maglev::new(&hosts(1..1 + count), 1009), usize::from(count));
            let (least, most) = (*entries.iter().min().unwrap(), *entries.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }
    }
}
