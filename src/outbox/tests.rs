//! What happens in the database: rights, order, keys and leases.

mod reading;

use std::{collections::BTreeSet, time::Duration};

use test_kit::{postgres::PostgresServer, waiting::until};
use tokio_postgres::{Client, types::Type};

use super::table::{Marks, Queued, ROWS, Table};
use crate::{
    secret::SecretUrl,
    store::postgres::{Postgres, Target},
};

const LEASE: Duration = Duration::from_secs(60);

/// A database with an outbox.
struct Database {
    server: std::sync::Arc<PostgresServer>,
    url: String,
    table: Table,
}

impl Database {
    async fn new() -> Self {
        Self::on(PostgresServer::shared()).await
    }

    async fn on(server: std::sync::Arc<PostgresServer>) -> Self {
        let url = server.database();
        let postgres = Postgres::new(&SecretUrl::new(&url), true).expect("a URL");
        postgres.prepare().await.expect("it migrates");
        let table = Table::new(postgres);
        table.configure(8).await.expect("it is configured");
        Self { server, url, table }
    }

    async fn client(&self) -> Client {
        let (client, connection) =
            Target::parse(&self.url).expect("a URL").connect().await.expect("it connects");
        tokio::spawn(connection);
        client
    }

    fn ask(&self, sql: &str) -> String {
        self.server.psql(&self.url, sql).expect(sql)
    }

    /// Everything that waits, as one run reads it.
    async fn all(&self) -> Vec<Queued> {
        self.table.claim("reader", LEASE).await.expect("it claims");
        self.table.step("reader", &Marks::new(), ROWS).await.expect("it reads")
    }
}

const EMIT: &str = "SELECT switchboard_emit($1::text::jsonb, $2, $3::text::jsonb, $4)";

/// Emits inside the open transaction of a client.
async fn emit(client: &Client, target: &str, args: &str, key: Option<&str>) -> Result<i64, String> {
    emit_named(client, target, "note", args, key).await
}

async fn emit_named(
    client: &Client,
    target: &str,
    event: &str,
    args: &str,
    key: Option<&str>,
) -> Result<i64, String> {
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(&target, Type::TEXT), (&event, Type::TEXT), (&args, Type::TEXT), (&key, Type::TEXT)];
    let row = client.query_typed_one(EMIT, &params).await;
    row.map(|row| row.get(0)).map_err(|error| {
        let said = error.as_db_error().map(|error| error.message().to_owned());
        said.unwrap_or_else(|| error.to_string())
    })
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

