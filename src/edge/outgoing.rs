//! Frames that wait for a websocket's client, past the engine: a message for many is encoded once,
//! and appended here for each of them.
//!
//! Some packets still go through the engine, which has a queue of its own. An [`Outgoing`] keeps
//! the two in the order of the calls. What goes through the engine leaves the client
//! [`Way::Behind`] it. The next frame then puts a fence here and a marker into the engine's queue,
//! and waits behind the fence until the marker comes out at the other end.

use std::{collections::VecDeque, fmt::Write, sync::LazyLock};

use bytes::Bytes;

use super::{frames, size::Size};

/// Frames up to this length are copied behind what waits already, so that they leave together. Longer
/// ones, and one that waits alone, are shared by all their receivers.
pub(super) const COPIED: usize = 4096;

/// Longest buffer that frames are copied to, unless one frame needs more.
const BUFFER: usize = 64 * 1024;

/// A message of the server, as whole websocket frames: the message, and each attachment.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    bytes: Bytes,
    size: Size,
}

impl Frame {
    /// A text message, which gets its type in front, and its attachments.
    pub(crate) fn text(message: &str, attachments: &[Bytes]) -> Self {
        let payload: usize = attachments.iter().map(Bytes::len).sum();
        let headers = (1 + attachments.len()) * frames::LONGEST_HEADER;
        let mut bytes = Vec::with_capacity(1 + message.len() + payload + headers);
        frames::server_header(frames::TEXT, 1 + message.len(), &mut bytes);
        bytes.push(b'4');
        bytes.extend_from_slice(message.as_bytes());
        for attachment in attachments {
            frames::server_frame(frames::BINARY, attachment, &mut bytes);
        }
        let size = Size { packets: 1 + attachments.len(), bytes: 1 + message.len() + payload };
        Self { bytes: bytes.into(), size }
    }

    /// A binary message.
    pub(crate) fn binary(message: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(message.len() + frames::LONGEST_HEADER);
        frames::server_frame(frames::BINARY, message, &mut bytes);
        Self { bytes: bytes.into(), size: Size { packets: 1, bytes: message.len() } }
    }

    /// The number of its frames, and the bytes in them.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Whether a receiver has a copy of its own if anything else waits for it.
    pub(super) fn is_copied(&self) -> bool {
        self.bytes.len() <= COPIED
    }
}

/// How packets reach a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// Through the engine alone: by polling, in Engine.IO 3, or before its stream is ours.
    #[default]
    Engine,
    /// Past the engine.
    Direct,
    /// Past the engine, behind what it may still have in its queue.
    Behind,
    /// The stream has ended.
    Closed,
}

/// A place in the engine's queue, by which its frames and ours are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence(u32);

/// The beginning of each marker's name. Nobody outside of this process can know it.
static MARKER: LazyLock<[u8; 32]> = LazyLock::new(|| std::array::from_fn(|_| random_letter()));

fn random_letter() -> u8 {
    rand::random_range(b'a'..=b'z')
}

impl Fence {
    /// The name of the event that is its marker in the engine's queue.
    pub(crate) fn marker(self) -> String {
        let mut name = String::from_utf8_lossy(&*MARKER).into_owned();
        let _ = write!(name, "{:08x}", self.0);
        name
    }

    /// The fence whose marker this packet is.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let at = packet.windows(MARKER.len()).position(|part| part == *MARKER)?;
        let number = packet.get(at + MARKER.len()..)?.get(..8)?;
        u32::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok().map(Self)
    }
}

/// Bytes that are written next.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Of this client alone.
    Copied(Vec<u8>),
    /// Of a message that other clients get, too.
    Shared(Bytes),
}

impl Default for Chunk {
    /// No bytes, and no memory.
    fn default() -> Self {
        Self::Copied(Vec::new())
    }
}

impl Chunk {
    /// Puts a short frame behind these bytes. Returns whether there was room.
    fn append(&mut self, frame: &Bytes) -> bool {
        match self {
            Self::Copied(bytes) if bytes.is_empty() => *self = Self::Shared(frame.clone()),
            Self::Copied(bytes) if bytes.len() + frame.len() <= BUFFER => {
                bytes.extend_from_slice(frame);
            }
            Self::Shared(one) if one.len() <= COPIED => {
                *self = Self::Copied([&one[..], frame].concat());
            }
            _ => return false,
        }
        true
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
enum Piece {
    Chunk(Chunk),
    Fence(Fence),
}

/// What waits for one client.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) way: Way,
    /// The number of the last fence.
    last_fence: u32,
    /// A fence is not passed.
    is_fenced: bool,
    /// The first frames, if they are short.
    first: Chunk,
    /// What comes after them.
    more: VecDeque<Piece>,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.first.bytes().is_empty() && self.more.is_empty()
    }

    /// Puts a frame behind what waits.
    pub(super) fn append(&mut self, frame: &Frame) {
        let last = match self.more.back_mut() {
            _ if !frame.is_copied() => None,
            None => Some(&mut self.first),
            Some(Piece::Chunk(last)) => Some(last),
            Some(Piece::Fence(_)) => None,
        };
        if !last.is_some_and(|last| last.append(&frame.bytes)) {
            self.more.push_back(Piece::Chunk(Chunk::Shared(frame.bytes.clone())));
        }
    }

    /// Puts a fence behind what waits. Frames behind it wait until it is [`passed`](Self::passed).
    pub(super) fn fence(&mut self) -> Fence {
        self.last_fence = self.last_fence.wrapping_add(1);
        self.is_fenced = true;
        let fence = Fence(self.last_fence);
        self.more.push_back(Piece::Fence(fence));
        fence
    }

    /// The engine's frames up to this place have been taken.
    pub(super) fn passed(&mut self, fence: Fence) {
        self.more.retain(|piece| !matches!(piece, Piece::Fence(other) if *other == fence));
        self.is_fenced = self.more.iter().any(|piece| matches!(piece, Piece::Fence(_)));
        self.shrink();
    }

    /// Whether the frames of the engine have to be looked at, for a fence is not passed yet.
    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// The bytes that are written next, if no fence is before them.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        if !self.first.bytes().is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        if !matches!(self.more.front(), Some(Piece::Chunk(_))) {
            return None;
        }
        let piece = self.more.pop_front();
        self.shrink();
        match piece {
            Some(Piece::Chunk(chunk)) => Some(chunk),
            _ => None,
        }
    }

    /// An idle client keeps no memory for this.
    fn shrink(&mut self) {
        if self.more.is_empty() {
            self.more = VecDeque::new();
        }
    }

    /// The stream has ended, and nothing waits any more.
    pub(super) fn close(&mut self) {
        *self = Self { way: Way::Closed, ..Self::default() };
    }
}

#[cfg(test)]
#[path = "outgoing/tests.rs"]
mod tests;
