//! The vocabulary of a cluster, whatever the wire format.
//!
//! Names follow Socket.IO. Where the two wire formats express one thing in two ways, it has one
//! form here.

use std::time::Duration;

use bytes::Bytes;
use rmpv::Value as Tree;
use serde_json::{Map, Value as Json};
use smallvec::SmallVec;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room};

use super::log::EntryId;
use crate::telemetry::traceparent::TraceParent;

/// A message with the node that sent it.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// The sender's id on the wire. Emitters and old nodes have none.
    pub(crate) from: Option<String>,
    pub(crate) message: Message,
    /// The message's place in the log, if it has one.
    pub(crate) at: Option<EntryId>,
}

/// A selection of sockets of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    /// The members of any of these rooms. Without rooms, every socket of the namespace.
    pub(crate) rooms: Vec<Room>,
    /// Members of any of these rooms are left out.
    pub(crate) except: Vec<Room>,
}

impl Selection {
    /// The sockets of other nodes that these options select. `None` if they select nobody, or
    /// sockets of this node only.
    pub(crate) fn of_others(options: &BroadcastOptions) -> Option<Self> {
        let is_nobody = options.rooms.is_empty() && !options.has_flag(BroadcastFlags::Broadcast);
        if is_nobody || options.has_flag(BroadcastFlags::Local) {
            return None;
        }
        Some(Self { rooms: options.rooms.to_vec(), except: options.except.to_vec() })
    }
}

/// The selection in socketioxide's form, where no rooms mean nobody unless the broadcast flag is
/// set.
impl From<Selection> for BroadcastOptions {
    fn from(Selection { rooms, except }: Selection) -> Self {
        let mut options = Self::default();
        options.add_flag(BroadcastFlags::Broadcast);
        options.rooms = SmallVec::from_vec(rooms);
        options.except = SmallVec::from_vec(except);
        options
    }
}

/// Options for the delivery of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    /// Sockets that are not ready may be skipped.
    pub(crate) volatile: bool,
    /// Whether to compress. It is only passed on here.
    pub(crate) compress: Option<bool>,
    /// How long acknowledgements are collected.
    pub(crate) timeout: Option<Duration>,
    /// The trace that the emit belongs to, if that is sampled.
    pub(crate) trace: Option<TraceParent>,
    /// The sender's number for an event, if its sockets recover. Only nodes of ours use it.
    pub(crate) number: Option<u64>,
}

impl Flags {
    /// The options of an emit that other nodes have to know.
    pub(crate) fn of(options: &BroadcastOptions, trace: Option<TraceParent>) -> Self {
        Self { volatile: options.has_flag(BroadcastFlags::Volatile), trace, ..Self::default() }
    }
}

/// The name of a question, chosen by the asking node.
pub(crate) type RequestId = String;

/// An event's name and its arguments, binary inline.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Values(Vec<Tree>),
    /// A whole array of MessagePack that starts with a valid event name. Most messages stay encoded
    /// until their recipients are known.
    Encoded(Bytes),
}

/// A message of one node to the others. `event` is the event's name and its arguments, binary
/// inline.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Broadcast {
        event: Event,
        to: Selection,
        flags: Flags,
    },
    /// A question for one [`Answer::ClientCount`], then an [`Answer::ClientAck`] for each client.
    BroadcastWithAck {
        request: RequestId,
        event: Vec<Tree>,
        to: Selection,
        flags: Flags,
    },
    Join {
        to: Selection,
        rooms: Vec<Room>,
    },
    Leave {
        to: Selection,
        rooms: Vec<Room>,
    },
    Disconnect {
        to: Selection,
        close: bool,
    },
    /// A question for [`Answer::Sockets`].
    FetchSockets {
        request: RequestId,
        to: Selection,
    },
    /// A question for [`Answer::Rooms`].
    AllRooms {
        request: RequestId,
    },
    /// A question of nodes before version 8, for [`Answer::SocketIds`].
    SocketIds {
        request: RequestId,
        rooms: Vec<Room>,
    },
    /// One socket joins, leaves or is disconnected, in the form of nodes before version 8. Only the
    /// node that holds it acts, and answers [`Answer::Done`].
    JoinOne {
        request: RequestId,
        socket: String,
        room: Room,
    },
    LeaveOne {
        request: RequestId,
        socket: String,
        room: Room,
    },
    DisconnectOne {
        request: RequestId,
        socket: String,
        close: bool,
    },
    /// An event for the servers themselves. With a request id the first answer of each counts
    /// ([`Answer::ServerSide`]).
    ServerSideEmit {
        request: Option<RequestId>,
        event: Vec<Tree>,
    },
    Answer {
        request: RequestId,
        answer: Answer,
    },
}

impl Message {
    /// The sockets that hear of the message, or are changed by it. `None` where a loss does no
    /// harm, because the asking node notices.
    pub(crate) fn changes(&self) -> Option<&Selection> {
        match self {
            Self::Broadcast { to, flags, .. } => Some(to).filter(|_| !flags.volatile),
            Self::BroadcastWithAck { to, .. }
            | Self::Join { to, .. }
            | Self::Leave { to, .. }
            | Self::Disconnect { to, .. } => Some(to),
            // Our nodes read the forms that name one socket, and never write them.
            Self::JoinOne { .. }
            | Self::LeaveOne { .. }
            | Self::DisconnectOne { .. }
            | Self::FetchSockets { .. }
            | Self::AllRooms { .. }
            | Self::SocketIds { .. }
            | Self::ServerSideEmit { .. }
            | Self::Answer { .. } => None,
        }
    }
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Descriptions of sockets. Old nodes, and answers to `SocketIds`, give only ids.
    Sockets(Vec<Description>),
    SocketIds(Vec<String>),
    Rooms(Vec<Room>),
    Done,
    /// The argument of the callback. `None`: it was called without one.
    ServerSide(Option<Tree>),
    ClientCount(usize),
    /// The argument of the acknowledgement. `None`: it had none.
    ClientAck(Option<Tree>),
}

/// A socket as `fetchSockets` of Node.js shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Description {
    /// The id. A `SocketId` means a socket of ours, any other form one of Node.js.
    pub(crate) id: String,
    pub(crate) handshake: Map<String, Json>,
    pub(crate) rooms: Vec<Room>,
    pub(crate) data: Map<String, Json>,
}
