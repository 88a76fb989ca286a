//! Who is ejected, for how long, and never too many of them.

mod common;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use balance::{EjectionCause, EndpointSet, EntryIndex, OutlierEvent, Picker, Report, Wish};
use common::{endpoint, endpoints, hits, outlier_policy, outliers, rules, xorshift};
use config_model::model::{Balancing, ClusterPolicy, Health, OutlierDetection};
use proptest::collection::vec;
use proptest::prelude::*;

fn build(count: u16, outliers: OutlierDetection, previous: Option<&EndpointSet>, now: Instant) -> EndpointSet {
    EndpointSet::new(endpoints(count), rules(Balancing::RoundRobin, outlier_policy(outliers)), previous, now)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fail(set: &EndpointSet, index: u32, now: Instant) -> Option<OutlierEvent> {
    set.report(EntryIndex(index), Report::Answer(500), now)
}

fn ejected(set: &EndpointSet) -> Vec<u32> {
    (0..).zip(set.entries()).filter(|(_, entry)| entry.state.is_ejected()).map(|(index, _)| index).collect()
}

#[test]
fn the_failure_that_fills_the_count_ejects_at_once() {
    let now = Instant::now();
    let set = build(4, outliers(3, 100), None, now);
    assert_eq!((fail(&set, 1, now), fail(&set, 1, now)), (None, None));
    let event = fail(&set, 1, now);
    assert_eq!(event, Some(OutlierEvent::Ejected { cause: EjectionCause::Consecutive5xx, times: 1 }));
    set.refresh(now);
    assert_eq!((set.healthy_count(), set.ready_count()), (3, 4));
    assert_eq!(hits(&set, 30, &mut xorshift(1)), [10, 0, 10, 10]);
    assert_eq!(fail(&set, 1, now), None, "it is out already");
}

#[test]
fn an_answer_below_500_begins_the_count_anew() {
    let now = Instant::now();
    let set = build(4, outliers(2, 100), None, now);
    for report in [500, 200, 500, 404, 500].map(Report::Answer) {
        assert_eq!(set.report(EntryIndex(0), report, now), None);
    }
    assert!(fail(&set, 0, now).is_some());
}

#[test]
fn where_codes_are_listed_they_are_the_errors_and_no_other_status_is() {
    let now = Instant::now();
    let set = build(4, OutlierDetection { error_codes: vec![429, 503], ..outliers(3, 100) }, None, now);
    for report in [429, 503, 500, 429, 503].map(Report::Answer) {
        assert_eq!(set.report(EntryIndex(0), report, now), None, "500 is none of them, and begins the count anew");
    }
    assert!(set.report(EntryIndex(0), Report::Answer(429), now).is_some());
    let unanswered =
        [Report::Unreached, Report::NoAnswer, Report::TimedOut].map(|it| set.report(EntryIndex(1), it, now));
    assert!(unanswered[2].is_some(), "no answer is an error whatever is listed");
}

#[test]
fn no_answer_counts_as_a_gateway_error_and_an_overflow_as_nothing() {
    let now = Instant::now();
    let mut gateway = outliers(0, 100);
    gateway.consecutive_gateway_errors = NonZeroU32::new(4);
    let set = build(4, gateway, None, now);
    for report in [Report::NoAnswer, Report::TimedOut, Report::Nothing, Report::Answer(502)] {
        assert_eq!(set.report(EntryIndex(0), report, now), None);
    }
    let event = set.report(EntryIndex(0), Report::Answer(504), now);
    assert!(matches!(event, Some(OutlierEvent::Ejected { cause: EjectionCause::ConsecutiveGatewayErrors, .. })));
    // A 500 is no gateway error, and begins their count anew.
    for status in [502, 503, 504, 500, 502, 503, 504] {
        assert_eq!(set.report(EntryIndex(1), Report::Answer(status), now), None);
    }
}

#[test]
fn failures_of_local_origin_are_counted_apart_only_if_split() {
    let now = Instant::now();
    let mut split = outliers(2, 100);
    split.split_external_local_origin_errors = true;
    split.consecutive_local_origin_failures = NonZeroU32::new(3);
    let set = build(4, split, None, now);
    let (unreached, broken_off) = (Report::Unreached, Report::NoAnswer);
    for report in
        [unreached, unreached, Report::Answer(500), unreached, unreached, broken_off, Report::TimedOut, unreached]
    {
        assert_eq!(
            set.report(EntryIndex(0), report, now),
            None,
            "an answer or a connection shows that it can be reached"
        );
    }
    let event = set.report(EntryIndex(0), unreached, now);
    assert!(matches!(event, Some(OutlierEvent::Ejected { cause: EjectionCause::ConsecutiveLocalOriginFailures, .. })));
}

#[test]
fn ejections_stay_within_the_percentage() {
    for (count, percent, allowed) in
        [(4, 50, 2), (4, 49, 1), (3, 33, 0), (3, 34, 1), (9, 10, 0), (10, 10, 1), (4, 100, 4)]
    {
        let now = Instant::now();
        let set = build(count, outliers(1, percent), None, now);
        let events: Vec<_> = (0..u32::from(count)).map(|index| fail(&set, index, now)).collect();
        let refused = OutlierEvent::Refused { cause: EjectionCause::Consecutive5xx };
        assert_eq!(ejected(&set).len(), allowed, "{percent} percent of {count}");
        assert_eq!(events.iter().filter(|event| **event == Some(refused)).count(), usize::from(count) - allowed);
    }
}

#[test]
fn an_ejection_that_is_refused_begins_the_count_anew() {
    let now = Instant::now();
    let set = build(2, outliers(2, 0), None, now);
    let refused = Some(OutlierEvent::Refused { cause: EjectionCause::Consecutive5xx });
    assert_eq!([(); 4].map(|()| fail(&set, 0, now)), [None, refused, None, refused]);
}

#[test]
fn with_all_ejected_there_is_nobody_unless_a_minimum_health_is_asked_for() {
    for (minimum, picked) in [(0, None), (1, Some(EntryIndex(0)))] {
        let now = Instant::now();
        let mut outliers = outliers(1, 100);
        outliers.min_health_percent = minimum;
        let set = build(2, outliers, None, now);
        (0..2).for_each(|index| assert!(fail(&set, index, now).is_some()));
        set.refresh(now);
        assert_eq!(Picker::new(0).pick(&set, &mut || 0, Wish::first(None)), picked, "minimum {minimum}");
        assert_eq!(set.is_pickable(), picked.is_some());
    }
}

#[test]
fn the_nth_ejection_lasts_n_times_as_long_and_ends_in_a_sweep() {
    let start = Instant::now();
    let set = build(2, outliers(1, 100), None, start);
    assert_eq!(set.tick(start), []);
    fail(&set, 0, start);
    for (time, returned) in [(10, 0), (20, 0), (29, 0), (30, 1)] {
        assert_eq!(set.tick(start + secs(time)).len(), returned, "after {time} s");
    }
    assert_eq!(set.healthy_count(), 2);
    assert!(matches!(fail(&set, 0, start + secs(31)), Some(OutlierEvent::Ejected { times: 2, .. })));
    for (time, returned) in [(60, 0), (90, 0), (100, 1)] {
        assert_eq!(set.tick(start + secs(time)).len(), returned, "after {time} s");
    }
}

#[test]
fn failures_of_requests_that_were_under_way_do_not_count_after_the_return() {
    let start = Instant::now();
    let set = build(2, outliers(2, 100), None, start);
    assert_eq!(set.tick(start), []);
    assert_eq!([(); 3].map(|()| fail(&set, 0, start).is_some()), [false, true, false]);
    let back = start + secs(30);
    assert_eq!(set.tick(back).len(), 1);
    assert_eq!(fail(&set, 0, back), None);
    assert!(fail(&set, 0, back).is_some());
}

#[test]
fn time_away_grows_to_five_minutes_and_falls_while_healthy() {
    let mut now = Instant::now();
    let set = build(2, outliers(1, 100), None, now);
    set.tick(now);
    let away = |now: &mut Instant| {
        fail(&set, 0, *now);
        let begin = *now;
        while ejected(&set).contains(&0) {
            *now += secs(10);
            set.tick(*now);
        }
        (*now - begin).as_secs()
    };
    let times: Vec<u64> = (0..13).map(|_| away(&mut now)).collect();
    assert_eq!(times, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300, 300]);
    for _ in 0..9 {
        now += secs(10);
        set.tick(now);
    }
    assert_eq!(away(&mut now), 90, "nine healthy intervals of eleven taken back, and one more");
}

