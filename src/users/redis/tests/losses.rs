//! Redis loses data, all of it or single keys: nobody is called offline for that.

use super::*;

/// Asks `asks` about ada, who is connected to `holds`, until it knows; it says that she is there or
/// nothing at all. Answers how often it did not know.
async fn says_nothing_false(asks: &Node, holds: &Node, what: &str) -> usize {
    let (mut unknown, start) = (0, std::time::Instant::now());
    let mut known = 0;
    // Both the first answers and those after it has been made good.
    while known < 3 {
        assert!(start.elapsed() < DEADLINE, "it does not know for too long after {what}");
        let sockets = asks.directory.sockets("ada").await;
        let online = asks.directory.online(vec!["ada".into()]).await;
        let users = asks.directory.users(None, 9).await.map(|page| page.users);
        assert!(matches!(online.as_deref(), Err(Unknown) | Ok([true])), "{what}: {online:?}");
        let expected = vec![("ada".into(), 1)];
        assert!(users == Err(Unknown) || users == Ok(expected), "{what}: {users:?}");
        match sockets {
            Err(Unknown) => unknown += 1,
            Ok(ref sockets) => assert_eq!(*sockets, [holds.socket(1)], "{what}"),
        }
        let is_known = users.is_ok() && sockets.is_ok();
        known = if is_known { known + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    unknown
}

#[tokio::test]
async fn what_is_lost_is_unknown_until_every_node_has_written_again() {
    let server = RedisServer::start().await;
    let (a, b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    a.enter("ada", 1).await;
    until("both know each other", async || (a.nodes().await, b.nodes().await) == (2, 2)).await;
    let mut connection = server.connection().await;
    let keys = &a.directory.shared.keys;
    let losses: Vec<(&str, Vec<String>)> = vec![
        ("the bucket", vec![keys.bucket(super::super::entry::bucket_of("ada"))[0].clone()]),
        ("the nodes", keys.nodes().to_vec()),
        ("all buckets", (0..64).flat_map(|bucket| keys.bucket(bucket).to_vec()).collect()),
        ("everything", Vec::new()),
    ];
    let mut not_known = 0;
    for (what, keys) in losses {
        let mut lose = redis::cmd(if keys.is_empty() { "FLUSHALL" } else { "DEL" });
        lose.arg(keys);
        lose.query_async::<()>(&mut connection).await.expect("lost");
        // Who holds her knows her sockets in any case, and says so where others matter not.
        assert_eq!(a.directory.online(vec!["ada".into()]).await, Ok(vec![true]), "{what}");
        let (unknown, _) =
            tokio::join!(says_nothing_false(&b, &a, what), says_nothing_false(&a, &a, what),);
        not_known += unknown;
    }
    // Each time, unless all is listed again before the first question.
    assert!(not_known > 0, "much was lost");
    assert!(a.directory.counters().lost.load(std::sync::atomic::Ordering::Relaxed) > 0);
}

/// With the data goes the knowledge of who lived.
#[tokio::test]
async fn a_node_that_has_not_come_back_yet_is_waited_for() {
    let server = RedisServer::start().await;
    let (a, b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    a.enter("ada", 1).await;
    b.sees("ada", &[a.socket(1)]).await;
    until("both know each other", async || b.nodes().await == 2).await;
    a.source.cut();
    let mut connection = server.connection().await;
    let start = std::time::Instant::now();
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("lost");
    until("it is known again", async || match b.directory.sockets("ada").await {
        Err(Unknown) => false,
        // She may be connected to it until its lease is over.
        Ok(sockets) => {
            assert_eq!(sockets, []);
            assert!(start.elapsed() >= LEASE, "{:?}", start.elapsed());
            true
        }
    })
    .await;
    a.source.mend(server.commands().await);
    b.sees("ada", &[a.socket(1)]).await;
}

/// A user who comes into a bucket that is lost is let in, listed, and told of once.
#[tokio::test]
async fn who_comes_while_a_bucket_is_lost_is_listed() {
    let server = RedisServer::start().await;
    let mut node = Node::start("n1", server.commands().await);
    node.enter("ada", 1).await;
    let mut lose = redis::cmd("DEL");
    lose.arg(node.bucket_keys("ada"));
    lose.query_async::<()>(&mut server.connection().await).await.expect("lost");
    node.enter("ada", 2).await;
    node.sees("ada", &[node.socket(1), node.socket(2)]).await;
    let other = Node::start("n2", server.commands().await);
    other.sees("ada", &[node.socket(1), node.socket(2)]).await;
    assert_eq!(node.told(), [Presence::Online("ada".into())]);
}

/// The last one that goes leaves nothing that stays, though another one has crashed and a user has
/// just left.
#[tokio::test]
async fn the_last_node_leaves_nothing_for_ever() {
    let server = RedisServer::start().await;
    let (crashes, last) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    crashes.enter("ada", 1).await;
    last.enter("bob", 1).await;
    until("both are known", async || last.nodes().await == 2).await;
    drop(crashes);
    until("its lease is over", async || last.nodes().await == 1).await;
    last.directory.close().await;
    let mut connection = server.connection().await;
    let keys = async || {
        let all: Vec<String> =
            redis::cmd("KEYS").arg("*").query_async(&mut connection.clone()).await.expect("keys");
        let mut of_ever = Vec::new();
        for key in &all {
            let left: i64 =
                redis::cmd("PTTL").arg(key).query_async(&mut connection.clone()).await.expect("ms");
            if left == -1 {
                of_ever.push(key.clone());
            }
        }
        (all.len(), of_ever)
    };
    assert_eq!(keys().await.1, Vec::<String>::new());
    // Who comes meanwhile takes it over.
    let next = Node::start("n3", server.commands().await);
    next.enter("cid", 1).await;
    until("it looks after what is left", async || {
        let (count, of_ever) = keys().await;
        count == of_ever.len()
    })
    .await;
    next.directory.close().await;
    until("nothing is left", async || keys().await.0 == 0).await;
    let _ = &mut connection;
}
