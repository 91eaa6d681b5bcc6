//! A socket as other nodes and operators see it.

use std::sync::{Arc, Weak};

use serde_json::{Map, Value as Json};

use super::{Inner, Socket};
use crate::{
    auth::Identity,
    cluster::message::Description,
    sockets::{
        adapter::{Describe, transport_of},
        record::SocketRecord,
        watch::{FOR_ADMINS, What, client_id},
    },
};

impl Socket {
    /// Keeps the handshake in its form for other nodes.
    pub(crate) fn show_handshake(&self, shown: Map<String, Json>) {
        // Set once, when the socket enters.
        let _ = self.0.shown.set(Box::new(shown));
    }

    /// Reports the new socket to the watcher.
    pub(crate) fn show_connected(&self) {
        if let Some(watch) = self.0.adapter.watch() {
            let description = Description { rooms: self.rooms(), ..self.0.describe() };
            watch.tell(self.0.adapter.namespace(), What::Connected(Box::new(description)));
        }
    }

    pub(crate) fn described_by(&self) -> Weak<dyn Describe> {
        Arc::downgrade(&(self.0.clone() as Arc<dyn Describe>))
    }
}

impl Describe for Inner {
    fn describe(&self) -> Description {
        let mut data = self.data.lock().to_map();
        if self.adapter.node().watch().is_some() {
            let aside = serde_json::json!({
                "clientId": client_id(self.sid),
                "transport": self.raw.upgrade().map(|raw| transport_of(&raw)),
                "user": self.identity.read().user_id(),
            });
            data.insert(FOR_ADMINS.to_owned(), aside);
        }
        let handshake = self.shown.get().map(|shown| (**shown).clone()).unwrap_or_default();
        Description { id: self.id().as_str().to_owned(), handshake, rooms: Vec::new(), data }
    }

    fn identity(&self) -> Identity {
        self.identity.read().clone()
    }

    fn record(&self) -> SocketRecord {
        let connected_at = self.restored.get().map_or(self.connected_at, |it| it.connected_at);
        SocketRecord {
            id: self.id(),
            namespace: self.adapter.namespace().as_str().to_owned(),
            identity: self.identity.read().clone(),
            rooms: Vec::new(),
            data: self.data.lock().to_map(),
            connected_at,
            traceparent: self.origin.traceparent().map(|trace| trace.to_string()),
        }
    }
}
