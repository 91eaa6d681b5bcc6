//! Reads messages.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::{
    inbox::{Depth, Listing, Message, StreamKey},
    sqlite::values::{moment, now, number, signed},
};

pub(super) fn pending(
    db: &Connection,
    stream: &StreamKey,
    after: u64,
    count: usize,
    bytes: usize,
) -> rusqlite::Result<Vec<Message>> {
    let mut statement = db.prepare_cached(
        "SELECT seq, id, namespace, event, args, created, expires FROM inbox_message
         WHERE user = ? AND namespace = ? AND seq > ? AND expires > ? ORDER BY seq LIMIT ?",
    )?;
    let of = params![&*stream.user, &*stream.namespace, signed(after), now(), signed(count as u64)];
    let mut rows = statement.query(of)?;
    let (mut messages, mut left) = (Vec::new(), bytes);
    while let Some(row) = rows.next()? {
        let message = message(row)?;
        let size = message.event.len() + message.args.len();
        if size > left && !messages.is_empty() {
            break;
        }
        left = left.saturating_sub(size);
        messages.push(message);
    }
    Ok(messages)
}

pub(super) fn list(
    db: &Connection,
    user: &str,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Listing> {
    let now = now();
    let mut messages = db
        .prepare_cached(
            "SELECT seq, id, namespace, event, args, created, expires FROM inbox_message
             WHERE user = ? AND seq > ? AND expires > ? ORDER BY seq LIMIT ?",
        )?
        .query_map(params![user, signed(after), now, signed(limit as u64 + 1)], message)?
        .collect::<Result<Vec<_>, _>>()?;
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    let next = messages.last().filter(|_| has_more).map(|message| message.seq);
    let last = last(db, user)?;
    let devices = db
        .prepare_cached(
            "SELECT device, (
                 SELECT min(m.seq) FROM inbox_message m
                 LEFT JOIN inbox_stream s
                     ON s.user = m.user AND s.device = d.device AND s.namespace = m.namespace
                 WHERE m.user = d.user AND m.expires > ?2 AND m.seq > coalesce(s.acked, d.base)
             ) FROM inbox_device d WHERE user = ?1",
        )?
        .query_map(params![user, now], |row| {
            let first: Option<i64> = row.get(1)?;
            let first = first.and_then(|first| u64::try_from(first).ok());
            Ok((row.get(0)?, first.map_or(last, |first| first - 1)))
        })?
        .collect::<Result<_, _>>()?;
    Ok(Listing { messages, devices, next })
}

/// The highest number of a user.
pub(super) fn last(db: &Connection, user: &str) -> rusqlite::Result<u64> {
    let last = db
        .prepare_cached("SELECT last FROM inbox_user WHERE user = ?")?
        .query_row([user], |row| number(row, 0))
        .optional()?;
    Ok(last.unwrap_or_default())
}

pub(super) fn depth(db: &Connection) -> rusqlite::Result<Depth> {
    db.prepare_cached(
        "SELECT count(*), coalesce(sum(size), 0), min(created) FROM inbox_message
         WHERE expires > ?",
    )?
    .query_row([now()], |row| {
        let oldest: Option<i64> = row.get(2)?;
        let (messages, bytes) = (number(row, 0)?, number(row, 1)?);
        Ok(Depth { messages, bytes, oldest: oldest.map(moment) })
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        seq: number(row, 0)?,
        id: row.get(1)?,
        namespace: row.get(2)?,
        event: row.get(3)?,
        args: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        created: moment(row.get(5)?),
        expires: moment(row.get(6)?),
    })
}
