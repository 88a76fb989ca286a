//! Watches the frames of a stream go by, before the library sees them: it would keep a frame of any length in memory until it
//! is whole, and take a cut one for the end of the body. Source: RFC 9114, 7.1 and 7.2.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes of one frame other than DATA, as encoded.
const FRAME_MAX: u64 = 128 * 1024;
/// The same of all such frames of one connection that are not whole yet.
const UNFINISHED_MAX: usize = 1 << 20;
const DATA: u64 = 0x00;
/// Has no length and never ends. Nobody has asked for it. Source: draft-ietf-webtrans-http3, 4.2.
const WEBTRANSPORT: u64 = 0x41;

/// Frames of DATA without any, on one stream. Source: PROMISES.md, section 2.
const EMPTY_MAX: u32 = 1000;
/// The type of a side stream that has frames. Source: RFC 9114, 6.2.1.
const CONTROL: u64 = 0x00;

/// Bytes of frames that are not whole yet, on one connection.
pub(super) type Unfinished = Rc<Cell<usize>>;

/// Where in its frames a stream is.
pub(super) struct Frames {
    /// What the stream is made of.
    content: Content,
    /// The type and the length of a frame, as far as they are here.
    header: Header,
    /// What is still to come of the frame.
    rest: u64,
    is_data: bool,
    /// Bytes that are here of it, unless it is DATA.
    kept: usize,
    unfinished: Unfinished,
    empty: Rc<Cell<u32>>,
}

enum Content {
    /// The stream's type comes first.
    Typed,
    /// Frames, to its end.
    Frames,
    /// Something else, of which the library keeps nothing.
    Other,
}

/// What the bytes are that a stream is to be broken off for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excess;

/// Two integers of variable length. Source: RFC 9000, 16.
#[derive(Default)]
struct Header {
    bytes: [u8; 16],
    count: usize,
}

impl Header {
    /// Takes one byte; yields both numbers if it was the last.
    fn push(&mut self, byte: u8) -> Option<(u64, u64)> {
        let (kind, rest) = integer(self.with(byte)?)?;
        let (length, _) = integer(rest)?;
        self.count = 0;
        Some((kind, length))
    }

    /// The same for a single number.
    fn push_single(&mut self, byte: u8) -> Option<u64> {
        let (number, _) = integer(self.with(byte)?)?;
        self.count = 0;
        Some(number)
    }

    fn with(&mut self, byte: u8) -> Option<&[u8]> {
        *self.bytes.get_mut(self.count)? = byte;
        self.count += 1;
        self.bytes.get(..self.count)
    }
}

/// The integer that `bytes` begin with, and what is behind it; nothing if it is not whole.
fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 << (bytes.first()? >> 6);
    let (integer, rest) = bytes.split_at_checked(length)?;
    let number = integer.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some((number & (u64::MAX >> 2 >> (64 - 8 * length)), rest))
}

impl Frames {
    /// At the beginning of a request's stream.
    pub(super) fn of_request(unfinished: &Unfinished) -> Self {
        Self::new(Content::Frames, unfinished)
    }

    /// At the beginning of a stream in one direction.
    pub(super) fn of_side_stream(unfinished: &Unfinished) -> Self {
        Self::new(Content::Typed, unfinished)
    }

    fn new(content: Content, unfinished: &Unfinished) -> Self {
        Self {
            content,
            header: Header::default(),
            rest: 0,
            is_data: false,
            kept: 0,
            unfinished: Rc::clone(unfinished),
            empty: Rc::default(),
        }
    }

    /// Counts the frames of DATA without any that have gone by.
    pub(super) fn empty(&self) -> Rc<Cell<u32>> {
        Rc::clone(&self.empty)
    }

