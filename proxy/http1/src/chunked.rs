//! A body that comes in chunks, decoded in place. Source: RFC 9112, 7.1, without what other readers may read differently: a
//! line ends with CR LF, a size has at most 16 digits, and extensions are bounded.

use crate::refusal::BodyFault;
use crate::scan;
use crate::{FIELDS_MAX, HEAD_BYTES_MAX};

/// Extensions of one message, in sum. Source: PROMISES.md, section 3.
const EXTENSIONS_MAX: u16 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the size; so many digits have come.
    Size(u8),
    /// After the size, in extensions.
    Extension,
    /// The line feed after size or extensions is awaited.
    SizeEnd,
    /// In the data.
    Data,
    /// The carriage return after the data is awaited.
    DataReturn,
    /// The line feed after that is awaited.
    DataEnd,
    /// In the trailers.
    Trailers,
    /// All is there.
    Done,
}

/// What one call of [`ChunkedDecoder::decode`] made of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Bytes of data, now at the beginning of the input.
    pub data: usize,
}

/// The state between two calls.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    size: u64,
    extensions: u16,
    /// Whole lines, names in lower case, and the beginning of another; kept apart as hardly any message has any.
    trailers: Vec<u8>,
    line_start: u32,
    fields_left: u16,
}

impl ChunkedDecoder {
    /// A decoder for a message whose head has `fields` fields.
    pub fn new(fields: usize) -> Self {
        Self {
            state: State::Size(0),
            size: 0,
            extensions: 0,
            trailers: Vec::new(),
            line_start: 0,
            fields_left: FIELDS_MAX.saturating_sub(fields) as u16,
        }
    }

    /// Whether the last chunk and the trailers have come.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes what it can of `input`, and moves the data to its beginning.
    ///
    /// # Errors
    /// If it is malformed; what was decoded before is lost, as the message is not to be trusted.
    pub fn decode(&mut self, input: &mut [u8]) -> Result<Decoded, BodyFault> {
        let (mut at, mut data) = (0, 0);
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Data => {
                    let length = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - at);
                    if at != data {
                        input.copy_within(at..at + length, data);
                    }
                    (at, data) = (at + length, data + length);
                    self.size -= length as u64;
                    if self.size == 0 {
                        self.state = State::DataReturn;
                    }
                }
                State::Trailers => {
                    let rest = input.get(at..).unwrap_or_default();
                    at += self.trailers(rest)?;
                }
                State::Done => break,
                _ => {
                    self.state = self.step(byte)?;
                    at += 1;
                }
            }
        }
        Ok(Decoded { consumed: at, data })
    }

    /// One byte between the data of two chunks.
    fn step(&mut self, byte: u8) -> Result<State, BodyFault> {
        match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(BodyFault::ChunkSize);
                }
                self.size = self.size << 4 | u64::from(char::from(byte).to_digit(16).unwrap_or_default());
                Ok(State::Size(digits + 1))
            }
            (State::Size(1..), b'\r') | (State::Extension, b'\r') => Ok(State::SizeEnd),
            (State::Size(1..), b';') | (State::Extension, _) if !scan::is_control(byte) => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS_MAX { Err(BodyFault::Extensions) } else { Ok(State::Extension) }
            }
            (State::SizeEnd, b'\n') if self.size == 0 => Ok(State::Trailers),
            (State::SizeEnd, b'\n') => Ok(State::Data),
            (State::DataReturn, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::Size(0)),
            (State::DataReturn | State::DataEnd, _) => Err(BodyFault::ChunkEnd),
            _ => Err(BodyFault::ChunkSize),
        }
    }

    /// Takes lines up to the empty one that ends the message. Yields how many bytes of `input` they are.
    fn trailers(&mut self, input: &[u8]) -> Result<usize, BodyFault> {
        let length = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        let line = input.get(..length).unwrap_or_default();
        self.trailers.extend_from_slice(line);
        if self.trailers.len() > HEAD_BYTES_MAX {
            return Err(BodyFault::TrailersTooLarge);
        }
        if line.last() == Some(&b'\n') {
            let start = self.line_start as usize;
            let line = self.trailers.get_mut(start..).unwrap_or_default();
            if line == b"\r\n" {
                self.trailers.truncate(start);
                self.state = State::Done;
            } else {
                self.fields_left = self.fields_left.checked_sub(1).ok_or(BodyFault::TrailersTooLarge)?;
                check_trailer(line).ok_or(BodyFault::Trailer)?;
                self.line_start = self.trailers.len() as u32;
            }
        }
        Ok(length)
    }

    /// The trailers, once [`ChunkedDecoder::is_done`]: names in lower case, and values without blanks around them.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines = self.trailers.split_inclusive(|&byte| byte == b'\n');
        lines.filter_map(|line| {
            let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
            Some((name, value.get(1..)?.trim_ascii()))
        })
    }
}

/// Whether `line` is a field, ended by CR LF; its name is made lower case.
fn check_trailer(line: &mut [u8]) -> Option<()> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at_mut_checked(colon)?;
    if name.is_empty() || !name.iter().all(|&byte| scan::is_token(byte)) {
        return None;
    }
    name.make_ascii_lowercase();
    let value = value.strip_suffix(b"\r\n")?;
    (scan::value_end(value, 0) == value.len()).then_some(())
}
