//! One message as it comes: first its head, then its body, decoded in the buffer that it was read into.

use crate::chunked::ChunkedDecoder;
use crate::framing::Framing;
use crate::head::Head;
use crate::refusal::{BodyFault, Refusal};
use crate::response::ResponseFault;
use crate::{request, response};

/// A message under way.
///
/// While [`Message::head`] is not there: read into [`Message::space`], tell how much with [`Message::filled`], and ask
/// [`Message::parse_request`] or [`Message::parse_response`]. From then on [`Message::data`] is the part of the body that is
/// here; [`Message::consume`] it, and when it is empty and the body has not [ended](Message::has_ended), read more.
#[derive(Debug, Default)]
pub struct Message {
    head: Head,
    /// A buffer for the body alone, if the head has to stay.
    block: Option<Box<[u8]>>,
    framing: Framing,
    body: Body,
    trailers: Option<Box<ChunkedDecoder>>,
    /// How much of the current buffer has come.
    filled: usize,
    /// Where what has not been decoded begins: the head, or raw bytes of the body.
    raw: usize,
    /// Where the body begins in the head's buffer.
    body_start: usize,
    /// Decoded and not consumed: `raw` and `filled` lie behind it.
    data: (usize, usize),
    /// Up to here no line feed stands that the parser has not seen.
    seen: usize,
    is_head_known: bool,
    /// What was found wrong with the body; it stays so.
    fault: Option<BodyFault>,
}

