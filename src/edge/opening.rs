//! The program's hook before a session is opened, and how many requests may wait for it.
//!
//! Such a request has no session and no place yet, so that a slow hook would pile them up without
//! end: it is bounded here, in number and in bytes.

use std::{net::IpAddr, sync::Arc};

use axum::body::Body;
use http::{HeaderMap, Response, request::Parts};
use parking_lot::Mutex;

use super::refusal::Refusal;
use crate::future::BoxFuture;

/// The headers that are added to the answer, or the answer to a client that is refused.
pub(crate) type Verdict = Result<HeaderMap, Box<Response<Body>>>;

/// Decides whether a session is opened.
pub(crate) type OnOpening =
    Arc<dyn Fn(&Parts, IpAddr) -> BoxFuture<'static, Verdict> + Send + Sync>;

/// What may wait for the hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) requests: usize,
    /// Of the requests' addresses and headers.
    pub(super) bytes: usize,
}

/// Some 4 kB for each request, which is more than browsers send.
const BOUNDS: Bounds = Bounds { requests: 4_096, bytes: 16 * 1024 * 1024 };

/// The memory of a header beside its own bytes.
const HEADER: usize = 64;

/// The hook, and what waits for it.
pub(super) struct Openings {
    hook: OnOpening,
    bounds: Bounds,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    requests: usize,
    bytes: usize,
}

impl Openings {
    pub(super) fn new(hook: OnOpening) -> Self {
        Self::bounded(hook, BOUNDS)
    }

    pub(super) fn bounded(hook: OnOpening, bounds: Bounds) -> Self {
        Self { hook, bounds, waiting: Arc::default() }
    }

    /// Asks the hook. The outer error: too many wait for it.
    pub(super) async fn ask(&self, parts: &Parts, client: IpAddr) -> Result<Verdict, Refusal> {
        let _place = self.place(size_of(parts))?;
        Ok((self.hook)(parts, client).await)
    }

    fn place(&self, bytes: usize) -> Result<Place, Refusal> {
        let mut waiting = self.waiting.lock();
        let fits = waiting.requests < self.bounds.requests
            && waiting.bytes.saturating_add(bytes) <= self.bounds.bytes;
        if !fits {
            return Err(Refusal::Openings);
        }
        waiting.requests += 1;
        waiting.bytes += bytes;
        Ok(Place { waiting: self.waiting.clone(), bytes })
    }
}

/// A request that waits. Its client may leave meanwhile, so the place is given back by its end.
struct Place {
    waiting: Arc<Mutex<Waiting>>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        waiting.requests -= 1;
        waiting.bytes -= self.bytes;
    }
}

/// The bytes that a waiting request takes.
fn size_of(parts: &Parts) -> usize {
    let address = parts.uri.path_and_query().map_or(0, |address| address.as_str().len());
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + HEADER
    };
    address + parts.headers.iter().map(header).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;
    use http::Request;
    use tokio::sync::Semaphore;

    use super::*;

    const ADA: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    /// A hook that waits until it is let go, and that counts.
    fn waits(go: &Arc<Semaphore>) -> OnOpening {
        let go = go.clone();
        Arc::new(move |_, _| {
            let go = go.clone();
            Box::pin(async move {
                go.acquire().await.expect("never closed").forget();
                Ok(HeaderMap::new())
            })
        })
    }

    fn request(bytes: usize) -> Parts {
        let request = Request::get("/").header("x", "v".repeat(bytes - 1 - 1 - HEADER));
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_slow_hook_holds_so_many_requests_and_no_more() {
        let go = Arc::new(Semaphore::new(0));
        let openings = Openings::bounded(waits(&go), Bounds { requests: 2, bytes: 1_000 });
        let small = request(100);
        let [mut one, mut two, three] = [0; 3].map(|_| Box::pin(openings.ask(&small, ADA)));
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        assert_eq!(three.now_or_never().expect("at once").err(), Some(Refusal::Openings));
        // A client that leaves gives its place back, and so does an answer.
        drop(one);
        let mut four = Box::pin(openings.ask(&small, ADA));
        assert!((&mut four).now_or_never().is_none());
        go.add_permits(2);
        assert!(two.now_or_never().expect("let go").is_ok_and(|answer| answer.is_ok()));
        assert!(four.now_or_never().expect("let go").is_ok_and(|answer| answer.is_ok()));
        let left = openings.waiting.lock();
        assert_eq!((left.requests, left.bytes), (0, 0));
    }

    #[test]
    fn a_slow_hook_holds_so_many_bytes_and_no_more() {
        let go = Arc::new(Semaphore::new(0));
        let openings = Openings::bounded(waits(&go), Bounds { requests: 100, bytes: 1_000 });
        let (large, rest) = (request(901), request(99));
        let mut first = Box::pin(openings.ask(&large, ADA));
        assert!((&mut first).now_or_never().is_none());
        let second = openings.ask(&request(100), ADA).now_or_never();
        assert_eq!(second.expect("at once").err(), Some(Refusal::Openings));
        assert!(openings.ask(&rest, ADA).now_or_never().is_none(), "as much as there is room for");
    }
}
