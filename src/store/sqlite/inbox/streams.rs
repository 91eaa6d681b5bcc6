//! Devices and their streams: who delivers what, and what has been acknowledged.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::{
    inbox::{Attached, Holder, LEASE, MAX_DEVICES, StreamKey},
    sqlite::values::{after, now, number, signed},
};

use super::read;

pub(super) fn attach(
    db: &Connection,
    stream: &StreamKey,
    holder: &Holder,
) -> rusqlite::Result<Attached> {
    let now = now();
    let StreamKey { user, device, namespace } = stream;
    let last = read::last(db, user)?;
    let Some(base) = known(db, user, device, last, now)? else { return Ok(Attached::TooMany) };
    db.prepare_cached(
        "INSERT INTO inbox_stream (user, device, namespace, acked) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![&**user, device, namespace, base])?;
    let (acked, other) = db
        .prepare_cached(
            "SELECT acked, (
                 SELECT 1 FROM inbox_holder h WHERE h.run = s.run AND h.run <> ?4 AND h.until > ?5
             ) FROM inbox_stream s WHERE user = ?1 AND device = ?2 AND namespace = ?3",
        )?
        .query_row(params![&**user, device, namespace, holder.run, now], |row| {
            Ok((number(row, 0)?, row.get::<_, Option<i64>>(1)?.is_some()))
        })?;
    let sql = match other {
        true => {
            "INSERT INTO inbox_waiting (user, device, namespace, run) VALUES (?, ?, ?, ?)
             ON CONFLICT DO NOTHING"
        }
        false => {
            "UPDATE inbox_stream SET run = ?4 WHERE user = ?1 AND device = ?2 AND namespace = ?3"
        }
    };
    db.prepare_cached(sql)?.execute(params![&**user, device, namespace, holder.run])?;
    if other {
        return Ok(Attached::Waits);
    }
    no_longer_waits(db, stream, &holder.run)?;
    Ok(Attached::Held { after: acked, last })
}

/// Makes a device known. Returns where it begins; `None`: there are too many.
fn known(
    db: &Connection,
    user: &str,
    device: &str,
    last: u64,
    now: i64,
) -> rusqlite::Result<Option<i64>> {
    let base = db
        .prepare_cached(
            "UPDATE inbox_device SET seen = ? WHERE user = ? AND device = ? RETURNING base",
        )?
        .query_row(params![now, user, device], |row| row.get(0))
        .optional()?;
    if base.is_some() {
        return Ok(base);
    }
    let devices = db
        .prepare_cached("SELECT count(*) FROM inbox_device WHERE user = ?")?
        .query_row([user], |row| number(row, 0))?;
    if devices >= MAX_DEVICES as u64 {
        let away = db
            .prepare_cached(
                "SELECT device FROM inbox_device d WHERE user = ?1 AND NOT EXISTS (
                     SELECT 1 FROM inbox_stream s JOIN inbox_holder h ON h.run = s.run
                     WHERE s.user = d.user AND s.device = d.device AND h.until > ?2
                 ) ORDER BY seen LIMIT 1",
            )?
            .query_row(params![user, now], |row| row.get::<_, String>(0))
            .optional()?;
        let Some(away) = away else { return Ok(None) };
        forget(db, user, &away)?;
    }
    let base = if devices == 0 { 0 } else { signed(last) };
    db.prepare_cached("INSERT INTO inbox_device (user, device, base, seen) VALUES (?, ?, ?, ?)")?
        .execute(params![user, device, base, now])?;
    Ok(Some(base))
}

/// Forgets a device, and what only it had not acknowledged.
pub(super) fn forget(db: &Connection, user: &str, device: &str) -> rusqlite::Result<()> {
    for table in ["inbox_stream", "inbox_waiting", "inbox_device"] {
        db.prepare_cached(&format!("DELETE FROM {table} WHERE user = ? AND device = ?"))?
            .execute([user, device])?;
    }
    let namespaces = db
        .prepare_cached("SELECT DISTINCT namespace FROM inbox_message WHERE user = ?")?
        .query_map([user], |row| row.get::<_, String>(0))?
        .collect::<Result<Vec<_>, _>>()?;
    namespaces.iter().try_for_each(|namespace| remove_done(db, user, namespace))
}

/// Removes what all known devices have acknowledged in a namespace.
fn remove_done(db: &Connection, user: &str, namespace: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM inbox_message WHERE user = ?1 AND namespace = ?2 AND seq <= (
             SELECT min(coalesce(s.acked, d.base)) FROM inbox_device d LEFT JOIN inbox_stream s
                 ON s.user = d.user AND s.device = d.device AND s.namespace = ?2
             WHERE d.user = ?1
         )",
    )?
    .execute([user, namespace])
    .map(drop)
}