/// What is still to come of a body.
#[derive(Debug, Default)]
enum Body {
    /// Nothing.
    #[default]
    Ended,
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Message {
    /// A message that comes into `buffer`, which is at most 4 GiB long; 64 KiB hold any head.
    pub fn new(buffer: Box<[u8]>) -> Self {
        Self { head: Head::new(buffer), ..Self::default() }
    }

    /// Ready for another message, with the same memory.
    pub fn reset(&mut self) {
        self.head.clear();
        self.block = None;
        self.framing = Framing::None;
        self.body = Body::Ended;
        self.trailers = None;
        (self.filled, self.raw, self.data, self.seen) = (0, 0, (0, 0), 0);
        self.body_start = 0;
        (self.is_head_known, self.fault) = (false, None);
    }

    /// Where the next bytes go. Empty if there is no room: a longer buffer is needed then.
    pub fn space(&mut self) -> &mut [u8] {
        let filled = self.filled;
        self.buffer_mut().get_mut(filled..).unwrap_or_default()
    }

    /// Notes that `count` bytes have been put into [`Message::space`].
    pub fn filled(&mut self, count: usize) {
        self.filled = self.buffer().len().min(self.filled + count);
    }

    /// Whether what has come fills the buffer.
    pub fn is_full(&self) -> bool {
        self.filled == self.buffer().len()
    }

    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// All bytes that have come, while there is no head.
    pub fn received(&self) -> &[u8] {
        self.buffer().get(..self.filled).unwrap_or_default()
    }

    /// Length of the buffer for the head.
    pub fn capacity(&self) -> usize {
        self.head.buffer.len()
    }

    /// Puts the message's beginning into a longer `buffer`, and yields the old one.
    pub fn grow(&mut self, mut buffer: Box<[u8]>) -> Box<[u8]> {
        let length = self.filled.min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), self.head.buffer.get(..length)) {
            to.copy_from_slice(from);
        }
        std::mem::replace(&mut self.head.buffer, buffer)
    }

    /// Whether the head is there.
    pub fn is_head_known(&self) -> bool {
        self.is_head_known
    }

    /// Reads the head of a request. False if more bytes are needed.
    ///
    /// # Errors
    /// If it is to be refused. The start line is in [`Message::head`] as far as it was read.
    pub fn parse_request(&mut self) -> Result<bool, Refusal> {
        if !self.has_new_line(crate::HEAD_BYTES_MAX) {
            return Ok(false);
        }
        let parsed = request::parse(&mut self.head, self.filled)?;
        Ok(self.begin_body(parsed))
    }

    /// Reads the head of the response to a request, `to_head` if that was a HEAD. False if more bytes are needed.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn parse_response(&mut self, to_head: bool) -> Result<bool, ResponseFault> {
        if !self.has_new_line(crate::HEAD_BYTES_MAX) {
            return Ok(false);
        }
        let parsed = response::parse(&mut self.head, self.filled, to_head)?;
        Ok(self.begin_body(parsed))
    }

    /// Whether a line has been ended since the last look, or there are too many bytes: only then parsing can say anything new.
    fn has_new_line(&mut self, limit: usize) -> bool {
        let seen = std::mem::replace(&mut self.seen, self.filled);
        let new = self.head.buffer.get(seen..self.filled).unwrap_or_default();
        // The parser looks for a line by itself; only looking again and again has to be spared.
        seen == 0 || self.filled > limit || memchr::memchr(b'\n', new).is_some()
    }

    fn begin_body(&mut self, parsed: Option<(usize, Framing)>) -> bool {
        let Some((end, framing)) = parsed else { return false };
        self.raw = end;
        self.body_start = end;
        self.data = (end, end);
        self.is_head_known = true;
        self.expect(framing);
        // Told to whoever reads the body.
        let _ = self.decode();
        true
    }

    fn expect(&mut self, framing: Framing) {
        self.framing = framing;
        self.body = match framing {
            Framing::None | Framing::Length(0) => Body::Ended,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(ChunkedDecoder::new(self.head.count())),
            Framing::UntilClose => Body::UntilClose,
        };
    }

    /// Forgets an informational response: what follows it is the head to be read.
    pub fn skip_informational(&mut self) {
        let raw = self.raw.min(self.filled);
        self.head.buffer.copy_within(raw..self.filled, 0);
        let filled = self.filled - raw;
        self.reset();
        self.filled = filled;
    }

    /// Takes all that comes from now on for the body: the two sides have agreed on another protocol.
    pub fn become_tunnel(&mut self) {
        self.expect(Framing::UntilClose);
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The head, to be changed.
    pub fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }

    /// How the body's end is told.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The part of the body that is here.
    pub fn data(&self) -> &[u8] {
        self.buffer().get(self.data.0..self.data.1).unwrap_or_default()
    }

    /// Whether the end of the body has come; some of it may still be in [`Message::data`].
    pub fn has_ended(&self) -> bool {
        matches!(self.body, Body::Ended)
    }

    /// Whether the end of the body has come and all of it was consumed.
    pub fn is_complete(&self) -> bool {
        self.has_ended() && self.data.0 == self.data.1
    }

    /// Bytes of the body that are certain to come behind [`Message::data`], for a body of known length.
    pub fn remaining(&self) -> u64 {
        match self.body {
            Body::Length(length) => length,
            _ => 0,
        }
    }

    /// Notes that `count` bytes of a body of known length went another way.
    pub fn pass_by(&mut self, count: u64) {
        if let Body::Length(length) = &mut self.body {
            *length = length.saturating_sub(count);
            if *length == 0 {
                self.body = Body::Ended;
            }
        }
    }

    /// Decodes what has come, if all that was decoded before is consumed.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(&mut self) -> Result<(), BodyFault> {
        if self.fault.is_none() {
            self.fault = self.decode_next().err();
        }
        self.fault.map_or(Ok(()), Err)
    }

    fn decode_next(&mut self) -> Result<(), BodyFault> {
        let (start, end) = (self.raw, self.filled);
        if self.data.0 != self.data.1 || start >= end {
            return Ok(());
        }
        let decoded = match &mut self.body {
            Body::Ended => return Ok(()),
            Body::UntilClose => end - start,
            Body::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(end - start);
                *left -= length as u64;
                length
            }
            Body::Chunked(decoder) => {
                let buffer = self.block.as_mut().unwrap_or(&mut self.head.buffer);
                let decoded = decoder.decode(buffer.get_mut(start..end).unwrap_or_default())?;
                self.raw = start + decoded.consumed;
                self.data = (start, start + decoded.data);
                if decoder.is_done() {
                    self.end_body();
                }
                return Ok(());
            }
        };
        (self.raw, self.data) = (start + decoded, (start, start + decoded));
        if matches!(self.body, Body::Length(0)) {
            self.end_body();
        }
        Ok(())
    }

    fn end_body(&mut self) {
        if let Body::Chunked(decoder) = std::mem::take(&mut self.body) {
            self.trailers = Some(decoder).filter(|decoder| decoder.fields().next().is_some()).map(Box::new);
        }
    }

    /// Fields that followed the last chunk: names in lower case, and values without blanks around them.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.trailers.iter().flat_map(|decoder| decoder.fields())
    }

    /// Consumes `count` bytes of [`Message::data`].
    pub fn consume(&mut self, count: usize) {
        self.data.0 = self.data.1.min(self.data.0 + count);
    }

    /// Whether all of the body has room behind the head, so that it may come into the same buffer, and stay.
    pub fn fits_in_place(&self) -> bool {
        let Framing::Length(length) = self.framing else { return false };
        let room = self.head.buffer.len().saturating_sub(self.body_start);
        self.block.is_none() && usize::try_from(length).is_ok_and(|length| length <= room)
    }

    /// What has come of a body that [fits](Message::fits_in_place), consumed or not.
    pub fn body_in_place(&self) -> &[u8] {
        self.head.buffer.get(self.body_start..self.raw).unwrap_or_default()
    }

    /// Has [`Message::data`] begin with the first byte of a body that [fits](Message::fits_in_place).
    pub fn read_body_again(&mut self) {
        self.data = (self.body_start, self.raw);
    }

    /// How long head and body are together, if that is known.
    pub fn length(&self) -> Option<u64> {
        let Framing::Length(length) = self.framing else { return None };
        Some(length.saturating_add(self.body_start as u64))
    }

    /// Whether there is a block to read the body into.
    pub fn has_block(&self) -> bool {
        self.block.is_some()
    }

    /// Reads the rest of the body into `block`, once [`Message::data`] is consumed.
    pub fn give_block(&mut self, block: Box<[u8]>) {
        self.block = Some(block);
        self.rewind();
    }

    /// The block, when nothing in it is needed any more.
    pub fn take_block(&mut self) -> Option<Box<[u8]>> {
        let block = self.block.take()?;
        // The head's own buffer has no room.
        let end = self.head.buffer.len();
        (self.filled, self.raw, self.data) = (end, end, (end, end));
        Some(block)
    }

    /// The buffer of the head, when neither head nor [`Message::data`] are needed any more.
    pub fn take_head_buffer(&mut self) -> Box<[u8]> {
        self.head.clear();
        self.rewind();
        std::mem::take(&mut self.head.buffer)
    }

    /// Makes the whole buffer free, once [`Message::data`] is consumed: the head is gone then, unless there is a block.
    pub fn rewind(&mut self) {
        if self.block.is_none() {
            // Its lines would be read from what comes next.
            self.head.clear();
        }
        (self.filled, self.raw, self.data) = (0, 0, (0, 0));
    }

    /// Notes that no further bytes come.
    ///
    /// # Errors
    /// If the body has not ended.
    pub fn closed(&mut self) -> Result<(), BodyFault> {
        self.decode()?;
        match self.body {
            Body::Ended => Ok(()),
            Body::UntilClose => {
                self.body = Body::Ended;
                Ok(())
            }
            Body::Length(_) | Body::Chunked(_) => Err(BodyFault::BrokenOff),
        }
    }

    /// Bytes that came behind the end of the message.
    pub fn leftover(&self) -> &[u8] {
        self.buffer().get(self.raw..self.filled).unwrap_or_default()
    }

    fn buffer(&self) -> &[u8] {
        self.block.as_ref().unwrap_or(&self.head.buffer)
    }

    fn buffer_mut(&mut self) -> &mut [u8] {
        self.block.as_mut().unwrap_or(&mut self.head.buffer)
    }
}
