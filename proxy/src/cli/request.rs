//! A request as it is asked about: method, URL and headers, for `route`, for `/explain` and for the demo.

use config_model::model::Scheme;
use http::Uri;
use routing::RequestHead;

/// The head of a request that nobody sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    method: String,
    scheme: Scheme,
    /// Host as it would be sent.
    authority: String,
    /// As it would be sent.
    path: String,
    matching_path: Vec<u8>,
    query: Option<String>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A request for `url`, which is absolute or a path. A `host` among the headers stands before that of the URL.
    pub(crate) fn new(method: &str, url: &Uri, headers: &[(String, String)]) -> Result<Self, String> {
        let host = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
        let authority = host.or_else(|| url.authority().map(|authority| authority.as_str().to_owned()));
        let scheme = match url.scheme_str() {
            None | Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(other) => return Err(format!("`{other}` is not served: use http or https")),
        };
        Ok(Self {
            method: method.to_owned(),
            scheme,
            authority: authority.ok_or("no host: give a whole URL, as in http://shop.example/, or a header `host`")?,
            path: url.path().to_owned(),
            matching_path: url.path().into(),
            query: url.query().map(str::to_owned),
            headers: headers.iter().filter(|(name, _)| name != "host").cloned().collect(),
        })
    }

    /// Makes rules see `path`, the one of the URL in its form for matching.
    pub(crate) fn show_path(&mut self, path: &[u8]) {
        self.matching_path = path.to_owned();
    }

    /// `GET http://shop.example/reviews/7?x=1`
    pub(crate) fn describe(&self) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{} {}://{}{}{query}", self.method, self.scheme.as_str(), self.authority, self.path)
    }
}

impl RequestHead for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }

    fn matching_path(&self) -> &[u8] {
        &self.matching_path
    }

    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref().map(str::as_bytes)
    }

    fn any_header(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        self.headers.iter().any(|(field, value)| field == name && test(value.as_bytes()))
    }
}

/// Reads `name: value`; the name becomes lower case.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'NAME: VALUE'")?;
    let name = name.trim().to_ascii_lowercase();
    http::HeaderName::try_from(&*name).map_err(|_| format!("`{name}` is no header name"))?;
    Ok((name, value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, headers: &[&str]) -> Result<Request, String> {
        let headers: Vec<_> = headers.iter().map(|text| header(text).unwrap()).collect();
        Request::new("GET", &url.parse().unwrap(), &headers)
    }

    #[test]
    fn the_host_is_that_of_the_header_before_that_of_the_url() {
        let table: [(&str, &[&str], Result<&str, ()>); 4] = [
            ("http://shop.example:8080/a", &[], Ok("shop.example:8080")),
            ("http://shop.example/a", &["Host: other.example"], Ok("other.example")),
            ("/a", &["host: other.example"], Ok("other.example")),
            ("/a", &[], Err(())),
        ];
        for (url, headers, host) in table {
            let authority = request(url, headers).map(|request| request.authority);
            assert_eq!(authority.as_deref().map_err(|_| ()), host, "{url} {headers:?}");
        }
    }

    #[test]
    fn rules_see_the_comparable_path_and_every_field_of_a_name() {
        let mut request = request("http://a/x/../reviews//1?q=1", &["X-Tag: one", "x-tag: two"]).unwrap();
        request.show_path(b"/reviews/1");
        assert_eq!(request.matching_path(), b"/reviews/1");
        assert_eq!(request.query(), Some(&b"q=1"[..]));
        assert!(request.any_header("x-tag", |value| value == b"two"));
        assert_eq!(request.describe(), "GET http://a/x/../reviews//1?q=1");
    }

    #[test]
    fn a_header_is_a_name_and_a_value() {
        assert_eq!(header("End-User:  jason "), Ok(("end-user".to_owned(), "jason".to_owned())));
        assert_eq!(header("x:"), Ok(("x".to_owned(), String::new())));
        assert!(header("x").is_err() && header("a b: c").is_err() && header(": c").is_err());
    }
}
