//! How much of the traffic stays in the proxy's own zone, so that each endpoint gets as much as any other. Source: Istio,
//! `zoneAwareLbSetting`; Envoy, "Zone aware routing", whose whole ten-thousandths are followed.
//!
//! A zone with as large a share of the endpoints as it has of the proxies can serve all of its own. One with a smaller share
//! passes on what is over to the zones that have more endpoints than proxies. It is the proxies of the proxy's own service that
//! are compared with the endpoints, as they all do the same.

/// Shares are counted in ten-thousandths.
const WHOLE: u64 = 10_000;

/// A place of the proxy's region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Whether the proxy is there.
    pub(crate) is_own: bool,
    /// Endpoints that are ready and not ejected.
    pub(crate) healthy: u64,
    /// Ten-thousandths of the proxies that are there.
    pub(crate) proxies: u16,
}

/// Shares of the zones, compared with each other. Nothing where zones make no difference: there is one only, or there are fewer
/// endpoints than `healthy_min`.
pub(crate) fn shares(zones: &[Zone], healthy_min: u64) -> Option<Vec<u32>> {
    let healthy: u64 = zones.iter().map(|zone| zone.healthy).sum();
    if zones.len() < 2 || healthy < healthy_min {
        return None;
    }
    let endpoints = |zone: &Zone| (zone.healthy * WHOLE).checked_div(healthy).unwrap_or(0);
    let proxies = |zone: &Zone| u64::from(zone.proxies);
    let own = zones.iter().find(|zone| zone.is_own);
    let staying = own.map_or(0, |own| match (endpoints(own), proxies(own)) {
        (endpoints, proxies) if endpoints >= proxies && endpoints > 0 => WHOLE,
        (endpoints, proxies) => (endpoints * WHOLE).checked_div(proxies).unwrap_or(0),
    });
    let room = |zone: &Zone| if zone.is_own { 0 } else { endpoints(zone).saturating_sub(proxies(zone)) };
    let all_room: u64 = zones.iter().map(room).sum();
    let share = |zone: &Zone| match (staying, all_room) {
        _ if zone.healthy == 0 => 0,
        (WHOLE, _) => u64::from(zone.is_own),
        // Rounding has left no room anywhere: what can't stay goes to any zone.
        (_, 0) => (WHOLE - staying) + if zone.is_own { staying * zones.len() as u64 } else { 0 },
        (_, all_room) if zone.is_own => staying * all_room,
        _ => (WHOLE - staying) * room(zone),
    };
    Some(zones.iter().map(|zone| u32::try_from(share(zone)).unwrap_or(u32::MAX)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The first is the proxy's own.
    fn zones(described: &[(u64, u16)]) -> Vec<Zone> {
        let zone = |(index, &(healthy, proxies)): (usize, &_)| Zone { is_own: index == 0, healthy, proxies };
        described.iter().enumerate().map(zone).collect()
    }

    #[test]
    fn a_zone_keeps_what_its_endpoints_can_take_and_the_rest_goes_where_there_is_room() {
        for (described, want) in [
            // As many endpoints as proxies, or more: all stay.
            (&[(3, 5_000), (3, 5_000)][..], Some(&[1, 0][..])),
            (&[(5, 2_000), (1, 8_000)], Some(&[1, 0])),
            // Half the proxies, a quarter of the endpoints: half of the requests stay.
            (&[(2, 5_000), (6, 5_000)], Some(&[5_000 * 2_500, 5_000 * 2_500])),
            // The third has no room, since most proxies are there.
            (&[(2, 4_000), (6, 2_000), (2, 4_000)], Some(&[5_000 * 4_000, 5_000 * 4_000, 0])),
            // Proxies elsewhere than any endpoint.
            (&[(1, 6_667), (2, 0)], Some(&[4_999 * 6_666, 5_001 * 6_666])),
            // Nobody in the proxy's zone: the others, as far as there is room.
            (&[(0, 2_000), (1, 6_000), (2, 0), (1, 2_000)], Some(&[0, 0, 5_000 * WHOLE as u32, 500 * WHOLE as u32])),
            // One zone only.
            (&[(6, 10_000)], None),
            (&[], None),
        ] {
            assert_eq!(shares(&zones(described), 1).as_deref(), want, "{described:?}");
        }
    }

    #[test]
    fn few_endpoints_are_not_divided() {
        assert_eq!(shares(&zones(&[(3, 5_000), (2, 5_000)]), 6), None);
        assert!(shares(&zones(&[(3, 5_000), (3, 5_000)]), 6).is_some());
    }

    proptest! {
        #[test]
        fn if_each_zones_proxies_do_this_all_endpoints_get_the_same(described in vec((1u64..50, 0u64..50), 2..6)) {
            let proxies: u64 = described.iter().map(|(_, proxies)| proxies).sum();
            prop_assume!(proxies > 0);
            let healthy: u64 = described.iter().map(|(healthy, _)| healthy).sum();
            let mut load = vec![0.0; described.len()];
            for own in 0..described.len() {
                let zone = |(index, &(healthy, there)): (usize, &(u64, u64))| {
                    Zone { is_own: index == own, healthy, proxies: (there * WHOLE / proxies) as u16 }
                };
                let zones: Vec<Zone> = described.iter().enumerate().map(zone).collect();
                let shares = shares(&zones, 1).unwrap();
                let all: u64 = shares.iter().copied().map(u64::from).sum();
                prop_assert!(all > 0);
                for (load, share) in load.iter_mut().zip(&shares) {
                    *load += described[own].1 as f64 / proxies as f64 * f64::from(*share) / all as f64;
                }
            }
            for (load, (there, _)) in load.iter().zip(&described) {
                let fair = *there as f64 / healthy as f64;
                prop_assert!((load - fair).abs() < 0.002 * described.len() as f64, "{load} instead of {fair}");
            }
        }
    }
}
