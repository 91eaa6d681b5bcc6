//! Event names that Socket.IO or the server reserves.

/// The names that Socket.IO reserves, as in the official clients.
///
/// ```
/// use switchboard::names::events::RESERVED_EVENTS;
///
/// assert!(RESERVED_EVENTS.contains(&"connect_error"));
/// ```
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The names that Node.js reserves between servers: its namespaces emit them themselves.
///
/// ```
/// use switchboard::names::events::RESERVED_BETWEEN_SERVERS;
///
/// assert!(RESERVED_BETWEEN_SERVERS.contains(&"new_namespace"));
/// ```
pub const RESERVED_BETWEEN_SERVERS: [&str; 3] = ["connect", "connection", "new_namespace"];

/// The built-in gateway's event by which a client shows a new token. Interceptors and observers
/// never see the token.
pub(crate) const REFRESH: &str = "auth:refresh";

/// Events that clients take for the server's own.
const SERVER_EVENTS: [&str; 3] = ["auth:expiring", "server:draining", "events"];

/// Whether only the server may send this event. No client may make it do so.
pub(crate) fn is_server_event(name: &str) -> bool {
    SERVER_EVENTS.contains(&name)
}

/// Whether Socket.IO reserves this name. The official client drops its connection when it receives
/// such an event.
///
/// ```
/// use switchboard::names::events::is_reserved_event;
///
/// assert!(is_reserved_event("disconnect"));
/// assert!(!is_reserved_event("say"));
/// ```
pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}
