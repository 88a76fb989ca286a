//! Rules for `HTTPRoute`: matches, the one action, and what goes with it.

use super::virtual_service::gateway_names;
use super::{headers, http_policy, names, values};
use crate::decode::{Located, Map, Path, Report};
use crate::model::Format;
use crate::resource::{
    Delegate, HttpDirectResponse, HttpMatchRequest, HttpRedirect, HttpRewrite, HttpRoute, HttpRouteDestination,
    StringMatch,
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
    http_policy::check(route, at, report);
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

/// Claims are looked at by gateways only.
pub(super) fn no_claims(rule: &HttpRoute, at: &Path<'_>, report: &mut Report) {
    let field = at.field("match");
    for (index, entry) in rule.r#match.iter().enumerate() {
        let at = field.index(index);
        for (name, map) in [("headers", &entry.headers), ("withoutHeaders", &entry.without_headers)] {
            for (claim, _) in map.iter().filter(|(claim, _)| names::is_claim(&claim.value)) {
                let at = at.field(name);
                let message = "claims of a token are known at gateways only";
                report.error(claim.position, &at.key(&claim.value), message, Some("name a gateway"));
            }
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

pub(super) fn status(status: i64, position: crate::origin::Position, at: &Path<'_>, report: &mut Report) {
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
