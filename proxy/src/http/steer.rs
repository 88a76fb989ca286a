//! Fields by which a request says itself how long it may take and how often it is tried. They count if a client sends them that
//! is trusted, those about retries also if a rule sets them; of all others they were dropped. They go no further.
//! Source: Envoy, "HTTP headers consumed" of the router, and its `RetryStateImpl`.

use std::time::Duration;

use config_model::model::{RetryConditions, RetryOn, RetryPolicy};
use http1::{Head, Name};

const TIMEOUT: &[u8] = b"x-envoy-upstream-rq-timeout-ms";
const PER_TRY_TIMEOUT: &[u8] = b"x-envoy-upstream-rq-per-try-timeout-ms";
const RETRY_ON: &[u8] = b"x-envoy-retry-on";
const RETRY_GRPC_ON: &[u8] = b"x-envoy-retry-grpc-on";
const MAX_RETRIES: &[u8] = b"x-envoy-max-retries";
const STATUS_CODES: &[u8] = b"x-envoy-retriable-status-codes";

const OF_TIME: [&[u8]; 2] = [TIMEOUT, PER_TRY_TIMEOUT];
const OF_RETRIES: [&[u8]; 4] = [RETRY_ON, RETRY_GRPC_ON, MAX_RETRIES, STATUS_CODES];

/// Retries where a rule has switched them off, and a request asks for some without a number. Source: Envoy, `num_retries`.
const RETRIES_ASKED_FOR: u32 = 1;

/// A field as it is kept while others of its kind are dropped: name and value.
type Kept = (Box<[u8]>, Box<[u8]>);

/// The fields of a trusted client's request that are known here.
pub(super) fn fields(head: &Head) -> Vec<Kept> {
    if !head.names().has(Name::Envoy) {
        return Vec::new();
    }
    let known = |name: &[u8]| OF_TIME.contains(&name) || OF_RETRIES.contains(&name);
    let fields = head.fields().filter(|field| field.kind == Name::Envoy && known(field.name));
    fields.map(|field| (field.name.into(), field.value.into())).collect()
}

/// What a request says of its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// Instead of the route's; none at all if that is inside.
    pub(super) request: Option<Option<Duration>>,
    /// Instead of the retry policy's.
    per_try: Option<Option<Duration>>,
}

impl Times {
    /// Takes them from `head`, before any rule has changed it: a rule's are for whoever comes behind us.
    pub(super) fn take(head: &mut Head) -> Self {
        if !head.names().has(Name::Envoy) {
            return Self::default();
        }
        let limit = |millis: u64| Some(Duration::from_millis(millis)).filter(|limit| !limit.is_zero());
        let times =
            Self { request: number(head, TIMEOUT).map(limit), per_try: number(head, PER_TRY_TIMEOUT).map(limit) };
        OF_TIME.iter().for_each(|name| head.remove(name));
        times
    }
}

/// The policy that holds instead of the route's; nothing if that stands. Takes its fields from `head`.
pub(super) fn retries(head: &mut Head, times: Times, route: &RetryPolicy) -> Option<Box<RetryPolicy>> {
    if times.per_try.is_none() && !asks(head) {
        return None;
    }
    let mut policy = route.clone();
    policy.per_try_timeout = times.per_try.unwrap_or(policy.per_try_timeout);
    let on = conditions(head, RETRY_ON).with(conditions(head, RETRY_GRPC_ON));
    if policy.attempts == 0 {
        // A rule that switches retries off says nothing else of them.
        policy.conditions = RetryConditions::default();
        policy.status_codes.clear();
        policy.attempts = if on == RetryConditions::default() { 0 } else { RETRIES_ASKED_FOR };
    }
    policy.conditions = policy.conditions.with(on);
    if let Some(attempts) = number(head, MAX_RETRIES).filter(|_| policy.conditions != RetryConditions::default()) {
        policy.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    }
    policy.status_codes.extend(items(head, STATUS_CODES).filter_map(|code| code.parse::<u16>().ok()));
    OF_RETRIES.iter().for_each(|name| head.remove(name));
    Some(Box::new(policy))
}

fn asks(head: &Head) -> bool {
    head.names().has(Name::Envoy)
        && head.fields().any(|field| field.kind == Name::Envoy && OF_RETRIES.contains(&field.name))
}

/// Words that are conditions. Here numbers are none.
fn conditions(head: &Head, name: &[u8]) -> RetryConditions {
    let known = items(head, name).filter_map(|word| match RetryOn::parse(word) {
        Some(RetryOn::Condition(condition)) => Some(condition),
        _ => None,
    });
    known.fold(RetryConditions::default(), RetryConditions::with)
}

/// The parts of a list.
fn items<'a>(head: &'a Head, name: &[u8]) -> impl Iterator<Item = &'a str> {
    let text = head.value(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    text.split(',').map(str::trim)
}

fn number(head: &Head, name: &[u8]) -> Option<u64> {
    std::str::from_utf8(head.value(name)?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::tests::head;

    /// Retries and conditions that come of a route's policy of `attempts` and these fields.
    fn retried(attempts: u32, fields: &[(&str, &str)]) -> Option<(u32, RetryConditions, Vec<u16>)> {
        let mut head = head(fields);
        let route = RetryPolicy { attempts, ..RetryPolicy::istio_default() };
        let policy = retries(&mut head, Times::default(), &route)?;
        assert_eq!(head.count(), 0, "nothing goes further");
        Some((policy.attempts, policy.conditions, policy.status_codes))
    }

    #[test]
    fn conditions_are_added_and_numbers_replace() {
        let default = RetryConditions::ISTIO_DEFAULT;
        let any_5xx = RetryConditions::ANY_5XX;
        let table = [
            (2, vec![("x-envoy-retry-on", "5xx,nonsense,503")], (2, default.with(any_5xx), vec![])),
            (2, vec![("x-envoy-max-retries", "7")], (7, default, vec![])),
            (2, vec![("x-envoy-max-retries", "many")], (2, default, vec![])),
            (2, vec![("x-envoy-retriable-status-codes", "418, x,404")], (2, default, vec![418, 404])),
            (2, vec![("x-envoy-retry-grpc-on", "internal")], (2, default.with(RetryConditions::INTERNAL), vec![])),
            (0, vec![("x-envoy-retry-on", "5xx")], (1, any_5xx, vec![])),
            (0, vec![("x-envoy-max-retries", "7")], (0, RetryConditions::default(), vec![])),
        ];
        for (attempts, fields, expected) in table {
            assert_eq!(retried(attempts, &fields), Some(expected), "{fields:?}");
        }
        assert_eq!(retried(2, &[]), None);
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let mut head = head(&[
            ("x-envoy-upstream-rq-timeout-ms", "0"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "250"),
            ("x", "y"),
        ]);
        let times = Times::take(&mut head);
        assert_eq!((times.request, head.count()), (Some(None), 1));
        let policy = retries(&mut head, times, &RetryPolicy::istio_default()).unwrap();
        assert_eq!(policy.per_try_timeout, Some(Duration::from_millis(250)));
    }

    #[test]
    fn only_what_is_known_is_kept_of_a_trusted_client() {
        let head = head(&[("x-envoy-retry-on", "5xx"), ("x-envoy-internal", "true"), ("x-other", "1")]);
        assert_eq!(fields(&head), [(b"x-envoy-retry-on"[..].into(), b"5xx"[..].into())]);
    }
}
