//! A TLS ClientHello, as far as it tells where a connection goes: read without ending the TLS, strictly, and of a bounded length.
//! Sources: RFC 8446, 4.1.2 and 5.1; RFC 6066, 3 (server name). Start at [`read`].

use smallvec::SmallVec;

/// A ClientHello longer than this is none: those of today have some hundred bytes, with post-quantum keys two thousand.
pub(crate) const HELLO_MAX: usize = 16 * 1024;
/// Bytes of a record at most. Source: RFC 8446, 5.1.
const RECORD_MAX: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// A host has no more characters. Source: RFC 1035, 2.3.4.
const NAME_MAX: usize = 253;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The beginning of a ClientHello; more has to come.
    Incomplete,
    /// A whole one, and the server name that it asks for, in lower case.
    Complete(Option<Box<str>>),
    /// Nothing that TLS begins with.
    NotTls,
}

/// Reads the first bytes of a connection, of which there is at least one.
pub(crate) fn read(bytes: &[u8]) -> Hello {
    let mut message: SmallVec<[u8; 2048]> = SmallVec::new();
    let mut records = Reader(bytes);
    loop {
        match body_of(&message) {
            Some(Some(body)) => return client_hello(body).map_or(Hello::NotTls, Hello::Complete),
            Some(None) => {}
            None => return Hello::NotTls,
        }
        match record(&mut records) {
            Some(Some(fragment)) => message.extend_from_slice(fragment),
            Some(None) => return Hello::Incomplete,
            None => return Hello::NotTls,
        }
    }
}

/// Reads the first bytes of a connection that has no records, as QUIC's.
#[cfg(feature = "http3")]
pub(crate) fn read_message(bytes: &[u8]) -> Hello {
    match body_of(bytes) {
        Some(Some(body)) => client_hello(body).map_or(Hello::NotTls, Hello::Complete),
        Some(None) => Hello::Incomplete,
        None => Hello::NotTls,
    }
}

/// The next record's content. Nothing: this is no record of a handshake; nothing within: it isn't whole yet.
fn record<'b>(records: &mut Reader<'b>) -> Option<Option<&'b [u8]>> {
    let header = records.0;
    // What is here of the header has to fit, so that whatever isn't TLS is known at once.
    let fits = header.first().is_none_or(|&kind| kind == HANDSHAKE) && header.get(1).is_none_or(|&major| major == 3);
    if !fits || header.get(2).is_some_and(|&minor| minor > 4) {
        return None;
    }
    let mut rest = Reader(header.get(3..).unwrap_or_default());
    let Some(length) = rest.number(2) else { return Some(None) };
    if length == 0 || length > RECORD_MAX {
        return None;
    }
    let Some(fragment) = rest.take(length) else { return Some(None) };
    *records = rest;
    Some(Some(fragment))
}

/// The body of the ClientHello that `message` begins with. Nothing: it is another message; nothing within: it isn't whole yet.
fn body_of(message: &[u8]) -> Option<Option<&[u8]>> {
    if message.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
        return None;
    }
    let mut rest = Reader(message.get(1..).unwrap_or_default());
    match rest.number(3) {
        Some(length) if length > HELLO_MAX => None,
        Some(length) => Some(rest.take(length)),
        None => Some(None),
    }
}

/// The server name, if there is one; nothing if the body is malformed.
fn client_hello(body: &[u8]) -> Option<Option<Box<str>>> {
    let mut rest = Reader(body);
    let version = rest.number(2)?;
    rest.take(32)?;
    let session = rest.vector(1)?;
    let suites = rest.vector(2)?;
    let compressions = rest.vector(1)?;
    if version < 0x0300 || session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    if rest.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Reader(rest.vector(2)?);
    if !rest.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == usize::from(SERVER_NAME) {
            // Twice would let two readers see two names.
            if found.is_some() {
                return None;
            }
            found = Some(server_name(content)?);
        }
    }
    Some(found)
}

