//! What every inbox does, and what only several connections can do wrong.

use std::{collections::BTreeSet, time::Duration};

use test_kit::{postgres::PostgresServer, waiting::until};

use super::*;
use crate::{secret::SecretUrl, store::inbox::suite::inbox_suite};

async fn fresh(rules: InboxRules) -> PostgresInbox {
    at(&PostgresServer::shared().database(), rules).await
}

/// Another node's inbox in the same database.
async fn at(url: &str, rules: InboxRules) -> PostgresInbox {
    let database = Postgres::new(&SecretUrl::new(url), true).expect("a URL");
    database.prepare().await.expect("it migrates");
    PostgresInbox::new(database, rules)
}

inbox_suite!(fresh);

const RULES: InboxRules =
    InboxRules { ttl: Duration::from_secs(3600), max_messages: 0, max_bytes: 0 };

fn message(user: &str, id: String) -> NewMessage {
    NewMessage {
        user: user.into(),
        id,
        namespace: "/".into(),
        event: "note".into(),
        args: b"\x90".as_slice().into(),
        ttl: Duration::from_secs(60),
        collapse: None,
    }
}

fn stream(user: &str) -> StreamKey {
    StreamKey { user: user.into(), device: "".into(), namespace: "/".into() }
}

fn run(name: &str) -> Holder {
    Holder { node: format!("node-{name}"), run: name.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_that_attach_at_once_one_holds() {
    let url = PostgresServer::shared().database();
    let (one, other) = (at(&url, RULES).await, at(&url, RULES).await);
    one.renew(&run("a")).await.expect("it renews");
    other.renew(&run("b")).await.expect("it renews");
    for n in 0..50 {
        let key = stream(&format!("user {n}"));
        let (a, b) = (run("a"), run("b"));
        let both = tokio::join!(one.attach(&key, &a), other.attach(&key, &b));
        let both = [both.0.expect("it attaches"), both.1.expect("it attaches")];
        let held = both.iter().filter(|it| matches!(it, Attached::Held { .. })).count();
        assert_eq!((held, both.contains(&Attached::Waits)), (1, true), "{both:?}");
    }
}

/// The race that the seam names: whoever attaches beside a `keep` either is a holder, or reads it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_between_attaching_and_reading() {
    let url = PostgresServer::shared().database();
    let (one, other) = (at(&url, RULES).await, at(&url, RULES).await);
    one.renew(&run("a")).await.expect("it renews");
    let mut seen_by_both = 0;
    for n in 0..100 {
        let key = stream(&format!("user {n}"));
        let holder = run("a");
        let attach = async {
            let attached = one.attach(&key, &holder).await.expect("it attaches");
            let Attached::Held { after: 0, .. } = attached else { panic!("{attached:?}") };
            one.pending(&key, 0, 9, 999).await.expect("it reads").len()
        };
        let keep = async {
            let kept = other.keep(vec![message(&key.user, "1".into())]).await.expect("it keeps");
            let [Kept::New { seq: 1, holders }] = &*kept else { panic!("{kept:?}") };
            holders.len()
        };
        let (read, told) = tokio::join!(attach, keep);
        assert!(read + told > 0, "round {n}: neither read nor told");
        seen_by_both += usize::from(read + told == 2);
    }
    assert!(seen_by_both < 100, "they never met");
}

#[tokio::test(flavor = "multi_thread")]
async fn crossing_batches_of_several_nodes_wait_in_no_circle() {
    let url = PostgresServer::shared().database();
    let mut nodes = vec![];
    for (n, step) in [1, 5, 7, 11].into_iter().enumerate() {
        let node = at(&url, RULES).await;
        nodes.push(tokio::spawn(async move {
            let mut numbers = vec![];
            for round in 0..40 {
                // Each node names the users in another order, and some of them are new in each round.
                let users = (0..12).map(|user| (user * step + n) % 12);
                let batch = users.map(|user| {
                    let user =
                        if user < 6 { format!("u{user}") } else { format!("r{round}-{user}") };
                    message(&user, format!("{n}-{round}"))
                });
                let batch: Vec<_> = batch.collect();
                let first =
                    batch.iter().position(|it| &*it.user == "u0").expect("it is one of them");
                let kept = node.keep(batch.clone()).await.expect("nobody is given up");
                let Kept::New { seq, .. } = kept[first] else { panic!("{kept:?}") };
                numbers.push(seq);
                let acked = batch.iter().rev().map(|it| (stream(&it.user), 1)).collect();
                node.acknowledge(acked).await.expect("nobody is given up");
            }
            numbers
        }));
    }
    let mut all = BTreeSet::new();
    for node in nodes {
        let numbers = node.await.expect("no panic");
        assert!(numbers.is_sorted(), "a node sees its own order");
        all.extend(numbers);
    }
    assert_eq!(all, (1..=160).collect(), "every number once");
    let given_up = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let said = PostgresServer::shared().psql(&url, given_up);
    assert_eq!(said, Ok("0".into()), "it was luck that none of them was a victim for good");
}

#[tokio::test]
async fn a_lease_that_runs_out_frees_its_streams() {
    let server = PostgresServer::shared();
    let url = server.database();
    let (one, other) = (at(&url, RULES).await, at(&url, RULES).await);
    let key = stream("ada");
    one.renew(&run("a")).await.expect("it renews");
    other.renew(&run("b")).await.expect("it renews");
    assert!(matches!(one.attach(&key, &run("a")).await, Ok(Attached::Held { .. })));
    assert_eq!(other.attach(&key, &run("b")).await, Ok(Attached::Waits));
    // The database's clock decides, so it is the lease that is moved.
    let end = "UPDATE switchboard.inbox_holder SET until = clock_timestamp() WHERE run = 'a'";
    server.psql(&url, end).expect("it is written");
    assert!(matches!(other.attach(&key, &run("b")).await, Ok(Attached::Held { .. })));
    one.renew(&run("a")).await.expect("it renews");
    assert_eq!(one.attach(&key, &run("a")).await, Ok(Attached::Waits), "it is another one's now");
    // Who is dead is swept away, and a device that it held is not forgotten for that.
    server.psql(&url, &end.replace("'a'", "'b'")).expect("it is written");
    other.sweep(10).await.expect("it sweeps");
    let runs = "SELECT string_agg(run, ',') FROM switchboard.inbox_holder";
    assert_eq!(server.psql(&url, runs), Ok("a".into()));
    assert_eq!(one.list("ada", 0, 9).await.expect("it lists").devices.len(), 1);
}

#[tokio::test]
async fn it_goes_on_after_a_restart() {
    let server = PostgresServer::start();
    let inbox = at(&server.url(), RULES).await;
    inbox.keep(vec![message("ada", "1".into())]).await.expect("it keeps");
    server.kill();
    let said = inbox.keep(vec![message("ada", "2".into())]).await.expect_err("it is away");
    assert!(matches!(said, StoreError::Unavailable(_)), "{said:?}");
    server.restart();
    until("it works again", async || inbox.last(vec!["ada".into()]).await.is_ok()).await;
    assert_eq!(inbox.last(vec!["ada".into()]).await, Ok(vec![1]));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let server = PostgresServer::start();
    let inbox = at(&server.url(), RULES).await;
    server.freeze();
    let asked = std::time::Instant::now();
    let said = inbox.last(vec!["ada".into()]).await.expect_err("it is frozen");
    assert_eq!(said, StoreError::Unavailable("no answer in time".into()));
    assert!(asked.elapsed() < 3 * super::super::PATIENCE, "{:?}", asked.elapsed());
    server.thaw();
    until("it works again", async || inbox.last(vec!["ada".into()]).await == Ok(vec![0])).await;
}

#[tokio::test]
async fn it_follows_the_primary() {
    let first = PostgresServer::start();
    let second = PostgresServer::standby_of(&first);
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", first.port, second.port);
    let inbox = at(&format!("postgres://postgres@{hosts}/postgres"), RULES).await;
    inbox.keep(vec![message("ada", "1".into())]).await.expect("it keeps");
    let count = "SELECT count(*) FROM switchboard.inbox_message";
    until("it is replicated", async || second.psql(&second.url(), count) == Ok("1".into())).await;
    first.kill();
    second.promote();
    until("it writes to the other one", async || {
        inbox.keep(vec![message("ada", "2".into())]).await.is_ok()
    })
    .await;
    assert_eq!(second.psql(&second.url(), count), Ok("2".into()));
    // A primary that becomes read-only: connections that are open are of no use any more.
    second
        .psql(&second.url(), "ALTER SYSTEM SET default_transaction_read_only = on")
        .and_then(|_| second.psql(&second.url(), "SELECT pg_reload_conf()"))
        .expect("it reloads");
    until("it writes nowhere", async || {
        inbox.keep(vec![message("ada", "3".into())]).await.is_err()
    })
    .await;
    second
        .psql(&second.url(), "ALTER SYSTEM RESET default_transaction_read_only")
        .and_then(|_| second.psql(&second.url(), "SELECT pg_reload_conf()"))
        .expect("it reloads");
    until("it writes again", async || inbox.keep(vec![message("ada", "4".into())]).await.is_ok())
        .await;
}
