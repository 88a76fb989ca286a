//! A back end that does what the path says.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a large answer has.
pub(crate) const LARGE: usize = 32 << 20;

/// A back end, and what it tells.
pub(crate) struct BackEnd {
    pub(crate) address: SocketAddr,
    /// Bytes of `/large` that have gone.
    pub(crate) sent: Arc<AtomicUsize>,
    /// The connection of a request for `/silent` has come, and gone.
    pub(crate) silent: UnboundedReceiver<&'static str>,
}

impl BackEnd {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let (tell, silent) = unbounded_channel();
        let counter = Arc::clone(&sent);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (counter, tell) = (Arc::clone(&counter), tell.clone());
                std::thread::spawn(move || while serve(&socket, &counter, &tell).is_some() {});
            }
        });
        Self { address, sent, silent }
    }
}

fn serve(mut socket: &TcpStream, sent: &AtomicUsize, tell: &UnboundedSender<&'static str>) -> Option<()> {
    let head = read_to(socket, b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).ok()?;
    if text.contains("transfer-encoding: chunked") {
        body = read_to(socket, b"0\r\n\r\n")?;
    }
    match text.split(' ').nth(1)? {
        "/echo" => answer(socket, &body),
        "/trailers" => {
            let rest = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-end: yes\r\n\r\n";
            socket.write_all(rest.as_bytes()).ok()
        }
        "/cut" => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
            None
        }
        "/large" => {
            socket.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes()).ok()?;
            for _ in 0..LARGE / 8192 {
                socket.write_all(&[b'x'; 8192]).ok()?;
                sent.fetch_add(8192, Ordering::Relaxed);
            }
            Some(())
        }
        "/silent" => {
            tell.send("came").ok()?;
            let _ = socket.read(&mut [0]);
            tell.send("gone").ok()
        }
        _ => answer(socket, &head),
    }
}

fn answer(mut socket: &TcpStream, body: &[u8]) -> Option<()> {
    socket.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes()).ok()?;
    socket.write_all(body).ok()
}

fn read_to(mut socket: &TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let mut byte = [0];
        socket.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    Some(bytes)
}
