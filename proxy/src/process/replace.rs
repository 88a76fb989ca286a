//! Replacement in place: the program on disk takes over our listening sockets, and once it serves, we drain.
//!
//! The two processes talk over a pair of Unix sockets, whose one end is the successor's standard input. We send every listening
//! socket by SCM_RIGHTS, the admin's too, in messages of at most [`BATCH`], then [`END`]; it answers [`READY`]. What waits in the
//! queue of a socket is not lost, since the socket never closes. Source: PROMISES.md, section 5. Start at [`Program::start`], and
//! at [`Inheritance::take`] for the successor's side.

use std::env;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::Pid;
use socket2::Socket;

/// Tells a successor that its standard input is the way to its predecessor.
const VARIABLE: &str = "TIDEGATE_TAKES_OVER";
/// How long a successor may take to be ready.
const LIMIT: Duration = Duration::from_secs(30);
/// Sockets in one message; the kernel takes at most 253.
const BATCH: usize = 64;
/// The byte that goes with sockets.
const SOCKETS: u8 = b'S';
/// There are no more sockets.
const END: u8 = b'E';
/// The successor serves.
const READY: u8 = b'R';

/// The program as it was started: what a successor is started with, too.
#[derive(Debug, Clone)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be asked at the start: once the file on disk is another, the system no longer tells its name.
    pub(super) fn this() -> io::Result<Self> {
        Ok(Self { path: env::current_exe()?, arguments: env::args_os().skip(1).collect() })
    }

    /// Starts it, as what takes over from us.
    pub(super) fn start(&self) -> io::Result<Successor> {
        let (ours, theirs) = UnixStream::pair()?;
        let stdin = Stdio::from(OwnedFd::from(theirs));
        let process = Command::new(&self.path).args(&self.arguments).env(VARIABLE, "1").stdin(stdin).spawn()?;
        Ok(Successor { process, stream: ours })
    }
}

/// A program that was started to take over.
#[derive(Debug)]
pub(super) struct Successor {
    process: Child,
    stream: UnixStream,
}

impl Successor {
    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Hands `sockets` over, and waits until it is ready. If it isn't within half a minute, or ends, it is killed, and nothing has
    /// changed for us.
    pub(super) fn take_over(mut self, sockets: &[Socket]) -> io::Result<()> {
        let handed_over = hand_over(&self.stream, sockets, LIMIT);
        if handed_over.is_err() {
            // It may have ended by itself, which is as well.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        handed_over
    }
}

fn hand_over(mut stream: &UnixStream, sockets: &[Socket], limit: Duration) -> io::Result<()> {
    stream.set_write_timeout(Some(limit))?;
    stream.set_read_timeout(Some(limit))?;
    for batch in sockets.chunks(BATCH) {
        send(stream, batch)?;
    }
    stream.write_all(&[END])?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the successor has ended"),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::other(format!("the successor was not ready within {limit:?}"))
        }
        _ => error,
    })?;
    if answer == [READY] { Ok(()) } else { Err(io::Error::other("the successor does not know what it is")) }
}

fn send(stream: &UnixStream, sockets: &[Socket]) -> io::Result<()> {
    let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !rights.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("too many sockets for one message"));
    }
    sendmsg(stream, &[IoSlice::new(&[SOCKETS])], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What a successor was given.
#[derive(Debug)]
pub(super) struct Inheritance {
    sockets: Vec<Socket>,
    predecessor: UnixStream,
}

impl Inheritance {
    /// What this process was given by a predecessor, if it has one.
    pub(super) fn take() -> io::Result<Option<Self>> {
        if env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        Self::receive(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?)).map(Some)
    }

    fn receive(predecessor: UnixStream) -> io::Result<Self> {
        predecessor.set_read_timeout(Some(LIMIT))?;
        let mut sockets = Vec::new();
        loop {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
            let mut rights = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&predecessor, &mut [IoSliceMut::new(&mut byte)], &mut rights, flags)?;
            for message in rights.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    sockets.extend(descriptors.map(Socket::from));
                }
            }
            match (received.bytes, byte) {
                (1, [SOCKETS]) => {}
                (1, [END]) => return Ok(Self { sockets, predecessor }),
                _ => return Err(io::Error::other("the predecessor did not hand over its sockets")),
            }
        }
    }

    /// The sockets, each once.
    pub(super) fn sockets(&mut self) -> Vec<Socket> {
        std::mem::take(&mut self.sockets)
    }

    /// Tells the predecessor that we serve. If it is gone, we serve all the same.
    pub(super) fn ready(mut self) {
        let _ = self.predecessor.write_all(&[READY]);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::thread;

    use super::*;

    fn listeners(count: usize) -> Vec<Socket> {
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into()).collect()
    }

    #[test]
    fn a_successor_gets_every_socket_and_what_waits_in_its_queue() {
        let sockets = listeners(2 * BATCH + 3);
        let address = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap();
        let addresses: Vec<_> = sockets.iter().map(address).collect();
        let _waiting = TcpStream::connect(addresses[0]).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let successor = thread::spawn(move || {
            let mut inheritance = Inheritance::receive(theirs).unwrap();
            let sockets = inheritance.sockets();
            inheritance.ready();
            sockets
        });
        hand_over(&ours, &sockets, LIMIT).unwrap();
        drop(sockets);
        let inherited = successor.join().unwrap();
        let again: Vec<_> = inherited.iter().map(address).collect();
        assert_eq!(again, addresses);
        assert!(inherited[0].accept().is_ok(), "the connection that waited is still there");
    }

    #[test]
    fn a_successor_that_ends_or_stays_silent_has_not_taken_over() {
        let sockets = listeners(1);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let successor = thread::spawn(move || drop(Inheritance::receive(theirs).unwrap()));
        let error = hand_over(&ours, &sockets, LIMIT).unwrap_err().to_string();
        assert!(error.contains("has ended"), "{error}");
        successor.join().unwrap();

        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = hand_over(&ours, &sockets, Duration::from_millis(10)).unwrap_err().to_string();
        assert!(error.contains("not ready within"), "{error}");
    }

    #[test]
    fn a_predecessor_that_ends_half_way_leaves_nothing_to_inherit() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&ours, &listeners(1)).unwrap();
        drop(ours);
        assert!(Inheritance::receive(theirs).is_err());
    }

    #[test]
    fn a_program_that_can_not_be_started_is_no_successor() {
        let program = Program { path: "/nowhere/at/all".into(), arguments: Vec::new() };
        assert_eq!(program.start().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_program_that_ends_at_once_is_no_successor() {
        let program = Program { path: "/bin/true".into(), arguments: Vec::new() };
        assert!(program.start().unwrap().take_over(&listeners(1)).is_err());
    }
}
