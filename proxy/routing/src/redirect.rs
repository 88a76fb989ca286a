//! Location of redirects. Source: Istio, `HTTPRedirect` and `Server.tls.httpsRedirect`; where these are silent, Envoy's
//! `RedirectAction`.

use config_model::model::{Redirect, RedirectPort, Scheme};
use http::HeaderValue;

use crate::authority::split_port;
use crate::normalize::Normalized;
use crate::rewrite::{push_graphic, rewrite};

/// The URL that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Url<'a> {
    /// By the listener.
    pub scheme: Scheme,
    /// Host as sent, with its port.
    pub authority: &'a [u8],
    /// The normalised path, as it would be forwarded.
    pub path: &'a Normalized<'a>,
    /// What follows the question mark.
    pub query: Option<&'a [u8]>,
}

/// Location for `redirect`; `listener_port` is what [`RedirectPort::FromRequest`] writes.
pub fn location(redirect: &Redirect, url: &Url<'_>, listener_port: u16) -> HeaderValue {
    let scheme = redirect.scheme.unwrap_or(url.scheme);
    let port = match redirect.port {
        RedirectPort::Number(port) => Some(port),
        RedirectPort::FromRequest => Some(listener_port),
        RedirectPort::Keep => None,
    };
    let port = port.filter(|&port| port != scheme.default_port());
    let mut out = Vec::with_capacity(128);
    match &redirect.authority {
        // Its own port is part of what was asked for, unless a number was asked for too.
        Some(authority) => push_origin(&mut out, scheme, scheme, authority.as_bytes(), port),
        None => push_origin(&mut out, scheme, url.scheme, url.authority, port),
    }
    let path = rewrite(&redirect.path, url.path);
    push_graphic(&mut out, &path);
    push_query(&mut out, url.query.filter(|_| !path.contains(&b'?')));
    value(&out)
}

/// Location for a host that wants https: the same URL, without a port that was that of http.
pub fn https_location(url: &Url<'_>) -> HeaderValue {
    let mut out = Vec::with_capacity(128);
    push_origin(&mut out, Scheme::Https, url.scheme, url.authority, None);
    push_graphic(&mut out, url.path.forwarded());
    push_query(&mut out, url.query);
    value(&out)
}

/// Appends `scheme://host:port`, the port being the authority's own where none is given, unless the scheme changes and it was
/// the default of the old one. Without a host nothing: a path alone is a legal Location.
fn push_origin(out: &mut Vec<u8>, scheme: Scheme, old_scheme: Scheme, authority: &[u8], port: Option<u16>) {
    if authority.is_empty() {
        return;
    }
    let parts = split_port(authority);
    out.extend_from_slice(scheme.as_str().as_bytes());
    out.extend_from_slice(b"://");
    push_graphic(out, parts.host);
    match (port, parts.port) {
        (Some(port), _) => out.extend_from_slice(format!(":{port}").as_bytes()),
        (None, Some(kept)) if !(scheme != old_scheme && is_default(kept, old_scheme)) => {
            out.push(b':');
            push_graphic(out, kept);
        }
        _ => {}
    }
}

fn is_default(port: &[u8], scheme: Scheme) -> bool {
    std::str::from_utf8(port).ok().and_then(|port| port.parse().ok()) == Some(scheme.default_port())
}

fn push_query(out: &mut Vec<u8>, query: Option<&[u8]>) {
    if let Some(query) = query {
        out.push(b'?');
        push_graphic(out, query);
    }
}

/// Every byte is graphic by now, so this cannot fail.
fn value(location: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(location).unwrap_or_else(|_| HeaderValue::from_static("/"))
}

#[cfg(test)]
mod tests;
