//! Event names that Socket.IO keeps for itself.

/// The names, as in the official clients.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The built-in gateway's event with which a client shows a new token. The token is shown to nobody
/// else.
pub(crate) const REFRESH: &str = "auth:refresh";

/// Events that clients take for the server's own word.
const SERVER_EVENTS: [&str; 3] = ["auth:expiring", "server:draining", "events"];

/// Whether only the server sends an event of this name, so that no client may make it say that.
pub(crate) fn is_server_event(name: &str) -> bool {
    SERVER_EVENTS.contains(&name)
}

/// Whether no event may have this name: the official client drops its connection when it receives
/// one that has.
pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}
