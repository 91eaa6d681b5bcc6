//! A connection that adds entries to a stream.

use redis::{Cmd, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio_util::sync::CancellationToken;

use super::{
    super::{OpenError, place::Place, pushes, speaker::is_not_now},
    Stream,
    queue::{Answer, Item},
};
use crate::{
    cluster::log::redis::{OWN, id_of},
    link::redis::target::Target,
};

pub(super) struct Writer {
    pub(super) connection: MultiplexedConnection,
    pub(super) closed: CancellationToken,
}

/// Redis's answers to entries.
pub(super) struct Answers {
    /// One for each entry.
    pub(super) all: Vec<Answer>,
    /// Why the first was refused, and why the first has to be tried again.
    pub(super) refused: Option<RedisError>,
    pub(super) not_now: Option<RedisError>,
}

impl Writer {
    pub(super) async fn open(target: &Target, place: &Place) -> Result<Self, OpenError> {
        let closed = CancellationToken::new();
        let config = pushes::config(target, closed.clone(), |_| {});
        let connection = place.connect(target, &config).await?.connection;
        Ok(Self { connection, closed })
    }

    /// Sends entries in one go and waits for the answers.
    ///
    /// # Errors
    /// If the connection has ended. Then some of the first ones may be there.
    pub(super) async fn send(&self, commands: redis::Pipeline) -> RedisResult<Answers> {
        let answers: Vec<RedisResult<Value>> =
            commands.query_async(&mut self.connection.clone()).await?;
        let mut said = Answers { all: Vec::new(), refused: None, not_now: None };
        for answer in answers {
            said.all.push(match answer {
                Ok(id) => Answer::Taken(id_of(&id).unwrap_or_default()),
                Err(error) if is_not_now(&error) => {
                    said.not_now.get_or_insert(error);
                    Answer::NotNow
                }
                Err(error) => {
                    said.refused.get_or_insert(error);
                    Answer::Refused
                }
            });
        }
        Ok(said)
    }
}

/// The value of the field [`OWN`].
fn own(run: &str, number: u64) -> String {
    format!("{run}-{number}")
}

/// The commands that add entries.
pub(super) fn commands(
    stream: &Stream,
    max_len: u64,
    run: &str,
    items: &[Item],
) -> redis::Pipeline {
    let mut pipeline = redis::Pipeline::with_capacity(items.len());
    pipeline.ignore_errors();
    for Item { number, entry, .. } in items {
        let mut command = Cmd::with_capacity(16, entry.size() + 128);
        command.arg("XADD").arg(&*stream.name).arg("MAXLEN").arg("~").arg(max_len).arg("*");
        command.arg("uid").arg(&*entry.from).arg("nsp").arg(&*entry.namespace);
        command.arg("type").arg(entry.kind).arg("data").arg(&entry.data[..]);
        command.arg(OWN).arg(own(run, *number));
        pipeline.add_command(command);
    }
    pipeline
}
