//! The messages to the Admin UI, in the shapes of `@socket.io/admin-ui` 0.5. No logic beyond that.

use rmpv::Value as Tree;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::{
    cluster::{codec, message::Description},
    id::SocketId,
    sockets::watch::FOR_ADMINS,
};

/// `config`: the features that the page may offer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    pub(super) supported_features: Vec<Feature>,
}

/// A feature that the page may offer. Those with an M act on rooms, on all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Feature {
    Emit,
    Join,
    Leave,
    Disconnect,
    Mjoin,
    Mleave,
    Mdisconnect,
    /// The charts of the dashboard come from [`ServerStats::aggregated_events`].
    AggregatedEvents,
    /// Sockets, rooms and events are reported one by one.
    AllEvents,
}

impl Feature {
    pub(super) const ACTIONS: [Self; 7] = [
        Self::Emit,
        Self::Join,
        Self::Leave,
        Self::Disconnect,
        Self::Mjoin,
        Self::Mleave,
        Self::Mdisconnect,
    ];
}

/// `server_stats`: one server, every two seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerStats<'a> {
    pub(super) server_id: &'a str,
    pub(super) hostname: &'a str,
    pub(super) pid: u32,
    /// In seconds.
    pub(super) uptime: f64,
    pub(super) clients_count: u64,
    pub(super) polling_clients_count: u64,
    pub(super) aggregated_events: Vec<AggregatedEvent>,
    pub(super) namespaces: Vec<NamespaceDetails>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamespaceDetails {
    pub(super) name: String,
    pub(super) sockets_count: usize,
}

/// How often something happened in one second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AggregatedEvent {
    /// In milliseconds since 1970.
    pub(super) timestamp: u64,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) count: u64,
}

/// A socket: in `all_sockets` and `socket_connected`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SerializedSocket {
    id: String,
    /// An id that all sockets of one client share. A node that reports nothing to admins does not
    /// know it; then each socket counts as a client.
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<String>,
    nsp: String,
    data: Map<String, Json>,
    handshake: Map<String, Json>,
    rooms: Vec<Tree>,
}

/// Members of a handshake that the page gets. The client's credentials are left out.
const SHOWN: [&str; 8] =
    ["address", "headers", "query", "issued", "secure", "time", "url", "xdomain"];

impl SerializedSocket {
    pub(super) fn new(description: Description, nsp: &str) -> Self {
        let Description { id, mut handshake, rooms, mut data } = description;
        let aside = data.remove(FOR_ADMINS);
        let text = |name: &str| Some(aside.as_ref()?.get(name)?.as_str()?.to_owned());
        if let Some(user) = text("user") {
            // If the application has data of this name, that stays.
            data.entry("user").or_insert(user.into());
        }
        if SocketId::of_ours(&id).is_none()
            && let Some(address) = proxied_address(&handshake)
        {
            handshake.insert("address".to_owned(), address);
        }
        handshake.retain(|name, _| SHOWN.contains(&name.as_str()));
        // The page reads members of these without a check that they exist.
        for name in ["headers", "query"] {
            handshake.entry(name).or_insert_with(|| Map::new().into());
        }
        handshake.entry("issued").or_insert(0.into());
        Self {
            client_id: text("clientId").unwrap_or_else(|| id.clone()),
            transport: text("transport"),
            nsp: nsp.to_owned(),
            data,
            handshake,
            rooms: rooms.iter().map(|room| codec::write_room(room)).collect(),
            id,
        }
    }
}

/// The client's address behind a proxy, for a socket of a Node.js node, as the Node.js package
/// derives it. Our own nodes know which proxies to believe.
fn proxied_address(handshake: &Map<String, Json>) -> Option<Json> {
    let headers = handshake.get("headers")?;
    let header = |name| headers.get(name).filter(|value| value.is_string());
    header("cf-connecting-ip").or_else(|| header("x-forwarded-for")).cloned()
}

/// `socket_updated` after an upgrade to websocket.
#[derive(Debug, Serialize)]
pub(super) struct TransportUpdate<'a> {
    pub(super) id: &'a str,
    pub(super) nsp: &'a str,
    pub(super) transport: &'a str,
}

/// `socket_updated` after the application has changed the data of a socket.
#[derive(Debug, Serialize)]
pub(super) struct DataUpdate<'a> {
    pub(super) id: &'a str,
    pub(super) nsp: &'a str,
    pub(super) data: &'a Map<String, Json>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(json: Json) -> Map<String, Json> {
        match json {
            Json::Object(object) => object,
            other => panic!("no object: {other}"),
        }
    }

    fn shown(description: Description) -> Json {
        serde_json::to_value(SerializedSocket::new(description, "/chat")).expect("JSON")
    }

    #[test]
    fn a_socket_is_shown_without_what_opens_doors() {
        let id = SocketId::random().to_string();
        let socket = shown(Description {
            id: id.clone(),
            handshake: object(json!({
                "address": "192.0.2.1", "headers": { "x-forwarded-for": "198.51.100.1" },
                "query": { "EIO": "4" }, "issued": 7, "secure": false, "time": "Tue", "url": "/",
                "xdomain": false, "auth": { "password": "secret" },
            })),
            rooms: vec![id.clone().into(), "lobby".into(), "\u{0}101".into()],
            data: object(json!({
                "score": 3,
                "_admin": { "clientId": "0123456789ab", "transport": "polling", "user": "ada" },
            })),
        });
        let expected = json!({
            "id": id, "clientId": "0123456789ab", "transport": "polling",
            "nsp": "/chat", "data": { "score": 3, "user": "ada" },
            "handshake": {
                "address": "192.0.2.1", "headers": { "x-forwarded-for": "198.51.100.1" },
                "query": { "EIO": "4" }, "issued": 7, "secure": false, "time": "Tue", "url": "/",
                "xdomain": false,
            },
            "rooms": [id, "lobby", 101],
        });
        assert_eq!(socket, expected);
    }

    #[test]
    fn a_socket_of_nodejs_is_shown_as_its_own_node_does() {
        let socket = shown(Description {
            id: "0123456789abcdefghij".into(),
            handshake: object(json!({
                "address": "10.0.0.1", "headers": { "x-forwarded-for": "198.51.100.1" },
            })),
            rooms: vec![],
            data: object(json!({ "user": "of the application", "_admin": { "user": "ada" } })),
        });
        assert_eq!(socket["handshake"]["address"], "198.51.100.1");
        assert_eq!(socket["data"], json!({ "user": "of the application" }));
        assert_eq!(socket["clientId"], "0123456789abcdefghij");
        assert_eq!(socket.get("transport"), None);
        assert_eq!(socket["handshake"]["query"], json!({}));
    }

    #[test]
    fn features_are_written_as_in_javascript() {
        let config = Config { supported_features: vec![Feature::Mjoin, Feature::AllEvents] };
        let config = serde_json::to_value(config).expect("JSON");
        assert_eq!(config, json!({ "supportedFeatures": ["MJOIN", "ALL_EVENTS"] }));
    }
}
