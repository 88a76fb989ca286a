//! The two kinds of TLS session, and how records move through them. The library holds no buffers: bytes come in and go out
//! through memory of ours. Source: rustls, "Unbuffered API".

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

/// A session, whose side decides only how it begins.
pub(crate) enum Session {
    /// Towards a client.
    Server(UnbufferedServerConnection),
    /// Towards a back end.
    Client(UnbufferedClientConnection),
}

/// How far a session has come when nothing is left to be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The handshake waits for the other side.
    Handshake,
    /// Data can go both ways.
    Traffic,
    /// The other side has said that it sends nothing more.
    PeerClosed,
}

/// What is written when a session can write.
#[derive(Clone, Copy)]
pub(super) enum Wish<'a> {
    /// Nothing.
    None,
    /// Data.
    Data(&'a [u8]),
    /// That nothing more will come.
    CloseNotify,
}

impl Session {
    /// What has been agreed on.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }

    /// Processes `incoming`, gives what was in it to `plain`, and appends to `out` what is to be sent: answers of the protocol
    /// first, then `wish` if data may be sent. Yields how many bytes of `incoming` are used up.
    pub(super) fn advance(
        &mut self,
        incoming: &mut [u8],
        plain: impl FnMut(&[u8]),
        out: &mut Outgoing,
        wish: Wish<'_>,
    ) -> (usize, Result<Progress, Error>) {
        match self {
            Self::Server(session) => advance(session, incoming, plain, out, wish),
            Self::Client(session) => advance(session, incoming, plain, out, wish),
        }
    }
}

/// What both sides have in common, which the library tells by the type of their data.
trait Records {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(incoming)
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(incoming)
    }
}

fn advance<R: Records>(
    records: &mut R,
    incoming: &mut [u8],
    mut plain: impl FnMut(&[u8]),
    out: &mut Outgoing,
    mut wish: Wish<'_>,
) -> (usize, Result<Progress, Error>) {
    let mut used = 0;
    let mut peer_closed = false;
    loop {
        let UnbufferedStatus { mut discard, state } = records.process(incoming.get_mut(used..).unwrap_or_default());
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                used += discard;
                alert(records, out);
                return (used, Err(error));
            }
        };
        let progress = match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            plain(record.payload);
                            discard += record.discard;
                        }
                        Err(error) => return (used + discard, Err(error)),
                    }
                }
                None
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(out, |space| data.encode(space));
                None
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                None
            }
            ConnectionState::PeerClosed => {
                peer_closed = true;
                None
            }
            ConnectionState::WriteTraffic(mut traffic) => {
                write(&mut traffic, std::mem::replace(&mut wish, Wish::None), out);
                Some(if peer_closed { Progress::PeerClosed } else { Progress::Traffic })
            }
            ConnectionState::Closed => Some(Progress::PeerClosed),
            // Early data is never allowed.
            ConnectionState::BlockedHandshake | ConnectionState::ReadEarlyData(_) => Some(Progress::Handshake),
            other => return (used + discard, Err(Error::General(format!("an unknown state: {other:?}")))),
        };
        used += discard;
        if let Some(progress) = progress {
            return (used, Ok(progress));
        }
    }
}

/// After an error: what the other side is told of it.
fn alert<R: Records>(records: &mut R, out: &mut Outgoing) {
    loop {
        match records.process(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => append(out, |space| data.encode(space)),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            _ => return,
        }
    }
}

fn write<D>(traffic: &mut WriteTraffic<'_, D>, wish: Wish<'_>, out: &mut Outgoing) {
    match wish {
        Wish::None => {}
        Wish::Data(data) => append(out, |space| traffic.encrypt(data, space)),
        Wish::CloseNotify => append(out, |space| traffic.queue_close_notify(space)),
    }
}

/// Why `out` could not take something.
enum Refused {
    /// It has to have room for so much.
    TooSmall(usize),
    /// There is nothing that could be written any more.
    Nothing,
}

impl From<EncodeError> for Refused {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self::TooSmall(size.required_size),
            EncodeError::AlreadyEncoded => Self::Nothing,
        }
    }
}

impl From<EncryptError> for Refused {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::TooSmall(size.required_size),
            EncryptError::EncryptExhausted => Self::Nothing,
        }
    }
}

/// Appends what `encode` writes. The first try is made in what room there is, which usually is enough.
fn append<E: Into<Refused>>(out: &mut Outgoing, mut encode: impl FnMut(&mut [u8]) -> Result<usize, E>) {
    let mut written = encode(out.space(0)).map_err(Into::into);
    if let Err(Refused::TooSmall(size)) = written {
        written = encode(out.space(size)).map_err(Into::into);
    }
    out.filled += written.unwrap_or(0);
}

/// Memory for records on their way out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    /// Forgets what is in it, and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// What was written.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Room for at least `size` bytes.
    pub(super) fn space(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() < self.filled + size {
            self.bytes.resize(self.filled + size, 0);
        }
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }
}
