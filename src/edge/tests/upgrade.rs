//! From polling to a websocket, and back when nothing comes of it.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use super::support::{Poller, Seen, Server, Well as _, eventually, options, within};
use crate::edge::{EdgeOptions, KillReason};

#[tokio::test]
async fn a_probe_that_succeeds_takes_the_session_over() {
    let mut server = Server::start().await;
    let (poller, sid) = server.polls().await;
    let mut ws = poller.probe().await;
    let waiting = tokio::spawn({
        let poller = poller.clone();
        async move { poller.poll().await }
    });
    ws.probes().await;
    assert_eq!(within("the poll's end", waiting).await.expect("joined"), (200, "6".into()));
    ws.say("5").await;
    ws.is_well().await;
    assert_eq!(server.transports.counts().upgraded, 1);
    assert_eq!((server.transports.counts().websocket, server.transports.counts().polling), (1, 0));
    let refused = (400, r#"{"code":3,"message":"Bad request"}"#.to_owned());
    assert_eq!(poller.poll().await, refused);
    assert_eq!(poller.post("1").await, refused);
    ws.is_well().await;
    drop(ws);
    server.sees_disconnect(sid).await;
    eventually("an empty registry", || server.transports.is_empty()).await;
}

#[tokio::test]
async fn what_the_client_says_right_behind_its_decision_arrives() {
    let mut server = Server::start().await;
    let (poller, _) = server.polls().await;
    let mut ws = poller.probe().await;
    ws.probes().await;
    use futures_util::SinkExt;
    ws.stream.feed(Message::text("5")).await.expect("fed");
    ws.stream.feed(Message::text(r#"42["echo",1]"#)).await.expect("fed");
    ws.say(r#"42["echo",2]"#).await;
    assert_eq!(ws.hears().await, r#"42["echo",1]"#);
    assert_eq!(ws.hears().await, r#"42["echo",2]"#);
}

/// Ends a probe in some way, at each of its stages, and shows that nothing is lost by it.
async fn the_session_survives<F>(stages: usize, end: impl Fn(super::support::WebSocket) -> F)
where
    F: Future<Output = ()>,
{
    let options = EdgeOptions { upgrade_timeout: Duration::from_secs(1), ..options() };
    let mut server = Server::with(options, false).await;
    let (poller, sid) = server.polls().await;
    for stage in 0..=stages {
        let mut ws = poller.probe().await;
        if stage > 0 {
            ws.probes().await;
        }
        // a message that is sent while the probe is on
        server.io.of("/").expect("namespace").emit("n", &stage).await.expect("sent");
        end(ws).await;
        let failed = stage as u64 + 1;
        eventually("a failed probe", || server.transports.counts().upgrades_failed == failed).await;
        assert_eq!(server.transports.counts().upgrading, 0);
        assert_eq!(poller.poll().await, (200, format!(r#"42["n",{stage}]"#)));
        poller.is_well().await;
    }
    // and the next one succeeds
    let mut ws = poller.probe().await;
    ws.probes().await;
    ws.say("5").await;
    ws.is_well().await;
    drop(ws);
    assert!(matches!(server.sees().await, Seen::Disconnect(gone, _) if gone == sid));
}

#[tokio::test]
async fn a_probe_that_is_cut_leaves_the_session_whole() {
    the_session_survives(1, async |ws| drop(ws)).await;
}

#[tokio::test]
async fn a_probe_that_is_closed_leaves_the_session_whole() {
    the_session_survives(1, async |mut ws| ws.send(Message::Close(None)).await).await;
}

#[tokio::test]
async fn a_silent_probe_leaves_the_session_whole() {
    the_session_survives(1, async |ws| ws.ends().await).await;
}

#[tokio::test]
async fn a_probe_that_talks_nonsense_leaves_the_session_whole() {
    the_session_survives(1, async |mut ws| {
        ws.say("4nonsense").await;
        ws.ends().await;
    })
    .await;
}

#[tokio::test]
async fn a_second_websocket_is_turned_away() {
    let mut server = Server::start().await;
    let (poller, _) = server.polls().await;
    let mut first = poller.probe().await;
    first.probes().await;
    let during = poller.probe().await;
    during.ends().await;
    first.say("5").await;
    first.is_well().await;
    let after = poller.probe().await;
    after.ends().await;
    first.is_well().await;
}

#[tokio::test]
async fn polls_during_a_probe_get_a_noop() {
    let mut server = Server::start().await;
    let (poller, _) = server.polls().await;
    let mut ws = poller.probe().await;
    ws.probes().await;
    assert_eq!(poller.poll().await, (200, "6".into()));
    assert_eq!(poller.post(r#"42["echo",1]"#).await.0, 200);
    ws.say("5").await;
    assert_eq!(ws.hears().await, r#"42["echo",1]"#);
}

#[tokio::test]
async fn a_session_killed_at_any_stage_of_its_upgrade_is_gone() {
    let mut server = Server::start().await;
    for stage in 0..3 {
        let (poller, sid) = server.polls().await;
        let mut ws = poller.probe().await;
        if stage > 0 {
            ws.probes().await;
        }
        if stage > 1 {
            ws.say("5").await;
        }
        assert!(server.transports.kill(sid, KillReason::Requested), "stage {stage}");
        server.sees_disconnect(sid).await;
        eventually("an empty registry", || server.transports.is_empty()).await;
        assert_eq!(poller.poll().await.0, 400);
    }
}

#[tokio::test]
async fn without_websockets_no_upgrade_is_offered() {
    let server = Server::with(EdgeOptions { websocket: false, ..options() }, false).await;
    let (_, body) = super::support::request(
        reqwest::Client::new().get(super::support::url(server.address, "EIO=4&transport=polling")),
    )
    .await;
    assert!(body.contains(r#""upgrades":[]"#), "{body}");
    let poller = Poller::open(server.address).await;
    let query = format!("EIO=4&transport=websocket&sid={}", poller.id);
    let refused = super::support::WebSocket::try_at(server.address, &query).await.err();
    assert_eq!(refused, Some((400, r#"{"code":0,"message":"Transport unknown"}"#.into())));
}
