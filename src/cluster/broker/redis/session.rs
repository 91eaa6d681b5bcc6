//! One life of the link: the connections that are open, and what is said on them.
//!
//! There is one lane, a connection, for each node we speak to. In a Redis Cluster sharded channels live
//! at the owner of their slot, so each master has a lane. Classic channels live everywhere, and there is
//! one lane to any master, since only then the order of frames is kept; how many listen is asked
//! everywhere.
//!
//! Publishing and listening share the connection, as RESP3 allows: Redis writes the answer to a
//! `PUBLISH` and the echo of what was published in one go, and the node wakes up once for both.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use futures_util::future::{join_all, select_all, try_join_all};
use rand::seq::SliceRandom as _;
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection};

use super::{
    super::{Channel, Topic, ears::Ears},
    Kind,
    elsewhere::{Elsewhere, count},
    interest::Changes,
    outgoing::Frame,
    signs::Signs,
    slots::Slots,
    sound::{Sound, Watched},
};
use crate::redis::{
    link::closed_by_redis,
    probe::{self, Life},
    target::Target,
    whereabouts::Wanted,
};

/// Channels in one command, and commands in one pipeline, so that Redis is not held up by us.
const CHUNK: usize = 500;

pub(super) struct Session {
    kind: Kind,
    lanes: Vec<MultiplexedConnection>,
    /// Of each lane.
    lives: Vec<Life>,
    sound: Vec<Sound>,
    /// For sharded channels in a cluster.
    slots: Option<Slots>,
    /// For classic channels in a cluster.
    elsewhere: Option<Elsewhere>,
    wanted: Wanted,
    signs: Signs,
}

/// What came of frames that were sent.
pub(super) struct Published {
    /// How many were refused, and why the first one was.
    pub(super) refused: usize,
    pub(super) first: Option<RedisError>,
    /// To how many connections Redis gave them.
    pub(super) delivered: u64,
}

/// What came of pipelines: the refusals, and the sum of all answers that are numbers.
struct Ran {
    refused: Vec<RedisError>,
    sum: u64,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("{0}")]
    Unfit(String),
}

