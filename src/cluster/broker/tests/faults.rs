//! What a broker does when Redis fails.

use super::*;

#[tokio::test]
async fn nobody_there_is_an_error_that_keeps_the_password() {
    let port = crate::redis::testing::free_port();
    let target = target(&format!("redis://:geheim@127.0.0.1:{port}"));
    let refused = Node::waiting(RedisBroker::new(target, WireProtocol::Classic), false).await;
    let error = refused.err().expect("nobody is there").to_string();
    assert!(error.contains(&port.to_string()), "{error}");
    assert!(!error.contains("geheim"), "{error}");
}

#[tokio::test]
async fn who_waits_is_linked_later() {
    let mut redis = Server::start().await;
    redis.kill();
    let broker = RedisBroker::new(redis.target(), WireProtocol::Classic);
    let mut node = Node::waiting(broker, true).await.expect("waits");
    node.broker.listen(Topic::Channel("later".into()));
    // Nobody is held up by a link that is down.
    node.broker.settled().await;
    node.broker.publish("later", Bytes::from_static(b"dropped"));
    assert_eq!(node.broker.counts().dropped_down, 1);
    assert_eq!(node.broker.listeners(vec!["later".into()]).await, Err(Disconnected));
    redis.restart().await;
    node.becomes(Link::Up).await;
    node.broker.publish("later", Bytes::from_static(b"heard"));
    node.hears_on("later", b"heard").await;
}

async fn mended_after(protocol: WireProtocol, fault: impl AsyncFn(&mut Server)) {
    let mut redis = Server::start().await;
    let node = || Node::start(RedisBroker::new(redis.target(), protocol));
    let (a, mut b) = (node().await, node().await);
    b.listen("before").await;
    b.broker.listen(Topic::Channel("gone".into()));
    b.broker.settled().await;
    fault(&mut redis).await;
    for node in [&a, &b] {
        until("the link was made anew", async || node.broker.counts().reconnects > 0).await;
        node.becomes(Link::Up).await;
    }
    b.broker.unlisten(&Topic::Channel("gone".into()));
    b.listen("after").await;
    for channel in ["gone", "before", "after"] {
        until("nobody or one listens", async || {
            let expected = usize::from(channel != "gone");
            a.broker.listeners(vec![channel.into()]).await == Ok(vec![expected])
        })
        .await;
        a.broker.publish(channel, Bytes::from_static(b"mended"));
    }
    b.hears_on("before", b"mended").await;
    b.hears_on("after", b"mended").await;
}

async fn crash(redis: &mut Server) {
    redis.kill();
    redis.restart().await;
}

#[tokio::test]
async fn a_redis_that_crashed_is_heard_again() {
    mended_after(WireProtocol::Classic, crash).await;
}

#[tokio::test]
async fn a_redis_with_shards_that_crashed_is_heard_again() {
    mended_after(WireProtocol::Sharded, crash).await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed() {
    let redis = Server::start().await;
    let mut node = Node::start(RedisBroker::new(redis.target(), WireProtocol::Classic)).await;
    node.listen("hung").await;
    redis.freeze();
    node.becomes(Link::Down).await;
    node.broker.publish("hung", Bytes::from_static(b"dropped"));
    redis.thaw();
    node.becomes(Link::Up).await;
    node.broker.publish("hung", Bytes::from_static(b"heard"));
    node.hears_on("hung", b"heard").await;
}

#[tokio::test]
async fn a_failover_is_followed() {
    let mut master = Server::start().await;
    let port = master.port.to_string();
    let _replica = Server::with(&["--replicaof", "127.0.0.1", &port]).await;
    until("the replica is in step", async || {
        let info = master.command(&["INFO", "replication"]).await.unwrap();
        let info: String = ::redis::from_redis_value(info).unwrap();
        info.contains("state=online")
    })
    .await;
    let sentinel = Server::sentinel(&master).await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    until("the sentinel knows both", async || {
        let known = sentinel.command(&["SENTINEL", "REPLICAS", "main"]).await;
        matches!(known, Ok(::redis::Value::Array(replicas)) if replicas.len() == 1)
    })
    .await;
    let node = || Node::start(RedisBroker::new(target(&url), WireProtocol::Classic));
    let (a, mut b) = (node().await, node().await);
    b.listen("failover").await;
    master.kill();
    for node in [&a, &b] {
        until("the link was made anew", async || node.broker.counts().reconnects > 0).await;
        node.becomes(Link::Up).await;
    }
    until("one listens", async || a.broker.listeners(vec!["failover".into()]).await == Ok(vec![1]))
        .await;
    a.broker.publish("failover", Bytes::from_static(b"mended"));
    b.hears_on("failover", b"mended").await;
}
