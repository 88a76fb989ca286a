//! Which fields of a head need a closer look, found in one walk over their names: a usual head has none of them, and costs
//! no look-up.

use http::header::{HeaderMap, HeaderName};

/// The fields that a head has, as far as anybody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Survey {
    present: u16,
    /// Whether some name stands there more than once.
    pub(super) repeated: bool,
}

/// A field, or a kind of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Field {
    /// `connection`
    Connection = 1,
    /// `te`
    Te = 1 << 1,
    /// `upgrade`
    Upgrade = 1 << 2,
    /// `transfer-encoding`
    TransferEncoding = 1 << 3,
    /// `keep-alive`, `proxy-connection`, `http2-settings`
    OneHop = 1 << 4,
    /// `content-length`
    ContentLength = 1 << 5,
    /// `content-type`
    ContentType = 1 << 6,
    /// `cookie`
    Cookie = 1 << 7,
    /// `expect`
    Expect = 1 << 8,
    /// `x-forwarded-for`
    ForwardedFor = 1 << 9,
    /// `x-forwarded-client-cert`
    ForwardedClientCert = 1 << 10,
    /// `x-envoy-...`
    Steering = 1 << 11,
}

impl Survey {
    /// Walks over the names of `headers`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let present = headers.keys().filter_map(field).fold(0, |present, field| present | field as u16);
        Self { present, repeated: headers.len() != headers.keys_len() }
    }

    /// Whether the head has such a field.
    pub(super) fn has(self, field: Field) -> bool {
        self.present & field as u16 != 0
    }

    /// Whether something concerns one connection only.
    pub(super) fn has_hop_by_hop(self) -> bool {
        let fields = [Field::Connection, Field::Te, Field::Upgrade, Field::TransferEncoding, Field::OneHop];
        self.present & fields.into_iter().fold(0, |mask, field| mask | field as u16) != 0
    }
}

fn field(name: &HeaderName) -> Option<Field> {
    let name = name.as_str();
    match name.len() {
        2 if name == "te" => Some(Field::Te),
        6 if name == "cookie" => Some(Field::Cookie),
        6 if name == "expect" => Some(Field::Expect),
        7 if name == "upgrade" => Some(Field::Upgrade),
        10 if name == "connection" => Some(Field::Connection),
        10 if name == "keep-alive" => Some(Field::OneHop),
        12 if name == "content-type" => Some(Field::ContentType),
        14 if name == "content-length" => Some(Field::ContentLength),
        14 if name == "http2-settings" => Some(Field::OneHop),
        15 if name == "x-forwarded-for" => Some(Field::ForwardedFor),
        16 if name == "proxy-connection" => Some(Field::OneHop),
        17 if name == "transfer-encoding" => Some(Field::TransferEncoding),
        23 if name == "x-forwarded-client-cert" => Some(Field::ForwardedClientCert),
        _ if name.starts_with("x-envoy-") => Some(Field::Steering),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_field_that_needs_a_look_is_found_and_no_other() {
        let table = [
            ("te", Some(Field::Te)),
            ("cookie", Some(Field::Cookie)),
            ("expect", Some(Field::Expect)),
            ("upgrade", Some(Field::Upgrade)),
            ("connection", Some(Field::Connection)),
            ("keep-alive", Some(Field::OneHop)),
            ("proxy-connection", Some(Field::OneHop)),
            ("http2-settings", Some(Field::OneHop)),
            ("content-type", Some(Field::ContentType)),
            ("content-length", Some(Field::ContentLength)),
            ("transfer-encoding", Some(Field::TransferEncoding)),
            ("x-forwarded-for", Some(Field::ForwardedFor)),
            ("x-forwarded-client-cert", Some(Field::ForwardedClientCert)),
            ("x-envoy-max-retries", Some(Field::Steering)),
            ("x-envoy-", Some(Field::Steering)),
            ("x-envoyage", None),
            ("host", None),
            ("user-agent", None),
        ];
        for (name, want) in table {
            assert_eq!(field(&name.parse().unwrap()), want, "{name}");
        }
    }

    #[test]
    fn a_repeated_name_is_noticed() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        assert!(!Survey::of(&headers).repeated);
        headers.append("x-a", HeaderValue::from_static("2"));
        assert!(Survey::of(&headers).repeated);
    }
}
