//! Websockets whose session another node holds: their bytes are passed on, in both directions.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes},
    sync::{Notify, watch},
    time::sleep,
};

use super::{Hop, turn_to_leave};
use crate::edge::{tcp::Tcp, upgraded::Connection};

/// Tunnels at one time.
const AT_ONCE: usize = 65_536;

/// Bytes that are read at once, in each direction.
const BUFFER: usize = 4096;

/// How long the rest of one direction may take after the end of the other.
const TO_END: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Tunnels {
    open: Arc<AtomicUsize>,
}

/// One tunnel's place.
pub(in crate::edge) struct Place {
    open: Arc<AtomicUsize>,
    leaving: watch::Receiver<Option<Duration>>,
}

impl Tunnels {
    pub(super) fn open(&self) -> usize {
        self.open.load(Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, AcqRel);
    }
}

impl Hop {
    /// A place for one more tunnel. `None`: there are too many, or the node drains.
    pub(in crate::edge) fn tunnel_place(&self) -> Option<Place> {
        let open = self.0.tunnels.open.clone();
        let place = Place { open, leaving: self.0.leaving.subscribe() };
        // counted first: of two that take the last place at least one is refused
        let before = place.open.fetch_add(1, AcqRel);
        (before < AT_ONCE && place.leaving.borrow().is_none()).then_some(place)
    }
}

impl Place {
    /// Passes on what either side says, until one of them ends or the node drains.
    pub(in crate::edge) async fn pass(self, client: OnUpgrade, node: OnUpgrade) {
        let (Ok(client), Ok(node)) = tokio::join!(client, node) else { return };
        let client = Connection::of(client);
        let Some(node) = bare(node) else {
            return tracing::error!("the connection to another node is none of ours");
        };
        let ended = Notify::new();
        let mut client = Watched { inner: client, ended: &ended };
        let mut node = Watched { inner: node, ended: &ended };
        tokio::select! {
            // how it ended is known to those at its ends
            _ = copy_bidirectional_with_sizes(&mut client, &mut node, BUFFER, BUFFER) => {}
            () = async { ended.notified().await; sleep(TO_END).await } => {}
            () = turn_to_leave(self.leaving.clone()) => {}
        }
        node.shutdown().await.ok();
    }
}

/// The connection to the other node.
fn bare(upgraded: Upgraded) -> Option<Connection> {
    let parts = upgraded.downcast::<TokioIo<Tcp>>().ok()?;
    Some(Connection::new(parts.io.into_inner(), parts.read_buf[..].into()))
}

/// A connection that tells when nothing more comes from it.
struct Watched<'a, S> {
    inner: S,
    ended: &'a Notify,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let is_end = match &read {
            Poll::Ready(Ok(())) => buf.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if is_end {
            self.ended.notify_one();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
