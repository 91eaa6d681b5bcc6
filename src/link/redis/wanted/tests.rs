use redis::Value;
use test_kit::{
    network::Network,
    redis::RedisServer,
    redis_cluster,
    waiting::{DEADLINE, until},
};

use crate::link::{
    Link,
    redis::{
        client::Redis,
        liveness::{self, Liveness},
        testing::{Reached as _, target},
        wanted::Wanted,
        whereabouts::Channels,
    },
};

async fn linked(url: &str) -> Redis {
    let channels = Channels { prefix: "socket.io".into(), sharded: false };
    let redis = Redis::new(target(url).with_channels(channels));
    redis.start(true).await.unwrap();
    redis
}

fn is_up(redis: &Redis) -> bool {
    *redis.link().borrow() == Link::Up
}

/// Waits until the link is down for this reason.
async fn down(redis: &Redis, why: &str) {
    until(why, async || redis.reason().is_some_and(|reason| reason.contains(why))).await;
}

async fn set(redis: &Redis, key: &str) -> Option<()> {
    let mut commands = redis.commands()?;
    let answer: redis::RedisResult<Value> = commands.run(redis::cmd("SET").arg(key).arg(1)).await;
    answer.ok().map(drop)
}

async fn get(server: &RedisServer, key: &str) -> Value {
    server.command(&["GET", key]).await.unwrap()
}

#[tokio::test]
async fn a_replica_is_refused_and_so_is_a_master_that_becomes_one() {
    let (master, server) = (RedisServer::start().await, RedisServer::start().await);
    let port = master.port.to_string();
    let why = format!("it is a replica of 127.0.0.1:{port}");

    let redis = linked(&server.url()).await;
    assert!(is_up(&redis));
    server.command(&["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
    down(&redis, &why).await;
    let error = Redis::new(target(&server.url())).start(false).await.unwrap_err().to_string();
    assert!(error.contains("cannot be used: ") && error.contains(&why), "{error}");

    server.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    until("it is a master again", async || is_up(&redis)).await;
}

#[tokio::test]
async fn a_write_that_is_refused_ends_the_link_whatever_else_is_said() {
    let (master, server) = (RedisServer::start().await, RedisServer::start().await);
    let commands = server.commands().await;
    let port = master.port.to_string();
    server.command(&["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
    let writing = async {
        let _: redis::RedisResult<Value> =
            commands.clone().run(redis::cmd("SET").arg("a").arg("b")).await;
    };
    let refused = tokio::time::timeout(DEADLINE, commands.refused());
    assert!(tokio::join!(writing, refused).1.is_ok());
}

#[tokio::test]
async fn a_link_follows_the_address_to_another_server() {
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let way = Network::to(old.port).await;
    let redis = linked(&format!("redis://127.0.0.1:{}", way.port)).await;
    assert!(is_up(&redis));
    way.point_to(new.port);
    down(&redis, "leads to another server").await;
    until("it is linked again", async || is_up(&redis)).await;
    set(&redis, "k").await.unwrap();
    assert_ne!(get(&new, "k").await, Value::Nil);
    assert_eq!(get(&old, "k").await, Value::Nil);
}

#[tokio::test]
async fn a_link_follows_the_sentinels_though_the_old_master_goes_on() {
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let sentinel = RedisServer::sentinel(&old).await;
    let redis = linked(&format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port)).await;
    assert!(is_up(&redis));
    sentinel.command(&["SENTINEL", "REMOVE", "main"]).await.unwrap();
    let port = new.port.to_string();
    sentinel.command(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"]).await.unwrap();
    down(&redis, "leads to another server").await;
    until("it is linked again", async || is_up(&redis)).await;
    set(&redis, "k").await.unwrap();
    assert_ne!(get(&new, "k").await, Value::Nil);
}

#[tokio::test]
async fn a_node_that_was_removed_from_its_cluster_is_left() {
    let nodes = redis_cluster::start().await;
    // The one that goes is named first.
    let url = format!("{},{}", nodes[2].url(), nodes[0].url());
    let redis = linked(&url).await;
    let wanted = target(&url);
    let config = wanted.config();
    let lane = wanted.connect_node("127.0.0.1", nodes[2].port, &config).await.unwrap();
    let stays = wanted.connect_node("127.0.0.1", nodes[1].port, &config).await.unwrap();
    let until_dead = async |lane| {
        let life = Liveness::new(DEADLINE);
        tokio::time::timeout(
            DEADLINE,
            liveness::until_dead(lane, Wanted::of(wanted.clone()), &life),
        )
        .await
    };
    let writes = async || {
        let keys = ["a", "b", "c", "d", "e", "f"];
        let all = futures_util::future::join_all(keys.map(|key| set(&redis, key))).await;
        all.iter().all(Option::is_some)
    };
    assert!(writes().await);

    redis_cluster::remove_last(&nodes).await;
    let error = until_dead(lane).await.unwrap().to_string();
    assert!(error.contains("no longer a master with slots"), "{error}");
    until("all is written again", writes).await;
    for _ in 0..8 {
        let mut fresh = wanted.connect(&config).await.unwrap();
        let id: String = redis::cmd("CLUSTER").arg("MYID").query_async(&mut fresh).await.unwrap();
        let other = nodes[2].command(&["CLUSTER", "MYID"]).await.unwrap();
        assert_ne!(redis::from_redis_value::<String>(other).unwrap(), id);
    }
    let (life, while_they_stay) = (Liveness::new(DEADLINE), std::time::Duration::from_secs(3));
    let stays = liveness::until_dead(stays, Wanted::of(wanted.clone()), &life);
    assert!(tokio::time::timeout(while_they_stay, stays).await.is_err(), "the others stay");
}
