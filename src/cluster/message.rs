//! The vocabulary of a cluster, whatever the wire format.
//!
//! Names follow Socket.IO. Where the two wire formats say the same thing in two ways, here is the
//! thing.

use std::time::Duration;

use bytes::Bytes;
use rmpv::Value as Tree;
use serde_json::{Map, Value as Json};
use smallvec::SmallVec;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room};

use crate::telemetry::traceparent::TraceParent;

/// A message with the node that sent it.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// The sender's id on the wire. Emitters and old nodes have none.
    pub(crate) from: Option<String>,
    pub(crate) message: Message,
}

/// Which sockets of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    /// The members of any of these rooms; of none: every socket of the namespace.
    pub(crate) rooms: Vec<Room>,
    /// But not the members of any of these.
    pub(crate) except: Vec<Room>,
}

/// In the words of socketioxide, where no rooms mean nobody unless the broadcast flag is set.
impl From<Selection> for BroadcastOptions {
    fn from(Selection { rooms, except }: Selection) -> Self {
        let mut options = Self::default();
        options.add_flag(BroadcastFlags::Broadcast);
        options.rooms = SmallVec::from_vec(rooms);
        options.except = SmallVec::from_vec(except);
        options
    }
}

/// How a packet is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    /// May be dropped for sockets that are not ready.
    pub(crate) volatile: bool,
    /// Whether to compress; nothing here does, it is passed on.
    pub(crate) compress: Option<bool>,
    /// How long acknowledgements are collected.
    pub(crate) timeout: Option<Duration>,
    /// The trace that the emit belongs to, if that is sampled.
    pub(crate) trace: Option<TraceParent>,
}

impl Flags {
    /// What of an emit's options others have to know.
    pub(crate) fn of(options: &BroadcastOptions, trace: Option<TraceParent>) -> Self {
        Self { volatile: options.has_flag(BroadcastFlags::Volatile), trace, ..Self::default() }
    }
}

/// The name of a question, chosen by who asks.
pub(crate) type RequestId = String;

/// An event's name and its arguments, binary inline.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Values(Vec<Tree>),
    /// A whole array of MessagePack that starts with a name that clients may get. What most
    /// messages are is not taken apart before it is known who gets it.
    Encoded(Bytes),
}

/// What one node says to the others. `event` is the event's name and its arguments, binary inline.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Broadcast {
        event: Event,
        to: Selection,
        flags: Flags,
    },
    /// Asked for: one [`Answer::ClientCount`], then an [`Answer::ClientAck`] for each client.
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
    /// Asked for: [`Answer::Sockets`].
    FetchSockets {
        request: RequestId,
        to: Selection,
    },
    /// Asked for: [`Answer::Rooms`].
    AllRooms {
        request: RequestId,
    },
    /// Asked for, by nodes before version 8: [`Answer::SocketIds`].
    SocketIds {
        request: RequestId,
        rooms: Vec<Room>,
    },
    /// One socket joins, leaves or goes, as nodes before version 8 say it. Only the node that
    /// holds it acts, and answers [`Answer::Done`].
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
    /// For the servers themselves. With a request id the first answer of each counts
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
    /// Whose clients hear of it, or which sockets are changed by it; none where it is no harm if it
    /// is missing, because whoever asked notices.
    pub(crate) fn changes(&self) -> Option<&Selection> {
        match self {
            Self::Broadcast { to, flags, .. } => Some(to).filter(|_| !flags.volatile),
            Self::BroadcastWithAck { to, .. }
            | Self::Join { to, .. }
            | Self::Leave { to, .. }
            | Self::Disconnect { to, .. } => Some(to),
            // Nodes of ours read the forms that name one socket, and never say them.
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

/// What a question is answered with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Descriptions; from old nodes, and in answer to `SocketIds`, only ids.
    Sockets(Vec<Description>),
    SocketIds(Vec<String>),
    Rooms(Vec<Room>),
    Done,
    /// None: called back without an argument.
    ServerSide(Option<Tree>),
    ClientCount(usize),
    /// None: called back without an argument.
    ClientAck(Option<Tree>),
}

/// A socket as `fetchSockets` of Node.js shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Description {
    /// A socket of ours can be told from one of Node.js: its id is a `SocketId`.
    pub(crate) id: String,
    pub(crate) handshake: Map<String, Json>,
    pub(crate) rooms: Vec<Room>,
    pub(crate) data: Map<String, Json>,
}
