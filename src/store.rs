//! The store: what is kept longer than any connection, and longer than a node lives.
//!
//! Each kind of thing has a seam of its own, a small trait with one suite of tests: `inbox` for
//! messages to users, `history` for the last events of rooms. A database implements them: `sqlite` in a file of one node, `postgres` for
//! several nodes. [`Stores`] has those of the configured database.
//!
//! A store keeps its own time. Whatever it is asked while it cannot be reached fails with
//! [`StoreError`], at the latest after some seconds; it tries to get back by itself.

pub(crate) mod history;
pub(crate) mod inbox;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::sync::Arc;

pub(crate) use history::HistoryStore;
use inbox::InboxRules;
pub(crate) use inbox::InboxStore;

use crate::{
    config::is_postgres,
    fault::{Code, Fault},
    secret::SecretUrl,
};

/// What the configured database keeps.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) inbox: Arc<dyn InboxStore>,
    pub(crate) history: Arc<dyn HistoryStore>,
    #[cfg(feature = "postgres")]
    pub(crate) postgres: Option<postgres::Postgres>,
}

/// The database cannot be used.
pub(crate) type OpenError = Box<dyn std::error::Error + Send + Sync>;

impl Stores {
    /// Opens the database at a URL. With `migrate` its tables are brought up to date.
    pub(crate) fn open(
        url: &SecretUrl,
        migrate: bool,
        rules: InboxRules,
    ) -> Result<Self, OpenError> {
        #[cfg(feature = "sqlite")]
        if let Some(file) = url.expose().strip_prefix("sqlite:") {
            let database = sqlite::Sqlite::open(file, migrate)?;
            let history = Arc::new(sqlite::SqliteHistory::new(database.clone()));
            let inbox = Arc::new(sqlite::SqliteInbox::new(database, rules));
            return Ok(Self {
                inbox,
                history,
                #[cfg(feature = "postgres")]
                postgres: None,
            });
        }
        #[cfg(feature = "postgres")]
        if is_postgres(url.expose()) {
            let database = postgres::Postgres::new(url, migrate)?;
            let history = Arc::new(postgres::PostgresHistory::new(database.clone()));
            let inbox = Arc::new(postgres::PostgresInbox::new(database.clone(), rules));
            return Ok(Self { inbox, history, postgres: Some(database) });
        }
        let _ = (url, migrate, rules);
        Err("this build does not have this kind of store".into())
    }

    /// Sees to it that the database can be used: reaches it, and brings its tables up to date if it is
    /// to. A file was looked at when it was opened.
    pub(crate) async fn prepare(&self) -> Result<(), OpenError> {
        #[cfg(feature = "postgres")]
        if let Some(database) = &self.postgres {
            database.prepare().await?;
        }
        Ok(())
    }
}

/// The store did not do what it was asked. Whether it has done it nevertheless is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// It cannot be reached, or has no time.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// It refuses, whatever the reason; asking again will not help.
    #[error("the store refuses: {0}")]
    Refused(String),
}

impl From<&StoreError> for Fault {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                Self::new(Code::Unavailable, "the store cannot be reached just now")
            }
            // The log has the reason.
            StoreError::Refused(_) => Self::internal(),
        }
    }
}
