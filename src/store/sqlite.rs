//! The store in a file of one node: SQLite, on a thread of its own.
//!
//! All work comes to that thread through one queue. What waits there together shares one
//! transaction, and so one write to the disk: each piece of work has a savepoint, and hears of its
//! success when the transaction has been committed. The file is locked for as long as the store is
//! open, so that a second node cannot use it.

mod history;
mod inbox;
mod schema;
mod values;

pub(crate) use history::SqliteHistory;
pub(crate) use inbox::SqliteInbox;

use std::{path::PathBuf, thread};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Pieces of work that may wait. More are made to wait before the queue.
const QUEUE: usize = 1024;

/// Pieces of work in one transaction.
const TOGETHER: usize = 256;

/// The database of this node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Sqlite {
    queue: mpsc::Sender<Work>,
}

/// Does its part of a transaction. What comes back is called with the fate of the transaction.
type Work = Box<dyn FnOnce(&Connection) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the file {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("cannot use the file {}", .0.display())]
    File(PathBuf, #[source] rusqlite::Error),
    #[error(
        "the tables in {} are of version {found}, and this version of Switchboard knows {known}",
        .file.display()
    )]
    TooNew { file: PathBuf, found: i64, known: i64 },
    #[error("the tables in {} are not up to date: run `switchboard migrate`", .0.display())]
    NotMigrated(PathBuf),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl Sqlite {
    /// Opens the file, or makes it. `:memory:` is no file, and keeps nothing.
    ///
    /// With `migrate` the tables are brought up to date.
    pub(crate) fn open(file: &str, migrate: bool) -> Result<Self, OpenError> {
        let path = PathBuf::from(file);
        let connection = connect(file).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                OpenError::InUse(path.clone())
            }
            _ => OpenError::File(path.clone(), error),
        })?;
        schema::bring_up_to_date(&connection, &path, migrate)?;
        let (queue, work) = mpsc::channel(QUEUE);
        let serve = move || serve(&connection, work);
        thread::Builder::new().name("sqlite".into()).spawn(serve).map_err(OpenError::Thread)?;
        Ok(Self { queue })
    }

    /// Does something in a transaction, which is committed if it succeeds.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (told, answer) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let done = in_savepoint(connection, work).map_err(|error| store_error(&error));
            Box::new(move |committed| {
                // Whoever does not wait any more need not know.
                let _ = told.send(committed.and(done));
            })
        });
        let gone = || StoreError::Unavailable("its thread has ended".into());
        self.queue.send(work).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn connect(file: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(64);
    // Takes the lock, so that a file in use is found now.
    connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
    Ok(connection)
}

fn serve(connection: &Connection, mut queue: mpsc::Receiver<Work>) {
    let mut together = Vec::new();
    while queue.blocking_recv_many(&mut together, TOGETHER) > 0 {
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let answers: Vec<_> = together.drain(..).map(|work| work(connection)).collect();
        let ended = begun.and_then(|()| connection.execute_batch("COMMIT"));
        let committed = ended.map_err(|error| {
            // There may be nothing to roll back.
            let _ = connection.execute_batch("ROLLBACK");
            store_error(&error)
        });
        for answer in answers {
            answer(committed.clone());
        }
    }
}

/// Undoes what fails, alone.
fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("SAVEPOINT work")?;
    let done = work(connection);
    if done.is_err() {
        connection.execute_batch("ROLLBACK TO work")?;
    }
    connection.execute_batch("RELEASE work")?;
    done
}

fn store_error(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
            StoreError::Unavailable(error.to_string())
        }
        _ => StoreError::Refused(error.to_string()),
    }
}