#[test]
fn an_ejection_survives_a_new_set_and_ends_with_the_endpoint() {
    let now = Instant::now();
    let first = build(4, outliers(1, 25), None, now);
    fail(&first, 1, now);
    let second = build(5, outliers(1, 25), Some(&first), now);
    assert_eq!((ejected(&second), second.healthy_count()), (vec![1], 4));
    assert!(matches!(fail(&second, 2, now), Some(OutlierEvent::Refused { .. })));
    // Without the ejected one, another may go.
    let mut fewer = endpoints(5);
    fewer.remove(1);
    let third = EndpointSet::new(fewer, second.rules().clone(), Some(&second), now);
    assert_eq!(third.cluster().ejected(), 0);
    assert!(matches!(fail(&third, 3, now), Some(OutlierEvent::Ejected { .. })));
    assert_eq!(fail(&second, 1, now), None, "who has left cannot be ejected");
    // Who is not ready is as good as gone.
    let mut unready = endpoints(5);
    unready[4] = endpoint(4, 1, Health::NotReady);
    let fourth = EndpointSet::new(unready, third.rules().clone(), Some(&third), now);
    assert_eq!((fourth.cluster().ejected(), fourth.ready_count()), (0, 4));
    let back = build(5, outliers(1, 25), Some(&fourth), now);
    assert_eq!((ejected(&back), back.healthy_count()), (vec![], 5));
}

