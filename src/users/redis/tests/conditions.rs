//! A Redis that answers and does not do what it is asked to: the node says so by name, nothing is
//! guessed, and all is well when it is over.

use super::*;
use crate::{id::UserId, link::redis::client::Redis};

async fn run(server: &RedisServer, words: &[&str]) {
    server.command(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

/// Two nodes, one of them without a user: it only beats.
async fn named_while_it_lasts(
    server: &RedisServer,
    code: &str,
    begin: &[&[&str]],
    end: &[&[&str]],
    reads: bool,
) {
    let (a, b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    a.enter("ada", 1).await;
    b.sees("ada", &[a.socket(1)]).await;
    assert_eq!((a.directory.trouble(), b.directory.trouble()), (None, None));
    for words in begin {
        run(server, words).await;
    }
    // At once, whatever the nodes have noticed: who could be listed cannot be, so nothing is known.
    if reads {
        assert_eq!(b.directory.sockets("eve").await, Err(Unknown), "{code}");
        assert_eq!(b.directory.online(vec!["eve".into()]).await, Err(Unknown), "{code}");
        assert_eq!(b.directory.users(None, 9).await, Err(Unknown), "{code}");
    }
    for node in [&a, &b] {
        let is_named = async || node.directory.trouble().is_some_and(|why| why.starts_with(code));
        until(code, is_named).await;
        assert_eq!(node.directory.nodes().await, Err(Unknown), "{code}");
    }
    a.enter("bob", 1).await;
    a.leave("ada", 1);
    a.enter("cid", 1).await;
    assert_eq!(
        a.directory.online(vec!["bob".into()]).await,
        Ok(vec![true]),
        "{code}: it holds him"
    );
    assert_eq!(b.directory.online(vec!["bob".into()]).await, Err(Unknown), "{code}");
    for words in end {
        run(server, words).await;
    }
    for node in [&a, &b] {
        until("nothing is wrong", async || node.directory.trouble().is_none()).await;
        node.sees("bob", &[a.socket(1)]).await;
        node.sees("cid", &[a.socket(1)]).await;
        node.sees("ada", &[]).await;
    }
}

#[tokio::test]
async fn a_full_redis_is_named() {
    let server = RedisServer::start().await;
    let begin: &[&[&str]] = &[&["CONFIG", "SET", "maxmemory", "1"]];
    let end: &[&[&str]] = &[&["CONFIG", "SET", "maxmemory", "0"]];
    named_while_it_lasts(&server, "OOM: ", begin, end, true).await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_is_named() {
    let server = RedisServer::with(&["--enable-protected-configs", "yes"]).await;
    let directory = server.dir.display().to_string();
    let nowhere = server.dir.join("nowhere");
    std::fs::create_dir(&nowhere).expect("made");
    run(&server, &["CONFIG", "SET", "save", "3600 1"]).await;
    run(&server, &["CONFIG", "SET", "dir", &nowhere.display().to_string()]).await;
    std::fs::remove_dir(&nowhere).expect("removed");
    // It fails in a process of its own.
    let saved = async || {
        let info = server.command(&["INFO", "persistence"]).await.expect("info");
        let info: String = redis::from_redis_value(info).expect("text");
        info.contains("rdb_last_bgsave_status:err")
    };
    let fails = async || {
        let _ = server.command(&["BGSAVE"]).await;
        saved().await
    };
    run(&server, &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]).await;
    until("a save has failed", fails).await;
    let stop: &[&[&str]] = &[&["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"]];
    let end: &[&[&str]] = &[&["CONFIG", "SET", "dir", &directory], &["SAVE"]];
    named_while_it_lasts(&server, "MISCONF: ", stop, end, true).await;
}

#[tokio::test]
async fn a_redis_without_its_replicas_is_named() {
    let server = RedisServer::start().await;
    let begin: &[&[&str]] = &[&["CONFIG", "SET", "min-replicas-to-write", "1"]];
    let end: &[&[&str]] = &[&["CONFIG", "SET", "min-replicas-to-write", "0"]];
    named_while_it_lasts(&server, "NOREPLICAS: ", begin, end, true).await;
}

#[tokio::test]
async fn a_redis_that_has_become_a_replica_is_named() {
    let (server, master) = (RedisServer::start().await, RedisServer::start().await);
    let port = master.port.to_string();
    let begin: &[&[&str]] = &[&["REPLICAOF", "127.0.0.1", &port]];
    let end: &[&[&str]] = &[&["REPLICAOF", "NO", "ONE"]];
    // It empties itself at some moment, and knows nothing then.
    named_while_it_lasts(&server, "READONLY: ", begin, end, false).await;
}

#[tokio::test]
async fn a_script_that_does_not_end_is_named() {
    let server = RedisServer::start().await;
    run(&server, &["CONFIG", "SET", "busy-reply-threshold", "50"]).await;
    let (a, b) =
        (Node::start("n1", server.commands().await), Node::start("n2", server.commands().await));
    a.enter("ada", 1).await;
    b.sees("ada", &[a.socket(1)]).await;
    let endless = server.command(&["EVAL", "while true do end", "0"]);
    let meanwhile = async {
        for node in [&a, &b] {
            let named =
                async || node.directory.trouble().is_some_and(|why| why.starts_with("BUSY: "));
            until("it is named", named).await;
            assert_eq!(node.directory.sockets("ada").await, Err(Unknown));
        }
        let end = async || server.command(&["SCRIPT", "KILL"]).await.is_ok();
        until("it is ended", end).await;
    };
    let (ended, ()) = tokio::join!(endless, meanwhile);
    assert!(ended.is_err());
    for node in [&a, &b] {
        until("nothing is wrong", async || node.directory.trouble().is_none()).await;
        node.sees("ada", &[a.socket(1)]).await;
    }
}

/// Of a cluster that goes on without some of its slots. The link is the one of a server, since it
/// may have to be made anew.
#[tokio::test]
async fn a_part_of_a_cluster_that_is_gone_is_named_and_listed_again() {
    let mut masters = test_kit::redis_cluster::start().await;
    for master in &masters {
        run(master, &["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    }
    let seeds: Vec<String> = masters.iter().map(RedisServer::url).collect();
    let link = Redis::new(target(&seeds.join(",")));
    link.start(false).await.expect("a link");
    let name = NodeId::named("n1");
    let directory = RedisDirectory::start(
        Arc::new(link.clone()),
        Node::options(name.clone(), As::default(), PresenceSink::default(), Arc::default()),
    );
    let users: Vec<UserId> =
        (0..40).map(|number| format!("user{number}").as_str().into()).collect();
    let socket = |number| UserSocket { node: name.clone(), ..socket(number, "/") };
    for (number, user) in (0..).zip(&users) {
        let entered = directory.enter(user.clone(), socket(number), NONE).await;
        assert_eq!(entered, Ok(vec![]));
    }
    // Not the one of the nodes' own keys.
    let alive = &directory.shared.keys.nodes()[0];
    let slot = masters[0].command(&["CLUSTER", "KEYSLOT", alive]).await.expect("a slot");
    let slot: usize = redis::from_redis_value(slot).expect("a number");
    let dies = (0..3).find(|&at| slot / 5461 != at).expect("another one");
    masters[dies].kill();
    until("it is named", async || directory.trouble().is_some()).await;
    let others: Vec<UserId> = (0..40).map(|n| format!("other{n}").as_str().into()).collect();
    assert_eq!(directory.online(others.clone()).await, Err(Unknown));
    assert_eq!(directory.online(users.clone()).await, Ok(vec![true; 40]), "they are here");
    masters[dies].restart().await;
    let start = std::time::Instant::now();
    while let Some(why) = directory.trouble() {
        assert!(start.elapsed() < DEADLINE, "{why}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (number, user) in (0..).zip(&users) {
        let seen = until_equal(&[socket(number)], async || directory.sockets(user).await).await;
        assert_eq!(seen, Ok(vec![socket(number)]));
    }
    assert_eq!(directory.online(others).await, Ok(vec![false; 40]));
    link.stop();
}

/// What is no failure is not counted as one.
#[tokio::test]
async fn a_start_without_a_link_yet_counts_nothing() {
    let server = RedisServer::start().await;
    let commands = server.commands().await;
    let source = TestSource::new(commands.clone());
    source.cut();
    let node = Node::start_on("n1", source, As::default());
    let start = std::time::Instant::now();
    until("some time has passed", async || start.elapsed() > Duration::from_millis(200)).await;
    node.source.mend(commands);
    node.enter("ada", 1).await;
    until("it is known", async || node.nodes().await == 1).await;
    let troubles: u64 = node.directory.troubles().iter().map(|(_, count)| count).sum();
    assert_eq!(troubles, 0, "{:?}", node.directory.troubles());
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_named() {
    let slow = ["--appendonly", "yes", "--key-load-delay", "500"];
    let mut server = RedisServer::with(&slow).await;
    let fill = "for n = 1, 6000 do redis.call('SET', 'neighbour' .. n, n) end";
    run(&server, &["EVAL", fill, "0"]).await;
    server.kill();
    server.restart().await;
    let node = Node::start("n1", server.commands().await);
    let named = async || node.directory.trouble().is_some_and(|why| why.starts_with("LOADING: "));
    until("it is named", named).await;
    assert_eq!(node.directory.sockets("ada").await, Err(Unknown));
    until("nothing is wrong", async || node.directory.trouble().is_none()).await;
    node.enter("ada", 1).await;
    node.sees("ada", &[node.socket(1)]).await;
}
