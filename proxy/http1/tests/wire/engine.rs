//! Drives the engine as a connection does: bytes come in pieces, buffers are small and grow, and the body leaves in pieces too.

use http1::{BodyFault, ChunkFrame, Framing, Message, Refusal, ResponseFault, Version};

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response { to_head: bool },
}

/// How the bytes come.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Lengths of the reads, over and over again.
    pub(crate) reads: Vec<usize>,
    /// Of the first buffer; it grows when it is full.
    pub(crate) buffer: usize,
    /// Of a block for the body.
    pub(crate) block: usize,
}

impl Plan {
    /// Everything at once.
    pub(crate) fn whole() -> Self {
        Self { reads: vec![usize::MAX], buffer: 64 * 1024, block: 64 * 1024 }
    }

    /// One byte after the other, into buffers that are always too small.
    pub(crate) fn bytewise() -> Self {
        Self { reads: vec![1], buffer: 1, block: 3 }
    }

    /// Byte by byte, in two pieces, and in some, at places that depend on `bytes` only.
    pub(crate) fn several(bytes: &[u8]) -> [Self; 3] {
        let hash = bytes.iter().fold(5381, |hash: usize, byte| hash.wrapping_mul(33) ^ usize::from(*byte));
        let reads = vec![1 + hash % 7, 1 + hash / 7 % 29, 1 + hash / 203 % 3];
        let some = Self { reads, buffer: 1 + hash % 61, block: 1 + hash % 13 };
        [Self::bytewise(), Self::split_at(hash % (bytes.len() + 1)), some]
    }

    /// Everything in two pieces.
    pub(crate) fn split_at(at: usize) -> Self {
        Self { reads: vec![at.max(1), usize::MAX], ..Self::whole() }
    }
}

/// Why a head is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Request(Refusal),
    Response(ResponseFault),
}

/// Where a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    More,
    Fault(BodyFault),
}

pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Method and target; or status and reason.
pub(crate) type Start = (Vec<u8>, Vec<u8>);

/// A message as the engine tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) start: Start,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    /// The fields as they are written out.
    pub(crate) written: Vec<u8>,
    pub(crate) framing: Framing,
    /// Empty if it was malformed, as how much of it was told then depends on how it came.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    pub(crate) end: End,
    /// Up to the end of the message, if it came to it.
    pub(crate) consumed: usize,
}

/// Nothing if more bytes are needed for the head.
pub(crate) type Outcome = Result<Option<Read>, Fault>;

/// Gives `bytes` to the engine as `plan` says.
pub(crate) fn read(kind: Kind, bytes: &[u8], plan: &Plan) -> Outcome {
    let mut input = Input { bytes, at: 0, reads: plan.reads.iter().cycle() };
    let mut message = Message::new(vec![0; plan.buffer].into());
    while !parse(kind, &mut message)? {
        if message.space().is_empty() {
            message.grow(vec![0; message.capacity() * 2 + 1].into());
        }
        if !input.read_into(&mut message) {
            return Ok(None);
        }
    }
    let mut read = told_of(kind, &message);
    read.end = read_body(&mut message, &mut input, plan.block, &mut read.body).unwrap_or_else(End::Fault);
    match read.end {
        End::Fault(_) => read.body.clear(),
        End::More => assert!(message.leftover().is_empty()),
        End::Complete => {
            read.consumed = input.at - message.leftover().len();
            assert!(message.is_complete() && message.decode() == Ok(()) && message.closed() == Ok(()));
        }
    }
    read.trailers = message.trailers().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    assert_eq!(told_of(kind, &message).fields, read.fields, "the head stays while the body is read");
    Ok(Some(read))
}

/// Reads a message that came whole.
pub(crate) fn read_whole(kind: Kind, bytes: &[u8]) -> Outcome {
    read(kind, bytes, &Plan::whole())
}

pub(crate) fn parse(kind: Kind, message: &mut Message) -> Result<bool, Fault> {
    match kind {
        Kind::Request => message.parse_request().map_err(Fault::Request),
        Kind::Response { to_head } => message.parse_response(to_head).map_err(Fault::Response),
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    reads: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Input<'_> {
    /// One read. False if there is nothing left.
    fn read_into(&mut self, message: &mut Message) -> bool {
        let rest = &self.bytes[self.at..];
        let wanted = self.reads.next().copied().unwrap_or(usize::MAX).max(1);
        let space = message.space();
        let count = wanted.min(rest.len()).min(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        message.filled(count);
        self.at += count;
        !rest.is_empty()
    }
}

/// Reads what there is of a body into blocks, so that the head stays.
fn read_body(message: &mut Message, input: &mut Input<'_>, block: usize, body: &mut Vec<u8>) -> Result<End, BodyFault> {
    loop {
        message.decode()?;
        while !message.data().is_empty() {
            let some = message.data().len().div_ceil(2);
            body.extend_from_slice(&message.data()[..some]);
            message.consume(some);
        }
        if message.has_ended() {
            return Ok(End::Complete);
        }
        if !message.has_block() {
            message.give_block(vec![0; block].into());
        } else if message.space().is_empty() {
            message.rewind();
        }
        if !input.read_into(message) {
            return Ok(End::More);
        }
    }
}

fn told_of(kind: Kind, message: &Message) -> Read {
    let head = message.head();
    let start = match kind {
        Kind::Request => (head.method().to_vec(), head.target().to_vec()),
        Kind::Response { .. } => (head.status().to_string().into_bytes(), head.reason().to_vec()),
    };
    let mut written = Vec::new();
    head.write_fields(&mut written);
    Read {
        start,
        version: head.version(),
        fields: head.fields().map(|field| (field.name.to_vec(), field.value.to_vec())).collect(),
        written,
        framing: message.framing(),
        body: Vec::new(),
        trailers: Fields::new(),
        end: End::More,
        consumed: 0,
    }
}

/// The message as it goes over the wire again, its body in chunks of at most `chunk` bytes if it is chunked.
pub(crate) fn write(kind: Kind, read: &Read, chunk: usize) -> Vec<u8> {
    let version: &[u8] = if read.version == Version::Http11 { b"HTTP/1.1" } else { b"HTTP/1.0" };
    let words = match kind {
        Kind::Request => [&read.start.0, &read.start.1, version],
        Kind::Response { .. } => [version, &read.start.0, &read.start.1],
    };
    let mut out = words.join(&b' ');
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&read.written);
    out.extend_from_slice(b"\r\n");
    if read.framing == Framing::Chunked {
        write_chunks(read, chunk, &mut out);
    } else {
        out.extend_from_slice(&read.body);
    }
    out
}

fn write_chunks(read: &Read, chunk: usize, out: &mut Vec<u8>) {
    for data in read.body.chunks(chunk) {
        let mut frame = ChunkFrame::new(data.len());
        out.extend_from_slice(frame.head());
        out.extend_from_slice(data);
        out.extend_from_slice(frame.tail());
        let all = frame.head().len() + data.len() + frame.tail().len();
        assert!(frame.advance(all) == data.len() && frame.is_done());
    }
    if read.end == End::Complete {
        let last = ChunkFrame::new(0);
        out.extend_from_slice(last.head());
        for (name, value) in &read.trailers {
            out.extend_from_slice(&[name, &b": "[..], value, b"\r\n"].concat());
        }
        out.extend_from_slice(last.tail());
    }
}
