//! Which pages of other origins may poll. Websockets are not bound by it, as in Node.js.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

/// Configured once; nothing configured leaves the browser's default: same origin only.
#[derive(Debug, Default)]
pub(super) struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

/// What the client must send, and a page may therefore ask for.
const METHODS: HeaderValue = HeaderValue::from_static("GET,POST");
/// How long a browser may remember the answer to a preflight. Chromium caps it at two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");

impl Cors {
    /// `["*"]`: everybody, without credentials. Else exactly these origins, with credentials.
    pub(super) fn new(origins: &[String]) -> Self {
        Self {
            any: origins.iter().any(|origin| origin == "*"),
            // one that is no header value can't be any browser's origin
            origins: origins.iter().filter_map(|origin| origin.parse().ok()).collect(),
        }
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
        let listed = self.origins.contains(origin);
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

/// Whether a request asks what it may do rather than doing it.
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
