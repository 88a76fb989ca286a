//! A gateway in this process, which the network reaches, and a back end behind it that reads whatever comes with the reader written
//! from RFC 9112: a message that isn't clean ends the run. So does a panic, on whatever thread.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidegate::control::PortMap;
use tidegate::process::{Gateway, GatewayOptions};

use crate::strict::{self, Stop};

/// A connection whose client has said all has to end within this time.
const ENDS_WITHIN: Duration = Duration::from_secs(8);
/// Nothing here answers with more.
const ANSWER_MAX: usize = 8 << 20;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Where it listens.
#[derive(Clone, Copy)]
pub struct Running {
    pub admin: SocketAddr,
    pub listener: SocketAddr,
}

/// Starts it with the first call.
pub fn running() -> Running {
    static RUNNING: OnceLock<Running> = OnceLock::new();
    *RUNNING.get_or_init(start)
}

fn start() -> Running {
    // A client that has gone must not end the process.
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default()).expect("a handler");
    let back_end = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = back_end.local_addr().expect("an address").port();
    std::thread::spawn(move || serve(&back_end));
    let folder = std::env::temp_dir().join(format!("tidegate-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let text = include_str!("gateway.yaml").replace("PORT", &port.to_string());
    std::fs::write(folder.join("main.yaml"), text).expect("a file");
    let options = GatewayOptions {
        labels: [("app".into(), "fuzz".into())].into(),
        mesh_certificates: "/nowhere".into(),
        port_map: PortMap::new([(80, 0)]),
        drain: Duration::from_secs(1),
        ..GatewayOptions::new(folder)
    };
    let gateway = Gateway::start(options, None).expect("a gateway");
    let applied = gateway.status().applied();
    let bound = applied.listeners.iter().find_map(|listener| listener.bound.as_ref()?.ip_and_port()).expect("a listener");
    let listener = SocketAddr::from(([127, 0, 0, 1], bound.port()));
    let running = Running { admin: gateway.admin(), listener };
    // It ends with the process.
    std::mem::forget(gateway);
    running
}

fn serve(back_end: &TcpListener) {
    for connection in back_end.incoming().flatten() {
        std::thread::spawn(move || answer(connection));
    }
}

fn answer(mut connection: TcpStream) {
    let (mut held, mut space) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let Ok(count @ 1..) = connection.read(&mut space) else { return };
        held.extend_from_slice(&space[..count]);
        while !held.is_empty() {
            let message = match strict::request(&held) {
                Ok(message) => message,
                Err(Stop::More) => break,
                Err(Stop::Refused(why)) => panic!("{why}: {:?}", String::from_utf8_lossy(&held)),
            };
            match message.end {
                Ok(()) => held.drain(..message.consumed),
                Err(Stop::More) => break,
                Err(Stop::Refused(why)) => panic!("{why}: {:?}", String::from_utf8_lossy(&held)),
            };
            if connection.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

/// Sends `bytes` to `address` on a connection of their own and says that no more will come. Yields what is answered until the
/// connection ends, which it has to.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.set_read_timeout(Some(ENDS_WITHIN)).expect("a socket");
    // It may have refused the first bytes already, and have closed.
    let _ = connection.write_all(bytes);
    let _ = connection.shutdown(Shutdown::Write);
    let (mut answered, mut space) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match connection.read(&mut space) {
            Ok(0) => return answered,
            Ok(count) => answered.extend_from_slice(&space[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("the connection has not ended after {ENDS_WITHIN:?}; answered so far: {} bytes", answered.len());
            }
            Err(_reset) => return answered,
        }
        assert!(answered.len() < ANSWER_MAX, "the answer has no end");
    }
}
