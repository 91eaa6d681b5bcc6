//! The parameters of a request, and its copy for the engine.

use axum::extract::ConnectInfo;
use http::{Method, Request, Uri, request::Parts, uri::PathAndQuery};
use std::{borrow::Cow, net::SocketAddr};

use super::headers::Headers;

/// The query parameters that the protocol knows, read as in Node.js: names and values are decoded,
/// the last of several parameters with one name counts, and an empty `sid` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query<'a> {
    /// `EIO`
    version: Option<Cow<'a, str>>,
    pub(super) transport: Option<Cow<'a, str>>,
    pub(super) sid: Option<Cow<'a, str>>,
    base64: bool,
    /// `j`: the client wants scripts, in which each answer is an argument.
    pub(super) wants_jsonp: bool,
}

impl<'a> Query<'a> {
    pub(super) fn parse(query: &'a str) -> Self {
        let mut parsed = Self::default();
        for (name, value) in query.split('&').filter_map(parameter) {
            match &*name {
                "EIO" => parsed.version = Some(value),
                "transport" => parsed.transport = Some(value),
                "sid" => parsed.sid = Some(value).filter(|sid| !sid.is_empty()),
                "b64" => parsed.base64 = !value.is_empty(),
                "j" => parsed.wants_jsonp = true,
                _ => {}
            }
        }
        parsed
    }

    /// Whether the client speaks Engine.IO 3, which is the default.
    pub(super) fn is_v3(&self) -> bool {
        self.version.as_deref() != Some("4")
    }
}

/// The name and the value of a parameter, decoded. Nearly always there is nothing to decode.
fn parameter(said: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if said.is_empty() || said.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return form_urlencoded::parse(said.as_bytes()).next();
    }
    let (name, value) = said.split_once('=').unwrap_or((said, ""));
    Some((name.into(), value.into()))
}

/// A handshake in its form for the engine, which keeps it as long as the session lives. `transport`
/// is its name.
///
/// The engine reads the first of several parameters with one name and does not decode them. So it
/// gets the parameters as understood here, and then the application's own, unchanged.
///
/// The headers are among its extensions, as [`Headers`]: the engine does not look at any.
///
/// Everything in it is copied: what hyper has parsed are slices of its read buffer, whose 16 kB
/// would stay allocated with them.
pub(super) fn handshake(
    parts: &Parts,
    peer: SocketAddr,
    path: &str,
    transport: &str,
) -> Option<Request<()>> {
    let said = parts.uri.query().unwrap_or("");
    let query = Query::parse(said);
    let version = if query.is_v3() { 3 } else { 4 };
    let mut target = format!("{path}?EIO={version}&transport={transport}");
    if query.base64 {
        target.push_str("&b64=1");
    }
    for own in said.split('&').filter(|said| !belongs_to_the_protocol(said)) {
        target.push('&');
        target.push_str(own);
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri(target)?;
    *request.version_mut() = parts.version;
    request.extensions_mut().insert(Headers::copied(&parts.headers));
    request.extensions_mut().insert(ConnectInfo(peer));
    Some(request)
}

fn belongs_to_the_protocol(said: &str) -> bool {
    parameter(said).is_none_or(|(name, _)| matches!(&*name, "EIO" | "transport" | "sid" | "b64"))
}

/// A later request of a session, with the engine's own id.
pub(super) fn internal(
    method: Method,
    path: &str,
    v3: bool,
    transport: &str,
    sid: impl std::fmt::Display,
) -> Option<Request<()>> {
    let version = if v3 { 3 } else { 4 };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri(format!("{path}?EIO={version}&transport={transport}&sid={sid}"))?;
    Some(request)
}

fn uri(path_and_query: String) -> Option<Uri> {
    let path_and_query: PathAndQuery = path_and_query.try_into().ok()?;
    Some(path_and_query.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_node_reads_it() {
        let some = |text| Some(Cow::Borrowed(text));
        let said = |version, transport, sid| Query { version, transport, sid, ..Query::default() };
        for (query, read) in [
            (
                "EIO=4&transport=polling&sid=n1.x&t=1",
                said(some("4"), some("polling"), some("n1.x")),
            ),
            ("", Query::default()),
            ("%45IO=%34&tr%61nsport=%70olling", said(some("4"), some("polling"), None)),
            ("EIO=3&sid=a&EIO=4&sid=b", said(some("4"), None, some("b"))),
            ("sid=&transport=pol+ling", said(None, some("pol ling"), None)),
            ("sid=a&sid=", Query::default()),
            ("b64=true", Query { base64: true, ..Query::default() }),
            ("b64=", Query::default()),
            ("transport=a=b&=c&&", said(None, some("a=b"), None)),
            ("j", Query { wants_jsonp: true, ..Query::default() }),
        ] {
            assert_eq!(Query::parse(query), read, "{query}");
        }
    }

    #[test]
    fn whoever_does_not_say_4_speaks_the_third_revision() {
        for (query, v3) in
            [("EIO=4", false), ("EIO=3", true), ("EIO=2", true), ("EIO=04", true), ("", true)]
        {
            assert_eq!(Query::parse(query).is_v3(), v3, "{query}");
        }
    }

    #[test]
    fn the_engine_is_told_what_was_understood() {
        for (said, told) in [
            ("transport=polling", "EIO=3&transport=polling"),
            ("a=1&EIO=3&b=2&EIO=4&transport=x", "EIO=4&transport=polling&a=1&b=2"),
            ("E%49O=4&sid=&token=%61&&b64=yes", "EIO=4&transport=polling&b64=1&token=%61"),
        ] {
            let (parts, ()) =
                Request::get(format!("/x?{said}")).body(()).expect("a request").into_parts();
            let peer: SocketAddr = "192.0.2.1:4711".parse().expect("an address");
            let request = handshake(&parts, peer, "/socket.io/", "polling").expect("a request");
            assert_eq!(request.uri().query(), Some(told), "{said}");
        }
    }

    #[test]
    fn a_copied_handshake_says_the_same() {
        let (parts, ()) = Request::get("/socket.io/?EIO=4&transport=polling&token=abc")
            .header("host", "example.test")
            .header("x-own", "one")
            .header("x-own", "two")
            .body(())
            .expect("a request")
            .into_parts();
        let peer: SocketAddr = "192.0.2.1:4711".parse().expect("an address");
        let copy = handshake(&parts, peer, "/socket.io/", "polling").expect("a request");
        let headers = copy.extensions().get::<Headers>().expect("they are there");
        assert_eq!(headers.to_map(), parts.headers);
        assert!(copy.headers().is_empty(), "they are kept once");
        assert_eq!(copy.uri(), &parts.uri);
        let info = copy.extensions().get::<ConnectInfo<SocketAddr>>();
        assert_eq!(info.map(|info| info.0), Some(peer));
    }

    #[test]
    fn the_engine_is_asked_by_its_own_id() {
        let request =
            internal(Method::POST, "/socket.io/", true, "polling", "AAAA").expect("a request");
        assert_eq!(request.uri(), "/socket.io/?EIO=3&transport=polling&sid=AAAA");
    }
}
