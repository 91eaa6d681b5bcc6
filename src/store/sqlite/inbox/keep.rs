//! Keeps messages, and removes them.

use rusqlite::{Connection, OptionalExtension, params};

use crate::store::{
    inbox::{InboxRules, Kept, NewMessage},
    sqlite::values::{after, now, number, signed},
};

use super::streams;

pub(super) fn keep(
    db: &Connection,
    rules: &InboxRules,
    message: &NewMessage,
) -> rusqlite::Result<Kept> {
    let now = now();
    let user = &*message.user;
    let known = db
        .prepare_cached("SELECT seq FROM inbox_id WHERE user = ? AND id = ? AND expires > ?")?
        .query_row(params![user, message.id, now], |row| number(row, 0))
        .optional()?;
    if let Some(seq) = known {
        return Ok(Kept::Known { seq });
    }
    let replaced = replaced(db, message, now)?;
    if !fits(db, rules, message, replaced, now)? {
        return Ok(Kept::Full);
    }
    if let Some((seq, _)) = replaced {
        db.prepare_cached("DELETE FROM inbox_message WHERE user = ? AND seq = ?")?
            .execute(params![user, seq])?;
    }
    let seq = db
        .prepare_cached(
            "INSERT INTO inbox_user (user, last) VALUES (?, 1)
             ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
        )?
        .query_row([user], |row| number(row, 0))?;
    db.prepare_cached(
        "INSERT INTO inbox_id (user, id, seq, expires) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET seq = excluded.seq, expires = excluded.expires",
    )?
    .execute(params![user, message.id, signed(seq), after(now, rules.ttl)])?;
    db.prepare_cached(
        "INSERT INTO inbox_message
             (user, seq, id, namespace, event, args, size, collapse, created, expires)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        user,
        signed(seq),
        message.id,
        message.namespace,
        message.event,
        &*message.args,
        signed(message.size()),
        message.collapse,
        now,
        after(now, message.ttl),
    ])?;
    Ok(Kept::New { seq, holders: streams::holders(db, user, now)? })
}

/// The number and the size of the message whose place the new one takes. One that has expired gives up
/// its key.
fn replaced(
    db: &Connection,
    message: &NewMessage,
    now: i64,
) -> rusqlite::Result<Option<(i64, u64)>> {
    let Some(key) = &message.collapse else { return Ok(None) };
    let place = params![&*message.user, message.namespace, key];
    let found: Option<(i64, u64, i64)> = db
        .prepare_cached(
            "SELECT seq, size, expires FROM inbox_message
             WHERE user = ? AND namespace = ? AND collapse = ?",
        )?
        .query_row(place, |row| Ok((row.get(0)?, number(row, 1)?, row.get(2)?)))
        .optional()?;
    match found {
        Some((seq, _, expires)) if expires <= now => {
            db.prepare_cached(
                "UPDATE inbox_message SET collapse = NULL WHERE user = ? AND seq = ?",
            )?
            .execute(params![&*message.user, seq])?;
            Ok(None)
        }
        found => Ok(found.map(|(seq, size, _)| (seq, size))),
    }
}

fn fits(
    db: &Connection,
    rules: &InboxRules,
    message: &NewMessage,
    replaced: Option<(i64, u64)>,
    now: i64,
) -> rusqlite::Result<bool> {
    if rules.max_messages == 0 && rules.max_bytes == 0 {
        return Ok(true);
    }
    let (count, bytes) = db
        .prepare_cached(
            "SELECT count(*), coalesce(sum(size), 0) FROM inbox_message
             WHERE user = ? AND expires > ?",
        )?
        .query_row(params![&*message.user, now], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
    let is_one_more = replaced.is_none();
    let bytes_then = bytes - replaced.map_or(0, |(_, size)| size) + message.size();
    Ok((!is_one_more || rules.max_messages == 0 || count < rules.max_messages)
        && (rules.max_bytes == 0 || bytes_then <= rules.max_bytes.max(bytes)))
}

pub(super) fn delete(db: &Connection, user: &str, id: Option<&str>) -> rusqlite::Result<u64> {
    // What has expired was gone before.
    db.prepare_cached("DELETE FROM inbox_message WHERE user = ? AND expires <= ?")?
        .execute(params![user, now()])?;
    let removed = match id {
        Some(id) => db
            .prepare_cached("DELETE FROM inbox_message WHERE user = ? AND id = ?")?
            .execute([user, id])?,
        None => db.prepare_cached("DELETE FROM inbox_message WHERE user = ?")?.execute([user])?,
    };
    Ok(removed as u64)
}
