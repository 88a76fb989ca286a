//! What goes by on a connection, frame by frame: the library answers control frames, forgets streams that end early, and waits for
//! the end of a head, without a word about it. Reads only headers of frames, of both directions, however their bytes are cut.
//! Source: PROMISES.md, section 2; RFC 9113, 4.1 and 6. Start at [`Meter::received`].

use std::io::IoSlice;

/// Bytes before the first frame of a client. Source: RFC 9113, 3.4.
const PREFACE: u32 = 24;
/// Frames of a client within [`WINDOW`] that ask for nothing.
const CONTROL_MAX: u32 = 1000;
/// In ticks of a worker, of 500 ms: 10 s.
const WINDOW: u32 = 20;
/// Streams that may end early, beside a tenth of all.
const EARLY_MAX: u64 = 100;
/// Streams that are looked after. A client has at most 100 open, and for a moment those that the library is about to refuse.
const OPEN_MAX: usize = 512;

/// Types of frames.
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
mod flag {
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
}

/// Codes by which the library, and nothing else here, resets streams: PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED and
/// FRAME_SIZE_ERROR are the client's doing. What a back end does is not, and REFUSED_STREAM costs nobody anything.
const CLIENT_ERRORS: [u32; 4] = [1, 3, 5, 6];

/// Counts what a client asks of its connection.
#[derive(Debug)]
pub(super) struct Meter {
    received: Frames,
    sent: Frames,
    /// Streams that neither side has reset and whose answer has not ended.
    open: Vec<u32>,
    latest: u32,
    streams: u64,
    /// Streams that were ended early.
    early: u64,
    /// Frames that asked for nothing since `window` began or something useful happened.
    control: u32,
    /// The tick in which it began.
    window: u32,
    /// WINDOW_UPDATEs that don't count. A client gives back each byte that it got at most twice, to the stream and to the connection,
    /// and at least one byte at a time: that many are sent by one that does nothing but download, in however small steps.
    updates: u64,
    data_sent: u64,
    head: Head,
    exceeded: bool,
}

/// Where a head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Nowhere.
    None,
    /// The header of a frame has begun that may begin one.
    Perhaps { since: u32 },
    /// Its last frame has not begun.
    Begun { since: u32 },
    /// Its last frame has not ended.
    Ending { since: u32 },
}

impl Head {
    fn since(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Perhaps { since } | Self::Begun { since } | Self::Ending { since } => Some(since),
        }
    }
}

impl Meter {
    /// For a connection of which nothing has been read.
    pub(super) fn new() -> Self {
        Self {
            received: Frames { rest: PREFACE, ..Frames::default() },
            sent: Frames::default(),
            open: Vec::new(),
            latest: 0,
            streams: 0,
            early: 0,
            control: 0,
            window: 0,
            updates: 0,
            data_sent: 0,
            head: Head::None,
            exceeded: false,
        }
    }

    /// Whether the client has gone too far.
    pub(super) fn has_exceeded(&self) -> bool {
        self.exceeded
    }

    /// How many bytes of DATA the client has been sent.
    pub(super) fn data_sent(&self) -> u64 {
        self.data_sent
    }

    /// The tick in which a head has begun that has not ended.
    pub(super) fn head_since(&self) -> Option<u32> {
        self.head.since()
    }

    /// Takes note of `bytes`, which the client has sent, in tick `now`.
    pub(super) fn received(&mut self, mut bytes: &[u8], now: u32) {
        while let Some(frame) = self.received.next(&mut bytes) {
            self.head = self.head_with(frame, now);
            self.frame_received(frame, now);
        }
        if self.received.is_within_frame() {
            return;
        }
        if let Head::Ending { .. } = self.head {
            self.head = Head::None;
        }
        if self.received.has_begun() && self.head == Head::None {
            self.head = Head::Perhaps { since: now };
        }
    }

    /// Where the head is that this frame is part of.
    fn head_with(&self, frame: Frame, now: u32) -> Head {
        let ends = frame.flags & flag::END_HEADERS != 0;
        match (frame.kind, self.head) {
            (kind::HEADERS, head) => {
                let since = if let Head::Perhaps { since } = head { since } else { now };
                if ends { Head::Ending { since } } else { Head::Begun { since } }
            }
            (kind::CONTINUATION, Head::Begun { since }) if ends => Head::Ending { since },
            (_, Head::Begun { since }) => Head::Begun { since },
            _ => Head::None,
        }
    }

