//! The tables in Postgres, and how they came to be: one step for each version.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::Type;

use super::{Postgres, error, get, only};
use crate::store::StoreError;

/// The steps. A step that has been released is never changed.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_inbox.sql"),
    include_str!("migrations/0002_outbox.sql"),
    include_str!("migrations/0003_history.sql"),
];

/// The version of the tables after the last step.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // there are not that many
const VERSION: i32 = STEPS.len() as i32;

/// The lock that is held while steps are taken. Any number will do that nobody else uses.
const LOCK: i64 = 0x5357_4244_0000_0001;

/// How long all steps may take, waiting for another node that takes them included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    #[error("Postgres at {0} cannot be used: {1}")]
    Store(String, StoreError),
    #[error(
        "the tables in Postgres at {address} are of version {found}, and this version of Switchboard \
         knows {VERSION}"
    )]
    TooNew { address: String, found: i32 },
    #[error(
        "the tables in Postgres at {address} are of version {found}, and this version of Switchboard \
         needs {VERSION}: run `switchboard migrate`"
    )]
    NotMigrated { address: String, found: i32 },
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Store(_, error) => error,
            other => Self::Refused(other.to_string()),
        }
    }
}

impl Postgres {
    /// Sees to it that the tables are there, in the version that is needed: makes them with `migrate`,
    /// and looks for them without. Returns how many steps were taken. Several nodes may do it at once.
    pub(crate) async fn bring_up_to_date(&self, migrate: bool) -> Result<usize, MigrateError> {
        let found = self.version().await.map_err(|error| self.failed(error))?;
        self.is_known(found)?;
        if found == VERSION {
            return Ok(0);
        }
        if !migrate {
            return Err(MigrateError::NotMigrated { address: self.target().address(), found });
        }
        let late = || self.failed(StoreError::Unavailable("no answer in time".into()));
        timeout(PATIENCE, self.take_steps()).await.map_err(|_| late())?
    }

    /// All in one transaction, so that there is nothing in between.
    async fn take_steps(&self) -> Result<usize, MigrateError> {
        let failed = |error| self.failed(error::store_error(&error));
        let mut client = self.client().await.map_err(|error| self.failed(error))?;
        let transaction = client.transaction().await.map_err(failed)?;
        let steps = async {
            transaction
                .query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)])
                .await
                .map_err(failed)?;
            // Another node may have been faster.
            let found = transaction.query_typed(FIND, &[]).await.map_err(failed)?;
            let found = found.first().map_or(Ok(false), |row| row.try_get(0)).map_err(failed)?;
            let mut version = 0;
            if found {
                let row = transaction.query_typed(READ, &[]).await.map_err(failed)?;
                version = row.first().map_or(Ok(0), |row| row.try_get(0)).map_err(failed)?;
            } else {
                transaction.batch_execute(BEGIN).await.map_err(failed)?;
            }
            self.is_known(version)?;
            let missing = STEPS.iter().zip(1..).filter(|(_, step)| *step > version);
            let mut taken = 0;
            for (step, version) in missing {
                transaction.batch_execute(step).await.map_err(failed)?;
                let noted = [(&version as _, Type::INT4)];
                transaction.query_typed(NOTE, &noted).await.map_err(failed)?;
                taken += 1;
            }
            Ok(taken)
        };
        let taken = steps.await?;
        transaction.commit().await.map_err(failed)?;
        Ok(taken)
    }

    /// The version of the tables; 0 if there are none.
    async fn version(&self) -> Result<i32, StoreError> {
        let found = only(self.ask(FIND, &[]).await?)?;
        match get::<bool>(&found, "found")? {
            true => get(&only(self.ask(READ, &[]).await?)?, "version"),
            false => Ok(0),
        }
    }

    fn is_known(&self, found: i32) -> Result<(), MigrateError> {
        match found > VERSION {
            true => Err(MigrateError::TooNew { address: self.target().address(), found }),
            false => Ok(()),
        }
    }

    fn failed(&self, error: StoreError) -> MigrateError {
        MigrateError::Store(self.target().address(), error)
    }
}

/// The catalogue itself is read. `to_regclass` might not have heard yet of what another node did while
/// this one waited for the lock.
const FIND: &str = "SELECT EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'switchboard' AND c.relname = 'migration'
    ) AS found";
const READ: &str = "SELECT coalesce(max(version), 0) AS version FROM switchboard.migration";
const NOTE: &str = "INSERT INTO switchboard.migration (version) VALUES ($1)";

/// The right to make a schema is not needed if somebody else has made it for us.
const BEGIN: &str = "
    DO $$ BEGIN
        IF to_regnamespace('switchboard') IS NULL THEN
            CREATE SCHEMA switchboard;
        END IF;
    END $$;
    CREATE TABLE switchboard.migration (
        version int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()
    )";

#[cfg(test)]
mod tests {
    use test_kit::postgres::PostgresServer;

    use super::*;
    use crate::secret::SecretUrl;

    fn postgres(url: &str) -> Postgres {
        Postgres::new(&SecretUrl::new(url), true).expect("a URL")
    }

    #[tokio::test]
    async fn several_nodes_may_start_at_once() {
        let url = PostgresServer::shared().database();
        let starts = (0..6).map(|_| {
            let one = postgres(&url);
            tokio::spawn(async move { one.bring_up_to_date(true).await.expect("it migrates") })
        });
        let mut taken = 0;
        for start in starts.collect::<Vec<_>>() {
            taken += start.await.expect("no panic");
        }
        assert_eq!(taken, STEPS.len(), "each step once");
    }

    #[tokio::test]
    async fn tables_that_are_missing_or_too_new_are_named() {
        let server = PostgresServer::shared();
        let url = server.database();
        let one = postgres(&url);
        let said = one.bring_up_to_date(false).await.expect_err("there are none").to_string();
        assert!(said.contains("run `switchboard migrate`"), "{said}");
        one.bring_up_to_date(true).await.expect("it migrates");
        assert_eq!(one.bring_up_to_date(false).await.expect("they are there"), 0);
        server.psql(&url, "INSERT INTO switchboard.migration VALUES (99)").expect("it is written");
        for migrate in [true, false] {
            let said = one.bring_up_to_date(migrate).await.expect_err("too new").to_string();
            assert!(said.contains("are of version 99"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_role_that_may_not_is_told_so_and_nothing_is_done() {
        let server = PostgresServer::shared();
        let url = server.database();
        server.psql(&url, "CREATE ROLE powerless LOGIN").expect("a role");
        let other = postgres(&url.replace("postgres@", "powerless@"));
        let said = other.bring_up_to_date(true).await.expect_err("it may not").to_string();
        assert!(said.contains("permission denied"), "{said}");
        assert_eq!(server.psql(&url, "SELECT to_regnamespace('switchboard')"), Ok(String::new()));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let nowhere = format!("postgres://u:hidden@127.0.0.1:{}/x", test_kit::free_port());
        let said = postgres(&nowhere).bring_up_to_date(true).await.expect_err("nobody").to_string();
        assert!(said.starts_with("Postgres at 127.0.0.1:"), "{said}");
        assert!(said.contains("cannot be reached") && !said.contains("hidden"), "{said}");
    }
}
