//! Clients that are cut: because somebody says so, or because they are not really there.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use super::support::{Poller, Seen, Server, Well as _, eventually, options, rest_of, within};
use crate::edge::{EdgeOptions, KillReason};

fn killed(server: &Server, reason: KillReason) -> u64 {
    let counts = server.transports.counts();
    counts.killed.iter().find(|(kind, _)| *kind == reason).map_or(0, |(_, n)| *n)
}

#[tokio::test]
async fn a_killed_websocket_is_gone_for_client_and_server() {
    let mut server = Server::start().await;
    let (ws, sid) = server.websocket().await;
    let (mut other, _) = server.websocket().await;
    assert!(server.transports.kill(sid, KillReason::SlowConsumer));
    assert!(!server.transports.kill(sid, KillReason::SlowConsumer), "it is cut already");
    server.sees_disconnect(sid).await;
    ws.ends().await;
    eventually("one transport left", || server.transports.all().len() == 1).await;
    assert_eq!(killed(&server, KillReason::SlowConsumer), 1);
    other.is_well().await;
}

#[tokio::test]
async fn a_killed_polling_session_is_gone_for_client_and_server() {
    let mut server = Server::start().await;
    let (poller, sid) = server.polls().await;
    let waiting = poller.poll_on_own_connection().await;
    assert!(server.transports.kill(sid, KillReason::Drain));
    server.sees_disconnect(sid).await;
    eventually("an empty registry", || server.transports.is_empty()).await;
    assert_eq!(poller.poll().await.0, 400);
    drop(waiting);
}

#[tokio::test]
async fn no_session_waits_until_another_one_has_ended() {
    let mut server = Server::start().await;
    // Nobody here hears the farewell of a session that has joined nothing: each waits for it.
    server.transports.set_farewell("/farewell", b"0/farewell,", true);
    for _ in 0..30 {
        Poller::open(server.address).await;
    }
    let strangers = server.transports.all();
    let (_poller, sid) = server.polls().await;
    for stranger in strangers {
        assert!(server.transports.kill(stranger, KillReason::Vanished));
    }
    assert!(server.transports.kill(sid, KillReason::TakenOver));
    server.sees_disconnect(sid).await;
}

#[tokio::test]
async fn a_poll_that_is_broken_off_closes_its_session() {
    let mut server = Server::start().await;
    let (poller, sid) = server.polls().await;
    drop(poller.poll_on_own_connection().await);
    server.sees_disconnect(sid).await;
    eventually("an empty registry", || server.transports.is_empty()).await;
    assert_eq!(killed(&server, KillReason::PollAborted), 1);
    assert_eq!(poller.poll().await.0, 400);
}

