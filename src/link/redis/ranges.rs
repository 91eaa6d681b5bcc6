//! The answer to `CLUSTER SLOTS`: which nodes have which slots.

use redis::{ErrorKind, RedisError, RedisResult, Value, aio::ConnectionLike};

/// Host, empty if the cluster does not announce it, and port.
pub(crate) type Address = (String, u16);

/// Consecutive slots, and their nodes.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) first: usize,
    /// The last slot, included.
    pub(crate) last: usize,
    pub(crate) master: Member,
    pub(crate) replicas: Vec<Member>,
}

/// A node of the cluster.
#[derive(Debug)]
pub(crate) struct Member {
    /// The host that the cluster announces. Empty if it announces none.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The node's id. Old and unusual servers do not tell it.
    pub(crate) id: Option<String>,
}

/// Asks a node for the ranges.
///
/// # Errors
/// If it does not answer, or owns no slot and knows no owner.
pub(crate) async fn read(connection: &mut impl ConnectionLike) -> RedisResult<Vec<Range>> {
    parse(&redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await?)
}

fn parse(answer: &Value) -> RedisResult<Vec<Range>> {
    let ranges: Vec<Range> =
        answer.as_sequence().unwrap_or_default().iter().map(range).collect::<RedisResult<_>>()?;
    match ranges.is_empty() {
        true => Err((ErrorKind::Client, "no node of the cluster owns a slot").into()),
        false => Ok(ranges),
    }
}

fn range(range: &Value) -> RedisResult<Range> {
    let [first, last, master, replicas @ ..] = range.as_sequence().unwrap_or_default() else {
        return Err(not_slots());
    };
    Ok(Range {
        first: redis::from_redis_value_ref(first)?,
        last: redis::from_redis_value_ref(last)?,
        master: member(master)?,
        replicas: replicas.iter().map(member).collect::<RedisResult<_>>()?,
    })
}

fn member(node: &Value) -> RedisResult<Member> {
    let [host, port, rest @ ..] = node.as_sequence().unwrap_or_default() else {
        return Err(not_slots());
    };
    let host: Option<String> = redis::from_redis_value_ref(host)?;
    let id = rest.first().and_then(|id| redis::from_redis_value_ref(id).ok());
    Ok(Member { host: host.unwrap_or_default(), port: redis::from_redis_value_ref(port)?, id })
}

/// The error for an unexpected answer.
pub(crate) fn not_slots() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "CLUSTER SLOTS was not understood").into()
}
