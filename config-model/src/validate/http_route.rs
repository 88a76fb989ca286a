//! Rules for `HTTPRoute`: matches, the one action, and what goes with it.

use super::virtual_service::gateway_names;
use super::{headers, names, values};
use crate::decode::{Located, Map, Path, Report};
use crate::diagnostic::{Code, Level};
use crate::model::Format;
use crate::resource::{
    Abort, CorsPolicy, Delay, Delegate, HttpDirectResponse, HttpFaultInjection, HttpMatchRequest, HttpRedirect,
    HttpRetry, HttpRewrite, HttpRoute, HttpRouteDestination, StringMatch,
};

/// Checks a rule; `of_delegate` says that its VirtualService has no hosts.
pub(super) fn check(route: &HttpRoute, of_delegate: bool, at: &Path<'_>, report: &mut Report) {
    actions(route, of_delegate, at, report);
    let field = at.field("match");
    for (index, entry) in route.r#match.iter().enumerate() {
        matches(entry, &field.index(index), report);
    }
    headers::check(route.headers.as_deref(), at, report);
    authority_once(route, at, report);
    destinations(&route.route, &at.field("route"), report);
    if let Some(redirect) = &route.redirect {
        self::redirect(redirect, route, &at.field("redirect"), report);
    }
    if let Some(response) = &route.direct_response {
        direct_response(response, &at.field("directResponse"), report);
    }
    if let Some(rewrite) = &route.rewrite {
        self::rewrite(rewrite, &at.field("rewrite"), report);
    }
    if let Some(delegate) = &route.delegate {
        self::delegate(delegate, &at.field("delegate"), report);
    }
    if let Some(retries) = &route.retries {
        self::retries(retries, &at.field("retries"), report);
    }
    policies(route, at, report);
}

fn policies(route: &HttpRoute, at: &Path<'_>, report: &mut Report) {
    values::duration(route.timeout.as_ref(), &at.field("timeout"), report);
    if let Some(fault) = &route.fault {
        self::fault(fault, &at.field("fault"), report);
    }
    if let Some(cors) = &route.cors_policy {
        cors_policy(cors, &at.field("corsPolicy"), report);
    }
    mirrors(route, at, report);
}

/// There is one action, and only a route goes with fault and rewrite.
fn actions(route: &HttpRoute, of_delegate: bool, at: &Path<'_>, report: &mut Report) {
    let written = [
        ("delegate", route.delegate.as_ref().map(|delegate| delegate.position)),
        ("redirect", route.redirect.as_ref().map(|redirect| redirect.position)),
        ("directResponse", route.direct_response.as_ref().map(|response| response.position)),
        ("route", route.route.first().map(|destination| destination.position)),
    ];
    let mut found = written.iter().filter_map(|(name, position)| Some((*name, (*position)?)));
    let Some((action, position)) = found.next() else {
        let message = "needs one of route, redirect, directResponse and delegate";
        return report.error(route.position, at, message, Some("say what is done with the requests"));
    };
    for (other, _) in found {
        let message = format_args!("must not stand beside {other}");
        report.error(position, &at.field(action), message, Some("keep one of the two"));
    }
    if action == "delegate" && of_delegate {
        report.error(position, &at.field(action), "a delegate must not delegate further", None);
    }
    let companions = [
        ("fault", route.fault.as_ref().map(|fault| fault.position)),
        ("rewrite", route.rewrite.as_ref().map(|rewrite| rewrite.position)),
    ];
    for (name, position) in companions {
        if let (Some(position), "redirect" | "directResponse") = (position, action) {
            report.error(
                position,
                &at.field(name),
                format_args!("must not stand beside {action}"),
                Some("keep one of the two"),
            );
        }
    }
}

fn matches(entry: &HttpMatchRequest, at: &Path<'_>, report: &mut Report) {
    for (field, value) in [("scheme", &entry.scheme), ("method", &entry.method), ("authority", &entry.authority)] {
        if let Some(value) = value {
            not_empty(value, &at.field(field), report);
        }
    }
    let maps = [("headers", &entry.headers), ("withoutHeaders", &entry.without_headers)];
    for (field, map) in maps {
        header_conditions(map, &at.field(field), report);
    }
    let field = at.field("queryParams");
    for (name, value) in entry.query_params.iter() {
        not_empty(value, &field.key(&name.value), report);
    }
    values::labels(&entry.source_labels, entry.position, &at.field("sourceLabels"), report);
    gateway_names(&entry.gateways, &at.field("gateways"), report);
    if !entry.source_namespace.value.is_empty() {
        values::text(&entry.source_namespace, names::dns_label, &at.field("sourceNamespace"), report, "");
    }
    if entry.ignore_uri_case.value && matches!(entry.uri, Some(StringMatch::Regex(_))) {
        let message = "has no effect on a regex";
        report.warning(entry.ignore_uri_case.position, &at.field("ignoreUriCase"), message, Some("begin it with (?i)"));
    }
}

