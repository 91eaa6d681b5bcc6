//! What a consumer reads and marks, and whose a partition is.

use super::*;

/// Emits to a room so many times in one transaction, and returns the room's partition.
async fn emit_many(database: &Database, room: &str, count: u32) -> i32 {
    let client = database.client().await;
    let sql = format!(
        "SELECT switchboard_emit('{{\"rooms\":[\"{room}\"]}}', 'note', jsonb_build_array(n))
         FROM generate_series(1, {count}) n"
    );
    run(&client, &sql).await;
    let partition = database.ask(&format!(
        "SELECT DISTINCT partition FROM switchboard.outbox WHERE target -> 'rooms' ? '{room}'"
    ));
    partition.parse().expect("one partition")
}

#[tokio::test]
async fn a_partition_with_much_does_not_hold_up_the_others() {
    let database = Database::new().await;
    let much = emit_many(&database, "r", 2000).await;
    let mut n = 0;
    let other = loop {
        n += 1;
        let partition = emit_many(&database, &format!("s{n}"), 1).await;
        if partition != much {
            break partition;
        }
    };
    let batch = database.all().await;
    assert_eq!(batch.len(), ROWS as usize);
    assert!(
        batch.iter().any(|event| event.partition == other),
        "the last one is in the first batch"
    );
    let of_much = batch.iter().filter(|event| event.partition == much);
    let args: Vec<_> = of_much.map(|event| event.args.clone()).collect();
    let expected: Vec<_> = (1..=args.len()).map(|n| format!("[{n}]")).collect();
    assert_eq!(args, expected, "in order");
}

#[tokio::test]
async fn a_batch_has_no_more_rows_and_bytes_than_asked_for() {
    let database = Database::new().await;
    let client = database.client().await;
    let args = format!("[\"{}\"]", "x".repeat(1_000_000));
    for _ in 0..6 {
        emit(&client, r#"{"all":true}"#, &args, None).await.expect("it emits");
    }
    assert_eq!(database.all().await.len(), 4, "4 MiB");
    let table = &database.table;
    for rows in [0, 1, 3] {
        let batch = table.step("reader", &Marks::new(), rows).await.expect("it reads");
        assert_eq!(batch.len(), rows as usize);
    }
}

#[tokio::test]
async fn a_mark_never_goes_back() {
    let database = Database::new().await;
    emit_many(&database, "r", 3).await;
    let batch = database.all().await;
    let table = &database.table;
    let mark = |n: usize| Marks::from([(batch[n].partition, batch[n].place)]);
    table.mark("reader", &mark(1)).await.expect("it marks");
    // Its answer was lost, say, and something older comes once more.
    table.mark("reader", &mark(0)).await.expect("it marks");
    let args: Vec<_> = database.all().await.into_iter().map(|event| event.args).collect();
    assert_eq!(args, ["[3]"]);
    let at = "SELECT id FROM switchboard.outbox_partition WHERE id > 0";
    assert_eq!(database.ask(at), batch[1].place.1.to_string());
}

#[tokio::test]
async fn an_event_is_set_aside_once() {
    let database = Database::new().await;
    emit_many(&database, "r", 1).await;
    let event = database.all().await.remove(0);
    for _ in 0..2 {
        database.table.set_aside(&event, "it is red").await.expect("it is set aside");
    }
    assert_eq!(database.ask("SELECT id, reason FROM switchboard.outbox_dead"), {
        format!("{}|it is red", event.place.1)
    });
}

/// The clock of the database was an hour fast, or the primary is another one now.
#[tokio::test]
async fn a_lease_of_a_clock_that_was_fast_does_not_last() {
    let database = Database::new().await;
    let table = &database.table;
    assert_eq!(table.claim("gone", LEASE).await.expect("it claims").len(), 8);
    for table in ["outbox_partition", "outbox_run"] {
        database.ask(&format!("UPDATE switchboard.{table} SET until = until + interval '1 hour'"));
    }
    assert_eq!(table.claim("here", LEASE).await.expect("it claims").len(), 8);
}

#[tokio::test]
async fn partitions_that_are_no_longer_used_are_consumed_on() {
    let database = Database::new().await;
    for n in 0..40 {
        emit_many(&database, &format!("r{n}"), 1).await;
    }
    database.table.configure(2).await.expect("it is configured");
    for n in 0..10 {
        emit_many(&database, &format!("s{n}"), 1).await;
    }
    let batch = database.all().await;
    assert_eq!(batch.len(), 50);
    let old = batch.iter().filter(|event| event.partition >= 2);
    assert!(old.clone().count() > 10 && old.clone().all(|event| event.target.contains("\"r")));
}
