//! Cleans up, a few rows at a time.

use rusqlite::{Connection, params};

use crate::store::{
    inbox::{InboxRules, Swept},
    sqlite::values::{after, now, signed},
};

use super::streams;

pub(super) fn sweep(db: &Connection, rules: &InboxRules, rows: usize) -> rusqlite::Result<Swept> {
    let (now, limit) = (now(), signed(rows as u64));
    let expired = db
        .prepare_cached(
            "DELETE FROM inbox_message WHERE (user, seq) IN (
                 SELECT user, seq FROM inbox_message WHERE expires <= ? LIMIT ?
             )",
        )?
        .execute(params![now, limit])?;
    let ids = db
        .prepare_cached(
            "DELETE FROM inbox_id WHERE (user, id) IN (
                 SELECT user, id FROM inbox_id WHERE expires <= ? LIMIT ?
             )",
        )?
        .execute(params![now, limit])?;
    let runs = db
        .prepare_cached("SELECT run FROM inbox_holder WHERE until <= ?")?
        .query_map([now], |row| row.get::<_, String>(0))?
        .collect::<Result<Vec<_>, _>>()?;
    runs.iter().try_for_each(|run| streams::gone(db, run))?;
    let away = db
        .prepare_cached(
            "SELECT user, device FROM inbox_device d WHERE seen <= ?1 AND NOT EXISTS (
                 SELECT 1 FROM inbox_stream s JOIN inbox_holder h ON h.run = s.run
                 WHERE s.user = d.user AND s.device = d.device AND h.until > ?2
             ) LIMIT ?3",
        )?
        .query_map(params![now - after(0, rules.ttl), now, limit], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    away.iter().try_for_each(|(user, device)| streams::forget(db, user, device))?;
    let most = expired.max(ids).max(away.len());
    Ok(Swept { expired: expired as u64, devices: away.len() as u64, more: most >= rows })
}
