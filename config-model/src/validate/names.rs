//! The forms of names: hosts, DNS labels, labels of workloads, headers, protocols, addresses. Each function says why a
//! name is not of its form.

use std::net::IpAddr;

/// What is wrong with a name, or nothing.
pub(super) type Check = Result<(), String>;

const LABEL_MAX: usize = 63;
const HOST_MAX: usize = 255;

/// `[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?`, at most 63 characters.
pub(super) fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= LABEL_MAX
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// A DNS label, or why it isn't one.
pub(super) fn dns_label(text: &str) -> Check {
    if is_dns_label(text) {
        return Ok(());
    }
    Err(format!("must be a DNS label (letters, digits and hyphens, at most {LABEL_MAX}), found {text:?}"))
}

/// A name that may be looked up: no wildcard.
pub(super) fn fqdn(host: &str) -> Check {
    length(host)?;
    dns_labels(host, host)
}

/// A name, perhaps with a wildcard as its first label: `*`, `*.x`, `*-x.y`.
pub(super) fn wildcard_host(host: &str) -> Check {
    length(host)?;
    let (first, rest) = host.split_once('.').map_or((host, None), |(first, rest)| (first, Some(rest)));
    let bare = first.strip_prefix("*-").or_else(|| first.strip_prefix('*')).unwrap_or(first);
    if first != "*" && !(is_dns_label(bare) && first.len() <= LABEL_MAX) {
        return Err(bad_host(host, first));
    }
    rest.map_or(Ok(()), |rest| dns_labels(rest, host))
}

/// A server name that a gateway tells services of the mesh apart by is another way to write a host:
/// `outbound_.9080_.v1_.reviews.default.svc.cluster.local`.
pub(super) fn server_name(name: &str, at_gateway: bool) -> Check {
    let mut parts = name.splitn(4, '_');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("outbound"), Some(port), Some(_), Some(host)) if at_gateway => {
            let port = port.trim_matches('.');
            if !port.starts_with(|first: char| first.is_ascii_digit()) {
                return Err(format!("must have the form outbound_.PORT_.SUBSET_.HOST, found {name:?}"));
            }
            length(name).and_then(|()| wildcard_host(host.trim_matches('.')))
        }
        _ => wildcard_host(name),
    }
}

fn length(host: &str) -> Check {
    match host.len() {
        0 => Err("must not be empty".to_owned()),
        1..=HOST_MAX => Ok(()),
        more => Err(format!("must have at most {HOST_MAX} characters, has {more}")),
    }
}

/// The labels of `domain`, which is `host` or the end of it.
fn dns_labels(domain: &str, host: &str) -> Check {
    let last = domain.rsplit('.').next().unwrap_or(domain);
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("must be a host name, found {host:?} whose last label {last:?} is a number"));
    }
    let labels = domain.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(domain);
    match labels.split('.').find(|label| !is_dns_label(label)) {
        Some(label) => Err(bad_host(host, label)),
        None => Ok(()),
    }
}

fn bad_host(host: &str, label: &str) -> String {
    if label.contains('*') {
        return format!("must be a host name, found {host:?}; a wildcard may only be its first label");
    }
    format!("must be a host name, found {host:?} whose label {label:?} is not one")
}

/// `*x` is not `*.x`: names but never matches what one would think.
pub(super) fn partial_wildcard(host: &str) -> Check {
    if host.contains('*') && host != "*" && !host.starts_with("*.") {
        return Err(format!("must not have a wildcard within a label, found {host:?}"));
    }
    Ok(())
}

/// `HOST` (only at a gateway) or `NAMESPACE/HOST`.
pub(super) fn namespaced_host(text: &str, at_gateway: bool) -> Check {
    let Some((namespace, host)) = text.split_once('/') else {
        return if at_gateway {
            full_host(text, true)
        } else {
            Err(format!("must have the form NAMESPACE/HOST, found {text:?}"))
        };
    };
    let bare = if at_gateway { namespace } else { namespace.strip_prefix('~').unwrap_or(namespace) };
    let none = namespace == "~" && !at_gateway;
    if !none && !matches!(bare, "*" | ".") && !is_dns_label(bare) {
        return Err(format!("must begin with a namespace, * or ., found {namespace:?}"));
    }
    full_host(host, at_gateway)
}

