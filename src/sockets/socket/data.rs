//! What a program keeps with a socket, and the socket as it can be written down.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};

use super::Socket;
use crate::{
    fault::Fault,
    sockets::{adapter::Describe, record::SocketRecord, watch::What},
};

/// A socket's data: values, sorted by their names. Most sockets have none or one or two, and a map
/// would take 600 bytes for the first.
#[derive(Debug, Default)]
pub(super) struct Data(Vec<(Box<str>, Json)>);

/// Up to this number of values a place is made for each as it comes; a vector would begin with four.
const FEW: usize = 4;

impl Data {
    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(name, _)| (**name).cmp(key))
    }

    fn get(&self, key: &str) -> Option<&Json> {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    fn set(&mut self, key: &str, value: Json) {
        match self.place(key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                if self.0.len() < FEW {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key.into(), value));
            }
        }
    }

    /// Adds values whose names are free.
    pub(super) fn add_missing(&mut self, values: Map<String, Json>) {
        for (key, value) in values {
            if self.get(&key).is_none() {
                self.set(&key, value);
            }
        }
    }

    /// All of it, as others see it.
    pub(super) fn to_map(&self) -> Map<String, Json> {
        self.0.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
    }
}

impl Socket {
    /// Reads a value of this socket's data.
    ///
    /// ```
    /// use switchboard::{Fault, Socket};
    ///
    /// fn language(socket: &Socket) -> Result<String, Fault> {
    ///     Ok(socket.get("language")?.unwrap_or_else(|| "en".to_owned()))
    /// }
    /// ```
    ///
    /// # Errors
    /// `internal` if there is a value of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Fault> {
        let Some(value) = self.0.data.lock().get(key).cloned() else { return Ok(None) };
        // The error would quote the value.
        serde_json::from_value(value).map(Some).map_err(|_| {
            tracing::error!(key, "the socket's data has another type");
            Fault::internal()
        })
    }

    /// Keeps a value with this socket, as `socket.data` in Node.js. It must be serializable,
    /// because other nodes see it in `fetchSockets`. It is kept with the socket while its client is
    /// away, and comes back with a recovery.
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
            data.set(key, value);
            watch.is_some().then(|| data.to_map())
        };
        self.0.adapter.has_changed(self.0.sid);
        if let (Some(watch), Some(mut data)) = (watch, data) {
            if let Some(user) = self.user() {
                // If the application has data of this name, that stays.
                data.entry("user").or_insert_with(|| Json::from(&*user));
            }
            watch.tell(self.0.adapter.namespace(), What::DataChanged { id: self.id(), data });
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
        SocketRecord { rooms: self.rooms(), ..Describe::record(&*self.0) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_that_is_set_again_takes_the_place_of_the_first() {
        let mut data = Data::default();
        assert_eq!(data.get("a"), None);
        for (key, value) in [("b", json!(1)), ("a", json!({"c": 2})), ("b", json!(3))] {
            data.set(key, value);
        }
        assert_eq!((data.get("a"), data.get("b")), (Some(&json!({"c": 2})), Some(&json!(3))));
        assert_eq!(Json::Object(data.to_map()), json!({"a": {"c": 2}, "b": 3}));
    }

    #[test]
    fn each_of_many_values_is_found() {
        let (mut data, key) =
            (Data::default(), |n: u32| format!("{:x}", n.wrapping_mul(2_654_435_761)));
        (0..1000).for_each(|n| data.set(&key(n), n.into()));
        assert!((0..1000).all(|n| data.get(&key(n)) == Some(&n.into())));
        assert_eq!(data.to_map().len(), 1000);
    }
}
