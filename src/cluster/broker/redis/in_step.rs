//! Answers that belong to their questions, on a connection where Redis may send what looks like an
//! answer.
//!
//! When the cluster moves a slot, Redis tells a listener to one of its channels that it has left
//! it, in the words of an answer to `SUNSUBSCRIBE`. The driver takes that for the answer to the
//! oldest question, and from then on may give each question the answer of another. So questions are
//! asked one after the other here, and each round ends with a question whose answer is
//! unmistakable. If that answer is wrong, the round is repeated. So every command on such a
//! connection may run twice.

use std::{sync::Arc, time::Duration};

use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{sync::Mutex, time::sleep};

use crate::link::redis::refusal::is_of_connection;

/// Most rounds with wrong answers before the connection is given up.
const TRIES: u32 = 8;
/// The pause before a repetition, doubled each time. Answers without a question arrive in it, and
/// are thrown away.
const SILENCE: Duration = Duration::from_millis(10);

/// A connection with such answers. Clones share it.
#[derive(Clone)]
pub(super) struct InStep {
    connection: MultiplexedConnection,
    /// The number of rounds. `None` where Redis never sends such messages.
    turn: Option<Arc<Mutex<u64>>>,
}

impl InStep {
    pub(super) fn new(connection: MultiplexedConnection, needed: bool) -> Self {
        Self { connection, turn: needed.then(Arc::default) }
    }

    /// The plain connection, for commands without this trouble.
    pub(super) fn plain(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// An answer to each of the commands, in one round trip.
    pub(super) async fn run(&self, commands: &[Cmd]) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut connection = self.connection.clone();
        let mut pipeline = Pipeline::with_capacity(commands.len() + 1);
        pipeline.ignore_errors();
        commands.iter().for_each(|command| _ = pipeline.add_command(command.clone()));
        let Some(turn) = &self.turn else { return pipeline.query_async(&mut connection).await };
        let mut turn = turn.lock().await;
        for _ in 0..TRIES {
            *turn += 1;
            let mut checked = pipeline.clone();
            checked.add_command(question(*turn));
            let mut answers: Vec<RedisResult<Value>> = checked.query_async(&mut connection).await?;
            if answers.pop().is_some_and(|last| is_answer(&last, *turn)) {
                return Ok(answers);
            }
            self.fall_in(&mut turn).await?;
        }
        Err(out_of_step())
    }

    /// Asks until an answer is the right one again.
    async fn fall_in(&self, turn: &mut u64) -> RedisResult<()> {
        let mut connection = self.connection.clone();
        for time in 0..TRIES {
            sleep(SILENCE * 2u32.pow(time)).await;
            *turn += 1;
            let answer = question(*turn).query_async::<Value>(&mut connection).await;
            match answer {
                Err(error) if is_of_connection(&error) => return Err(error),
                answer if is_answer(&answer, *turn) => return Ok(()),
                _ => {}
            }
        }
        Err(out_of_step())
    }
}

impl ConnectionLike for InStep {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            if self.turn.is_none() {
                return self.connection.req_packed_command(command).await;
            }
            let answers = self.run(std::slice::from_ref(command)).await?;
            answers.into_iter().next().unwrap_or_else(|| Err(out_of_step()))
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

fn name(turn: u64) -> String {
    format!("in-step-{turn}")
}

/// The last question of a round, allowed to every user that may ask for listeners. The answer
/// repeats the name.
fn question(turn: u64) -> Cmd {
    let mut question = redis::cmd("PUBSUB");
    question.arg("SHARDNUMSUB").arg(name(turn));
    question
}

fn is_answer(answer: &RedisResult<Value>, turn: u64) -> bool {
    let first = match answer {
        Ok(Value::Array(parts)) => parts.first(),
        Ok(Value::Map(parts)) => parts.first().map(|(key, _)| key),
        _ => None,
    };
    let said = first.and_then(|first| redis::from_redis_value_ref::<String>(first).ok());
    said.is_some_and(|said| said == name(turn))
}

fn out_of_step() -> RedisError {
    (ErrorKind::Client, "answers were given to other questions").into()
}

#[cfg(test)]
mod tests {
    use redis::{PushInfo, PushKind, aio::SendError};
    use tokio::sync::mpsc;

    use super::*;
    use test_kit::{redis_cluster, waiting::until};

    use crate::link::redis::testing;

    /// Slots move away and back while questions are asked.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_answer_belongs_to_its_question_while_slots_move() {
        let [one, two, _three] = redis_cluster::start().await;
        let (told, mut left) = mpsc::unbounded_channel();
        let target = testing::target(&one.url());
        let config = target.config().set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::SUnsubscribe {
                let _ = told.send(());
            }
            Ok::<_, SendError>(())
        });
        let connection = target.connect_node("127.0.0.1", one.port, &config).await.unwrap();
        let connection = InStep::new(connection, true);
        let mut listen = redis::cmd("SSUBSCRIBE");
        listen.arg("bar");
        let mut echo = redis::cmd("ECHO");
        echo.arg("echo");
        let mut ids = Vec::new();
        for node in [&one, &two] {
            let id = node.command(&["CLUSTER", "MYID"]).await.unwrap();
            ids.push(redis::from_redis_value::<String>(id).unwrap());
        }
        let asking = async {
            for _ in 0..3000 {
                let answers = connection.run(&[echo.clone(), echo.clone()]).await.unwrap();
                for answer in answers {
                    assert_eq!(redis::from_redis_value::<String>(answer.unwrap()).unwrap(), "echo");
                }
            }
        };
        let moving = async {
            for _ in 0..10 {
                until("it is listened to", async || {
                    matches!(&connection.run(&[listen.clone()]).await.unwrap()[0], Ok(Value::Push { kind, .. }) if *kind == PushKind::SSubscribe)
                })
                .await;
                for id in [&ids[1], &ids[0]] {
                    // `bar` is in slot 5061
                    one.command(&["CLUSTER", "SETSLOT", "5061", "NODE", id]).await.unwrap();
                }
                left.recv().await.unwrap();
            }
        };
        tokio::join!(asking, moving);
    }
}
