//! The connection of a websocket, once it speaks HTTP no more.
//!
//! What stood around it for HTTP (hyper's handle, [`Escaping`], [`Impatient`]) would cost memory and
//! a detour at each read and write for as long as the websocket lives. So it is taken off.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::upgrade::{Parts, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    request_line::Escaping,
    tcp::{Stream, Tcp},
    unread::Impatient,
};

/// A connection, as `connection` gives it to hyper.
pub(super) type ForHttp<S> = TokioIo<Escaping<Impatient<S>>>;

/// A connection that was upgraded.
pub(super) struct Connection {
    stream: Tcp,
    /// What hyper has read behind the request, until it is read.
    early: Option<Box<[u8]>>,
}

impl Connection {
    /// The connection of a client: one that `connection` has made, or one of another server.
    pub(super) fn of(upgraded: Upgraded) -> Self {
        let upgraded = match upgraded.downcast::<ForHttp<TcpStream>>() {
            Ok(parts) => return Self::bare(parts, Tcp::Plain),
            Err(other) => other,
        };
        let upgraded = match upgraded.downcast::<ForHttp<Box<dyn Stream>>>() {
            Ok(parts) => return Self::bare(parts, Tcp::Other),
            Err(other) => other,
        };
        // The one of `axum::serve`.
        match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => Self::new(Tcp::Plain(parts.io.into_inner()), parts.read_buf[..].into()),
            // What was read of it already, hyper's handle gives first.
            Err(other) => Self::new(Tcp::Other(Box::new(TokioIo::new(other))), Box::default()),
        }
    }

    /// The connection itself, without what stood around it for HTTP.
    fn bare<S>(parts: Parts<ForHttp<S>>, kind: impl FnOnce(S) -> Tcp) -> Self {
        let (stream, rest) = parts.io.into_inner().into_parts();
        let early = [&*parts.read_buf, &*rest].concat().into();
        Self::new(kind(stream.into_inner()), early)
    }

    /// A connection of which this was read already.
    pub(super) fn new(stream: Tcp, early: Box<[u8]>) -> Self {
        Self { stream, early: Some(early).filter(|early| !early.is_empty()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(early) = self.early.take() else {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        };
        let (now, later) = early.split_at(early.len().min(buf.remaining()));
        buf.put_slice(now);
        self.early = (!later.is_empty()).then(|| later.into());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
