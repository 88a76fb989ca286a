//! A request's head as the back end shall see it: authority, path and fields as the route and the destination say.

use bytes::Bytes;
use config_model::model::{Action, PathRewrite};
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Uri, Version};
use routing::headers;
use routing::rewrite;
use routing::{DestinationEntry, RouteEntry};

use super::head::Target;
use super::record::Record;

const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// Changes `parts` for the way to `destination`.
///
/// # Errors
/// If what the rule writes can't stand in a head.
pub(super) fn rewrite_head(
    parts: &mut Parts,
    route: &RouteEntry,
    destination: &DestinationEntry,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), http::Error> {
    let authority = destination.authority.as_ref().map(|template| template.value(&parts.headers, record));
    headers::apply(&[&route.request_headers, &destination.request_headers], &mut parts.headers, record);
    match authority {
        Some(authority) => drop(parts.headers.insert(header::HOST, authority)),
        // Absolute targets and HTTP/2 have it elsewhere.
        None if parts.uri.authority().is_some() => {
            parts.headers.insert(header::HOST, HeaderValue::from_bytes(target.authority)?);
        }
        None => {}
    }
    join_cookies(parts);
    parts.version = Version::HTTP_11;
    rewrite_path(parts, route, target, record)
}

/// HTTP/2 may split a cookie over several fields, HTTP/1.1 may not. Source: RFC 9113, 8.2.3.
fn join_cookies(parts: &mut Parts) {
    if parts.version != Version::HTTP_2 || parts.headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = parts.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        parts.headers.insert(header::COOKIE, cookie);
    }
}

fn rewrite_path(
    parts: &mut Parts,
    route: &RouteEntry,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), http::Error> {
    let Action::Forward(forward) = &route.route.action else { return Ok(()) };
    if forward.rewrite.path == PathRewrite::Keep {
        if target.path.is_changed() || parts.uri.authority().is_some() {
            parts.uri = origin_form(target.path.forwarded(), target.query)?;
        }
        return Ok(());
    }
    let path = rewrite::rewrite(&forward.rewrite.path, &target.path);
    let original = Bytes::from(rewrite::target(target.path.forwarded(), target.query));
    record.path_rewritten(&original);
    parts.headers.insert(ORIGINAL_PATH, HeaderValue::from_maybe_shared(original)?);
    parts.uri = origin_form(&path, target.query)?;
    Ok(())
}

fn origin_form(path: &[u8], query: Option<&[u8]>) -> Result<Uri, http::Error> {
    Ok(Uri::from(PathAndQuery::from_maybe_shared(Bytes::from(rewrite::target(path, query)))?))
}
