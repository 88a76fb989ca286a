//! Rules for the policies of an `HTTPRoute`: time-out, retries, faults, CORS and mirrors.

use super::{http_route, names, values};
use crate::decode::{Path, Report, suggest};
use crate::diagnostic::{Code, Level};
use crate::model::{GRPC_STATUS_NAMES, RetryConditions, RetryOn};
use crate::origin::Position;
use crate::resolve::{EMPTY_SUBSETS, FAULT_SCOPE, SPLIT};
use crate::resource::{Abort, CorsPolicy, Delay, HttpFaultInjection, HttpRetry, HttpRoute, Metadata, StringMatch};

/// Checks the policies of a rule.
pub(super) fn check(route: &HttpRoute, at: &Path<'_>, report: &mut Report) {
    values::duration(route.timeout.as_ref(), &at.field("timeout"), report);
    if let Some(retries) = &route.retries {
        self::retries(retries, &at.field("retries"), report);
        let both = retries.per_try_timeout.as_ref().zip(route.timeout.as_ref());
        if let Some((own, whole)) = both.filter(|(own, whole)| own.to_std() >= whole.to_std()) {
            let message = format_args!("has no effect: all tries together have {:?}", whole.to_std());
            report.warning(
                own.position,
                &at.field("retries").field("perTryTimeout"),
                message,
                Some("write less than timeout"),
            );
        }
    }
    if let Some(fault) = &route.fault {
        self::fault(fault, &at.field("fault"), report);
    }
    if let Some(cors) = &route.cors_policy {
        cors_policy(cors, &at.field("corsPolicy"), report);
    }
    mirrors(route, at, report);
    idle(route, at, report);
}

/// Policies of forwarded requests, on a rule that forwards none.
fn idle(route: &HttpRoute, at: &Path<'_>, report: &mut Report) {
    let action = match (&route.redirect, &route.direct_response) {
        (Some(_), _) => "redirect",
        (None, Some(_)) => "directResponse",
        (None, None) => return,
    };
    let written = [
        ("timeout", route.timeout.as_ref().map(|timeout| timeout.position)),
        ("retries", route.retries.as_ref().map(|retries| retries.position)),
        ("mirror", route.mirror.as_ref().map(|mirror| mirror.position)),
        ("mirrors", route.mirrors.first().map(|mirror| mirror.position)),
        ("corsPolicy", route.cors_policy.as_ref().map(|cors| cors.position)),
    ];
    for (name, position) in written {
        if let Some(position) = position {
            report.warning(position, &at.field(name), format_args!("has no effect beside {action}"), None);
        }
    }
}

/// Our own annotations of a VirtualService, and the two values of each: what Istio does comes first.
const CHOICES: [(&str, [&str; 2]); 3] =
    [(FAULT_SCOPE, ["request", "attempt"]), (SPLIT, ["drawn", "sticky"]), (EMPTY_SUBSETS, ["fail", "spill"])];

/// Checks our own annotations.
pub(super) fn annotations(metadata: &Metadata, position: Position, report: &mut Report) {
    for (name, [usual, other]) in CHOICES {
        let Some(value) = metadata.annotations.get(name) else { continue };
        if **value != *usual && **value != *other {
            let annotations = Path::ROOT.field("metadata");
            let annotations = annotations.field("annotations");
            let message = format_args!("must be {usual} or {other}, found {value:?}; it counts as {usual}");
            report.warning(position, &annotations.key(name), message, None);
        }
    }
}

/// Checks the retries of a rule.
pub(super) fn retries(retries: &HttpRetry, at: &Path<'_>, report: &mut Report) {
    if let Some(position) = switched_off(retries) {
        report.error(position, &at.field("attempts"), SWITCHED_OFF, Some(ATTEMPTS_HINT));
    }
    retry_limits(retries, at, report);
}

/// Checks the retries of the mesh, of which Istio refuses nothing for what stands beside it.
pub(super) fn retries_of_mesh(retries: &HttpRetry, at: &Path<'_>, report: &mut Report) {
    if let Some(position) = switched_off(retries) {
        report.warning(position, &at.field("attempts"), SWITCHED_OFF, Some(ATTEMPTS_HINT));
    }
    retry_limits(retries, at, report);
}

const SWITCHED_OFF: &str = "is 0, which switches off the retries that are set up here";
const ATTEMPTS_HINT: &str = "write how many tries there may be after the first";

/// Where retries are switched off that the same policy sets up.
fn switched_off(retries: &HttpRetry) -> Option<Position> {
    let set = retries.per_try_timeout.is_some()
        || !retries.retry_on.value.is_empty()
        || retries.retry_remote_localities.is_some();
    (retries.attempts.value == 0 && set).then(|| values::place(&retries.attempts, retries.position))
}

fn retry_limits(retries: &HttpRetry, at: &Path<'_>, report: &mut Report) {
    values::not_negative(&retries.attempts, &at.field("attempts"), report);
    values::duration(retries.per_try_timeout.as_ref(), &at.field("perTryTimeout"), report);
    values::duration(retries.backoff.as_ref(), &at.field("backoff"), report);
    let conditions = retries.retry_on.value.split(',').filter(|_| !retries.retry_on.value.is_empty());
    for condition in conditions {
        if RetryOn::parse(condition).is_none() {
            unknown_condition(condition, retries.retry_on.position, &at.field("retryOn"), report);
        }
    }
}

fn unknown_condition(condition: &str, position: Position, at: &Path<'_>, report: &mut Report) {
    let words: Vec<&str> = RetryConditions::known_words().collect();
    let near = suggest(condition, &words).map(|near| format!("did you mean {near}?"));
    let hint = near.unwrap_or_else(|| format!("use statuses that have a name, and some of {}", words.join(", ")));
    report.error(position, at, format_args!("unknown condition {condition:?}"), Some(&hint));
}

