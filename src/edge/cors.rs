//! The pages of other origins that may poll. As in Node.js, websockets are not restricted.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

/// The allowed origins, configured once. Without any the browser's default applies: same origin
/// only.
#[derive(Debug, Default)]
pub(super) struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
    /// Origins that may come from any port.
    hosts: Vec<Box<str>>,
}

/// The end of an origin that stands for every port.
const ANY_PORT: &str = ":*";

/// The methods of the client, which a page may ask for.
const METHODS: HeaderValue = HeaderValue::from_static("GET,POST");
/// How long a browser may remember the answer to a preflight. Chromium caps it at two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");

impl Cors {
    /// `["*"]`: every origin, without credentials. Otherwise exactly these origins, with
    /// credentials; one that ends in `:*` stands for all its ports.
    pub(super) fn new(origins: &[String]) -> Self {
        Self {
            any: origins.iter().any(|origin| origin == "*"),
            // one that is no header value can't be any browser's origin
            origins: origins.iter().filter_map(|origin| origin.parse().ok()).collect(),
            hosts: origins
                .iter()
                .filter_map(|origin| Some(origin.strip_suffix(ANY_PORT)?.into()))
                .collect(),
        }
    }

    /// The origin of the asking page, if it may not poll.
    pub(super) fn refused<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = request.get(header::ORIGIN).filter(|origin| !self.lists(origin))?;
        let asked = request.get(header::HOST).map(HeaderValue::as_bytes);
        let host = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let is_own = host.is_some_and(|(_, host)| Some(host.as_bytes()) == asked);
        (!self.any && !is_own).then_some(origin)
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        let is_port = |rest: &str| {
            let port = rest.strip_prefix(':').unwrap_or("0");
            (rest.is_empty() || rest.starts_with(':')) && port.parse::<u16>().is_ok()
        };
        self.origins.contains(origin)
            || origin.to_str().is_ok_and(|origin| {
                self.hosts.iter().any(|host| origin.strip_prefix(&**host).is_some_and(is_port))
            })
    }

    /// The answer to an OPTIONS request.
    pub(super) fn preflight(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if self.allow(request, headers) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
            vary(headers, header::ACCESS_CONTROL_REQUEST_HEADERS);
        }
        response
    }

    /// Lets the page see the response, if its origin may. Returns whether it may.
    pub(super) fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) -> bool {
        if self.any {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
            return true;
        }
        if self.origins.is_empty() {
            return false;
        }
        vary(response, header::ORIGIN); // a cache must not give one origin the answer of another
        let Some(origin) = request.get(header::ORIGIN) else { return false };
        let listed = self.lists(origin);
        if listed {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        listed
    }
}

fn vary(headers: &mut HeaderMap, on: HeaderName) {
    headers.append(header::VARY, on.into());
}

/// Whether a request asks for permission (CORS preflight).
pub(super) fn is_preflight(method: &Method) -> bool {
    method == Method::OPTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().expect("an origin"));
        headers.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, "x-own".parse().expect("a name"));
        headers
    }

    fn cors(origins: &[&str]) -> Cors {
        Cors::new(&origins.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_configured_says_nothing() {
        let response = cors(&[]).preflight(&asks("https://a.test"));
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert!(response.headers().is_empty(), "{:?}", response.headers());
    }

    #[test]
    fn a_listed_origin_may_with_credentials() {
        let response =
            cors(&["https://a.test", "https://b.test"]).preflight(&asks("https://b.test"));
        let headers = response.headers();
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://b.test");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET,POST");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "x-own");
        assert_eq!(headers[header::VARY], "origin");
    }

    #[test]
    fn every_port_of_a_host_may_if_it_is_listed_so() {
        let cors = cors(&["http://localhost:*", "http://[::1]:*"]);
        for (origin, may) in [
            ("http://localhost", true),
            ("http://localhost:8080", true),
            ("http://[::1]:3000", true),
            ("https://localhost:8080", false),
            ("http://localhost.evil:8080", false),
            ("http://localhost:80evil", false),
            ("http://localhost:", false),
            ("http://localhost:8080/", false),
        ] {
            assert_eq!(cors.allow(&asks(origin), &mut HeaderMap::new()), may, "{origin}");
        }
    }

    #[test]
    fn who_is_refused_is_named() {
        let none = cors(&[]);
        let mut own = asks("https://own.test:8443");
        own.insert(header::HOST, "own.test:8443".parse().expect("a host"));
        assert_eq!(none.refused(&own), None, "a page of the server itself");
        assert_eq!(none.refused(&HeaderMap::new()), None, "no page");
        assert_eq!(none.refused(&asks("https://a.test")).expect("refused"), "https://a.test");
        assert_eq!(cors(&["https://a.test"]).refused(&asks("https://a.test")), None);
        assert_eq!(cors(&["*"]).refused(&asks("https://a.test")), None);
    }

    #[test]
    fn another_origin_may_not() {
        for origin in ["https://c.test", "http://a.test", "https://a.test.evil", "null"] {
            let response = cors(&["https://a.test"]).preflight(&asks(origin));
            let headers = response.headers();
            assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
            assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "{origin}");
            assert_eq!(headers[header::VARY], "origin");
        }
    }

    #[test]
    fn any_origin_may_without_credentials() {
        let mut headers = HeaderMap::new();
        assert!(cors(&["*"]).allow(&asks("https://a.test"), &mut headers));
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
}
