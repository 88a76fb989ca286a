//! What is believed at the mesh's edge of what proxies in front of it say: who the client is, how it came to the first of
//! them, and which certificate it has shown. Sources: Istio, `gatewayTopology`; Envoy, `xff_num_trusted_hops` with
//! `use_remote_address`, and `forward_client_cert_details`.

use std::net::{IpAddr, SocketAddr};

use config_model::model::{ForwardedClientCertificate, Scheme, Topology};
use http1::{Head, Name, Names};

use super::head::{earlier_values, said_protocol, scheme_of};

/// What is believed of a request.
pub(super) struct Forwarded {
    /// The client, if that is said. Its port is not known, and zero.
    pub(super) client: Option<SocketAddr>,
    /// By which it came to the first of the proxies, if that is said.
    pub(super) scheme: Option<Scheme>,
    /// A word for it that is no scheme of HTTP, and goes on as it came.
    odd_scheme: Option<Box<[u8]>>,
    /// The field `x-forwarded-client-cert` of the request that goes on.
    client_certificate: Option<Vec<u8>>,
}

impl Forwarded {
    /// What `head` says that `topology` believes. `shown` is what is said of the certificate that the client has shown here.
    pub(super) fn read(head: &Head, topology: Topology, shown: Option<&[u8]>) -> Self {
        let hops = topology.trusted_proxies;
        let client = client(&earlier_values(head, Name::ForwardedFor), hops);
        let said = said_protocol(head).filter(|_| hops > 0);
        let scheme = said.and_then(scheme_of);
        let odd_scheme = said.filter(|word| scheme.is_none() && !word.is_empty()).map(Into::into);
        Self {
            client: client.map(|address| SocketAddr::new(address, 0)),
            scheme,
            odd_scheme,
            client_certificate: client_certificate(topology, &earlier_values(head, Name::ForwardedClientCert), shown),
        }
    }

    /// Says again what a head said that has been sanitized.
    pub(super) fn restore(&self, head: &mut Head) {
        if let Some(word) = &self.odd_scheme {
            head.remove_all(Names::of(&[Name::ForwardedProto]));
            head.append(b"x-forwarded-proto", word);
        }
        if let Some(field) = &self.client_certificate {
            head.append(b"x-forwarded-client-cert", field);
        }
    }
}

/// The address that the outermost of `hops` proxies has added to `list`, which ends in a comma. Nothing if fewer have.
fn client(list: &[u8], hops: u32) -> Option<IpAddr> {
    let list = list.strip_suffix(b",")?;
    let place = usize::try_from(hops).ok()?.checked_sub(1)?;
    let address = list.rsplit(|&byte| byte == b',').nth(place)?;
    std::str::from_utf8(address.trim_ascii()).ok()?.parse().ok()
}

/// The field of a request that goes on: `earlier` is what it was, with a comma behind it.
fn client_certificate(topology: Topology, earlier: &[u8], shown: Option<&[u8]>) -> Option<Vec<u8>> {
    let earlier = Some(earlier.strip_suffix(b",").unwrap_or(earlier)).filter(|earlier| !earlier.is_empty());
    let field = match (topology.client_certificate, shown) {
        (ForwardedClientCertificate::AlwaysKeep, _) | (ForwardedClientCertificate::Keep, Some(_)) => earlier?.to_vec(),
        (ForwardedClientCertificate::Set, Some(shown)) => shown.to_vec(),
        (ForwardedClientCertificate::Append, Some(shown)) => match earlier {
            Some(earlier) => [earlier, b",", shown].concat(),
            None => shown.to_vec(),
        },
        _ => return None,
    };
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::head;
    use super::*;

    fn read(fields: &[(&str, &str)], trusted_proxies: u32) -> String {
        let mut head = head(fields);
        let read = Forwarded::read(&head, Topology { trusted_proxies, ..Topology::default() }, None);
        read.restore(&mut head);
        let words: Vec<_> = head.values_of(Name::ForwardedProto).map(String::from_utf8_lossy).collect();
        let client = read.client.map_or("-".to_owned(), |client| client.to_string());
        format!("{client} {} {}", read.scheme.map_or("-", Scheme::as_str), words.join(","))
    }

    #[test]
    fn the_client_is_the_one_that_the_outermost_trusted_proxy_saw() {
        let list = ("x-forwarded-for", "1.1.1.1, 2.2.2.2,3.3.3.3");
        assert_eq!(read(&[list], 1), "3.3.3.3:0 - ");
        assert_eq!(read(&[list], 2), "2.2.2.2:0 - ");
        assert_eq!(read(&[list], 3), "1.1.1.1:0 - ");
        assert_eq!(read(&[list, ("x-forwarded-for", "2001:db8::1")], 1), "[2001:db8::1]:0 - ");
        assert_eq!(read(&[list, ("x-forwarded-for", "4.4.4.4")], 4), "1.1.1.1:0 - ");
    }

    #[test]
    fn who_says_too_little_or_nonsense_is_the_client_itself() {
        assert_eq!(read(&[], 1), "- - ");
        assert_eq!(read(&[("x-forwarded-for", "1.1.1.1")], 2), "- - ");
        for odd in ["", "unknown", "1.1.1.1:80", "1.1.1.1,", "1.1.1.1, x"] {
            assert_eq!(read(&[("x-forwarded-for", odd)], 1), "- - ", "{odd}");
        }
    }

    #[test]
    fn the_scheme_is_the_one_that_was_said() {
        let said = |word| read(&[("x-forwarded-proto", word)], 1);
        assert_eq!(said("https"), "- https https");
        assert_eq!(said("HTTPS"), "- https HTTPS");
        assert_eq!(said("wss"), "- - wss");
        assert_eq!(said(""), "- - ");
        assert_eq!(
            read(&[("x-forwarded-proto", "https"), ("x-forwarded-for", "1.1.1.1")], 0),
            "- - https",
            "nobody is trusted"
        );
    }

    #[test]
    fn a_client_certificate_goes_on_as_the_topology_says() {
        use ForwardedClientCertificate::{AlwaysKeep, Append, Drop, Keep, Set};
        for (client_certificate, with, without) in [
            (Set, Some("new"), None),
            (Append, Some("old,new"), None),
            (Keep, Some("old"), None),
            (AlwaysKeep, Some("old"), Some("old")),
            (Drop, None, None),
        ] {
            let topology = Topology { trusted_proxies: 0, client_certificate };
            let field = |shown: Option<&str>| {
                let field = super::client_certificate(topology, b"old,", shown.map(str::as_bytes));
                field.map(|field| String::from_utf8(field).unwrap())
            };
            assert_eq!(
                (field(Some("new")).as_deref(), field(None).as_deref()),
                (with, without),
                "{client_certificate:?}"
            );
        }
        let topology = Topology { trusted_proxies: 0, client_certificate: Append };
        assert_eq!(super::client_certificate(topology, b"", Some(b"new")).as_deref(), Some(&b"new"[..]));
    }
}
