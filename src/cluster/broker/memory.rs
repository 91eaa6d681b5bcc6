//! A cluster inside one process: nodes that join the same hub hear each other.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::{
    BrokerCounts, Carrier, Channel, Disconnected, Inbound, Mark, Topic, dispatcher::Dispatcher,
    lapses::Lapses,
};
use crate::{
    cluster::log::{Entry, NewEntry, Returned},
    future::BoxFuture,
    link::{Link, LinkError},
};

/// Most frames that wait for a node. More are dropped, as Redis does for a slow reader.
const WAITING: usize = 65_536;

/// The meeting place of the nodes. Clones are the same place.
#[derive(Clone, Default)]
pub(crate) struct MemoryHub(Arc<Mutex<Members>>);

#[derive(Default)]
struct Members {
    joined: u64,
    nodes: HashMap<u64, Member>,
}

#[derive(Default)]
struct Member {
    topics: HashMap<Topic, usize>,
    /// Set once the node is linked.
    frames: Option<mpsc::Sender<Said>>,
    way: Arc<Way>,
    interrupted: Option<Interrupted>,
}

/// What a node hears.
enum Said {
    Frame(Channel, Bytes),
    Entry(Arc<Entry>),
}

/// A node's view of its path to the others.
struct Way {
    link: watch::Sender<Link>,
    lapses: Lapses,
}

impl Default for Way {
    fn default() -> Self {
        Self { link: watch::Sender::new(Link::Down), lapses: Lapses::default() }
    }
}

/// Set while nothing is carried.
struct Interrupted {
    since: Instant,
    /// The time of the first dropped frame of the node.
    dropped: Option<Instant>,
}

impl Member {
    fn is_linked(&self) -> bool {
        self.frames.is_some() && self.interrupted.is_none()
    }

    fn listens(&self, channel: &Channel) -> bool {
        self.topics.contains_key(&Topic::Channel(channel.clone()))
            || self
                .topics
                .keys()
                .any(|topic| matches!(topic, Topic::Prefix(start) if channel.starts_with(&**start)))
    }
}

impl MemoryHub {
    /// Adds a node.
    pub(crate) fn join(&self) -> MemoryBroker {
        let mut members = self.0.lock();
        members.joined += 1;
        let id = members.joined;
        let member = Member::default();
        let way = member.way.clone();
        members.nodes.insert(id, member);
        MemoryBroker {
            id,
            hub: self.clone(),
            way,
            dispatcher: OnceLock::new(),
            published: AtomicU64::new(0),
            dropped_down: AtomicU64::new(0),
            dropped_full: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        }
    }

    /// Cuts a node off from the others: it hears nothing, and its frames are dropped.
    pub(crate) fn interrupt(&self, id: u64) {
        self.member(id, |member| {
            let interrupted = Interrupted { since: Instant::now(), dropped: None };
            member.interrupted.get_or_insert(interrupted);
            member.way.link.send_replace(Link::Down);
        });
    }

    /// Ends the interruption. The node hears what may have been lost.
    pub(crate) fn mend(&self, id: u64) {
        self.member(id, |member| {
            let Some(Interrupted { since, dropped }) = member.interrupted.take() else { return };
            let Way { link, lapses } = &*member.way;
            if let Some(since) = dropped {
                lapses.unsaid(since);
            }
            lapses.unheard(since);
            if member.frames.is_some() {
                link.send_replace(Link::Up);
            }
        });
    }

    fn member<T>(&self, id: u64, change: impl FnOnce(&mut Member) -> T) -> T {
        change(self.0.lock().nodes.entry(id).or_default())
    }
}

/// A node's path to the others in the same process.
pub(crate) struct MemoryBroker {
    id: u64,
    hub: MemoryHub,
    way: Arc<Way>,
    dispatcher: OnceLock<Arc<Dispatcher>>,
    published: AtomicU64,
    dropped_down: AtomicU64,
    dropped_full: AtomicU64,
    tasks: TaskTracker,
}

