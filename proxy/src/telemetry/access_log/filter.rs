//! Which requests a log has: its filter, evaluated on what is known of a request when it is over. Attributes are made when the
//! expression reads them. What can't be evaluated, for lack of an attribute or for any other reason, is not logged.
//! Source: Envoy, "Attributes" and the CEL filter of access logs.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cel::common::traits::{Comparer, Container, Indexer};
use cel::common::types::{CelBool, CelInt, CelString, CelUInt, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, Value};
use config_model::model::LogFilter;

use super::record::{AccessRecord, Address};
use super::value::{Head, field, protocol};

/// What expressions may call.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // The name is free, as a test shows.
    let _ = cel::add_overload!(environment, fn duration: (CelString<'_>) -> Result<Span>, name = "duration");
    Arc::new(environment)
});

/// Whether a log with this filter has a line for `record`.
pub(super) fn takes(filter: &LogFilter, record: &AccessRecord<'_>) -> bool {
    let attributes = Attributes(record);
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    context.set_variable_resolver(&attributes);
    matches!(filter.program().execute(&context), Ok(Value::Bool(true)))
}

/// The variables of an expression.
struct Attributes<'r>(&'r AccessRecord<'r>);

/// Attributes that have a name in common.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Request,
    Response,
    Connection,
    Source,
    Destination,
    Upstream,
    Xds,
    /// The fields of a head, by their names in lower case.
    Headers(Head),
}

impl VariableResolver for Attributes<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let kind = match variable {
            "request" => Kind::Request,
            "response" => Kind::Response,
            "connection" => Kind::Connection,
            "source" => Kind::Source,
            "destination" => Kind::Destination,
            "upstream" => Kind::Upstream,
            "xds" => Kind::Xds,
            _ => return None,
        };
        Some(CowVal::owned(Group { kind, record: self.0 }))
    }
}

/// `request` and the like, and the fields of a head.
#[derive(Clone, Copy)]
struct Group<'r> {
    kind: Kind,
    record: &'r AccessRecord<'r>,
}

