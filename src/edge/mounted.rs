//! Requests that a server of the program has read: the edge has no hand on their connection.
//!
//! What happens below HTTP elsewhere is made up for here as far as it can be. A request's head is
//! bounded, because a session keeps it. A large answer to a poll is handed over piece by piece, so
//! that a client that does not read leaves only a few pieces with the server: the others are let go
//! when it is given up.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{FutureExt, future::poll_fn};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Collected};
use socketioxide::adapter::Adapter;
use tokio::sync::mpsc;

use super::{
    connection::{LARGEST_HEAD, MOST_HEADERS},
    reasons::KillReason,
    refusal::Refusal,
    router::Edge,
    stall::{Patience, Stall},
    transports::Transports,
    unread::Unread,
};

/// Bytes of a piece. hyper takes at most 16 of them before its connection has taken any.
const PIECE: usize = 16 * 1024;

/// Bytes of an answer that is handed over whole.
const SMALL: u64 = 4 * PIECE as u64;

impl<A: Adapter> Edge<A> {
    /// Answers a request below the path, as [`handle`](Self::handle) does.
    pub(crate) async fn handle_mounted<B>(
        self: Arc<Self>,
        request: Request<B>,
        peer: SocketAddr,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if !fits(&request) {
            return self.refuse(Refusal::HeadTooLarge);
        }
        let (patience, transports) = (self.options.patience(), self.transports.clone());
        in_pieces(self.handle(request, peer).await, patience, transports)
    }
}

/// Whether the head of a request is no larger than on a connection of ours.
fn fits<B>(request: &Request<B>) -> bool {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let lines = request.headers().iter();
    // A colon, a space and the end of the line.
    let bytes = lines.map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.headers().len() <= MOST_HEADERS && target + bytes.sum::<usize>() <= LARGEST_HEAD
}

/// The answer to a poll in pieces, if it is large.
fn in_pieces(
    response: Response<Body>,
    patience: Patience,
    transports: Transports,
) -> Response<Body> {
    let Some(unread) = Unread::of(&response) else { return response };
    if unread.is_elsewhere() {
        return response
            .map(|body| Body::new(Forwarded { body, unread, transports, is_over: false }));
    }
    if response.body().size_hint().lower() <= SMALL {
        return response;
    }
    let (head, body) = response.into_parts();
    // It is in memory already.
    let Some(Ok(body)) = body.collect().now_or_never().map(|read| read.map(Collected::to_bytes))
    else {
        return Refusal::Internal.response();
    };
    let (to, pieces) = mpsc::channel(1);
    let left = body.len() as u64;
    tokio::spawn(feed(unread, body, to, patience, transports));
    Response::from_parts(head, Body::new(Pieces { pieces, left }))
}

/// Hands over the answer at the pace of its reader. Gives the session up if that is too slow or has
/// gone, and hands over no more once the session is cut.
async fn feed(
    unread: Arc<Unread>,
    mut rest: Bytes,
    to: mpsc::Sender<Bytes>,
    patience: Patience,
    transports: Transports,
) {
    let mut stall = None;
    let mut taken = 0;
    while !rest.is_empty() {
        let too_slow = poll_fn(|cx| {
            if unread.is_cut(cx) {
                return Poll::Ready(KillReason::Requested);
            }
            let stall = stall.get_or_insert_with(|| Stall::new(patience, taken));
            stall.poll(cx, patience, taken)
        });
        let place = tokio::select! {
            biased;
            place = to.reserve() => place.map_err(|_| KillReason::PollAborted),
            reason = too_slow => Err(reason),
        };
        match place {
            Ok(place) => {
                let piece = rest.split_to(rest.len().min(PIECE));
                taken += piece.len() as u64;
                place.send(unread.piece(&piece));
            }
            // For a session that was cut before, the reason of that time stays.
            Err(reason) => return unread.is_lost(&transports, reason),
        }
    }
}

/// The answer on its way to the server.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    left: u64,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        match ready!(self.pieces.poll_recv(cx)) {
            Some(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An answer that another node gives in pieces. Dropped before its end, it is lost.
struct Forwarded {
    body: Body,
    unread: Arc<Unread>,
    transports: Transports,
    is_over: bool,
}

impl http_body::Body for Forwarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.is_over = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        // A body of known length is not asked for more when all of it has come.
        if !self.is_over && !self.body.is_end_stream() {
            self.unread.is_lost(&self.transports, KillReason::PollAborted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: usize, bytes: usize) -> Request<()> {
        let mut request = Request::get("/socket.io/?EIO=4");
        for line in 0..lines {
            request = request.header(format!("x-{line}"), "x".repeat(bytes));
        }
        request.body(()).expect("a request")
    }

    #[test]
    fn a_head_is_bounded_as_on_a_connection_of_ours() {
        assert!(fits(&request(0, 0)));
        assert!(fits(&request(MOST_HEADERS, 40)));
        assert!(!fits(&request(MOST_HEADERS + 1, 0)), "lines");
        assert!(!fits(&request(2, LARGEST_HEAD / 2)), "bytes");
        let long = format!("/socket.io/?{}", "x".repeat(LARGEST_HEAD));
        assert!(!fits(&Request::get(long).body(()).expect("a request")), "the query");
    }
}
