//! A listening connection.

use std::sync::Arc;

use redis::{RedisError, RedisResult};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Topic, dispatcher::Dispatcher},
    Kind,
    in_step::InStep,
    place::{self, OpenError, Place},
    pushes::{self, Pushes},
    speaker::is_not_now,
    subscriptions::Changes,
    watermark::{Watermark, Watermarked},
};
use crate::link::redis::{
    client::closed_by_redis,
    liveness::{self, Liveness},
    target::Target,
    wanted::Wanted,
};

/// Most channels in a command, and commands in a pipeline, so that Redis is not held up by us.
const CHUNK: usize = 500;

pub(super) struct Listener {
    kind: Kind,
    connection: InStep,
    life: Liveness,
    wanted: Wanted,
    pushes: Arc<Pushes>,
    closed: CancellationToken,
    /// The time up to which all frames of its topics were heard.
    pub(super) watermark: Watermark,
}

/// The topics that could not be listened to now, and why.
pub(super) type NotNow = Option<(Vec<Topic>, RedisError)>;

impl Listener {
    /// Opens a connection without any topic.
    pub(super) async fn open(
        target: &Target,
        kind: Kind,
        place: &Place,
        dispatcher: &Arc<Dispatcher>,
    ) -> Result<Self, OpenError> {
        let closed = CancellationToken::new();
        let pushes = Arc::new(Pushes::new(dispatcher.handle()));
        let told = pushes.clone();
        let config = pushes::config(target, closed.clone(), move |push| told.on_push(push));
        let connection = place.connect(target, &config).await?.connection;
        let is_spread = kind == Kind::Sharded && target.is_cluster();
        let connection = InStep::new(connection, is_spread);
        let life = Liveness::with_frames(target.timeouts().silence, pushes.heard.clone());
        let (wanted, watermark) = (place::wanted(target, kind), Watermark::now());
        Ok(Self { kind, connection, life, wanted, pushes, closed, watermark })
    }

    /// Ends when the connection is lost, or is of no use any more.
    pub(super) async fn until_lost(&self) -> RedisError {
        let connection =
            Watermarked { connection: self.connection.clone(), watermark: self.watermark.clone() };
        tokio::select! {
            () = self.closed.cancelled() => closed_by_redis(),
            error = liveness::until_dead(connection, self.wanted.clone(), &self.life) => error,
        }
    }

    /// Waits for channels that the cluster has moved away, and returns them.
    pub(super) async fn moved(&self) -> Vec<Topic> {
        self.pushes.moved().await
    }

    /// Whether Redis has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Silences the connection.
    pub(super) fn give_up(&self) {
        self.pushes.handle.close();
    }

    /// Listens to new topics and leaves others.
    ///
    /// # Errors
    /// If Redis does not comply. The connection has ended then.
    pub(super) async fn apply(&self, changes: &Changes) -> RedisResult<NotNow> {
        match self.kind {
            Kind::Classic | Kind::Streams => {
                self.classic(&changes.listen, true).await?;
                self.classic(&changes.unlisten, false).await?;
                Ok(None)
            }
            Kind::Sharded => {
                let not_now = self.sharded(&changes.listen, "SSUBSCRIBE").await?;
                self.pushes.leaving(&changes.unlisten);
                // Redis has already left the channels that have moved.
                let left = self.sharded(&changes.unlisten, "SUNSUBSCRIBE").await;
                self.pushes.have_left();
                left.and(Ok(not_now))
            }
        }
    }

    async fn classic(&self, topics: &[Topic], listen: bool) -> RedisResult<()> {
        let mut connection = self.connection.plain();
        let mut channels = Vec::new();
        let mut patterns = Vec::new();
        for topic in topics {
            match topic {
                Topic::Channel(name) => channels.push(name.to_string()),
                Topic::Prefix(start) => patterns.push(pattern(start)),
            }
        }
        for chunk in channels.chunks(CHUNK) {
            match listen {
                true => connection.subscribe(chunk).await?,
                false => connection.unsubscribe(chunk).await?,
            }
        }
        for chunk in patterns.chunks(CHUNK) {
            match listen {
                true => connection.psubscribe(chunk).await?,
                false => connection.punsubscribe(chunk).await?,
            }
        }
        Ok(())
    }

    /// One command a channel, since all channels of a command must be in one slot.
    async fn sharded(&self, topics: &[Topic], verb: &str) -> RedisResult<NotNow> {
        let mut not_now: NotNow = None;
        for chunk in topics.chunks(CHUNK) {
            let command = |topic: &Topic| redis::cmd(verb).arg(topic.name()).to_owned();
            let commands: Vec<_> = chunk.iter().map(command).collect();
            let answers = self.connection.run(&commands).await?;
            for (topic, answer) in chunk.iter().zip(answers) {
                match answer {
                    Ok(_) => {}
                    Err(error) if is_not_now(&error) => {
                        not_now.get_or_insert((Vec::new(), error)).0.push(topic.clone());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(not_now)
    }
}

/// The pattern for a prefix: its glob characters are escaped, and anything may follow.
fn pattern(start: &str) -> String {
    let mut pattern = String::with_capacity(start.len() + 1);
    for character in start.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "*"
}
