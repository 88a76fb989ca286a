//! Retry policies of routes. Source: Istio, `HTTPRetry`; MeshConfig, `defaultHttpRetryPolicy`.

use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashSet, HashSetExt};

use crate::model::{RetryConditions, RetryOn, RetryPolicy};
use crate::resource::HttpRetry;

use super::set::ResourceSet;

/// Policies that are in use, each once: thousands of routes say the same.
pub(super) struct Retries {
    default: Arc<RetryPolicy>,
    default_if_hashed: Arc<RetryPolicy>,
    known: HashSet<Arc<RetryPolicy>>,
}

impl Retries {
    /// With the default that MeshConfig says, or else Istio's own.
    pub(super) fn new(resources: &ResourceSet) -> Self {
        let config = resources.mesh_config().and_then(|(_, config)| config.default_http_retry_policy.as_ref());
        let none = || RetryPolicy::istio_default();
        let default = config.map_or_else(none, |written| policy(written, false));
        let default_if_hashed = config
            .map_or_else(|| RetryPolicy { ignore_previous_hosts: false, ..none() }, |written| policy(written, true));
        Self { default: default.into(), default_if_hashed: default_if_hashed.into(), known: HashSet::new() }
    }

    /// The policy of a route, all of whose requests are hashed or not.
    pub(super) fn resolve(&mut self, written: Option<&HttpRetry>, is_hashed: bool) -> Arc<RetryPolicy> {
        let default = if is_hashed { &self.default_if_hashed } else { &self.default };
        let Some(written) = written else { return Arc::clone(default) };
        let policy = policy(written, is_hashed);
        if policy == **default {
            return Arc::clone(default);
        }
        if let Some(known) = self.known.get(&policy) {
            return Arc::clone(known);
        }
        let policy = Arc::new(policy);
        self.known.insert(Arc::clone(&policy));
        policy
    }
}

/// What is absent is as in Istio's default policy, whatever MeshConfig says; but `attempts` is a number, and absent it is 0.
/// A request that is hashed goes where it was before unless the rule says otherwise.
fn policy(written: &HttpRetry, is_hashed: bool) -> RetryPolicy {
    let default = RetryPolicy::istio_default();
    let (conditions, status_codes) = match &*written.retry_on.value {
        "" => (default.conditions, Vec::new()),
        words => retry_on(words),
    };
    let duration = |field: &Option<crate::decode::Located<crate::decode::Duration>>| {
        field.map(|duration| duration.to_std()).filter(|duration| *duration > Duration::ZERO)
    };
    RetryPolicy {
        attempts: u32::try_from(*written.attempts).unwrap_or(0),
        per_try_timeout: duration(&written.per_try_timeout),
        conditions,
        status_codes,
        remote_localities: written.retry_remote_localities.is_some_and(|remote| remote.value),
        ignore_previous_hosts: written.retry_ignore_previous_hosts.map_or(!is_hashed, |ignore| ignore.value),
        back_off: duration(&written.backoff).unwrap_or(default.back_off),
    }
}

/// Words and codes by commas. Codes switch `retriable-status-codes` on by themselves.
fn retry_on(words: &str) -> (RetryConditions, Vec<u16>) {
    let mut conditions = RetryConditions::default();
    let mut codes = Vec::new();
    for entry in words.split(',').filter_map(|entry| RetryOn::parse(entry.trim())) {
        match entry {
            RetryOn::Condition(condition) => conditions = conditions.with(condition),
            RetryOn::Status(code) => {
                conditions = conditions.with(RetryConditions::STATUS_CODES);
                codes.push(code);
            }
        }
    }
    (conditions, codes)
}
