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
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{request_line::Escaping, unread::Impatient};

/// A connection, as `connection` gives it to hyper.
pub(super) type ForHttp<S> = TokioIo<Escaping<Impatient<S>>>;

/// A connection that was upgraded.
pub(super) struct Connection {
    stream: Stream,
    /// What hyper has read behind the request, until it is read.
    early: Option<Box<[u8]>>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// `None` for a connection that `connection` does not make.
    pub(super) fn of(upgraded: Upgraded) -> Option<Self> {
        let (stream, early) = match upgraded.downcast() {
            Ok(parts) => {
                let (stream, early) = bare(parts);
                (Stream::Plain(stream), early)
            }
            Err(other) => {
                let (stream, early) = bare(other.downcast().ok()?);
                (Stream::Tls(Box::new(stream)), early)
            }
        };
        Some(Self { stream, early: Some(early).filter(|early| !early.is_empty()) })
    }
}

/// The connection itself, and what was read of it already.
fn bare<S>(parts: Parts<ForHttp<S>>) -> (S, Box<[u8]>) {
    let (stream, rest) = parts.io.into_inner().into_parts();
    (stream.into_inner(), [&*parts.read_buf, &*rest].concat().into())
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(early) = self.early.take() else {
            return match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
                Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            };
        };
        let (now, later) = early.split_at(early.len().min(buf.remaining()));
        buf.put_slice(now);
        self.early = (!later.is_empty()).then(|| later.into());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
