//! How short memory is, in steps. A step that is left is not entered again at once: usage has to fall a little further than it
//! had to rise.

use std::fmt;

/// Percent of the limit that usage has to fall below a step's bound.
const SLACK: u128 = 5;

/// How short memory is. Each step keeps what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Pressure {
    /// Not at all.
    #[default]
    None,
    /// Over 80 percent: idle connections close, and limits of time are half as long.
    High,
    /// Over 90 percent: requests that come are refused with 503, connections of HTTP/2 get a GOAWAY.
    Severe,
    /// Over 95 percent: no connection is accepted.
    Critical,
}

/// Each step with the percent of the limit that it begins above, the highest first.
const STEPS: [(Pressure, u128); 3] = [(Pressure::Critical, 95), (Pressure::Severe, 90), (Pressure::High, 80)];

impl Pressure {
    /// What it is while `used` of `limit` bytes are in use.
    pub(crate) fn next(self, used: u64, limit: u64) -> Self {
        let holds = |(step, percent): &(Self, u128)| {
            let percent = if *step <= self { percent - SLACK } else { *percent };
            u128::from(used) * 100 > u128::from(limit) * percent
        };
        STEPS.iter().find(|step| holds(step)).map_or(Self::None, |(step, _)| *step)
    }

    /// As a number, from 0.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::High => 1,
            Self::Severe => 2,
            Self::Critical => 3,
        }
    }

    /// The step of this number; of a larger one the highest.
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::High,
            2 => Self::Severe,
            _ => Self::Critical,
        }
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing is given up",
            Self::High => "idle connections close, and limits of time are half as long",
            Self::Severe => "requests are refused with 503, and idle connections close",
            Self::Critical => "no connection is accepted, and requests are refused with 503",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Pressure; 4] = [Pressure::None, Pressure::High, Pressure::Severe, Pressure::Critical];

    #[test]
    fn steps_are_taken_above_their_bounds_and_left_a_little_below_them() {
        let mut pressure = Pressure::None;
        for (used, want) in [
            (80, Pressure::None),
            (81, Pressure::High),
            (76, Pressure::High),
            (75, Pressure::None),
            (96, Pressure::Critical),
            (91, Pressure::Critical),
            (90, Pressure::Severe),
            (86, Pressure::Severe),
            (85, Pressure::High),
            (92, Pressure::Severe),
            (500, Pressure::Critical),
            (0, Pressure::None),
        ] {
            pressure = pressure.next(used, 100);
            assert_eq!(pressure, want, "{used}");
        }
        assert_eq!(Pressure::None.next(1, 0), Pressure::Critical);
        assert_eq!(Pressure::Critical.next(0, 0), Pressure::None);
    }

    #[test]
    fn numbers_are_read_back() {
        assert_eq!(ALL.map(|step| Pressure::from_number(step.number())), ALL);
    }

    proptest! {
        #[test]
        fn more_in_use_is_never_less_pressure_and_a_value_that_stays_settles(from in 0usize..4, used: u64, limit: u64) {
            let first = ALL[from].next(used, limit);
            prop_assert_eq!(first.next(used, limit), first);
            prop_assert!(ALL[from].next(used.saturating_add(1), limit) >= first);
        }
    }
}
