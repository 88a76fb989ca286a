//! Routes: one for each entry of `match`, with what is to be done when it matches.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regex::bytes::Regex;
use serde::{Serialize, Serializer};

use super::{ClusterTarget, CorsPolicy, Fault, Format, HashSource, Mirror, RetryPolicy, RoutePolicy, SplitPolicy};
use crate::origin::Origin;

/// One entry of one rule. Envoy: `Route`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// Stable text identity: `default/reviews/http[0]/match[1]`, or `default/reviews/http[2]` for a rule without `match`.
    /// A delegate's route names the root first: `default/root/http[0]/match[0]>team/reviews/http[1]`.
    pub id: Arc<str>,
    /// `HTTPRoute.name`, joined by a dot with the name of the match entry if both have one, as Istio does.
    pub name: Option<Arc<str>>,
    /// The match entry, or the rule if it has none.
    pub origin: Origin,
    /// When it applies.
    pub matcher: RouteMatch,
    /// What happens then.
    pub action: Action,
    /// Header operations of the rule; those of a destination are with the destination.
    pub headers: HeaderOperations,
    /// Faults, CORS, mirrors and hashing; nothing for most routes.
    pub policy: Option<Box<RoutePolicy>>,
}

impl Route {
    /// Failures on purpose.
    pub fn fault(&self) -> Option<&Fault> {
        self.policy.as_ref()?.fault.as_ref()
    }

    /// Cross-origin requests.
    pub fn cors(&self) -> Option<&CorsPolicy> {
        self.policy.as_ref()?.cors.as_ref()
    }

    /// Who gets copies of requests.
    pub fn mirrors(&self) -> &[Mirror] {
        self.policy.as_ref().map_or(&[], |policy| &policy.mirrors)
    }

    /// What requests are hashed by.
    pub fn hash(&self) -> &[HashSource] {
        self.policy.as_ref().map_or(&[], |policy| &policy.hash)
    }

    /// Whether it asks for CONNECT by name.
    pub fn asks_for_connect(&self) -> bool {
        let is_meant = |condition: &Condition| match &condition.condition {
            MatchCondition::Method(TextMatch::Exact(method)) => **method == *"CONNECT",
            _ => false,
        };
        self.matcher.conditions.iter().any(is_meant)
    }

    /// How one of its destinations is chosen.
    pub fn split(&self) -> SplitPolicy {
        self.policy.as_ref().map_or_else(SplitPolicy::default, |policy| policy.split)
    }

    /// Every cluster that is named: destinations and mirrors.
    pub(crate) fn targets_mut(&mut self) -> impl Iterator<Item = &mut ClusterTarget> {
        let destinations = match &mut self.action {
            Action::Forward(forward) => &mut forward.destinations[..],
            Action::Redirect(_) | Action::DirectResponse(_) => &mut [],
        };
        let mirrors = self.policy.as_mut().map_or(&mut [][..], |policy| &mut policy.mirrors);
        let destinations = destinations.iter_mut().map(|destination| &mut destination.cluster);
        destinations.chain(mirrors.iter_mut().map(|mirror| &mut mirror.cluster))
    }
}

/// All conditions must hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteMatch {
    /// The path, without query, in its matching form.
    pub path: PathMatch,
    /// The rest, in the order: method, authority, scheme, headers, without headers, query parameters.
    pub conditions: Vec<Condition>,
}

/// A condition other than the path, and where it was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition {
    /// What has to hold.
    pub condition: MatchCondition,
    /// Where it was written.
    pub origin: Origin,
}

/// The path condition. Source: `HTTPMatchRequest.uri`, `ignoreUriCase`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum PathMatch {
    /// No `uri`, or prefix `/`... of which every path is one.
    Any,
    /// The whole path.
    Exact {
        /// In lower case if `ignore_case`.
        text: Arc<str>,
        /// ASCII letters compare without case.
        ignore_case: bool,
    },
    /// The first characters of the path, compared as text, not by segments.
    Prefix {
        /// In lower case if `ignore_case`.
        text: Arc<str>,
        /// ASCII letters compare without case.
        ignore_case: bool,
    },
    /// The whole path.
    Regex(Pattern),
    /// Both: a root's and its delegate's, which are not of one kind.
    Both(Box<PathMatch>, Box<PathMatch>),
}

/// One condition besides the path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum MatchCondition {
    /// Case-sensitive.
    Method(TextMatch),
    /// Host as it was sent, with its port.
    Authority(TextMatch),
    /// `http` or `https`, by the listener.
    Scheme(TextMatch),
    /// True if any field of the name matches.
    Header {
        /// Lower case.
        name: Arc<str>,
        /// Applied to each value by itself.
        value: TextMatch,
    },
    /// `withoutHeaders`: true unless some field of the name matches. `Present` therefore means: must be absent; for all
    /// others a missing field counts as empty, as Istio has Envoy do it.
    WithoutHeader {
        /// Lower case.
        name: Arc<str>,
        /// Applied to each value by itself.
        value: TextMatch,
    },
    /// The first parameter of the name, its value as it stands in the URL.
    Query {
        /// Compared with case.
        name: Arc<str>,
        /// `Present` holds with or without `=`.
        value: TextMatch,
    },
}

