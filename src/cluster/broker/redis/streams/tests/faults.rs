//! Redis is away, hangs, forgets, or answers late.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_for_redis_arrives_once_and_who_was_cut_off_catches_up() {
    let mut server = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let way = Network::to(server.port).await;
    let ann = Node::at(server.target()).await;
    let bob = Node::at(target(&format!("redis://127.0.0.1:{}", way.port))).await;
    ann.say("0");
    bob.hears(&["0"]).await;
    way.stall();
    way.point_to(1);
    for number in 1..500 {
        ann.say(&number.to_string());
    }
    bob.becomes(Link::Down).await;
    server.kill();
    ann.becomes(Link::Down).await;
    for number in 500..1000 {
        ann.say(&number.to_string());
    }
    server.restart().await;
    way.point_to(server.port);
    way.flow();
    ann.becomes(Link::Up).await;
    bob.becomes(Link::Up).await;
    bob.hears_numbers(1000).await;
    assert_eq!(bob.heard(), numbers(0..1000));
    assert!(!bob.has_lapse(), "nothing is missing");
    assert_eq!((ann.counts().lost(), ann.counts().log_gaps, bob.counts().log_gaps), (0, 0, 0));
}

/// Redis takes what was sent when it goes on, though its sender has given the connection up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_for_too_long_has_each_entry_once() {
    let server = RedisServer::start().await;
    let [ann, bob] = [Node::at(server.target()).await, Node::at(server.target()).await];
    ann.say("0");
    bob.hears(&["0"]).await;
    let mut next = 1;
    for _ in 0..3 {
        server.freeze();
        // sent, and waiting behind it
        for _ in 0..50 {
            ann.say(&next.to_string());
            next += 1;
            tokio::task::yield_now().await;
        }
        ann.becomes(Link::Down).await;
        for _ in 0..50 {
            ann.say(&next.to_string());
            next += 1;
        }
        server.thaw();
        ann.becomes(Link::Up).await;
        bob.becomes(Link::Up).await;
    }
    bob.hears_numbers(next).await;
    assert_eq!(bob.heard(), numbers(0..next));
    assert_eq!(ann.counts().lost(), 0);
}

/// Entries that Redis needs many turns to read, by their numbers.
fn say_much(node: &Node, numbers: std::ops::Range<usize>) {
    for number in numbers {
        node.say(&format!("{number} {}", "x".repeat(1000)));
    }
}

fn numbers_of(node: &Node) -> Vec<usize> {
    let heard = node.heard();
    heard.iter().map(|text| text.split_once(' ').unwrap().0.parse().unwrap()).collect()
}

/// Redis goes on with a connection that was given up, and has much to read on it, while the new one
/// looks for what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_reads_late_is_there_once() {
    let server = RedisServer::start().await;
    let [ann, bob] = [Node::at(server.target()).await, Node::at(server.target()).await];
    for round in 0..3 {
        server.freeze();
        say_much(&ann, 1000 * round..1000 * round + 1000);
        ann.becomes(Link::Down).await;
        server.thaw();
        ann.becomes(Link::Up).await;
        bob.hears_numbers(1000 * (round + 1)).await;
    }
    assert_eq!(numbers_of(&bob), (0..3000).collect::<Vec<_>>());
    assert_eq!(ann.counts().lost(), 0);
    // Most often Redis has read all of it by the time it is asked, so this is looked at as well.
    let done: String = server.ask(&["INFO", "commandstats"]).await;
    let closed = done.lines().find(|line| line.starts_with("cmdstat_client|kill:"));
    assert!(closed.is_some(), "a former connection is closed first");
}

/// The connections are cut while entries are on their way, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_do_not_repeat_an_entry() {
    let server = RedisServer::start().await;
    let [ann, bob] = [Node::at(server.target()).await, Node::at(server.target()).await];
    for round in 0..40 {
        say_much(&ann, 300 * round..300 * round + 300);
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(round as u64 % 7)).await;
    }
    bob.hears_numbers(12_000).await;
    assert_eq!(numbers_of(&bob), (0..12_000).collect::<Vec<_>>());
    assert_eq!(ann.counts().lost(), 0);
    assert!(ann.counts().reconnects > 0);
    assert!(!bob.has_lapse());
}

