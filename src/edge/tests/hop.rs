//! Requests that reach another node than the one of their session.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::support::{Poller, Server, WebSocket, Well as _, eventually, options, request, within};
use crate::{
    edge::{
        Addresses, EdgeOptions, Hop, HopOptions, KillReason,
        hop::{HopError, Unanswered},
    },
    future::BoxFuture,
};

/// Where the nodes of a test say that they are.
#[derive(Clone, Default)]
struct Listed(Arc<Mutex<HashMap<String, Arc<str>>>>);

impl Listed {
    fn set(&self, node: &str, address: std::net::SocketAddr) {
        self.0.lock().insert(node.into(), address.to_string().into());
    }
}

impl Addresses for Listed {
    fn address_of<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Option<Arc<str>>> {
        Box::pin(std::future::ready(self.0.lock().get(node).cloned()))
    }
}

const SECRET: &[u8] = b"secret";

fn hop(node: &str, secret: &[u8], listed: &Listed) -> Hop {
    let hop = Hop::new(HopOptions {
        node: node.into(),
        path: "/socket.io/".into(),
        secrets: vec![secret.to_vec()],
        limit: Duration::from_secs(60),
        handshake_timeout: Duration::from_secs(10),
    });
    hop.find_by(Arc::new(listed.clone()));
    hop
}

async fn node_with(name: &str, listed: &Listed, options: EdgeOptions) -> Server {
    let hop = hop(name, SECRET, listed);
    let options = EdgeOptions { node_id: name.into(), hop: Some(hop), ..options };
    let server = Server::with(options, false).await;
    listed.set(name, server.address);
    server
}

async fn nodes(names: [&str; 2]) -> (Server, Server, Listed) {
    let listed = Listed::default();
    let one = node_with(names[0], &listed, options()).await;
    let two = node_with(names[1], &listed, options()).await;
    (one, two, listed)
}

fn hop_of(server: &Server) -> &Hop {
    server.edge.hop().expect("it is in a cluster")
}

/// The same session, by way of another node.
fn by(poller: &Poller, server: &Server) -> Poller {
    Poller { address: server.address, ..poller.clone() }
}

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

#[tokio::test]
async fn a_session_is_served_by_way_of_any_node() {
    let (mut one, two, _) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let away = by(&poller, &two);
    away.is_well().await;
    let other = Poller { version: 3, ..away };
    assert_eq!(other.post("1:2").await.0, 400, "it hears what its node says");
    let counts = hop_of(&two).counts();
    let answered = counts.sent.iter().map(|(_, _, count)| count).sum::<u64>();
    assert_eq!((answered, hop_of(&one).counts().taken), (3, 3));
}

#[tokio::test]
async fn a_poll_that_is_broken_off_closes_its_session_elsewhere() {
    let (mut one, two, _) = nodes(["n1", "n2"]).await;
    let (poller, sid) = one.polls().await;
    let waiting = by(&poller, &two).poll_on_own_connection().await;
    eventually("the poll is there", || hop_of(&one).counts().taken == 1).await;
    drop(waiting);
    one.sees_disconnect(sid).await;
    assert_eq!(by(&poller, &two).poll().await, (400, UNKNOWN.into()));
}

