//! Path normalisation: how a path is forwarded, and the form that rules are compared with, so that no rule can be walked
//! around. Source: RFC 3986, 6.2.2, MeshConfig `pathNormalization`, and Envoy's documented order of its steps. Start at
//! [`normalize`].

use std::borrow::Cow;

use config_model::model::PathNormalization;

use crate::words;

/// A path that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalized<'p> {
    forwarded: Cow<'p, [u8]>,
    /// Only where it differs.
    matching: Option<Cow<'p, [u8]>>,
}

/// What a normalised path has of its own, apart from the text that it was made of. Nothing for most paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    forwarded: Option<Vec<u8>>,
    matching: Option<Vec<u8>>,
}

impl Changes {
    /// The path that was made of `sent`.
    pub fn of<'p>(&'p self, sent: &'p [u8]) -> Normalized<'p> {
        Normalized {
            forwarded: Cow::Borrowed(self.forwarded.as_deref().unwrap_or(sent)),
            matching: self.matching.as_deref().map(Cow::Borrowed),
        }
    }

    /// Whether what is forwarded is not what was sent.
    pub fn is_forwarded_changed(&self) -> bool {
        self.forwarded.is_some()
    }
}

impl Normalized<'_> {
    /// A path that is as it should be.
    pub fn unchanged(path: &[u8]) -> Normalized<'_> {
        Normalized { forwarded: Cow::Borrowed(path), matching: None }
    }

    /// Keeps what differs from the text that it was made of.
    pub fn into_changes(self) -> Changes {
        let forwarded = match self.forwarded {
            Cow::Owned(text) => Some(text),
            Cow::Borrowed(_) => None,
        };
        Changes { forwarded, matching: self.matching.map(Cow::into_owned) }
    }

    /// Keeps all of it, for use with another text than the one that it was made of.
    pub fn into_changes_of_other_text(self) -> Changes {
        let forwarded = Some(self.forwarded.into_owned());
        Changes { forwarded, matching: self.matching.map(Cow::into_owned) }
    }

    /// What the back end gets to see, unless the route rewrites it.
    pub fn forwarded(&self) -> &[u8] {
        &self.forwarded
    }

    /// What rules are compared with.
    pub fn matching(&self) -> &[u8] {
        self.matching.as_deref().unwrap_or(&self.forwarded)
    }

    /// Whether the path is not what was sent.
    pub fn is_changed(&self) -> bool {
        matches!(self.forwarded, Cow::Owned(_))
    }

    /// Length of the forwarded path's beginning that the first `length` bytes of the matching form stand for.
    pub fn forwarded_length(&self, length: usize) -> usize {
        if self.matching.is_none() {
            return length.min(self.forwarded.len());
        }
        let mut matched = 0;
        for (at, run) in runs(&self.forwarded) {
            if matched >= length {
                return at;
            }
            matched += run.matching_length();
            // Of several separators that count as one only the first has been seen.
            if let Run::Merged { first, .. } = run
                && matched >= length
            {
                return at + first;
            }
        }
        self.forwarded.len()
    }
}

/// Why a path is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A byte that cannot stand in a path: space, control, `#`, or beyond ASCII.
    #[error("the path contains the byte 0x{0:02x}")]
    Byte(u8),
    /// `%00`
    #[error("the path contains %00")]
    Nul,
    /// Decoding `%2f` or `%5c` would make a dot segment, or there is an escaped one with parameters.
    #[error("decoding escapes would make a dot segment")]
    HiddenDotSegment,
}

/// Normalises `path`, which has no query. Nothing is allocated where nothing changes.
pub fn normalize(path: &[u8], mode: PathNormalization) -> Result<Normalized<'_>, PathRefusal> {
    if is_plain(path) {
        return Ok(Normalized::unchanged(path));
    }
    let survey = survey(path)?;
    let decode = mode == PathNormalization::DecodeAndMergeSlashes && survey.encoded_slashes;
    if mode == PathNormalization::None || !(survey.rewrite || survey.doubled_slashes || survey.encoded_slashes) {
        return Ok(Normalized { forwarded: path.into(), matching: None });
    }
    let mut forwarded = match survey.rewrite || decode {
        true if survey.parameters => Cow::Owned(rewritten(&without_parameters(path, decode), decode)),
        true => Cow::Owned(rewritten(path, decode)),
        false => Cow::Borrowed(path),
    };
    let merge = matches!(mode, PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes);
    if merge && forwarded.windows(2).any(|pair| pair == b"//") {
        forwarded.to_mut().dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    }
    let matching = if mode == PathNormalization::Strict { strict(&forwarded)? } else { None };
    Ok(Normalized { forwarded, matching: matching.map(Cow::Owned) })
}

