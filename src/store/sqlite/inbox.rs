//! The inbox in SQLite.

mod keep;
mod read;
mod streams;
mod sweep;

use crate::{
    future::BoxFuture,
    id::UserId,
    store::{
        StoreError,
        inbox::{
            Attached, Depth, Holder, InboxRules, InboxStore, Kept, Listing, Message, NewMessage,
            StreamKey, Swept,
        },
    },
};

use super::Sqlite;
pub(super) use streams::gone;

/// The inbox in a file.
pub(crate) struct SqliteInbox {
    database: Sqlite,
    rules: InboxRules,
}

impl SqliteInbox {
    pub(crate) fn new(database: Sqlite, rules: InboxRules) -> Self {
        Self { database, rules }
    }
}

impl InboxStore for SqliteInbox {
    fn keep(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>> {
        let rules = self.rules;
        Box::pin(self.database.run(move |db| {
            messages.iter().map(|message| keep::keep(db, &rules, message)).collect()
        }))
    }

    fn attach<'a>(
        &'a self,
        stream: &'a StreamKey,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Attached, StoreError>> {
        let (stream, holder) = (stream.clone(), holder.clone());
        Box::pin(self.database.run(move |db| streams::attach(db, &stream, &holder)))
    }

    fn detach<'a>(
        &'a self,
        streams: Vec<StreamKey>,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Vec<(String, StreamKey)>, StoreError>> {
        let holder = holder.clone();
        Box::pin(self.database.run(move |db| streams::detach(db, streams, &holder.run)))
    }

    fn pending<'a>(
        &'a self,
        stream: &'a StreamKey,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, StoreError>> {
        let stream = stream.clone();
        Box::pin(self.database.run(move |db| read::pending(db, &stream, after, count, bytes)))
    }

    fn acknowledge(&self, streams: Vec<(StreamKey, u64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.database.run(move |db| {
            streams.iter().try_for_each(|(stream, seq)| streams::acknowledge(db, stream, *seq))
        }))
    }

    fn list<'a>(
        &'a self,
        user: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Listing, StoreError>> {
        let user = user.to_owned();
        Box::pin(self.database.run(move |db| read::list(db, &user, after, limit)))
    }

    fn delete<'a>(
        &'a self,
        user: &'a str,
        id: Option<&'a str>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        let (user, id) = (user.to_owned(), id.map(str::to_owned));
        Box::pin(self.database.run(move |db| keep::delete(db, &user, id.as_deref())))
    }

    fn last(&self, users: Vec<UserId>) -> BoxFuture<'_, Result<Vec<u64>, StoreError>> {
        Box::pin(
            self.database.run(move |db| users.iter().map(|user| read::last(db, user)).collect()),
        )
    }

    fn renew<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Result<(), StoreError>> {
        let holder = holder.clone();
        Box::pin(self.database.run(move |db| streams::renew(db, &holder)))
    }

    fn retire<'a>(
        &'a self,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Vec<(String, StreamKey)>, StoreError>> {
        let holder = holder.clone();
        Box::pin(self.database.run(move |db| streams::retire(db, &holder.run)))
    }

    fn sweep(&self, rows: usize) -> BoxFuture<'_, Result<Swept, StoreError>> {
        let rules = self.rules;
        Box::pin(self.database.run(move |db| sweep::sweep(db, &rules, rows)))
    }

    fn depth(&self) -> BoxFuture<'_, Result<Depth, StoreError>> {
        Box::pin(self.database.run(read::depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::inbox::suite::inbox_suite;

    async fn fresh(rules: InboxRules) -> SqliteInbox {
        SqliteInbox::new(Sqlite::open(":memory:", true).expect("it opens"), rules)
    }

    inbox_suite!(fresh);
}
