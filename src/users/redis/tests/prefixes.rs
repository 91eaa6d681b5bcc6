//! Two clusters on one Redis.

use super::*;

#[tokio::test]
async fn clusters_with_different_prefixes_share_nothing() {
    let server = RedisServer::start().await;
    let limit = UserLimit { max_sockets: 1, disconnect_oldest: false };
    let start = async |name, key_prefix| {
        let how = As { key_prefix, limit, ..As::default() };
        Node::start_as(name, server.commands().await, how)
    };
    let mut nodes = Vec::new();
    for prefix in ["production", "staging", "production:", "{production}", "production:{u34}"] {
        nodes.push(start("n1", prefix).await);
    }
    for (number, node) in (0..).zip(&nodes) {
        let entered = node.directory.enter("ada".into(), node.socket(number), limit).await;
        assert_eq!(entered, Ok(vec![]));
    }
    for (number, node) in (0..).zip(&mut nodes) {
        assert_eq!(node.sockets("ada").await, [node.socket(number)]);
        assert_eq!((node.nodes().await, node.users().await), (1, Some(1)));
        assert_eq!(node.told(), [Presence::Online("ada".into())]);
    }
    let gone = nodes.remove(0);
    gone.directory.close().await;
    for (number, node) in (1..).zip(&nodes) {
        assert_eq!(node.sockets("ada").await, [node.socket(number)]);
    }
    let again = start("n1", "production").await;
    again.sees("ada", &[]).await;
}
