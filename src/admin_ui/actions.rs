//! The page's actions: emitting to sockets, moving them into and out of rooms, disconnecting them.
//! An action is for one socket, the members of a room or a whole namespace, on every node.

use std::sync::Arc;

use rmpv::Value as Tree;
use socketioxide_core::adapter::Room;

use super::Shared;
use crate::{
    cluster::codec,
    fault::Fault,
    gateway::{Gateway, reply::Reply},
    payload::Payload,
    sockets::emitter::Emitter,
};

/// The arguments of an action, in order. Some may be missing.
struct Asked(std::vec::IntoIter<Tree>);

impl Asked {
    fn read(payload: &Payload) -> Result<Self, Fault> {
        let arguments = payload.tree().map_err(|error| Fault::bad_request(error.to_string()))?;
        Ok(Self(arguments.into_iter()))
    }

    fn text(&mut self, what: &'static str) -> Result<String, Fault> {
        let value = self.0.next().unwrap_or(Tree::Nil);
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| Fault::bad_request(format!("{what} is not a text")))
    }

    fn room(&mut self, what: &'static str) -> Result<Room, Fault> {
        let value = self.0.next().unwrap_or(Tree::Nil);
        codec::read_room(&value)
            .filter(|room| !room.is_empty())
            .ok_or_else(|| Fault::bad_request(format!("{what} is not a room")))
    }

    /// A room or a socket's id. A missing, null or empty one means everybody, as in JavaScript.
    fn filter(&mut self) -> Result<Option<Room>, Fault> {
        match self.0.next().unwrap_or(Tree::Nil) {
            Tree::Nil => Ok(None),
            Tree::String(text) if text.as_bytes().is_empty() => Ok(None),
            other => codec::read_room(&other)
                .map(Some)
                .ok_or_else(|| Fault::bad_request("the filter is neither a room nor a socket")),
        }
    }
}

impl Shared {
    /// The target sockets of an action in a namespace.
    fn targets(&self, namespace: &str, filter: Option<Room>, act: &str) -> Result<Emitter, Fault> {
        if namespace == &*self.namespace {
            return Err(Fault::forbidden(
                "these actions do not work on the admin namespace itself",
            ));
        }
        tracing::info!(namespace, ?filter, "an admin {act}");
        let emitter = self.of(namespace);
        Ok(match filter {
            Some(room) => emitter.to(room),
            None => emitter,
        })
    }

    fn emit(&self, mut asked: Asked) -> Result<(), Fault> {
        let (namespace, filter) = (asked.text("the namespace")?, asked.filter()?);
        let name = asked.text("the event")?;
        let payload = Payload::event_with(&name, asked.0)
            .map_err(|error| Fault::bad_request(error.to_string()))?;
        Ok(self.targets(&namespace, filter, "emits to sockets")?.emit_payload(payload)?)
    }

    fn join(&self, mut asked: Asked) -> Result<(), Fault> {
        let namespace = asked.text("the namespace")?;
        let (room, filter) = (asked.room("the room to join")?, asked.filter()?);
        self.targets(&namespace, filter, "puts sockets into a room")?.join(room);
        Ok(())
    }

    fn leave(&self, mut asked: Asked) -> Result<(), Fault> {
        let namespace = asked.text("the namespace")?;
        let (room, filter) = (asked.room("the room to leave")?, asked.filter()?);
        self.targets(&namespace, filter, "takes sockets out of a room")?.leave(room);
        Ok(())
    }

    fn disconnect(&self, mut asked: Asked) -> Result<(), Fault> {
        let namespace = asked.text("the namespace")?;
        let close = asked.0.next().and_then(|close| close.as_bool()).unwrap_or(false);
        let filter = asked.filter()?;
        self.targets(&namespace, filter, "disconnects sockets")?.disconnect(close);
        Ok(())
    }
}

/// Adds the actions. Node.js acknowledges none of them; here an acknowledgement says that it is
/// done.
pub(super) fn add(gateway: Gateway, shared: &Arc<Shared>) -> Gateway {
    type Action = fn(&Shared, Asked) -> Result<(), Fault>;
    let actions: [(&str, Action); 4] = [
        ("emit", Shared::emit),
        ("join", Shared::join),
        ("leave", Shared::leave),
        ("_disconnect", Shared::disconnect),
    ];
    actions.into_iter().fold(gateway, |gateway, (name, act)| {
        let shared = shared.clone();
        gateway.on(name, move |payload: Payload| {
            let done = Asked::read(&payload).and_then(|asked| act(&shared, asked));
            std::future::ready(done.map(|()| Reply::ack(&true)))
        })
    })
}
