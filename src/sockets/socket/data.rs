//! What a program keeps with a socket, and the socket as it can be written down.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use super::Socket;
use crate::{
    fault::Fault,
    sockets::{record::SocketRecord, watch::What},
};

impl Socket {
    /// Reads a value of this socket's data.
    ///
    /// # Errors
    /// `internal` if there is a value of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Fault> {
        let Some(value) = self.0.data.lock().as_ref().and_then(|data| data.get(key).cloned())
        else {
            return Ok(None);
        };
        // The error would quote the value.
        serde_json::from_value(value).map(Some).map_err(|_| {
            tracing::error!(key, "the socket's data has another type");
            Fault::internal()
        })
    }

    /// Keeps a value with this socket, as `socket.data` in Node.js. It must be serializable,
    /// because other nodes see it in `fetchSockets`.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Reply, Socket};
    ///
    /// let gateway = Gateway::new("/").on("visit", async |socket: Socket| {
    ///     let visits = socket.get::<u32>("visits")?.unwrap_or(0) + 1;
    ///     socket.set("visits", &visits)?;
    ///     Ok::<_, Fault>(Reply::ack(&visits))
    /// });
    /// ```
    ///
    /// # Errors
    /// `internal` if it cannot be serialized.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), Fault> {
        let value = serde_json::to_value(value).map_err(|error| {
            tracing::error!(key, %error, "the socket's data cannot be serialized");
            Fault::internal()
        })?;
        let watch = self.0.adapter.watch();
        let data = {
            let mut data = self.0.data.lock();
            let data = data.get_or_insert_default();
            data.insert(key.to_owned(), value);
            watch.is_some().then(|| (**data).clone())
        };
        if let (Some(watch), Some(mut data)) = (watch, data) {
            if let Some(user) = self.user() {
                // If the application has data of this name, that stays.
                data.entry("user").or_insert_with(|| Json::from(&*user));
            }
            watch.tell(&self.0.namespace, What::DataChanged { id: self.0.id, data });
        }
        Ok(())
    }

    /// Everything of this socket beyond its connection, to be written down.
    ///
    /// ```
    /// use switchboard::{Gateway, Reply, Socket};
    ///
    /// let gateway = Gateway::new("/").on("who", async |socket: Socket| {
    ///     let record = socket.record();
    ///     Reply::ack(&(record.id, record.rooms.len()))
    /// });
    /// ```
    pub fn record(&self) -> SocketRecord {
        let inner = &*self.0;
        SocketRecord {
            id: inner.id,
            namespace: inner.namespace.to_string(),
            identity: inner.identity.read().clone(),
            rooms: self.rooms(),
            data: inner.data.lock().as_deref().cloned().unwrap_or_default(),
            connected_at: inner.connected_at,
            traceparent: inner.origin.traceparent().map(|trace| trace.to_string()),
        }
    }
}
