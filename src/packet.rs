//! The limits of a packet that everybody takes: the official parser (`socket.io-parser` 4.2.7), the
//! engine below us, and the other nodes.

/// Most attachments of a packet. The official parser refuses more, and ends the connection.
pub(crate) const MAX_ATTACHMENTS: usize = 10;

/// The member that marks a map as the place of an attachment, if it is true.
pub(crate) const PLACEHOLDER: &str = "_placeholder";

/// Deepest nesting of lists and maps, the list of arguments itself included. JavaScript has no such
/// limit, but the MessagePack writer of the Node.js adapters has this one.
pub(crate) const MAX_DEPTH: usize = 100;

/// The name under which the engine gets an event that it cannot read: one whose name is no plain
/// text without escapes. The original array is the only argument; `Payload` takes it out again.
/// Instead of the array a number or null may stand here, for a packet that was refused before the
/// engine could read it: the number of its attachments, or null if it is nested too deeply.
///
/// A client's own event of this name is wrapped as well, so that the meaning is never in doubt.
pub(crate) const WRAPPED: &str = "\u{e000}";

/// Why the arguments of a packet are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// Neither JSON nor MessagePack, or cut short.
    #[error("it is neither JSON nor MessagePack")]
    Malformed,
    /// Not a list, or one that does not begin with the event's name.
    #[error("it is no list of arguments")]
    NoList,
    /// The payload of CONNECT must be a map.
    #[error("it is no map")]
    NoMap,
    /// The official client drops its connection when it receives such an event.
    #[error("its event has a name that Socket.IO keeps for itself")]
    ReservedEvent,
    /// See [`MAX_DEPTH`].
    #[error("it is nested too deeply")]
    TooDeep,
    /// JavaScript reads the number as infinite, which no format can express.
    #[error("it holds a number that is too large")]
    NumberTooLarge,
    /// See [`MAX_ATTACHMENTS`].
    #[error("it has more than {MAX_ATTACHMENTS} attachments")]
    TooManyAttachments,
    /// The official parser ends the connection when it receives such a packet.
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