/// A comparison of one text. Source: `StringMatch`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum TextMatch {
    /// The whole text.
    Exact(Arc<str>),
    /// Its beginning.
    Prefix(Arc<str>),
    /// The whole text.
    Regex(Pattern),
    /// `{}`: anything, an empty value too.
    Present,
}

impl TextMatch {
    /// Whether `text` satisfies this.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Regex(pattern) => pattern.matches(text),
            Self::Present => true,
        }
    }
}

/// A regular expression in RE2's language that has to match the whole text. Compiled once, shared.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: Arc<str>,
    regex: Regex,
}

impl Pattern {
    /// Compiles `source`, anchored at both ends. The error's text says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, regex::Error> {
        // On its own first: `a)(b` is not an expression, though `(?:a)(b)` is.
        Self::limited(source)?;
        let regex = Self::limited(&format!("^(?s-m:{source})$"))?;
        Ok(Self { source: source.into(), regex })
    }

    fn limited(source: &str) -> Result<Regex, regex::Error> {
        regex::bytes::RegexBuilder::new(source).size_limit(1 << 20).dfa_size_limit(1 << 20).build()
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// What is done with a request that matches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Action {
    /// Sent to one of these destinations.
    Forward(Forward),
    /// Answered with a redirect.
    Redirect(Redirect),
    /// Answered as written.
    DirectResponse(DirectResponse),
}

/// Where requests of a route go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forward {
    /// At least one. With several, none has weight zero unless all have (then the first takes everything, as in Istio).
    pub destinations: Vec<Destination>,
    /// Path and authority as the back end shall see them.
    pub rewrite: Rewrite,
    /// From the end of the request to the end of the answer, over all tries; none unless `timeout` is set.
    pub timeout: Option<Duration>,
    /// When to try again. Routes with the same policy share it.
    pub retry: Arc<RetryPolicy>,
}

/// One destination of a split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Destination {
    /// The cluster, or the name of one that does not exist: requests that fall on it get 503, flag NC.
    pub cluster: ClusterTarget,
    /// Share = weight / sum. 1 for a single destination.
    pub weight: u32,
    /// Whether the rule names others too, even if none of them has weight.
    pub is_split: bool,
    /// Whether a new authority leaves a note of the old one in `x-forwarded-host`, where the mesh has such. Not if the rule has no
    /// `rewrite`, as in Istio.
    pub tells_host: bool,
    /// Operations for requests that go here. Those of a split come first, and the rule's see what they have made; those of a
    /// single destination are joined with the rule's, and stand where the rule sets the same header.
    pub headers: HeaderOperations,
    /// A `Host` set by the destination's headers; none where the route sets the authority, which goes first.
    pub authority: Option<Format>,
    /// The entry under `route`.
    pub origin: Origin,
}

/// Changes to path and authority.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Rewrite {
    /// The path.
    pub path: PathRewrite,
    /// The authority: `rewrite.authority`, or `Host` or `:authority` under `headers.request.set`.
    pub authority: Option<Format>,
}

/// Change to the path; the query always stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub enum PathRewrite {
    /// As it came.
    #[default]
    Keep,
    /// The first `length` bytes, which the prefix match has seen, become `text`.
    Prefix {
        /// Length of the matched prefix in bytes.
        length: usize,
        /// What stands there then.
        text: Arc<str>,
    },
    /// The whole path: exact and regex matches.
    Whole(Arc<str>),
    /// Every match of the expression within the path.
    Regex {
        /// Not anchored.
        pattern: RewritePattern,
        /// In the syntax of the regex crate: `\1` has become `${1}`.
        substitution: Arc<str>,
    },
}

/// An expression that may match anywhere.
#[derive(Debug, Clone)]
pub struct RewritePattern(pub Regex);

impl PartialEq for RewritePattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Serialize for RewritePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// An answer that sends the client elsewhere. Envoy: `RedirectAction`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Redirect {
    /// The path: `uri`, which replaces the query too if it has one, or `prefixRewrite`.
    pub path: PathRewrite,
    /// Replaces host and port.
    pub authority: Option<Arc<str>>,
    /// Replaces the scheme.
    pub scheme: Option<Scheme>,
    /// What is written for a port.
    pub port: RedirectPort,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The port of a redirect. 80 with http and 443 with https are never written: as in Istio, they count as [`Self::Keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RedirectPort {
    /// That of the request's Host, except a default port of a scheme that changes. `derivePort: FROM_PROTOCOL_DEFAULT`
    /// comes to the same.
    Keep,
    /// `port`
    Number(u16),
    /// `derivePort: FROM_REQUEST_PORT`: the listener's.
    FromRequest,
}

/// An answer made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// Empty if none.
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
}

fn as_text<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

/// Header operations of a rule or a destination.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HeaderOperations {
    /// On the way to the back end.
    pub request: HeaderMutation,
    /// On the way to the client; also on redirects, direct responses and errors made on the route.
    pub response: HeaderMutation,
}

/// Changes to a head, in this order: remove, set, add.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HeaderMutation {
    /// Names in lower case.
    pub remove: Vec<Arc<str>>,
    /// Replaces every field of the name. Never `host` or a name with a colon: those became the authority.
    pub set: Vec<HeaderAddition>,
    /// Appends a field.
    pub add: Vec<HeaderAddition>,
}

/// A name and a value that may contain commands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeaderAddition {
    /// Lower case.
    pub name: Arc<str>,
    /// The value.
    pub value: Format,
}

impl HeaderMutation {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}
