//! A second reader of HTTP/1.1, to hold the engine to. It shares nothing with it: it was written from RFC 9112 and from
//! PROMISES.md, sections 2 and 3, takes one byte after the other, copies whatever it meets, and is in no hurry.
//!
//! It says of any bytes that they are a message, that more of them are needed, or that they are refused, and looks at a line
//! of the head or of the trailers when it is there whole. It is as strict as the RFC, with these differences, all of them the
//! engine's too:
//!
//! - Stricter, by PROMISES.md: one length or one coding and never both, 18 digits of a length, 16 of a chunk's size, no line
//!   folding, no bare line feed, the limits; fields about length are judged even if the message has no body, and no blank may
//!   stand before a chunk's extension.
//! - Wider: the inside of a chunk's extension is any text; the reason of a response may be missing with its blank; a status
//!   is any number from 100 to 999. What form a target has, and whether Host is a name, is for whoever routes the message.

/// Start line and fields, all of it. Source: PROMISES.md, section 2.
const HEAD_MAX: usize = 60 * 1024;
/// Fields, trailers included. Source: PROMISES.md, section 2.
const FIELDS_MAX: usize = 100;
/// Extensions of all chunks. Source: PROMISES.md, section 3.
const EXTENSIONS_MAX: usize = 256;

/// Why reading stopped before the end of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    More,
    Refused(&'static str),
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    None,
    Bytes(u64),
    Chunks,
    UntilClose,
}

pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Method and target; or status and reason.
pub(crate) type Start = (Vec<u8>, Vec<u8>);

/// A message whose head was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) start: Start,
    /// Of HTTP/1.
    pub(crate) minor: u8,
    /// Names in lower case, values without blanks around them.
    pub(crate) fields: Fields,
    pub(crate) length: Length,
    /// As much as there is.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Whether the body came to its end.
    pub(crate) end: Result<(), Stop>,
    /// Bytes that belong to the message, if it came to its end.
    pub(crate) consumed: usize,
}

/// Reads a request.
pub(crate) fn request(bytes: &[u8]) -> Result<Message, Stop> {
    let mut reader = Reader { bytes, at: 0, limit: HEAD_MAX };
    let mut line = reader.line()?;
    if line.is_empty() {
        line = reader.line()?; // RFC 9112, 2.2: one empty line is ignored.
    }
    let (start, minor) = request_line(&line).ok_or(Stop::Refused("request line"))?;
    let fields = reader.fields(0)?;
    if fields.iter().filter(|(name, _)| name == b"host").count() > 1 {
        return Err(Stop::Refused("several hosts"));
    }
    if minor == 1 && !fields.iter().any(|(name, _)| name == b"host") {
        return Err(Stop::Refused("no host"));
    }
    let length = declared(&fields, minor)?.unwrap_or(Length::None);
    Ok(reader.finish(start, minor, fields, length))
}

/// Reads a response; `to_head` if it answers a HEAD.
pub(crate) fn response(bytes: &[u8], to_head: bool) -> Result<Message, Stop> {
    let mut reader = Reader { bytes, at: 0, limit: HEAD_MAX };
    let line = reader.line()?;
    let (start, minor) = status_line(&line).ok_or(Stop::Refused("status line"))?;
    let mut fields = reader.fields(0)?;
    let declared = declared(&fields, minor)?;
    let status = start.0.as_slice();
    let never_any = status.starts_with(b"1") || status == b"204";
    if never_any {
        // RFC 9110, 8.6, and RFC 9112, 6.1: such a response has neither; they are not passed on.
        fields.retain(|(name, _)| name != b"content-length" && name != b"transfer-encoding");
    }
    let length = match declared {
        _ if never_any || to_head || status == b"304" => Length::None,
        Some(length) => length,
        None => Length::UntilClose,
    };
    Ok(reader.finish(start, minor, fields, length))
}

/// RFC 9112, 3: method SP request-target SP HTTP-version.
fn request_line(line: &[u8]) -> Option<(Start, u8)> {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else { return None };
    let minor = version_minor(version)?;
    let target_is_visible = target.iter().all(|&byte| byte > 0x20 && byte < 0x7f && byte != b'#');
    (is_token(method) && !target.is_empty() && target_is_visible).then(|| ((method.to_vec(), target.to_vec()), minor))
}

/// RFC 9112, 4: HTTP-version SP status-code SP \[ reason-phrase \].
fn status_line(line: &[u8]) -> Option<(Start, u8)> {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let minor = version_minor(words.next()?)?;
    let status = words.next()?;
    let reason = words.next().unwrap_or_default();
    let is_status = status.len() == 3 && status[0] != b'0' && status.iter().all(u8::is_ascii_digit);
    (is_status && reason.iter().copied().all(may_be_in_value)).then(|| ((status.to_vec(), reason.to_vec()), minor))
}