#[tokio::test]
async fn two_polls_at_once_end_the_session() {
    let mut server = Server::start().await;
    let (poller, sid) = server.polls().await;
    let first = tokio::spawn({
        let poller = poller.clone();
        async move { poller.poll().await }
    });
    let second = poller.poll().await;
    let first = within("the other poll", first).await.expect("joined");
    assert!(first.0 == 400 || second.0 == 400, "{first:?} {second:?}");
    server.sees_disconnect(sid).await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_gone_while_others_get_everything() {
    let options = EdgeOptions { stall_timeout: Duration::from_secs(1), ..options() };
    let mut server = Server::with(options, false).await;
    let (_stalled, sid) = server.websocket().await;
    let (mut reader, _) = server.websocket().await;
    let text = "x".repeat(100_000);
    let reading = tokio::spawn(async move {
        let mut n = 0;
        while n < 300 {
            let heard = reader.hears().await;
            assert!(heard.starts_with(&format!(r#"42["n",{n},"#)), "{}", &heard[..20]);
            n += 1;
        }
        reader
    });
    for n in 0..300 {
        server.io.of("/").expect("namespace").emit("n", &(n, &text)).await.expect("sent");
    }
    server.sees_disconnect(sid).await;
    assert_eq!(killed(&server, KillReason::Stalled), 1);
    within("all messages", reading).await.expect("joined").is_well().await;
}

#[tokio::test]
async fn a_poller_that_never_comes_back_is_swept() {
    let options = EdgeOptions {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(100),
        ..options()
    };
    let server = Server::with(options, false).await;
    Poller::open(server.address).await;
    eventually("it is swept", || killed(&server, KillReason::Vanished) == 1).await;
    eventually("an empty registry", || server.transports.is_empty()).await;
}

#[tokio::test]
async fn a_poller_that_goes_on_is_not_swept() {
    let options = EdgeOptions {
        ping_interval: Duration::from_millis(400),
        ping_timeout: Duration::from_secs(60),
        ..options()
    };
    let mut server = Server::with(options, false).await;
    let (poller, _) = server.polls().await;
    for _ in 0..5 {
        assert_eq!(poller.poll().await, (200, "2".into()));
        assert_eq!(poller.post("3").await.0, 200);
    }
    assert_eq!(server.transports.all().len(), 1);
}

#[tokio::test]
async fn the_first_ping_comes_after_everything_that_came_before_the_interval() {
    let options = EdgeOptions { ping_interval: Duration::from_secs(1), ..options() };
    let mut server = Server::with(options, false).await;
    let start = std::time::Instant::now();
    let (mut ws, _) = server.websocket().await;
    ws.is_well().await;
    assert_eq!(ws.hears().await, "2");
    assert!(start.elapsed() >= Duration::from_secs(1), "no ping before the interval");
    ws.say("3").await;
    ws.is_well().await;

    let start = std::time::Instant::now();
    let (poller, _) = server.polls().await;
    poller.is_well().await;
    assert_eq!(poller.poll().await, (200, "2".into()));
    assert!(start.elapsed() >= Duration::from_secs(1), "no ping before the interval");
}

#[tokio::test]
async fn who_does_not_answer_a_ping_is_gone() {
    let options = EdgeOptions {
        ping_interval: Duration::from_secs(1),
        ping_timeout: Duration::from_millis(100),
        ..options()
    };
    let mut server = Server::with(options, false).await;
    let (mut ws, sid) = server.websocket().await;
    assert_eq!(ws.hears().await, "2");
    assert_eq!(server.sees().await, Seen::Disconnect(sid, "HeartbeatTimeout".into()));
    eventually("an empty registry", || server.transports.is_empty()).await;
}

#[tokio::test]
async fn a_websocket_message_that_is_too_large_ends_that_session_only() {
    let mut server = Server::with(EdgeOptions { max_payload: 1000, ..options() }, false).await;
    let (mut ws, sid) = server.websocket().await;
    let (mut other, _) = server.websocket().await;
    ws.send(Message::text(format!("4{}", "2".repeat(1000)))).await;
    server.sees_disconnect(sid).await;
    ws.ends().await;
    other.is_well().await;
}

#[tokio::test]
async fn a_drain_moves_everybody() {
    const CLIENTS: usize = 200;
    let mut server = Server::start().await;
    let mut sockets = Vec::new();
    let mut pollers = Vec::new();
    for n in 0..CLIENTS {
        if n % 4 == 0 {
            pollers.push(server.polls().await.0);
        } else {
            sockets.push(server.websocket().await.0);
        }
    }
    // load: everybody hears everything until cut
    let stop = tokio_util::sync::CancellationToken::new();
    let load = tokio::spawn({
        let (io, stop) = (server.io.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                io.of("/").expect("namespace").emit("n", "x").await.ok();
                tokio::time::sleep(Duration::from_millis(1)).await; // the load's rate
            }
        }
    });
    let ends = sockets.into_iter().map(|ws| tokio::spawn(ws.ends())).collect::<Vec<_>>();
    server.edge.start_draining();
    let refused =
        super::support::WebSocket::try_at(server.address, "EIO=4&transport=websocket").await;
    assert_eq!(refused.err().map(|(status, _)| status), Some(503));
    server.transports.kill_all_spread(Duration::from_millis(300), KillReason::Drain).await;
    for end in ends {
        within("the end of a websocket", end).await.expect("joined");
    }
    let mut gone = 0;
    while gone < CLIENTS {
        match server.sees().await {
            Seen::Disconnect(..) => gone += 1,
            other @ Seen::Connect(_) => panic!("{other:?} while draining"),
        }
    }
    stop.cancel();
    load.await.expect("joined");
    for poller in pollers {
        assert_eq!(poller.poll().await.0, 400);
    }
    eventually("an empty registry", || server.transports.is_empty()).await;
    assert_eq!(killed(&server, KillReason::Drain), CLIENTS as u64);
}

#[tokio::test]
async fn a_kill_reaches_a_poll_that_waits() {
    let mut server = Server::start().await;
    let (poller, sid) = server.polls().await;
    let waiting = tokio::spawn({
        let poller = poller.clone();
        async move { poller.poll().await }
    });
    // the echo proves that the poll was answered; the next one is what waits when the kill comes
    assert_eq!(poller.post(r#"42["echo",1]"#).await.0, 200);
    assert_eq!(within("an echo", waiting).await.expect("joined").1, r#"42["echo",1]"#);
    let stream = poller.poll_on_own_connection().await;
    assert!(server.transports.kill(sid, KillReason::Requested));
    server.sees_disconnect(sid).await;
    drop(stream);
}

/// What a poll hears that waits while its session is cut: Engine.IO's CLOSE, or that the session is unknown.
#[tokio::test]
async fn only_a_client_that_is_to_stay_away_hears_close() {
    for reason in KillReason::ALL {
        let mut server = Server::start().await;
        let (poller, sid) = server.polls().await;
        let waiting = tokio::spawn({
            let poller = poller.clone();
            async move { poller.poll().await }
        });
        let transport = server.transports.get(sid).expect("the session");
        let turns = &transport.polling.as_ref().expect("it polls").poll;
        eventually("the poll waits", || turns.take().is_none()).await;
        assert!(server.transports.kill(sid, reason));
        let (status, body) = within("its answer", waiting).await.expect("joined");
        match reason {
            KillReason::Requested | KillReason::BadRequest | KillReason::PollAborted => {
                assert_eq!((status, &*body), (200, "1"), "{reason:?}");
            }
            _ => {
                assert_eq!(status, 400, "{reason:?}");
                assert!(body.contains(r#""code":1"#), "{reason:?}: {body}");
            }
        }
        server.sees_disconnect(sid).await;
    }
}

#[tokio::test]
async fn garbage_in_a_post_ends_that_session_only() {
    let mut server = Server::start().await;
    let (other, _) = server.polls().await;
    for garbage in ["9", "", "4\u{1e}x", "0{}"] {
        let (poller, sid) = server.polls().await;
        let (status, _) = poller.post(garbage).await;
        if status == 200 {
            assert_eq!(poller.post("1").await.0, 200, "{garbage:?} was nothing at all");
        }
        server.sees_disconnect(sid).await;
        assert_eq!(poller.poll().await.0, 400, "{garbage:?}");
    }
    other.is_well().await;
}

#[tokio::test]
async fn a_request_that_ends_in_the_middle_is_not_half_a_message() {
    let mut server = Server::start().await;
    let (poller, sid) = server.polls().await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.expect("connected");
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: a\r\n\
         Content-Length: 100\r\n\r\n42[\"echo\",1]\u{1e}",
        poller.id
    );
    use tokio::io::AsyncWriteExt;
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("shut");
    rest_of(stream).await;
    server.sees_disconnect(sid).await;
}
