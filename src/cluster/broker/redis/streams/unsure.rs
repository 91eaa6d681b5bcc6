//! Entries that were sent, and whose connection was lost before the answer.
//!
//! Redis runs the commands of a connection one after the other. So it has the first ones, up to
//! some entry, and none behind it; the last own entry in the stream tells which. Before that is
//! looked up, the lost connection is closed at Redis as well: it may hold commands that Redis has
//! not read yet, as after a time in which it hung.

use redis::{RedisResult, Value, aio::MultiplexedConnection};

use super::{
    super::{Node, OpenError},
    Stream,
    queue::Queue,
};
use crate::{
    cluster::log::{
        EntryId,
        redis::{OWN, State, id_of, number_of},
    },
    link::redis::refusal::is_of_connection,
};

/// Entries that are looked at in one question.
const PAGE: usize = 50;

/// A connection, as Redis knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    id: String,
    /// Another Redis may give the same number to somebody else.
    address: String,
}

impl Identity {
    /// Asks Redis. `None` if it does not tell.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) async fn read(
        node: &Node,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Option<Self>> {
        let mut question = redis::cmd("CLIENT");
        let answer: RedisResult<String> = question.arg("INFO").query_async(connection).await;
        match answer {
            Ok(text) => Ok(Self::of(&text)),
            Err(error) if is_of_connection(&error) => Err(error),
            Err(error) => {
                node.rights.note("CLIENT|INFO", &error);
                Ok(None)
            }
        }
    }

    fn of(text: &str) -> Option<Self> {
        let word = |name: &str| {
            text.split_whitespace().find_map(|word| word.strip_prefix(name)).map(str::to_owned)
        };
        Some(Self { id: word("id=")?, address: word("addr=")? })
    }
}

/// What became of entries without an answer.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Redis has them up to this number; none, if there is no number.
    UpTo(Option<u64>),
    Unknown,
}

impl Node {
    /// Finds out which of the entries on their way Redis has.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) async fn settle(
        &self,
        stream: &Stream,
        queue: &Queue,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), OpenError> {
        if !queue.has_flying() {
            return Ok(());
        }
        let former = stream.former.lock().clone();
        let fate = match former {
            Some(former) if self.is_closed_at_redis(&former, connection).await? => {
                self.look_up(stream, queue, connection).await?
            }
            _ => Fate::Unknown,
        };
        match fate {
            Fate::UpTo(last) => queue.settle(last),
            Fate::Unknown => queue.give_up(),
        }
        Ok(())
    }

    /// Makes sure that a connection brings nothing to Redis any more.
    async fn is_closed_at_redis(
        &self,
        former: &Identity,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<bool> {
        let mut command = redis::cmd("CLIENT");
        command.arg("KILL").arg("ID").arg(&former.id).arg("ADDR").arg(&former.address);
        match command.query_async::<Value>(connection).await {
            Ok(_) => Ok(true),
            Err(error) if is_of_connection(&error) => Err(error),
            Err(error) => {
                self.rights.note("CLIENT|KILL", &error);
                Ok(false)
            }
        }
    }

    /// Looks for the last own entry, from the end of the stream to the last one that is known to be
    /// there.
    async fn look_up(
        &self,
        stream: &Stream,
        queue: &Queue,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Fate> {
        let Some(since) = queue.last_taken().max(*stream.began.lock()) else {
            return Ok(Fate::Unknown);
        };
        let state = State::read(connection, &stream.name).await?;
        if state.last < since {
            // Another stream: what was in the former one is gone with it.
            return Ok(Fate::Unknown);
        }
        let mut before = "+".to_owned();
        loop {
            let mut question = redis::cmd("XREVRANGE");
            question.arg(&*stream.name).arg(&before).arg(format!("({since}"));
            question.arg("COUNT").arg(PAGE);
            let page: Vec<(Value, Vec<Value>)> = question.query_async(connection).await?;
            let numbers = page.iter().map(|(_, fields)| own_number(fields, &self.streams.run));
            if let Some(number) = numbers.flatten().next() {
                return Ok(Fate::UpTo(Some(number)));
            }
            match page.last().and_then(|(id, _)| id_of(id)) {
                Some(first) if page.len() == PAGE => before = format!("({first}"),
                _ => break,
            }
        }
        let is_whole = state.first.is_none_or(|first| first <= since) || since == EntryId::ZERO;
        Ok(if is_whole { Fate::UpTo(None) } else { Fate::Unknown })
    }
}

fn own_number(fields: &[Value], run: &str) -> Option<u64> {
    fields.chunks_exact(2).find_map(|pair| match pair {
        [Value::BulkString(name), Value::BulkString(value)] if name == OWN.as_bytes() => {
            number_of(value, run)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_known_by_its_number_and_address() {
        let text = "id=12 addr=127.0.0.1:48366 laddr=127.0.0.1:6399 fd=8 name= age=0\n";
        let known = Identity { id: "12".into(), address: "127.0.0.1:48366".into() };
        assert_eq!(Identity::of(text), Some(known));
        assert_eq!(Identity::of("OK"), None);
    }
}
