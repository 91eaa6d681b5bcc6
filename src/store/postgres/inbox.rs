//! The inbox in Postgres.

mod keep;
pub(super) mod names;
mod read;
mod streams;
#[cfg(test)]
mod tests;

use tokio_postgres::types::Type;

use super::{Postgres, get, millis, number, signed};
use crate::{
    future::BoxFuture,
    id::UserId,
    store::{
        StoreError,
        inbox::{
            Attached, Depth, Holder, InboxRules, InboxStore, Kept, LEASE, Listing, Message,
            NewMessage, StreamKey, Swept,
        },
    },
};

/// The inbox of all nodes.
pub(crate) struct PostgresInbox {
    database: Postgres,
    rules: InboxRules,
}

impl PostgresInbox {
    pub(crate) fn new(database: Postgres, rules: InboxRules) -> Self {
        Self { database, rules }
    }
}

impl InboxStore for PostgresInbox {
    fn keep(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>> {
        Box::pin(keep::keep(&self.database, &self.rules, messages))
    }

    fn attach<'a>(
        &'a self,
        stream: &'a StreamKey,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Attached, StoreError>> {
        Box::pin(streams::attach(&self.database, stream, &holder.run))
    }

    fn detach<'a>(
        &'a self,
        streams: Vec<StreamKey>,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Vec<(String, StreamKey)>, StoreError>> {
        Box::pin(streams::detach(&self.database, streams, &holder.run))
    }

    fn pending<'a>(
        &'a self,
        stream: &'a StreamKey,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, StoreError>> {
        Box::pin(read::pending(&self.database, stream, after, count, bytes))
    }

    fn acknowledge(&self, streams: Vec<(StreamKey, u64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(streams::acknowledge(&self.database, streams))
    }

    fn list<'a>(
        &'a self,
        user: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(read::list(&self.database, user, after, limit))
    }

    fn delete<'a>(
        &'a self,
        user: &'a str,
        id: Option<&'a str>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let sql = "SELECT switchboard.inbox_delete($1, $2) AS removed";
            let user = names::key(user);
            let params = [(&user as _, Type::TEXT), (&id as _, Type::TEXT)];
            number(&self.database.query_one(sql, &params).await?, "removed")
        })
    }

    fn last(&self, users: Vec<UserId>) -> BoxFuture<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(read::last(&self.database, users))
    }

    fn renew<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let sql = "INSERT INTO switchboard.inbox_holder AS h (run, node, until)
                 VALUES ($1, $2, clock_timestamp() + $3 * interval '1 ms')
                 ON CONFLICT (run) DO UPDATE SET until = excluded.until";
            let lease = millis(LEASE);
            let run = names::key(&holder.run);
            let params = [
                (&run as _, Type::TEXT),
                (&holder.node as _, Type::TEXT),
                (&lease as _, Type::INT8),
            ];
            self.database.query(sql, &params).await.map(drop)
        })
    }

    fn retire<'a>(
        &'a self,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Vec<(String, StreamKey)>, StoreError>> {
        Box::pin(streams::retire(&self.database, &holder.run))
    }

    fn sweep(&self, rows: usize) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(async move {
            let sql = "SELECT run FROM switchboard.inbox_holder
                 WHERE until <= clock_timestamp() LIMIT 16";
            for row in self.database.query(sql, &[]).await? {
                let run: String = get(&row, "run")?;
                let sql = "SELECT switchboard.inbox_bury($1)";
                self.database.query(sql, &[(&run, Type::TEXT)]).await?;
            }
            let (ttl, rows) = (millis(self.rules.ttl), signed(rows as u64));
            let sql = "SELECT expired, devices, more FROM switchboard.inbox_sweep($1, $2)";
            let params = [(&ttl as _, Type::INT8), (&rows as _, Type::INT8)];
            let row = self.database.query_one(sql, &params).await?;
            Ok(Swept {
                expired: number(&row, "expired")?,
                devices: number(&row, "devices")?,
                more: get(&row, "more")?,
            })
        })
    }

    fn depth(&self) -> BoxFuture<'_, Result<Depth, StoreError>> {
        Box::pin(read::depth(&self.database))
    }
}
