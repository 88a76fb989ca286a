//! Response flags: why an answer is not simply what a back end said.
//! Source: Envoy, "Access logging", `%RESPONSE_FLAGS%`; the order of several is that in which Envoy comes to set them.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of response flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Flags(u32);

/// Names by bit, in the order in which Envoy writes them.
const NAMES: [&str; 30] = [
    "DI", "FI", "URX", "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "RL", "UAEX", "RLSE", "DC", "URX", "SI",
    "IH", "DPE", "UMSDR", "RFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR", "UDO",
];

/// Names by the bit that Envoy has for each.
const ENVOY_NAMES: [&str; 30] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH",
    "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR", "UDO",
];

impl Flags {
    /// `-`
    pub const NONE: Self = Self(0);
    /// `DI`: a fault was injected, a delay.
    pub const DELAY_INJECTED: Self = Self(1);
    /// `FI`: a fault was injected, an abort.
    pub const FAULT_INJECTED: Self = Self(1 << 1);
    /// `URX`: no retry was left.
    pub const UPSTREAM_RETRY_LIMIT_EXCEEDED: Self = Self(1 << 2);
    /// `LH`: the local service failed its health check.
    pub const FAILED_LOCAL_HEALTH_CHECK: Self = Self(1 << 3);
    /// `UH`: no healthy endpoint in the cluster.
    pub const NO_HEALTHY_UPSTREAM: Self = Self(1 << 4);
    /// `UT`: the request timed out upstream.
    pub const UPSTREAM_REQUEST_TIMEOUT: Self = Self(1 << 5);
    /// `LR`: reset from our side.
    pub const LOCAL_RESET: Self = Self(1 << 6);
    /// `UR`: the back end reset the stream.
    pub const UPSTREAM_REMOTE_RESET: Self = Self(1 << 7);
    /// `UF`: connecting to the back end failed.
    pub const UPSTREAM_CONNECTION_FAILURE: Self = Self(1 << 8);
    /// `UC`: the back end closed the connection.
    pub const UPSTREAM_CONNECTION_TERMINATION: Self = Self(1 << 9);
    /// `UO`: a circuit breaker is open.
    pub const UPSTREAM_OVERFLOW: Self = Self(1 << 10);
    /// `NR`: no route.
    pub const NO_ROUTE_FOUND: Self = Self(1 << 11);
    /// `RL`: rate-limited.
    pub const RATE_LIMITED: Self = Self(1 << 12);
    /// `UAEX`: an external service denied it.
    pub const UNAUTHORIZED_EXTERNAL_SERVICE: Self = Self(1 << 13);
    /// `RLSE`: the rate limit service failed.
    pub const RATE_LIMIT_SERVICE_ERROR: Self = Self(1 << 14);
    /// `DC`: the client closed the connection.
    pub const DOWNSTREAM_CONNECTION_TERMINATION: Self = Self(1 << 15);
    /// `URX`: of a connection that is passed on, no try to connect was left. Envoy notes it after the cause then.
    pub const CONNECT_ATTEMPTS_EXCEEDED: Self = Self(1 << 16);
    /// `SI`: the stream was idle for too long.
    pub const STREAM_IDLE_TIMEOUT: Self = Self(1 << 17);
    /// `IH`: a header that is strictly checked had a bad value.
    pub const INVALID_ENVOY_REQUEST_HEADERS: Self = Self(1 << 18);
    /// `DPE`: the request broke its protocol.
    pub const DOWNSTREAM_PROTOCOL_ERROR: Self = Self(1 << 19);
    /// `UMSDR`: the stream lasted longer than it may.
    pub const UPSTREAM_MAX_STREAM_DURATION_REACHED: Self = Self(1 << 20);
    /// `RFCF`: answered from a cache.
    pub const RESPONSE_FROM_CACHE_FILTER: Self = Self(1 << 21);
    /// `DT`: the connection lasted longer than it may.
    pub const DURATION_TIMEOUT: Self = Self(1 << 22);
    /// `UPE`: the answer broke its protocol.
    pub const UPSTREAM_PROTOCOL_ERROR: Self = Self(1 << 23);
    /// `NC`: no such cluster.
    pub const NO_CLUSTER_FOUND: Self = Self(1 << 24);
    /// `OM`: refused to save resources.
    pub const OVERLOAD_MANAGER: Self = Self(1 << 25);
    /// `DF`: a name could not be looked up.
    pub const DNS_RESOLUTION_FAILED: Self = Self(1 << 26);
    /// `DO`: the cluster drops a share of its load.
    pub const DROP_OVERLOAD: Self = Self(1 << 27);
    /// `DR`: the client reset the stream.
    pub const DOWNSTREAM_REMOTE_RESET: Self = Self(1 << 28);
    /// `UDO`: the cluster drops all of its load.
    pub const UNCONDITIONAL_DROP_OVERLOAD: Self = Self(1 << 29);

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets those of `other` too.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The set as a number below 2^30.
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    /// The inverse of [`Self::bits`].
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The set as a number in which each flag has the bit that Envoy has for it.
    pub(super) fn as_envoy_has_them(self) -> u64 {
        let bits = self.names().filter_map(|name| ENVOY_NAMES.iter().position(|known| *known == name));
        bits.fold(0, |all, bit| all | 1 << bit)
    }

    /// Short names of those set, in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (place, name) in self.names().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_in_envoys_order_with_commas() {
        for (flags, text) in [
            (Flags::NONE, "-"),
            (Flags::NO_ROUTE_FOUND, "NR"),
            (Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED | Flags::UPSTREAM_CONNECTION_FAILURE, "URX,UF"),
            (Flags::CONNECT_ATTEMPTS_EXCEEDED | Flags::UPSTREAM_CONNECTION_FAILURE, "UF,URX"),
            (Flags::UPSTREAM_REQUEST_TIMEOUT | Flags::DELAY_INJECTED, "DI,UT"),
            (Flags::NO_CLUSTER_FOUND, "NC"),
            (Flags::DOWNSTREAM_CONNECTION_TERMINATION, "DC"),
            (Flags::UPSTREAM_PROTOCOL_ERROR | Flags::DELAY_INJECTED, "DI,UPE"),
            (Flags::UNCONDITIONAL_DROP_OVERLOAD, "UDO"),
        ] {
            assert_eq!(flags.to_string(), text);
        }
    }

    #[test]
    fn every_flag_has_the_bit_that_envoy_has_for_it() {
        for (flags, bits) in [
            (Flags::NONE, 0),
            (Flags::NO_ROUTE_FOUND, 256),
            (Flags::NO_CLUSTER_FOUND, 1 << 24),
            (Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED | Flags::UPSTREAM_CONNECTION_FAILURE, 32768 + 32),
        ] {
            assert_eq!(flags.as_envoy_has_them(), bits, "{flags}");
        }
        let all = Flags::from_bits((1 << 30) - 1);
        // No filter of ours lacks its configuration, and one of ours stands for another one's bit.
        assert_eq!(all.as_envoy_has_them(), (1 << 30) - 1 - (1 << 21));
    }

    #[test]
    fn every_bit_has_a_name() {
        assert_eq!(Flags::from_bits((1 << 30) - 1).names().count(), NAMES.len());
    }
}
