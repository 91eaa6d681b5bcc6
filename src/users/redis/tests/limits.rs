//! A limit that nodes could not see while they had no Redis holds again when they have one.

use super::*;

/// Two nodes that let in two sockets of one user each while they could not ask, and come back one
/// after the other. Answers with the sockets that were told to go, and those that stay.
async fn let_in_by_both(limit: UserLimit, first: usize) -> (Vec<UserSocket>, Vec<UserSocket>) {
    let server = RedisServer::start().await;
    let how = || As { limit, ..As::default() };
    let nodes = [
        Node::start_as("n1", server.commands().await, how()),
        Node::start_as("n2", server.commands().await, how()),
    ];
    until("both know each other", async || nodes[0].nodes().await == 2).await;
    nodes.iter().for_each(|node| node.source.cut());
    for number in 0..4 {
        let node = &nodes[number as usize % 2];
        let entered = node.directory.enter("ada".into(), node.socket(number), limit).await;
        assert_eq!(entered, Ok(vec![]));
    }
    let gone = || nodes.iter().flat_map(|node| node.gone.0.lock().clone()).collect::<Vec<_>>();
    for (node, complete) in [(&nodes[first], 2), (&nodes[1 - first], 2)] {
        node.source.mend(server.commands().await);
        until("it has listed its sockets", async || {
            node.directory.listed("ada").await.is_ok_and(|listed| listed.len() >= complete)
                && !node
                    .directory
                    .shared
                    .standing
                    .lock()
                    .lacks(super::super::entry::bucket_of("ada"))
        })
        .await;
    }
    until("two have to go", async || gone().len() >= 2).await;
    for socket in gone() {
        let node = nodes.iter().find(|node| node.name == socket.node).expect("one of them");
        node.directory.leave(&"ada".into(), "/", socket.id);
    }
    let stay = nodes[0].directory.sockets("ada").await.expect("it knows");
    nodes[1].sees("ada", &stay).await;
    // Whatever else would go would have gone with the next beats.
    let beats = LEASE;
    let start = std::time::Instant::now();
    until("some beats have passed", async || start.elapsed() > beats).await;
    nodes[0].sees("ada", &stay).await;
    let mut gone = gone();
    gone.sort_by_key(|socket| socket.connected_at);
    (gone, stay)
}

fn numbers(sockets: &[UserSocket]) -> Vec<usize> {
    let all: Vec<_> = (0..4).map(|number| socket(number, "/").id).collect();
    sockets.iter().filter_map(|socket| all.iter().position(|id| *id == socket.id)).collect()
}

#[tokio::test]
async fn the_youngest_go_once_whoever_comes_back_first() {
    for first in [0, 1] {
        let limit = UserLimit { max_sockets: 2, disconnect_oldest: false };
        let (gone, stay) = let_in_by_both(limit, first).await;
        assert_eq!((numbers(&gone), numbers(&stay)), (vec![2, 3], vec![0, 1]));
    }
}

#[tokio::test]
async fn the_oldest_go_once_whoever_comes_back_first() {
    for first in [0, 1] {
        let limit = UserLimit { max_sockets: 2, disconnect_oldest: true };
        let (gone, stay) = let_in_by_both(limit, first).await;
        assert_eq!((numbers(&gone), numbers(&stay)), (vec![0, 1], vec![2, 3]));
    }
}

/// While what is listed under its former name has not been removed.
#[tokio::test]
async fn who_goes_on_under_a_new_name_is_not_counted_twice() {
    let server = RedisServer::start().await;
    let limit = UserLimit { max_sockets: 1, disconnect_oldest: false };
    let node = Node::start_as("n1", server.commands().await, As { limit, ..As::default() });
    let entered = node.directory.enter("ada".into(), node.socket(1), limit).await;
    assert_eq!(entered, Ok(vec![]));
    let mut forget = redis::cmd("DEL");
    forget.arg(node.directory.shared.keys.nodes());
    let mut connection = server.connection().await;
    forget.query_async::<()>(&mut connection).await.expect("deleted");
    let names = async || {
        let mut names = redis::cmd("HKEYS");
        names.arg(&node.directory.shared.keys.nodes()[0]);
        let names: Vec<String> = names.query_async(&mut connection.clone()).await.expect("names");
        names.iter().any(|name| name.ends_with("~1"))
    };
    until("it has another name", names).await;
    node.sees("ada", &[node.socket(1)]).await;
    let other = Node::start("n2", server.commands().await);
    other.sees("ada", &[node.socket(1)]).await;
    assert_eq!(node.gone.0.lock().len(), 0);
}
