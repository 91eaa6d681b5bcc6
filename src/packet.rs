//! What a packet may hold so that everybody takes it: the official parser (`socket.io-parser`
//! 4.2.7), the engine below us, and the other nodes.

/// The official parser refuses a packet with more attachments, and ends the connection.
pub(crate) const MAX_ATTACHMENTS: usize = 10;

/// The member that marks a map as the place of an attachment, if it is true.
pub(crate) const PLACEHOLDER: &str = "_placeholder";

/// How deep lists and maps may be nested, the list of arguments itself included. JavaScript has no
/// such limit, but the MessagePack writer of the Node.js adapters has this one.
pub(crate) const MAX_DEPTH: usize = 100;

/// The engine reads an event only if its name is plain text without escapes. An event with another
/// name is given to it under this one, with the original array as its only argument; `Payload` takes
/// it out again. What stands here instead of an array is a packet that was refused before the
/// engine could read it: the number of its attachments, or null if it is nested too deeply.
///
/// A client's own event of this name is wrapped as well, so that there is no doubt what is meant.
pub(crate) const WRAPPED: &str = "\u{e000}";

/// Why the arguments of a packet are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// Neither JSON nor MessagePack, or cut short.
    #[error("it is neither JSON nor MessagePack")]
    Malformed,
    /// Not a list, or one that does not begin with the event's name.
    #[error("it is no list of arguments")]
    NoList,
    /// What comes with CONNECT is a map.
    #[error("it is no map")]
    NoMap,
    /// The official client drops its connection when it receives one.
    #[error("its event has a name that Socket.IO keeps for itself")]
    ReservedEvent,
    /// See [`MAX_DEPTH`].
    #[error("it is nested too deeply")]
    TooDeep,
    /// JavaScript reads it as infinite, which none of the formats can say.
    #[error("it holds a number that is too large")]
    NumberTooLarge,
    /// See [`MAX_ATTACHMENTS`].
    #[error("it has more than {MAX_ATTACHMENTS} attachments")]
    TooManyAttachments,
    /// The official parser ends the connection when it receives one.
    #[error("it has a placeholder without an attachment")]
    StrayPlaceholder,
}

impl ReadError {
    /// Whether the official parser refuses such a packet, too, and ends the connection.
    pub(crate) fn is_violation(self) -> bool {
        match self {
            Self::TooDeep | Self::NumberTooLarge => false,
            Self::Malformed
            | Self::NoList
            | Self::NoMap
            | Self::ReservedEvent
            | Self::TooManyAttachments
            | Self::StrayPlaceholder => true,
        }
    }
}
