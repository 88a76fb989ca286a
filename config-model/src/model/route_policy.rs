//! Policies of a route: time-outs, retries, faults, mirrors, CORS, and what a request is hashed by. Source: VirtualService,
//! `http[]`; Envoy: `RouteAction`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{ClusterTarget, TextMatch};
use crate::origin::Origin;

/// A share in millionths, as Envoy counts percentages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fraction(u32);

impl Fraction {
    /// Everything.
    pub const ALL: Self = Self(1_000_000);
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// `percent` of a hundred, rounded to a millionth; what is beyond 0 and 100 is cut off.
    pub fn from_percent(percent: f64) -> Self {
        Self((percent.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    }

    /// Millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether `draw`, uniform over all of `u64`, falls within the share.
    pub fn holds(self, draw: u64) -> bool {
        ((u128::from(draw) * u128::from(Self::ALL.0)) >> 64) < u128::from(self.0)
    }
}

impl Serialize for Fraction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 10_000.0)
    }
}

/// What a route has besides its action; most routes have nothing of it. Source: VirtualService, `http[]`; Envoy:
/// `Route.typed_per_filter_config`, and the mirrors and hash policies of `RouteAction`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RoutePolicy {
    /// Before anything else, also where the route redirects or answers by itself.
    pub fault: Option<Fault>,
    /// After the fault. Never on a route that redirects or answers by itself, as Envoy's filter leaves those alone.
    pub cors: Option<CorsPolicy>,
    /// Those that get something, in the order of the file.
    pub mirrors: Vec<Mirror>,
    /// What requests are hashed by, in order of precedence.
    pub hash: Vec<HashSource>,
    /// How one of several destinations is chosen.
    pub split: SplitPolicy,
}

impl RoutePolicy {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.fault.is_none()
            && self.cors.is_none()
            && self.mirrors.is_empty()
            && self.hash.is_empty()
            && self.split.is_default()
    }
}

/// How one of several destinations is chosen, where that is not what Istio documents: our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SplitPolicy {
    /// Requests of one hash go to one destination, as long as weights allow: annotation `tidegate.io/split: sticky`.
    pub sticky: bool,
    /// Destinations without a ready endpoint leave their share to the others: annotation `tidegate.io/empty-subsets: spill`.
    pub spill: bool,
}

impl SplitPolicy {
    /// Whether it is what Istio documents: each request is drawn by itself, and the share of an empty destination fails.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When and how often a failed try is repeated. Source: `retries`, else MeshConfig `defaultHttpRetryPolicy`, else Istio's
/// default policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RetryPolicy {
    /// Tries after the first one: 2 by default, 0 switches retries off.
    pub attempts: u32,
    /// A try without a complete head after this time is a failure.
    pub per_try_timeout: Option<Duration>,
    /// What is tried again.
    pub conditions: RetryConditions,
    /// Status codes that are tried again: numbers in `retryOn`.
    pub status_codes: Vec<u16>,
    /// Go to priorities that were not tried yet.
    pub remote_localities: bool,
    /// Avoid endpoints that were tried: `retryIgnorePreviousHosts`, or else whether requests are not hashed by the only
    /// destination.
    pub ignore_previous_hosts: bool,
    /// `backoff`: 25 ms if absent. The n-th retry waits up to (2^n - 1) times as long, at most ten times.
    pub back_off: Duration,
}

impl RetryPolicy {
    /// What holds where nobody says anything: two more tries if nobody can have acted on the first.
    pub fn istio_default() -> Self {
        Self {
            attempts: 2,
            per_try_timeout: None,
            conditions: RetryConditions::ISTIO_DEFAULT,
            status_codes: Vec::new(),
            remote_localities: false,
            ignore_previous_hosts: true,
            back_off: Duration::from_millis(25),
        }
    }
}

/// One entry of `retryOn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// A word.
    Condition(RetryConditions),
    /// A number: that status code.
    Status(u16),
}

