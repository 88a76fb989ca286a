//! The least that answers HTTP/1.1 with keep-alive, and the least that asks it. Bodies are small; heads come in one piece.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const ANSWER_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1024\r\nx-served-by: pool\r\n\
                           server: backend\r\nvary: accept-encoding\r\n\r\n";
const ANSWER_BODY: [u8; 1024] = [b'x'; 1024];
/// Longer than anything under valgrind takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a back end with a thread for each connection; it ends with the process.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_all(stream));
        }
    });
    Ok(address)
}

fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = [ANSWER_HEAD.as_bytes(), &ANSWER_BODY].concat();
    let mut buffer = Vec::new();
    while read_until_head_ends(&mut stream, &mut buffer)?.is_some() {
        buffer.clear();
        stream.write_all(&answer)?;
    }
    Ok(())
}

/// A client's connection, whatever is spoken over it.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A client's connection, kept.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        connect(address).map(Self)
    }

    pub(crate) fn send(&mut self, head: &str) -> io::Result<()> {
        self.0.write_all(head.as_bytes())
    }

    /// Reads one answer to its end, and returns its status.
    pub(crate) fn receive(&mut self) -> io::Result<u16> {
        let mut buffer = Vec::new();
        let head = read_until_head_ends(&mut self.0, &mut buffer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (status, length) = parse(buffer.get(..head).unwrap_or_default()).ok_or(io::ErrorKind::InvalidData)?;
        let missing = (head + length).saturating_sub(buffer.len());
        io::copy(&mut (&mut self.0).take(missing as u64), &mut io::sink())?;
        Ok(status)
    }
}

/// Reads until a head is complete; its length, or nothing if the connection ended before it began.
fn read_until_head_ends(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        match stream.read(&mut chunk)? {
            0 if buffer.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => buffer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
}

/// Status and content-length of an answer's head.
fn parse(head: &[u8]) -> Option<(u16, usize)> {
    let head = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    Some((status, length.map_or(Some(0), |length| length.trim().parse().ok())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_connection_carries_request_after_request() {
        let mut client = Client::connect(start().unwrap()).unwrap();
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            assert_eq!(client.receive().unwrap(), 200);
        }
    }

    #[test]
    fn an_answer_says_its_status_and_length() {
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Some((200, 12))),
            ("HTTP/1.1 404 Not Found\r\n\r\n", Some((404, 0))),
            ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", None),
            ("nonsense", None),
        ];
        for (head, parsed) in table {
            assert_eq!(parse(head.as_bytes()), parsed, "{head}");
        }
    }

    #[test]
    fn a_connection_that_ends_in_a_head_is_an_error_and_before_it_is_not() {
        let read = |mut bytes: &[u8]| read_until_head_ends(&mut bytes, &mut Vec::new());
        assert_eq!(read(b"").unwrap(), None);
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\nrest").unwrap(), Some(18));
        assert!(read(b"GET /").is_err());
    }
}