fn fault(fault: &HttpFaultInjection, at: &Path<'_>, report: &mut Report) {
    if fault.abort.is_none() && fault.delay.is_none() {
        report.error(fault.position, at, "needs one of abort and delay", None);
    }
    if let Some(abort) = &fault.abort {
        self::abort(abort, &at.field("abort"), report);
    }
    if let Some(delay) = &fault.delay {
        self::delay(delay, &at.field("delay"), report);
    }
}

fn abort(abort: &Abort, at: &Path<'_>, report: &mut Report) {
    values::percentage(abort.percentage.as_ref(), true, &at.field("percentage"), report);
    if abort.percentage.is_none() {
        no_share(abort.position, at, report);
    }
    if let Some(code) = &abort.http_status {
        http_route::status(i64::from(code.value), code.position, &at.field("httpStatus"), report);
    }
    if let Some(name) = &abort.grpc_status
        && !GRPC_STATUS_NAMES.contains(&&*name.value)
    {
        let hint = suggest(&name.value, &GRPC_STATUS_NAMES).map(|near| format!("did you mean {near}?"));
        let message = format_args!("unknown status {:?}", name.value);
        report.error(name.position, &at.field("grpcStatus"), message, hint.as_deref());
    }
    if let (Some(_), Some(name)) = (&abort.http_status, &abort.grpc_status) {
        report.error(
            name.position,
            &at.field("grpcStatus"),
            "must not stand beside httpStatus",
            Some("keep one of the two"),
        );
    }
    if let Some(error) = &abort.http2_error {
        report.error(error.position, &at.field("http2Error"), "is not supported by Istio", Some("use httpStatus"));
    }
    if abort.http_status.is_none() && abort.grpc_status.is_none() && abort.http2_error.is_none() {
        report.warning(abort.position, at, "has neither httpStatus nor grpcStatus", None);
    }
}

fn delay(delay: &Delay, at: &Path<'_>, report: &mut Report) {
    values::percentage(delay.percentage.as_ref(), true, &at.field("percentage"), report);
    values::percent(&delay.percent, &at.field("percent"), report);
    if delay.percentage.is_none() && !delay.percent.is_written() {
        no_share(delay.position, at, report);
    }
    values::duration(delay.fixed_delay.as_ref(), &at.field("fixedDelay"), report);
    if let Some(delay) = &delay.exponential_delay {
        report.error(
            delay.position,
            &at.field("exponentialDelay"),
            "is not supported by Istio",
            Some("use fixedDelay"),
        );
    }
}

/// Istio takes a missing share for zero.
fn no_share(position: Position, at: &Path<'_>, report: &mut Report) {
    if report.has_error_within(at) {
        return;
    }
    let hint = Some("write percentage: {value: 100} for all requests");
    report.warning(position, at, "has no percentage, which counts as 0, so that nothing happens", hint);
}

/// What `corsPolicy.allowMethods` may name.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

fn cors_policy(cors: &CorsPolicy, at: &Path<'_>, report: &mut Report) {
    let field = at.field("allowOrigins");
    for (index, origin) in cors.allow_origins.iter().enumerate() {
        let empty = match origin {
            StringMatch::Exact(text) | StringMatch::Prefix(text) => text.value.is_empty(),
            StringMatch::Regex(_) => false,
            StringMatch::Present(_) => true,
        };
        if empty {
            let message = "needs one of exact, prefix and regex";
            report.error(origin.position(), &field.index(index), message, Some("write exact: \"*\" for all origins"));
        }
    }
    let field = at.field("allowMethods");
    for (index, method) in cors.allow_methods.iter().enumerate() {
        if *method.value != *"*" && !METHODS.contains(&&*method.value) {
            let message = format_args!("unknown method {:?}", method.value);
            report.error(method.position, &field.index(index), message, None);
        }
    }
    for (name, list) in [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)] {
        let field = at.field(name);
        for (index, header) in list.iter().enumerate().filter(|(_, header)| *header.value != *"*") {
            values::text(header, |name| names::changed_header(name, true), &field.index(index), report, "");
        }
    }
    values::duration(cors.max_age.as_ref(), &at.field("maxAge"), report);
    if let Some(age) = cors.max_age.as_ref().filter(|age| age.nanoseconds % 1_000_000_000 != 0) {
        report.error(age.position, &at.field("maxAge"), "must be whole seconds", None);
    }
}

fn mirrors(route: &HttpRoute, at: &Path<'_>, report: &mut Report) {
    if let Some(mirror) = &route.mirror {
        values::destination(mirror, &at.field("mirror"), report);
        if !route.mirrors.is_empty() {
            report.error(
                mirror.position,
                &at.field("mirror"),
                "must not stand beside mirrors",
                Some("keep one of the two"),
            );
        }
    }
    let field = at.field("mirrors");
    for (index, mirror) in route.mirrors.iter().enumerate() {
        let at = field.index(index);
        values::destination_of(mirror.destination.as_ref(), mirror.position, &at, report);
        values::percentage(mirror.percentage.as_ref(), false, &at.field("percentage"), report);
    }
    values::percentage(route.mirror_percentage.as_ref(), false, &at.field("mirrorPercentage"), report);
    if let Some(percent) = &route.mirror_percent {
        let text = ("is deprecated".to_owned(), Some("use mirrorPercentage".to_owned()));
        report.add(Code::SchemaWarning, Level::Warning, percent.position, &at.field("mirrorPercent"), text);
        if percent.value > 100 {
            let message = format_args!("must be from 0 to 100 percent, found {}", percent.value);
            report.error(percent.position, &at.field("mirrorPercent"), message, None);
        }
    }
}