    /// These bytes come next.
    ///
    /// # Errors
    /// If the library should not get them.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        while let Some((&first, behind)) = bytes.split_first() {
            if self.rest > 0 {
                let count = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(count..).unwrap_or_default();
                self.advance(count)?;
                continue;
            }
            bytes = behind;
            match self.content {
                Content::Frames => {}
                Content::Typed => {
                    if let Some(kind) = self.header.push_single(first) {
                        self.content = if kind == CONTROL { Content::Frames } else { Content::Other };
                    }
                    continue;
                }
                Content::Other => return Ok(()),
            }
            let Some((kind, length)) = self.header.push(first) else { continue };
            self.is_data = kind == DATA;
            if kind == WEBTRANSPORT || !self.is_data && length > FRAME_MAX {
                return Err(Excess);
            }
            self.rest = length;
            if self.is_data && length == 0 {
                self.empty.set(self.empty.get() + 1);
            }
        }
        if self.empty.get() > EMPTY_MAX { Err(Excess) } else { Ok(()) }
    }

    fn advance(&mut self, count: usize) -> Result<(), Excess> {
        self.rest -= count as u64;
        if !self.is_data {
            self.kept += count;
            self.unfinished.set(self.unfinished.get() + count);
        }
        if self.rest == 0 {
            self.let_go();
        }
        if self.unfinished.get() > UNFINISHED_MAX { Err(Excess) } else { Ok(()) }
    }

    fn let_go(&mut self) {
        self.unfinished.set(self.unfinished.get() - std::mem::take(&mut self.kept));
    }

    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        self.rest == 0 && self.header.count == 0
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with its length in four bytes.
    fn frame(kind: u8, length: u32) -> Vec<u8> {
        [&[kind][..], &(length | 0x8000_0000).to_be_bytes(), &vec![0xff; length.min(200_000) as usize]].concat()
    }

    #[test]
    fn integers_are_those_of_rfc_9000() {
        // The examples of appendix A.1.
        for (bytes, number) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(integer(bytes), Some((number, &[][..])));
            assert_eq!(integer(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn only_a_body_may_be_longer_than_the_library_may_keep() {
        let passes = |bytes: &[u8]| Frames::of_request(&Unfinished::default()).pass(bytes);
        assert_eq!(passes(&frame(0, 0x3fff_ffff)), Ok(()));
        assert_eq!(passes(&frame(1, FRAME_MAX as u32)), Ok(()));
        for kind in [1, 4, 0x21] {
            assert_eq!(passes(&frame(kind, FRAME_MAX as u32 + 1)), Err(Excess), "{kind}");
        }
        assert_eq!(passes(&[0x40, 0x41, 0x00]), Err(Excess), "WebTransport");
    }

    #[test]
    fn of_side_streams_only_the_control_stream_has_frames() {
        let passes = |kind: &[u8]| {
            let bytes = [kind, &frame(4, FRAME_MAX as u32 + 1)].concat();
            Frames::of_side_stream(&Unfinished::default()).pass(&bytes)
        };
        assert_eq!(passes(&[0]), Err(Excess));
        assert_eq!(passes(&[0x40, 0]), Err(Excess), "the same number in two bytes");
        assert_eq!(passes(&[2]), Ok(()), "of QPACK");
    }

    #[test]
    fn frames_without_data_are_counted_and_not_without_end() {
        let mut frames = Frames::of_request(&Unfinished::default());
        assert_eq!(frames.pass(&[0, 0].repeat(1000)), Ok(()));
        assert_eq!(frames.empty().get(), 1000);
        assert_eq!(frames.pass(&[0, 0]), Err(Excess));
    }

    #[test]
    fn all_streams_of_a_connection_together_keep_no_more_than_a_window() {
        let unfinished = Unfinished::default();
        let half = &frame(1, 100_000)[..50_000];
        let mut streams: Vec<_> = (0..20).map(|_| Frames::of_request(&unfinished)).collect();
        assert!(streams.iter_mut().all(|frames| frames.pass(half).is_ok()));
        let mut last = Frames::of_request(&unfinished);
        assert_eq!(last.pass(&frame(1, 100_000)[..99_000]), Err(Excess));
        drop((streams, last));
        assert_eq!(unfinished.get(), 0);
    }

    proptest! {
        #[test]
        fn a_stream_may_end_between_frames_only_however_it_is_cut(
            lengths in prop::collection::vec((0u8..2, 0u32..300), 1..5),
            cut in 1usize..40,
        ) {
            let unfinished = Unfinished::default();
            let frames: Vec<_> = lengths.iter().map(|&(kind, length)| frame(kind, length)).collect();
            let mut ends: Vec<usize> = vec![0];
            frames.iter().for_each(|frame| ends.push(ends[ends.len() - 1] + frame.len()));
            let mut watched = Frames::of_request(&unfinished);
            let mut passed = 0;
            for part in frames.concat().chunks(cut) {
                prop_assert_eq!(watched.pass(part), Ok(()));
                passed += part.len();
                prop_assert_eq!(watched.is_between(), ends.contains(&passed));
            }
            prop_assert_eq!(unfinished.get(), 0);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Frames::of_request(&Unfinished::default()).pass(&bytes);
        }
    }
}