/// The value of an attribute.
enum Attribute<'r> {
    Text(Cow<'r, str>),
    Number(i64),
    Count(u64),
    Truth(bool),
    Span(Span),
    Group(Group<'r>),
}

impl<'r> Attribute<'r> {
    /// A text, unless there is none.
    fn bytes(bytes: &'r [u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self::Text(String::from_utf8_lossy(bytes)))
    }

    fn number(number: impl TryInto<i64>) -> Option<Self> {
        number.try_into().ok().map(Self::Number)
    }

    fn address(address: Option<Address<'r>>) -> Option<Self> {
        Some(Self::Text(match address? {
            Address::Ip(address) => Cow::Owned(address.to_string()),
            Address::Written(_, text) | Address::Unix(text) => Cow::Borrowed(text),
        }))
    }

    fn port(address: Option<Address<'r>>) -> Option<Self> {
        address?.ip_and_port().map(|address| Self::Number(address.port().into()))
    }

    fn boxed<'v>(self) -> Box<dyn Val + 'v>
    where
        'r: 'v,
    {
        match self {
            Self::Text(Cow::Borrowed(text)) => Box::new(CelString::from(text)),
            Self::Text(Cow::Owned(text)) => Box::new(CelString::from(text)),
            Self::Number(number) => Box::new(CelInt::from(number)),
            Self::Count(count) => Box::new(CelUInt::from(count)),
            Self::Truth(truth) => Box::new(CelBool::from(truth)),
            Self::Span(span) => Box::new(span),
            Self::Group(group) => Box::new(group),
        }
    }
}

impl<'r> Group<'r> {
    fn attribute(&self, name: &str) -> Option<Attribute<'r>> {
        let text = |text: Option<&'r str>| text.map(|text| Attribute::Text(Cow::Borrowed(text)));
        let record = self.record;
        match (self.kind, name) {
            (Kind::Headers(head), _) => {
                field(head, name, record).map(|value| Attribute::Text(String::from_utf8_lossy(value)))
            }
            (Kind::Request, _) => self.of_request(name),
            (Kind::Response, "code") => Some(Attribute::Number(record.status.into())).filter(|_| record.status != 0),
            (Kind::Response, "code_details") => text(record.details),
            (Kind::Response, "flags") => Attribute::number(record.flags.as_envoy_has_them()),
            (Kind::Response, "size") => Attribute::number(record.bytes_sent),
            (Kind::Response, "headers") => Some(self.headers(Head::Response)),
            (Kind::Connection, "mtls") => Some(Attribute::Truth(record.has_client_certificate)),
            (Kind::Connection, "requested_server_name") => text(record.server_name),
            (Kind::Source, "address") => Attribute::address(record.downstream_remote_address),
            (Kind::Source, "port") => Attribute::port(record.downstream_remote_address),
            (Kind::Destination, "address") => Attribute::address(record.downstream_local_address),
            (Kind::Destination, "port") => Attribute::port(record.downstream_local_address),
            (Kind::Upstream, "address") => text(record.upstream_host),
            (Kind::Upstream, "port") => {
                Attribute::number(record.upstream_host?.rsplit_once(':')?.1.parse::<u16>().ok()?)
            }
            (Kind::Upstream, "local_address") => Attribute::address(record.upstream_local_address),
            (Kind::Upstream, "request_attempt_count") => Some(Attribute::Count(record.attempt_count.into())),
            (Kind::Upstream, "transport_failure_reason") => text(record.upstream_transport_failure_reason),
            (Kind::Xds, "cluster_name") => text(record.upstream_cluster),
            (Kind::Xds, "route_name") => text(record.route_name),
            _ => None,
        }
    }

    fn headers(&self, head: Head) -> Attribute<'r> {
        Attribute::Group(Self { kind: Kind::Headers(head), record: self.record })
    }

    fn of_request(&self, name: &str) -> Option<Attribute<'r>> {
        let record = self.record;
        let header = |name: &str| Attribute::bytes(field(Head::Request, name, record)?);
        let (path, query) = match record.path.iter().position(|byte| *byte == b'?') {
            Some(place) => (record.path.get(..place)?, record.path.get(place + 1..)?),
            None => (record.path, &[][..]),
        };
        match name {
            "path" => Attribute::bytes(record.path),
            "url_path" => Attribute::bytes(path),
            "query" if !record.path.is_empty() => Some(Attribute::Text(String::from_utf8_lossy(query))),
            "host" => Attribute::bytes(record.authority),
            "scheme" => Attribute::bytes(record.scheme.as_bytes()),
            "method" => Attribute::bytes(record.method),
            "referer" => header("referer"),
            "useragent" => header("user-agent"),
            "id" => header("x-request-id"),
            "protocol" => protocol(record.protocol).map(|protocol| Attribute::Text(Cow::Borrowed(protocol))),
            "headers" => Some(self.headers(Head::Request)),
            "duration" => Some(Attribute::Span(Span(record.duration?))),
            "size" => {
                let said =
                    field(Head::Request, "content-length", record).and_then(|said| std::str::from_utf8(said).ok());
                let said = said.and_then(|said| said.parse::<i64>().ok());
                said.map(Attribute::Number).or_else(|| Attribute::number(record.bytes_received))
            }
            _ => None,
        }
    }
}

static GROUP: Type = Type::new_unspecified_type("attributes");

impl fmt::Debug for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Val for Group<'_> {
    fn get_type(&self) -> &Type {
        &GROUP
    }

    fn cel_type() -> &'static Type {
        &GROUP
    }

    fn as_container(&self) -> Option<&dyn Container> {
        match self.kind {
            Kind::Headers(_) => Some(self),
            _ => None,
        }
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Container for Group<'_> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.attribute(text_of(name)?).is_some())
    }
}

impl Indexer for Group<'_> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = text_of(name)?;
        let attribute = self.attribute(name).ok_or_else(|| ExecutionError::no_such_key(name))?;
        Ok(CowVal::Owned(attribute.boxed()))
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

fn text_of(name: &dyn Val) -> Result<&str, ExecutionError> {
    let text: Option<&CelString<'_>> = name.downcast_ref();
    text.map(CelString::inner).ok_or_else(|| ExecutionError::UnexpectedType {
        got: name.get_type().name().to_owned(),
        want: "string".to_owned(),
    })
}

/// A time that something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span(Duration);

static SPAN: Type = Type::new_unspecified_type("google.protobuf.Duration");