/// Whether `path` is of letters, digits and a few other characters, as most are, and has no empty segment and none that begins
/// with a dot: no mode changes it then. Eight bytes at a time; what is shorter is not looked at.
fn is_plain(path: &[u8]) -> bool {
    let (words, rest) = path.as_chunks();
    // The last word overlaps the one before.
    let last = path.last_chunk().filter(|_| !rest.is_empty());
    let mut behind_slash = 0;
    path.len() >= 8
        && path.starts_with(b"/")
        && words.iter().all(|bytes| is_plain_word(*bytes, &mut behind_slash))
        && last.is_none_or(|bytes| is_plain_word(*bytes, &mut 0))
}

/// Whether eight bytes of a path are plain. `behind_slash` has the high bit of the first if a slash is before it, and then that of
/// the byte that follows.
fn is_plain_word(bytes: [u8; 8], behind_slash: &mut u64) -> bool {
    let word = u64::from_le_bytes(bytes);
    let (slashes, dots) = (words::equal(word, b'/') & words::HIGH, words::equal(word, b'.'));
    let behind_slashes = slashes << 8 | *behind_slash;
    *behind_slash = slashes >> 56;
    let others = words::within(word, b'-', b'9') | words::equal(word, b'_');
    words::are_all(word, words::letters(word) | others) && behind_slashes & (slashes | dots) == 0
}

/// What is to be done about a path.
#[derive(Default)]
struct Survey {
    rewrite: bool,
    doubled_slashes: bool,
    encoded_slashes: bool,
    /// Of a dot segment, perhaps behind an encoded slash.
    parameters: bool,
}

/// What a byte of a path asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Backslash,
    Percent,
    /// No character of a URL: `"<>^{|}` and the backtick are written as escapes.
    Escape,
    Forbidden,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'\\' => Class::Backslash,
            b'%' => Class::Percent,
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Escape,
            0..=b' ' | b'#' | b'?' | 0x7f.. => Class::Forbidden,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

