use std::time::{Duration, Instant};

use super::*;
use test_kit::{free_port, redis::RedisServer, redis_cluster, waiting::DEADLINE};

use crate::link::redis::testing::{Reached as _, target};

async fn start(target: Target, wait: bool) -> Result<(Redis, CancellationToken), LinkError> {
    let redis = Redis::new(target);
    redis.start(wait).await?;
    let stop = redis.0.stop.clone();
    Ok((redis, stop))
}

async fn becomes(redis: &Redis, wanted: Link) {
    let mut link = redis.link();
    let reached = tokio::time::timeout(DEADLINE, link.wait_for(|link| *link == wanted)).await;
    assert!(reached.is_ok(), "not within {DEADLINE:?}: {wanted:?}");
}

async fn ping(redis: &Redis) -> String {
    let mut commands = redis.commands().expect("there is a connection");
    commands.run(&redis::cmd("PING")).await.unwrap()
}

#[tokio::test]
async fn the_connection_is_mended_when_redis_comes_back() {
    let mut server = RedisServer::start().await;
    let (redis, stop) = start(server.target(), false).await.unwrap();
    assert_eq!(ping(&redis).await, "PONG");
    server.kill();
    becomes(&redis, Link::Down).await;
    assert!(redis.commands().is_none());
    server.restart().await;
    becomes(&redis, Link::Up).await;
    assert_eq!(ping(&redis).await, "PONG");
    stop.cancel();
    becomes(&redis, Link::Down).await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_within_five_seconds() {
    let server = RedisServer::start().await;
    let (redis, _stop) = start(server.target(), false).await.unwrap();
    server.freeze();
    let frozen = Instant::now();
    becomes(&redis, Link::Down).await;
    assert!(frozen.elapsed() < Duration::from_secs(5));
    server.thaw();
    becomes(&redis, Link::Up).await;
}

#[tokio::test]
async fn where_nobody_listens_the_start_fails_and_names_the_address() {
    let nowhere = format!("redis://u:s3cret@127.0.0.1:{}", free_port());
    let error = start(target(&nowhere), false).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("cannot reach Redis at 127.0.0.1:") && !text.contains("s3cret"),
        "{text}"
    );
    let (redis, _stop) = start(target(&nowhere), true).await.unwrap();
    assert_eq!(*redis.link().borrow(), Link::Down);
}

#[tokio::test]
async fn a_wrong_password_fails_the_start() {
    let server = RedisServer::with(&["--requirepass", "right"]).await;
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port);
    let error = start(target(&url("wr0ng")), false).await.unwrap_err();
    assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    let (redis, _stop) = start(target(&url("right")), false).await.unwrap();
    assert_eq!(ping(&redis).await, "PONG");
}

#[tokio::test]
async fn in_a_cluster_commands_go_where_their_key_is() {
    let nodes = redis_cluster::start().await;
    let url = format!("{},{}", nodes[0].url(), nodes[1].url());
    let (redis, _stop) = start(target(&url), false).await.unwrap();
    let mut commands = redis.commands().unwrap();
    for key in ["a", "b", "c", "d"] {
        let () = commands.run(redis::cmd("SET").arg(key).arg(key)).await.unwrap();
        let read: String = commands.run(redis::cmd("GET").arg(key)).await.unwrap();
        assert_eq!(read, key);
    }
}
