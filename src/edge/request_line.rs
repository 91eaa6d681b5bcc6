//! Escapes `"`, `<` and `>` in the query of a request where a client has not done so. hyper refuses
//! these characters, so they are escaped before hyper reads the request.
//!
//! ```text
//! request line ── headers ── body ──┐
//!      └──────── next request ──────┘
//! ```
//!
//! Only bytes of a request line are changed, so its beginning must be certain: it is the first byte
//! of the connection, or the byte after a body of known length. If more was read than that, the
//! rest of the connection passes unchanged.
//!
//! So it is known here, too, whether a request was answered before its end. Then the connection is
//! not closed under its client's hands, see [`Linger`].

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::linger::Linger;

/// No request has been read since the last one ended.
const NOT_READ: u64 = u64::MAX;
/// No request follows, or its beginning is not known.
const NO_REQUEST: u64 = u64::MAX - 1;

/// The length of the body of the last request. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct BodyLength(Arc<AtomicU64>);

impl BodyLength {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOT_READ)))
    }

    /// A request with these headers has been read.
    pub(super) fn of(&self, headers: &HeaderMap) {
        let length =
            headers.get(header::CONTENT_LENGTH).map(|length| length.to_str().ok()?.parse().ok());
        let is_plain = !headers.contains_key(header::TRANSFER_ENCODING)
            && !headers.contains_key(header::UPGRADE);
        let length = length.unwrap_or(Some(0)).filter(|_| is_plain);
        self.0.store(length.unwrap_or(NO_REQUEST), Ordering::Release);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Blank lines may come before a request.
    Start,
    Line {
        is_query: bool,
    },
    Headers {
        line_is_empty: bool,
    },
    /// This many bytes of the body have come.
    Body(u64),
    /// Bytes are not looked at any more.
    Beyond,
}

impl Place {
    /// The place after this byte.
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start, b'\r' | b'\n') => Self::Start,
            (Self::Start, _) => Self::Line { is_query: false },
            (Self::Line { .. }, b'\n') => Self::Headers { line_is_empty: true },
            (Self::Line { is_query }, byte) => Self::Line { is_query: is_query || byte == b'?' },
            (Self::Headers { line_is_empty: true }, b'\n') => Self::Body(0),
            (Self::Headers { line_is_empty }, b'\r') => Self::Headers { line_is_empty },
            (Self::Headers { .. }, byte) => Self::Headers { line_is_empty: byte == b'\n' },
            (Self::Body(length), _) => Self::Body(length + 1),
            (Self::Beyond, _) => Self::Beyond,
        }
    }

    /// How many of these bytes change nothing here, so that they need no look of their own.
    fn passes(self, bytes: &[u8]) -> usize {
        let mut bytes_left = bytes.iter().copied();
        let stop = match self {
            Self::Line { is_query: false } => bytes_left.position(|b| b == b'\n' || b == b'?'),
            Self::Line { is_query: true } => {
                bytes_left.position(|b| b == b'\n' || escaped(b).is_some())
            }
            Self::Headers { line_is_empty: false } => bytes_left.position(|b| b == b'\n'),
            _ => Some(0),
        };
        stop.unwrap_or(bytes.len())
    }
}

fn escaped(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'"' => Some(b"%22"),
        b'<' => Some(b"%3C"),
        b'>' => Some(b"%3E"),
        _ => None,
    }
}

/// A connection in its form for hyper.
#[derive(Debug)]
pub(super) struct Escaping<S> {
    inner: S,
    place: Place,
    length: BodyLength,
    /// Escaped bytes that are not read yet.
    rest: BytesMut,
    /// How long the rest of a request is waited for that was answered already.
    patience: Duration,
    /// Set once our side is closed.
    linger: Option<Box<Linger>>,
}

impl<S> Escaping<S> {
    /// `patience`: how long the rest of a request is waited for that was answered already.
    pub(super) fn new(inner: S, patience: Duration) -> (Self, BodyLength) {
        let length = BodyLength::new();
        let stream = Self {
            inner,
            place: Place::Start,
            length: length.clone(),
            rest: BytesMut::new(),
            patience,
            linger: None,
        };
        (stream, length)
    }

