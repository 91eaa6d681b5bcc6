mod big;
mod shards;

use std::{process::Command, time::Instant};

use futures_util::FutureExt as _;
use test_kit::{
    free_port,
    redis::RedisServer,
    redis_cluster,
    waiting::{until, within},
};

use super::{
    super::suite::{self, Node},
    *,
};
use crate::{
    cluster::log::StreamNames,
    link::redis::testing::{Reached as _, target},
};

fn broker(target: Target, kind: Kind) -> Arc<dyn Carrier> {
    let rights = Arc::new(Rights::new(target.user(), target.address()));
    let streams = (kind == Kind::Streams).then(|| StreamSettings {
        names: StreamNames::new("socket.io", 1),
        max_len: 10_000,
        ordered: false,
        reads: true,
    });
    Arc::new(RedisBroker::new(target, kind, rights, Pending::default(), streams))
}

async fn node(url: &str, kind: Kind) -> Node {
    Node::start(broker(target(url), kind)).await
}

fn deaf() -> Inbound {
    Arc::new(|_: &str, _: &Bytes| {})
}

/// Nodes on a server of their own, which lives as long as the function that makes them.
async fn alone(kind: Kind) -> impl AsyncFn() -> Arc<dyn Carrier> {
    let server = RedisServer::start().await;
    async move || broker(server.target(), kind)
}

mod classic {
    use super::*;

    suite::claims!(alone(Kind::Classic).await, prefixes);
}

mod sharded {
    use super::*;

    suite::claims!(alone(Kind::Sharded).await);
}

mod with_streams {
    use super::*;

