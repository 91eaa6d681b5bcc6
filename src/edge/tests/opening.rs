//! The program's hook before a session is opened.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::Semaphore;

use super::support::{Server, options, request, url};
use crate::edge::{
    opening::{Bounds, OnOpening, Openings},
    reasons::RefuseReason,
};

#[tokio::test]
async fn what_is_too_much_for_a_slow_hook_hears_so_at_once() {
    let (go, asked) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let hook: OnOpening = Arc::new({
        let (go, asked) = (go.clone(), asked.clone());
        move |_, _| {
            let go = go.clone();
            asked.add_permits(1);
            Box::pin(async move {
                go.acquire().await.expect("never closed").forget();
                Ok(HeaderMap::new())
            })
        }
    });
    let server = Server::with(options(), false).await;
    let bounds = Bounds { requests: 1, bytes: 100_000 };
    server.edge.set_openings(Openings::bounded(hook, bounds));
    let address = server.address;
    let open = move || async move {
        let url = url(address, "EIO=4&transport=polling");
        request(reqwest::Client::new().get(url)).await
    };
    let first = tokio::spawn(open());
    drop(asked.acquire().await.expect("never closed"));
    let (status, body) = open().await;
    assert_eq!(status, 503);
    assert_eq!(body, r#"{"code":4,"message":"Too many requests at once"}"#);
    let refused = server.transports.counts().refused;
    let count = refused.iter().find(|(reason, _)| *reason == RefuseReason::Openings);
    assert_eq!(count, Some(&(RefuseReason::Openings, 1)));
    go.add_permits(2);
    assert_eq!(first.await.expect("no panic").0, 200);
    assert_eq!(open().await.0, 200, "there is a place again");
}