impl RetryOn {
    /// Reads `entry`: a known word, or the number of a status that has a name, which is how Istio tells codes from words.
    pub fn parse(entry: &str) -> Option<Self> {
        let status = || entry.parse().ok().filter(|code| is_named_status(*code)).map(Self::Status);
        RetryConditions::from_word(entry).map(Self::Condition).or_else(status)
    }
}

/// Whether Go's `http.StatusText` has a name for `code`.
fn is_named_status(code: u16) -> bool {
    matches!(code, 100..=103 | 200..=208 | 226 | 300..=305 | 307..=308 | 400..=418 | 421..=426 | 428..=429 | 431 | 451)
        || matches!(code, 500..=508 | 510..=511)
}

/// Words of `retryOn`. Source: Envoy, `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RetryConditions(u32);

/// Each word and its bit.
const WORDS: [(&str, u32); 16] = [
    ("5xx", 1),
    ("gateway-error", 1 << 1),
    ("reset", 1 << 2),
    ("reset-before-request", 1 << 3),
    ("connect-failure", 1 << 4),
    ("retriable-4xx", 1 << 5),
    ("refused-stream", 1 << 6),
    ("retriable-status-codes", 1 << 7),
    ("envoy-ratelimited", 1 << 8),
    ("http3-post-connect-failure", 1 << 9),
    ("cancelled", 1 << 10),
    ("deadline-exceeded", 1 << 11),
    ("internal", 1 << 12),
    ("resource-exhausted", 1 << 13),
    ("unavailable", 1 << 14),
    // No field of Istio's names the headers, so that it never holds.
    ("retriable-headers", 1 << 15),
];

impl RetryConditions {
    /// Any 5xx, a reset, a time-out of a try, a failure to connect.
    pub const ANY_5XX: Self = Self(1);
    /// 502, 503, 504, and what counts as them.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// Any break before the head of an answer.
    pub const RESET: Self = Self(1 << 2);
    /// A break before anything of the request went out.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// No connection.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 5);
    /// HTTP/2 REFUSED_STREAM.
    pub const REFUSED_STREAM: Self = Self(1 << 6);
    /// The policy's status codes.
    pub const STATUS_CODES: Self = Self(1 << 7);
    /// An answer with `x-envoy-ratelimited`.
    pub const RATE_LIMITED: Self = Self(1 << 8);
    /// gRPC status 1 in a head.
    pub const CANCELLED: Self = Self(1 << 10);
    /// gRPC status 4 in a head.
    pub const DEADLINE_EXCEEDED: Self = Self(1 << 11);
    /// gRPC status 13 in a head.
    pub const INTERNAL: Self = Self(1 << 12);
    /// gRPC status 8 in a head.
    pub const RESOURCE_EXHAUSTED: Self = Self(1 << 13);
    /// gRPC status 14 in a head.
    pub const UNAVAILABLE: Self = Self(1 << 14);
    /// Istio's default: `connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes`.
    pub const ISTIO_DEFAULT: Self = Self(1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 14);

    /// The condition of that word, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        WORDS.iter().find(|(known, _)| *known == word).map(|(_, bit)| Self(*bit))
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `other`, all of it, is among them.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// All words that there are.
    pub fn known_words() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|(word, _)| *word)
    }

    /// The words, in the order of Envoy's documentation.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS.iter().filter(move |(_, bit)| self.0 & bit != 0).map(|(word, _)| *word)
    }
}

impl Serialize for RetryConditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.words())
    }
}

/// Failures made on purpose. Source: `fault`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Goes first, drawn by itself.
    pub delay: Option<FaultDelay>,
    /// Drawn by itself.
    pub abort: Option<FaultAbort>,
    /// Each try, and not the request as a whole: annotation `tidegate.io/fault-scope: attempt`.
    pub per_attempt: bool,
    /// Where it was written.
    pub origin: Origin,
}

/// A pause before a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FaultDelay {
    /// Its length.
    pub duration: Duration,
    /// How many requests.
    pub share: Fraction,
}

/// An answer instead of the back end's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FaultAbort {
    /// The status.
    pub status: AbortStatus,
    /// How many requests.
    pub share: Fraction,
}

