//! Questions to all nodes at once: who is there, in which rooms, and what do clients answer.

use std::{collections::HashSet, time::Duration};

use futures_util::StreamExt;
use rmpv::Value as Tree;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use socketioxide_core::adapter::{BroadcastOptions, Room};

use super::{Emitter, Place};
use crate::{
    cluster::{
        broker::Disconnected,
        message::{Answer, Description, Flags, Message, Selection},
        peers::{
            self,
            acks::{ClientAcks, Collected},
        },
    },
    fault::{Code, Fault},
    id::NodeId,
    payload::{Payload, PayloadError, from_packet, to_packet},
    sockets::{
        door::{self, Submitted},
        watch::FOR_ADMINS,
    },
    telemetry::traceparent::TraceParent,
};

/// What the nodes of the cluster answered to a question.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answers<T> {
    /// The answers of all nodes that gave one, this node's included.
    pub values: Vec<T>,
    /// Nodes of ours that gave none in time, by name.
    pub missing_nodes: Vec<NodeId>,
    /// How many Node.js nodes gave none in time.
    pub missing_foreign: usize,
}

impl<T> Answers<T> {
    /// What one node answers for all.
    pub(crate) fn of(values: Vec<T>) -> Self {
        Self { values, missing_nodes: Vec::new(), missing_foreign: 0 }
    }
}

/// The acknowledgements of clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Acks {
    /// The arguments of each acknowledgement; from another node only the first argument.
    pub acks: Vec<Payload>,
    /// How many clients were asked, as far as their nodes said so.
    pub expected: usize,
    /// Nodes of ours that did not say how many they asked, by name.
    pub missing_nodes: Vec<NodeId>,
    /// How many Node.js nodes did not.
    pub missing_foreign: usize,
    /// Whether all other nodes were asked, as far as can be known: false while the link to them is
    /// down, or Redis does not tell who they are. Then acknowledgements, and nodes, may be missing
    /// that nobody can name.
    pub cluster_asked: bool,
}

impl Acks {
    /// Nobody was asked.
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

/// A socket of any node, as `fetchSockets` of Socket.IO shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RemoteSocket {
    /// The public id. For a socket of ours it can be read as a [`SocketId`](crate::id::SocketId).
    pub id: String,
    /// The handshake as Node.js shows it. Sockets of ours leave out what opens doors: the token,
    /// cookies and authorization.
    pub handshake: Map<String, Json>,
    /// The rooms that it is in. A room that Node.js knows by a number starts with a null character.
    pub rooms: Vec<Room>,
    /// What the application keeps with it, `socket.data`.
    pub data: Map<String, Json>,
}

impl From<Description> for RemoteSocket {
    fn from(Description { id, handshake, rooms, mut data }: Description) -> Self {
        data.remove(FOR_ADMINS);
        Self { id, handshake, rooms, data }
    }
}

impl From<Disconnected> for Fault {
    fn from(error: Disconnected) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

impl Emitter {
    /// The sockets that are meant, on every node: `fetchSockets` of Socket.IO. Waits for
    /// `redis.request_timeout` at most; a node that dies is not waited for.
    ///
    /// # Errors
    /// `unavailable` while the link to the other nodes is down.
    pub async fn fetch_sockets(self) -> Result<Answers<RemoteSocket>, Fault> {
        let Answers { values, missing_nodes, missing_foreign } = self.fetch_descriptions().await?;
        let values = values.into_iter().map(Into::into).collect();
        Ok(Answers { values, missing_nodes, missing_foreign })
    }

    /// [`fetch_sockets`](Self::fetch_sockets), with what the nodes say to admins alone.
    pub(crate) async fn fetch_descriptions(self) -> Result<Answers<Description>, Fault> {
        let this = self.of_today();
        let here = this.of_this_node(|adapter, options| adapter.describe_here(options));
        let to = this.others();
        let others = this.ask(to, |request, to| Message::FetchSockets { request, to }).await?;
        let mut sockets = here;
        for answer in others.answers {
            if let Answer::Sockets(list) = answer {
                sockets.extend(list);
            }
        }
        let (missing_nodes, missing_foreign) = (others.missing, others.missing_foreign);
        Ok(Answers { values: sockets, missing_nodes, missing_foreign })
    }

    /// The rooms that the meant sockets are in, on every node, sorted.
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

    /// Emits an event and collects the acknowledgement of each client, for `timeout` at most.
    /// Clients that leave, and nodes that die, are not waited for where that can be known.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub async fn emit_with_ack<T: Serialize + ?Sized>(
        self,
        name: &str,
        data: &T,
        timeout: Duration,
    ) -> Result<Acks, PayloadError> {
        let payload = Payload::event(name, data)?;
        self.of_today().ask_all_clients(payload, timeout).await
    }