    fn frame_received(&mut self, frame: Frame, now: u32) {
        match frame.kind {
            kind::HEADERS if frame.stream > self.latest => {
                self.latest = frame.stream;
                self.streams += 1;
                if self.open.len() < OPEN_MAX {
                    self.open.push(frame.stream);
                }
                self.control = 0;
            }
            kind::DATA if frame.carries() > 0 => self.control = 0,
            kind::WINDOW_UPDATE if self.updates > 0 => self.updates -= 1,
            kind::RST_STREAM if self.closes(frame.stream) => self.ended_early(),
            // Those are counted by the library.
            kind::CONTINUATION => {}
            _ => self.asked_for_nothing(now),
        }
    }

    /// Takes note of the first `count` bytes of `slices`, which are sent to the client.
    pub(super) fn sent(&mut self, slices: &[IoSlice<'_>], mut count: usize) {
        for slice in slices {
            let length = slice.len().min(count);
            count -= length;
            let mut bytes = slice.get(..length).unwrap_or_default();
            while let Some(frame) = self.sent.next(&mut bytes) {
                self.frame_sent(frame);
            }
        }
    }

    fn frame_sent(&mut self, frame: Frame) {
        let ends = frame.flags & flag::END_STREAM != 0;
        match frame.kind {
            kind::DATA => {
                if frame.length > 0 {
                    self.control = 0;
                    self.data_sent += u64::from(frame.length);
                    self.updates = self.updates.saturating_add(2 * u64::from(frame.length));
                }
                if ends {
                    self.closes(frame.stream);
                }
            }
            kind::HEADERS if ends => {
                self.closes(frame.stream);
            }
            kind::RST_STREAM if self.closes(frame.stream) && CLIENT_ERRORS.contains(&frame.code()) => {
                self.ended_early();
            }
            _ => {}
        }
    }

    /// Whether a stream that is now closed was open.
    fn closes(&mut self, stream: u32) -> bool {
        let place = self.open.iter().position(|&open| open == stream);
        place.is_some_and(|place| self.open.swap_remove(place) == stream)
    }

    fn ended_early(&mut self) {
        self.early += 1;
        self.exceeded |= self.early > EARLY_MAX + self.streams / 10;
    }

    fn asked_for_nothing(&mut self, now: u32) {
        if now.wrapping_sub(self.window) >= WINDOW {
            (self.window, self.control) = (now, 0);
        }
        self.control += 1;
        self.exceeded |= self.control > CONTROL_MAX;
    }
}

/// Finds the headers of frames.
#[derive(Debug, Default)]
struct Frames {
    /// What is here of a header.
    held: [u8; HELD_MAX],
    count: u8,
    /// Bytes of the frame that are still to come.
    rest: u32,
}

const HEADER: usize = 9;
/// With the code of a RST_STREAM, or the length of the padding of DATA.
const HELD_MAX: usize = HEADER + 4;

/// A frame, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
    /// What its payload begins with, of RST_STREAM and padded DATA.
    first: [u8; 4],
}

impl Frame {
    fn read(header: &[u8; HELD_MAX]) -> Self {
        let [a, b, c, kind, flags, stream @ .., f1, f2, f3, f4] = *header;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
            first: [f1, f2, f3, f4],
        }
    }

    /// Bytes of its payload that are looked at.
    fn looked_at(&self) -> u32 {
        match self.kind {
            kind::RST_STREAM => self.length.min(4),
            kind::DATA if self.flags & flag::PADDED != 0 => self.length.min(1),
            _ => 0,
        }
    }

    /// Bytes of data in it.
    fn carries(&self) -> u32 {
        let padding = if self.flags & flag::PADDED != 0 { 1 + u32::from(self.first[0]) } else { 0 };
        self.length.saturating_sub(padding)
    }

    /// The code of a RST_STREAM.
    fn code(&self) -> u32 {
        u32::from_be_bytes(self.first)
    }
}

