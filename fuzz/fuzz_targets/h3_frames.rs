//! What watches frames of HTTP/3 go by: however a stream is cut, it says of it what a reader of the whole says; and of all streams of a
//! connection together, what counts as unfinished is what is, and never more than a window and the piece that went over it.
//!
//! The input is read as pieces: which of eight streams, how many bytes (a byte each; 255 stands for 48 KiB of the last byte), and
//! those bytes. Streams of odd number go in one direction.

#![no_main]

#[path = "../../proxy/src/http/http3/frames.rs"]
mod frames;

use frames::{Frames, Unfinished};
use libfuzzer_sys::fuzz_target;

/// Bytes of a frame that is no DATA, of unfinished ones of a connection, and frames of DATA without any: what docs/http3.md says.
const FRAME_MAX: u64 = 128 * 1024;
const UNFINISHED_MAX: usize = 1 << 20;
const EMPTY_MAX: u32 = 1000;
const STREAMS: usize = 8;
const LONG: usize = 48 * 1024;

/// What a whole stream is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meaning {
    is_refused: bool,
    may_end: bool,
    empty: u32,
    /// Bytes that are here of a frame that is not whole and no DATA.
    unfinished: usize,
}

/// An integer of variable length. Source: RFC 9000, 16.
fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let width = 1usize << (bytes.first()? >> 6);
    let (number, rest) = bytes.split_at_checked(width)?;
    *bytes = rest;
    Some(number.iter().skip(1).fold(u64::from(number[0] & 0x3f), |sum, byte| sum * 256 + u64::from(*byte)))
}

fn read(mut bytes: &[u8], is_side: bool) -> Meaning {
    let mut meaning = Meaning { may_end: true, ..Meaning::default() };
    if is_side {
        match integer(&mut bytes) {
            Some(0) => {}
            Some(_other) => return meaning,
            None => return Meaning { may_end: bytes.is_empty(), ..meaning },
        }
    }
    while !bytes.is_empty() {
        let (Some(kind), Some(length)) = (integer(&mut bytes), integer(&mut bytes)) else {
            meaning.may_end = false;
            break;
        };
        if kind == 0x41 || kind != 0 && length > FRAME_MAX {
            return Meaning { is_refused: true, ..meaning };
        }
        meaning.empty += u32::from(kind == 0 && length == 0);
        let here = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
        if (here as u64) < length {
            meaning.may_end = false;
            meaning.unfinished = if kind == 0 { 0 } else { here };
        }
        bytes = &bytes[here..];
    }
    meaning.is_refused = meaning.empty > EMPTY_MAX;
    meaning
}

/// A stream as it is watched, and all that has come of it.
struct Stream {
    watched: Frames,
    bytes: Vec<u8>,
    is_side: bool,
}

impl Stream {
    fn new(unfinished: &Unfinished, is_side: bool) -> Self {
        let watched = if is_side { Frames::of_side_stream(unfinished) } else { Frames::of_request(unfinished) };
        Self { watched, bytes: Vec::new(), is_side }
    }
}

fuzz_target!(|input: &[u8]| {
    let unfinished = Unfinished::default();
    let mut streams: [Option<Stream>; STREAMS] =
        std::array::from_fn(|place| Some(Stream::new(&unfinished, place % 2 == 1)));
    let mut rest = input;
    while let [which, count, more @ ..] = rest {
        let (piece, behind) = more.split_at(usize::from(*count).min(more.len()));
        rest = behind;
        let place = usize::from(*which) % STREAMS;
        let Some(stream) = &mut streams[place] else { continue };
        let mut piece = piece.to_vec();
        if *count == u8::MAX {
            piece.resize(piece.len() + LONG, piece.last().copied().unwrap_or_default());
        }
        let passed = stream.watched.pass(&piece);
        stream.bytes.extend_from_slice(&piece);
        let meaning = read(&stream.bytes, stream.is_side);
        let is_too_much = unfinished.get() > UNFINISHED_MAX;
        assert!(unfinished.get() <= UNFINISHED_MAX + piece.len());
        assert_eq!(passed.is_err(), meaning.is_refused || is_too_much, "{meaning:?}");
        if passed.is_err() {
            streams[place] = None;
            continue;
        }
        assert_eq!((stream.watched.is_between(), stream.watched.empty().get()), (meaning.may_end, meaning.empty));
        let all = streams.iter().flatten().map(|stream| read(&stream.bytes, stream.is_side).unfinished);
        assert_eq!(unfinished.get(), all.sum::<usize>());
    }
    drop(streams);
    assert_eq!(unfinished.get(), 0);
});
