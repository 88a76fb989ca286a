//! How addresses are written.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use smallvec::SmallVec;

/// Every octet with a dot behind it, and its length.
static OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < octets.len() {
        let digits = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        octets[octet] = match octet {
            0..10 => ([digits[2], b'.', 0, 0], 2),
            10..100 => ([digits[1], digits[2], b'.', 0], 3),
            _ => ([digits[0], digits[1], digits[2], b'.'], 4),
        };
        octet += 1;
    }
    octets
};

/// An IPv4 address in words, and their length.
pub(crate) fn ipv4_text(address: Ipv4Addr) -> ([u8; 16], usize) {
    let (mut all, mut end) = ([0; 16], 0);
    for octet in address.octets() {
        let (text, length) = OCTETS[usize::from(octet)];
        if let Some(place) = all.get_mut(end..end + text.len()) {
            place.copy_from_slice(&text);
        }
        end += length;
    }
    (all, end - 1)
}

/// An address in words; what is short needs no memory of its own.
pub(crate) type IpText = SmallVec<[u8; 16]>;

/// An address in words. One of IPv4 that is mapped to IPv6 is one of IPv4.
pub(crate) fn ip_text(address: IpAddr) -> IpText {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let (text, length) = ipv4_text(address);
            let mut text = IpText::from_buf(text);
            text.truncate(length);
            text
        }
        IpAddr::V6(address) => address.to_string().into_bytes().into(),
    }
}

/// An address and port, and how they are written, once somebody has asked for that.
pub(crate) struct WrittenAddress {
    address: SocketAddr,
    text: OnceCell<Rc<str>>,
}

impl WrittenAddress {
    /// That of `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, text: OnceCell::new() }
    }

    /// The address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is written: `127.0.0.1:80`, `[::1]:80`.
    pub(crate) fn text(&self) -> &Rc<str> {
        self.text.get_or_init(|| self.address.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for address in ["0.0.0.0", "9.10.99.100", "255.255.255.255", "::1", "2001:db8::17", "127.0.0.1"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(ip_text(address).as_slice(), address.to_string().as_bytes());
        }
        assert_eq!(ip_text("::ffff:10.1.2.3".parse().unwrap()).as_slice(), b"10.1.2.3");
    }
}