    async fn ask_all_clients(
        self,
        payload: Payload,
        timeout: Duration,
    ) -> Result<Acks, PayloadError> {
        // Until the last acknowledgement.
        let event = event_of(&payload)?;
        let Some(submitted) = door::submit(self.start(), payload, &self.audience, None)? else {
            return Ok(Acks::of_nobody());
        };
        let _waiting = self.context.meters().awaits_acks();
        let _hearing = match self.peers() {
            Some(peers) => peers.hear_answers(&self.namespace).await,
            None => None,
        };
        // Both are sent before any answer is waited for, so that the order of emits is kept.
        let elsewhere = self.ask_clients_elsewhere(event, timeout, submitted.traceparent());
        // Nobody is to be asked elsewhere, or nobody can be.
        let counted = self.peers().is_none() || self.others().is_none();
        let elsewhere = async {
            match elsewhere {
                Some(asked) => asked.collect(timeout).await,
                None => Collected { counted, ..Collected::default() },
            }
        };
        let (here, elsewhere) =
            futures_util::future::join(self.ask_clients_here(submitted, timeout), elsewhere).await;
        let (mut acks, expected) = here;
        acks.extend(elsewhere.acks.into_iter().filter_map(ack_of));
        Ok(Acks {
            acks,
            expected: expected + elsewhere.expected,
            missing_nodes: elsewhere.missing,
            missing_foreign: elsewhere.missing_foreign,
            cluster_asked: elsewhere.counted,
        })
    }

    async fn ask_clients_here(
        &self,
        submitted: Submitted,
        timeout: Duration,
    ) -> (Vec<Payload>, usize) {
        match door::deliver_asking(self.start(), submitted, timeout) {
            Some((acks, expected)) => (acks.collect().await, expected),
            None => (Vec::new(), 0),
        }
    }

    fn ask_clients_elsewhere(
        &self,
        event: Vec<Tree>,
        timeout: Duration,
        trace: Option<TraceParent>,
    ) -> Option<ClientAcks> {
        let (peers, to) = self.peers().zip(self.others())?;
        let flags = Flags { timeout: Some(timeout), trace, ..Flags::default() };
        let ask = |request| Message::BroadcastWithAck { request, event, to, flags };
        peers.ask_clients(&self.namespace, ask)
    }

    /// Sends an event to the server programs of the other nodes, `serverSideEmit` of Socket.IO.
    /// Targets mean nothing here. A tuple gives several arguments; between the nodes they are JSON.
    ///
    /// # Errors
    /// If `data` cannot be serialized.
    pub fn server_side_emit<T: Serialize + ?Sized>(
        self,
        name: &str,
        data: &T,
    ) -> Result<(), PayloadError> {
        let event = event_of(&Payload::event(name, data)?)?;
        if let Some(peers) = self.peers() {
            peers.say(&self.namespace, &Message::ServerSideEmit { request: None, event });
        }
        Ok(())
    }

    /// [`server_side_emit`](Self::server_side_emit), and collects what each other node answers.
    /// A node without a handler for the event answers without an argument; one of Node.js does not
    /// answer, and is counted as missing when `redis.request_timeout` has passed.
    ///
    /// # Errors
    /// `unavailable` while the link to the other nodes is down, `internal` if `data` cannot be
    /// serialized.
    pub async fn server_side_emit_with_ack<T: Serialize + ?Sized>(
        self,
        name: &str,
        data: &T,
    ) -> Result<Answers<Payload>, Fault> {
        let event = event_of(&Payload::event(name, data)?)?;
        let answers =
            self.ask(self.peers().map(|_| Selection::default()), |request, _| {
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

    async fn ask(
        &self,
        to: Option<Selection>,
        question: impl FnOnce(String, Selection) -> Message,
    ) -> Result<peers::Answers, Disconnected> {
        let (Some(peers), Some(to)) = (self.peers(), to) else {
            return Ok(peers::Answers::default());
        };
        peers.ask(&self.namespace, |request| question(request, to)).await
    }

    fn of_this_node<T>(
        &self,
        list: impl FnOnce(&super::Adapter, BroadcastOptions) -> Vec<T>,
    ) -> Vec<T> {
        match &self.place {
            Place::Here(adapter) => list(adapter, self.rooms_meant()),
            Place::Elsewhere(_) => Vec::new(),
        }
    }
}

/// An event as it travels between the nodes.
fn event_of(payload: &Payload) -> Result<Vec<Tree>, PayloadError> {
    from_packet(payload.value()).map_err(PayloadError::from)
}

/// The first argument of an acknowledgement as a payload; without one it has no arguments.
fn ack_of(first: Option<Tree>) -> Option<Payload> {
    let arguments: Vec<Tree> = first.into_iter().collect();
    to_packet(&arguments).ok().map(|packet| Payload::of_packet(packet, false))
}
