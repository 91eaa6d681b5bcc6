//! Commands with an answer, whatever kind of Redis it is.

use redis::{
    Cmd, FromRedisValue, Pipeline, RedisResult, Value, aio::MultiplexedConnection,
    cluster_async::ClusterConnection,
};

/// A connection for commands. Clones share it; commands of several clones are pipelined.
#[derive(Clone)]
pub(crate) enum Commands {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Commands {
    /// Runs one command. In a Redis Cluster its first key says where.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Runs commands whose keys are in one slot, in order and in one round trip. Answers for each;
    /// one that fails does not stop the next.
    pub(crate) async fn run_in_order(
        &self,
        commands: &[Cmd],
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        pipeline.ignore_errors();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        self.clone().run_all(&pipeline).await
    }

    /// Runs several commands in one round trip. In a Redis Cluster their keys may be anywhere.
    pub(crate) async fn run_all<T: FromRedisValue>(
        &mut self,
        commands: &Pipeline,
    ) -> RedisResult<T> {
        match self {
            Self::Single(connection) => commands.query_async(connection).await,
            Self::Cluster(connection) => commands.query_async(connection).await,
        }
    }
}
