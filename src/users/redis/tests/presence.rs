//! Online and offline, once in the whole cluster.

use super::*;

fn online(user: &str) -> Presence {
    Presence::Online(user.into())
}

fn offline(user: &str) -> Presence {
    Presence::Offline(user.into())
}

/// A grace time that is not over between two steps of a test, on a busy machine either.
async fn gracious(name: &str, server: &RedisServer) -> Node {
    let how = As { grace: Duration::from_secs(4), ..As::default() };
    Node::start_as(name, server.commands().await, how)
}

#[tokio::test]
async fn a_user_is_online_once_and_offline_once() {
    let server = RedisServer::start().await;
    let (mut a, mut b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    a.enter("ada", 1).await;
    b.enter("ada", 2).await;
    assert_eq!((a.told(), b.told()), (vec![online("ada")], vec![]));
    a.leave("ada", 1);
    b.leave("ada", 2);
    let mut told = Vec::new();
    until("ada is offline", async || {
        told.extend(a.told().into_iter().chain(b.told()));
        !told.is_empty()
    })
    .await;
    b.enter("ada", 3).await;
    assert_eq!((told, a.told(), b.told()), (vec![offline("ada")], vec![], vec![online("ada")]));
}

#[tokio::test]
async fn who_comes_back_on_another_node_within_the_grace_time_was_never_away() {
    let server = RedisServer::start().await;
    let (mut a, mut b) = (gracious("n1", &server).await, gracious("n2", &server).await);
    for round in 0..20 {
        let (node, other) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        node.enter("ada", round).await;
        if round > 0 {
            other.leave("ada", round - 1);
            other.sees("ada", &[node.socket(round)]).await;
        }
        node.leave("ada", round);
        node.sees("ada", &[]).await;
        other.enter("ada", round + 1).await;
        other.leave("ada", round + 1);
        other.sees("ada", &[]).await;
    }
    // Told in order, so nothing was told before bob's.
    b.enter("bob", 1).await;
    assert_eq!(a.told(), [online("ada")]);
    assert_eq!(b.told(), [online("bob")]);
    let mut told = Vec::new();
    until("ada is offline", async || {
        told.extend(a.told().into_iter().chain(b.told()));
        !told.is_empty()
    })
    .await;
    assert_eq!(told, [offline("ada")]);
}

#[tokio::test]
async fn a_user_whose_node_goes_and_who_comes_back_elsewhere_was_never_away() {
    let server = RedisServer::start().await;
    let (goes, mut stays) = (gracious("n1", &server).await, gracious("n2", &server).await);
    goes.enter("ada", 1).await;
    goes.enter("bob", 1).await;
    goes.directory.close().await;
    stays.enter("ada", 2).await;
    until("bob is offline", async || stays.told() == [offline("bob")]).await;
}

#[tokio::test]
async fn a_user_is_online_on_every_node_until_the_grace_time_is_over() {
    let server = RedisServer::start().await;
    let (a, b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    a.enter("ada", 1).await;
    b.enter("bob", 1).await;
    let users = || vec!["ada".into(), "nobody".into(), "bob".into()];
    let seen = async |node: &Node| node.directory.online(users()).await;
    until("both know each other", async || (a.nodes().await, b.nodes().await) == (2, 2)).await;
    assert_eq!((seen(&a).await, seen(&b).await), (Ok(vec![true, false, true]), seen(&a).await));
    a.leave("ada", 1);
    let left = std::time::Instant::now();
    b.sees("ada", &[]).await;
    for node in [&a, &b] {
        let online = seen(node).await;
        // On a machine that is too slow to ask in time it says nothing.
        if left.elapsed() < GRACE {
            assert_eq!(online, Ok(vec![true, false, true]));
        }
        until("she is offline", async || seen(node).await == Ok(vec![false, false, true])).await;
        assert!(left.elapsed() >= GRACE);
    }
}