fn header_conditions(map: &Map<StringMatch>, at: &Path<'_>, report: &mut Report) {
    for (name, value) in map.iter() {
        let at = at.key(&name.value);
        values::text(name, names::matched_header, &at, report, "");
        not_empty(value, &at, report);
        if names::is_claim(&name.value) {
            report.not_honoured(name.position, &at, "routing by claims of a token");
        }
    }
}

/// Only `uri` may have an empty prefix.
fn not_empty(value: &StringMatch, at: &Path<'_>, report: &mut Report) {
    if let StringMatch::Prefix(prefix) = value
        && prefix.value.is_empty()
    {
        report.error(prefix.position, &at.field("prefix"), "must not be empty", Some("write {} for any value"));
    }
}

fn destinations(route: &[HttpRouteDestination], at: &Path<'_>, report: &mut Report) {
    for (index, entry) in route.iter().enumerate() {
        let at = at.index(index);
        values::destination_of(entry.destination.as_ref(), entry.position, &at, report);
        headers::check(entry.headers.as_deref(), &at, report);
    }
    values::weights(route.iter().map(|entry| (&entry.weight, entry.position)), at, report);
}

/// The authority is rewritten in one place only.
fn authority_once(route: &HttpRoute, at: &Path<'_>, report: &mut Report) {
    let headers = at.field("headers");
    let request = headers.field("request");
    let rewritten = route.rewrite.as_ref().is_some_and(|rewrite| !rewrite.authority.value.is_empty());
    let mut before = rewritten.then_some("rewrite.authority");
    let Some(operations) = route.headers.as_ref().and_then(|headers| headers.request.as_ref()) else { return };
    let is_authority = |entry: &&(crate::decode::Text, Located<Format>)| names::is_authority(&entry.0.value);
    for (field, map) in [("set", &operations.set), ("add", &operations.add)] {
        for (name, _) in map.iter().filter(is_authority) {
            if let Some(before) = before {
                let message = format_args!("the authority is set already by {before}");
                report.error(
                    name.position,
                    &request.field(field).key(&name.value),
                    message,
                    Some("set it in one place"),
                );
            }
            before = Some("another header");
        }
    }
}

fn redirect(redirect: &HttpRedirect, route: &HttpRoute, at: &Path<'_>, report: &mut Report) {
    let is_empty = redirect.uri.value.is_empty()
        && redirect.authority.value.is_empty()
        && redirect.scheme.value.is_empty()
        && redirect.prefix_rewrite.value.is_empty()
        && redirect.port.is_none()
        && redirect.derive_port.is_none();
    if is_empty {
        report.error(redirect.position, at, "needs one of uri, authority, scheme and port", None);
    }
    let code = &redirect.redirect_code;
    if code.value != 0 && !matches!(code.value, 301 | 302 | 303 | 307 | 308) {
        let message = format_args!("must be 301, 302, 303, 307 or 308, found {}", code.value);
        report.error(code.position, &at.field("redirectCode"), message, None);
    }
    if !matches!(&*redirect.scheme.value, "" | "http" | "https") {
        let message = format_args!("must be http or https, found {:?}", redirect.scheme.value);
        report.error(redirect.scheme.position, &at.field("scheme"), message, None);
    }
    if let (Some(port), Some(_)) = (&redirect.port, &redirect.derive_port) {
        report.error(port.position, &at.field("port"), "must not stand beside derivePort", Some("keep one of the two"));
    }
    if !redirect.prefix_rewrite.value.is_empty() {
        prefix_rewrite(redirect, route, &at.field("prefixRewrite"), report);
    }
}

fn prefix_rewrite(redirect: &HttpRedirect, route: &HttpRoute, at: &Path<'_>, report: &mut Report) {
    let position = redirect.prefix_rewrite.position;
    if !redirect.uri.value.is_empty() {
        report.error(position, at, "must not stand beside uri", Some("keep one of the two"));
    }
    let other = |entry: &HttpMatchRequest| !matches!(entry.uri, None | Some(StringMatch::Prefix(_)));
    if route.r#match.iter().any(other) {
        report.error(position, at, "needs a prefix wherever uri is matched", None);
    }
}