/// The status of an aborted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum AbortStatus {
    /// 200 to 599.
    Http(u16),
    /// HTTP 200 with this status, 0 to 16, in the words of gRPC if the request speaks it.
    Grpc(u8),
}

/// Names of gRPC's status codes, each at its code. Source: gRPC, `statuscodes.md`.
pub const GRPC_STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl AbortStatus {
    /// The status of gRPC with that name, if there is one.
    pub fn from_grpc_name(name: &str) -> Option<Self> {
        (0..).zip(GRPC_STATUS_NAMES).find(|(_, known)| *known == name).map(|(code, _)| Self::Grpc(code))
    }
}

/// A copy of requests to somebody whose answers nobody reads. Source: `mirror`, `mirrors`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mirror {
    /// The cluster, or the name of one that does not exist, which gets nothing.
    pub cluster: ClusterTarget,
    /// How many requests.
    pub share: Fraction,
    /// Where it was written.
    pub origin: Origin,
}

/// Cross-origin requests. Source: `corsPolicy`; Envoy: `CorsPolicy`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CorsPolicy {
    /// An exact `*` allows all.
    pub allow_origins: Vec<TextMatch>,
    /// `access-control-allow-methods`, joined by commas; empty: not written.
    pub allow_methods: Arc<str>,
    /// `access-control-allow-headers`, joined; `*` echoes what was asked for.
    pub allow_headers: Arc<str>,
    /// `access-control-expose-headers`, joined.
    pub expose_headers: Arc<str>,
    /// `access-control-max-age`, in seconds.
    pub max_age: Option<Duration>,
    /// `access-control-allow-credentials: true`.
    pub allow_credentials: bool,
    /// Preflights whose origin is not allowed go to the back end; else they are answered with 200 and nothing.
    pub forward_unmatched_preflights: bool,
    /// Where it was written.
    pub origin: Origin,
}

/// What a request is hashed by, for consistent hashing and sticky splits. Source: DestinationRule,
/// `loadBalancer.consistentHash`, gathered over a route's destinations as Istio does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum HashSource {
    /// Values of a header, in lower case the name.
    Header(Arc<str>),
    /// A cookie.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Its path, if it is made.
        path: Arc<str>,
        /// Made if missing, with this life; zero: for the session. Nothing: never made.
        ttl: Option<Duration>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    QueryParameter(Arc<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_retry_on_is_a_code_if_the_status_has_a_name() {
        let table = [
            ("503", Some(RetryOn::Status(503))),
            ("429", Some(RetryOn::Status(429))),
            ("reset", Some(RetryOn::Condition(RetryConditions::RESET))),
            ("5xx", Some(RetryOn::Condition(RetryConditions::ANY_5XX))),
            ("520", None),
            ("499", None),
            ("0", None),
            ("", None),
            (" reset", None),
            ("gatway-error", None),
        ];
        for (entry, want) in table {
            assert_eq!(RetryOn::parse(entry), want, "{entry:?}");
        }
    }

    #[test]
    fn names_of_grpc_statuses_stand_at_their_codes() {
        let table = [("OK", 0), ("NOT_FOUND", 5), ("UNAVAILABLE", 14), ("UNAUTHENTICATED", 16)];
        for (name, code) in table {
            assert_eq!(AbortStatus::from_grpc_name(name), Some(AbortStatus::Grpc(code)), "{name}");
        }
        assert_eq!(AbortStatus::from_grpc_name("NOTFOUND"), None);
    }

    #[test]
    fn a_share_holds_for_exactly_its_part_of_the_draws() {
        let table = [(0.0, 0, false), (0.0001, 0, true), (25.0, u64::MAX / 4, true), (25.0, u64::MAX / 4 + 1, false)];
        for (percent, draw, holds) in table {
            assert_eq!(Fraction::from_percent(percent).holds(draw), holds, "{percent} {draw}");
        }
        assert!(Fraction::ALL.holds(u64::MAX));
        assert!(!Fraction::from_percent(99.9999).holds(u64::MAX));
    }
}
