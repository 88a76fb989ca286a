//! How many descriptors the system gives us, and how many connections that makes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections, if descriptors don't set a lower bound. Source: PROMISES.md, section 2.
const CONNECTIONS_MAX: u64 = 50_000;
/// Descriptors that connections leave to the admin, to logs and to files.
const RESERVED: u64 = 64;
/// The same of connections to back ends, as long as all others are in use. Source: PROMISES.md, section 2.
const RESERVED_AT_LAST: u64 = 32;

/// Raises the soft limit of descriptors to the hard one: a soft limit is made for programs that use `select`.
pub(super) fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it may not be raised, we make do with what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Connections that may be open at once.
pub(super) fn connections_max() -> usize {
    connections(getrlimit(Resource::Nofile).current)
}

/// The first descriptor that is not for connections to back ends: the system gives out the lowest that is free.
pub(super) fn reserved_from() -> u64 {
    getrlimit(Resource::Nofile).current.map_or(u64::MAX, |descriptors| descriptors.saturating_sub(RESERVED_AT_LAST))
}

/// Each needs a descriptor, and its requests one towards a back end.
fn connections(descriptors: Option<u64>) -> usize {
    let bound = descriptors.map_or(CONNECTIONS_MAX, |descriptors| (descriptors / 2).saturating_sub(RESERVED));
    usize::try_from(bound.clamp(1, CONNECTIONS_MAX)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_half_of_the_descriptors_less_a_reserve_and_bounded() {
        for (descriptors, want) in
            [(Some(256), 64), (Some(1024), 448), (Some(1 << 20), 50_000), (Some(100), 1), (None, 50_000)]
        {
            assert_eq!(connections(descriptors), want, "{descriptors:?}");
        }
    }
}
