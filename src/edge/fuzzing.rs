//! Entries for the fuzz targets in `fuzz/`. A test runs them too, with fewer inputs.

use std::{
    net::Ipv4Addr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;
use socketioxide_core::Sid;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    admission::Admission,
    rewrite::{self, Answer, Kind},
    stall::Patience,
    stream::{Before, EdgeIo, Pace},
    transport::Transport,
    transports::Transports,
};
use crate::id::SocketId;

/// A connection that takes all writes, and gives prepared bytes.
struct Memory {
    written: Vec<u8>,
    sent: std::collections::VecDeque<u8>,
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.get_mut().written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let n = this.sent.len().min(buf.remaining());
        let piece: Vec<u8> = this.sent.drain(..n).collect();
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

/// The client's view when the engine writes `bytes` in pieces of these sizes, and the engine's view
/// when the client sends the same.
fn through(bytes: &[u8], sizes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let peer = Ipv4Addr::LOCALHOST.into();
    let Ok(permit) = Admission::default().admit(peer, Instant::now()) else {
        panic!("there are no limits");
    };
    let transport = Arc::new(Transport::websocket(false, peer, permit));
    transport.expect_answer("/chat", Answer::Refused(json!({ "code": "forbidden" })));
    transport.expect_answer(
        "/chat",
        Answer::Admitted(SocketId::of_connection(Sid::ZERO, "/chat"), None),
    );
    let inner = Memory { written: Vec::new(), sent: bytes.iter().copied().collect() };
    let pace = Pace {
        max_message: 1_000_000,
        patience: Patience { timeout: Duration::from_secs(3600), min_rate: 0 },
        connect_timeout: Duration::from_secs(3600),
        ping_timeout: Duration::from_secs(3600),
    };
    let mut io =
        EdgeIo::new(inner, transport, Transports::default(), pace.into(), Before::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = sizes.iter().map(|size| usize::from(*size) + 1).chain(std::iter::repeat(4096));
    let mut read = Vec::new();
    let mut memory = vec![0; 4096];
    loop {
        let size = next.next().unwrap_or(4096).min(memory.len());
        let mut buf = ReadBuf::new(&mut memory[..size]);
        match Pin::new(&mut io).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => read.extend_from_slice(buf.filled()),
            _ => break,
        }
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = next.next().unwrap_or(4096).min(rest.len());
        match Pin::new(&mut io).poll_write(&mut cx, &rest[..n]) {
            Poll::Ready(Ok(n)) => rest = &rest[n..],
            other => panic!("a connection that takes everything: {other:?}"),
        }
    }
    let _ = Pin::new(&mut io).poll_flush(&mut cx);
    (io.inner().written.clone(), read)
}

/// Any split of any bytes equals the unsplit result.
pub fn frames(bytes: &[u8], sizes: &[u8]) {
    let (written, read) = through(bytes, sizes);
    let (written_whole, read_whole) = through(bytes, &[]);
    assert_eq!(written, written_whole);
    assert_eq!(read, read_whole, "whole messages, however they came");
}

/// No polling body panics, and one without an expected change passes unchanged.
pub fn bodies(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    assert_eq!(rewrite::body_v4(body.clone(), &mut |_: Kind, _: &str| None), body);
    let mut data = |kind: Kind, _: &str| {
        Some(match kind {
            Kind::Connect => Answer::Admitted(SocketId::random(), None),
            Kind::ConnectError => Answer::Refused(json!({ "code": "forbidden" })),
        })
    };
    rewrite::body_v4(body.clone(), &mut data);
    rewrite::body_v3(body.clone(), false, &mut data);
    rewrite::body_v3(body, true, &mut data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_split_changes_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            sizes in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            super::frames(&bytes, &sizes);
        }

        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            super::bodies(&body);
        }
    }
}
