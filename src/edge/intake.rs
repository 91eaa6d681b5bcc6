//! Where the events of a client go past the engine: to the queue of the socket that they are for.
//!
//! The edge reads each packet anyway. An event in the ordinary form needs nothing more of the engine
//! than to be handed on, and there that takes four steps of parsing and three of looking up. What the
//! engine has to know goes through it as before: who joins and leaves, answers, attachments, heartbeats,
//! and every packet that may be wrong.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use socketioxide_core::Value;

/// Takes the events of one socket.
pub(crate) trait Intake: Send + Sync {
    /// Whether the socket is still in its namespace. The engine judges events for one that has left.
    fn is_open(&self) -> bool;

    /// Takes an event, as the engine's parser reads it: name and arguments, and the id of the
    /// acknowledgement that the client waits for. Never blocks.
    fn take(self: Arc<Self>, event: Value, ack_id: Option<i64>);
}

/// The sockets of one client.
#[derive(Default)]
pub(super) struct Intakes(Mutex<Vec<Entry>>);

struct Entry {
    /// Empty for `/`, as packets have it.
    namespace: Box<str>,
    intake: Weak<dyn Intake>,
}

impl Entry {
    fn intake(&self) -> Option<Arc<dyn Intake>> {
        self.intake.upgrade().filter(|intake| intake.is_open())
    }
}

impl Intakes {
    /// A socket is in its namespace: its events go to `intake` from now on. Forgets those that have
    /// left.
    pub(super) fn open(&self, namespace: &str, intake: Weak<dyn Intake>) {
        let namespace = if namespace == "/" { "" } else { namespace };
        let mut entries = self.0.lock();
        entries.retain(|entry| *entry.namespace != *namespace && entry.intake().is_some());
        entries.reserve_exact(1);
        entries.push(Entry { namespace: namespace.into(), intake });
    }

    /// The socket in a namespace, if it takes events.
    #[inline]
    pub(super) fn of(&self, namespace: &[u8]) -> Option<Arc<dyn Intake>> {
        let entries = self.0.lock();
        entries.iter().find(|entry| entry.namespace.as_bytes() == namespace)?.intake()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Socket {
        has_left: AtomicBool,
        taken: AtomicU32,
    }

    impl Intake for Socket {
        fn is_open(&self) -> bool {
            !self.has_left.load(Ordering::Relaxed)
        }

        fn take(self: Arc<Self>, _: Value, _: Option<i64>) {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn open(intakes: &Intakes, namespace: &str) -> Arc<Socket> {
        let socket = Arc::new(Socket::default());
        let intake: Weak<Socket> = Arc::downgrade(&socket);
        intakes.open(namespace, intake);
        socket
    }

    fn give(intakes: &Intakes, namespace: &[u8]) -> bool {
        let intake = intakes.of(namespace);
        let has_one = intake.is_some();
        intake.into_iter().for_each(|intake| intake.take(Value::Str("[]".into(), None), None));
        has_one
    }

    #[test]
    fn an_event_goes_to_the_socket_of_its_namespace() {
        let intakes = Intakes::default();
        let (main, chat) = (open(&intakes, "/"), open(&intakes, "/chat"));
        assert!(give(&intakes, b"") && give(&intakes, b"/chat") && give(&intakes, b"/chat"));
        assert!(!give(&intakes, b"/chats") && !give(&intakes, b"/"));
        assert_eq!(main.taken.load(Ordering::Relaxed), 1);
        assert_eq!(chat.taken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_socket_that_has_left_or_is_gone_takes_nothing() {
        let intakes = Intakes::default();
        let (first, gone) = (open(&intakes, "/"), open(&intakes, "/gone"));
        first.has_left.store(true, Ordering::Relaxed);
        drop(gone);
        assert!(!give(&intakes, b"") && !give(&intakes, b"/gone"));

        let second = open(&intakes, "/");
        assert!(give(&intakes, b""));
        assert_eq!(second.taken.load(Ordering::Relaxed), 1);
        assert_eq!(intakes.0.lock().len(), 1, "those that have left are forgotten");
    }
}
