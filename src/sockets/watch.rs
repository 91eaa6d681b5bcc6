//! Reports of everything that happens to the sockets of this node, for a watcher.
//!
//! Each place that reports asks for the [`Watch`] first: without a watcher nothing is done. Reports
//! wait in a queue that is bounded in number and size, so a slow watcher misses some instead of
//! holding up a socket.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use parking_lot::Mutex;
use rmpv::Value as Tree;
use serde_json::{Map, Value as Json};
use socketioxide_core::{Sid, Str, Value, adapter::Room};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    cluster::message::Description, id::SocketId, names::events::REFRESH, payload::Payload,
    rate::Bucket, telemetry::meters::Counter,
};

/// Most reports that may wait for the watcher.
const QUEUE: usize = 4096;

/// Most reported events of sockets in a second, each counted once for every receiving socket; twice
/// as many in a burst.
const EVENTS_PER_SECOND: u32 = 500;

/// Longest arguments of an event, in bytes. Longer ones are left out of the report.
const LONGEST_EVENT: usize = 4096;

/// The member of a socket's data that describes it to admins. Node.js nodes have the same beside
/// the application's data. Ours holds the user, too.
pub(crate) const FOR_ADMINS: &str = "_admin";

/// An id that the sockets of one client share, of the length that Node.js shows. The connection's
/// id cannot be derived from it.
pub(crate) fn client_id(connection: Sid) -> String {
    SocketId::of_connection(connection, "").as_str().chars().take(12).collect()
}

/// The reported length of such an event's name.
const LONGEST_NAME: usize = 128;

/// The watcher's end of the queue. Reports come in the order of the events.
pub(crate) type Happenings = mpsc::Receiver<Happening>;

/// A report about sockets of one namespace.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) at: SystemTime,
    pub(crate) namespace: Str,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Connected(Box<Description>),
    Disconnected { id: SocketId, reason: &'static str },
    DataChanged { id: SocketId, data: Map<String, Json> },
    Joined { id: SocketId, room: Room },
    Left { id: SocketId, room: Room },
    Received { id: SocketId, event: Told },
    Sent { id: SocketId, event: Told },
}

/// An event in its reported form.
#[derive(Debug, Clone)]
pub(crate) struct Told(Payload);

impl Told {
    fn of(payload: &Payload) -> Self {
        let length = payload.size();
        let name = payload.event_name().unwrap_or_default();
        let note = match &*name {
            REFRESH => "(a token, not shown)".to_owned(),
            _ if length <= LONGEST_EVENT => return Self(payload.clone()),
            _ => format!("({length} bytes, not shown)"),
        };
        let name: String = name.chars().take(LONGEST_NAME).collect();
        // An event with a reserved name cannot have come this far.
        Self(Payload::event(&name, &note).unwrap_or_else(|_| payload.clone()))
    }

    /// The name and the arguments. `None` if the event is malformed.
    pub(crate) fn arguments(&self) -> Option<Vec<Tree>> {
        let mut arguments = vec![Tree::from(self.0.event_name()?.as_ref())];
        arguments.extend(self.0.tree().ok()?);
        Some(arguments)
    }
}

/// Reports to the watcher, while there is one.
#[derive(Debug)]
pub(crate) struct Watch {
    on: AtomicBool,
    queue: mpsc::Sender<Happening>,
    events: Mutex<Bucket>,
    /// Reports that were dropped because there were too many.
    missed: Counter,
}

impl Watch {
    pub(crate) fn new() -> (Self, Happenings) {
        let (queue, happenings) = mpsc::channel(QUEUE);
        let events = Mutex::new(Bucket::full(EVENTS_PER_SECOND, Instant::now()));
        (Self { on: AtomicBool::new(false), queue, events, missed: Counter::default() }, happenings)
    }