fn status(status: i64, position: crate::origin::Position, at: &Path<'_>, report: &mut Report) {
    if !(200..=599).contains(&status) {
        report.error(position, at, format_args!("must be a status from 200 to 599, found {status}"), None);
    }
}

/// Larger bodies don't belong into a configuration.
const BODY_MAX: usize = 1 << 20;

fn direct_response(response: &HttpDirectResponse, at: &Path<'_>, report: &mut Report) {
    let field = at.field("status");
    if response.status.is_written() {
        status(i64::from(response.status.value), response.status.position, &field, report);
    } else {
        report.error(response.position, &field, "is required", Some("write a status such as 200"));
    }
    let Some(body) = &response.body else { return };
    if let (Some(_), Some(bytes)) = (&body.string, &body.bytes) {
        report.error(
            bytes.position,
            &at.field("body"),
            "must not have both string and bytes",
            Some("keep one of the two"),
        );
    }
    let text = body.string.as_ref().map_or(0, |text| text.value.len());
    let length = text + body.bytes.as_ref().map_or(0, |bytes| bytes.value.0.len());
    if length > BODY_MAX {
        report.error(
            body.position,
            &at.field("body"),
            "must not be larger than 1 MiB",
            Some("serve it from a back end"),
        );
    }
}

fn rewrite(rewrite: &HttpRewrite, at: &Path<'_>, report: &mut Report) {
    let (uri, authority) = (!rewrite.uri.value.is_empty(), !rewrite.authority.value.is_empty());
    let Some(regex) = &rewrite.uri_regex_rewrite else {
        if !uri && !authority {
            report.error(rewrite.position, at, "needs one of uri, uriRegexRewrite and authority", None);
        }
        return;
    };
    let at = at.field("uriRegexRewrite");
    if uri {
        report.error(regex.position, &at, "must not stand beside uri", Some("keep one of the two"));
    }
    if regex.r#match.is_none() || regex.rewrite.value.is_empty() {
        report.error(regex.position, &at, "needs both match and rewrite", None);
    }
}

fn delegate(delegate: &Delegate, at: &Path<'_>, report: &mut Report) {
    values::required(&delegate.name, delegate.position, &at.field("name"), report, "name a VirtualService");
    if !delegate.namespace.value.is_empty() {
        values::text(&delegate.namespace, names::dns_label, &at.field("namespace"), report, "");
    }
}

/// What `retryOn` may name, besides statuses.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

pub(super) fn retries(retries: &HttpRetry, at: &Path<'_>, report: &mut Report) {
    values::not_negative(&retries.attempts, &at.field("attempts"), report);
    let set = retries.per_try_timeout.is_some()
        || !retries.retry_on.value.is_empty()
        || retries.retry_remote_localities.is_some();
    if retries.attempts.value == 0 && set {
        let position = values::place(&retries.attempts, retries.position);
        let hint = Some("write how many tries there may be after the first");
        report.error(
            position,
            &at.field("attempts"),
            "is 0, which switches off the retries that are set up here",
            hint,
        );
    }
    values::duration(retries.per_try_timeout.as_ref(), &at.field("perTryTimeout"), report);
    values::duration(retries.backoff.as_ref(), &at.field("backoff"), report);
    let conditions = retries.retry_on.value.split(',').filter(|_| !retries.retry_on.value.is_empty());
    for condition in conditions {
        let is_status = condition.parse::<u16>().is_ok_and(|status| (100..600).contains(&status));
        if !is_status && !RETRY_ON.contains(&condition) {
            let near = crate::decode::suggest(condition, &RETRY_ON).map(|near| format!("did you mean {near}?"));
            let hint = near.unwrap_or_else(|| format!("use some of {}", RETRY_ON.join(", ")));
            let message = format_args!("unknown condition {condition:?}");
            report.error(retries.retry_on.position, &at.field("retryOn"), message, Some(&hint));
        }
    }
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

/// Status names of gRPC.
const GRPC_STATUS: [&str; 17] = [
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

fn abort(abort: &Abort, at: &Path<'_>, report: &mut Report) {
    values::percentage(abort.percentage.as_ref(), true, &at.field("percentage"), report);
    if let Some(code) = &abort.http_status {
        status(i64::from(code.value), code.position, &at.field("httpStatus"), report);
    }
    if let Some(name) = &abort.grpc_status
        && !GRPC_STATUS.contains(&&*name.value)
    {
        let hint = crate::decode::suggest(&name.value, &GRPC_STATUS).map(|near| format!("did you mean {near}?"));
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
        if !METHODS.contains(&&*method.value) {
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
