//! Several nodes: limits that hold everywhere, nodes that die, nodes that go.

use futures_util::future::join_all;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_sockets_get_in_as_may_whatever_the_node() {
    let server = RedisServer::start().await;
    let mut nodes = Vec::new();
    for name in ["n1", "n2", "n3"] {
        nodes.push(Node::start_steady(name, server.commands().await));
    }
    let limit = UserLimit { max_sockets: 4, disconnect_oldest: false };
    for round in 0..100 {
        let user = format!("user{round}");
        let entering = (0..15).map(|at| {
            let node = &nodes[at % 3];
            node.directory.enter(user.as_str().into(), node.socket(at as u32), limit)
        });
        let entered = join_all(entering).await;
        assert_eq!(entered.iter().filter(|entered| entered.is_ok()).count(), 4);
        assert_eq!(nodes[round % 3].sockets(&user).await.len(), 4);
    }
}

/// What follows for a socket that has to go: its node hears of it.
fn disconnect(nodes: &[Node], gone: &UserSocket) {
    let node = nodes.iter().find(|node| node.name == gone.node).expect("one of them");
    node.directory.leave(&"ada".into(), &gone.namespace, gone.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_goes_whatever_its_node() {
    let server = RedisServer::start().await;
    let mut nodes = Vec::new();
    for name in ["n1", "n2", "n3"] {
        nodes.push(Node::start_steady(name, server.commands().await));
    }
    let limit = UserLimit { max_sockets: 4, disconnect_oldest: true };
    let mut held = Vec::new();
    for number in 0..60 {
        let node = &nodes[number as usize % 3];
        let entered = node.directory.enter("ada".into(), node.socket(number), limit).await;
        let expected = if held.len() == 4 { vec![held.remove(0)] } else { vec![] };
        assert_eq!(entered, Ok(expected.clone()));
        expected.iter().for_each(|gone| disconnect(&nodes, gone));
        held.push(node.socket(number));
    }
    // All at once: each is thrown out once, four stay.
    let entering = (60..120).map(|number| {
        let node = &nodes[number as usize % 3];
        node.directory.enter("ada".into(), node.socket(number), limit)
    });
    let gone: Vec<_> = join_all(entering).await.into_iter().flat_map(Result::unwrap).collect();
    let ids: std::collections::HashSet<_> = gone.iter().map(|socket| socket.id).collect();
    assert_eq!((gone.len(), ids.len()), (60, 60));
    gone.iter().for_each(|gone| disconnect(&nodes, gone));
    assert_eq!(nodes[0].sockets("ada").await.len(), 4);
}

#[tokio::test]
async fn the_sockets_of_a_dead_node_are_removed_once() {
    let server = RedisServer::start().await;
    let (mut a, mut b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    let mut dies = Node::start("n3", server.commands().await);
    for number in 0..300 {
        dies.enter(&format!("only{number:03}"), number).await;
        dies.enter("both", number + 1000).await;
    }
    a.enter("both", 1).await;
    until("all nodes are known", async || b.nodes().await == 3).await;
    assert_eq!(dies.told().len(), 301);
    drop(dies);
    b.sees("both", &[a.socket(1)]).await;
    until("only one is left", async || b.users().await == Some(1)).await;
    let mut offline = Vec::new();
    until("all are offline", async || {
        offline.extend(a.told());
        offline.extend(b.told());
        offline.len() >= 300
    })
    .await;
    until("its lease is over", async || a.nodes().await == 2).await;
    // Another node and its user come and go; whatever was told twice would have been told by then.
    let last = Node::start("n4", server.commands().await);
    last.enter("last", 1).await;
    last.leave("last", 1);
    last.directory.close().await;
    let is_last = Presence::Offline("last".into());
    until("the last is offline", async || {
        offline.extend(a.told());
        offline.extend(b.told());
        offline.contains(&is_last)
    })
    .await;
    offline.sort_by_key(|presence| format!("{presence:?}"));
    let mut expected: Vec<_> =
        (0..300).map(|n| Presence::Offline(format!("only{n:03}").into())).collect();
    expected.insert(0, is_last);
    assert_eq!(offline, expected);
    let swept =
        |node: &Node| node.directory.counters().swept.load(std::sync::atomic::Ordering::Relaxed);
    until("all are counted", async || swept(&a) + swept(&b) >= 600).await;
    assert_eq!(swept(&a) + swept(&b), 600);
}

#[tokio::test]
async fn a_node_that_starts_again_under_its_name_neither_inherits_nor_protects() {
    let server = RedisServer::start().await;
    let first = Node::start("n1", server.commands().await);
    first.enter("ada", 1).await;
    first.enter("bob", 1).await;
    drop(first);
    let second = Node::start("n1", server.commands().await);
    second.enter("ada", 2).await;
    second.sees("ada", &[second.socket(2)]).await;
    second.sees("bob", &[]).await;
    assert_eq!(second.nodes().await, 1);
}

#[tokio::test]
async fn a_node_that_goes_leaves_nothing_behind() {
    let server = RedisServer::start().await;
    let steady = async |name| Node::start_steady(name, server.commands().await);
    let (goes, stays) = (steady("n1").await, steady("n2").await);
    stays.enter("ada", 1).await;
    for number in 0..2000 {
        goes.enter(&format!("user{number}"), number).await;
    }
    goes.enter("ada", 2).await;
    goes.directory.close().await;
    assert_eq!(stays.directory.users(None, 9).await.expect("it knows").users, [("ada".into(), 1)]);
    let nodes = stays.directory.nodes().await.expect("it knows");
    assert_eq!(nodes.len(), 1);
    assert_eq!((nodes[0].id.as_str(), nodes[0].sockets), ("n2", 7));
    let json = serde_json::to_value(&nodes[0]).expect("plain");
    assert_eq!(json["kind"], "switchboard");
    assert!(json["started_at"].as_u64() > Some(1_700_000_000_000), "{json}");
    assert!(json["last_seen_ms"].as_u64() < Some(15_000), "{json}");
}

#[tokio::test]
async fn foreign_content_of_the_keys_does_no_harm() {
    let server = RedisServer::start().await;
    let mut connection = server.connection().await;
    let node = Node::start("n1", server.commands().await);
    node.enter("ada", 1).await;
    let [sockets, leaving] = node.bucket_keys("ada");
    let [alive, dying] = node.directory.shared.keys.nodes();
    let mut write = redis::pipe();
    for junk in [&b"junk"[..], b"\xff\xfe", b"ada\0\0junk", b"ada\0\x01\0\0", b"x\0\0\0\0"] {
        for kind in [&b""[..], b"s", b"h", b"m"] {
            write.cmd("ZADD").arg(sockets).arg(0).arg([kind, junk].concat());
        }
        write.cmd("ZADD").arg(leaving).arg(0).arg(junk);
        write.cmd("SADD").arg(dying).arg(junk);
        write.cmd("HSET").arg(alive).arg(junk).arg(junk);
    }
    write.query_async::<()>(&mut connection).await.expect("written");
    node.sees("ada", &[node.socket(1)]).await;
    assert_eq!(node.nodes().await, 1);
    until("what belongs to nobody is removed", async || {
        let mut held = redis::cmd("ZLEXCOUNT");
        held.arg(sockets).arg("[h").arg("(i");
        let held: usize = held.query_async(&mut connection).await.expect("a number");
        let dying: usize =
            redis::cmd("SCARD").arg(dying).query_async(&mut connection).await.expect("a number");
        (held, dying) == (1, 0)
    })
    .await;
    node.enter("ada", 2).await;
    node.sees("ada", &[node.socket(1), node.socket(2)]).await;
    // A key of another kind: this node decides alone until it is gone.
    let mut spoil = redis::pipe();
    spoil.cmd("DEL").arg(sockets).cmd("SET").arg(sockets).arg("text");
    spoil.query_async::<()>(&mut connection).await.expect("written");
    node.enter("ada", 3).await;
    assert_eq!(node.directory.sockets("ada").await, Err(Unknown));
    node.sees("bob", &[]).await;
    redis::cmd("DEL").arg(sockets).query_async::<()>(&mut connection).await.expect("deleted");
    node.sees("ada", &[node.socket(1), node.socket(2), node.socket(3)]).await;
}

/// Also of those who leave just then.
#[tokio::test]
async fn an_upgrade_is_told_with_a_beat() {
    let server = RedisServer::start().await;
    let (a, b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    let polls = |number| UserSocket { transport: "polling".into(), ..a.socket(number) };
    let users: Vec<String> = (0..1200).map(|number| format!("user{number}")).collect();
    for (number, user) in (0..).zip(&users) {
        let entered = a.directory.enter(user.as_str().into(), polls(number), NONE).await;
        assert_eq!(entered, Ok(vec![]));
    }
    b.sees("user7", &[polls(7)]).await;
    a.gone.1.store(true, std::sync::atomic::Ordering::Relaxed);
    a.leave("user8", 8); // it is listed as polling
    for (number, user) in (0..).zip(&users).filter(|(number, _)| *number != 8) {
        b.sees(user, &[a.socket(number)]).await;
    }
    b.sees("user8", &[]).await;
    for (number, user) in (0..).zip(&users) {
        a.leave(user, number);
    }
    b.sees_nobody().await;
    assert_eq!(a.directory.counters().repaired.load(std::sync::atomic::Ordering::Relaxed), 0);
}