    /// Whether there is a watcher.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(crate) fn turn(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// The number of dropped reports.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.get()
    }

    pub(crate) fn tell(&self, namespace: &Str, what: What) {
        let happening = Happening { at: SystemTime::now(), namespace: namespace.clone(), what };
        if self.queue.try_send(happening).is_err() {
            self.missed.count();
        }
    }

    /// Reports an event from a socket.
    pub(crate) fn received(&self, namespace: &Str, id: SocketId, payload: &Payload) {
        if self.may_tell() {
            let event = Told::of(payload);
            self.tell(namespace, What::Received { id, event });
        }
    }

    /// Reports an event to sockets. `to` names them, and is called only if there is room for the
    /// report.
    pub(crate) fn sent(&self, namespace: &Str, to: impl FnOnce() -> Vec<SocketId>, value: &Value) {
        if !self.may_tell() {
            return;
        }
        let event = Told::of(&Payload::of_packet(value.clone(), true));
        for (n, id) in to().into_iter().enumerate() {
            // The first has been paid for.
            if n == 0 || self.may_tell() {
                self.tell(namespace, What::Sent { id, event: event.clone() });
            }
        }
    }

    fn may_tell(&self) -> bool {
        let may = self.events.lock().take(EVENTS_PER_SECOND, Instant::now());
        if !may {
            self.missed.count();
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat() -> Str {
        "/chat".into()
    }

    fn id() -> SocketId {
        SocketId::random()
    }

    fn event(argument: &Json) -> Payload {
        Payload::event("say", argument).expect("an event")
    }

    #[test]
    fn an_event_is_told_with_its_arguments_unless_they_are_long() {
        let (watch, mut happenings) = Watch::new();
        let sender = id();
        watch.received(&chat(), sender, &event(&json!({ "text": "hello" })));
        watch.received(&chat(), sender, &event(&"x".repeat(5000).into()));
        let mut told = || match happenings.try_recv().expect("told").what {
            What::Received { id, event } if id == sender => {
                serde_json::to_value(event.arguments().expect("arguments")).expect("JSON")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(told(), json!(["say", { "text": "hello" }]));
        assert_eq!(told(), json!(["say", "(5010 bytes, not shown)"]));
        let refresh = Payload::event(REFRESH, "a token").expect("an event");
        watch.received(&chat(), sender, &refresh);
        assert_eq!(told(), json!([REFRESH, "(a token, not shown)"]));
        let loud = Payload::event(&"x".repeat(5000), &1).expect("an event");
        watch.received(&chat(), sender, &loud);
        assert_eq!(told(), json!(["x".repeat(LONGEST_NAME), "(5006 bytes, not shown)"]));
    }

    #[test]
    fn attachments_count_as_length() {
        let bytes = serde_bytes::Bytes::new(&[7; 5000]);
        let told = Told::of(&Payload::event("say", bytes).expect("an event"));
        let arguments = told.arguments().expect("arguments");
        assert!(arguments[1].as_str().is_some_and(|note| note.ends_with(" bytes, not shown)")));
    }

    #[test]
    fn what_is_too_much_is_missed_and_counted() {
        let (watch, mut happenings) = Watch::new();
        let value = event(&json!(1)).value().clone();
        let crowd: Vec<SocketId> = (0..3000).map(SocketId::numbered).collect();
        watch.sent(&chat(), || crowd, &value);
        let told = happenings.len() as u64;
        assert_eq!(told + watch.missed(), 3000);
        assert!((1000..1100).contains(&told), "{told}");

        for _ in 0..QUEUE {
            watch.tell(&chat(), What::Disconnected { id: id(), reason: "transport close" });
        }
        assert_eq!(happenings.len(), QUEUE);
        assert_eq!(watch.missed(), 3000 - told + told);
        drop(std::iter::from_fn(|| happenings.try_recv().ok()).last());
        watch.tell(&chat(), What::Left { id: id(), room: "a".into() });
        assert_eq!(happenings.len(), 1, "it goes on when there is room again");
    }
}