/// A host that is not short for another.
fn full_host(host: &str, at_gateway: bool) -> Check {
    if at_gateway && is_ip(host) {
        return Ok(());
    }
    wildcard_host(host)?;
    if host != "*" && !host.contains('.') {
        return Err(format!("must be a full host name, found the short name {host:?}"));
    }
    partial_wildcard(host)
}

/// `NAME`, `NAMESPACE/NAME`, or the old `NAME.NAMESPACE.svc...`.
pub(super) fn gateway_name(text: &str) -> Check {
    match text.split_once('/') {
        None => fqdn(text),
        Some((namespace, name)) => {
            dns_label(namespace).map_err(|problem| format!("the namespace {problem}"))?;
            dns_label(name).map_err(|problem| format!("the name {problem}"))
        }
    }
}

/// An address of either family.
pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// An address, or why it isn't one.
pub(super) fn ip(text: &str) -> Check {
    if is_ip(text) { Ok(()) } else { Err(format!("must be an IP address, found {text:?}")) }
}

/// An address, or a block of them as `10.0.0.0/8`.
pub(super) fn subnet(text: &str) -> Check {
    let Some((address, bits)) = text.split_once('/') else { return ip(text) };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => 0,
    };
    if most > 0 && bits.parse::<u8>().is_ok_and(|bits| bits <= most) && !bits.starts_with('+') {
        return Ok(());
    }
    Err(format!("must be an address or a block of addresses such as 10.0.0.0/8, found {text:?}"))
}

/// Path of a Unix socket, behind `unix://`: absolute, or abstract with `@`.
pub(super) fn unix_path(path: &str) -> Check {
    if path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/')) {
        return Ok(());
    }
    Err(format!("must be the absolute path of a socket, found {path:?}"))
}

/// Parts of a request and its answer that are matched by names like those of headers.
const PSEUDO_HEADERS: [&str; 5] = [":method", ":scheme", ":authority", ":path", ":status"];

/// A header that is matched, a part of the request line, or a claim of a token.
pub(super) fn matched_header(name: &str) -> Check {
    if is_token(name) || PSEUDO_HEADERS.contains(&name) || is_claim(name) {
        Ok(())
    } else {
        Err(format!("must be the name of a header, found {name:?}"))
    }
}

/// `@request.auth.claims.x` or `@request.auth.claims[x][y]`.
pub(super) fn is_claim(name: &str) -> bool {
    let rest = name.strip_prefix("@request.auth.claims");
    rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with(['.', '[']))
}

/// What the name of a header can be. Source: RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

/// Whether this header is the authority by another name.
pub(super) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// A header that may be set or added; the authority only where `authority` says so.
pub(super) fn changed_header(name: &str, authority: bool) -> Check {
    if authority && is_authority(name) {
        return Ok(());
    }
    if is_authority(name) || name.starts_with(':') {
        return Err(format!("must not be {name:?}, which is not a header that can be changed here"));
    }
    if !is_token(name) {
        return Err(format!("must be the name of a header, found {name:?}"));
    }
    Ok(())
}

/// What protocols have in common, as far as routing cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Requests in plain text.
    Http,
    /// HTTPS and TLS.
    Tls,
    /// Anything else.
    Tcp,
}

/// A protocol by its name, case apart.
pub(super) fn protocol(name: &str) -> Option<Protocol> {
    match name.to_ascii_lowercase().as_str() {
        "http" | "http2" | "grpc" | "grpc-web" | "http_proxy" => Some(Protocol::Http),
        "https" | "tls" => Some(Protocol::Tls),
        "tcp" | "udp" | "mongo" | "redis" | "mysql" => Some(Protocol::Tcp),
        _ => None,
    }
}

/// Names of protocols, for "did you mean".
pub(super) const PROTOCOLS: [&str; 11] =
    ["HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TLS", "TCP", "UDP", "MONGO", "REDIS", "MYSQL"];

/// Key of a label: `[prefix/]name`.
pub(super) fn label_key(key: &str) -> Check {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefixed = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_dns_label));
    if prefixed && !name.is_empty() && is_qualified(name) {
        return Ok(());
    }
    Err(format!("must be the key of a label, found {key:?}"))
}

