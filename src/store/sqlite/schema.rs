//! The tables in a file of SQLite, and how they came to be: one step for each version.

use std::path::Path;

use rusqlite::Connection;

use super::{OpenError, inbox};

/// The steps. A step that has been released is never changed.
const STEPS: &[&str] = &["
    CREATE TABLE inbox_user (user TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;

    CREATE TABLE inbox_id (
        user TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, expires INTEGER NOT NULL,
        PRIMARY KEY (user, id)
    ) WITHOUT ROWID;
    CREATE INDEX inbox_id_expires ON inbox_id (expires);

    CREATE TABLE inbox_message (
        user TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, namespace TEXT NOT NULL,
        event TEXT NOT NULL, args BLOB NOT NULL, size INTEGER NOT NULL, collapse TEXT,
        created INTEGER NOT NULL, expires INTEGER NOT NULL,
        PRIMARY KEY (user, seq)
    );
    CREATE INDEX inbox_message_expires ON inbox_message (expires);
    CREATE UNIQUE INDEX inbox_message_collapse ON inbox_message (user, namespace, collapse)
        WHERE collapse IS NOT NULL;

    CREATE TABLE inbox_device (
        user TEXT NOT NULL, device TEXT NOT NULL, base INTEGER NOT NULL, seen INTEGER NOT NULL,
        PRIMARY KEY (user, device)
    ) WITHOUT ROWID;
    CREATE INDEX inbox_device_seen ON inbox_device (seen);

    CREATE TABLE inbox_stream (
        user TEXT NOT NULL, device TEXT NOT NULL, namespace TEXT NOT NULL,
        acked INTEGER NOT NULL, run TEXT,
        PRIMARY KEY (user, device, namespace)
    ) WITHOUT ROWID;
    CREATE INDEX inbox_stream_run ON inbox_stream (run) WHERE run IS NOT NULL;

    CREATE TABLE inbox_waiting (
        user TEXT NOT NULL, device TEXT NOT NULL, namespace TEXT NOT NULL, run TEXT NOT NULL,
        PRIMARY KEY (user, device, namespace, run)
    ) WITHOUT ROWID;
    CREATE INDEX inbox_waiting_run ON inbox_waiting (run);

    CREATE TABLE inbox_holder (run TEXT PRIMARY KEY, node TEXT NOT NULL, until INTEGER NOT NULL)
        WITHOUT ROWID;
", "
    CREATE TABLE history (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, room TEXT NOT NULL, id TEXT NOT NULL,
        event TEXT NOT NULL, args BLOB NOT NULL, sender TEXT, at INTEGER NOT NULL, expires INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX history_id ON history (namespace, room, id);
    CREATE INDEX history_order ON history (namespace, room, seq);
    CREATE INDEX history_expires ON history (expires);
"];

/// The version of the tables after the last step.
#[allow(clippy::cast_possible_wrap)] // there are not that many
const VERSION: i64 = STEPS.len() as i64;

/// Takes the steps that are missing, each in one transaction with its number.
pub(super) fn bring_up_to_date(
    connection: &Connection,
    file: &Path,
    migrate: bool,
) -> Result<(), OpenError> {
    let unusable = |error| OpenError::File(file.to_owned(), error);
    let found: i64 =
        connection.query_row("PRAGMA user_version", (), |row| row.get(0)).map_err(unusable)?;
    if found > VERSION {
        return Err(OpenError::TooNew { file: file.to_owned(), found, known: VERSION });
    }
    if found < VERSION && !migrate {
        return Err(OpenError::NotMigrated(file.to_owned()));
    }
    for (step, version) in STEPS.iter().zip(1..).filter(|(_, version)| *version > found) {
        let all = format!("BEGIN IMMEDIATE; {step}; PRAGMA user_version = {version}; COMMIT");
        connection.execute_batch(&all).map_err(unusable)?;
    }
    // Nobody else has the file, so whoever has held something is gone.
    connection
        .prepare("SELECT run FROM inbox_holder")
        .and_then(|mut runs| {
            let runs = runs.query_map((), |row| row.get::<_, String>(0))?;
            runs.collect::<Result<Vec<_>, _>>()
        })
        .and_then(|runs| runs.iter().try_for_each(|run| inbox::gone(connection, run)))
        .map_err(unusable)
}
