//! Questions to all nodes at once: for sockets, for rooms, and for acknowledgements of clients.

use std::{collections::HashSet, time::Duration};

use futures_util::StreamExt;
use rmpv::Value as Tree;
use serde::Serialize;
use socketioxide_core::adapter::Room;

use super::{Emitter, remote::RemoteSocket};
use crate::{
    cluster::{
        broker::Disconnected,
        message::{Answer, Description, Flags, Message, Selection},
        peers::{self, acks::Collected},
    },
    fault::{Code, Fault},
    id::NodeId,
    names::events::RESERVED_BETWEEN_SERVERS,
    payload::{Payload, PayloadError, from_packet, to_packet},
    sockets::door::{self, Start},
};

/// The answers of the cluster's nodes to a question.
///
/// A node whose own link is down is to the others as one that has died: it is not waited for, and not
/// among the missing ones. When it comes back, those of its clients that may have missed an event are
/// disconnected.
///
/// ```
/// use switchboard::{Fault, Switchboard};
///
/// async fn in_lobby(server: &Switchboard) -> Result<usize, Fault> {
///     let answers = server.of("/").to("lobby").fetch_sockets().await?;
///     if !answers.missing_nodes.is_empty() {
///         println!("at least, since some nodes are silent: {:?}", answers.missing_nodes);
///     }
///     Ok(answers.values.len())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answers<T> {
    /// The values of all nodes that answered, this node's included.
    pub values: Vec<T>,
    /// Nodes of ours that did not answer in time, by name.
    pub missing_nodes: Vec<NodeId>,
    /// The number of Node.js nodes that did not answer in time.
    pub missing_foreign: usize,
}

impl<T> Answers<T> {
    /// The answer of a single node.
    pub(crate) fn of(values: Vec<T>) -> Self {
        Self { values, missing_nodes: Vec::new(), missing_foreign: 0 }
    }
}

/// The acknowledgements of clients.
///
/// ```
/// use std::time::Duration;
/// use switchboard::{Switchboard, payload::PayloadError};
///
/// async fn all_are_there(server: &Switchboard) -> Result<bool, PayloadError> {
///     let acks = server.of("/").to("team").emit_with_ack("there?", &(), Duration::from_secs(2)).await?;
///     Ok(acks.is_complete())
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Acks {
    /// The arguments of each acknowledgement. From another node, only the first argument.
    pub acks: Vec<Payload>,
    /// The number of clients that were asked, as far as their nodes reported it.
    pub expected: usize,
    /// Nodes of ours that did not report how many clients they asked, by name.
    pub missing_nodes: Vec<NodeId>,
    /// The number of Node.js nodes that did not report it.
    pub missing_foreign: usize,
    /// Whether all other nodes were asked, as far as this can be known. False while the link to
    /// them is down, or while Redis does not say which there are. Acknowledgements of unknown nodes
    /// may be missing then.
    pub cluster_asked: bool,
}

impl Acks {
    /// Whether every client was asked, as far as this can be known, and has answered.
    pub fn is_complete(&self) -> bool {
        self.asked_every_node() && self.acks.len() >= self.expected
    }

    fn asked_every_node(&self) -> bool {
        self.cluster_asked && self.missing_nodes.is_empty() && self.missing_foreign == 0
    }

    /// The acknowledgements, if there are all of them: as Node.js, whose `emitWithAck` fails
    /// otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Fault, Switchboard};
    ///
    /// async fn names(server: &Switchboard) -> Result<Vec<String>, Fault> {
    ///     let asked = server.of("/").to("team").emit_with_ack("name?", &(), Duration::from_secs(2));
    ///     let acks = asked.await?.complete()?;
    ///     acks.iter().map(|ack| Ok(ack.decode()?)).collect()
    /// }
    /// ```
    ///
    /// # Errors
    /// `unavailable` if a node is missing or was not asked, else `timeout`.
    pub fn complete(self) -> Result<Vec<Payload>, Fault> {
        if self.is_complete() {
            return Ok(self.acks);
        }
        Err(match self.asked_every_node() {
            true => Fault::new(Code::Timeout, "not every client has answered"),
            false => Fault::new(Code::Unavailable, "not every node has answered"),
        })
    }