fn server_name(content: &[u8]) -> Option<Box<str>> {
    let mut content = Reader(content);
    let mut names = Reader(content.vector(2)?);
    let kind = names.number(1)?;
    let name = names.vector(2)?;
    let is_alone = content.0.is_empty() && names.0.is_empty();
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_valid = !name.is_empty() && name.len() <= NAME_MAX && name.iter().all(is_host);
    let text = std::str::from_utf8(name).ok().filter(|_| is_alone && is_valid && kind == usize::from(HOST_NAME))?;
    Some(text.to_ascii_lowercase().into())
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, length: usize) -> Option<usize> {
        Some(self.take(length)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    /// Bytes behind their length, which has `of_length` bytes.
    fn vector(&mut self, of_length: usize) -> Option<&'b [u8]> {
        let length = self.number(of_length)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(of_length: usize, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[4 - of_length..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, content)].concat()
    }

    fn name(name: &str) -> Vec<u8> {
        extension(SERVER_NAME, &vector(2, &[&[HOST_NAME][..], &vector(2, name.as_bytes())].concat()))
    }

    fn body(extensions: &[u8]) -> Vec<u8> {
        let head = [&[3, 3][..], &[7; 32], &vector(1, &[9; 32]), &vector(2, &[0x13, 1]), &vector(1, &[0])].concat();
        [head, vector(2, extensions)].concat()
    }

    /// The handshake message in records of at most `size` bytes.
    fn records(body: &[u8], size: usize) -> Vec<u8> {
        let message = [&[CLIENT_HELLO][..], &vector(3, body)].concat();
        message.chunks(size).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &vector(2, part)].concat()).collect()
    }

    fn complete(name: Option<&str>) -> Hello {
        Hello::Complete(name.map(Into::into))
    }

    #[test]
    fn the_server_name_is_found_in_lower_case_among_other_extensions() {
        let alpn = extension(16, &vector(2, &vector(1, b"h2")));
        let hello = records(&body(&[alpn, name("Shop.Example"), extension(43, &[2, 3, 4])].concat()), RECORD_MAX);
        assert_eq!(read(&hello), complete(Some("shop.example")));
        assert_eq!(read(&records(&body(&[]), RECORD_MAX)), complete(None));
        let old = body(&[]);
        assert_eq!(read(&records(&old[..old.len() - 2], RECORD_MAX)), complete(None), "without extensions at all");
    }

    #[test]
    fn what_is_no_client_hello_is_told_by_its_first_bytes() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x04",
            b"\x16\x03\x09",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\xff\xff",
            b"\x17",
        ] {
            assert_eq!(read(bytes), Hello::NotTls, "{bytes:?}");
        }
        assert_eq!(read(&[&[HANDSHAKE, 3, 1][..], &vector(2, &[2])].concat()), Hello::NotTls, "a ServerHello");
        assert_eq!(
            read(&[&[HANDSHAKE, 3, 1][..], &vector(2, &[1, 0xff, 0, 0])].concat()),
            Hello::NotTls,
            "far too long"
        );
    }

    #[test]
    fn a_hello_that_two_readers_could_read_in_two_ways_is_none() {
        let twice = [name("a.example"), name("b.example")].concat();
        let two = extension(0, &vector(2, &[&[0][..], &vector(2, b"a"), &[0][..], &vector(2, b"b")].concat()));
        for extensions in [twice, two, name(""), name("a b"), name("a\0b"), name(&"a".repeat(300)), extension(0, &[])] {
            assert_eq!(read(&records(&body(&extensions), RECORD_MAX)), Hello::NotTls, "{extensions:?}");
        }
        let mut behind = body(&name("a.example"));
        behind.push(0);
        assert_eq!(read(&records(&behind, RECORD_MAX)), Hello::NotTls);
    }

    proptest! {
        #[test]
        fn a_hello_is_incomplete_until_its_last_byte_however_it_is_cut(size in 1usize..600, padding in 0usize..900) {
            let padding = extension(21, &vec![0; padding]);
            let hello = records(&body(&[padding, name("a.example")].concat()), size);
            for end in 1..hello.len() {
                prop_assert_eq!(read(&hello[..end]), Hello::Incomplete, "{}", end);
            }
            let more = [&hello[..], b"more"].concat();
            prop_assert_eq!(read(&more), complete(Some("a.example")));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 1..400), place in 0usize..200, byte: u8) {
            read(&bytes);
            let mut hello = records(&body(&name("a.example")), RECORD_MAX);
            let place = place % hello.len();
            hello[place] = byte;
            if let Hello::Complete(Some(name)) = read(&hello) {
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || !byte.is_ascii_alphabetic()));
            }
        }
    }
}
