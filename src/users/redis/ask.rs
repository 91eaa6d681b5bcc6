//! Questions to Redis, and whether the answers can be believed.
//!
//! An answer counts if the data has the epoch that this node knows, and if every live node vouches
//! for the bucket by its mark: the bucket then holds all sockets of that node. Each node knows its
//! own sockets without asking.
//! sockets a node knows itself.

use std::time::Instant;

use redis::{Cmd, FromRedisValue, RedisResult, Value};

use super::{
    Counters, NodeInfo, Op, RedisDirectory, Unknown, UserPage, UserSocket,
    entry::{Entry, bucket_of, decode, decode_user, encode_user},
    page::Page,
    roster,
    scripts::SCRIPTS,
    standing::Roster,
};
use crate::id::UserId;

/// An answer of Redis, and the nodes at that moment.
struct Answered {
    answers: Vec<RedisResult<Value>>,
    roster: Roster,
}

/// Why there is no answer.
enum Doubt {
    Unknown,
    /// A live node has no mark in the bucket: it is listing its sockets just now, or its entries
    /// are lost. A node that comes or goes may look like that for a moment.
    Torn,
}

impl From<Unknown> for Doubt {
    fn from(_: Unknown) -> Self {
        Self::Unknown
    }
}

/// Asks a second time if a node came or went meanwhile.
async fn surely<T>(
    ask: impl Future<Output = Result<T, Doubt>>,
    again: impl Future<Output = Result<T, Doubt>>,
) -> Result<T, Unknown> {
    match ask.await {
        Ok(answer) => Ok(answer),
        Err(Doubt::Unknown) => Err(Unknown),
        Err(Doubt::Torn) => again.await.map_err(|_| Unknown),
    }
}

type Names = Vec<Vec<u8>>;

impl RedisDirectory {
    /// Asks the question, and for the nodes at that moment. Without all rights in Redis nobody can
    /// say what is missing.
    async fn ask(&self, mut groups: Vec<Vec<Cmd>>) -> Result<Answered, Unknown> {
        if self.shared.rights.as_ref().is_some_and(|rights| rights.refuses_data()) {
            return Err(Unknown);
        }
        let commands = self.source.commands().ok_or(Unknown)?;
        let mut names = redis::cmd("HKEYS");
        names.arg(&self.shared.keys.nodes()[0]);
        groups.push(vec![names]);
        let mut groups = self.shared.access(commands).run(groups).await;
        let names = groups.pop().and_then(|mut group| group.pop()).unwrap_or(Ok(Value::Nil));
        let roster = Roster::read(self.sound::<Names>(names)?).ok_or(Unknown)?;
        self.shared.standing.lock().saw(&roster);
        Ok(Answered { answers: groups.into_iter().flatten().collect(), roster })
    }

    fn sound<T: FromRedisValue>(&self, answer: RedisResult<Value>) -> Result<T, Unknown> {
        answer.and_then(|value| Ok(T::from_redis_value(value)?)).map_err(|_| {
            Counters::add(&self.shared.counters.failures, 1);
            Unknown
        })
    }

    /// Whether a bucket lists all sockets of the other nodes; with `own`, those of this node, too.
    fn believe(
        &self,
        bucket: usize,
        marks: &[Vec<u8>],
        roster: &Roster,
        own: bool,
    ) -> Result<(), Doubt> {
        let is_own = |name: &[u8]| self.shared.itself.is(name);
        let missing = roster.living.iter().filter(|name| !marks.contains(name));
        let (mine, others): (Vec<_>, Vec<_>) = missing.partition(|name| is_own(name));
        let standing = self.shared.standing.lock();
        if !standing.believes(roster, Instant::now()) {
            return Err(Doubt::Unknown);
        }
        let lacks = standing.lacks(bucket);
        drop(standing);
        if !mine.is_empty() && !lacks {
            // If the queue is full, the next beat finds out.
            let _ = self.ops.try_send(Op::Torn(bucket));
        }
        if !others.is_empty() || (own && !mine.is_empty()) {
            return Err(Doubt::Torn);
        }
        if own && lacks { Err(Doubt::Unknown) } else { Ok(()) }
    }

    pub(super) async fn listed(&self, user: &str) -> Result<Vec<UserSocket>, Unknown> {
        surely(self.ask_listed(user), self.ask_listed(user)).await
    }