/// Value of a label; may be empty. Of any length, as in Istio: nothing has a label of over 63 bytes.
pub(super) fn label_value(value: &str) -> Check {
    if value.is_empty() || is_word(value) {
        return Ok(());
    }
    Err(format!("must be the value of a label, found {value:?}"))
}

fn is_qualified(text: &str) -> bool {
    text.len() <= LABEL_MAX && is_word(text)
}

/// Whether there are only letters, digits, and between them hyphens, underscores and dots.
fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_dns_names_with_a_wildcard_only_in_front() {
        for (host, good) in [
            ("*", true),
            ("reviews", true),
            ("reviews.default.svc.cluster.local", true),
            ("Shop.Example", true),
            ("shop.example.", true),
            ("*.shop.example", true),
            ("*-x.shop.example", true),
            ("*x.example", true),
            ("x*.example", false),
            ("a.*.example", false),
            ("**.example", false),
            ("under_score.example", false),
            ("10.0.0.1", false),
            ("a..b", false),
            ("-a.example", false),
            ("a b", false),
            ("host:80", false),
            ("", false),
        ] {
            assert_eq!(wildcard_host(host).is_ok(), good, "{host}");
        }
        assert!(wildcard_host(&"a.".repeat(128)).is_err());
        assert!(fqdn("*.example").is_err());
        assert!(partial_wildcard("*x.example").is_err());
    }

    #[test]
    fn a_gateway_knows_the_meshs_own_server_names() {
        for (name, at_gateway, good) in [
            ("outbound_.9080_.v1_.reviews.default.svc.cluster.local", true, true),
            ("outbound_.9080_._.reviews.example", true, true),
            ("outbound_.9080_._.reviews.example", false, false),
            ("outbound_.http_._.reviews.example", true, false),
            ("inbound_.9080_._.reviews.example", true, false),
            ("shop.example", true, true),
        ] {
            assert_eq!(server_name(name, at_gateway).is_ok(), good, "{name} {at_gateway}");
        }
    }

    #[test]
    fn a_gateway_takes_hosts_of_some_namespaces() {
        for (text, gateway, sidecar) in [
            ("*", true, false),
            ("shop.example", true, false),
            ("reviews", false, false),
            ("10.0.0.1", true, false),
            ("ns/shop.example", true, true),
            ("./shop.example", true, true),
            ("*/*", true, true),
            ("~/*", false, true),
            ("/shop.example", false, false),
            ("ns/", false, false),
            ("n_s/shop.example", false, false),
            ("ns/*x.example", false, false),
        ] {
            assert_eq!(namespaced_host(text, true).is_ok(), gateway, "{text} at a gateway");
            assert_eq!(namespaced_host(text, false).is_ok(), sidecar, "{text} at a sidecar");
        }
    }

    #[test]
    fn a_key_of_a_label_has_63_bytes_and_its_value_any_number() {
        let long = "a".repeat(64);
        assert!(label_key(&long).is_err());
        assert!(label_value(&long).is_ok());
    }

    #[test]
    fn other_names_have_their_forms() {
        for (check, good, bad) in [
            (label_key as fn(&str) -> Check, "app.kubernetes.io/name", "a/b/c d"),
            (label_value, "", "a b"),
            (label_value, "v1.2_x-3", "v1."),
            (subnet, "10.0.0.0/8", "10.0.0.0/33"),
            (subnet, "2001:db8::/32", "10.0.0/8"),
            (unix_path, "/run/x.sock", "run/x.sock"),
            (matched_header, "x-user", "x user"),
            (matched_header, "x.user", "x:user"),
            (matched_header, ":path", ":Path"),
            (matched_header, ":authority", ":host"),
            (matched_header, "@request.auth.claims.sub", "@request.auth"),
            (gateway_name, "team/web", "team/we_b"),
            (gateway_name, "web", "a b"),
            (ip, "::1", "::g"),
        ] {
            assert!(check(good).is_ok(), "{good}");
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(changed_header("Host", true).is_ok() && changed_header("host", false).is_err());
        assert!(changed_header(":path", true).is_err() && changed_header("a b", true).is_err());
        assert_eq!(protocol("gRPC-Web"), Some(Protocol::Http));
        assert_eq!(protocol("SMTPX"), None);
    }
}
