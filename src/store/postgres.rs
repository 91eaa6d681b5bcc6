//! The store for several nodes: Postgres 15 or newer.
//!
//! Every call is one statement, and so one transaction and one round trip; what takes several steps is
//! a function in the database (`migrations`). No statement is prepared for longer than it runs,
//! and no session is set up, so that pgbouncer may stand between, in transaction mode. Every call
//! ends in time, with an error if need be. All tables are in the schema `switchboard`.

mod error;
mod history;
mod hosts;
mod inbox;
mod migrations;
mod target;
mod tls;

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::StoreError;
use crate::secret::SecretUrl;

pub(crate) use error::TargetError;
pub(crate) use error::store_error;
pub(crate) use history::PostgresHistory;
pub(crate) use inbox::PostgresInbox;
pub(crate) use migrations::MigrateError;
pub(crate) use target::Target;

/// Longest wait for a connection, and for the answer to a statement.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most connections of a node, beside one that listens.
const CONNECTIONS: usize = 12;

/// How often a transaction is tried that the database gave up in favour of another one.
const TRIES: u32 = 4;

/// The database. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Postgres {
    pool: Pool,
    target: Arc<Target>,
    /// Whether tables are made, or only looked for.
    migrate: bool,
    is_ready: Arc<OnceCell<()>>,
}

/// A parameter of a statement.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

impl Postgres {
    /// Nothing is connected yet. With `migrate` the tables are brought up to date before they are used
    /// for the first time.
    ///
    /// # Errors
    /// If the URL, or a file that it names, cannot be used.
    pub(crate) fn new(url: &SecretUrl, migrate: bool) -> Result<Self, TargetError> {
        let target = Target::parse(url.expose())?;
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let config = target.config().clone();
        let manager = Manager::from_connect(config, target.hosts().clone(), fast);
        // It fails without timeouts of its own for no reason.
        let pool = Pool::builder(manager).max_size(CONNECTIONS).build();
        let pool = pool.map_err(|_| TargetError::Pool)?;
        Ok(Self { pool, target: Arc::new(target), migrate, is_ready: Arc::default() })
    }

    /// Where it is, and how it is reached.
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Sees to it that the tables can be used.
    ///
    /// # Errors
    /// If they cannot, now. It is tried again whenever they are needed.
    pub(crate) async fn prepare(&self) -> Result<(), MigrateError> {
        let prepared = async || self.bring_up_to_date(self.migrate).await.map(drop);
        self.is_ready.get_or_try_init(prepared).await.copied()
    }

    /// The rows of one statement.
    pub(crate) async fn query(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        if !self.is_ready.initialized() {
            self.prepare().await?;
        }
        self.ask(sql, params).await
    }

    /// The same, whether the tables are there or not.
    async fn ask(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let mut tries = 1;
        loop {
            let client = self.client().await?;
            let Ok(answered) = timeout(PATIENCE, client.query_typed(sql, params)).await else {
                self.give_up(client);
                return Err(StoreError::Unavailable("no answer in time".into()));
            };
            let error = match answered {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if error::is_of_a_standby(&error) {
                // This server was the primary once. New connections look for the new one.
                drop(Object::take(client));
                self.pool.retain(|_, _| false);
            }
            if !error::is_passing(&error) || tries == TRIES {
                return Err(error::store_error(&error));
            }
            sleep(Duration::from_millis(rand::random_range(1..=10 * u64::from(tries)))).await;
            tries += 1;
        }
    }

    /// The only row of one statement.
    pub(crate) async fn query_one(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Row, StoreError> {
        only(self.query(sql, params).await?)
    }

    /// A connection of its own for as long as it is held.
    async fn client(&self) -> Result<Object, StoreError> {
        match timeout(PATIENCE, self.pool.get()).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(error::pool_error(&error)),
            Err(_) => Err(StoreError::Unavailable("no connection in time".into())),
        }
    }

    /// A statement takes too long, on a connection that may be dead. Nobody uses it again, and the
    /// server is told to stop.
    fn give_up(&self, client: Object) {
        let client = Object::take(client);
        // Nor the others, if they have been silent for as long. New ones find the server that answers.
        self.pool.retain(|_, metrics| metrics.last_used() < PATIENCE);
        let (cancel, tls) = (client.cancel_token(), self.target.tls().clone());
        drop(client);
        tokio::spawn(async move {
            // If it cannot be told, it notices by itself that nobody is there.
            let _ = timeout(PATIENCE, cancel.cancel_query(tls)).await;
        });
    }
}

/// The row of an answer that always has one.
fn only(rows: Vec<Row>) -> Result<Row, StoreError> {
    let only = rows.into_iter().next();
    only.ok_or_else(|| StoreError::Refused("no row where there is always one".into()))
}

/// A number as Postgres takes it. What is larger than everything there is the largest.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is never negative.
pub(crate) fn number(row: &Row, column: &str) -> Result<u64, StoreError> {
    let number: i64 = get(row, column)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

/// A value of a row.
pub(crate) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: &str,
) -> Result<T, StoreError> {
    row.try_get(column).map_err(|_| StoreError::Refused(format!("what is `{column}`?")))
}

pub(crate) fn millis(time: Duration) -> i64 {
    // A thousand years are for ever, and more is no date.
    const LONGEST: i64 = 1000 * 366 * 24 * 3_600_000;
    i64::try_from(time.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}
