//! Where a request wants to go: authority, path and query, read once from its head. Sources: RFC 9112, 3.2; PROMISES.md,
//! section 3.

use std::borrow::Cow;
use std::num::NonZeroU32;

use config_model::model::PathNormalization;
use http1::{Head, Name};
use routing::authority;
use routing::normalize::{Changes, Normalized, normalize};
use smallvec::SmallVec;

use super::head::Refusal;

/// Authority, path and query of a request. What the head has is not copied, but for the authority, which a rule may rewrite.
pub(crate) struct Target {
    authority: SmallVec<[u8; 40]>,
    /// Within the target as it was sent.
    path: (u32, u32),
    query: Option<NonZeroU32>,
    /// Nothing for most paths.
    changes: Option<Box<Changes>>,
    absolute: bool,
}

impl Target {
    /// Of a request that is refused before it was read: nothing is known.
    pub(super) fn unknown() -> Self {
        Self { authority: SmallVec::new(), path: (0, 0), query: None, changes: None, absolute: false }
    }

    /// Of a request that is refused: what stands there, for the log.
    pub(super) fn as_sent(head: &Head) -> Self {
        let authority = head.values_of(Name::Host).next().unwrap_or_default();
        Self { authority: authority.into(), path: (0, head.target().len() as u32), ..Self::unknown() }
    }

    /// Reads `head`.
    ///
    /// # Errors
    /// If the request can't be routed.
    pub(super) fn read(head: &Head, normalization: PathNormalization) -> Result<Self, Refusal> {
        if head.method() == b"CONNECT" {
            return Err(Refusal::NO_TUNNEL);
        }
        let sent = head.target();
        let origin = absolute_authority(sent)?;
        let authority = match origin {
            Some(authority) => authority,
            None => head.values_of(Name::Host).next().unwrap_or_default(),
        };
        authority::parse(authority).map_err(|_refused| Refusal::BAD_HOST)?;
        if origin.is_some() {
            look_at_host(head)?;
        }
        let start = origin.map_or(0, |authority| authority_end(sent, authority));
        let query = question_mark(sent.get(start..).unwrap_or_default()).map(|at| start + at);
        let path = (start, query.unwrap_or(sent.len()));
        let asterisk = sent == b"*" && head.method() == b"OPTIONS";
        let text: &[u8] = match sent.get(path.0..path.1).unwrap_or_default() {
            _ if asterisk => b"/",
            [] if origin.is_some() => b"/",
            text => text,
        };
        let normalized = normalize(text, normalization).map_err(|_refused| Refusal::BAD_PATH)?;
        let replaced = text.len() != path.1 - path.0 || asterisk;
        let changes = if replaced { normalized.into_changes_of_other_text() } else { normalized.into_changes() };
        Ok(Self {
            authority: SmallVec::from_slice(authority),
            // A head is at most 60 KiB long, and no target begins with its query.
            path: (path.0 as u32, path.1 as u32),
            query: query.and_then(|query| NonZeroU32::new(query as u32)),
            changes: Some(changes).filter(|changes| *changes != Changes::default()).map(Box::new),
            absolute: origin.is_some(),
        })
    }

    /// Host as sent, with its port; that of an absolute target goes first.
    pub(crate) fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// The path, as forwarded and as compared.
    pub(crate) fn path<'a>(&'a self, head: &'a Head) -> Normalized<'a> {
        let sent = head.target().get(self.path.0 as usize..self.path.1 as usize).unwrap_or_default();
        self.changes.as_ref().map_or(Normalized::unchanged(sent), |changes| changes.of(sent))
    }

