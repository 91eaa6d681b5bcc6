//! Who holds a session id, and who only seems to.

use super::support::{Poller, Server, WebSocket, Well as _, options, request, url};
use crate::edge::EdgeOptions;

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// Ids that an attacker might try with public knowledge.
fn guesses(poller: &Poller, sid: &str) -> Vec<String> {
    let (node, signed) = poller.id.split_once('.').expect("a node and a signature");
    let flipped = if signed.ends_with('A') { 'B' } else { 'A' };
    vec![
        sid.into(),
        format!("{node}.{sid}"),
        format!("{node}.{sid}AAAAAAAAAAAAAAAA"),
        format!("{node}.{}{flipped}", &signed[..31]),
        format!("{node}.{}", &signed[..31]),
        format!("n2.{signed}"),
        format!("{node}."),
        signed.into(),
    ]
}

#[tokio::test]
async fn a_session_can_not_be_taken_with_anything_but_its_own_id() {
    let mut server = Server::start().await;
    let (poller, sid) = server.polls().await;
    for guess in guesses(&poller, sid.as_str()) {
        let thief = Poller { id: guess.clone(), ..poller.clone() };
        assert_eq!(thief.poll().await, (400, UNKNOWN.into()), "GET {guess}");
        assert_eq!(thief.post("1").await, (400, UNKNOWN.into()), "POST {guess}");
        let upgrade = format!("EIO=4&transport=websocket&sid={guess}");
        let refused = WebSocket::try_at(server.address, &upgrade).await.err();
        assert_eq!(refused, Some((400, UNKNOWN.into())), "upgrade {guess}");
    }
    poller.is_well().await;
    server.saw_nothing_else();
}

#[tokio::test]
async fn the_public_id_of_a_websocket_disturbs_it_in_no_way() {
    let mut server = Server::start().await;
    let (mut ws, sid) = server.websocket().await;
    for id in [sid.to_string(), format!("n1.{sid}")] {
        for query in ["EIO=4&transport=polling", "EIO=3&transport=polling"] {
            let url = url(server.address, &format!("{query}&sid={id}"));
            let refused = request(reqwest::Client::new().post(url).body("1")).await;
            assert_eq!(refused, (400, UNKNOWN.into()));
        }
    }
    ws.is_well().await;
}

#[tokio::test]
async fn of_two_ids_in_the_query_the_last_one_is_meant_as_in_node() {
    let mut server = Server::start().await;
    let (victim, sid) = server.polls().await;
    let own = Poller::open(server.address).await;
    let thief = Poller { id: format!("{}&sid={sid}", own.id), ..own.clone() };
    assert_eq!(thief.post("1").await, (400, UNKNOWN.into()));
    let twice = Poller { id: format!("{sid}&sid={}", own.id), ..own.clone() };
    assert_eq!(twice.post("1").await.0, 200);
    assert_eq!(own.poll().await, (400, UNKNOWN.into()), "it has closed its own");
    victim.is_well().await;
}

#[tokio::test]
async fn an_id_signed_by_another_node_is_not_ours_to_answer() {
    let server = Server::start().await;
    let other = Server::with(EdgeOptions { node_id: "n2".into(), ..options() }, false).await;
    let foreign = Poller::open(other.address).await;
    let astray = Poller { address: server.address, ..foreign.clone() };
    assert_eq!(astray.poll().await, (400, UNKNOWN.into()));
    assert_eq!(foreign.post("40").await.0, 200);
}

#[tokio::test]
async fn sessions_survive_a_rotation_of_the_secrets() {
    let mut server = Server::start().await;
    let (poller, _) = server.polls().await;
    server.edge.set_secrets(&[b"new".to_vec(), b"secret".to_vec()]);
    poller.is_well().await;
    let (newer, _) = server.polls().await;
    server.edge.set_secrets(&[b"new".to_vec()]);
    assert_eq!(poller.poll().await, (400, UNKNOWN.into()));
    newer.is_well().await;
}

#[tokio::test]
async fn a_session_says_good_bye() {
    let mut server = Server::start().await;
    let (poller, sid) = server.polls().await;
    assert_eq!(poller.post("1").await.0, 200);
    server.sees_disconnect(sid).await;
    assert_eq!(poller.poll().await, (400, UNKNOWN.into()));
    assert!(server.transports.is_empty());
}
