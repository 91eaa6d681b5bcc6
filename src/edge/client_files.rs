//! The client for pages without a bundler: `GET /socket.io/socket.io.js`, as Node.js serves it.

use std::{io, path::Path};

use axum::body::Body;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use sha2::{Digest, Sha256};

use super::compression::{self, Encoding};

/// File names that Node.js serves below the path. No request of the protocol has such a name.
const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.min.js",
    "socket.io.js.map",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// The configured client.
#[derive(Debug)]
pub(crate) struct ClientFiles {
    script: File,
    map: Option<File>,
}

#[derive(Debug)]
struct File {
    kind: HeaderValue,
    etag: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
}

impl ClientFiles {
    /// Reads the script, and the source map beside it if there is one.
    ///
    /// # Errors
    /// If the script can't be read.
    pub(crate) fn read(script: &Path) -> io::Result<Self> {
        let mut map = script.as_os_str().to_owned();
        map.push(".map");
        Ok(Self {
            script: File::new("application/javascript; charset=utf-8", std::fs::read(script)?),
            map: std::fs::read(map)
                .ok()
                .map(|map| File::new("application/json; charset=utf-8", map)),
        })
    }

    fn get(&self, name: &str) -> Option<&File> {
        match name {
            // one file for both, whichever it is
            "socket.io.js" | "socket.io.min.js" => Some(&self.script),
            "socket.io.js.map" | "socket.io.min.js.map" => self.map.as_ref(),
            // other builds of the client are other files
            _ => None,
        }
    }
}

impl File {
    fn new(kind: &'static str, plain: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", &BASE64.encode(Sha256::digest(&plain))[..22]);
        Self {
            kind: HeaderValue::from_static(kind),
            etag: etag.parse().unwrap_or(HeaderValue::from_static("\"\"")),
            gzip: compression::compress(Encoding::Gzip, &plain).unwrap_or_default().into(),
            plain: plain.into(),
        }
    }
}

/// The name of the client's file that a path asks for; `below` is the protocol's own path.
pub(super) fn file_name<'a>(path: &'a str, below: &str) -> Option<&'a str> {
    let name = path.strip_prefix(below)?.strip_prefix('/')?;
    NAMES.contains(&name).then_some(name)
}

/// Answers a request for one of the client's files.
pub(super) fn serve<B>(
    client: Option<&ClientFiles>,
    name: &str,
    request: &Request<B>,
) -> Response<Body> {
    let Some(file) = client.and_then(|client| client.get(name)) else {
        let sentence = match client {
            None => {
                "No client is served here: engine.client_file names one, npm and CDNs have it.\n"
            }
            Some(_) => "The client that is served here has no such file.\n",
        };
        return told(StatusCode::NOT_FOUND, sentence);
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return told(StatusCode::METHOD_NOT_ALLOWED, "A file can only be read.\n");
    }
    let mut response = Response::new(Body::empty());
    if is_known(request.headers(), &file.etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let accepted = compression::accepted(request.headers());
        let is_packed = accepted.contains(&Encoding::Gzip) && !file.gzip.is_empty();
        let body = if is_packed { &file.gzip } else { &file.plain };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, file.kind.clone());
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        if is_packed {
            headers.insert(header::CONTENT_ENCODING, Encoding::Gzip.name());
        }
        // hyper leaves the body out of an answer to HEAD
        *response.body_mut() = body.clone().into();
    }
    let headers = response.headers_mut();
    headers.insert(header::ETAG, file.etag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// Whether the browser has this version already. A proxy that compresses makes the tag weak.
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let said = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|said| said.to_str().ok());
    said.flat_map(|said| said.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == *etag)
}

fn told(status: StatusCode, sentence: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(sentence));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
