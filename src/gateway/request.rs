//! The HTTP request that opened a connection.

use std::sync::OnceLock;

use http::{HeaderMap, header};

use crate::edge::Headers;

/// The HTTP request that opened the connection.
#[derive(Debug)]
pub(crate) struct OpeningRequest {
    uri: http::Uri,
    /// As the edge keeps them.
    kept: Headers,
    /// Made when somebody asks: many handshakes pass without.
    headers: OnceLock<HeaderMap>,
    query: OnceLock<Query>,
}

impl OpeningRequest {
    /// The request as the engine has it from the edge.
    pub(crate) fn of(parts: &http::request::Parts) -> Self {
        let kept = parts.extensions.get::<Headers>().cloned().unwrap_or_default();
        Self { kept, headers: OnceLock::new(), ..Self::without_headers(parts) }
    }

    /// The request as the client has sent it.
    pub(crate) fn received(parts: &http::request::Parts) -> Self {
        let headers = OnceLock::from(parts.headers.clone());
        Self { headers, ..Self::without_headers(parts) }
    }

    fn without_headers(parts: &http::request::Parts) -> Self {
        let (uri, kept) = (parts.uri.clone(), Headers::default());
        Self { uri, kept, headers: OnceLock::new(), query: OnceLock::new() }
    }

    pub(crate) fn uri(&self) -> &http::Uri {
        &self.uri
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| self.kept.to_map())
    }

    pub(crate) fn query(&self) -> &Query {
        self.query.get_or_init(|| Query::of(self.uri.query().unwrap_or_default()))
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers().get_all(header::COOKIE).iter();
        let pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
        Some(value.trim())
    }
}

/// The query of a request, decoded.
///
/// ```
/// use switchboard::{Fault, Gateway, Handshake};
///
/// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
///     for (name, value) in handshake.query().iter() {
///         println!("{name} is {value}");
///     }
///     match handshake.query().get("version") {
///         Some("2") => Ok(()),
///         _ => Err(Fault::bad_request("this client is too old")),
///     }
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Box<[(Box<str>, Box<str>)]>);

impl Query {
    fn of(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(pairs.map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// All values of this name, in order.
    ///
    /// ```
    /// use switchboard::{Gateway, Handshake};
    ///
    /// // `?tag=a&tag=b`
    /// let gateway = Gateway::new("/").on_connect(async |handshake: Handshake| {
    ///     println!("{} tags", handshake.query().get_all("tag").count());
    /// });
    /// ```
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All names with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_query_and_its_cookies() {
        let request = http::Request::builder()
            .uri("/socket.io/?EIO=4&a=b%20c&a=d&empty")
            .header("cookie", "sid=s%3Aone.two; theme = dark ")
            .header("cookie", "last=1");
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let request = OpeningRequest::received(&parts);
        let query = request.query();
        assert_eq!((query.get("EIO"), query.get("a")), (Some("4"), Some("b c")));
        assert_eq!(query.get_all("a").collect::<Vec<_>>(), ["b c", "d"]);
        assert_eq!((query.get("empty"), query.get("none")), (Some(""), None));
        assert_eq!(query.iter().count(), 4);
        for (name, value) in [("sid", "s%3Aone.two"), ("theme", "dark"), ("last", "1")] {
            assert_eq!(request.cookie(name), Some(value));
        }
        assert_eq!(request.cookie("none"), None);
    }
}
