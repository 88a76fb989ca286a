//! Who gets a copy of a request. Source: Istio, `HTTPRoute.mirror` and `mirrors`; Envoy, `RequestMirrorPolicy`. A copy is the
//! request as its destination gets it, sent once however often the request itself is tried; nobody waits for its answer.

use config_model::model::{ClusterIndex, ClusterTarget, Mirror};

/// The clusters that get a copy. `draw` is asked once for each mirror and gives a fraction of 2^64; a mirror whose cluster
/// does not exist gets nothing.
pub fn chosen<'m>(
    mirrors: &'m [Mirror],
    mut draw: impl FnMut() -> u64 + 'm,
) -> impl Iterator<Item = (ClusterIndex, &'m Mirror)> {
    mirrors.iter().filter_map(move |mirror| match mirror.cluster {
        ClusterTarget::Known(index) => mirror.share.holds(draw()).then_some((index, mirror)),
        ClusterTarget::Missing(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config_model::model::{ClusterName, Direction, Fraction};
    use config_model::origin::{Origin, Position, ResourceId};
    use proptest::prelude::*;

    use super::*;

    fn mirror(cluster: ClusterTarget, percent: f64) -> Mirror {
        let resource =
            ResourceId { kind: "VirtualService", namespace: "n".into(), name: "v".into(), file: "v.yaml".into() };
        let origin = Origin { resource: Arc::new(resource), position: Position::default() };
        Mirror { cluster, share: Fraction::from_percent(percent), origin }
    }

    fn known(index: u32, percent: f64) -> Mirror {
        mirror(ClusterTarget::Known(ClusterIndex(index)), percent)
    }

    fn chosen_of(mirrors: &[Mirror], draws: &[u64]) -> Vec<u32> {
        let mut draws = draws.iter().copied();
        chosen(mirrors, || draws.next().expect("a draw")).map(|(index, _)| index.0).collect()
    }

    #[test]
    fn each_mirror_is_drawn_by_itself() {
        let quarter = u64::MAX / 4;
        let mirrors = [known(0, 100.0), known(1, 25.0), known(2, 0.0), known(3, 50.0)];
        let table = [
            ([0, 0, 0, 0], vec![0, 1, 3]),
            ([u64::MAX, quarter + 1, 0, quarter + 1], vec![0, 3]),
            ([u64::MAX, quarter, 0, u64::MAX], vec![0, 1]),
        ];
        for (draws, want) in table {
            assert_eq!(chosen_of(&mirrors, &draws), want, "{draws:?}");
        }
    }

    #[test]
    fn a_mirror_that_does_not_exist_gets_nothing_and_takes_no_draw() {
        let name = ClusterName { host: "gone".into(), port: 80, subset: "".into(), direction: Direction::Outbound };
        let mirrors = [mirror(ClusterTarget::Missing(name), 100.0), known(1, 100.0)];
        assert_eq!(chosen_of(&mirrors, &[7]), [1]);
    }

    proptest! {
        #[test]
        fn evenly_spread_draws_mirror_exactly_the_share(percent in 0u32..=100) {
            let mirrors = [known(0, f64::from(percent))];
            let step = u64::MAX / 100 + 1;
            let hits: usize = (0..100).map(|number| chosen_of(&mirrors, &[number * step]).len()).sum();
            prop_assert_eq!(hits, percent as usize);
        }
    }
}
