//! `/healthz` and `/readyz` on the public port.

use std::sync::Arc;

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::json;

use super::redis::RedisLink;
use crate::{
    cluster::peers::Peers, history::History, inbox::Inbox, sockets::node::Node, users::Directory,
};

/// The links of this node to the outside.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) peers: Option<Arc<Peers>>,
    pub(crate) commands: Option<RedisLink>,
    pub(crate) inbox: Option<Inbox>,
    pub(crate) history: Option<Arc<History>>,
}

impl Links {
    /// One reason for each link that is down, or one for both if it is the same.
    fn down(&self) -> Vec<String> {
        let frames = self.peers.as_ref().filter(|peers| !peers.is_up());
        let frames = frames.map(|peers| down(peers.broker().name(), "", peers.broker().reason()));
        let commands = self.commands.as_ref().filter(|commands| commands.is_down());
        // Most often both have the same outage, and only one of them knows the reason yet.
        let commands = commands.map(|commands| match &frames {
            None => down("redis", " for commands", commands.reason()),
            Some(frames) => match commands.reason() {
                None => frames.clone(),
                reason => down("redis", "", reason),
            },
        });
        let mut down: Vec<_> = frames.into_iter().chain(commands).collect();
        down.dedup();
        down
    }

    /// Who waits for the store. Its own words are in the log: they may name what this port should not.
    fn without_store(&self) -> Option<String> {
        let inbox = self.inbox.as_ref().filter(|inbox| !inbox.is_up()).map(|_| "the inbox");
        let history = self.history.as_ref().filter(|history| history.is_away());
        let history = history.map(|_| "the history of rooms");
        let waiting: Vec<_> = inbox.into_iter().chain(history).collect();
        let verb = if waiting.len() == 1 { "waits" } else { "wait" };
        (!waiting.is_empty()).then(|| format!("store: {} {verb} for it", waiting.join(" and ")))
    }
}

/// For Redis: `redis link down`, `redis link down for commands`.
fn down(name: &str, what: &str, reason: Option<String>) -> String {
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{name} link down{what}{reason}")
}

/// The routes. `/healthz`: the process serves. `/readyz`: it also wants new clients; otherwise 503
/// with the reasons.
pub(crate) fn routes(node: Arc<Node>, links: Links, directory: Directory) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(async move || readiness(&node, &links, &directory)))
}

fn readiness(node: &Node, links: &Links, directory: &Directory) -> impl IntoResponse + use<> {
    let draining = node.is_draining().then(|| "draining".to_owned());
    let down = links.down();
    let refused = links.peers.as_deref().and_then(Peers::trouble);
    // A link that is down or a refused command explains everything else.
    let directory = directory.trouble().filter(|_| down.is_empty() && refused.is_none());
    let directory = directory.map(|why| format!("user directory: {why}"));
    let store = links.without_store();
    let reasons: Vec<String> =
        draining.into_iter().chain(down).chain(refused).chain(directory).chain(store).collect();
    if reasons.is_empty() {
        return (StatusCode::OK, Json(json!({ "status": "ok" })));
    }
    let body = json!({ "status": "unavailable", "reasons": reasons });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}