#[tokio::test]
async fn a_poll_that_is_broken_off_before_it_arrives_closes_its_session_elsewhere() {
    let (mut one, two, listed) = nodes(["n1", "n2"]).await;
    let (poller, sid) = one.polls().await;
    // What is asked now gets no further than here.
    let hangs = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listed.set("n1", hangs.local_addr().expect("an address"));
    let waiting = by(&poller, &two).poll_on_own_connection().await;
    within("the poll comes", hangs.accept()).await.expect("a connection");
    listed.set("n1", one.address);
    drop(waiting);
    one.sees_disconnect(sid).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_on_its_way_closes_its_session_elsewhere() {
    let (one, two, _) = nodes(["n1", "n2"]).await;
    is_closed_when_its_answer_is_lost(one, &two).await;
}

#[tokio::test]
async fn so_does_one_that_is_lost_behind_a_foreign_server() {
    let listed = Listed::default();
    let mut one = node_with("n1", &listed, options()).await;
    let hop = hop("n2", SECRET, &listed);
    let options = EdgeOptions { node_id: "n2".into(), hop: Some(hop), ..options() };
    let two = Server::mounted(options).await;
    let (poller, sid) = one.polls().await;
    by(&poller, &two).is_well().await;
    assert!(one.transports.kill(sid, KillReason::Requested), "a whole answer closes nothing");
    one.sees_disconnect(sid).await;
    is_closed_when_its_answer_is_lost(one, &two).await;
}

async fn is_closed_when_its_answer_is_lost(mut one: Server, two: &Server) {
    let (poller, sid) = one.polls().await;
    // More than the connections on the way take.
    let long = format!(r#"42["echo","{}"]"#, "x".repeat(900_000));
    for _ in 0..20 {
        assert_eq!(poller.post(long.clone()).await.0, 200);
    }
    let mut waiting = by(&poller, two).poll_on_own_connection().await;
    let mut begun = [0; 1000];
    within("the answer begins", waiting.read_exact(&mut begun)).await.expect("bytes");
    drop(waiting);
    one.sees_disconnect(sid).await;
    eventually("it is gone", || one.transports.is_empty()).await;
}

#[tokio::test]
async fn a_short_answer_that_nobody_takes_closes_its_session_elsewhere() {
    let (mut one, two, _) = nodes(["n1", "n2"]).await;
    let (poller, sid) = one.polls().await;
    let cut = super::super::forwarded::CUT;
    let said = |reason: &str| Bytes::from(format!("{reason} {}", poller.id));
    let ask = async |said| hop_of(&two).ask("n1", cut, said, Duration::from_secs(5)).await;
    assert_eq!(ask(Bytes::from_static(b"nonsense")).await, Err(HopError::Refused));
    assert_eq!(ask(said("no_reason")).await, Err(HopError::Refused));
    let forged = format!("poll_aborted n1.{}", "A".repeat(32));
    assert_eq!(ask(forged.into()).await, Err(HopError::Refused));
    poller.is_well().await;
    assert_eq!(ask(said("poll_aborted")).await, Ok(Bytes::new()));
    one.sees_disconnect(sid).await;
}

#[tokio::test]
async fn a_websocket_reaches_its_session_through_another_node() {
    let (mut one, two, _) = nodes(["n1", "n2"]).await;
    let (poller, sid) = one.polls().await;
    let mut ws = by(&poller, &two).probe().await;
    ws.probes().await;
    ws.say("5").await;
    ws.is_well().await;
    assert_eq!(hop_of(&two).counts().tunnels, 1);
    drop(ws);
    one.sees_disconnect(sid).await;
    eventually("the tunnel ends", || hop_of(&two).counts().tunnels == 0).await;
}

#[tokio::test]
async fn a_tunnel_ends_with_the_session() {
    let (mut one, two, _) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let mut ws = by(&poller, &two).probe().await;
    ws.probes().await;
    ws.say("5").await;
    ws.is_well().await;
    one.transports.kill_all_spread(Duration::ZERO, KillReason::Requested).await;
    within("the websocket ends", ws.ends()).await;
    eventually("the tunnel ends", || hop_of(&two).counts().tunnels == 0).await;
}

#[tokio::test]
async fn a_node_that_leaves_ends_what_it_passes_on() {
    let (mut one, two, _) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let (upgraded, _) = one.polls().await;
    let mut ws = by(&upgraded, &two).probe().await;
    ws.probes().await;
    ws.say("5").await;
    ws.is_well().await;
    let away = by(&poller, &two);
    let waiting = tokio::spawn(async move { away.poll().await });
    eventually("the poll is there", || hop_of(&one).counts().taken >= 2).await;
    assert!(hop_of(&two).is_busy());
    hop_of(&two).drain(Duration::ZERO);
    within("the websocket ends", ws.ends()).await;
    assert_eq!(within("the poll ends", waiting).await.expect("no panic"), (200, "6".into()));
    eventually("nothing is under way", || !hop_of(&two).is_busy()).await;
    poller.is_well().await;
}

#[tokio::test]
async fn a_node_that_is_gone_is_said_to_know_no_session() {
    let (mut one, two, listed) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let away = by(&poller, &two);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    listed.set("n1", address);
    assert_eq!(away.poll().await, (400, UNKNOWN.into()));
    assert_eq!(away.post("2").await, (400, UNKNOWN.into()));
    let query = format!("EIO=4&transport=websocket&sid={}", away.id);
    let refused = WebSocket::try_at(away.address, &query).await.err();
    assert_eq!(refused.map(|(status, _)| status), Some(400));
    listed.0.lock().clear();
    assert_eq!(away.poll().await, (400, UNKNOWN.into()));
    assert_eq!(hop_of(&two).counts().suspects, 0, "nobody waits for it");
    listed.set("n1", one.address);
    away.is_well().await;
}

#[tokio::test]
async fn an_answer_of_anything_else_is_not_passed_on() {
    let (mut one, two, listed) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let away = by(&poller, &two);
    let stranger = Server::start().await;
    let of_others = Listed::default();
    let other = EdgeOptions {
        node_id: "n1".into(),
        hop: Some(hop("n1", b"another secret", &of_others)),
        ..options()
    };
    let of_others = Server::with(other, false).await;
    let third = node_with("n3", &listed, options()).await;
    // A server that is no node, a node of another cluster, another node, and the asking one itself.
    for wrong in [stranger.address, of_others.address, third.address, two.address] {
        listed.set("n1", wrong);
        assert_eq!(away.poll().await, (400, UNKNOWN.into()), "{wrong}");
        assert_eq!(hop_of(&two).counts().suspects, 1);
        listed.set("n1", one.address);
        eventually("it answers again", || hop_of(&two).counts().suspects == 0).await;
        away.is_well().await;
    }
}

/// A request as a node sends it, sealed for `node`.
async fn sealed(by: &Hop, node: &str, address: SocketAddr, poller: &Poller) -> (u16, String) {
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", poller.id);
    let header = by.sealed_for_test(node, "GET", &target, "203.0.113.7");
    let request = reqwest::Client::new().get(format!("http://{address}{target}"));
    let request =
        request.header("x-forwarded-for", "203.0.113.7").header("x-switchboard-hop", header);
    super::support::request(request).await
}

#[tokio::test]
async fn a_hop_is_taken_once() {
    let (mut one, two, listed) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let asks = hop("n3", SECRET, &listed);
    assert_eq!(sealed(&asks, "n2", two.address, &poller).await, (400, UNKNOWN.into()));
    assert_eq!(hop_of(&one).counts().taken, 0, "nothing came here");
}

#[tokio::test]
async fn a_seal_that_does_not_hold_is_refused() {
    let (mut one, _two, listed) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let stranger = hop("n2", b"another secret", &listed);
    let refused = (400, r#"{"code":3,"message":"Bad request"}"#.to_owned());
    assert_eq!(sealed(&stranger, "n1", one.address, &poller).await, refused);
    for header in ["", "1", "yes", "1.0.A.-.A"] {
        let request = reqwest::Client::new().get(poller.url()).header("x-switchboard-hop", header);
        assert_eq!(super::support::request(request).await, refused, "{header}");
    }
    assert_eq!(hop_of(&one).counts().forged, 5);
    poller.is_well().await;
}

#[tokio::test]
async fn forged_ids_cost_no_hop() {
    let (mut one, two, _) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let mut ids = vec![
        poller.id.replace("n1.", "n3."),
        poller.id[..poller.id.len() - 1].to_owned(),
        format!("{}A", poller.id),
        format!("n1.{}", "A".repeat(32)),
        "n1.".into(),
        poller.id[3..].to_owned(),
    ];
    ids.push(format!("n1.{}", poller.id));
    for id in ids {
        let away = Poller { id, ..by(&poller, &two) };
        assert_eq!(away.poll().await, (400, UNKNOWN.into()));
        assert_eq!(away.post("2").await, (400, UNKNOWN.into()));
    }
    let counts = hop_of(&two).counts();
    assert_eq!(counts.sent.iter().map(|(_, _, count)| count).sum::<u64>(), 0);
    poller.is_well().await;
}

#[tokio::test]
async fn the_node_of_a_session_hears_who_the_client_is_and_nothing_that_it_need_not_know() {
    let listed = Listed::default();
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let mut one = node_with("n1", &listed, options()).await;
    let two = node_with("n2", &listed, EdgeOptions { trusted_proxies, ..options() }).await;
    let (poller, _) = one.polls().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listed.set("n1", listener.local_addr().expect("an address"));
    let asked = reqwest::Client::new()
        .post(by(&poller, &two).url())
        .header("x-forwarded-for", "6.6.6.6, 203.0.113.7")
        .header("cookie", "session=mine")
        .header("authorization", "Bearer token")
        .header("content-type", "text/plain")
        .body("2");
    let asking = tokio::spawn(request(asked));
    let (mut stream, _) = within("the request comes", listener.accept()).await.expect("it does");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n2") {
        let mut piece = [0; 1024];
        let n = within("the request", stream.read(&mut piece)).await.expect("bytes");
        assert_ne!(n, 0, "{}", String::from_utf8_lossy(&head));
        head.extend_from_slice(&piece[..n]);
    }
    drop(stream);
    assert_eq!(within("an answer", asking).await.expect("no panic"), (400, UNKNOWN.into()));
    let head = String::from_utf8(head).expect("text").to_lowercase();
    let mut names: Vec<_> =
        head.lines().skip(1).filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    names.sort_unstable();
    let known = ["content-length", "content-type", "host", "x-forwarded-for", "x-switchboard-hop"];
    assert_eq!(names, known, "{head}");
    assert!(head.contains("\r\nx-forwarded-for: 203.0.113.7\r\n"), "{head}");
}

#[tokio::test]
async fn the_address_of_a_client_is_believed_with_a_seal_only() {
    let listed = Listed::default();
    let (ours, theirs) = (hop("n1", SECRET, &listed), hop("n2", SECRET, &listed));
    let target = "/socket.io/?EIO=4&transport=polling&sid=x";
    let seal = theirs.sealed_for_test("n1", "GET", target, "203.0.113.7");
    let uri = target.parse().expect("a target");
    let arrival = |said: &str, seal: Option<&str>| {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-forwarded-for", said.parse().expect("a value"));
        if let Some(seal) = seal {
            headers.insert("x-switchboard-hop", seal.parse().expect("a value"));
        }
        let arrival = ours.arrival(&http::Method::GET, &uri, &headers);
        arrival.map(|arrival| arrival.map(|arrival| arrival.client.to_string())).ok()
    };
    let client = Some(Some("203.0.113.7".to_owned()));
    assert_eq!(arrival("203.0.113.7", Some(&seal)), client);
    assert_eq!(arrival("203.0.113.7, 10.0.0.1", Some(&seal)), client, "a proxy on the way");
    assert_eq!(arrival("203.0.113.8", Some(&seal)), None);
    assert_eq!(arrival("10.0.0.1, 203.0.113.7", Some(&seal)), None);
    assert_eq!(arrival("203.0.113.7", None), Some(None));
    let nobody = theirs.sealed_for_test("n1", "GET", target, "nobody");
    assert_eq!(arrival("nobody", Some(&nobody)), None);
}

#[tokio::test]
async fn a_node_that_hangs_is_suspect_until_it_answers() {
    let (mut one, two, listed) = nodes(["n1", "n2"]).await;
    let (poller, _) = one.polls().await;
    let away = by(&poller, &two);
    // It takes connections, as the system does for a process that is stopped, and says nothing.
    let hangs = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listed.set("n1", hangs.local_addr().expect("an address"));
    let began = Instant::now();
    let (get, post) = tokio::join!(away.poll(), away.post("2"));
    assert_eq!((get, post), ((400, UNKNOWN.into()), (400, UNKNOWN.into())));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(hop_of(&two).counts().suspects, 1);
    let began = Instant::now();
    assert_eq!(away.poll().await, (400, UNKNOWN.into()));
    assert!(began.elapsed() < Duration::from_secs(4), "nobody waits behind it");
    listed.set("n1", one.address);
    eventually("it answers again", || hop_of(&two).counts().suspects == 0).await;
    away.is_well().await;
}

#[tokio::test]
async fn questions_are_answered_by_name() {
    let (one, two, _listed) = nodes(["n1", "n2"]).await;
    let patience = Duration::from_secs(10);
    hop_of(&one).answer("twice", async |question: Bytes| {
        Ok::<_, Unanswered>([&question[..], &question[..]].concat().into())
    });
    hop_of(&one).answer("never", async |_| Err::<Bytes, _>(Unanswered));
    hop_of(&one).answer("much", async |_| Ok::<_, Unanswered>(vec![0; 17 * 1024 * 1024].into()));
    let ask = async |name, question: Bytes| hop_of(&two).ask("n1", name, question, patience).await;
    assert_eq!(ask("twice", "ab".into()).await, Ok("abab".into()));
    assert_eq!(ask("twice", Bytes::new()).await, Ok(Bytes::new()));
    let large = Bytes::from(vec![b'x'; 1024 * 1024]);
    assert_eq!(ask("twice", large.clone()).await.map(|answer| answer.len()), Ok(2 * large.len()));
    assert_eq!(ask("twice", vec![b'x'; 1024 * 1024 + 1].into()).await, Err(HopError::TooLarge));
    assert_eq!(ask("never", Bytes::new()).await, Err(HopError::Refused));
    assert_eq!(ask("unknown", Bytes::new()).await, Err(HopError::Refused));
    assert_eq!(ask("much", Bytes::new()).await, Err(HopError::TooLarge));
    let nobody = hop_of(&two).ask("n3", "twice", Bytes::new(), patience).await;
    assert_eq!(nobody, Err(HopError::Gone));
    hop_of(&one).answer("slow", async |_| std::future::pending().await);
    let slow = hop_of(&two).ask("n1", "slow", Bytes::new(), Duration::from_millis(50)).await;
    assert_eq!(slow, Err(HopError::Silent));
    assert_eq!(ask("twice", "ab".into()).await, Ok("abab".into()), "nobody is suspect for it");
}

#[tokio::test]
async fn whoever_is_no_node_asks_in_vain() {
    let (one, _two, listed) = nodes(["n1", "n2"]).await;
    let ask = |header: Option<String>, body: &'static str| {
        let url = format!("http://{}/socket.io/.hop/run", one.address);
        let mut asked = reqwest::Client::new().post(url).body(body);
        if let Some(header) = header {
            asked = asked.header("x-switchboard-hop", header);
        }
        request(asked)
    };
    assert_eq!(ask(None, "").await, (403, String::new()));
    assert_eq!(ask(Some("1.0.A.-.A".into()), "").await, (403, String::new()));
    let stranger = hop("n2", b"another secret", &listed);
    let target = "/socket.io/.hop/run";
    let forged = stranger.sealed_for_test("n1", "POST", target, "");
    assert_eq!(ask(Some(forged), "").await, (403, String::new()));
    // A seal without a body, such as that of a poll, is none for a question.
    let unsealed = hop_of(&one).sealed_for_test("n1", "POST", target, "");
    assert_eq!(ask(Some(unsealed), "other").await, (403, String::new()));
    assert_eq!(hop_of(&one).counts().taken, 1);
}

#[tokio::test]
async fn a_node_finds_itself_at_its_address_only() {
    let (one, two, listed) = nodes(["n1", "n2"]).await;
    let address = |server: &Server| server.address.to_string();
    assert!(hop_of(&one).is_reached_at(&address(&one)).await);
    assert!(!hop_of(&one).is_reached_at(&address(&two)).await);
    let namesake = node_with("n1", &listed, options()).await;
    assert!(!hop_of(&one).is_reached_at(&address(&namesake)).await, "another run of that name");
    assert!(!hop_of(&one).is_reached_at("127.0.0.1:1").await);
    assert!(!hop_of(&one).is_reached_at("no address").await);
}
