//! An address that is written in many lines.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;

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