/// Without the right to close the former connection nobody knows whether it still brings something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_found_out_is_not_sent_again() {
    let server = RedisServer::start().await;
    let user = ["ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all", "-client|kill"];
    server.command(&user).await.unwrap();
    let ann = Node::at(target(&format!("redis://u:p@127.0.0.1:{}", server.port))).await;
    let bob = Node::at(server.target()).await;
    ann.say("taken");
    bob.hears(&["taken"]).await;
    server.freeze();
    ann.say("unsure");
    eventually("it is sent", || ann.counts().queued == 0).await;
    ann.becomes(Link::Down).await;
    ann.say("waits");
    server.thaw();
    ann.becomes(Link::Up).await;
    until("the last is heard", async || bob.heard().last().is_some_and(|last| last == "waits"))
        .await;
    let heard = bob.heard();
    assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), heard.len(), "{heard:?}");
    assert_eq!(ann.counts().publish_errors, 1);
    assert!(ann.broker.lapses().next().await.unsaid.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_trimmed_too_far_is_a_gap_and_reading_goes_on() {
    let server = RedisServer::start().await;
    let way = Network::to(server.port).await;
    let ann = Node::at(server.target()).await;
    let bob = Node::at(target(&format!("redis://127.0.0.1:{}", way.port))).await;
    ann.say("0");
    bob.hears(&["0"]).await;
    let before = std::time::Instant::now();
    way.stall();
    way.point_to(1);
    bob.becomes(Link::Down).await;
    for number in 1..100 {
        ann.say(&number.to_string());
    }
    eventually("all are taken", || ann.counts().published == 100).await;
    server.command(&["XTRIM", "s", "MAXLEN", "10"]).await.unwrap();
    way.point_to(server.port);
    way.flow();
    bob.becomes(Link::Up).await;
    bob.hears_numbers(11).await;
    assert_eq!(bob.heard()[1..], numbers(90..100));
    let lapse = within("the gap", bob.broker.lapses().next()).await;
    let until_known = before + Duration::from_millis(100);
    assert!(lapse.unheard.is_some_and(|since| since < until_known), "{lapse:?}");
    assert_eq!(bob.counts().log_gaps, 1);
    ann.say("more");
    bob.hears_numbers(12).await;
    assert!(!bob.has_lapse(), "told once");
}

/// Emptied while it is read; and replaced by an earlier one while it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_emptied_or_restored_is_noticed() {
    let mut server = RedisServer::start().await;
    let [ann, bob] = [Node::at(server.target()).await, Node::at(server.target()).await];
    ann.say("0");
    bob.hears(&["0"]).await;
    server.command(&["FLUSHALL"]).await.unwrap();
    ann.say("1");
    bob.hears(&["0", "1"]).await;
    server.command(&["FLUSHALL"]).await.unwrap();
    // a clock that is behind: these ids are lower than all that was read
    let old = ["XADD", "s", "5-1", "uid", "x", "nsp", "/", "type", "3", "data", "old clock"];
    server.command(&old).await.unwrap();
    bob.hears(&["0", "1", "old clock"]).await;
    assert_eq!(bob.counts().log_gaps, 0, "it was there all the time");
    // nothing is kept: after the restart there is no stream
    ann.say("2");
    bob.hears_numbers(4).await;
    server.kill();
    bob.becomes(Link::Down).await;
    server.restart().await;
    let older =
        ["XADD", "s", "7-1", "uid", "x", "nsp", "/", "type", "3", "data", "of another time"];
    server.command(&older).await.unwrap();
    for node in [&ann, &bob] {
        node.becomes(Link::Up).await;
        assert!(within("the gap", node.broker.lapses().next()).await.unheard.is_some());
    }
    ann.say("3");
    until("the new one is heard", async || bob.heard().last().is_some_and(|last| last == "3"))
        .await;
    assert_eq!(bob.counts().log_gaps, 1);
}
