//! Commands with an answer, for every kind of Redis.

use redis::{
    Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection,
    cluster_async::ClusterConnection,
};
use tokio_util::sync::CancellationToken;

use super::script::{Script, is_unknown};

/// A connection for commands. Clones share it; commands of several clones are pipelined.
#[derive(Clone)]
pub(crate) struct Commands {
    pub(super) way: Way,
    /// Set once a write was refused because the server is a replica.
    refused: CancellationToken,
}

#[derive(Clone)]
pub(super) enum Way {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Commands {
    pub(crate) fn single(connection: MultiplexedConnection) -> Self {
        Self { way: Way::Single(connection), refused: CancellationToken::new() }
    }

    pub(super) fn cluster(connection: ClusterConnection) -> Self {
        Self { way: Way::Cluster(connection), refused: CancellationToken::new() }
    }

    /// Runs one command. In a Redis Cluster its first key tells the node.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        let answer = match &mut self.way {
            Way::Single(connection) => command.query_async(connection).await,
            Way::Cluster(connection) => command.query_async(connection).await,
        };
        answer.inspect_err(|error| self.note(error))
    }

    /// Runs commands whose keys are in one slot, in order and in one round trip. Returns an answer
    /// for each; a failed one does not stop the next.
    pub(crate) async fn run_in_order(
        &self,
        commands: &[Cmd],
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        pipeline.ignore_errors();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let answers: Vec<RedisResult<Value>> = self.clone().run_all(&pipeline).await?;
        answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(|e| self.note(e));
        Ok(answers)
    }

    /// Runs several commands in one round trip. In a Redis Cluster their keys may be anywhere.
    pub(crate) async fn run_all<T: FromRedisValue>(
        &mut self,
        commands: &Pipeline,
    ) -> RedisResult<T> {
        let answer = match &mut self.way {
            Way::Single(connection) => commands.query_async(connection).await,
            Way::Cluster(connection) => commands.query_async(connection).await,
        };
        answer.inspect_err(|error| self.note(error))
    }

    /// Runs a [call](Script::call) of a script. A Redis that does not know the script is told it first.
    pub(crate) async fn run_script<T: FromRedisValue>(
        &mut self,
        script: &Script,
        call: &Cmd,
    ) -> RedisResult<T> {
        match self.run(call).await {
            Err(error) if is_unknown(&error) => {
                self.run::<Value>(&script.load()).await?;
                self.run(call).await
            }
            answer => answer,
        }
    }

    /// Ends when a write was refused because the server is a replica. In a Redis Cluster the driver
    /// asks another node then.
    pub(super) async fn refused(&self) {
        self.refused.cancelled().await;
    }

    fn note(&self, error: &RedisError) {
        if error.code() == Some("READONLY") && matches!(self.way, Way::Single(_)) {
            self.refused.cancel();
        }
    }
}
