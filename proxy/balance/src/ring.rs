//! Consistent hashing with a ring. Source: Envoy, `ring_hash`; its choice is followed point by point, so that a fleet of both
//! proxies sends a key to one endpoint.

use std::fmt::Write;

use crate::hash::hash_bytes;

/// Points at most. Source: Envoy, `maximum_ring_size`.
const POINTS_MAX: f64 = (8 * 1024 * 1024) as f64;

/// An endpoint as consistent hashing sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Host {
    /// Its address as text.
    pub(crate) key: String,
    /// Share of the whole: all of a level sum up to 1.
    pub(crate) weight: f64,
}

/// Points on a circle of hashes. A key belongs to the next point.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Points, ascending, and the position of the host of each.
    points: Box<[(u64, u32)]>,
    /// Where points begin that share their leading bits: a search starts there and is over within a cache line or two.
    begins: Box<[u32]>,
    /// How far a hash is shifted to be a position in `begins`.
    shift: u32,
}

impl Ring {
    /// A ring of at least `points_min` points, in which every host has as many as its weight says, and at least one.
    pub(crate) fn new(hosts: &[Host], points_min: u64) -> Self {
        let mut points = place(hosts, points_min).into_boxed_slice();
        points.sort_unstable();
        // Two to four points in a bucket.
        let bits = (usize::BITS - points.len().leading_zeros()).saturating_sub(2).max(1);
        let shift = u64::BITS - bits;
        let mut position = 0;
        let begin = |bucket: u64| {
            while points.get(position).is_some_and(|&(point, _)| point >> shift < bucket) {
                position += 1;
            }
            u32::try_from(position).unwrap_or(u32::MAX)
        };
        let begins = (0..=1u64 << bits).map(begin).collect();
        Self { points, begins, shift }
    }

    /// The position of the host of this key, or of the point so many `further` on; `None` if there is none at all.
    pub(crate) fn pick(&self, hash: u64, further: usize) -> Option<u32> {
        let bucket = (hash >> self.shift) as usize;
        let bounds = self.begins.get(bucket..bucket + 2)?;
        let (from, to) = (*bounds.first()? as usize, *bounds.last()? as usize);
        let before = self.points.get(from..to)?.partition_point(|&(point, _)| point < hash);
        // Behind the last point comes the first one.
        let place = from + before + further;
        let place = if place < self.points.len() { place } else { place.checked_rem(self.points.len())? };
        self.points.get(place).map(|&(_, owner)| owner)
    }
}

/// Every point with its owner. Sums are kept in the order and with the roundings of Envoy's, since they decide who gets a
/// fraction of a point.
fn place(hosts: &[Host], points_min: u64) -> Vec<(u64, u32)> {
    let lightest = hosts.iter().map(|host| host.weight).fold(1.0, f64::min);
    let scale = ((lightest * points_min as f64).ceil() / lightest).min(POINTS_MAX);
    let mut placed = Vec::with_capacity(scale.ceil() as usize);
    let (mut count, mut target) = (0.0, 0.0);
    let mut key = String::new();
    for (position, host) in (0u32..).zip(hosts) {
        target += scale * host.weight;
        let mut number = 0u64;
        while count < target {
            key.clear();
            // Writing to a string cannot fail.
            let _ = write!(key, "{}_{number}", host.key);
            placed.push((hash_bytes(key.as_bytes()), position));
            number += 1;
            count += 1.0;
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn hosts(ports: std::ops::Range<u16>) -> Vec<Host> {
        let weight = 1.0 / f64::from(ports.end - ports.start);
        ports.map(|port| Host { key: format!("127.0.0.1:{port}"), weight }).collect()
    }

    #[test]
    fn the_ring_is_envoys() {
        // As listed in Envoy's own tests: port - 90, position.
        let ring = Ring::new(&hosts(90..96), 12);
        let listed = [
            (833_437_586_790_550_860, 4),
            (928_266_305_478_181_108, 2),
            (1_033_482_794_131_418_490, 0),
            (3_551_244_743_356_806_947, 5),
            (3_851_675_632_748_031_481, 3),
            (5_583_722_120_771_150_861, 1),
            (6_311_230_543_546_372_928, 1),
            (7_700_377_290_971_790_572, 3),
            (13_144_177_310_400_110_813, 5),
            (13_444_792_449_719_432_967, 2),
            (15_516_499_411_664_133_160, 4),
            (16_117_243_373_044_804_889, 0),
        ];
        assert_eq!(*ring.points, listed);
        for (hash, owner) in [
            (0, 4),
            (u64::MAX, 4),
            (3_551_244_743_356_806_947, 5),
            (3_551_244_743_356_806_948, 3),
            (16_117_243_373_044_804_880, 0),
        ] {
            assert_eq!(ring.pick(hash, 0), Some(owner), "{hash}");
        }
    }

    #[test]
    fn every_host_has_a_whole_number_of_points_even_beyond_the_minimum() {
        // Envoy's test "UnevenHosts": two hosts and a minimum of three make four points.
        let ring = Ring::new(&hosts(80..82), 3);
        let listed = [
            (5_454_692_015_285_649_509, 0),
            (7_859_399_908_942_313_493, 1),
            (13_838_424_394_637_650_569, 0),
            (16_064_866_803_292_627_174, 1),
        ];
        assert_eq!(*ring.points, listed);
    }

    #[test]
    fn points_are_in_proportion_to_weight() {
        let mut hosts = hosts(80..82);
        hosts[0].weight = 0.25;
        hosts[1].weight = 0.75;
        let ring = Ring::new(&hosts, 1024);
        let of_first = ring.points.iter().filter(|(_, owner)| *owner == 0).count();
        assert_eq!((of_first, ring.points.len()), (256, 1024));
    }

    #[test]
    fn an_empty_ring_has_nobody() {
        assert_eq!(Ring::new(&[], 1024).pick(7, 0), None);
    }

    proptest! {
        #[test]
        fn a_key_belongs_to_the_next_point(count in 1u16..40, points_min in 1u64..300, hashes in vec(any::<u64>(), 1..50)) {
            let ring = Ring::new(&hosts(1..1 + count), points_min);
            prop_assert!(ring.points.len() as u64 >= points_min.max(u64::from(count)));
            for hash in hashes.into_iter().chain(ring.points.iter().map(|&(point, _)| point)).chain([0, u64::MAX]) {
                let next = ring.points.iter().position(|&(point, _)| point >= hash).unwrap_or(0);
                prop_assert_eq!(ring.pick(hash, 0), Some(ring.points[next].1));
            }
        }
    }
}