    /// The connection, and what was read of it and not passed on yet.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.inner, self.rest)
    }

    /// Finds out whether the last request has ended, or whether its end cannot be known.
    fn look_for_the_end(&mut self) {
        let Place::Body(come) = self.place else { return };
        match self.length.0.load(Ordering::Acquire) {
            NOT_READ => {}
            length if length == come => {
                self.length.0.store(NOT_READ, Ordering::Release);
                self.place = Place::Start;
            }
            length if length == NO_REQUEST || length < come => self.place = Place::Beyond,
            _ => {}
        }
    }

    /// Follows new bytes. Returns all of them in escaped form if any needs it.
    fn follow(&mut self, came: &[u8]) -> Option<BytesMut> {
        let mut changed: Option<BytesMut> = None;
        let mut at = 0;
        while let Some(rest) = came.get(at..).filter(|rest| !rest.is_empty()) {
            if self.place == Place::Beyond {
                break;
            }
            if let Place::Body(come) = self.place {
                // the rest is counted, not looked at
                self.place = Place::Body(come + rest.len() as u64);
                if let Some(changed) = &mut changed {
                    changed.extend_from_slice(rest);
                }
                break;
            }
            let (passing, rest) = rest.split_at(self.place.passes(rest));
            if let Some(changed) = &mut changed {
                changed.extend_from_slice(passing);
            }
            at += passing.len();
            let Some(&byte) = rest.first() else { break };
            let escape = escaped(byte).filter(|_| self.place == Place::Line { is_query: true });
            self.place = self.place.after(byte);
            if escape.is_some() && changed.is_none() {
                changed = Some(BytesMut::from(&came[..at]));
            }
            if let Some(changed) = &mut changed {
                changed.extend_from_slice(escape.unwrap_or(&[byte]));
            }
            at += 1;
        }
        changed
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Escaping<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.rest.is_empty() {
            let n = this.rest.len().min(buf.remaining());
            buf.put_slice(&this.rest[..n]);
            this.rest.advance(n);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        // after the bytes are there: the request that they follow has been read by now
        this.look_for_the_end();
        if this.place != Place::Beyond
            && let Some(mut changed) = this.follow(&buf.filled()[before..])
        {
            buf.set_filled(before);
            let n = changed.len().min(buf.remaining());
            buf.put_slice(&changed[..n]);
            changed.advance(n);
            this.rest = changed;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Escaping<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    /// Ready when the last request has come to its end, too, or is not waited for any longer.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut linger = match this.linger.take() {
            Some(linger) => linger,
            None => {
                ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                Box::new(Linger::new(this.patience))
            }
        };
        loop {
            this.look_for_the_end();
            if this.place == Place::Start {
                return Poll::Ready(Ok(()));
            }
            match linger.poll(cx, Pin::new(this)) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    this.linger = Some(linger);
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// What is read of these requests if each is answered before the next one comes.
    async fn read(requests: &[(&str, &HeaderMap)], piece: usize) -> String {
        let (mut stream, length) = Escaping::new(Pieces::default(), Duration::ZERO);
        let mut out = Vec::new();
        for (request, headers) in requests {
            stream.inner = Pieces::of(request.as_bytes(), piece);
            stream.read_to_end(&mut out).await.expect("memory");
            length.of(headers);
        }
        String::from_utf8(out).expect("text")
    }

    /// A connection of which so many bytes come at once.
    #[derive(Default)]
    struct Pieces(Vec<Vec<u8>>);

    impl Pieces {
        fn of(bytes: &[u8], piece: usize) -> Self {
            Self(bytes.chunks(piece).rev().map(<[u8]>::to_vec).collect())
        }
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop() {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    fn headers(said: &[(header::HeaderName, &str)]) -> HeaderMap {
        said.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    const RAW: &str = "GET /\"?a={\"b\":<1>} HTTP/1.1\r\nX: \"<?\r\n\r\n";
    const ESCAPED: &str = "GET /\"?a={%22b%22:%3C1%3E} HTTP/1.1\r\nX: \"<?\r\n\r\n";

    #[tokio::test]
    async fn a_query_is_escaped_and_nothing_else() {
        let none = HeaderMap::new();
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(&[(RAW, &none)], piece).await, ESCAPED, "in pieces of {piece}");
            let plain = RAW.replace(['"', '<', '>'], "x");
            assert_eq!(read(&[(&plain, &none)], piece).await, plain);
        }
    }

    #[tokio::test]
    async fn the_next_request_begins_after_the_body() {
        let body = "?\"<>\"\n?";
        let post = format!("POST /?\" HTTP/1.1\r\ncontent-length: 7\r\n\r\n{body}");
        let length = headers(&[(header::CONTENT_LENGTH, "7")]);
        let none = HeaderMap::new();
        for piece in [1, 5, 1000] {
            let read = read(&[(RAW, &none), (&post, &length), (RAW, &none)], piece).await;
            let post = post.replacen('"', "%22", 1);
            assert_eq!(read, format!("{ESCAPED}{post}{ESCAPED}"), "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn where_no_request_begins_for_certain_nothing_is_changed() {
        let chunked = headers(&[(header::TRANSFER_ENCODING, "chunked")]);
        let upgrade = headers(&[(header::UPGRADE, "websocket")]);
        let short = headers(&[(header::CONTENT_LENGTH, "3")]);
        let none = HeaderMap::new();
        for (first, headers) in [
            (RAW.to_owned(), &chunked),
            (RAW.to_owned(), &upgrade),
            (format!("{RAW}{RAW}"), &none), // pipelined
            (format!("{RAW}1234"), &short),
        ] {
            let read = read(&[(&first, headers), (RAW, &none), (RAW, &none)], 1000).await;
            let first = first.replacen(RAW, ESCAPED, 1);
            assert_eq!(read, format!("{first}{RAW}{RAW}"));
        }
    }
}