/// `duration("1.5s")`
fn duration(text: &CelString<'_>) -> Result<Span, ExecutionError> {
    let refused = || ExecutionError::function_error("duration", "must be a time such as 1.5s");
    let parsed = config_model::decode::Duration::from_str(text.inner()).map_err(|()| refused())?;
    u64::try_from(parsed.nanoseconds).map(|nanoseconds| Span(Duration::from_nanos(nanoseconds))).map_err(|_| refused())
}

impl Val for Span {
    fn get_type(&self) -> &Type {
        &SPAN
    }

    fn cel_type() -> &'static Type {
        &SPAN
    }

    fn as_comparer(&self) -> Option<&dyn Comparer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>() == Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Span {}

impl Comparer for Span {
    fn compare(&self, other: &dyn Val) -> Result<Ordering, ExecutionError> {
        let other: Option<&Self> = other.downcast_ref();
        other.map(|other| self.cmp(other)).ok_or_else(|| ExecutionError::UnexpectedType {
            got: "another type".to_owned(),
            want: "duration".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answered, headers, record};
    use super::*;
    use crate::telemetry::Flags;

    fn takes(expression: &str, record: &AccessRecord<'_>) -> bool {
        super::takes(&LogFilter::parse(expression).unwrap(), record)
    }

    #[test]
    fn an_expression_decides_by_what_is_known_of_the_request() {
        let request =
            headers(&[("user-agent", "probe/1"), ("x-user", "ann"), ("referer", "r"), ("x-request-id", "id")]);
        let response = headers(&[("x-version", "v2")]);
        let record = AccessRecord {
            has_client_certificate: true,
            server_name: Some("shop.example"),
            upstream_transport_failure_reason: Some("reset"),
            flags: Flags::NO_CLUSTER_FOUND | Flags::DOWNSTREAM_CONNECTION_TERMINATION,
            ..answered(&request, &response)
        };
        for expression in [
            "true",
            "response.code >= 200 && response.code < 300",
            "request.path == '/logged?x=1'",
            "request.url_path == '/logged' && request.query == 'x=1'",
            "request.url_path.startsWith('/log') && request.path.contains('?') && request.path.endsWith('1')",
            "request.path.matches('^/lo.*x=[0-9]$')",
            "request.method == 'POST' && request.host == 'log.example' && request.scheme == 'http'",
            "request.useragent == 'probe/1' && request.referer == 'r' && request.id == 'id'",
            "request.protocol == 'HTTP/1.1'",
            "request.headers['x-user'] == 'ann' && request.headers[':path'] == request.path",
            "has(request.headers.host) && 'x-user' in request.headers && !('x-gone' in request.headers)",
            "request['headers']['x-user'] == 'ann'",
            "response.headers['x-version'] in ['v1', 'v2']",
            "request.size == 5 && response.size == 812",
            "request.duration > duration('7ms') && request.duration < duration('0.008s')",
            "duration('1m') == duration('60s')",
            "response.code_details == 'via_upstream'",
            "response.flags == 16777216 + 16384",
            "connection.mtls && connection.requested_server_name == 'shop.example'",
            "source.address == '10.1.2.3:0' && source.port == 0",
            "destination.address == '127.0.0.1:8080' && destination.port == 8080",
            "upstream.address == '127.0.0.31:9080' && upstream.port == 9080",
            "upstream.local_address == '127.0.0.1:40000' && upstream.request_attempt_count == 1u",
            "upstream.transport_failure_reason == 'reset'",
            "xds.cluster_name == 'outbound|9080||one.default.svc.cluster.local' && xds.route_name == 'default'",
            "has(request.useragent) && !has(request.gone)",
            "request.gone == 'x' || true",
            "response.code == 200 ? true : false",
            "[200, 404].exists(code, code == response.code)",
        ] {
            assert!(takes(expression, &record), "{expression}");
        }
    }

    #[test]
    fn what_is_false_or_cannot_be_evaluated_is_not_logged() {
        let bare = record();
        for expression in [
            "false",
            "response.code >= 400",
            "response.code",
            "'true'",
            "request.useragent == 'x'",
            "request.headers['gone'] == ''",
            "nobody.knows",
            "1 / 0 == 1",
            "request.path > 1",
            "request.path.matches('(')",
            "size(request) > 0",
            "duration('x') == duration('y')",
            "request.duration > 1",
        ] {
            assert!(!takes(expression, &bare), "{expression}");
        }
        assert!(takes("!has(response.code)", &bare));
    }
}