    async fn ask_listed(&self, user: &str) -> Result<Vec<UserSocket>, Doubt> {
        let bucket = bucket_of(user);
        let mut question = SCRIPTS.sockets.call(self.shared.keys.bucket(bucket));
        question.arg(encode_user(user));
        let Answered { answers, roster } = self.ask(vec![vec![question]]).await?;
        let answer = answers.into_iter().next().unwrap_or(Ok(Value::Nil));
        let (marks, entries): (Names, Names) = self.sound(answer)?;
        self.believe(bucket, &marks, &roster, false)?;
        let mut sockets = self.shared.mirror.lock().sockets(user);
        for entry in entries {
            match decode(&entry) {
                Some(Entry { incarnation, socket, .. }) => {
                    if !self.shared.itself.is(incarnation.as_bytes()) {
                        sockets.push(socket);
                    }
                }
                None => Counters::add(&self.shared.counters.malformed, 1),
            }
        }
        sockets.sort_by_key(|socket| socket.connected_at);
        Ok(sockets)
    }

    pub(super) async fn page(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<UserPage, Unknown> {
        surely(self.ask_page(cursor, limit), self.ask_page(cursor, limit)).await
    }

    async fn ask_page(&self, cursor: Option<&str>, limit: usize) -> Result<UserPage, Doubt> {
        let mut page = Page::new(cursor, limit);
        let share = page.share();
        loop {
            let questions = page.questions();
            if questions.is_empty() {
                return Ok(page.finish());
            }
            let ask = |(bucket, from): &(usize, Vec<u8>)| {
                let mut ask = SCRIPTS.page.call(self.shared.keys.bucket(*bucket));
                ask.arg(from).arg(share);
                vec![ask]
            };
            let Answered { answers, roster } =
                self.ask(questions.iter().map(ask).collect()).await?;
            for ((bucket, _), answer) in questions.into_iter().zip(answers) {
                let (marks, listed): (Names, Vec<(Vec<u8>, usize)>) = self.sound(answer)?;
                self.believe(bucket, &marks, &roster, true)?;
                let complete = listed.len() < share;
                let users = listed.into_iter().filter_map(|(user, count)| {
                    let user = decode_user(&user);
                    if user.is_none() {
                        Counters::add(&self.shared.counters.malformed, 1);
                    }
                    user.map(|user| (user, count))
                });
                page.answered(bucket, users.collect(), complete);
            }
        }
    }

    /// Whether each user is online. A user with a socket here is, whatever Redis knows.
    pub(super) async fn are_online(&self, users: &[UserId]) -> Result<Vec<bool>, Unknown> {
        let mut online: Vec<bool> = {
            let mirror = self.shared.mirror.lock();
            users.iter().map(|user| mirror.holds(user)).collect()
        };
        let elsewhere: Vec<usize> = (0..users.len()).filter(|&at| !online[at]).collect();
        if !elsewhere.is_empty() {
            let ask = || self.ask_online(users, &elsewhere);
            let listed = surely(ask(), ask()).await?;
            elsewhere.iter().zip(listed).for_each(|(&at, is_listed)| online[at] = is_listed);
        }
        Ok(online)
    }

    /// Asks one question for all users of a bucket.
    async fn ask_online(&self, users: &[UserId], which: &[usize]) -> Result<Vec<bool>, Doubt> {
        let mut places: Vec<(usize, Vec<usize>)> = Vec::new();
        for (place, &at) in which.iter().enumerate() {
            let bucket = bucket_of(&users[at]);
            match places.iter_mut().find(|(known, _)| *known == bucket) {
                Some((_, places)) => places.push(place),
                None => places.push((bucket, vec![place])),
            }
        }
        let ask = |(bucket, places): &(usize, Vec<usize>)| {
            let mut ask = SCRIPTS.online.call(self.shared.keys.bucket(*bucket));
            for &place in places {
                ask.arg(encode_user(&users[which[place]]));
            }
            vec![ask]
        };
        let Answered { answers, roster } = self.ask(places.iter().map(ask).collect()).await?;
        let mut online = vec![false; which.len()];
        for ((bucket, places), answer) in places.into_iter().zip(answers) {
            let (marks, listed): (Names, Vec<bool>) = self.sound(answer)?;
            self.believe(bucket, &marks, &roster, false)?;
            places.iter().zip(listed).for_each(|(&at, is_listed)| online[at] = is_listed);
        }
        Ok(online)
    }

    pub(super) async fn living(&self) -> Result<Vec<NodeInfo>, Unknown> {
        let question = SCRIPTS.nodes.call(&self.shared.keys.nodes()[..1]);
        let Answered { answers, roster } = self.ask(vec![vec![question]]).await?;
        let answer = answers.into_iter().next().unwrap_or(Ok(Value::Nil));
        let (nodes, malformed) = roster::read_nodes(self.sound(answer)?);
        Counters::add(&self.shared.counters.malformed, malformed);
        let standing = self.shared.standing.lock();
        standing.believes(&roster, Instant::now()).then_some(nodes).ok_or(Unknown)
    }
}
