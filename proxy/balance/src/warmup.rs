//! How much of its weight an endpoint has while it is new. Source: Istio, `loadBalancer.warmup`; Envoy, "Slow start mode".

use std::time::Duration;

use config_model::model::Warmup;

/// Parts that a weight is divided into, so that a share of it is a whole number.
const PARTS: u64 = 1000;

/// Share of its weight, in (0, 1], of an endpoint that has been ready for so long.
pub(crate) fn share(warmup: &Warmup, ready_for: Duration) -> f64 {
    if ready_for >= warmup.duration {
        return 1.0;
    }
    // A millisecond at least, as in Envoy: nothing to any power is nothing.
    let time = ready_for.max(Duration::from_millis(1)).as_secs_f64() / warmup.duration.as_secs_f64();
    let exponent = if warmup.aggression > 0.0 { 1.0 / warmup.aggression } else { 1.0 };
    time.min(1.0).powf(exponent).clamp((warmup.minimum_percent / 100.0).clamp(0.0, 1.0), 1.0)
}

/// Whole weights in proportion to `weight * share`, each at least 1.
pub(crate) fn scaled(weights: &[(u32, f64)]) -> Vec<u32> {
    if weights.iter().all(|&(_, share)| share >= 1.0) {
        return weights.iter().map(|&(weight, _)| weight).collect();
    }
    let heaviest = weights.iter().map(|&(weight, _)| u64::from(weight)).max().unwrap_or(1).max(1);
    let parts = (u64::from(u32::MAX) / heaviest).clamp(1, PARTS);
    let scale = |&(weight, share): &(u32, f64)| {
        let whole = u64::from(weight) * parts;
        u32::try_from(((whole as f64 * share + 0.5) as u64).clamp(1, whole.max(1))).unwrap_or(u32::MAX)
    };
    weights.iter().map(scale).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn warmup(minimum_percent: f64, aggression: f64) -> Warmup {
        Warmup { duration: Duration::from_secs(100), minimum_percent, aggression }
    }

    #[test]
    fn the_share_grows_from_the_minimum_to_all() {
        for (seconds, share) in [(0, 0.1), (5, 0.1), (25, 0.25), (50, 0.5), (99, 0.99), (100, 1.0), (1000, 1.0)] {
            assert!(
                (super::share(&warmup(10.0, 1.0), Duration::from_secs(seconds)) - share).abs() < 1e-9,
                "{seconds} s"
            );
        }
    }

    #[test]
    fn a_new_endpoint_has_some_share_even_without_a_minimum() {
        assert_eq!(super::share(&warmup(0.0, 1.0), Duration::ZERO), 1e-5);
    }

    #[test]
    fn aggression_bends_the_curve() {
        let quarter = Duration::from_secs(25);
        for (aggression, share) in [(2.0, 0.5), (0.5, 0.0625), (0.0, 0.25)] {
            assert!((super::share(&warmup(1.0, aggression), quarter) - share).abs() < 1e-9, "{aggression}");
        }
    }

    #[test]
    fn weights_of_a_warm_cluster_are_as_written() {
        assert_eq!(scaled(&[(3, 1.0), (7, 1.0)]), [3, 7]);
        assert_eq!(scaled(&[(3, 1.0), (7, 0.1)]), [3000, 700]);
        assert_eq!(scaled(&[(u32::MAX, 1.0), (1, 0.1)]), [u32::MAX, 1]);
    }

    proptest! {
        #[test]
        fn the_share_never_falls(minimum in 0.0f64..100.0, aggression in 0.1f64..10.0, times in vec(0u64..200_000, 2..9)) {
            let mut times = times;
            times.sort_unstable();
            let shares: Vec<f64> =
                times.into_iter().map(|millis| share(&warmup(minimum, aggression), Duration::from_millis(millis))).collect();
            prop_assert!(shares.is_sorted());
            prop_assert!(shares.iter().all(|&share| share > 0.0 && share <= 1.0));
        }

        #[test]
        fn who_is_warm_never_gets_more_than_without_the_warmup(weights in vec((1u32..1000, 0.01f64..1.0), 1..9), old in 1u32..1000) {
            // Compared with a cluster in which the new ones aren't at all.
            let mut all = weights;
            all.push((old, 1.0));
            let scaled = scaled(&all);
            let sum: f64 = scaled.iter().copied().map(f64::from).sum();
            prop_assert!(f64::from(*scaled.last().unwrap()) / sum < 1.0);
            // And every weight is within rounding of its exact part.
            for ((weight, share), got) in all.iter().zip(&scaled) {
                prop_assert!((f64::from(*got) - f64::from(*weight) * share * 1000.0).abs() <= 1.0);
            }
        }
    }
}
