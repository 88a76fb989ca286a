//! Cross-origin requests: whether the proxy answers by itself, and which fields an answer carries. Source: Istio,
//! `CorsPolicy`; Envoy, `envoy.filters.http.cors`. Start at [`Cors::judge`].
//!
//! The filter stands behind that of faults, so that an aborted request gets nothing of this, and it leaves redirects and
//! direct responses alone. It writes its fields after the route's own operations on the response.

use config_model::model::{CorsPolicy, TextMatch};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
};
use http::{HeaderName, HeaderValue};
use http1::{Head, Name};
use smallvec::SmallVec;

/// `%RESPONSE_CODE_DETAILS%` of a preflight that is answered here.
pub const PREFLIGHT_DETAILS: &str = "cors_response";

/// Fields of a response.
pub type Fields = SmallVec<[(HeaderName, HeaderValue); 6]>;

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Answered here: 200 without a body, with these fields and nothing that the route does to responses. There are none
    /// where the origin is not allowed.
    Answer(Fields),
    /// Goes on as any other; these fields are put into its response, be it the back end's or one of ours, see [`write`].
    /// There are none for a request that is not cross-origin, or not from an origin that is allowed.
    Forward(Fields),
}

/// What a request says of where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `OPTIONS` for a preflight; compared with case.
    pub method: &'a [u8],
    /// `origin`; nothing if there are several, of which none can be believed.
    pub origin: Option<&'a [u8]>,
    /// `access-control-request-method`
    pub requested_method: Option<&'a [u8]>,
    /// `access-control-request-headers`
    pub requested_headers: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// From a head.
    pub fn new(method: &'a [u8], head: &'a Head) -> Self {
        let mut origins = head.values_of(Name::Origin);
        let origin = origins.next().filter(|_| origins.next().is_none());
        Self {
            method,
            origin,
            requested_method: head.value(b"access-control-request-method"),
            requested_headers: head.value(b"access-control-request-headers"),
        }
    }

    /// The method that a preflight asks for.
    fn preflight(&self) -> Option<&'a [u8]> {
        self.requested_method.filter(|method| self.method == b"OPTIONS" && !method.is_empty())
    }
}

/// A value of the request in the answer. Whatever came in a head can stand in one.
fn echoed(value: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value).ok()
}

/// A list that a preflight is answered with.
#[derive(Debug, Clone)]
enum List {
    Nothing,
    /// `*`: whatever was asked for.
    Asked,
    Written(HeaderValue),
}

impl List {
    fn compile(text: &str) -> Self {
        match text {
            "" => Self::Nothing,
            "*" => Self::Asked,
            text => HeaderValue::from_str(text).map_or(Self::Nothing, Self::Written),
        }
    }

    fn value(&self, asked: Option<&[u8]>) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Asked => asked.and_then(echoed),
            Self::Written(value) => Some(value.clone()),
        }
    }
}

/// A policy, its values prepared.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Some condition takes the text `*`, which as in Envoy allows every origin.
    allow_all: bool,
    allow_origins: Box<[TextMatch]>,
    allow_methods: List,
    allow_headers: List,
    expose_headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    allow_credentials: bool,
    forward_unmatched_preflights: bool,
}

impl Cors {
    /// Prepares `policy`.
    pub fn compile(policy: &CorsPolicy) -> Self {
        let text = |text: &str| HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
        Self {
            allow_all: policy.allow_origins.iter().any(|origin| origin.matches(b"*")),
            allow_origins: policy.allow_origins.as_slice().into(),
            allow_methods: List::compile(&policy.allow_methods),
            allow_headers: List::compile(&policy.allow_headers),
            expose_headers: text(&policy.expose_headers),
            max_age: policy.max_age.map(|age| HeaderValue::from(age.as_secs())),
            allow_credentials: policy.allow_credentials,
            forward_unmatched_preflights: policy.forward_unmatched_preflights,
        }
    }

    /// What is done with `request`.
    pub fn judge(&self, request: &Request<'_>) -> Verdict {
        let Some(origin) = request.origin.filter(|origin| !origin.is_empty()) else {
            return Verdict::Forward(Fields::new());
        };
        let is_allowed = self.allows(origin);
        match request.preflight() {
            Some(method) if is_allowed => Verdict::Answer(self.preflight(origin, method, request.requested_headers)),
            Some(_) if !self.forward_unmatched_preflights => Verdict::Answer(Fields::new()),
            _ if is_allowed => Verdict::Forward(self.shared(origin)),
            _ => Verdict::Forward(Fields::new()),
        }
    }

    fn allows(&self, origin: &[u8]) -> bool {
        self.allow_all || self.allow_origins.iter().any(|allowed| allowed.matches(origin))
    }

    /// What every answer to an allowed origin carries: the origin itself, never `*`.
    fn shared(&self, origin: &[u8]) -> Fields {
        let credentials = self.allow_credentials.then_some(HeaderValue::from_static("true"));
        let fields = [
            (ACCESS_CONTROL_ALLOW_ORIGIN, echoed(origin)),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials),
            (ACCESS_CONTROL_EXPOSE_HEADERS, self.expose_headers.clone()),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn preflight(&self, origin: &[u8], method: &[u8], headers: Option<&[u8]>) -> Fields {
        let mut fields = self.shared(origin);
        let lists = [
            (ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.value(Some(method))),
            // As Envoy has it, empty for a `*` where nothing was asked for.
            (ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.value(Some(headers.unwrap_or_default()))),
            (ACCESS_CONTROL_MAX_AGE, self.max_age.clone()),
        ];
        fields.extend(lists.into_iter().filter_map(|(name, value)| Some((name, value?))));
        fields
    }
}

/// Puts `fields` into the head of a response, in place of those of the same names.
pub fn write(fields: Fields, head: &mut Head) {
    for (name, value) in fields {
        head.set(name.as_str().as_bytes(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests;
