//! Event names that Socket.IO keeps for itself.

/// The names, as in the official clients.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Whether no event may have this name: the official client drops its connection when it receives
/// one that has.
pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}
