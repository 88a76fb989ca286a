//! The header of the PROXY protocol, by which one proxy tells the next who the client is.
//! Source: HAProxy, "The PROXY protocol", versions 1 and 2.

use std::io;
use std::net::{IpAddr, SocketAddr};

use config_model::model::ProxyProtocolVersion;
use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// A line of version 1 at most, its end included.
const LINE_MAX: usize = 107;
/// What follows the fixed part of version 2 at most: addresses, and whatever else is said, which is not looked at.
const REST_MAX: usize = 4096;

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The client.
    pub(crate) client: SocketAddr,
    /// Where it connected to.
    pub(crate) server: SocketAddr,
}

/// Reads the header that a connection begins with, and nothing behind it. Nothing within: the header says nothing of the ends,
/// as for a health check of the proxy that sends it.
///
/// # Errors
/// If there is no header, or the connection broke.
pub(crate) async fn read(socket: &mut TcpStream) -> io::Result<Option<Ends>> {
    let mut header = vec![0; SIGNATURE.len()];
    socket.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let mut fixed = [0; 4];
        socket.read_exact(&mut fixed).await?;
        let [.., high, low] = fixed;
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if rest > REST_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        header.extend_from_slice(&fixed);
        let begun = header.len();
        header.resize(begun + rest, 0);
        socket.read_exact(header.get_mut(begun..).unwrap_or_default()).await?;
    } else {
        while header.last() != Some(&b'\n') {
            if !header.starts_with(b"PROXY ") || header.len() >= LINE_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            header.push(socket.read_u8().await?);
        }
    }
    parse(&header)
}

fn parse(header: &[u8]) -> io::Result<Option<Ends>> {
    let ends =
        |client: (IpAddr, u16), server: (IpAddr, u16)| Some(Ends { client: client.into(), server: server.into() });
    match HeaderResult::parse(header) {
        result if !result.is_complete() => Err(io::ErrorKind::InvalidData.into()),
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(of) => {
                ends((of.source_address.into(), of.source_port), (of.destination_address.into(), of.destination_port))
            }
            v1::Addresses::Tcp6(of) => {
                ends((of.source_address.into(), of.source_port), (of.destination_address.into(), of.destination_port))
            }
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Proxy => Ok(match header.addresses {
            v2::Addresses::IPv4(of) => {
                ends((of.source_address.into(), of.source_port), (of.destination_address.into(), of.destination_port))
            }
            v2::Addresses::IPv6(of) => {
                ends((of.source_address.into(), of.source_port), (of.destination_address.into(), of.destination_port))
            }
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        }),
        HeaderResult::V2(Ok(_)) => Ok(None),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The header that says `ends`, or that nothing is known of them.
pub(crate) fn header(version: ProxyProtocolVersion, ends: Option<Ends>) -> Vec<u8> {
    // Of one family: an address of the old one can be written as one of the new.
    let ends = ends.map(|Ends { client, server }| match (client.ip().to_canonical(), server.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V6(to)) => (IpAddr::V6(from.to_ipv6_mapped()), IpAddr::V6(to), client, server),
        (IpAddr::V6(from), IpAddr::V4(to)) => (IpAddr::V6(from), IpAddr::V6(to.to_ipv6_mapped()), client, server),
        (from, to) => (from, to, client, server),
    });
    let ends = ends
        .map(|(from, to, client, server)| (SocketAddr::new(from, client.port()), SocketAddr::new(to, server.port())));
    match (version, ends) {
        (ProxyProtocolVersion::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyProtocolVersion::V1, Some((from, to))) => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
        }
        (ProxyProtocolVersion::V2, None) => [SIGNATURE, &[0x20, 0, 0, 0]].concat(),
        (ProxyProtocolVersion::V2, Some(ends)) => {
            let version = v2::Version::Two | v2::Command::Proxy;
            // It has no more than addresses in it, which always fit.
            v2::Builder::with_addresses(version, v2::Protocol::Stream, ends).build().unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What is read of a connection that begins with `bytes`, and what is behind that.
    async fn read_back(bytes: &[u8]) -> (io::Result<Option<Ends>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let found = read(&mut server).await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        (found, rest)
    }

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    #[tokio::test]
    async fn what_one_proxy_writes_the_next_one_reads_and_nothing_behind_it() {
        for ends in [ends("10.1.2.3:5", "10.4.5.6:80"), ends("[2001:db8::7]:5", "[2001:db8::8]:65535")] {
            for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
                let bytes = [&header(version, Some(ends))[..], b"GET / HTTP/1.1\r\n"].concat();
                let (found, rest) = read_back(&bytes).await;
                assert_eq!((found.unwrap(), &rest[..]), (Some(ends), &b"GET / HTTP/1.1\r\n"[..]), "{version:?}");
            }
        }
        for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
            let (found, rest) = read_back(&[&header(version, None)[..], b"x"].concat()).await;
            assert_eq!((found.unwrap(), &rest[..]), (None, &b"x"[..]), "{version:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let huge = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n",
            &long,
            &huge,
            b"PROXY",
            b"",
        ] {
            assert!(read_back(bytes).await.0.is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[SIGNATURE, &bytes[..]].concat());
        }
    }
}