impl MemoryBroker {
    /// The hub's number for the node.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Gives every linked node what is meant for it.
    fn say(&self, what: impl Fn(&u64, &Member) -> Option<Said>) {
        let mut members = self.hub.0.lock();
        let itself = members.nodes.get_mut(&self.id);
        if !itself.as_ref().is_some_and(|member| member.is_linked()) {
            if let Some(interrupted) = itself.and_then(|member| member.interrupted.as_mut()) {
                interrupted.dropped.get_or_insert_with(Instant::now);
            }
            self.dropped_down.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // under the lock: every node hears the frames of all in the same order
        for (id, member) in members.nodes.iter().filter(|(_, member)| member.is_linked()) {
            let (Some(said), Some(frames)) = (what(id, member), &member.frames) else { continue };
            if frames.try_send(said).is_err() {
                self.dropped_full.fetch_add(1, Ordering::Relaxed);
                member.way.lapses.unheard(Instant::now());
            }
        }
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    fn dropped(&self) -> u64 {
        self.dropped_down.load(Ordering::Relaxed) + self.dropped_full.load(Ordering::Relaxed)
    }
}

impl Carrier for MemoryBroker {
    fn start(&self, inbound: Inbound, _wait: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        let dispatcher = self.dispatcher.get_or_init(|| Arc::new(Dispatcher::new(inbound))).clone();
        let handle = dispatcher.handle();
        let (sender, mut frames) = mpsc::channel(WAITING);
        self.hub.member(self.id, |member| member.frames = Some(sender));
        self.tasks.spawn(async move {
            while let Some(said) = frames.recv().await {
                match said {
                    Said::Frame(channel, frame) => handle.dispatch(&channel, &frame),
                    Said::Entry(entry) => handle.dispatch_entry(&entry),
                }
            }
        });
        self.way.link.send_replace(Link::Up);
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        let channel: Channel = channel.into();
        self.say(|_, member| {
            member.listens(&channel).then(|| Said::Frame(channel.clone(), frame.clone()))
        });
    }

    /// The log is not kept: each entry goes to the other nodes that are there, in its order.
    fn append(&self, entry: NewEntry, returned: Option<Returned>) {
        let NewEntry { from, namespace, kind, data } = entry;
        let entry = Arc::new(Entry {
            at: None,
            from: Some((&*from).into()),
            namespace,
            kind: kind.to_string().into(),
            data: data.into(),
        });
        self.say(|id, _| (*id != self.id).then(|| Said::Entry(entry.clone())));
        if let Some(returned) = returned {
            returned(None);
        }
    }

    fn mark(&self) -> Mark {
        Mark { lanes: vec![(0, self.dropped())], ..Mark::default() }
    }

    fn taken(&self, since: Mark) -> BoxFuture<'_, Result<(), Disconnected>> {
        let whole = since.lanes.first().is_some_and(|(_, dropped)| *dropped == self.dropped());
        Box::pin(std::future::ready(whole.then_some(()).ok_or(Disconnected)))
    }

    fn listen(&self, topic: Topic) {
        self.hub.member(self.id, |member| *member.topics.entry(topic).or_default() += 1);
    }

    fn unlisten(&self, topic: &Topic) {
        self.hub.member(self.id, |member| {
            let Some(count) = member.topics.get_mut(topic) else { return };
            *count -= 1;
            if *count == 0 {
                member.topics.remove(topic);
            }
        });
    }

    fn settled(&self, _: &[Topic]) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn listeners(&self, channels: Vec<Channel>) -> BoxFuture<'_, Result<Vec<usize>, Disconnected>> {
        let members = self.hub.0.lock();
        let answer = match *self.way.link.borrow() {
            Link::Down => Err(Disconnected),
            Link::Up => Ok(channels
                .into_iter()
                .map(|channel| {
                    let topic = Topic::Channel(channel);
                    let linked = members.nodes.values().filter(|member| member.is_linked());
                    linked.filter(|member| member.topics.contains_key(&topic)).count()
                })
                .collect()),
        };
        Box::pin(async { answer })
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.way.link.subscribe()
    }

    fn lapses(&self) -> &Lapses {
        &self.way.lapses
    }

    fn counts(&self) -> BrokerCounts {
        BrokerCounts {
            published: self.published.load(Ordering::Relaxed),
            dropped_down: self.dropped_down.load(Ordering::Relaxed),
            dropped_full: self.dropped_full.load(Ordering::Relaxed),
            received: self.dispatcher.get().map_or(0, |dispatcher| dispatcher.received()),
            ..BrokerCounts::default()
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.hub.member(self.id, |member| member.frames = None);
        self.way.link.send_replace(Link::Down);
        self.tasks.close();
        Box::pin(async { self.tasks.wait().await })
    }
}

impl Drop for MemoryBroker {
    fn drop(&mut self) {
        self.hub.0.lock().nodes.remove(&self.id);
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("node", &self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::suite, *};

    fn cluster() -> impl AsyncFn() -> Arc<dyn Carrier> {
        let hub = MemoryHub::default();
        async move || Arc::new(hub.join()) as Arc<dyn Carrier>
    }

    suite::claims!(cluster(), prefixes);
}
