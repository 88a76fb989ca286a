//! What a route has besides its action: faults, CORS and mirrors.
//! Source: Istio, `HTTPFaultInjection`, `CorsPolicy`, `HTTPMirrorPolicy`. Hashing is a DestinationRule's: see
//! [`super::hashing`].

use crate::model::{
    AbortStatus, CorsPolicy, Fault, FaultAbort, FaultDelay, Fraction, HashSource, Mirror, RoutePolicy, SplitPolicy,
    TextMatch,
};
use crate::resource::{self, HttpFaultInjection, Percent, StringMatch, Text, UnmatchedPreflights};

use super::clusters::Clusters;
use super::matching;
use super::rule::{Rule, Source};

/// Annotation of a VirtualService: whether its faults are for each `request`, as in Istio, or for each `attempt`.
pub(crate) const FAULT_SCOPE: &str = "tidegate.io/fault-scope";
/// Annotation of a VirtualService: whether requests of one hash are `sticky` to a destination of a split, or each is `drawn`.
pub(crate) const SPLIT: &str = "tidegate.io/split";
/// Annotation of a VirtualService: whether the share of destinations without endpoints is to `spill` to others, or to `fail`.
pub(crate) const EMPTY_SUBSETS: &str = "tidegate.io/empty-subsets";

/// The policy of a route of `rule` at a listener of `port`; `None` if nothing is set. `hash` is what its requests are hashed
/// by, if it has destinations at all. Also whether that would be another on another port.
pub(super) fn policy<'a>(
    rule: &Rule<'a>,
    hash: Option<Vec<HashSource>>,
    port: u16,
    clusters: &mut Clusters<'a>,
) -> (Option<Box<RoutePolicy>>, bool) {
    let mut policy = RoutePolicy { fault: fault(rule), ..RoutePolicy::default() };
    let mut by_port = false;
    if let Some(hash) = hash {
        policy.hash = hash;
        policy.cors = cors(rule);
        policy.split = split(rule);
        (policy.mirrors, by_port) = mirrors(rule, port, clusters);
    }
    ((!policy.is_empty()).then(|| Box::new(policy)), by_port)
}

/// Of the VirtualService that names the destinations.
fn split(rule: &Rule<'_>) -> SplitPolicy {
    let named = rule.inherited_from(|rule| (rule.route.len() > 1).then_some(&rule.route));
    let Some((source, _)) = named else { return SplitPolicy::default() };
    let annotations = &source.virtual_service.resource.metadata.annotations;
    let says = |name: &str, wanted: &str| annotations.get(name).is_some_and(|value| **value == *wanted);
    SplitPolicy { sticky: says(SPLIT, "sticky"), spill: says(EMPTY_SUBSETS, "spill") }
}

fn fault(rule: &Rule<'_>) -> Option<Fault> {
    let (source, written) = rule.inherited_from(|rule| rule.fault.as_deref())?;
    let (delay, abort) = (delay(written), abort(written));
    let scope = source.virtual_service.resource.metadata.annotations.get(FAULT_SCOPE);
    (delay.is_some() || abort.is_some()).then(|| Fault {
        delay,
        abort,
        per_attempt: scope.is_some_and(|scope| **scope == *"attempt"),
        origin: source.origin(written.position),
    })
}

fn delay(fault: &HttpFaultInjection) -> Option<FaultDelay> {
    let written = fault.delay.as_ref()?;
    let duration = written.fixed_delay.as_ref()?.to_std();
    let share = written.percentage.as_ref().map_or_else(|| Fraction::from_percent(f64::from(*written.percent)), share);
    Some(FaultDelay { duration, share })
}

