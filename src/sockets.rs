//! The sockets of this node, and everything that is sent to sockets, here and on other nodes.

pub mod adapter;
pub(crate) mod archive;
pub(crate) mod asking;
pub mod audience;
pub(crate) mod door;
pub mod emitter;
pub(crate) mod farewell;
pub(crate) mod handover;
pub(crate) mod kept;
pub(crate) mod missed;
pub(crate) mod named;
pub(crate) mod node;
pub(crate) mod one_at_a_time;
pub(crate) mod questions;
pub mod record;
pub(crate) mod relay;
pub(crate) mod roaming;
pub(crate) mod rooms;
pub(crate) mod socket;
pub(crate) mod target;
pub(crate) mod watch;

pub use asking::AskError;
pub use audience::Audience;
pub use record::SocketRecord;
pub use rooms::{IntoRooms, Room};
pub use socket::{Extensions, Socket};
pub use target::{IntoTargets, Target};
