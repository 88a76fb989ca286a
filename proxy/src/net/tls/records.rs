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

    fn common(&self) -> &CommonState;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(incoming)
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn common(&self) -> &CommonState {
        self
    }

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
                alert(records, incoming.get_mut(used..).unwrap_or_default(), out);
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
                let is_all = used + discard == incoming.len() && !peer_closed;
                // Asked again, the library would only say so.
                (is_all && matches!(wish, Wish::None) && !records.common().wants_write()).then_some(Progress::Traffic)
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

/// After an error: what the other side is told of it. Only as long as there is anything, since a broken session must not look at
/// what has come behind the error.
fn alert<R: Records>(records: &mut R, incoming: &mut [u8], out: &mut Outgoing) {
    while records.common().wants_write() {
        match records.process(incoming).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => append(out, |space| data.encode(space)),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};

    use super::*;

    struct Ends {
        client: Session,
        server: Session,
    }

    fn ends() -> Ends {
        let own = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder().with_no_client_auth();
        let server = server.with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("a.example").unwrap();
        Ends {
            client: Session::Client(UnbufferedClientConnection::new(Arc::new(client), name).unwrap()),
            server: Session::Server(UnbufferedServerConnection::new(Arc::new(server)).unwrap()),
        }
    }

    /// What one end makes of bytes, and what it keeps of them.
    fn feed(session: &mut Session, held: &mut Vec<u8>, wish: Wish<'_>) -> (Vec<u8>, Vec<u8>, Result<Progress, Error>) {
        let (mut plain, mut out) = (Vec::new(), Outgoing::default());
        let (used, progress) = session.advance(held, |part| plain.extend_from_slice(part), &mut out, wish);
        held.drain(..used);
        (plain, out.filled().to_vec(), progress)
    }

    /// Shakes hands in pieces of `piece` bytes.
    fn shake(ends: &mut Ends, piece: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        while ends.client.common().is_handshaking() || ends.server.common().is_handshaking() {
            let (_, out, progress) = feed(&mut ends.client, &mut at_client, Wish::None);
            progress.unwrap();
            to_server.extend(out);
            at_server.extend(to_server.drain(..piece.min(to_server.len())));
            let (_, out, progress) = feed(&mut ends.server, &mut at_server, Wish::None);
            progress.unwrap();
            to_client.extend(out);
            at_client.extend(to_client.drain(..piece.min(to_client.len())));
        }
        at_server.extend(to_server);
        at_client.extend(to_client);
        (at_server, at_client)
    }

    #[test]
    fn data_goes_both_ways_however_records_are_cut_and_a_close_is_told() {
        for piece in [1, 7, 100, 100_000] {
            let mut ends = ends();
            let (mut at_server, mut at_client) = shake(&mut ends, piece);
            let long = vec![b'x'; 40_000];
            let (_, sealed, progress) = feed(&mut ends.server, &mut at_server, Wish::Data(&long));
            assert_eq!(progress, Ok(Progress::Traffic));
            let mut got = Vec::new();
            for part in sealed.chunks(piece) {
                at_client.extend_from_slice(part);
                let (plain, _, progress) = feed(&mut ends.client, &mut at_client, Wish::None);
                assert_eq!(progress, Ok(Progress::Traffic));
                got.extend(plain);
            }
            assert!(got == long && at_client.is_empty());
            let (_, sealed, _) = feed(&mut ends.client, &mut at_client, Wish::CloseNotify);
            at_server.extend(sealed);
            let (plain, _, progress) = feed(&mut ends.server, &mut at_server, Wish::None);
            assert_eq!((plain, progress), (Vec::new(), Ok(Progress::PeerClosed)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a client does to its bytes, and wherever they are cut.
        #[test]
        fn damaged_records_are_an_error_and_never_a_panic(
            before_handshake in any::<bool>(),
            piece in 1usize..400,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            extra in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut ends = ends();
            let (mut held, mut sent) = (Vec::new(), Vec::new());
            if before_handshake {
                sent = feed(&mut ends.client, &mut held, Wish::None).1;
            } else {
                let (mut at_server, mut at_client) = shake(&mut ends, piece);
                for data in [&b"one"[..], b"two", b"three"] {
                    sent.extend(feed(&mut ends.client, &mut at_client, Wish::Data(data)).1);
                }
                held.append(&mut at_server);
            }
            for (place, byte) in changes {
                let place = place.index(sent.len());
                sent[place] = byte;
            }
            sent.extend(extra);
            for part in sent.chunks(piece) {
                held.extend_from_slice(part);
                let (_, _, progress) = feed(&mut ends.server, &mut held, Wish::None);
                if progress.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
