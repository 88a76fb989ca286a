//! Parameters of a query, decoded. Source: Envoy, `%QUERY_PARAM(x)%`.

use std::borrow::Cow;

/// The first parameter of `name` in the query of `path`; empty where it has no `=`. Names and values are compared and yielded decoded,
/// but for a plus sign, which stays one.
pub(super) fn parameter<'a>(path: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let start = path.iter().position(|byte| *byte == b'?')? + 1;
    path.get(start..)?.split(|byte| *byte == b'&').find_map(|parameter| {
        let mut parts = parameter.splitn(2, |byte| *byte == b'=');
        let is_named = decoded(parts.next()?) == name.as_bytes();
        is_named.then(|| decoded(parts.next().unwrap_or_default()))
    })
}

/// `text` with `%41` as `A`; what is no such escape stays as it is.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.first_chunk::<2>().filter(|_| *first == b'%').and_then(octet);
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    Cow::Owned(out)
}

fn octet(digits: &[u8; 2]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let [high, low] = *digits;
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts_and_escapes_are_decoded() {
        // As Envoy 1.40 does.
        for (path, want) in [
            ("/x?x=a+b%2Bc", Some("a+b+c")),
            ("/x?x", Some("")),
            ("/x?x=", Some("")),
            ("/x?y=1", None),
            ("/x", None),
            ("/x?", None),
            ("/x?x=1&x=2", Some("1")),
            ("/x?%78=k", Some("k")),
            ("/x?x=%zz", Some("%zz")),
            ("/x?x=%4", Some("%4")),
            ("/x?x=a=b", Some("a=b")),
            ("/x?X=1&&x=3", Some("3")),
        ] {
            let got = parameter(path.as_bytes(), "x");
            assert_eq!(got.as_deref().map(String::from_utf8_lossy).as_deref(), want, "{path}");
        }
        assert_eq!(parameter(b"/x?a%20b=6", "a b").as_deref(), Some(&b"6"[..]));
    }
}
