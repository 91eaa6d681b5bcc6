//! The headers of a handshake, in one piece of memory as long as the session lives.
//!
//! A `HeaderMap` takes about a hundred bytes for each header beside its text, and few of them are
//! ever looked at after the handshake. So they are kept as they travel, in lines, and are
//! made a map again for whoever asks.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers of a handshake: a line `name:value` for each. Neither can hold the end of a line,
/// and no name a colon. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Bytes);

impl Headers {
    /// A copy, which shares no memory with what hyper has read.
    pub(super) fn copied(headers: &HeaderMap) -> Self {
        let length =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum();
        let mut lines = Vec::with_capacity(length);
        for (name, value) in headers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value.as_bytes());
            lines.push(b'\n');
        }
        Self(lines.into())
    }

    /// All of them. The values share the memory of these lines.
    pub(crate) fn to_map(&self) -> HeaderMap {
        let mut map =
            HeaderMap::with_capacity(self.0.iter().filter(|byte| **byte == b'\n').count());
        for line in self.0.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_maybe_shared(self.0.slice_ref(&line[colon + 1..]));
            // neither can fail: both were valid before
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", &b"example.test:8080"[..]),
            ("x-own", b"one"),
            ("x-own", b"two: three"),
            ("x-empty", b""),
            ("x-tab", b"a\tb"),
            ("x-bytes", b"\xff\xfe"),
        ] {
            let value = HeaderValue::from_bytes(value).expect("a value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn they_read_as_they_were_sent() {
        assert_eq!(Headers::copied(&headers()).to_map(), headers());
        let own: Vec<_> =
            Headers::copied(&headers()).to_map().get_all("x-own").iter().cloned().collect();
        assert_eq!(own, ["one", "two: three"], "in their order");
        assert_eq!(Headers::copied(&HeaderMap::new()).to_map(), HeaderMap::new());
    }

    #[test]
    fn a_copy_shares_no_memory() {
        let headers = headers();
        let copy = Headers::copied(&headers);
        let theirs = headers["host"].as_bytes().as_ptr();
        assert!(!copy.0.as_ptr_range().contains(&theirs));
        assert_ne!(copy.to_map()["host"].as_bytes().as_ptr(), theirs);
    }
}