impl Session {
    /// Opens the connections; nothing is listened to yet.
    pub(super) async fn open(
        target: &Target,
        kind: Kind,
        ears: &Arc<Ears>,
    ) -> Result<Self, OpenError> {
        let signs = Signs::default();
        let mut any = target.connect(&target.config()).await?;
        fits(&mut any, target, kind).await?;
        let slots = match target.is_cluster() {
            true => Some(Slots::read(&mut any).await?),
            false => None,
        };
        let session = ears.begin();
        let config = {
            let (ears, signs) = (ears.clone(), signs.clone());
            signs.clone().config(target, move |push| signs.on_push(push, &ears, session))
        };
        let wanted = target.wanted();
        let whole = |lanes: Vec<_>, slots, elsewhere| {
            let signs = signs.clone();
            let life = || Life::with_frames(target.timeouts().silence, signs.heard.clone());
            let lives = std::iter::repeat_with(life).take(lanes.len()).collect();
            let sound = std::iter::repeat_with(Sound::now).take(lanes.len()).collect();
            Ok(Self { kind, lanes, lives, sound, slots, elsewhere, wanted: wanted.clone(), signs })
        };
        let lane =
            async |(host, port): &(String, u16)| target.connect_node(host, *port, &config).await;
        match (slots, kind) {
            (None, _) => whole(vec![target.connect(&config).await?], None, None),
            (Some(slots), Kind::Sharded) => {
                let lanes = try_join_all(slots.masters.iter().map(lane)).await?;
                whole(lanes, Some(slots), None)
            }
            (Some(mut slots), Kind::Classic) => {
                // any living one, and not the same for all nodes of ours
                slots.masters.shuffle(&mut rand::rng());
                let mut last = lost();
                for master in &slots.masters {
                    match lane(master).await {
                        Ok(lane) => {
                            let elsewhere = Elsewhere::new(target.clone(), master.clone());
                            return whole(vec![lane], None, Some(elsewhere));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last.into())
            }
        }
    }

    /// Ends when a connection is lost, or of no use any more.
    pub(super) async fn until_lost(&self) -> RedisError {
        let deaths =
            self.lanes.iter().zip(&self.sound).zip(&self.lives).map(|((lane, sound), life)| {
                let lane = Watched { connection: lane.clone(), sound: sound.clone() };
                probe::until_dead(lane, self.wanted.clone(), life)
            });
        let deaths = deaths.map(Box::pin);
        tokio::select! {
            () = self.signs.lost.cancelled() => match self.slots {
                Some(_) => lost(),
                None => closed_by_redis(),
            },
            (error, ..) = select_all(deaths) => error,
        }
    }

    /// Everything that was published before has been heard.
    pub(super) fn sound_until(&self) -> Option<Instant> {
        self.sound.iter().map(Sound::until).min()
    }

    /// Sends frames in order.
    ///
    /// # Errors
    /// If an answer did not come, or a channel has moved; then the session is over.
    pub(super) async fn publish(&self, frames: &[Frame]) -> RedisResult<Published> {
        let verb = self.kind.publish();
        let mut pipelines = self.pipelines();
        for frame in frames {
            let pipeline = &mut pipelines[self.lane(&frame.channel)?];
            pipeline.cmd(verb).arg(&*frame.channel).arg(&frame.payload[..]);
        }
        let Ran { refused, sum } = self.run(pipelines).await?;
        let count = refused.len();
        let first = refused.into_iter().next();
        Ok(Published { refused: count, first, delivered: sum })
    }

    /// Listens to what is new and leaves what is no longer wanted.
    ///
    /// # Errors
    /// If Redis does not do so; then the session is over.
    pub(super) async fn apply(&self, changes: &Changes) -> RedisResult<()> {
        match self.kind {
            Kind::Classic => {
                self.classic(&changes.listen, true).await?;
                self.classic(&changes.unlisten, false).await
            }
            Kind::Sharded => {
                self.sharded(&changes.listen, "SSUBSCRIBE").await?;
                let channels = changes.unlisten.iter();
                let left = channels.filter(|topic| matches!(topic, Topic::Channel(_))).count();
                self.signs.leaving.fetch_add(left as i64, Ordering::Relaxed);
                self.sharded(&changes.unlisten, "SUNSUBSCRIBE").await
            }
        }
    }

    async fn classic(&self, topics: &[Topic], listen: bool) -> RedisResult<()> {
        let mut connection = self.lanes[0].clone();
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

    /// One command a channel, since channels of one command must be of one slot.
    async fn sharded(&self, topics: &[Topic], verb: &str) -> RedisResult<()> {
        for chunk in topics.chunks(CHUNK) {
            let mut pipelines = self.pipelines();
            for topic in chunk {
                // there are no patterns for sharded channels; the seam says so
                let Topic::Channel(name) = topic else { continue };
                pipelines[self.lane(name)?].cmd(verb).arg(&**name);
            }
            let ran = self.run(pipelines).await?;
            if let Some(error) = ran.refused.into_iter().next() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// How many nodes listen to each of the channels.
    pub(super) async fn listeners(&self, channels: &[Channel]) -> RedisResult<Vec<usize>> {
        let mut sums = vec![0; channels.len()];
        match self.kind {
            _ if channels.is_empty() => {}
            Kind::Classic => {
                let here = count(self.lanes[0].clone(), "NUMSUB", channels);
                let elsewhere = async {
                    match &self.elsewhere {
                        None => Ok(Vec::new()),
                        Some(nodes) => nodes.count(&self.lanes[0], channels).await,
                    }
                };
                let (here, mut counts) = tokio::try_join!(here, elsewhere)?;
                counts.push(here);
                for counts in counts {
                    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                }
            }
            Kind::Sharded => {
                let mut places = vec![Vec::new(); self.lanes.len()];
                for (at, channel) in channels.iter().enumerate() {
                    places[self.lane(channel)?].push(at);
                }
                let questions = self.lanes.iter().zip(&places).filter(|(_, at)| !at.is_empty());
                let answers = try_join_all(questions.map(async |(lane, places)| {
                    let asked: Vec<_> = places.iter().map(|at| channels[*at].clone()).collect();
                    count(lane.clone(), "SHARDNUMSUB", &asked).await
                }))
                .await?;
                let places = places.into_iter().flatten();
                places.zip(answers.into_iter().flatten()).for_each(|(at, count)| sums[at] = count);
            }
        }
        Ok(sums)
    }

    /// Ends when the session is lost.
    pub(super) async fn lost(&self) {
        self.signs.lost.cancelled().await;
    }

    /// For all whose clones live on: nothing here is of use any more.
    pub(super) fn give_up(&self) {
        self.signs.lost.cancel();
    }

    fn pipelines(&self) -> Vec<Pipeline> {
        let new = || {
            let mut pipeline = redis::pipe();
            pipeline.ignore_errors();
            pipeline
        };
        std::iter::repeat_with(new).take(self.lanes.len()).collect()
    }

    /// Runs each on its lane, at once.
    async fn run(&self, pipelines: Vec<Pipeline>) -> RedisResult<Ran> {
        let running =
            pipelines.iter().zip(&self.lanes).filter(|(pipeline, _)| !pipeline.is_empty());
        let answers = join_all(running.map(async |(pipeline, lane)| {
            let mut connection = lane.clone();
            pipeline.query_async::<Vec<RedisResult<Value>>>(&mut connection).await
        }))
        .await;
        let mut ran = Ran { refused: Vec::new(), sum: 0 };
        for answers in answers {
            for answer in answers? {
                match answer {
                    Ok(Value::Int(number)) => ran.sum += u64::try_from(number).unwrap_or(0),
                    Ok(_) => {}
                    Err(error) => ran.refused.push(error),
                }
            }
        }
        match ran.refused.iter().position(RedisError::is_cluster_error) {
            // the map of slots has changed; the next session reads it anew
            Some(moved) => Err(ran.refused.swap_remove(moved)),
            None => Ok(ran),
        }
    }

    fn lane(&self, channel: &str) -> RedisResult<usize> {
        match (&self.slots, self.kind) {
            (Some(slots), Kind::Sharded) => slots
                .owner(channel)
                .ok_or_else(|| (ErrorKind::Client, "a slot of the cluster has no owner").into()),
            _ => Ok(0),
        }
    }
}

/// Whether this Redis can do what is needed.
async fn fits(
    connection: &mut MultiplexedConnection,
    target: &Target,
    kind: Kind,
) -> Result<(), OpenError> {
    let unfit = |reason: &str| Err(OpenError::Unfit(reason.to_owned()));
    match (probe::hello(connection).await?.mode.as_str(), target.is_cluster()) {
        ("sentinel", _) => return unfit("it is a Sentinel; write redis+sentinel://…/master"),
        ("cluster", false) => {
            return unfit(
                "it is a node of a Redis Cluster; name several nodes, or add ?cluster=true",
            );
        }
        ("standalone", true) => return unfit("it is not a node of a Redis Cluster"),
        _ => {}
    }
    if kind == Kind::Sharded {
        // the question itself, since forks of Redis count their versions in other ways
        let mut question = redis::cmd("PUBSUB");
        let answer: RedisResult<Value> = question.arg("SHARDNUMSUB").query_async(connection).await;
        match answer {
            Err(error) if error.is_io_error() => return Err(error.into()),
            Err(error) => {
                return unfit(&format!("sharded channels need Redis 7 or later ({error})"));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Glob characters are escaped, then everything may follow.
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

fn lost() -> RedisError {
    (ErrorKind::Io, "a connection was closed, or the cluster has moved a channel").into()
}