    /// Without the question mark.
    pub(crate) fn query<'a>(&self, head: &'a Head) -> Option<&'a [u8]> {
        head.target().get(self.query?.get() as usize + 1..)
    }

    /// Whether the target of `head` was sent with the scheme of TLS.
    pub(super) fn says_https(&self, head: &Head) -> bool {
        const SCHEME: &[u8] = b"https:";
        self.absolute && head.target().get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    }

    /// Whether the target was sent in absolute form, so that its authority goes before Host.
    pub(super) fn is_absolute(&self) -> bool {
        self.absolute
    }

    fn is_forwarded_changed(&self) -> bool {
        self.changes.as_ref().is_some_and(|changes| changes.is_forwarded_changed())
    }

    /// Path and query as they are forwarded when no rule rewrites them.
    pub(super) fn text<'a>(&self, head: &'a Head) -> Cow<'a, [u8]> {
        if !self.is_forwarded_changed() {
            return Cow::Borrowed(head.target().get(self.path.0 as usize..).unwrap_or_default());
        }
        let mut text = Vec::new();
        self.write(head, &mut text);
        Cow::Owned(text)
    }

    /// Appends path and query as they are forwarded when no rule rewrites them.
    pub(super) fn write(&self, head: &Head, out: &mut Vec<u8>) {
        if !self.is_forwarded_changed() {
            // Path and query stand side by side.
            out.extend_from_slice(head.target().get(self.path.0 as usize..).unwrap_or_default());
            return;
        }
        out.extend_from_slice(self.path(head).forwarded());
        if let Some(query) = self.query(head) {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }
}

/// Host gives way to the authority of an absolute target, and yet has to be one.
#[cold]
fn look_at_host(head: &Head) -> Result<(), Refusal> {
    head.values_of(Name::Host)
        .try_for_each(|host| authority::parse(host).map(drop))
        .map_err(|_refused| Refusal::BAD_HOST)
}

/// The authority of a target in absolute form; nothing of one in another form.
fn absolute_authority(target: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    if target.first() == Some(&b'/') || target == b"*" {
        return Ok(None);
    }
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://")).ok_or(Refusal::BAD_PATH)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    Ok(rest.get(..end))
}

/// Where `authority`, which is a part of `target`, ends in it.
fn authority_end(target: &[u8], authority: &[u8]) -> usize {
    let scheme_end = memchr::memmem::find(target, b"://").map_or(0, |at| at + 3);
    scheme_end + authority.len()
}

/// Where the query begins. Most targets are short: a search that begins at once beats one that is fast in the long run.
fn question_mark(target: &[u8]) -> Option<usize> {
    const SHORT: usize = 32;
    if target.len() > SHORT {
        return memchr::memchr(b'?', target);
    }
    target.iter().position(|&byte| byte == b'?')
}

#[cfg(test)]
mod tests {
    use http1::Message;

    use super::*;

    /// Authority, path for matching, path and query to be forwarded; or the status of the refusal.
    fn read(line: &str, host: &str) -> Result<(String, String, String), u16> {
        let mut message = Message::new(vec![0; 4096].into());
        let text = format!("{line} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        message.space()[..text.len()].copy_from_slice(text.as_bytes());
        message.filled(text.len());
        assert!(message.parse_request().unwrap(), "{line}");
        let head = message.head();
        let target = Target::read(head, PathNormalization::Strict).map_err(|refusal| refusal.status)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut forwarded = Vec::new();
        target.write(head, &mut forwarded);
        Ok((text(target.authority()), text(target.path(head).matching()), text(&forwarded)))
    }

    #[test]
    fn a_target_is_read_in_each_of_its_forms() {
        let table = [
            ("GET /a?q=1", "x", "/a", "/a?q=1"),
            ("GET /a?", "x", "/a", "/a?"),
            ("GET //admin/./x?q=1", "x", "/admin/x", "//admin/x?q=1"),
            ("GET http://b.example:81/x?y", "b.example:81", "/x", "/x?y"),
            ("GET HTTP://b.example", "b.example", "/", "/"),
            ("GET https://b.example?y", "b.example", "/", "/?y"),
            ("OPTIONS *", "x", "/", "/"),
        ];
        for (line, authority, matching, forwarded) in table {
            let want = (authority.to_owned(), matching.to_owned(), forwarded.to_owned());
            assert_eq!(read(line, "x"), Ok(want), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_routed_is_refused_with_its_status() {
        let table = [
            ("GET /", "user@a.example", 400),
            ("GET /", "a/b", 400),
            ("GET /x%00", "a", 400),
            ("GET /x/..%2fadmin", "a", 400),
            ("GET *", "a", 400),
            ("GET a.example:80", "a", 400),
            ("GET ftp://a.example/", "a", 400),
            ("GET http:///x", "a", 400),
            ("GET http://a.example/x", "a b", 400),
            ("CONNECT a.example:80", "a.example:80", 404),
        ];
        for (line, host, status) in table {
            assert_eq!(read(line, host), Err(status), "{line} {host}");
        }
    }
}