    /// No client was asked.
    fn of_nobody() -> Self {
        Self {
            acks: Vec::new(),
            expected: 0,
            missing_nodes: Vec::new(),
            missing_foreign: 0,
            cluster_asked: true,
        }
    }
}

impl From<Disconnected> for Fault {
    fn from(error: Disconnected) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

impl Emitter {
    /// The sockets of the audience, on every node: `fetchSockets` of Socket.IO. Waits at most for
    /// `redis.request_timeout`; a node that dies is not waited for.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let answers = server.of("/").to("lobby").fetch_sockets().await?;
    /// for socket in &answers.values {
    ///     println!("{} is in {:?}", socket.id, socket.rooms);
    /// }
    /// assert!(answers.missing_nodes.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `unavailable` while the link to the other nodes is down.
    #[doc(alias = "fetchSockets")]
    pub async fn fetch_sockets(self) -> Result<Answers<RemoteSocket>, Fault> {
        let at = self.clone();
        let Answers { values, missing_nodes, missing_foreign } = self.fetch_descriptions().await?;
        let values = values.into_iter().map(|found| RemoteSocket::new(found, &at)).collect();
        Ok(Answers { values, missing_nodes, missing_foreign })
    }

    /// [`fetch_sockets`](Self::fetch_sockets), with the members for admins alone.
    pub(crate) async fn fetch_descriptions(self) -> Result<Answers<Description>, Fault> {
        let this = self.of_today();
        let (start, sockets) = (this.start(), this.lowered());
        let to = door::others(start, &sockets);
        let here = match start {
            Start::Here(adapter) => adapter.describe_here(sockets),
            Start::Elsewhere { .. } => Vec::new(),
        };
        let others =
            this.ask_nodes(to, |request, to| Message::FetchSockets { request, to }).await?;
        let mut sockets = here;
        for answer in others.answers {
            if let Answer::Sockets(list) = answer {
                sockets.extend(list);
            }
        }
        let (missing_nodes, missing_foreign) = (others.missing, others.missing_foreign);
        Ok(Answers { values: sockets, missing_nodes, missing_foreign })
    }

    /// The rooms of the audience's sockets, on every node, sorted.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// assert!(server.of("/").rooms().await?.values.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`fetch_sockets`](Self::fetch_sockets).
    pub async fn rooms(self) -> Result<Answers<Room>, Fault> {
        let fetched = self.fetch_sockets().await?;
        let rooms: HashSet<Room> =
            fetched.values.into_iter().flat_map(|socket| socket.rooms).collect();
        let mut values: Vec<Room> = rooms.into_iter().collect();
        values.sort();
        Ok(Answers {
            values,
            missing_nodes: fetched.missing_nodes,
            missing_foreign: fetched.missing_foreign,
        })
    }

    /// Emits an event and collects the acknowledgement of each client, for at most `timeout`.
    /// Clients that leave and nodes that die are not waited for, where that is known.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let acks = server.of("/").emit_with_ack("ready?", &(), Duration::from_secs(5)).await?;
    /// assert!(acks.is_complete(), "nobody is there, and nobody is missing");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    #[doc(alias("emitWithAck", "timeout"))]
    pub async fn emit_with_ack<T: Serialize + ?Sized>(
        self,
        name: &str,
        data: &T,
        timeout: Duration,
    ) -> Result<Acks, PayloadError> {
        let payload = Payload::event(name, data)?;
        self.of_today().ask_all_clients(payload, timeout).await
    }

