//! Three small back ends that answer as Bookinfo's `reviews` does: v1 without stars, v2 with black ones, v3 with red ones.
//! The shape of the answers is that of Istio's sample; the texts are our own.

use std::convert::Infallible;
use std::fmt;
use std::io;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// A version of the application: label `version` of its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Version {
    /// No stars.
    V1,
    /// Black stars.
    V2,
    /// Red stars.
    V3,
}

impl Version {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V3];

    /// `v1`
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    /// Name of its only pod.
    pub(crate) fn pod(self) -> &'static str {
        match self {
            Self::V1 => "reviews-v1-6d8bc58dd7-fq2nx",
            Self::V2 => "reviews-v2-7f99cc4496-8wzkl",
            Self::V3 => "reviews-v3-7d84b6c4dd-m5tqp",
        }
    }

    /// Colour of the stars, if it shows any.
    pub(crate) fn star_color(self) -> Option<&'static str> {
        match self {
            Self::V1 => None,
            Self::V2 => Some("black"),
            Self::V3 => Some("red"),
        }
    }

    /// The version that answered with `body`, if one did.
    pub(crate) fn of_answer(body: &[u8]) -> Option<Self> {
        let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
        Self::ALL.into_iter().find(|version| version.pod() == answer.podname)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer<'a> {
    id: &'a str,
    podname: &'a str,
    clustername: &'a str,
    #[serde(borrow)]
    reviews: Vec<Review<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Review<'a> {
    reviewer: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    rating: Option<Rating<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rating<'a> {
    stars: u8,
    color: &'a str,
}

/// The answer for product `id`.
fn answer(version: Version, id: &str) -> String {
    let rating = |stars| version.star_color().map(|color| Rating { stars, color });
    let reviews = vec![
        Review { reviewer: "Reviewer1", text: "Two pairs of twins and not one dull page.", rating: rating(5) },
        Review {
            reviewer: "Reviewer2",
            text: "I laughed, but lost count of who owes whom the chain.",
            rating: rating(4),
        },
    ];
    let answer = Answer { id, podname: version.pod(), clustername: "null", reviews };
    serde_json::to_string(&answer).unwrap_or_default() + "\n"
}

/// `/reviews/7` is product 7; other paths are no product.
fn product(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/reviews/")?;
    id.parse::<i32>().ok().map(|_| id)
}

fn respond<B>(version: Version, request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let (status, body) = match (request.method(), product(path)) {
        (&Method::GET | &Method::HEAD, Some(id)) => (StatusCode::OK, answer(version, id)),
        (&Method::GET | &Method::HEAD, None) if path == "/health" => {
            (StatusCode::OK, "{\"status\": \"Reviews is healthy\"}\n".to_owned())
        }
        (_, Some(_)) => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Answers as `version` on `listener` until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, version: Version) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let service =
                service_fn(async |request: Request<Incoming>| Ok::<_, Infallible>(respond(version, &request)));
            // A client that breaks off is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_v2_and_v3_show_stars_and_their_colours_differ() {
        let colors = |version| {
            let body: serde_json::Value = serde_json::from_str(&answer(version, "7")).unwrap();
            assert_eq!((&body["id"], &body["reviews"][0]["reviewer"]), (&"7".into(), &"Reviewer1".into()));
            body["reviews"]
                .as_array()
                .unwrap()
                .iter()
                .map(|review| review["rating"]["color"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(colors(Version::V1), [serde_json::Value::Null, serde_json::Value::Null]);
        assert_eq!(colors(Version::V2), ["black", "black"]);
        assert_eq!(colors(Version::V3), ["red", "red"]);
    }

    #[test]
    fn an_answer_tells_which_version_gave_it() {
        for version in Version::ALL {
            assert_eq!(Version::of_answer(answer(version, "0").as_bytes()), Some(version));
        }
        assert_eq!(Version::of_answer(b"no healthy upstream"), None);
    }

    #[test]
    fn only_reviews_of_a_product_and_health_are_found() {
        let table = [
            ("GET", "/reviews/0", 200),
            ("HEAD", "/reviews/12", 200),
            ("GET", "/health", 200),
            ("POST", "/reviews/0", 405),
            ("GET", "/reviews", 404),
            ("GET", "/reviews/x", 404),
            ("GET", "/reviewsarchive", 404),
        ];
        for (method, path, status) in table {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            assert_eq!(respond(Version::V2, &request).status(), status, "{method} {path}");
        }
    }
}