    suite::claims!(alone(Kind::Streams).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_carries_both_kinds_and_counts_everywhere() {
    let nodes = redis_cluster::start().await;
    let target = target(&format!("{},{}", nodes[0].url(), nodes[2].url()));
    suite::all(&async || broker(target.clone(), Kind::Classic)).await;
    suite::prefixes_are_plain_text(&async || broker(target.clone(), Kind::Classic)).await;
    suite::all(&async || broker(target.clone(), Kind::Sharded)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classic_frames_travel_in_a_cluster_that_has_lost_a_master() {
    let mut nodes = redis_cluster::start().await;
    let url = format!("{},{}", nodes[0].url(), nodes[1].url());
    let [ann, mut bob] = [node(&url, Kind::Classic).await, node(&url, Kind::Classic).await];
    bob.listen(&["a"]).await;
    nodes[1].kill();
    until("frames travel", async || {
        ann.say("a", "");
        bob.broker.counts().received > 0
            && ann.broker.listeners(vec!["a".into()]).await == Ok(vec![1])
    })
    .await;
    bob.hears("a", "").await;
}

/// The slot of a channel that is listened to moves to another master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_channel_is_heard_again_after_its_slot_has_moved() {
    let nodes = redis_cluster::start().await;
    let url = format!("{},{}", nodes[0].url(), nodes[1].url());
    let mut ann = node(&url, Kind::Sharded).await;
    ann.listen(&["foo", "bar"]).await;
    // `foo` is in slot 12182, at the last of the three
    redis_cluster::move_slot(&nodes, "12182", Duration::ZERO).await;
    until("foo is heard", async || {
        ann.say("foo", "moved");
        ann.broker.counts().received > 0
    })
    .await;
    ann.hears("foo", "moved").await;
    assert_eq!(ann.listeners("foo").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_of_redis_every_topic_is_heard_again() {
    let mut server = RedisServer::start().await;
    let [ann, mut bob] =
        [node(&server.url(), Kind::Classic).await, node(&server.url(), Kind::Classic).await];
    bob.listen(&["a", "gone"]).await;
    bob.broker.listen(Topic::Prefix("p:".into()));
    bob.broker.settled(&[Topic::Prefix("p:".into())]).await;
    for node in [&ann, &bob] {
        assert_eq!(
            node.broker.lapses().next().now_or_never(),
            None,
            "the first link leaves no gap"
        );
    }
    let before = Instant::now();
    server.kill();
    for node in [&ann, &bob] {
        node.becomes(Link::Down).await;
    }
    ann.say("a", "kept");
    assert_eq!(ann.broker.counts().queued, 1);
    assert!(ann.broker.listeners(vec!["a".into()]).await.is_err());
    bob.broker.unlisten(&suite::channel("gone"));
    bob.broker.listen(suite::channel("new"));
    bob.broker.settled(&[suite::channel("new")]).await; // does not wait while the link is down
    server.restart().await;
    for node in [&ann, &bob] {
        node.becomes(Link::Up).await;
        let lapse = node.broker.lapses().next().await;
        assert!(lapse.unsaid.is_none() && lapse.unheard.unwrap() < before, "{lapse:?}");
    }
    bob.hears("a", "kept").await;
    for (name, text) in [("gone", "0"), ("a", "1"), ("p:x", "2"), ("new", "3")] {
        ann.say(name, text);
    }
    bob.hears("a", "1").await;
    bob.hears("p:x", "2").await;
    bob.hears("new", "3").await;
    assert_eq!(bob.broker.counts().reconnects, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_for_too_long_is_down_and_what_was_not_sent_waits() {
    let server = RedisServer::start().await;
    let mut ann = node(&server.url(), Kind::Classic).await;
    ann.listen(&["a"]).await;
    server.freeze();
    let frozen = Instant::now();
    ann.say("a", "sent");
    until("it is sent", async || ann.broker.counts().queued == 0).await;
    for count in 0..9 {
        ann.say("a", &count.to_string());
    }
    ann.becomes(Link::Down).await;
    assert!(frozen.elapsed() < Duration::from_secs(5), "{:?}", frozen.elapsed());
    until("the other link is given up", async || ann.broker.counts().publish_errors == 1).await;
    assert_eq!(ann.broker.counts().queued, 9);
    server.thaw();
    ann.becomes(Link::Up).await;
    // Redis gave the frames that it had taken before it hung to a subscriber that is gone.
    for count in 0..9 {
        ann.hears("a", &count.to_string()).await;
    }
    let lapse = ann.broker.lapses().next().await;
    assert!(lapse.unsaid.unwrap() > frozen && lapse.unheard.unwrap() < frozen, "{lapse:?}");
    let counts = ann.broker.counts();
    assert_eq!((counts.publish_errors, counts.dropped_down, counts.reconnects), (1, 0, 1));
}

/// For less than `silence_timeout`, in each of the ways in which a Redis hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_for_a_moment_loses_nothing() {
    let server = RedisServer::start().await;
    let [ann, mut bob] =
        [node(&server.url(), Kind::Classic).await, node(&server.url(), Kind::Classic).await];
    bob.listen(&["a"]).await;
    let mut number = 0;
    for hang in [Some("ALL"), Some("WRITE"), None] {
        match hang {
            Some(what) => drop(server.command(&["CLIENT", "PAUSE", "1000", what]).await.unwrap()),
            None => server.freeze(),
        }
        let until = Instant::now() + Duration::from_millis(1200);
        while Instant::now() < until {
            ann.say("a", &number.to_string());
            number += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.thaw();
    }
    for count in 0..number {
        bob.hears("a", &count.to_string()).await;
    }
    assert_eq!(bob.broker.counts().reconnects + ann.broker.counts().reconnects, 0);
}

/// The connections of a node, as Redis lists them: those that listen, or the others.
async fn kill(server: &RedisServer, kind: &str) {
    server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_and_listening_do_not_share_their_fate() {
    let server = RedisServer::start().await;
    let [ann, mut bob] =
        [node(&server.url(), Kind::Classic).await, node(&server.url(), Kind::Classic).await];
    bob.listen(&["a"]).await;
    // Redis takes a connection for one that listens from its first channel on.
    ann.listen(&["b"]).await;
    for round in 0..5 {
        let before = Instant::now();
        kill(&server, "normal").await;
        for node in [&ann, &bob] {
            until("it is mended", async || node.broker.counts().reconnects == 2 * round + 1).await;
            assert_eq!(node.broker.lapses().next().now_or_never(), None, "all was heard");
        }
        ann.say("a", &format!("{round}"));
        bob.hears("a", &format!("{round}")).await;
        // Only listeners are cut, and they listen again at once.
        kill(&server, "pubsub").await;
        for node in [&ann, &bob] {
            until("it is mended", async || node.broker.counts().reconnects == 2 * round + 2).await;
            let lapse = node.broker.lapses().next().await;
            assert!(lapse.unheard.is_some_and(|since| since < Instant::now()), "{lapse:?}");
        }
        assert!(before.elapsed() < Duration::from_secs(5));
    }
    until("Redis has answered all", async || ann.broker.counts().published == 5).await;
    assert_eq!(ann.broker.counts().dropped_down, 0);
}

#[tokio::test]
async fn where_nobody_listens_the_start_is_refused_or_waits() {
    let port = free_port();
    let url = format!("redis://u:s3cret@127.0.0.1:{port}");
    let refused = broker(target(&url), Kind::Classic).start(deaf(), false).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot reach Redis at 127.0.0.1:{port}"));
    assert!(!format!("{refused:?}").contains("s3cret"));

    let mut server = RedisServer::start().await;
    server.kill();
    let patient = broker(server.target(), Kind::Classic);
    patient.start(deaf(), true).await.unwrap();
    assert_eq!(*patient.link().borrow(), Link::Down);
    server.restart().await;
    let up = patient.link().wait_for(|link| *link == Link::Up).await.is_ok();
    assert!(up);
}

#[tokio::test]
async fn a_redis_that_cannot_do_it_is_unfit() {
    let member = RedisServer::with(&["--cluster-enabled", "yes"]).await;
    let plain = RedisServer::start().await;
    let old = RedisServer::with(&["--rename-command", "PUBSUB", ""]).await;
    for (target, kind, reason) in [
        (member.target(), Kind::Classic, "name several nodes"),
        (target(&format!("{}?cluster=true", plain.url())), Kind::Classic, "not a node"),
        (old.target(), Kind::Sharded, "need Redis 7"),
    ] {
        let error = broker(target, kind).start(deaf(), false).await.unwrap_err();
        assert!(matches!(error, LinkError::Unfit { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_panic_in_the_node_does_not_end_the_link() {
    let server = RedisServer::start().await;
    let clumsy = broker(server.target(), Kind::Classic);
    let inbound = Arc::new(|_: &str, frame: &Bytes| assert!(!frame.is_empty()));
    clumsy.listen(suite::channel("a"));
    clumsy.start(inbound, false).await.unwrap();
    for frame in ["", "more"] {
        clumsy.publish("a", Bytes::from_static(frame.as_bytes()));
    }
    until("both are heard", async || clumsy.counts().received == 2).await;
    assert_eq!(*clumsy.link().borrow(), Link::Up);
}

#[tokio::test]
async fn a_socket_file_and_a_password_will_do() {
    let server =
        RedisServer::with(&["--unixsocket", "{dir}/r.sock", "--requirepass", "p@ss"]).await;
    let file = server.dir.join("r.sock");
    until("it has made its file", async || file.exists()).await;
    let url = format!("redis+unix://:p%40ss@{}", file.display());
    let mut ann = node(&url, Kind::Classic).await;
    ann.listen(&["a"]).await;
    ann.say("a", "by file");
    ann.hears("a", "by file").await;
}

#[tokio::test]
async fn frames_travel_by_tls_and_only_to_a_known_authority() {
    let keys = std::env::temp_dir().join(format!("switchboard-tls-{}", std::process::id()));
    std::fs::create_dir_all(&keys).unwrap();
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -keyout ca.key -out ca.pem -subj /CN=ca -addext basicConstraints=critical,CA:TRUE && \
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
        -out req.pem -subj /CN=redis && \
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' > ext && \
        openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile ext -out cert.pem";
    let made = Command::new("sh").args(["-c", script]).current_dir(&keys).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let port = free_port();
    let file = |name: &str| keys.join(name).display().to_string();
    let _server = RedisServer::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file("cert.pem"),
        "--tls-key-file",
        &file("key.pem"),
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let url = format!("rediss://localhost:{port}");
    let mut ann = node(&format!("{url}?ca={}", file("ca.pem")), Kind::Classic).await;
    ann.listen(&["a"]).await;
    ann.say("a", "sealed");
    ann.hears("a", "sealed").await;
    let stranger = broker(target(&url), Kind::Classic).start(deaf(), false).await;
    assert!(matches!(stranger, Err(LinkError::Unreachable { .. })), "{stranger:?}");
    std::fs::remove_dir_all(keys).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels_frames_travel_again_when_the_master_is_replaced() {
    let mut master = RedisServer::start().await;
    let port = master.port.to_string();
    let replica =
        RedisServer::with(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"])
            .await;
    until("the replica follows", async || {
        let role = replica.command(&["ROLE"]).await.unwrap();
        format!("{role:?}").contains("connected")
    })
    .await;
    let sentinel = RedisServer::sentinel(&master).await;
    until("the Sentinel knows the replica", async || {
        let known = sentinel.command(&["SENTINEL", "REPLICAS", "main"]).await.unwrap();
        format!("{known:?}").contains(&replica.port.to_string())
    })
    .await;
    let url = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/main", sentinel.port);
    let mut ann = node(&url, Kind::Classic).await;
    ann.listen(&["a"]).await;
    ann.say("a", "before");
    ann.hears("a", "before").await;
    master.kill();
    ann.becomes(Link::Down).await;
    ann.becomes(Link::Up).await;
    ann.say("a", "after");
    ann.hears("a", "after").await;
}
