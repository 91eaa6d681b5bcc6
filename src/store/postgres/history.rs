//! The history of rooms in Postgres.

use std::time::SystemTime;

use tokio_postgres::{Row, types::Type};

use super::{Postgres, get, inbox::names::key, millis, number, signed};
use crate::{
    future::BoxFuture,
    store::{
        StoreError,
        history::{HistoryStore, NewEvent, Page, PastEvent},
    },
};

const APPEND: &str = "SELECT switchboard.history_append($1, $2, $3, $4, $5, $6, $7, $8)";

/// The first one is there whatever its size, and of each it is known how many there are.
const LIST: &str = "
    SELECT id, event, args, sender, at, total FROM (
        SELECT *, row_number() OVER (ORDER BY seq DESC) AS place, count(*) OVER () AS total,
            sum(octet_length(event) + octet_length(args)) OVER (ORDER BY seq DESC) AS bytes
        FROM (
            SELECT * FROM switchboard.history
            WHERE namespace = $1 AND room = $2 AND expires > clock_timestamp() AND seq < CASE
                WHEN $3::text IS NULL THEN 9223372036854775807
                ELSE (
                    SELECT seq FROM switchboard.history
                    WHERE namespace = $1 AND room = $2 AND id = $3
                )
            END
            ORDER BY seq DESC LIMIT $4 + 1
        ) last
    ) counted
    WHERE (bytes <= $5 OR place = 1) AND place <= $4 ORDER BY place";

const SWEEP: &str = "
    WITH old AS (
        DELETE FROM switchboard.history WHERE seq IN (
            SELECT seq FROM switchboard.history WHERE expires <= clock_timestamp()
            LIMIT $1 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    )
    SELECT count(*) AS removed FROM old";

/// The history of all nodes.
pub(crate) struct PostgresHistory {
    database: Postgres,
}

impl PostgresHistory {
    pub(crate) fn new(database: Postgres) -> Self {
        Self { database }
    }

    async fn append_all(&self, events: Vec<NewEvent>) -> Result<(), StoreError> {
        fn all<'a, T>(events: &'a [NewEvent], of: impl Fn(&'a NewEvent) -> T) -> Vec<T> {
            events.iter().map(of).collect()
        }
        let of = &events;
        let params = [
            (&all(of, |it| key(&it.namespace)) as _, Type::TEXT_ARRAY),
            (&all(of, |it| key(&it.room)) as _, Type::TEXT_ARRAY),
            (&all(of, |it| key(&it.id)) as _, Type::TEXT_ARRAY),
            (&all(of, |it| &*it.event) as _, Type::TEXT_ARRAY),
            (&all(of, |it| &*it.args) as _, Type::BYTEA_ARRAY),
            (&all(of, |it| it.from.as_deref()) as _, Type::TEXT_ARRAY),
            (&all(of, |it| signed(it.count)) as _, Type::INT8_ARRAY),
            (&all(of, |it| millis(it.ttl)) as _, Type::INT8_ARRAY),
        ];
        self.database.query(APPEND, &params).await.map(drop)
    }
}

impl HistoryStore for PostgresHistory {
    fn append(&self, events: Vec<NewEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.append_all(events))
    }

    fn list<'a>(
        &'a self,
        namespace: &'a str,
        room: &'a str,
        before: Option<&'a str>,
        limit: usize,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async move {
            let (namespace, room, before) = (key(namespace), key(room), before.map(key));
            let (limit, bytes) = (signed(limit as u64), signed(bytes as u64));
            let params = [
                (&namespace as _, Type::TEXT),
                (&room as _, Type::TEXT),
                (&before as _, Type::TEXT),
                (&limit as _, Type::INT8),
                (&bytes as _, Type::INT8),
            ];
            let rows = self.database.query(LIST, &params).await?;
            let total = rows.first().map_or(Ok(0), |row| number(row, "total"))?;
            let events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
            Ok(Page { more: total > events.len() as u64, events })
        })
    }

    fn sweep(&self, rows: usize) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let rows = signed(rows as u64);
            number(&self.database.query_one(SWEEP, &[(&rows, Type::INT8)]).await?, "removed")
        })
    }
}

fn event(row: &Row) -> Result<PastEvent, StoreError> {
    Ok(PastEvent {
        id: get(row, "id")?,
        event: get(row, "event")?,
        args: get::<Vec<u8>>(row, "args")?.into(),
        from: get::<Option<String>>(row, "sender")?.map(Into::into),
        at: get::<SystemTime>(row, "at")?,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use test_kit::postgres::PostgresServer;

    use super::*;
    use crate::{secret::SecretUrl, store::history::suite::history_suite};

    async fn fresh() -> PostgresHistory {
        at(&PostgresServer::shared().database()).await
    }

    /// Another node's history in the same database.
    async fn at(url: &str) -> PostgresHistory {
        let database = Postgres::new(&SecretUrl::new(url), true).expect("a URL");
        database.prepare().await.expect("it migrates");
        PostgresHistory::new(database)
    }

    history_suite!(fresh);

    #[tokio::test(flavor = "multi_thread")]
    async fn nodes_that_write_to_the_same_rooms_do_not_hold_up_each_other() {
        let url = PostgresServer::shared().database();
        let nodes = join_all((0..4).map(|_| at(&url))).await;
        let writing = nodes.into_iter().enumerate().map(|(node, history)| {
            let event = move |n: usize| NewEvent {
                namespace: "/".into(),
                // Each node has them in another order.
                room: format!("r{}", (n * (node + 1)) % 5),
                id: format!("{node}-{n:03}"),
                event: "e".into(),
                args: b"\x90".as_slice().into(),
                from: None,
                count: 20,
                ttl: std::time::Duration::from_secs(60),
            };
            tokio::spawn(async move {
                for some in 0..20 {
                    let events = (some * 10..some * 10 + 10).map(event).collect();
                    history.append(events).await.expect("it is kept");
                }
            })
        });
        for written in join_all(writing).await {
            written.expect("no panic");
        }
        let all = at(&url).await;
        for room in 0..5 {
            let page =
                all.list("/", &format!("r{room}"), None, 100, 1 << 20).await.expect("a page");
            assert_eq!((page.events.len(), page.more), (20, false));
        }
    }
}