fn version_minor(version: &[u8]) -> Option<u8> {
    match version {
        b"HTTP/1.0" => Some(0),
        b"HTTP/1.1" => Some(1),
        _ => None,
    }
}

/// RFC 9112, 5: field-name ":" OWS field-value OWS.
fn field(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, mut value) = (&line[..colon], &line[colon + 1..]);
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    (is_token(name) && value.iter().copied().all(may_be_in_value)).then(|| (name.to_ascii_lowercase(), value.to_vec()))
}

/// RFC 9110, 5.6.2.
fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// RFC 9110, 5.5: VCHAR, obs-text, SP, HTAB.
fn may_be_in_value(byte: u8) -> bool {
    byte == b'\t' || (0x20..=0x7e).contains(&byte) || byte >= 0x80
}

/// RFC 9112, 6.3, less everything that two readers could understand in two ways.
fn declared(fields: &Fields, minor: u8) -> Result<Option<Length>, Stop> {
    let of = |wanted: &[u8]| -> Vec<Vec<u8>> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.to_ascii_lowercase()).collect()
    };
    match (&of(b"content-length")[..], &of(b"transfer-encoding")[..]) {
        ([], []) => Ok(None),
        ([digits], []) if (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            let number = String::from_utf8_lossy(digits).parse().map_err(|_| Stop::Refused("length"))?;
            Ok(Some(Length::Bytes(number)))
        }
        ([], [coding]) if coding == b"chunked" && minor == 1 => Ok(Some(Length::Chunks)),
        _ => Err(Stop::Refused("length in doubt")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Reading on behind it is refused.
    limit: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = *self.bytes.get(self.at).ok_or(Stop::More)?;
        if self.at >= self.limit {
            return Err(Stop::Refused("too large"));
        }
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, wanted: u8, otherwise: &'static str) -> Result<(), Stop> {
        if self.byte()? == wanted { Ok(()) } else { Err(Stop::Refused(otherwise)) }
    }

    /// A line, ended by CR LF, without them.
    fn line(&mut self) -> Result<Vec<u8>, Stop> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(self.byte()?);
        }
        line.strip_suffix(b"\r\n").map(<[u8]>::to_vec).ok_or(Stop::Refused("bare line feed"))
    }

    /// Fields up to the empty line, of a message that has `before` already.
    fn fields(&mut self, before: usize) -> Result<Fields, Stop> {
        let mut fields = Fields::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            fields.push(field(&line).ok_or(Stop::Refused("field"))?);
            if before + fields.len() > FIELDS_MAX {
                return Err(Stop::Refused("too many fields"));
            }
        }
    }

    fn finish(mut self, start: Start, minor: u8, fields: Fields, length: Length) -> Message {
        let (mut body, mut trailers) = (Vec::new(), Fields::new());
        self.limit = usize::MAX;
        let end = match length {
            Length::None => Ok(()),
            Length::Bytes(count) => self.copy(count, &mut body),
            Length::Chunks => self.chunks(fields.len(), &mut body).map(|read| trailers = read),
            Length::UntilClose => self.copy(u64::MAX, &mut body),
        };
        Message { start, minor, fields, length, body, trailers, end, consumed: self.at }
    }

    fn copy(&mut self, count: u64, body: &mut Vec<u8>) -> Result<(), Stop> {
        for _ in 0..count {
            body.push(self.byte()?);
        }
        Ok(())
    }

    /// RFC 9112, 7.1. Yields the trailers.
    fn chunks(&mut self, fields: usize, body: &mut Vec<u8>) -> Result<Fields, Stop> {
        let mut extensions = 0;
        loop {
            let size = self.chunk_size(&mut extensions)?;
            if size == 0 {
                self.limit = self.at + HEAD_MAX;
                return self.fields(fields);
            }
            self.copy(size, body)?;
            self.expect(b'\r', "garbage after a chunk")?;
            self.expect(b'\n', "garbage after a chunk")?;
        }
    }

    fn chunk_size(&mut self, extensions: &mut usize) -> Result<u64, Stop> {
        let (mut size, mut digits) = (0, 0);
        let mut byte = self.byte()?;
        while byte.is_ascii_hexdigit() {
            digits += 1;
            if digits > 16 {
                return Err(Stop::Refused("digits of a chunk's size"));
            }
            size = size * 16 + u64::from(char::from(byte).to_digit(16).unwrap_or_default());
            byte = self.byte()?;
        }
        if digits == 0 || byte != b';' && byte != b'\r' {
            return Err(Stop::Refused("chunk's size"));
        }
        while byte != b'\r' {
            *extensions += 1;
            if *extensions > EXTENSIONS_MAX || !may_be_in_value(byte) {
                return Err(Stop::Refused("extension"));
            }
            byte = self.byte()?;
        }
        self.expect(b'\n', "bare carriage return")?;
        Ok(size)
    }
}