fn survey(path: &[u8]) -> Result<Survey, PathRefusal> {
    if path.first() != Some(&b'/') {
        return Err(PathRefusal::NotAbsolute);
    }
    let mut survey = Survey::default();
    let mut rest = path;
    // Most bytes are plain: they are passed over in runs.
    while let Some(at) = rest.iter().position(|&byte| class(byte) != Class::Plain)
        && let Some((&byte, after)) = rest.get(at..).and_then(<[u8]>::split_first)
    {
        rest = after;
        match class(byte) {
            Class::Plain => {}
            Class::Slash => match rest {
                [b'/', ..] => survey.doubled_slashes = true,
                [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => survey.rewrite = true,
                _ if dots_with_parameters(rest).is_some() => (survey.rewrite, survey.parameters) = (true, true),
                _ => {}
            },
            Class::Backslash | Class::Escape => survey.rewrite = true,
            Class::Percent => match decoded(rest) {
                Some(0) => return Err(PathRefusal::Nul),
                Some(b'/' | b'\\') => {
                    survey.encoded_slashes = true;
                    survey.parameters |= rest.get(2..).and_then(dots_with_parameters).is_some();
                }
                Some(byte) => survey.rewrite |= is_unreserved(byte),
                None => {}
            },
            Class::Forbidden => return Err(PathRefusal::Byte(byte)),
        }
    }
    Ok(survey)
}

/// The byte that two hexadecimal digits at the beginning of `digits` stand for.
fn decoded(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The dots that `segment` begins with, if parameters are behind them: some servers take `..;x` for `..`.
fn dots_with_parameters(segment: &[u8]) -> Option<&[u8]> {
    match segment {
        [b'.', b';', ..] => segment.get(..1),
        [b'.', b'.', b';', ..] => segment.get(..2),
        _ => None,
    }
}

/// `path` with dot segments that have no parameters. As in Envoy, dots that are escaped and segments behind backslashes are not looked
/// at; with `decode_slashes`, those between escaped slashes are.
fn without_parameters(path: &[u8], decode_slashes: bool) -> Vec<u8> {
    let slash = |text: &[u8]| match text {
        [b'/', ..] => 1,
        [b'%', b'2', b'f' | b'F', ..] if decode_slashes => 3,
        _ => 0,
    };
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while !rest.is_empty() {
        let end = (0..rest.len()).find(|&at| rest.get(at..).is_some_and(|text| slash(text) > 0)).unwrap_or(rest.len());
        let (segment, behind) = rest.split_at(end);
        let (separator, next) = behind.split_at(slash(behind));
        out.extend_from_slice(dots_with_parameters(segment).unwrap_or(segment));
        out.extend_from_slice(separator);
        rest = next;
    }
    out
}

/// `path` without needless escapes, backslashes and dot segments; with `decode_slashes`, without escaped slashes too.
fn rewritten(path: &[u8], decode_slashes: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 8);
    out.push(b'/');
    let mut rest = path.get(1..).unwrap_or_default();
    while let [byte, after @ ..] = rest {
        rest = after;
        match class(*byte) {
            Class::Slash | Class::Backslash => end_segment(&mut out, true),
            Class::Escape => push_escape(&mut out, *byte),
            Class::Percent => match decoded(after) {
                Some(b'/' | b'\\') if decode_slashes => {
                    rest = after.get(2..).unwrap_or_default();
                    end_segment(&mut out, true);
                }
                Some(decoded) if is_unreserved(decoded) && !completes_escape(&out, decoded) => {
                    rest = after.get(2..).unwrap_or_default();
                    out.push(decoded);
                }
                Some(_) => {
                    rest = after.get(2..).unwrap_or_default();
                    out.push(*byte);
                    out.extend_from_slice(after.get(..2).unwrap_or_default());
                }
                None => out.push(*byte),
            },
            Class::Plain | Class::Forbidden => out.push(*byte),
        }
    }
    end_segment(&mut out, false);
    out
}

/// Ends the last segment of `out`: a dot segment goes, and takes its parent along if it is two dots.
fn end_segment(out: &mut Vec<u8>, slash: bool) {
    let start = memchr::memrchr(b'/', out).map_or(0, |at| at + 1);
    match out.get(start..) {
        Some(b".") => out.truncate(start),
        Some(b"..") => {
            out.truncate(start.saturating_sub(1));
            let parent = memchr::memrchr(b'/', out).map_or(0, |at| at + 1);
            out.truncate(parent);
            if parent == 0 {
                out.push(b'/');
            }
        }
        _ if slash => out.push(b'/'),
        _ => {}
    }
}

/// Whether `byte` would make an escape of a stray percent sign at the end of `out`: `%%36%31` must not become `%61`.
fn completes_escape(out: &[u8], byte: u8) -> bool {
    let stray = matches!(out, [.., b'%'] | [.., b'%', b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F']);
    stray && byte.is_ascii_hexdigit()
}

/// Appends `byte` as `%XX`.
pub(crate) fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let digit = |value: u8| b"0123456789ABCDEF".get(usize::from(value)).copied().unwrap_or_default();
    out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
}

/// The stricter matching form of a normalised path, if it differs.
fn strict(path: &[u8]) -> Result<Option<Vec<u8>>, PathRefusal> {
    let mut segment = 0;
    let mut differs = false;
    for (at, run) in runs(path).filter(|(_, run)| *run != Run::Other) {
        refuse_dots(path.get(segment..at))?;
        segment = at + run.length();
        differs |= run.length() > run.matching_length();
    }
    refuse_dots(path.get(segment..))?;
    Ok(differs.then(|| merged(path)))
}

/// Refuses what has become a segment by taking escaped slashes for slashes, or escaped dots with parameters for dots.
fn refuse_dots(segment: Option<&[u8]>) -> Result<(), PathRefusal> {
    match segment {
        Some(b"." | b"..") => Err(PathRefusal::HiddenDotSegment),
        Some(segment) if dots_with_parameters(segment).is_some() => Err(PathRefusal::HiddenDotSegment),
        _ => Ok(()),
    }
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut merged = Vec::with_capacity(path.len());
    for (at, run) in runs(path) {
        let text = if let Run::Merged { .. } = run { Some(&b"/"[..]) } else { path.get(at..at + run.length()) };
        merged.extend_from_slice(text.unwrap_or_default());
    }
    merged
}

/// The separators of a path and the bytes between them, each with its place.
fn runs(path: &[u8]) -> impl Iterator<Item = (usize, Run)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let run = path.get(at..).filter(|rest| !rest.is_empty()).map(separators)?;
        at += run.length();
        Some((start, run))
    })
}

/// Separators, or a byte that is none, at the beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// Slashes, perhaps escaped ones among them, that are one slash for matching.
    Merged { first: usize, length: usize },
    /// Escaped slashes within a segment: data.
    Encoded { length: usize },
    /// One byte.
    Other,
}

impl Run {
    fn length(self) -> usize {
        match self {
            Self::Merged { length, .. } | Self::Encoded { length } => length,
            Self::Other => 1,
        }
    }

    fn matching_length(self) -> usize {
        if let Self::Merged { .. } = self { 1 } else { self.length() }
    }
}

fn separators(text: &[u8]) -> Run {
    let separator = |at: usize| match text.get(at..) {
        Some([b'/', ..]) => 1,
        Some([b'%', digits @ ..]) if matches!(decoded(digits), Some(b'/' | b'\\')) => 3,
        _ => 0,
    };
    let first = separator(0);
    let (mut length, mut slash) = (0, false);
    loop {
        match separator(length) {
            0 if length == 0 => return Run::Other,
            0 if slash => return Run::Merged { first, length },
            0 => return Run::Encoded { length },
            step => {
                slash |= step == 1;
                length += step;
            }
        }
    }
}

#[cfg(test)]
mod tests;
