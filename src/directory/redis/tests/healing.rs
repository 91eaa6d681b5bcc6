//! Redis goes, loses its data, or is slow; a node is taken for dead.

use std::sync::atomic::Ordering;

use super::*;

async fn flush(server: &Server) {
    let mut connection = server.connection().await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("flushed");
}

#[tokio::test]
async fn what_redis_lost_is_listed_again() {
    let server = Server::start().await;
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
        until("all are listed", async || node.directory.users(None, 1000).await.users.len() == 500)
            .await;
    }
    until("nothing is dying", async || b.directory.nodes().await.len() == 2).await;
    assert_eq!((a.told(), b.told()), (vec![], vec![]));
}

#[tokio::test]
async fn a_bucket_that_redis_lost_is_listed_again() {
    let server = Server::start().await;
    let node = Node::start("n1", server.commands().await);
    for number in 0..100 {
        node.enter("ada", number).await;
    }
    let mut delete = redis::cmd("DEL");
    delete.arg(super::super::entry::keys(super::super::entry::bucket_of("ada")));
    let mut connection = server.connection().await;
    delete.query_async::<()>(&mut connection).await.expect("deleted");
    let all: Vec<_> = (0..100).map(|number| node.socket(number)).collect();
    node.sees("ada", &all).await;
}

#[tokio::test]
async fn without_a_link_a_node_decides_alone_and_tells_later() {
    let server = Server::start().await;
    let (mut a, b) =
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
    a.leave("bob", 1);
    a.leave("ada", 1); // it was thrown out
    assert!(before.elapsed() < Duration::from_millis(500), "nobody waits for a link that is down");
    assert_eq!(a.directory.sockets("ada").await, [a.socket(2), a.socket(4)]);
    assert_eq!(a.directory.users(None, 9).await.users.len(), 3);
    b.sees("ada", &[a.socket(1)]).await;
    b.enter("ada", 9).await;

    a.told();
    a.source.mend(server.commands().await);
    b.sees("ada", &[a.socket(2), a.socket(4), b.socket(9)]).await;
    b.sees("bob", &[]).await;
    b.sees("cid", &[a.socket(1)]).await;
    b.sees("dan", &[a.socket(1)]).await;
    until("bob is offline", async || a.told().contains(&Presence::Offline("bob".into()))).await;
}

#[tokio::test]
async fn a_redis_that_starts_again_empty_is_filled() {
    let mut server = Server::start().await;
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
    let server = Server::start().await;
    let node = Node::start("n1", server.commands().await);
    node.enter("ada", 1).await;
    let mut connection = server.connection().await;
    let mut pause = redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(3000).arg("ALL");
    pause.query_async::<()>(&mut connection).await.expect("paused");
    let before = std::time::Instant::now();
    node.enter("ada", 2).await;
    node.leave("ada", 1);
    assert!(before.elapsed() < Duration::from_millis(1500));
    let other = Node::start("n2", server.commands().await);
    other.sees("ada", &[node.socket(2)]).await;
}

#[tokio::test]
async fn a_node_taken_for_dead_comes_back() {
    let server = Server::start().await;
    let (mut pauses, mut other) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    pauses.enter("ada", 1).await;
    pauses.enter("bob", 1).await;
    other.enter("bob", 2).await;
    pauses.told();
    pauses.source.cut();
    until("ada is offline", async || other.told() == [Presence::Offline("ada".into())]).await;
    assert_eq!(other.directory.sockets("bob").await, [other.socket(2)]);
    pauses.source.mend(server.commands().await);
    other.sees("ada", &[pauses.socket(1)]).await;
    other.sees("bob", &[pauses.socket(1), other.socket(2)]).await;
    until("ada is online", async || pauses.told() == [Presence::Online("ada".into())]).await;
    assert_eq!(other.told(), []);
    let nodes = other.directory.nodes().await;
    assert_eq!(nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
    assert!(pauses.directory.counters().failures.load(Ordering::Relaxed) > 0);
}
