//! The history of rooms in SQLite.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Sqlite,
    values::{after, moment, now, signed},
};
use crate::{
    future::BoxFuture,
    store::{
        StoreError,
        history::{HistoryStore, NewEvent, Page, PastEvent},
    },
};

/// The history of rooms in a file.
pub(crate) struct SqliteHistory {
    database: Sqlite,
}

impl SqliteHistory {
    pub(crate) fn new(database: Sqlite) -> Self {
        Self { database }
    }
}

impl HistoryStore for SqliteHistory {
    fn append(&self, events: Vec<NewEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.database.run(move |db| append(db, &events)))
    }

    fn list<'a>(
        &'a self,
        namespace: &'a str,
        room: &'a str,
        before: Option<&'a str>,
        limit: usize,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        let of = (namespace.to_owned(), room.to_owned());
        let before = before.map(str::to_owned);
        Box::pin(
            self.database.run(move |db| list(db, (&of.0, &of.1), before.as_deref(), limit, bytes)),
        )
    }

    fn sweep(&self, rows: usize) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.database.run(move |db| {
            let mut old = db.prepare_cached(
                "DELETE FROM history WHERE seq IN (SELECT seq FROM history WHERE expires <= ? LIMIT ?)",
            )?;
            Ok(old.execute(params![now(), signed(rows as u64)])? as u64)
        }))
    }
}

fn append(db: &Connection, events: &[NewEvent]) -> rusqlite::Result<()> {
    let now = now();
    let mut rooms = BTreeMap::new();
    let mut insert = db.prepare_cached(
        "INSERT INTO history (namespace, room, id, event, args, sender, at, expires)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    for event in events {
        let NewEvent { namespace, room, id, event: name, args, from, count, ttl } = event;
        insert.execute(params![
            namespace,
            room,
            id,
            name,
            &**args,
            from.as_deref(),
            now,
            after(now, *ttl)
        ])?;
        rooms.insert((namespace, room), count);
    }
    let mut forget = db.prepare_cached(
        "DELETE FROM history WHERE namespace = ?1 AND room = ?2 AND seq <= (
             SELECT seq FROM history WHERE namespace = ?1 AND room = ?2
             ORDER BY seq DESC LIMIT 1 OFFSET ?3
         )",
    )?;
    for ((namespace, room), count) in rooms {
        forget.execute(params![namespace, room, signed(*count)])?;
    }
    Ok(())
}

fn list(
    db: &Connection,
    (namespace, room): (&str, &str),
    before: Option<&str>,
    limit: usize,
    bytes: usize,
) -> rusqlite::Result<Page> {
    let before = match before {
        None => i64::MAX,
        Some(id) => {
            let seq = db
                .prepare_cached(
                    "SELECT seq FROM history WHERE namespace = ? AND room = ? AND id = ?",
                )?
                .query_row([namespace, room, id], |row| row.get(0))
                .optional()?;
            let Some(seq) = seq else { return Ok(Page::default()) };
            seq
        }
    };
    let mut statement = db.prepare_cached(
        "SELECT id, event, args, sender, at FROM history
         WHERE namespace = ? AND room = ? AND seq < ? AND expires > ? ORDER BY seq DESC LIMIT ?",
    )?;
    // One more, to know whether there is one.
    let mut rows =
        statement.query(params![namespace, room, before, now(), signed(limit as u64 + 1)])?;
    let (mut page, mut left) = (Page::default(), bytes);
    while let Some(row) = rows.next()? {
        let event = PastEvent {
            id: row.get(0)?,
            event: row.get(1)?,
            args: row.get::<_, Vec<u8>>(2)?.into(),
            from: row.get::<_, Option<String>>(3)?.map(Into::into),
            at: moment(row.get(4)?),
        };
        let size = event.event.len() + event.args.len();
        if page.events.len() == limit || (size > left && !page.events.is_empty()) {
            page.more = true;
            break;
        }
        left = left.saturating_sub(size);
        page.events.push(event);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::history::suite::history_suite;

    async fn fresh() -> SqliteHistory {
        SqliteHistory::new(Sqlite::open(":memory:", true).expect("it opens"))
    }

    history_suite!(fresh);
}