#[tokio::test]
async fn what_is_rolled_back_was_never_there() {
    let database = Database::new().await;
    let client = database.client().await;
    run(&client, "BEGIN").await;
    emit(&client, r#"{"users":["ada"]}"#, "[1]", None).await.expect("it emits");
    assert!(database.all().await.is_empty(), "it is not committed");
    run(&client, "ROLLBACK; BEGIN").await;
    emit(&client, r#"{"users":["ada"]}"#, "[2]", None).await.expect("it emits");
    run(&client, "SAVEPOINT s").await;
    emit(&client, r#"{"users":["ada"]}"#, "[3]", None).await.expect("it emits");
    run(&client, "ROLLBACK TO s").await;
    emit(&client, r#"{"users":["ada"]}"#, "[4]", None).await.expect("it emits");
    run(&client, "COMMIT").await;
    let args: Vec<_> = database.all().await.into_iter().map(|event| event.args).collect();
    assert_eq!(args, ["[2]", "[4]"]);
    assert_eq!(database.ask("SELECT count(*) FROM switchboard.outbox_commit"), "0");
}

#[tokio::test]
async fn a_role_needs_nothing_but_execute() {
    let database = Database::new().await;
    database.ask("CREATE ROLE granted LOGIN");
    database.ask("CREATE ROLE stranger LOGIN");
    database.ask("GRANT EXECUTE ON FUNCTION switchboard_emit TO granted");
    let of = async |role: &str| {
        let url = database.url.replace("postgres@", &format!("{role}@"));
        let (client, connection) =
            Target::parse(&url).expect("a URL").connect().await.expect("it connects");
        tokio::spawn(connection);
        client
    };
    let granted = of("granted").await;
    emit(&granted, r#"{"all":true}"#, "[]", Some("k")).await.expect("it emits");
    assert!(granted.batch_execute("SELECT * FROM switchboard.outbox").await.is_err());
    let said = emit(&of("stranger").await, r#"{"all":true}"#, "[]", None).await;
    assert_eq!(said, Err("permission denied for function switchboard_emit".into()));
    assert_eq!(database.all().await.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_said_to_the_application() {
    let database = Database::new().await;
    let client = database.client().await;
    for (target, event, args, fault) in [
        ("[]", "x", "[]", "target: must be an object"),
        (r#"{"romms":["a"]}"#, "x", "[]", r#"target: unknown key "romms""#),
        (r#"{"a\"b'":1}"#, "x", "[]", r#"target: unknown key "a\"b'""#),
        (r"{}", "x", "[]", "target: one is needed"),
        (r#"{"users":[],"all":false}"#, "x", "[]", "target: one is needed"),
        (r#"{"users":"ada"}"#, "x", "[]", "target: users: must be a list"),
        (r#"{"users":[""]}"#, "x", "[]", "target: users: must be a list"),
        (r#"{"rooms":[1]}"#, "x", "[]", "target: rooms: must be a list"),
        (r#"{"all":1}"#, "x", "[]", "target: all: must be true or false"),
        (r#"{"all":true,"namespace":"chat"}"#, "x", "[]", "target: namespace: must start"),
        (r#"{"all":true,"kept":true}"#, "x", "[]", "target: kept: needs users"),
        (r#"{"users":["a"],"kept":"1 week"}"#, "x", "[]", "target: kept: must be"),
        (r#"{"users":["a"],"kept":"0s"}"#, "x", "[]", "target: kept: must be"),
        (r#"{"users":["a"],"kept":5}"#, "x", "[]", "target: kept: must be"),
        (r#"{"all":true}"#, "", "[]", "event: must not be empty"),
        (r#"{"all":true}"#, "disconnect", "[]", "event: disconnect is reserved"),
        (r#"{"all":true}"#, "x", "{}", "args: must be an array"),
    ] {
        let said = emit_named(&client, target, event, args, None).await;
        let said = said.expect_err(target);
        assert!(said.starts_with(&format!("switchboard_emit: {fault}")), "{target}: {said}");
    }
    let large = format!("[\"{}\"]", "x".repeat(1 << 20));
    let said = emit(&client, r#"{"all":true}"#, &large, None).await.expect_err("too large");
    assert!(said.contains("must have at most 1 MiB"), "{said}");
    assert!(emit(&client, r#"{"all":true}"#, "[]", Some("")).await.is_err());
    assert!(emit(&client, r#"{"users":["\u0000"]}"#, "[]", None).await.is_err(), "NUL");
    assert!(database.all().await.is_empty());
    run(&client, "SELECT switchboard_emit('{\"users\":[\"a\"],\"kept\":\"30d\"}', 'x')").await;
    let all = database.all().await;
    assert_eq!((&*all[0].args, all[0].kept), ("[]", Some(30 * 24 * 3_600_000)));
}

#[tokio::test]
async fn any_text_comes_out_as_it_went_in() {
    let database = Database::new().await;
    let client = database.client().await;
    let emoji = "\u{1f600}".repeat(1024);
    for text in ["'; DROP TABLE switchboard.outbox; --", "\"%_\\ $1 $$", &emoji] {
        let target = serde_json::json!({ "users": [text], "rooms": [text] }).to_string();
        let args = serde_json::json!([text]).to_string();
        emit_named(&client, &target, text, &args, Some(text)).await.expect("it emits");
        let id = emit_named(&client, &target, text, &args, Some(text)).await.expect("it emits");
        let all = database.all().await;
        let last = all.last().expect("it is there");
        assert_eq!((last.place.1, &*last.event), (id, text));
        let read: serde_json::Value = serde_json::from_str(&last.target).expect("JSON");
        assert_eq!(read["users"][0], *text);
        let read: serde_json::Value = serde_json::from_str(&last.args).expect("JSON");
        assert_eq!(read[0], *text);
    }
    assert_eq!(database.all().await.len(), 3, "each once");
}

#[tokio::test]
async fn the_same_target_has_one_partition() {
    let database = Database::new().await;
    let client = database.client().await;
    for target in [
        r#"{"users":["a","b"],"rooms":["r"]}"#,
        r#"{"rooms":["r"],"users":["b","a","b"],"namespace":"/","all":false,"volatile":true}"#,
        r#"{"rooms":["r"],"users":["a","b"],"kept":false,"except_users":["c"]}"#,
    ] {
        emit(&client, target, "[]", None).await.expect("it emits");
    }
    for n in 0..40 {
        emit(&client, &format!(r#"{{"users":["{n}"]}}"#), "[]", None).await.expect("it emits");
    }
    let mut events = database.all().await;
    events.sort_by_key(|event| event.place);
    let partitions: Vec<_> = events.iter().map(|event| event.partition).collect();
    assert_eq!(partitions[0..2], partitions[1..3]);
    assert_eq!(partitions.iter().collect::<BTreeSet<_>>().len(), 8, "all are used");
}

/// The positions have the order of the commits, and whoever reads meanwhile overlooks nothing.
#[tokio::test(flavor = "multi_thread")]
async fn events_have_the_order_of_the_commits() {
    let server = PostgresServer::with(&["track_commit_timestamp=on"]);
    let database = std::sync::Arc::new(Database::on(server.into()).await);
    let committers = (0..8).map(|committer| {
        let database = database.clone();
        tokio::spawn(async move {
            let client = database.client().await;
            for round in 0..40 {
                run(&client, "BEGIN").await;
                let other = format!(r#"{{"rooms":["{}"]}}"#, (committer * 7 + round) % 5);
                let args = format!("[{committer},{round}]");
                emit(&client, r#"{"rooms":["one"]}"#, &args, None).await.expect("it emits");
                emit(&client, &other, "[]", None).await.expect("it emits");
                run(&client, "COMMIT").await;
            }
        })
    });
    let committers: Vec<_> = committers.collect();
    database.table.claim("reader", LEASE).await.expect("it claims");
    let mut seen = vec![];
    let mut last = Marks::new();
    until("everything has come", async || {
        // Read and not marked, so that the rows can be asked for their commits.
        for event in database.table.step("reader", &Marks::new(), 10_000).await.expect("it reads") {
            let is_new = last.get(&event.partition).is_none_or(|place| event.place > *place);
            if is_new {
                last.insert(event.partition, event.place);
                seen.push(event);
            }
        }
        seen.len() == 8 * 40 * 2
    })
    .await;
    for committer in committers {
        committer.await.expect("no panic");
    }
    let wrong = database.ask(
        "SELECT count(*) FROM (
             SELECT pg_xact_commit_timestamp(xmin) AS at, lag(pg_xact_commit_timestamp(xmin))
                 OVER (PARTITION BY partition ORDER BY position, id) AS before
             FROM switchboard.outbox
         ) o WHERE at < before",
    );
    assert_eq!(wrong, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_over_several_partitions_wait_in_no_circle() {
    let database = std::sync::Arc::new(Database::new().await);
    let committers = [1, 5, 7, 11, 13].map(|step: usize| {
        let database = database.clone();
        tokio::spawn(async move {
            let client = database.client().await;
            for round in 0..40 {
                run(&client, "BEGIN").await;
                for n in 0..12 {
                    let n = (n * step + round) % 12;
                    let target = format!(r#"{{"users":["{n}"]}}"#);
                    let key = format!("{round} {n}");
                    let key = n.is_multiple_of(2).then_some(&*key);
                    emit(&client, &target, "[]", key).await.expect("it emits");
                }
                run(&client, "COMMIT").await;
            }
        })
    });
    for committer in committers {
        committer.await.expect("nobody is given up");
    }
    let count = "SELECT count(*) FILTER (WHERE key IS NULL), count(DISTINCT key), count(key)
         FROM switchboard.outbox";
    // Of the keyed ones one of each key, the others all.
    let keyed = 40 * 12 / 2;
    assert_eq!(database.ask(count), format!("{}|{keyed}|{keyed}", 5 * keyed));
    assert_eq!(
        database.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"),
        "0"
    );
}

/// A deferred check of the application waits for a row while the transaction is being committed. It must
/// not have the partition then, for the one that has the row wants it.
#[tokio::test(flavor = "multi_thread")]
async fn checks_of_the_application_come_before_the_locks() {
    let database = Database::new().await;
    let (one, other) = (database.client().await, database.client().await);
    run(
        &one,
        "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
         CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    )
    .await;
    run(&one, "BEGIN").await;
    emit(&one, r#"{"users":["ada"]}"#, "[1]", None).await.expect("it emits");
    run(&one, "INSERT INTO child VALUES (1)").await;
    run(&other, "BEGIN; SELECT FROM parent FOR UPDATE").await;
    emit(&other, r#"{"users":["ada"]}"#, "[2]", None).await.expect("it emits");
    let first = tokio::spawn(async move { one.batch_execute("COMMIT").await });
    let waits = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("the first one waits for the row", async || database.ask(waits) == "1").await;
    run(&other, "COMMIT").await;
    first.await.expect("no panic").expect("it is committed");
    let args: Vec<_> = database.all().await.into_iter().map(|event| event.args).collect();
    assert_eq!(args, ["[2]", "[1]"], "the order of the commits");
}

#[tokio::test]
async fn an_open_transaction_holds_up_its_partition_at_most() {
    let database = Database::new().await;
    let (open, other) = (database.client().await, database.client().await);
    run(&open, "BEGIN").await;
    emit(&open, r#"{"users":["ada"]}"#, "[1]", Some("k")).await.expect("it emits");
    run(&other, "SET lock_timeout = '2s'").await;
    // Open, it holds up nobody.
    emit(&other, r#"{"users":["ada"]}"#, "[2]", None).await.expect("it emits");
    // Being committed, and slow in that, it has the lock.
    run(&open, "SET CONSTRAINTS ALL IMMEDIATE").await;
    let partition = database.ask("SELECT partition FROM switchboard.outbox LIMIT 1");
    let mut free = 0;
    for n in 0..30 {
        let said = emit(&other, &format!(r#"{{"rooms":["{n}"]}}"#), "[]", None).await;
        free += usize::from(said.is_ok());
        if said.is_err() {
            run(&other, "SET lock_timeout = '20ms'").await;
        }
    }
    let all = database.all().await;
    let of_it = all.iter().filter(|event| event.partition.to_string() == partition).count();
    assert_eq!((of_it, all.len()), (1, 1 + free), "none of them is in the partition");
    assert!((15..30).contains(&free), "{free}");
    run(&open, "COMMIT").await;
    assert_eq!(database.all().await.len(), all.len() + 1);
}

#[tokio::test]
async fn a_key_is_committed_once() {
    let database = Database::new().await;
    let (one, other) = (database.client().await, database.client().await);
    let ada = r#"{"users":["ada"]}"#;
    let bob = r#"{"users":["bob"]}"#;
    run(&one, "BEGIN").await;
    emit(&one, ada, "[]", Some("rolled back")).await.expect("it emits");
    run(&one, "ROLLBACK").await;
    let first = emit(&one, ada, "[1]", Some("rolled back")).await.expect("the key is free");
    assert_eq!(emit(&other, bob, "[2]", Some("rolled back")).await, Ok(first), "once committed");
    for (isolation, expected) in [("READ COMMITTED", "[3]"), ("REPEATABLE READ", "[3]")] {
        let key = Some(isolation);
        for client in [&one, &other] {
            run(
                client,
                &format!("BEGIN ISOLATION LEVEL {isolation}; SET LOCAL lock_timeout = '1s'"),
            )
            .await;
        }
        let id = emit(&one, ada, "[3]", key).await.expect("it emits");
        assert_eq!(emit(&one, ada, "[4]", key).await, Ok(id), "within the transaction");
        let later = emit(&other, bob, "[5]", key).await.expect("nobody waits for another one");
        assert_ne!(later, id);
        emit(&other, bob, "[6]", None).await.expect("it emits");
        run(&one, "COMMIT").await;
        run(&other, "COMMIT").await;
        let count = "SELECT count(*) FROM switchboard.outbox WHERE args = ";
        assert_eq!(database.ask(&format!("{count} '{expected}'")), "1", "{isolation}");
        assert_eq!(database.ask(&format!("{count} '[5]'")), "0", "{isolation}: it came later");
        assert_eq!(database.ask(&format!("{count} '[6]'")), "1", "{isolation}: the rest stays");
        database.ask("DELETE FROM switchboard.outbox");
    }
}

#[tokio::test]
async fn runs_share_the_partitions_and_mark_their_own() {
    let database = Database::new().await;
    let table = &database.table;
    let client = database.client().await;
    emit(&client, r#"{"users":["ada"]}"#, "[1]", None).await.expect("it emits");
    assert_eq!(table.claim("a", LEASE).await.expect("it claims").len(), 8);
    assert_eq!(table.claim("b", LEASE).await.expect("it claims"), [0; 0], "nothing is free");
    assert_eq!(table.claim("a", LEASE).await.expect("it claims"), [0, 1, 2, 3], "its share");
    assert_eq!(table.claim("b", LEASE).await.expect("it claims"), [4, 5, 6, 7]);
    let read = async |run| table.step(run, &Marks::new(), ROWS).await.expect("it reads");
    let (of_a, of_b) = (read("a").await, read("b").await);
    assert_eq!(of_a.len() + of_b.len(), 1, "one of them has it");
    let (mine, other) = if of_a.is_empty() { ("b", "a") } else { ("a", "b") };
    let event = of_a.into_iter().chain(of_b).next().expect("it is there");
    let marks = Marks::from([(event.partition, event.place)]);
    table.step(other, &marks, ROWS).await.expect("it reads");
    assert_eq!(read(mine).await.len(), 1, "another one marks nothing here");
    // A run that is frozen loses its partitions when its lease ends, by the database's clock.
    database.ask(&format!(
        "UPDATE switchboard.outbox_partition SET until = clock_timestamp() WHERE run = '{mine}';
         UPDATE switchboard.outbox_run SET until = clock_timestamp() WHERE run = '{mine}'"
    ));
    assert!(table.step(mine, &marks, ROWS).await.expect("it reads").is_empty());
    assert_eq!(table.claim(other, LEASE).await.expect("it claims").len(), 8);
    assert_eq!(read(other).await.len(), 1, "it was not marked by who had lost it");
    assert!(table.step(other, &marks, ROWS).await.expect("it reads").is_empty());
    assert_eq!(database.ask("SELECT count(*) FROM switchboard.outbox"), "0");
    table.retire(other).await.expect("it retires");
    assert_eq!(table.claim(mine, LEASE).await.expect("it claims").len(), 8, "at once");
}

#[tokio::test]
async fn who_sleeps_is_notified_and_who_is_awake_is_not() {
    let database = Database::new().await;
    let client = database.client().await;
    let (listener, mut connection) =
        Target::parse(&database.url).expect("a URL").connect().await.expect("it connects");
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) =
            std::future::poll_fn(|node| connection.poll_message(node)).await
        {
            if let tokio_postgres::AsyncMessage::Notification(notification) = message {
                let _ = told.send(notification.payload().to_owned());
            }
        }
    });
    run(&listener, "LISTEN switchboard_outbox").await;
    let event = &database.all().await;
    assert!(event.is_empty());
    emit(&client, r#"{"users":["ada"]}"#, "[1]", None).await.expect("it emits");
    assert!(database.table.sleep("reader").await.expect("it sleeps"));
    let event = database.all().await.remove(0);
    assert_eq!(event.args, "[1]", "who looks once more finds it");
    emit(&client, r#"{"users":["ada"]}"#, "[2]", None).await.expect("it emits");
    assert_eq!(heard.recv().await, Some(event.partition.to_string()));
    let marks = Marks::from([(event.partition, event.place)]);
    database.table.step("reader", &marks, ROWS).await.expect("it is awake again");
    emit(&client, r#"{"users":["ada"]}"#, "[3]", None).await.expect("it emits");
    run(&client, "NOTIFY switchboard_outbox, 'the end'").await;
    assert_eq!(heard.recv().await.as_deref(), Some("the end"), "the third one told nobody");
}

#[tokio::test]
async fn what_nobody_needs_is_swept() {
    let database = Database::new().await;
    let client = database.client().await;
    emit(&client, r#"{"users":["ada"]}"#, "[1]", Some("k")).await.expect("it emits");
    let event = database.all().await.remove(0);
    database.table.set_aside(&event, "it is red").await.expect("it is set aside");
    let marks = Marks::from([(event.partition, event.place)]);
    assert!(database.table.step("reader", &marks, ROWS).await.expect("it reads").is_empty());
    let dead = database.ask("SELECT args, reason FROM switchboard.outbox_dead");
    assert_eq!(dead, "[1]|it is red");
    let depth = database.table.depth().await.expect("it counts");
    assert_eq!((depth.waiting, depth.dead), (0, 1));
    database.table.sweep(LEASE).await.expect("it sweeps");
    assert_eq!(database.ask("SELECT count(*) FROM switchboard.outbox_key"), "1");
    until("the key is old enough", async || {
        database.table.sweep(Duration::from_millis(1)).await.expect("it sweeps");
        database.ask("SELECT count(*) FROM switchboard.outbox_key") == "0"
    })
    .await;
    let again = emit(&client, r#"{"users":["ada"]}"#, "[1]", Some("k")).await;
    assert!(again.expect("it is free") > event.place.1);
}
