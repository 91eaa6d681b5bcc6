//! What a request asks for, and the copy of it that the engine gets.

use axum::extract::ConnectInfo;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, request::Parts, uri::PathAndQuery,
};
use std::net::SocketAddr;

use super::refusal::Refusal;

/// The parts of the query that the protocol knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Query<'a> {
    /// `EIO`
    pub(super) version: Option<&'a str>,
    pub(super) transport: Option<&'a str>,
    pub(super) sid: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// The engine takes the first of several parameters of one name. Nobody sends several, except
    /// to have one of them checked and another one used.
    pub(super) fn parse(query: &'a str) -> Result<Self, Refusal> {
        let mut parsed = Self::default();
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let slot = match name {
                "EIO" => &mut parsed.version,
                "transport" => &mut parsed.transport,
                "sid" => &mut parsed.sid,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(Refusal::BadRequest);
            }
        }
        Ok(parsed)
    }
}

/// A handshake as the engine gets it, and keeps it as long as the session lives.
///
/// Everything in it is copied: what hyper has parsed are slices of its read buffer, 16 kB that
/// would stay allocated with them.
pub(super) fn handshake(parts: &Parts, peer: SocketAddr, path: &str) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri(&format!("{path}?{}", parts.uri.query().unwrap_or("")))?;
    *request.version_mut() = parts.version;
    *request.headers_mut() = copied(&parts.headers);
    request.extensions_mut().insert(ConnectInfo(peer));
    Some(request)
}

/// A later request of a session, by the id under which the engine knows it.
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
    *request.uri_mut() = uri(&format!("{path}?EIO={version}&transport={transport}&sid={sid}"))?;
    Some(request)
}

fn uri(path_and_query: &str) -> Option<Uri> {
    let path_and_query: PathAndQuery = path_and_query.parse().ok()?;
    Some(path_and_query.into())
}

/// The same headers in memory of their own: one allocation for all values.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let mut values = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| values.extend_from_slice(value.as_bytes()));
    let mut values: Bytes = values.freeze();
    let mut copy = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        // neither can fail: both were valid before
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let value = HeaderValue::from_maybe_shared(values.split_to(value.len()));
        if let (Ok(name), Ok(value)) = (name, value) {
            copy.append(name, value);
        }
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_apart() {
        assert_eq!(
            Query::parse("EIO=4&transport=polling&sid=n1.x&token=abc&t=1"),
            Ok(Query { version: Some("4"), transport: Some("polling"), sid: Some("n1.x") }),
        );
        assert_eq!(Query::parse(""), Ok(Query::default()));
        assert_eq!(Query::parse("sid"), Ok(Query { sid: Some(""), ..Query::default() }));
    }

    #[test]
    fn two_of_a_kind_are_refused() {
        for query in ["sid=a&sid=b", "EIO=4&EIO=3", "transport=polling&transport=websocket"] {
            assert_eq!(Query::parse(query), Err(Refusal::BadRequest), "{query}");
        }
    }

    #[test]
    fn a_copied_handshake_says_the_same() {
        let (parts, ()) = Request::get("/socket.io/?EIO=4&transport=polling&token=abc")
            .header("host", "example.test")
            .header("x-own", "one")
            .header("x-own", "two")
            .header("x-bytes", HeaderValue::from_bytes(b"\xff\xfe").expect("opaque"))
            .body(())
            .expect("a request")
            .into_parts();
        let peer: SocketAddr = "192.0.2.1:4711".parse().expect("an address");
        let copy = handshake(&parts, peer, "/socket.io/").expect("a request");
        assert_eq!(copy.headers(), &parts.headers);
        assert_eq!(copy.uri(), &parts.uri);
        let info = copy.extensions().get::<ConnectInfo<SocketAddr>>();
        assert_eq!(info.map(|info| info.0), Some(peer));
    }

    #[test]
    fn a_copied_handshake_shares_no_memory() {
        let (parts, ()) = Request::get("/socket.io/?EIO=4")
            .header("x-own", "value")
            .body(())
            .expect("a request")
            .into_parts();
        let peer: SocketAddr = "192.0.2.1:4711".parse().expect("an address");
        let copy = handshake(&parts, peer, "/socket.io/").expect("a request");
        assert_ne!(
            copy.headers()["x-own"].as_bytes().as_ptr(),
            parts.headers["x-own"].as_bytes().as_ptr(),
        );
    }

    #[test]
    fn the_engine_is_asked_by_its_own_id() {
        let request =
            internal(Method::POST, "/socket.io/", true, "polling", "AAAA").expect("a request");
        assert_eq!(request.uri(), "/socket.io/?EIO=3&transport=polling&sid=AAAA");
    }
}