impl Frames {
    /// The next frame that has begun in `bytes`, behind which they are then; nothing if none has whose header is whole.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let skipped = bytes.len().min(self.rest as usize);
        self.rest -= skipped as u32;
        *bytes = bytes.get(skipped..).unwrap_or_default();
        let mut wanted = HEADER;
        loop {
            let count = usize::from(self.count);
            let taken = bytes.len().min(wanted.saturating_sub(count));
            if let (Some(room), Some(from)) = (self.held.get_mut(count..count + taken), bytes.get(..taken)) {
                room.copy_from_slice(from);
            }
            *bytes = bytes.get(taken..).unwrap_or_default();
            self.count += taken as u8;
            if usize::from(self.count) < wanted {
                return None;
            }
            let frame = Frame::read(&self.held);
            wanted = HEADER + frame.looked_at() as usize;
            if usize::from(self.count) >= wanted {
                self.count = 0;
                self.rest = frame.length - frame.looked_at();
                return Some(frame);
            }
        }
    }

    /// Whether more of a frame is to come whose header is known.
    fn is_within_frame(&self) -> bool {
        self.rest > 0
    }

    /// Whether a header is here in part.
    fn has_begun(&self) -> bool {
        self.count > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn ping() -> Vec<u8> {
        frame(PING, 0, 0, &[0; 8])
    }

    fn update() -> Vec<u8> {
        frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
    }

    fn request(stream: u32) -> Vec<u8> {
        frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, b"head")
    }

    fn reset(stream: u32, code: u8) -> Vec<u8> {
        frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, code])
    }

    /// A meter behind the preface.
    fn meter() -> Meter {
        let mut meter = Meter::new();
        meter.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0);
        meter
    }

    fn send(meter: &mut Meter, bytes: &[u8]) {
        meter.sent(&[IoSlice::new(bytes)], bytes.len());
    }

    #[test]
    fn a_thousand_frames_in_ten_seconds_may_ask_for_nothing() {
        let padding = frame(kind::DATA, flag::PADDED, 1, &[3, 0, 0, 0]);
        for nothing in [ping(), update(), padding, frame(4, 1, 0, b""), frame(0xfe, 0, 0, b"x"), reset(1, 8)] {
            let mut meter = meter();
            meter.received(&nothing.repeat(1000), 0);
            assert!(!meter.has_exceeded(), "{nothing:?}");
            meter.received(&nothing, WINDOW - 1);
            assert!(meter.has_exceeded(), "{nothing:?}");
        }
    }

    #[test]
    fn they_are_forgotten_after_ten_seconds_and_after_something_useful() {
        let mut meter = meter();
        let data = frame(kind::DATA, flag::PADDED, 1, &[2, b'x', 0, 0]);
        for (tick, useful) in [(0, request(1)), (1, data), (WINDOW, Vec::new()), (2 * WINDOW, Vec::new())] {
            meter.received(&useful, tick);
            meter.received(&ping().repeat(1000), tick);
        }
        send(&mut meter, &frame(kind::DATA, 0, 1, b"x"));
        meter.received(&ping().repeat(1000), 2 * WINDOW);
        assert!(!meter.has_exceeded());
        // These are not useful: what is sent beside DATA, and DATA without a byte.
        send(&mut meter, &[frame(PING, 1, 0, &[0; 8]), frame(kind::DATA, 0, 1, b"")].concat());
        meter.received(&ping(), 2 * WINDOW);
        assert!(meter.has_exceeded());
    }

    #[test]
    fn a_download_may_be_taken_byte_by_byte() {
        let mut meter = meter();
        meter.received(&request(1), 0);
        send(&mut meter, &frame(kind::DATA, 0, 1, &[0; 5000]));
        assert_eq!(meter.data_sent(), 5000);
        meter.received(&update().repeat(10_000 + 1000), 0);
        assert!(!meter.has_exceeded());
        meter.received(&update(), 0);
        assert!(meter.has_exceeded());
    }

    #[test]
    fn a_hundred_streams_and_a_tenth_of_all_may_end_early() {
        let mut meter = meter();
        for count in 0..1000 {
            let stream = 2 * count + 1;
            meter.received(&request(stream), 0);
            // What follows the end of an answer comes too late.
            send(&mut meter, &frame(kind::HEADERS, flag::END_STREAM, stream, b"head"));
            meter.received(&reset(stream, 8), 0);
        }
        let mut early = 0;
        while !meter.has_exceeded() {
            early += 1;
            let stream = 2001 + 2 * early;
            meter.received(&[request(stream), reset(stream, 0)].concat(), 0);
        }
        assert_eq!((early, meter.streams), (223, 1223));
        assert!(meter.open.is_empty());
    }

    #[test]
    fn streams_that_the_client_has_us_reset_count_and_those_that_a_back_end_cuts_do_not() {
        for (code, counts) in
            [(1, true), (3, true), (5, true), (6, true), (0, false), (2, false), (7, false), (8, false), (11, false)]
        {
            let mut meter = meter();
            for count in 0..200 {
                meter.received(&request(2 * count + 1), 0);
                send(&mut meter, &reset(2 * count + 1, code));
            }
            assert_eq!(meter.has_exceeded(), counts, "{code}");
        }
    }

    #[test]
    fn a_head_lasts_from_the_first_byte_of_its_frame_to_the_last_of_its_end() {
        let mut meter = meter();
        assert_eq!(meter.head_since(), None);
        let bytes =
            [frame(kind::HEADERS, 0, 1, b"he"), frame(kind::CONTINUATION, flag::END_HEADERS, 1, b"ad")].concat();
        for (tick, byte) in (1..).zip(&bytes) {
            meter.received(&[*byte], tick);
            let is_last = tick as usize == bytes.len();
            assert_eq!(meter.head_since(), (!is_last).then_some(1), "{tick}");
        }
        // What turns out to be no head is none; what follows a head at once may be one.
        meter.received(&ping()[..8], 90);
        assert_eq!(meter.head_since(), Some(90));
        meter.received(&ping()[8..9], 91);
        assert_eq!(meter.head_since(), None);
        meter.received(&[&ping()[9..], &request(3), &ping()[..1]].concat(), 92);
        assert_eq!(meter.head_since(), Some(92));
        meter.received(&ping()[1..], 93);
        meter.received(&frame(kind::HEADERS, flag::END_HEADERS, 5, b""), 94);
        assert_eq!(meter.head_since(), None);
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        (0_u8..11, any::<u8>(), 0_u32..9, proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
    }

    proptest! {
        #[test]
        fn what_is_counted_does_not_depend_on_how_bytes_are_cut(
            frames in proptest::collection::vec(any_frame(), 0..40),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        ) {
            let bytes = frames.concat();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (mut whole, mut cut) = (meter(), meter());
            whole.received(&bytes, 0);
            send(&mut whole, &bytes);
            pieces.iter().for_each(|piece| cut.received(piece, 0));
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            cut.sent(&slices, bytes.len());
            // What is held of headers that are done with is not compared.
            let seen = |meter: &Meter| {
                let Meter { open, latest, streams, early, control, window, updates, head, exceeded, .. } = meter;
                let ends = [&meter.received, &meter.sent].map(|frames| (frames.count, frames.rest));
                format!("{open:?} {latest} {streams} {early} {control} {window} {updates} {head:?} {exceeded} {ends:?}")
            };
            prop_assert_eq!(seen(&whole), seen(&cut));
            prop_assert!(whole.received.count == 0 && whole.received.rest == 0);
            // A head that may have begun is one of the last byte's, at the latest.
            let is_known = matches!(whole.head, Head::None | Head::Begun { .. });
            prop_assert!(is_known);
        }

        #[test]
        fn no_more_than_a_part_of_what_is_written_is_looked_at(count in 0_usize..40) {
            let bytes = [request(1), ping()].concat();
            let mut meter = meter();
            meter.sent(&[IoSlice::new(&bytes[..5]), IoSlice::new(&bytes[5..])], count.min(bytes.len()));
            let mut same = Meter::new();
            send(&mut same, &bytes[..count.min(bytes.len())]);
            prop_assert_eq!((meter.sent.count, meter.sent.rest), (same.sent.count, same.sent.rest));
        }
    }
}