pub(super) fn acknowledge(db: &Connection, stream: &StreamKey, seq: u64) -> rusqlite::Result<()> {
    let StreamKey { user, device, namespace } = stream;
    let seq = signed(seq.min(read::last(db, user)?));
    let advanced = db
        .prepare_cached(
            "UPDATE inbox_stream SET acked = ?4
             WHERE user = ?1 AND device = ?2 AND namespace = ?3 AND acked < ?4",
        )?
        .execute(params![&**user, device, namespace, seq])?;
    match advanced {
        0 => Ok(()),
        _ => remove_done(db, user, namespace),
    }
}

pub(super) fn detach(
    db: &Connection,
    streams: Vec<StreamKey>,
    run: &str,
) -> rusqlite::Result<Vec<(String, StreamKey)>> {
    let now = now();
    let mut told = Vec::new();
    for stream in streams {
        let StreamKey { user, device, namespace } = &stream;
        no_longer_waits(db, &stream, run)?;
        let released = db
            .prepare_cached(
                "UPDATE inbox_stream SET run = NULL
                 WHERE user = ? AND device = ? AND namespace = ? AND run = ?",
            )?
            .execute(params![&**user, device, namespace, run])?;
        if released == 0 {
            continue;
        }
        db.prepare_cached("UPDATE inbox_device SET seen = ? WHERE user = ? AND device = ?")?
            .execute(params![now, &**user, device])?;
        let nodes = db
            .prepare_cached(
                "SELECT DISTINCT h.node FROM inbox_waiting w JOIN inbox_holder h ON h.run = w.run
                 WHERE w.user = ? AND w.device = ? AND w.namespace = ? AND h.until > ?",
            )?
            .query_map(params![&**user, device, namespace, now], |row| row.get(0))?
            .collect::<Result<Vec<_>, _>>()?;
        told.extend(nodes.into_iter().map(|node| (node, stream.clone())));
    }
    Ok(told)
}

fn no_longer_waits(db: &Connection, stream: &StreamKey, run: &str) -> rusqlite::Result<()> {
    let StreamKey { user, device, namespace } = stream;
    db.prepare_cached(
        "DELETE FROM inbox_waiting WHERE user = ? AND device = ? AND namespace = ? AND run = ?",
    )?
    .execute(params![&**user, device, namespace, run])
    .map(drop)
}

/// The nodes that hold a stream of a user.
pub(super) fn holders(db: &Connection, user: &str, now: i64) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached(
        "SELECT DISTINCT h.node FROM inbox_stream s JOIN inbox_holder h ON h.run = s.run
         WHERE s.user = ? AND h.until > ?",
    )?
    .query_map(params![user, now], |row| row.get(0))?
    .collect()
}

pub(super) fn renew(db: &Connection, holder: &Holder) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO inbox_holder (run, node, until) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET until = excluded.until",
    )?
    .execute(params![holder.run, holder.node, after(now(), LEASE)])
    .map(drop)
}

pub(super) fn retire(db: &Connection, run: &str) -> rusqlite::Result<Vec<(String, StreamKey)>> {
    let held = db
        .prepare_cached("SELECT user, device, namespace FROM inbox_stream WHERE run = ?")?
        .query_map([run], key)?
        .collect::<Result<Vec<_>, _>>()?;
    let told = detach(db, held, run)?;
    gone(db, run)?;
    Ok(told)
}

/// A run that holds nothing any more, and waits for nothing.
pub(in crate::store::sqlite) fn gone(db: &Connection, run: &str) -> rusqlite::Result<()> {
    // Until now its devices were there.
    db.prepare_cached(
        "UPDATE inbox_device SET seen = ? WHERE (user, device) IN (
             SELECT user, device FROM inbox_stream WHERE run = ?
         )",
    )?
    .execute(params![now(), run])?;
    for sql in [
        "UPDATE inbox_stream SET run = NULL WHERE run = ?",
        "DELETE FROM inbox_waiting WHERE run = ?",
        "DELETE FROM inbox_holder WHERE run = ?",
    ] {
        db.prepare_cached(sql)?.execute([run])?;
    }
    Ok(())
}

fn key(row: &Row<'_>) -> rusqlite::Result<StreamKey> {
    let user: String = row.get(0)?;
    Ok(StreamKey {
        user: user.into(),
        device: row.get::<_, Arc<str>>(1)?,
        namespace: row.get::<_, Arc<str>>(2)?,
    })
}