/// Without a percentage nothing is aborted, as in Istio.
fn abort(fault: &HttpFaultInjection) -> Option<FaultAbort> {
    let written = fault.abort.as_ref()?;
    let http = written.http_status.and_then(|status| u16::try_from(*status).ok()).map(AbortStatus::Http);
    let grpc = || AbortStatus::from_grpc_name(written.grpc_status.as_ref()?);
    let status = http.or_else(grpc)?;
    Some(FaultAbort { status, share: written.percentage.as_ref().map_or(Fraction::NONE, share) })
}

fn share(percent: &Percent) -> Fraction {
    Fraction::from_percent(*percent.value)
}

/// `mirror`, then `mirrors`, without those that get nothing.
fn mirrors<'a>(rule: &Rule<'a>, port: u16, clusters: &mut Clusters<'a>) -> (Vec<Mirror>, bool) {
    let mut list = Mirrors { port, clusters, mirrors: Vec::new(), by_port: false };
    if let Some((source, destination)) = rule.inherited_from(|rule| rule.mirror.as_deref()) {
        list.add(source, destination, single_share(rule));
    }
    let written = rule.inherited_from(|rule| (!rule.mirrors.is_empty()).then_some(&rule.mirrors));
    if let Some((source, mirrors)) = written {
        for mirror in mirrors {
            let Some(destination) = &mirror.destination else { continue };
            list.add(source, destination, mirror.percentage.as_ref().map_or(Fraction::ALL, share));
        }
    }
    (list.mirrors, list.by_port)
}

/// Mirrors as they are collected.
struct Mirrors<'m, 'a> {
    port: u16,
    clusters: &'m mut Clusters<'a>,
    mirrors: Vec<Mirror>,
    by_port: bool,
}

impl<'a> Mirrors<'_, 'a> {
    /// Adds a mirror that `source` names, in the namespace of which its host is completed.
    fn add(&mut self, source: Source<'a>, destination: &'a resource::Destination, share: Fraction) {
        if share == Fraction::NONE {
            return;
        }
        let namespace = source.virtual_service.namespace();
        let resolved = self.clusters.resolve(destination, namespace, self.port);
        self.by_port |= resolved.by_port;
        self.mirrors.push(Mirror { cluster: resolved.target, share, origin: source.origin(destination.position) });
    }
}

/// The share of `mirror`: `mirrorPercentage`, else `mirrorPercent`, else everything.
fn single_share(rule: &Rule<'_>) -> Fraction {
    let percentage = rule.inherited(|rule| rule.mirror_percentage.as_ref()).map(share);
    let percent = || rule.inherited(|rule| rule.mirror_percent.as_ref());
    percentage
        .or_else(|| percent().map(|percent| Fraction::from_percent(f64::from(**percent))))
        .unwrap_or(Fraction::ALL)
}

fn cors(rule: &Rule<'_>) -> Option<CorsPolicy> {
    let (source, written) = rule.inherited_from(|rule| rule.cors_policy.as_deref())?;
    let joined = |list: &[Text]| list.iter().map(|text| &*text.value).collect::<Vec<_>>().join(",").into();
    Some(CorsPolicy {
        allow_origins: origins(written),
        allow_methods: joined(&written.allow_methods),
        allow_headers: joined(&written.allow_headers),
        expose_headers: joined(&written.expose_headers),
        max_age: written.max_age.map(|age| age.to_std()),
        allow_credentials: written.allow_credentials.is_some_and(|allow| allow.value),
        forward_unmatched_preflights: *written.unmatched_preflights != UnmatchedPreflights::Ignore,
        origin: source.origin(written.position),
    })
}

/// `allowOrigins`, or else the deprecated `allowOrigin`.
fn origins(written: &resource::CorsPolicy) -> Vec<TextMatch> {
    if written.allow_origins.is_empty() {
        return written.allow_origin.iter().map(|origin| TextMatch::Exact(origin.value.clone())).collect();
    }
    // An empty condition is refused by validation; here it would allow everybody.
    let origins = written.allow_origins.iter().filter(|origin| !matches!(origin, StringMatch::Present(_)));
    origins.map(matching::text_match).collect()
}