#[test]
fn who_was_not_ready_comes_back_without_its_past() {
    let now = Instant::now();
    let first = build(2, outliers(1, 100), None, now);
    let ejection = Some(OutlierEvent::Ejected { cause: EjectionCause::Consecutive5xx, times: 1 });
    assert_eq!(fail(&first, 0, now), ejection);
    let mut unready = endpoints(2);
    unready[0].health = Health::NotReady;
    let second = EndpointSet::new(unready, first.rules().clone(), Some(&first), now);
    let back = build(2, outliers(1, 100), Some(&second), now);
    assert_eq!(fail(&back, 0, now), ejection);
}

#[test]
fn an_ejection_by_way_of_an_old_set_reaches_the_new_one_with_the_next_tick() {
    let now = Instant::now();
    let old = build(4, outliers(1, 50), None, now);
    let new = build(4, outliers(1, 50), Some(&old), now);
    fail(&old, 2, now);
    old.refresh(now);
    assert_eq!((old.healthy_count(), new.healthy_count()), (3, 4));
    new.tick(now);
    assert_eq!(new.healthy_count(), 3);
}

#[test]
fn without_outlier_detection_ejections_end() {
    let now = Instant::now();
    let first = build(4, outliers(1, 50), None, now);
    fail(&first, 2, now);
    let without = rules(Balancing::RoundRobin, ClusterPolicy::default());
    let second = EndpointSet::new(endpoints(4), without, Some(&first), now);
    assert_eq!((second.healthy_count(), second.cluster().ejected()), (4, 0));
    assert_eq!(fail(&second, 2, now), None);
}

/// Four workers report failures of twenty endpoints, and see how many are ejected at most. While endpoints return, a look at
/// one after the other can see more than there ever were together, so that only the common count is looked at.
fn most_ejected(set: &EndpointSet, returning: bool, now: Instant) -> u32 {
    let most = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let most = &most;
            scope.spawn(move || {
                let mut draws = xorshift(worker);
                for turn in 0..2_000u64 {
                    fail(set, (draws() % 20) as u32, now);
                    let seen = if returning { 0 } else { ejected(set).len() as u32 };
                    most.fetch_max(seen.max(set.cluster().ejected()), SeqCst);
                    if returning && turn % 50 == 0 {
                        // Long enough for everybody to come back.
                        set.tick(now + secs(turn * 1000 + worker));
                    }
                    set.refresh(now);
                }
            });
        }
    });
    most.into_inner()
}

#[test]
fn workers_together_never_eject_more_than_allowed() {
    for (percent, returning) in [(10, false), (30, false), (10, true), (30, true), (50, true)] {
        let now = Instant::now();
        let set = build(20, outliers(1, percent), None, now);
        let allowed = 20 * u32::from(percent) / 100;
        assert_eq!(most_ejected(&set, returning, now), allowed, "{percent} percent of 20");
        assert_eq!(set.cluster().ejected() as usize, ejected(&set).len());
        assert_eq!(set.healthy_count(), 20 - ejected(&set).len(), "no refresh is lost");
    }
}

proptest! {
    #[test]
    fn the_count_of_ejected_endpoints_is_right_whatever_happens(
        percent in 0u8..=100,
        steps in vec((0u32..12, 0u32..12, 1u16..12), 1..60),
    ) {
        let mut now = Instant::now();
        let mut set = build(8, outliers(2, percent), None, now);
        let mut picker = Picker::new(0);
        for (kind, index, count) in steps {
            match kind {
                0..=6 => {
                    let before = ejected(&set).len() as u64;
                    if matches!(fail(&set, index, now), Some(OutlierEvent::Ejected { .. })) {
                        prop_assert!((before + 1) * 100 <= u64::from(percent) * set.ready_count() as u64);
                    }
                }
                7 => { set.report(EntryIndex(index), Report::Answer(200), now); }
                8 => set = build(count, outliers(2, percent), Some(&set), now),
                _ => { now += secs(40); }
            }
            set.tick(now);
            prop_assert_eq!(set.cluster().ejected() as usize, ejected(&set).len());
            let picked = picker.pick(&set, &mut || 0, Wish::first(None));
            prop_assert!(picked.is_none_or(|picked| !set.get(picked).unwrap().state.is_ejected()));
            prop_assert_eq!(picked.is_some(), set.healthy_count() > 0);
        }
    }
}
