//! Redis's description of itself, the answer to `HELLO`.

use std::collections::HashMap;

use redis::{ErrorKind, FromRedisValue as _, RedisError, RedisResult, Value, aio::ConnectionLike};

/// Redis's description of itself. Every user may ask `HELLO` at any time, even while Redis loads
/// its data or is busy with a script.
#[derive(Debug)]
pub(crate) struct Hello {
    /// `standalone`, `cluster` or `sentinel`.
    pub(crate) mode: String,
    role: String,
}

impl Hello {
    /// Whether it is a replica. Some compatible servers have further words for masters.
    pub(crate) fn is_replica(&self) -> bool {
        matches!(self.role.as_str(), "replica" | "slave")
    }
}

/// Asks for the description.
///
/// # Errors
/// If there is no answer in time, or an unreadable one.
pub(crate) async fn hello<C: ConnectionLike>(connection: &mut C) -> RedisResult<Hello> {
    let answer: HashMap<String, Value> = redis::cmd("HELLO").query_async(connection).await?;
    let text = |key: &str| {
        answer
            .get(key)
            .and_then(|value| String::from_redis_value_ref(value).ok())
            .unwrap_or_default()
    };
    Ok(Hello { mode: text("mode"), role: text("role") })
}

/// The error for a server that is a replica.
pub(super) fn replica() -> RedisError {
    (ErrorKind::Client, "it is a replica").into()
}

/// The same error, with the replica's master if we may know it.
pub(super) async fn replica_of<C: ConnectionLike>(connection: &mut C) -> RedisError {
    let role: RedisResult<(String, String, u16)> = async {
        let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
        redis::from_redis_value(Value::Array(role.into_iter().take(3).collect()))
            .map_err(Into::into)
    }
    .await;
    match role {
        Ok((_, host, port)) => {
            (ErrorKind::Client, "it is a replica", format!("of {host}:{port}")).into()
        }
        Err(_) => replica(),
    }
}
