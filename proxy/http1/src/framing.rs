//! How long a body is. Source: RFC 9112, 6.3, less what is ambiguous: one length or one coding, never both.

use crate::head::Head;
use crate::name::Name;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// It ends with the connection: answers without a length, and tunnels.
    UntilClose,
}

/// Why a framing is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// See [`crate::Refusal::Framing`].
    Ambiguous,
    /// See [`crate::Refusal::Coding`].
    UnknownCoding,
}

/// What the fields of `head` say; nothing if they say nothing.
pub(crate) fn of(head: &Head) -> Result<Option<Framing>, Doubt> {
    let names = head.names();
    match (names.has(Name::ContentLength), names.has(Name::TransferEncoding)) {
        (false, false) => Ok(None),
        (true, true) => Err(Doubt::Ambiguous),
        (true, false) => length(head).map(|length| Some(Framing::Length(length))).ok_or(Doubt::Ambiguous),
        (false, true) => coding(head).map(|()| Some(Framing::Chunked)),
    }
}

/// One field of one to eighteen digits.
fn length(head: &Head) -> Option<u64> {
    let digits = only(head, Name::ContentLength)?;
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

/// One field that says `chunked` and nothing else.
fn coding(head: &Head) -> Result<(), Doubt> {
    let value = only(head, Name::TransferEncoding).ok_or(Doubt::Ambiguous)?;
    let is_list = memchr::memchr(b',', value).is_some();
    match value {
        value if value.eq_ignore_ascii_case(b"chunked") => Ok(()),
        [] => Err(Doubt::Ambiguous),
        _ if is_list => Err(Doubt::Ambiguous),
        _ => Err(Doubt::UnknownCoding),
    }
}

/// The value of the only field of that name.
fn only(head: &Head, name: Name) -> Option<&[u8]> {
    if head.is_repeated(name) { None } else { head.values_of(name).next() }
}

/// The options that `Connection` fields name, without blanks, as they are written.
pub fn connection_options(head: &Head) -> impl Iterator<Item = &[u8]> {
    let fields = head.names().has(Name::Connection).then(|| head.values_of(Name::Connection));
    let items = fields.into_iter().flatten().flat_map(|value| value.split(|&byte| byte == b','));
    items.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_between_commas_and_in_any_field_of_the_name() {
        let mut head = Head::default();
        for (name, value) in [("connection", "close, X-Hop ,,\tupgrade"), ("x-hop", "a,b"), ("connection", "te")] {
            head.append(name.as_bytes(), value.as_bytes());
        }
        let options: Vec<&[u8]> = connection_options(&head).collect();
        assert_eq!(options, [&b"close"[..], b"X-Hop", b"upgrade", b"te"]);
    }
}
