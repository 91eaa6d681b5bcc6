//! A question to many clients, and who answered what.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};

use super::{Answers, Emitter};
use crate::{
    cluster::message::Description,
    fault::{Code, Fault},
    id::{NodeId, SocketId},
    payload::{Payload, PayloadError},
    sockets::asking::AskError,
};

/// How many clients are asked at a time.
const AT_ONCE: usize = 256;

type Items = Pin<Box<dyn Stream<Item = (SocketId, Result<Payload, AskError>)> + Send>>;

/// The clients that are being asked: a stream of each one's id and its answer, or why there is none,
/// as they come. Made by [`Emitter::ask`].
///
/// ```
/// use std::time::Duration;
/// use futures_util::StreamExt;
/// use switchboard::{Fault, Switchboard};
///
/// async fn vote(server: &Switchboard) -> Result<u32, Fault> {
///     let mut asked = server.of("/").to("team").ask("vote", "lunch?", Duration::from_secs(20)).await?;
///     let mut yes = 0;
///     while let Some((id, answer)) = asked.next().await {
///         match answer.map(|answer| answer.decode::<bool>()) {
///             Ok(Ok(true)) => yes += 1,
///             Ok(_) => {}
///             Err(error) => println!("{id}: {error}"),
///         }
///     }
///     Ok(yes)
/// }
/// ```
#[must_use = "clients are asked as the stream is read"]
pub struct Asked {
    /// The number of clients.
    pub expected: usize,
    /// Nodes of ours that did not say which sockets they have, by name: their clients are not asked.
    pub missing_nodes: Vec<NodeId>,
    /// The number of Node.js nodes that did not say it.
    pub missing_foreign: usize,
    items: Items,
}

/// The answers of all clients that were asked, made by [`Asked::collect`].
///
/// ```
/// use std::time::Duration;
/// use switchboard::{Fault, Switchboard};
///
/// async fn all_are_ready(server: &Switchboard) -> Result<bool, Fault> {
///     let asked = server.of("/").to("team").ask("ready?", &(), Duration::from_secs(5)).await?;
///     let replied = asked.collect::<bool>().await;
///     for (id, error) in &replied.silent {
///         println!("{id}: {error}");
///     }
///     Ok(replied.complete()?.into_iter().all(|(_, ready)| ready))
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Replied<T> {
    /// The id of each client that answered, and its answer.
    pub answers: Vec<(SocketId, T)>,
    /// The id of each client that did not answer, or not in this shape, and why.
    pub silent: Vec<(SocketId, AskError)>,
    /// Nodes of ours whose clients were not asked, by name.
    pub missing_nodes: Vec<NodeId>,
    /// The number of Node.js nodes whose clients were not asked.
    pub missing_foreign: usize,
}

impl<T> Replied<T> {
    /// Whether every client was asked and has answered.
    ///
    /// ```
    /// use switchboard::sockets::emitter::Replied;
    ///
    /// fn tell(replied: &Replied<bool>) {
    ///     if !replied.is_complete() {
    ///         println!("{} silent, missing {:?}", replied.silent.len(), replied.missing_nodes);
    ///     }
    /// }
    /// ```
    pub fn is_complete(&self) -> bool {
        self.silent.is_empty() && self.missing_nodes.is_empty() && self.missing_foreign == 0
    }

    /// The answers, if there are all of them.
    ///
    /// # Errors
    /// `unavailable` if a node is missing, else `timeout`.
    pub fn complete(self) -> Result<Vec<(SocketId, T)>, Fault> {
        match (self.is_complete(), self.missing_nodes.len() + self.missing_foreign) {
            (true, _) => Ok(self.answers),
            (false, 0) => Err(Fault::new(Code::Timeout, "not every client has answered")),
            (false, _) => Err(Fault::new(Code::Unavailable, "not every node has answered")),
        }
    }
}

impl Stream for Asked {
    type Item = (SocketId, Result<Payload, AskError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.as_mut().poll_next(cx)
    }
}

impl Asked {
    /// Waits for all answers, read as [`Payload::decode`] does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Fault, Switchboard};
    ///
    /// async fn names(server: &Switchboard) -> Result<Vec<String>, Fault> {
    ///     let asked = server.of("/").to("team").ask("name?", &(), Duration::from_secs(5)).await?;
    ///     let replied = asked.collect::<String>().await;
    ///     println!("{} are silent", replied.silent.len());
    ///     Ok(replied.answers.into_iter().map(|(_, name)| name).collect())
    /// }
    /// ```
    pub async fn collect<T: DeserializeOwned>(mut self) -> Replied<T> {
        let (mut answers, mut silent) = (Vec::new(), Vec::new());
        while let Some((id, answer)) = self.items.next().await {
            match answer.and_then(|answer| Ok(answer.decode()?)) {
                Ok(answer) => answers.push((id, answer)),
                Err(error) => silent.push((id, error)),
            }
        }
        let Self { missing_nodes, missing_foreign, .. } = self;
        Replied { answers, silent, missing_nodes, missing_foreign }
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Emitter {
    /// Finds out which sockets these are, on every node, and asks the client of each: as they
    /// answer, it is known who did, who did not, and which nodes are missing. Each client has
    /// `timeout`, from when it is asked; 256 are asked at a time. From other nodes only the first
    /// argument of an acknowledgement travels.
    ///
    /// This takes a message for each socket of another node. For a crowd, of which only the answers
    /// are of interest, [`emit_with_ack`](Self::emit_with_ack) takes one for all.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures_util::StreamExt;
    /// use switchboard::{Fault, Switchboard};
    ///
    /// async fn first_to_answer(server: &Switchboard) -> Result<Option<String>, Fault> {
    ///     let mut asked = server.of("/").to("quiz").ask("2 + 2?", &(), Duration::from_secs(10)).await?;
    ///     while let Some((id, answer)) = asked.next().await {
    ///         if matches!(answer.map(|answer| answer.decode()), Ok(Ok(4))) {
    ///             return Ok(Some(id.to_string()));
    ///         }
    ///     }
    ///     Ok(None)
    /// }
    /// ```
    ///
    /// # Errors
    /// `unavailable` while the link to the other nodes is down; `internal` if `data` cannot be
    /// encoded.
    #[doc(alias("emitWithAck", "timeout"))]
    pub async fn ask(
        self,
        name: &str,
        data: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<Asked, Fault> {
        let payload = Payload::event(name, data)?;
        let at = self.clone();
        let Answers { values, missing_nodes, missing_foreign } = self.fetch_descriptions().await?;
        let expected = values.len();
        let asked = stream::iter(values).map(move |Description { id, .. }| {
            let (one, payload) = (at.clone().only(&id), payload.clone());
            let id = SocketId::of_any(&id);
            async move { (id, one.ask_one(payload, timeout).await) }
        });
        let items: Items = Box::pin(asked.buffer_unordered(AT_ONCE));
        Ok(Asked { expected, missing_nodes, missing_foreign, items })
    }

    /// Asks the client of an emitter to one socket.
    pub(super) async fn ask_one(
        self,
        payload: Payload,
        timeout: Duration,
    ) -> Result<Payload, AskError> {
        let asked: Result<_, PayloadError> =
            self.of_today().ask_all_clients(payload, timeout).await;
        let asked = asked?;
        let is_known = asked.cluster_asked && asked.missing_nodes.is_empty();
        match asked.acks.into_iter().next() {
            Some(answer) => Ok(answer),
            // Nobody has such a socket any more.
            None if asked.expected == 0 && is_known => Err(AskError::Disconnected),
            None => Err(AskError::Timeout),
        }
    }
}
