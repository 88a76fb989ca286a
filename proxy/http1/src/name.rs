//! Names of fields that a proxy looks at, told by their length and then by one comparison.

/// A field's name, or the kind of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Name {
    /// Any name that is not below.
    Other,
    /// `connection`
    Connection,
    /// `content-length`
    ContentLength,
    /// `content-type`
    ContentType,
    /// `cookie`
    Cookie,
    /// `date`
    Date,
    /// `expect`
    Expect,
    /// `grpc-status`
    GrpcStatus,
    /// `host`
    Host,
    /// `keep-alive`, `proxy-connection`, `http2-settings`: for one hop only.
    OneHop,
    /// `origin`
    Origin,
    /// `server`
    Server,
    /// `te`
    Te,
    /// `transfer-encoding`
    TransferEncoding,
    /// `upgrade`
    Upgrade,
    /// `user-agent`
    UserAgent,
    /// `x-envoy-...`
    Envoy,
    /// `x-forwarded-client-cert`
    ForwardedClientCert,
    /// `x-forwarded-for`
    ForwardedFor,
    /// `x-forwarded-proto`
    ForwardedProto,
    /// `x-request-id`
    RequestId,
}

impl Name {
    /// The kind of `name`, which is in lower case.
    pub fn of(name: &[u8]) -> Self {
        let is = |known: &[u8], this| if name == known { this } else { Self::Other };
        let known = match name.len() {
            2 => is(b"te", Self::Te),
            4 => match name {
                b"host" => Self::Host,
                _ => is(b"date", Self::Date),
            },
            6 => match name {
                b"cookie" => Self::Cookie,
                b"origin" => Self::Origin,
                b"server" => Self::Server,
                _ => is(b"expect", Self::Expect),
            },
            7 => is(b"upgrade", Self::Upgrade),
            10 => match name {
                b"connection" => Self::Connection,
                b"user-agent" => Self::UserAgent,
                _ => is(b"keep-alive", Self::OneHop),
            },
            11 => is(b"grpc-status", Self::GrpcStatus),
            12 => match name {
                b"content-type" => Self::ContentType,
                _ => is(b"x-request-id", Self::RequestId),
            },
            14 => match name {
                b"content-length" => Self::ContentLength,
                _ => is(b"http2-settings", Self::OneHop),
            },
            15 => is(b"x-forwarded-for", Self::ForwardedFor),
            16 => is(b"proxy-connection", Self::OneHop),
            17 if name == b"transfer-encoding" => Self::TransferEncoding,
            17 if name == b"x-forwarded-proto" => Self::ForwardedProto,
            23 if name == b"x-forwarded-client-cert" => Self::ForwardedClientCert,
            _ => Self::Other,
        };
        if known == Self::Other && name.starts_with(b"x-envoy-") { Self::Envoy } else { known }
    }

    /// Whether it stands for several names.
    pub(crate) fn is_kind(self) -> bool {
        matches!(self, Self::Other | Self::OneHop | Self::Envoy)
    }

    /// This name as a set.
    pub const fn alone(self) -> Names {
        Names(1 << self as u8)
    }
}

/// A set of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Names(u32);

impl Names {
    /// Those that concern one connection only. Source: RFC 9110, 7.6.1.
    pub const HOP_BY_HOP: Self =
        Self::of(&[Name::Connection, Name::OneHop, Name::Te, Name::TransferEncoding, Name::Upgrade]);

    /// These and those.
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// All of `names`.
    pub const fn of(names: &[Name]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < names.len() {
            set |= names[at].alone().0;
            at += 1;
        }
        Self(set)
    }

    /// Whether `name` is in it.
    pub const fn has(self, name: Name) -> bool {
        self.0 & name.alone().0 != 0
    }

    /// Whether any of `others` is in it.
    pub const fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    pub(crate) fn add(&mut self, name: Name) {
        self.0 |= name.alone().0;
    }

    /// Adds `name` if it is in `known`.
    pub(crate) fn add_known(&mut self, name: Name, known: Self) {
        self.0 |= name.alone().0 & known.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_looked_at_is_told_and_no_other() {
        let table = [
            ("connection", Name::Connection),
            ("content-length", Name::ContentLength),
            ("content-type", Name::ContentType),
            ("cookie", Name::Cookie),
            ("date", Name::Date),
            ("expect", Name::Expect),
            ("grpc-status", Name::GrpcStatus),
            ("host", Name::Host),
            ("keep-alive", Name::OneHop),
            ("proxy-connection", Name::OneHop),
            ("http2-settings", Name::OneHop),
            ("origin", Name::Origin),
            ("server", Name::Server),
            ("te", Name::Te),
            ("transfer-encoding", Name::TransferEncoding),
            ("upgrade", Name::Upgrade),
            ("x-envoy-max-retries", Name::Envoy),
            ("x-envoy-retry-on", Name::Envoy),
            ("x-envoyage", Name::Other),
            ("x-forwarded-client-cert", Name::ForwardedClientCert),
            ("x-forwarded-for", Name::ForwardedFor),
            ("x-forwarded-proto", Name::ForwardedProto),
            ("x-request-id", Name::RequestId),
            ("user-agent", Name::UserAgent),
            ("transfer_encoding", Name::Other),
            ("", Name::Other),
        ];
        for (name, want) in table {
            assert_eq!(Name::of(name.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn a_set_has_what_was_added() {
        let mut names = Names::default();
        assert!(!names.has_any(Names::HOP_BY_HOP));
        names.add(Name::Te);
        assert!(names.has(Name::Te) && names.has_any(Names::HOP_BY_HOP) && !names.has(Name::Host));
    }
}
