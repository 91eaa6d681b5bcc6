//! Who is in which room, and what a client's packets do.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use bench_support::result::Result;
use redis::{PushInfo, PushKind, Value};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::remote::Remote;

/// What waits for a connection: encoded once, and cheap to clone.
pub(crate) trait Packet: Clone + 'static {
    fn encode(text: &str) -> Self;
}

/// The connections of a room: a number, and what leads to it.
type Members<P> = Vec<(usize, UnboundedSender<P>)>;

pub(crate) struct Server<P> {
    /// A user's room is `user:<id>`, as everywhere.
    rooms: RefCell<HashMap<String, Members<P>>>,
    clients: Cell<usize>,
    remote: Option<Remote>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    user_id: String,
    #[serde(default)]
    room: Option<String>,
}

/// The argument of `room:emit` and `user:emit`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Emit<'a> {
    #[serde(default)]
    room: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    event: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<P: Packet> Server<P> {
    pub(crate) fn new(remote: Option<Remote>) -> Self {
        Self { rooms: RefCell::default(), clients: Cell::default(), remote }
    }

    fn deliver(&self, room: &str, text: &str) {
        let packet = P::encode(text);
        for (_, queue) in self.rooms.borrow().get(room).into_iter().flatten() {
            // A connection that has ended hears nothing.
            let _ = queue.send(packet.clone());
        }
    }

    /// With Redis every member hears by way of it, those beside the sender, too.
    fn emit(&self, room: &str, text: String) {
        match &self.remote {
            Some(remote) => remote.publish(room, text),
            None => self.deliver(room, &text),
        }
    }
}

/// Delivers what other nodes publish, and this one.
pub(crate) async fn hear<P: Packet>(mut heard: UnboundedReceiver<PushInfo>, server: Rc<Server<P>>) {
    while let Some(PushInfo { kind, data }) = heard.recv().await {
        if let (PushKind::Message, [Value::BulkString(room), Value::BulkString(text)]) =
            (kind, data.as_slice())
            && let (Ok(room), Ok(text)) = (str::from_utf8(room), str::from_utf8(text))
        {
            server.deliver(room, text);
        }
    }
}

/// A connection, for the rooms. It leaves them when dropped.
pub(crate) struct Client<P: Packet> {
    server: Rc<Server<P>>,
    number: usize,
    queue: UnboundedSender<P>,
    /// That of its user first.
    rooms: Vec<String>,
}

impl<P: Packet> Client<P> {
    pub(crate) fn new(server: Rc<Server<P>>, queue: UnboundedSender<P>) -> Self {
        let number = server.clients.replace(server.clients.get() + 1);
        Self { server, number, queue, rooms: Vec::new() }
    }

    pub(crate) fn say(&self, text: &str) {
        let _ = self.queue.send(P::encode(text));
    }

    async fn join(&mut self, room: String) -> Result<()> {
        let member = (self.number, self.queue.clone());
        let members = {
            let mut rooms = self.server.rooms.borrow_mut();
            let members = rooms.entry(room.clone()).or_default();
            members.push(member);
            members.len()
        };
        if let Some(remote) = self.server.remote.as_ref().filter(|_| members == 1) {
            remote.subscribe(&room).await?;
        }
        self.rooms.push(room);
        Ok(())
    }

    /// One packet of the benchmark's clients.
    pub(crate) async fn packet(&mut self, packet: &str) -> Result<()> {
        if let Some(auth) = packet.strip_prefix("40") {
            let Auth { user_id, room } = serde_json::from_str(auth)?;
            self.join(format!("user:{user_id}")).await?;
            if let Some(room) = room {
                self.join(room).await?;
            }
            self.say(r#"40{"sid":"floor"}"#);
            return Ok(());
        }
        let event = packet.strip_prefix("42").ok_or("not an event")?;
        let start = event.find('[').ok_or("not an event")?;
        let (ack, event) = event.split_at(start);
        let (name, argument): (&str, &RawValue) = serde_json::from_str(event)?;
        match name {
            "echo" => {}
            "events" => {
                let own = self.rooms.first().ok_or("to nobody")?;
                self.server.emit(own, format!(r#"42["events",{}]"#, argument.get()));
            }
            "room:emit" | "user:emit" => {
                let Emit { room, user_id, event, data } = serde_json::from_str(argument.get())?;
                let room = room.or_else(|| user_id.map(|user| format!("user:{user}")));
                let room = room.ok_or("to nobody")?;
                self.server.emit(&room, format!(r#"42["{event}",{}]"#, data.get()));
            }
            other => return Err(format!("unknown event {other}").into()),
        }
        if !ack.is_empty() {
            self.say(&format!("43{ack}[{}]", argument.get()));
        }
        Ok(())
    }
}

impl<P: Packet> Drop for Client<P> {
    fn drop(&mut self) {
        let mut all = self.server.rooms.borrow_mut();
        for room in self.rooms.drain(..) {
            let Some(members) = all.get_mut(&room) else { continue };
            members.retain(|(number, _)| *number != self.number);
            if members.is_empty() {
                all.remove(&room);
                if let Some(remote) = &self.server.remote {
                    remote.unsubscribe(room);
                }
            }
        }
    }
}
