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

use std::{path::PathBuf, thread, time::Duration};

use rusqlite::{Connection, ErrorCode};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

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

/// How long an answer is waited for. A disk that hangs holds up the thread, and nobody else.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does its part of a transaction, if there is one. What comes back is called with the fate of the
/// transaction.
type Work = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the file {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("cannot use the file {}: {}", .0.display(), .1)]
    File(PathBuf, rusqlite::Error),
    #[error(
        "the tables in {} are of version {found}, and this version of Switchboard knows {known}",
        .file.display()
    )]
    TooNew { file: PathBuf, found: i64, known: i64 },
    #[error("the tables in {} are not up to date: run `switchboard migrate`", .0.display())]
    NotMigrated(PathBuf),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
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
            let done = connection.and_then(|connection| {
                in_savepoint(connection, work).map_err(|error| store_error(&error))
            });
            Box::new(move |committed| {
                // Whoever does not wait any more need not know.
                let _ = told.send(done.and_then(|done| committed.map(|()| done)));
            })
        });
        let gone = || StoreError::Unavailable("its thread has ended".into());
        let asked = async {
            self.queue.send(work).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        let late = || StoreError::Unavailable("no answer in time".into());
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))
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
        let begun =
            connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| store_error(&error));
        let answers: Vec<_> = together
            .drain(..)
            .map(|work| work(begun.clone().and_then(|()| in_transaction(connection))))
            .collect();
        let ended = begun.and_then(|()| in_transaction(connection)).and_then(|connection| {
            connection.execute_batch("COMMIT").map_err(|error| store_error(&error))
        });
        if ended.is_err() {
            // There may be nothing to roll back.
            let _ = connection.execute_batch("ROLLBACK");
        }
        for answer in answers {
            answer(ended.clone());
        }
    }
}

/// SQLite ends a transaction by itself when the disk is full or broken. What was done in it is undone
/// then, and whatever came next would be a transaction of its own.
fn in_transaction(connection: &Connection) -> Result<&Connection, StoreError> {
    match connection.is_autocommit() {
        false => Ok(connection),
        true => Err(StoreError::Unavailable("the transaction was given up".into())),
    }
}

/// Undoes what fails, alone.
fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("SAVEPOINT work")?;
    let done = work(connection);
    let undo = if done.is_err() { "ROLLBACK TO work; RELEASE work" } else { "RELEASE work" };
    let ended = connection.execute_batch(undo);
    if ended.is_err() {
        // Nobody can tell what is left of it, so nothing is.
        let _ = connection.execute_batch("ROLLBACK");
    }
    // The first error is the one that says why.
    done.and_then(|done| ended.map(|()| done))
}

fn store_error(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        // What an operator or time removes.
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory,
        ) => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use futures_util::future::join_all;

    use super::*;
    use crate::store::{
        InboxStore,
        inbox::{InboxRules, Kept, NewMessage},
    };

    const RULES: InboxRules =
        InboxRules { ttl: Duration::from_secs(3600), max_messages: 0, max_bytes: 0 };

    fn message(n: usize) -> NewMessage {
        NewMessage {
            user: format!("user {}", n % 3).into(),
            id: n.to_string(),
            namespace: "/".into(),
            event: "note".into(),
            args: vec![0x90; 900].into(),
            ttl: RULES.ttl,
            collapse: None,
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("switchboard-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn open(file: &Path) -> Result<Sqlite, OpenError> {
        Sqlite::open(file.to_str().expect("a name in UTF-8"), true)
    }

    async fn pragma(database: &Sqlite, name: &'static str, value: i64) {
        let set = move |db: &Connection| db.pragma_update(None, name, value);
        database.run(set).await.expect("it is set");
    }

    /// The numbers of the messages that were kept, of all users.
    async fn keep_many(inbox: &SqliteInbox, ids: std::ops::Range<usize>) -> Vec<Option<u64>> {
        let kept = join_all(ids.map(|n| inbox.keep(vec![message(n)]))).await;
        kept.into_iter()
            .map(|kept| match kept {
                Ok(kept) => match kept[..] {
                    [Kept::New { seq, .. } | Kept::Known { seq }] => Some(seq),
                    ref other => panic!("{other:?}"),
                },
                Err(StoreError::Unavailable(_)) => None,
                Err(refused) => panic!("{refused}"),
            })
            .collect()
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_nothing_that_was_confirmed_is_lost() {
        let folder = folder("full");
        let database = open(&folder.join("store.db")).expect("it opens");
        let inbox = SqliteInbox::new(database.clone(), RULES);
        let before = keep_many(&inbox, 0..10).await;
        assert!(before.iter().all(Option::is_some));
        // As many pages as there are, and a few.
        pragma(&database, "max_page_count", 60).await;
        let then = keep_many(&inbox, 10..200).await;
        assert!(then.iter().any(Option::is_none), "the disk is full");
        pragma(&database, "max_page_count", 1_000_000).await;
        let again = keep_many(&inbox, 0..200).await;
        for (n, seq) in before.iter().chain(&then).enumerate().filter(|(_, seq)| seq.is_some()) {
            assert_eq!(again[n], *seq, "message {n} was confirmed with this number");
        }
        for user in 0..3 {
            let listing = inbox.list(&format!("user {user}"), 0, 500).await.expect("it answers");
            let seqs: Vec<_> = listing.messages.iter().map(|message| message.seq).collect();
            let all: Vec<_> = (1..=seqs.len() as u64).collect();
            assert_eq!(seqs, all, "no number was taken by what was not kept");
        }
        let _ = fs::remove_dir_all(folder);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_named_with_the_reason() {
        let folder = folder("unusable");
        let file = folder.join("store.db");
        let why = |file: &Path| {
            let said = open(file).err().expect("it cannot be used").to_string();
            assert!(said.contains(file.to_str().expect("a name")), "{said}");
            said
        };
        fs::write(&file, "this is no database, though it is as long as one has to be".repeat(100))
            .expect("written");
        assert!(why(&file).ends_with("file is not a database"));
        assert!(why(&folder.join("nowhere/store.db")).contains("unable to open"));
        let held = folder.join("held.db");
        let _holder = open(&held).expect("it opens");
        assert!(why(&held).ends_with("is in use by another process"));
        let _ = fs::remove_dir_all(folder);
    }
}
