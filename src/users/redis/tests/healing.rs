//! Redis goes, loses its data, or is slow; a node is taken for dead.

use std::sync::atomic::Ordering;

use super::*;

async fn flush(server: &RedisServer) {
    let mut connection = server.connection().await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("flushed");
}

#[tokio::test]
async fn what_redis_lost_is_listed_again() {
    let server = RedisServer::start().await;
    let (mut a, mut b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    for number in 0..500 {
        a.enter(&format!("user{number}"), number).await;
        b.enter(&format!("user{number}"), number + 1000).await;
    }
    assert_eq!((a.told().len(), b.told().len()), (500, 0));
    flush(&server).await;
    a.leave("user7", 7);
    for node in [&a, &b] {
        node.sees("user7", &[b.socket(1007)]).await;
        node.sees("user499", &[a.socket(499), b.socket(1499)]).await;
        until("all are listed", async || node.users().await == Some(500)).await;
    }
    until("nothing is dying", async || b.nodes().await == 2).await;
    assert_eq!((a.told(), b.told()), (vec![], vec![]));
}

#[tokio::test]
async fn a_bucket_that_redis_lost_is_listed_again() {
    let server = RedisServer::start().await;
    let node = Node::start("n1", server.commands().await);
    for number in 0..100 {
        node.enter("ada", number).await;
    }
    let mut delete = redis::cmd("DEL");
    delete.arg(node.bucket_keys("ada"));
    let mut connection = server.connection().await;
    delete.query_async::<()>(&mut connection).await.expect("deleted");
    let all: Vec<_> = (0..100).map(|number| node.socket(number)).collect();
    node.sees("ada", &all).await;
}

#[tokio::test]
async fn without_a_link_a_node_decides_alone_and_tells_later() {
    let server = RedisServer::start().await;
    let (mut a, mut b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    a.enter("ada", 1).await;
    a.enter("bob", 1).await;
    a.enter("cid", 1).await;
    let limit = UserLimit { max_sockets: 2, disconnect_oldest: false };
    a.source.cut();
    let before = std::time::Instant::now();
    assert!(a.directory.enter("ada".into(), a.socket(2), limit).await.is_ok());
    assert!(a.directory.enter("ada".into(), a.socket(3), limit).await.is_err());
    let oldest = UserLimit { disconnect_oldest: true, ..limit };
    let entered = a.directory.enter("ada".into(), a.socket(4), oldest).await;
    assert_eq!(entered, Ok(vec![a.socket(1)]));
    a.enter("dan", 1).await;
    // Had they waited for the link, each would have taken so long.
    assert!(before.elapsed() < DEADLINE, "nobody waits for a link that is down");
    a.leave("bob", 1);
    a.leave("ada", 1); // it was thrown out
    // What it holds is not all that there is.
    assert_eq!(a.directory.sockets("ada").await, Err(Unknown));
    assert_eq!(a.directory.users(None, 9).await, Err(Unknown));
    assert_eq!(a.directory.online(vec!["ada".into(), "bob".into()]).await, Err(Unknown));
    assert_eq!(a.directory.online(vec!["ada".into()]).await, Ok(vec![true]));
    assert_eq!(a.directory.nodes().await, Err(Unknown));
    assert_eq!(a.directory.users_here(), 3);
    b.sees("ada", &[a.socket(1)]).await;
    b.enter("ada", 9).await;

    a.told();
    a.source.mend(server.commands().await);
    b.sees("ada", &[a.socket(2), a.socket(4), b.socket(9)]).await;
    b.sees("bob", &[]).await;
    b.sees("cid", &[a.socket(1)]).await;
    b.sees("dan", &[a.socket(1)]).await;
    // Told by the other one if its own lease was over.
    let is_offline = Presence::Offline("bob".into());
    until("bob is offline", async || [a.told(), b.told()].concat().contains(&is_offline)).await;
}

#[tokio::test]
async fn a_redis_that_starts_again_empty_is_filled() {
    let mut server = RedisServer::start().await;
    let mut node = Node::start("n1", server.commands().await);
    for number in 0..50 {
        node.enter("ada", number).await;
    }
    server.kill();
    server.restart().await;
    // The link does not say so yet, and the connection is a dead one.
    node.enter("ada", 50).await;
    node.leave("ada", 0);
    node.source.cut();
    node.source.mend(server.commands().await);
    let other = Node::start("n2", server.commands().await);
    let all: Vec<_> = (1..51).map(|number| node.socket(number)).collect();
    other.sees("ada", &all).await;
    assert_eq!(node.told(), [Presence::Online("ada".into())]);
}

#[tokio::test]
async fn a_redis_that_does_not_answer_holds_nobody_up() {
    let server = RedisServer::start().await;
    let node = Node::start_with("n1", server.commands().await, LEASE, PATIENCE);
    node.enter("ada", 1).await;
    server.freeze();
    within("nobody waits for Redis", node.enter("ada", 2)).await;
    node.leave("ada", 1);
    server.thaw();
    let other = Node::start("n2", server.commands().await);
    other.sees("ada", &[node.socket(2)]).await;
}

#[tokio::test]
async fn a_node_taken_for_dead_comes_back() {
    let server = RedisServer::start().await;
    let (mut pauses, mut other) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    pauses.enter("ada", 1).await;
    pauses.enter("bob", 1).await;
    other.enter("bob", 2).await;
    pauses.told();
    pauses.source.cut();
    until("ada is offline", async || other.told() == [Presence::Offline("ada".into())]).await;
    assert_eq!(other.sockets("bob").await, [other.socket(2)]);
    pauses.source.mend(server.commands().await);
    other.sees("ada", &[pauses.socket(1)]).await;
    other.sees("bob", &[pauses.socket(1), other.socket(2)]).await;
    until("ada is online", async || pauses.told() == [Presence::Online("ada".into())]).await;
    assert_eq!(other.told(), []);
    let nodes = other.directory.nodes().await.expect("it knows");
    assert_eq!(nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
    assert!(pauses.directory.counters().failures.load(Ordering::Relaxed) > 0);
}

/// A storm of logins while Redis hangs and is far away costs nobody the lease.
#[tokio::test]
async fn a_storm_of_logins_at_a_redis_that_hangs_calls_nobody_offline() {
    let server = RedisServer::start().await;
    let way = Network::to(server.port).await;
    let (lease, patience) = (Duration::from_secs(6), Duration::from_secs(6));
    let far = target(&format!("redis://127.0.0.1:{}", way.port));
    let commands = Commands::single(
        far.connect(&far.config().set_response_timeout(Some(patience))).await.expect("a way"),
    );
    let node = Node::start_with("n1", commands, lease, patience);
    let mut other = Node::start_with("n2", server.commands().await, lease, patience);
    for number in 0..50 {
        node.enter(&format!("before{number}"), number).await;
    }
    other.sees("before49", &[node.socket(49)]).await;
    way.delay(Duration::from_millis(400));
    way.stall();
    let storm = (0..300).map(|number| {
        let (directory, socket) = (&node.directory, node.socket(1000 + number));
        async move { directory.enter(format!("user{number}").as_str().into(), socket, NONE).await }
    });
    let flow = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        way.flow();
    };
    let (entered, ()) = tokio::join!(futures_util::future::join_all(storm), flow);
    assert!(entered.iter().all(|entered| *entered == Ok(vec![])));
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counters = node.directory.counters();
    assert_eq!(
        (count(&counters.admitted_alone), count(&counters.failures)),
        (0, 0),
        "{counters:?}"
    );
    until("all are listed", async || other.users().await == Some(350)).await;
    // Longer than the lease: whoever was taken for dead would have been swept.
    let start = std::time::Instant::now();
    until("a lease has passed", async || start.elapsed() > lease + lease / 2).await;
    assert_eq!((other.users().await, other.told()), (Some(350), vec![]));
}

/// A repair of many buckets takes a few round trips, not one after the other for each.
#[tokio::test]
async fn everything_is_listed_again_in_few_round_trips() {
    let server = RedisServer::start().await;
    let way = Network::to(server.port).await;
    let far = target(&format!("redis://127.0.0.1:{}", way.port));
    let commands = far.connect(&far.config()).await.expect("a way");
    let lease = Duration::from_secs(6);
    let node = Node::start_with("n1", Commands::single(commands), lease, DEADLINE);
    for number in 0..200 {
        node.enter(&format!("user{number}"), number).await;
    }
    let way_there = Duration::from_millis(100);
    way.delay(way_there);
    flush(&server).await;
    let other = Node::start_with("n2", server.commands().await, lease, DEADLINE);
    until("it is known again", async || other.nodes().await == 2).await;
    let start = std::time::Instant::now();
    until("all are listed", async || other.users().await == Some(200)).await;
    // One after the other, the 64 of them would take at least so long.
    assert!(start.elapsed() < 64 * way_there, "{:?}", start.elapsed());
}
