//! The least that asks HTTP/2: requests without a body, whose heads nothing compresses, and answers of which only the first byte of
//! the head is looked at. What it writes is the same in every run, and leaves in one piece.
//! Source: RFC 9113, 4.1 and 6; RFC 7541, 6.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::backends;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:status: 200` in a head. Source: RFC 7541, appendix A.
const STATUS_200: u8 = 0x88;
/// More than the answers of one round, for which a client has to leave room.
const WINDOW: u32 = 1 << 20;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
}

mod flag {
    pub(super) const ACK: u8 = 1;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}

/// A client's connection, kept.
pub(crate) struct Http2Client {
    stream: TcpStream,
    /// The stream of the next request.
    next: u32,
    /// What is to be said with the next requests.
    out: Vec<u8>,
}

impl Http2Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut client = Self { stream: backends::connect(address)?, next: 1, out: PREFACE.to_vec() };
        client.frame(kind::SETTINGS, 0, 0, &[]);
        Ok(client)
    }

    /// Asks for `path` on so many streams at once.
    pub(crate) fn send(&mut self, authority: &str, path: &str, count: u32) -> io::Result<()> {
        let mut head = vec![0x82, 0x86]; // `:method: GET`, `:scheme: http`
        for (name, value) in [(4, path), (1, authority)] {
            head.extend([name, value.len() as u8]);
            head.extend_from_slice(value.as_bytes());
        }
        for _ in 0..count {
            self.frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, self.next, &head);
            self.next += 2;
        }
        self.stream.write_all(&std::mem::take(&mut self.out))
    }

    /// Reads so many answers to their ends.
    ///
    /// # Errors
    /// If one of them has another status than 200.
    pub(crate) fn receive(&mut self, count: u32) -> io::Result<()> {
        let mut ended = 0;
        while ended < count {
            let mut header = [0; 9];
            self.stream.read_exact(&mut header)?;
            let [a, b, c, kind, flags, ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload)?;
            match kind {
                kind::SETTINGS if flags & flag::ACK == 0 => self.frame(kind::SETTINGS, flag::ACK, 0, &[]),
                kind::HEADERS if !says_200(&payload) => {
                    return Err(io::Error::other("an answer with another status than 200"));
                }
                kind::GOAWAY => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
            let may_end = matches!(kind, kind::HEADERS | kind::DATA);
            ended += u32::from(may_end && flags & flag::END_STREAM != 0);
        }
        self.frame(kind::WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        Ok(())
    }

    /// Has a frame said with the next requests.
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        self.out.extend([kind, flags]);
        self.out.extend(stream.to_be_bytes());
        self.out.extend_from_slice(payload);
    }
}

/// Whether a head begins with that status. A table's size may be said in front of it.
fn says_200(head: &[u8]) -> bool {
    head.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&STATUS_200)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn another_status_than_200_is_an_error() {
        // `:status: 404` is 0x8d.
        for (head, is_ok) in [(&[0x88][..], true), (&[0x20, 0x88], true), (&[0x8d], false), (&[], false)] {
            assert_eq!(says_200(head), is_ok, "{head:?}");
        }
    }

    #[test]
    fn every_answer_is_awaited_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Http2Client::connect(listener.local_addr().unwrap()).unwrap();
        client.send("a", "/", 2).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut asked = [0; 24 + 9 + 2 * (9 + 2 + 3 + 3)];
        server.read_exact(&mut asked).unwrap();
        assert_eq!(asked[24 + 9..][..9], [0, 0, 8, 1, 5, 0, 0, 0, 1]);
        server.write_all(&[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88]).unwrap();
        server.write_all(&[0, 0, 2, 0, 1, 0, 0, 0, 1, b'o', b'k']).unwrap();
        server.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, 3, 0x88]).unwrap();
        client.receive(2).unwrap();
        server.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, 5, 0x8d]).unwrap();
        assert!(client.receive(1).is_err());
    }
}
