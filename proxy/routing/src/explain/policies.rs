//! What the policies of the rule that matched ask for: shares, limits and names as people read them.

use std::time::Duration;

use config_model::model::{
    AbortStatus, Action, ClusterTarget, CorsPolicy, Fault, Forward, Fraction, GRPC_STATUS_NAMES, HashSource, Mirror,
    Model, RetryPolicy,
};
use serde::Serialize;

use super::cluster_name;
use super::trace::text_in_words;
use crate::table::RouteEntry;

/// Policies of a rule. What is absent is not set, or as Istio has it by default.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Policies {
    /// `500ms`, over all tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Absent where Istio's default policy holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// Failures on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultInjection>,
    /// Who gets copies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<MirrorShare>,
    /// Cross-origin requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Origins>,
    /// What requests are hashed by, in order of precedence: `header x-user`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<String>,
    /// Whether requests of one hash go to one destination of the split.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sticky: bool,
    /// Whether destinations without a ready endpoint leave their share to the others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spill: bool,
}

impl Policies {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Retries that are not those of Istio's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// After the first try.
    pub attempts: u32,
    /// Words and statuses of `retryOn`.
    pub on: Vec<String>,
    /// `300ms`, for each try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<String>,
    /// `25ms`, from which the back-off grows.
    pub back_off: String,
    /// Whether priorities that were not tried go first.
    pub remote_localities: bool,
    /// Whether endpoints that were tried are avoided.
    pub ignore_previous_hosts: bool,
}

/// Failures on purpose.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultInjection {
    /// Goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<FaultShare>,
    /// In place of the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<FaultShare>,
    /// Drawn for each attempt and not for the request.
    pub per_attempt: bool,
    /// `reviews.yaml:20`
    pub origin: String,
}

/// A failure and how often it happens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultShare {
    /// `5s`, `503` or `UNAVAILABLE`
    pub what: String,
    /// Of all requests on this route.
    pub percent: f64,
}

/// A mirror and its share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MirrorShare {
    /// `outbound|9080|v2|reviews.default.svc.cluster.local`
    pub cluster: String,
    /// False if no such service, port or subset exists: it gets nothing.
    pub exists: bool,
    /// Of all requests on this route.
    pub percent: f64,
    /// `reviews.yaml:20`
    pub origin: String,
}

/// Who may ask from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origins {
    /// `exact "https://app.example"`
    pub allowed: Vec<String>,
    /// Whether preflights of others go on to the back end; else they are answered with nothing.
    pub forward_unmatched_preflights: bool,
    /// `reviews.yaml:20`
    pub origin: String,
}

/// The policies of `entry`.
pub(super) fn policies(model: &Model, entry: &RouteEntry) -> Policies {
    let route = &entry.route;
    let forward = match &route.action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::DirectResponse(_) => None,
    };
    Policies {
        timeout: forward.and_then(|forward| forward.timeout).map(text),
        retries: forward.and_then(retries),
        fault: route.fault().map(fault),
        mirrors: route.mirrors().iter().map(|mirror| self::mirror(model, mirror)).collect(),
        cors: route.cors().map(cors),
        hash: route.hash().iter().map(hash).collect(),
        sticky: route.split().sticky,
        spill: route.split().spill,
    }
}

/// `1.5s`
fn text(duration: Duration) -> String {
    format!("{duration:?}")
}

fn percent(share: Fraction) -> f64 {
    f64::from(share.millionths()) / 10_000.0
}

fn retries(forward: &Forward) -> Option<Retries> {
    let RetryPolicy { attempts, per_try_timeout, conditions, status_codes, .. } = &*forward.retry;
    let words = conditions.words().map(str::to_owned);
    (*forward.retry != RetryPolicy::istio_default()).then(|| Retries {
        attempts: *attempts,
        on: words.chain(status_codes.iter().map(ToString::to_string)).collect(),
        per_try_timeout: per_try_timeout.map(text),
        back_off: text(forward.retry.back_off),
        remote_localities: forward.retry.remote_localities,
        ignore_previous_hosts: forward.retry.ignore_previous_hosts,
    })
}

fn fault(fault: &Fault) -> FaultInjection {
    let share = |what: String, share: Fraction| FaultShare { what, percent: percent(share) };
    let status = |status: AbortStatus| match status {
        AbortStatus::Http(code) => code.to_string(),
        AbortStatus::Grpc(code) => {
            GRPC_STATUS_NAMES.get(usize::from(code)).map_or_else(|| code.to_string(), ToString::to_string)
        }
    };
    FaultInjection {
        delay: fault.delay.map(|delay| share(text(delay.duration), delay.share)),
        abort: fault.abort.map(|abort| share(status(abort.status), abort.share)),
        per_attempt: fault.per_attempt,
        origin: fault.origin.to_string(),
    }
}

fn mirror(model: &Model, mirror: &Mirror) -> MirrorShare {
    MirrorShare {
        cluster: cluster_name(model, &mirror.cluster),
        exists: matches!(mirror.cluster, ClusterTarget::Known(_)),
        percent: percent(mirror.share),
        origin: mirror.origin.to_string(),
    }
}

fn cors(policy: &CorsPolicy) -> Origins {
    Origins {
        allowed: policy.allow_origins.iter().map(text_in_words).collect(),
        forward_unmatched_preflights: policy.forward_unmatched_preflights,
        origin: policy.origin.to_string(),
    }
}

fn hash(source: &HashSource) -> String {
    match source {
        HashSource::Header(name) => format!("header {name}"),
        HashSource::Cookie { name, .. } => format!("cookie {name}"),
        HashSource::SourceIp => "source address".to_owned(),
        HashSource::QueryParameter(name) => format!("query parameter {name}"),
    }
}
