//! The outbox in the database. Every call is one function there.

use std::{collections::BTreeMap, time::Duration};

use tokio_postgres::{Row, types::Type};

use crate::store::{
    StoreError,
    postgres::{Postgres, get, millis, number},
};

/// Most events, and bytes of events, that are read at once.
pub(super) const ROWS: i64 = 512;
const BYTES: i64 = 4 << 20;

/// Rows that one step of the sweep removes.
const SWEPT: i64 = 1000;

/// A row of the outbox.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) partition: i32,
    pub(super) place: Place,
    pub(super) target: String,
    pub(super) event: String,
    /// JSON.
    pub(super) args: String,
    /// For the inbox: milliseconds, 0 for as long as the inbox keeps messages.
    pub(super) kept: Option<i64>,
}

/// The place of an event in its partition.
pub(super) type Place = (i64, i64);

/// How far partitions have been sent.
pub(super) type Marks = BTreeMap<i32, Place>;

/// How much there is.
#[derive(Debug, Default)]
pub(super) struct Depth {
    pub(super) waiting: u64,
    /// Seconds.
    pub(super) oldest: f64,
    pub(super) dead: u64,
}

pub(super) struct Table(Postgres);

impl Table {
    pub(super) fn new(database: Postgres) -> Self {
        Self(database)
    }

    pub(super) async fn configure(&self, partitions: u32) -> Result<(), StoreError> {
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let sql = "SELECT switchboard.outbox_configure($1)";
        self.0.query(sql, &[(&partitions, Type::INT4)]).await.map(drop)
    }

    /// Renews the leases of a run. Returns the partitions that it has.
    pub(super) async fn claim(&self, run: &str, lease: Duration) -> Result<Vec<i32>, StoreError> {
        let lease = millis(lease);
        let sql = "SELECT switchboard.outbox_claim($1, $2) AS partition";
        let params = [(&run as _, Type::TEXT), (&lease as _, Type::INT8)];
        let rows = self.0.query(sql, &params).await?;
        rows.iter().map(|row| get(row, "partition")).collect()
    }

    /// The run has no partitions any more.
    pub(super) async fn retire(&self, run: &str) -> Result<(), StoreError> {
        let sql = "SELECT switchboard.outbox_retire($1)";
        self.0.query(sql, &[(&run, Type::TEXT)]).await.map(drop)
    }

    /// Marks what has been sent, and reads what comes next.
    pub(super) async fn step(
        &self,
        run: &str,
        marks: &Marks,
        rows: i64,
    ) -> Result<Vec<Queued>, StoreError> {
        let partitions: Vec<i32> = marks.keys().copied().collect();
        let (positions, ids): (Vec<i64>, Vec<i64>) = marks.values().copied().unzip();
        let sql = "SELECT partition, position, id, target, event, args, kept
             FROM switchboard.outbox_step($1, $2, $3, $4, $5, $6)";
        let params = [
            (&run as _, Type::TEXT),
            (&partitions as _, Type::INT4_ARRAY),
            (&positions as _, Type::INT8_ARRAY),
            (&ids as _, Type::INT8_ARRAY),
            (&rows as _, Type::INT8),
            (&BYTES as _, Type::INT8),
        ];
        self.0.query(sql, &params).await?.iter().map(queued).collect()
    }

    /// Marks what has been sent.
    pub(super) async fn mark(&self, run: &str, marks: &Marks) -> Result<(), StoreError> {
        if marks.is_empty() {
            return Ok(());
        }
        self.step(run, marks, 0).await.map(drop)
    }

    /// The run waits for notifications from now on. Whether that is so in all its partitions.
    pub(super) async fn sleep(&self, run: &str) -> Result<bool, StoreError> {
        let sql = "SELECT switchboard.outbox_sleep($1) AS all";
        get(&self.0.query_one(sql, &[(&run, Type::TEXT)]).await?, "all")
    }

    /// Puts an event where operators find it.
    pub(super) async fn set_aside(&self, event: &Queued, reason: &str) -> Result<(), StoreError> {
        let (position, id) = event.place;
        let sql = "SELECT switchboard.outbox_set_aside($1, $2, $3, $4)";
        let params = [
            (&event.partition as _, Type::INT4),
            (&position as _, Type::INT8),
            (&id as _, Type::INT8),
            (&reason as _, Type::TEXT),
        ];
        self.0.query(sql, &params).await.map(drop)
    }

    /// Removes some of what nobody needs. Whether there is more.
    pub(super) async fn sweep(&self, key_ttl: Duration) -> Result<bool, StoreError> {
        let key_ttl = millis(key_ttl);
        let sql = "SELECT switchboard.outbox_sweep($1, $2) AS more";
        let params = [(&key_ttl as _, Type::INT8), (&SWEPT as _, Type::INT8)];
        get(&self.0.query_one(sql, &params).await?, "more")
    }

    pub(super) async fn depth(&self) -> Result<Depth, StoreError> {
        let sql = "SELECT waiting, oldest, dead FROM switchboard.outbox_depth()";
        let row = self.0.query_one(sql, &[]).await?;
        Ok(Depth {
            waiting: number(&row, "waiting")?,
            oldest: get::<Option<f64>>(&row, "oldest")?.unwrap_or_default().max(0.0),
            dead: number(&row, "dead")?,
        })
    }
}

fn queued(row: &Row) -> Result<Queued, StoreError> {
    Ok(Queued {
        partition: get(row, "partition")?,
        place: (get(row, "position")?, get(row, "id")?),
        target: get(row, "target")?,
        event: get(row, "event")?,
        args: get(row, "args")?,
        kept: get(row, "kept")?,
    })
}