    pub(super) async fn ask_all_clients(
        self,
        payload: Payload,
        timeout: Duration,
    ) -> Result<Acks, PayloadError> {
        let start = self.start();
        // The span of the emit lasts as long as this: until the last acknowledgement.
        let submitted = door::submit(start, payload.clone(), &self.audience, None)?;
        let Some(submitted) = submitted else { return Ok(Acks::of_nobody()) };
        let _waiting = start.node().meters().awaits_acks();
        let _hearing = match start.peers() {
            Some(peers) => peers.hear_answers(start.namespace()).await,
            None => None,
        };
        let others = start.peers().zip(submitted.others(start));
        // No other client has to be asked, or none can be.
        let counted = others.is_none();
        // Both are sent before any answer is awaited, so that the order of emits is kept.
        let elsewhere = match others {
            Some((peers, to)) => {
                let event = event_of(&payload)?;
                let trace = submitted.traceparent();
                let flags = Flags { timeout: Some(timeout), trace, ..Flags::default() };
                let ask = |request| Message::BroadcastWithAck { request, event, to, flags };
                peers.ask_clients(start.namespace(), ask)
            }
            None => None,
        };
        let here = async {
            match door::deliver_asking(start, &submitted, timeout) {
                Some((acks, expected)) => (acks.collect().await, expected),
                None => (Vec::new(), 0),
            }
        };
        let elsewhere = async {
            match elsewhere {
                Some(asked) => asked.collect(timeout).await,
                None => Collected { counted, ..Collected::default() },
            }
        };
        let ((mut acks, expected), elsewhere): ((Vec<_>, _), _) =
            futures_util::future::join(here, elsewhere).await;
        acks.extend(elsewhere.acks.into_iter().filter_map(ack_of));
        Ok(Acks {
            acks,
            expected: expected + elsewhere.expected,
            missing_nodes: elsewhere.missing,
            missing_foreign: elsewhere.missing_foreign,
            cluster_asked: elsewhere.counted,
        })
    }

    /// Sends an event to the server programs of the other nodes, as `serverSideEmit` of Socket.IO.
    /// Targets have no meaning here. A tuple gives several arguments; they travel as JSON.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").server_side_emit("cache:clear", "prices")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If `data` cannot be serialized or the name is reserved.
    #[doc(alias = "serverSideEmit")]
    pub fn server_side_emit<T: Serialize + ?Sized>(
        self,
        name: &str,
        data: &T,
    ) -> Result<(), PayloadError> {
        let event = between_servers(name, data)?;
        let start = self.start();
        if let Some(peers) = start.peers() {
            peers.say(start.namespace(), &Message::ServerSideEmit { request: None, event });
        }
        Ok(())
    }

    /// As [`server_side_emit`](Self::server_side_emit), and collects the answer of each other node.
    /// A node without a handler for the event answers without an argument. A Node.js node does not
    /// answer, and counts as missing after `redis.request_timeout`.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// for version in server.of("/").server_side_emit_with_ack("version", &()).await?.values {
    ///     println!("another node has {}", version.decode::<String>()?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `unavailable` while the link to the other nodes is down, `internal` if `data` cannot be
    /// serialized or the name is reserved.
    pub async fn server_side_emit_with_ack<T: Serialize + ?Sized>(
        self,
        name: &str,
        data: &T,
    ) -> Result<Answers<Payload>, Fault> {
        let event = between_servers(name, data)?;
        let answers = self
            .ask_nodes(self.start().peers().map(|_| Selection::default()), |request, _| {
                Message::ServerSideEmit { request: Some(request), event }
            })
            .await?;
        let payload = |answer| match answer {
            Answer::ServerSide(value) => ack_of(value),
            _ => None,
        };
        Ok(Answers {
            values: answers.answers.into_iter().filter_map(payload).collect(),
            missing_nodes: answers.missing,
            missing_foreign: answers.missing_foreign,
        })
    }

    async fn ask_nodes(
        &self,
        to: Option<Selection>,
        question: impl FnOnce(String, Selection) -> Message,
    ) -> Result<peers::Answers, Disconnected> {
        let start = self.start();
        let (Some(peers), Some(to)) = (start.peers(), to) else {
            return Ok(peers::Answers::default());
        };
        peers.ask(start.namespace(), |request| question(request, to)).await
    }
}

/// An event for the programs of the other nodes.
fn between_servers<T: Serialize + ?Sized>(name: &str, data: &T) -> Result<Vec<Tree>, PayloadError> {
    if RESERVED_BETWEEN_SERVERS.contains(&name) {
        return Err(PayloadError::ReservedEvent(name.to_owned()));
    }
    event_of(&Payload::event(name, data)?)
}

/// An event in its form between the nodes.
fn event_of(payload: &Payload) -> Result<Vec<Tree>, PayloadError> {
    from_packet(payload.value()).map_err(PayloadError::from)
}

/// An acknowledgement's first argument as a payload. Without one the payload is empty.
fn ack_of(first: Option<Tree>) -> Option<Payload> {
    let arguments: Vec<Tree> = first.into_iter().collect();
    to_packet(&arguments).ok().map(|packet| Payload::of_packet(packet, false))
}
