//! A small broker: nodes of one process that meet in a hub. It shows what a broker has to do, and can
//! be told to do it wrong.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use switchboard::cluster::{Broker, BrokerError, Disconnected, Receiver};
use tokio::{sync::mpsc, task::JoinHandle};

/// Most frames that wait for a node.
const WAITING: usize = 65_536;

/// What a broker does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Some frames overtake the one before.
    Reorders,
    /// Some frames come twice.
    Repeats,
    /// Some frames do not come, and nobody hears so.
    Loses,
    /// A channel is listened to only after a while.
    ListensLate,
    /// Everybody is counted, listening or not.
    CountsAll,
    /// Large frames do not come, and it does not say how large they may be.
    LosesLargeOnes,
}

/// The meeting place. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Hub {
    members: Arc<Mutex<Members>>,
    pub fault: Fault,
}

#[derive(Default)]
struct Members {
    joined: u64,
    nodes: HashMap<u64, Member>,
}

struct Member {
    channels: BTreeSet<String>,
    frames: mpsc::Sender<(String, Bytes)>,
    receiver: Receiver,
}

/// The broker of one node.
pub(crate) struct HubBroker {
    hub: Hub,
    node: Mutex<Node>,
}

#[derive(Default)]
struct Node {
    /// What was listened to before the start.
    early: BTreeSet<String>,
    id: Option<u64>,
    receiver: Option<Receiver>,
    delivers: Option<JoinHandle<()>>,
    published: u64,
    held: Option<(String, Bytes)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn broker(&self) -> HubBroker {
        HubBroker { hub: self.clone(), node: Mutex::default() }
    }

    pub(crate) fn with(fault: Fault) -> Self {
        Self { fault, ..Self::default() }
    }

    fn carry(&self, channel: &str, frame: &Bytes) {
        for member in lock(&self.members).nodes.values() {
            if member.channels.contains(channel)
                && member.frames.try_send((channel.to_owned(), frame.clone())).is_err()
            {
                // It is too slow, and hears that it has missed something.
                member.receiver.unheard(Instant::now());
            }
        }
    }
}

impl HubBroker {
    /// Cuts the node off. What it says is lost, and it hears nothing.
    pub(crate) fn cut(&self) {
        let node = lock(&self.node);
        let (Some(id), Some(receiver)) = (node.id, &node.receiver) else { return };
        lock(&self.hub.members).nodes.remove(&id);
        receiver.down("the cable is out");
    }
}

impl Broker for HubBroker {
    async fn start(&self, receiver: Receiver) -> Result<(), BrokerError> {
        let (frames, mut waiting) = mpsc::channel::<(String, Bytes)>(WAITING);
        let to = receiver.clone();
        let delivers = tokio::spawn(async move {
            while let Some((channel, frame)) = waiting.recv().await {
                to.frame(&channel, &frame);
            }
        });
        let mut node = lock(&self.node);
        let mut members = lock(&self.hub.members);
        members.joined += 1;
        let id = members.joined;
        let channels = std::mem::take(&mut node.early);
        members.nodes.insert(id, Member { channels, frames, receiver: receiver.clone() });
        (node.id, node.receiver, node.delivers) = (Some(id), Some(receiver), Some(delivers));
        Ok(())
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        let mut node = lock(&self.node);
        let is_linked = node.id.is_some_and(|id| lock(&self.hub.members).nodes.contains_key(&id));
        if !is_linked {
            if let Some(receiver) = &node.receiver {
                receiver.unsent(1, Instant::now());
            }
            return;
        }
        node.published += 1;
        match (self.hub.fault, node.published % 100 == 50) {
            (Fault::Reorders, true) => node.held = Some((channel.to_owned(), frame)),
            (Fault::Repeats, true) => {
                self.hub.carry(channel, &frame);
                self.hub.carry(channel, &frame);
            }
            (Fault::Loses, true) => {}
            (Fault::LosesLargeOnes, _) if frame.len() > 200_000 => {}
            _ => {
                self.hub.carry(channel, &frame);
                // Four channels later it is behind the next one of its own.
                if node.published % 100 == 60
                    && let Some((channel, frame)) = node.held.take()
                {
                    self.hub.carry(&channel, &frame);
                }
            }
        }
    }

    async fn flush(&self) -> Result<(), Disconnected> {
        // What was published stands in the queues of those who listen.
        let linked = lock(&self.node).id.is_some();
        linked.then_some(()).ok_or(Disconnected)
    }

    fn listen(&self, channel: &str) {
        let mut node = lock(&self.node);
        let Some(id) = node.id else {
            node.early.insert(channel.to_owned());
            return;
        };
        let (members, channel) = (self.hub.members.clone(), channel.to_owned());
        let listen = move || {
            if let Some(member) = lock(&members).nodes.get_mut(&id) {
                member.channels.insert(channel);
            }
        };
        if self.hub.fault == Fault::ListensLate {
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                listen();
            });
        } else {
            listen();
        }
    }

    fn unlisten(&self, channel: &str) {
        let mut node = lock(&self.node);
        node.early.remove(channel);
        if let Some(id) = node.id
            && let Some(member) = lock(&self.hub.members).nodes.get_mut(&id)
        {
            member.channels.remove(channel);
        }
    }

    async fn settled(&self) {}

    async fn listeners(&self, channels: Vec<String>) -> Result<Vec<usize>, Disconnected> {
        let id = lock(&self.node).id.ok_or(Disconnected)?;
        let members = lock(&self.hub.members);
        if !members.nodes.contains_key(&id) {
            return Err(Disconnected);
        }
        let all = self.hub.fault == Fault::CountsAll;
        let count = |channel: &String| {
            members.nodes.values().filter(|node| all || node.channels.contains(channel)).count()
        };
        Ok(channels.iter().map(count).collect())
    }

    async fn stop(&self) {
        let (id, delivers) = {
            let mut node = lock(&self.node);
            (node.id.take(), node.delivers.take())
        };
        if let Some(id) = id {
            lock(&self.hub.members).nodes.remove(&id);
        }
        // What has come already is still given to the node.
        if let Some(delivers) = delivers {
            let _ = delivers.await;
        }
    }
}

/// A broker that its node and a test share. It cannot connect before it has failed so many times.
pub(crate) struct Shared(pub(crate) Arc<HubBroker>, pub(crate) AtomicUsize);

impl Broker for Shared {
    async fn start(&self, receiver: Receiver) -> Result<(), BrokerError> {
        let left = |left: usize| left.checked_sub(1);
        if self.1.try_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Err("nobody is there yet".into());
        }
        self.0.start(receiver).await
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        self.0.publish(channel, frame);
    }

    async fn flush(&self) -> Result<(), Disconnected> {
        self.0.flush().await
    }

    fn listen(&self, channel: &str) {
        self.0.listen(channel);
    }

    fn unlisten(&self, channel: &str) {
        self.0.unlisten(channel);
    }

    async fn settled(&self) {
        self.0.settled().await;
    }

    async fn listeners(&self, channels: Vec<String>) -> Result<Vec<usize>, Disconnected> {
        self.0.listeners(channels).await
    }

    async fn stop(&self) {
        self.0.stop().await;
    }
}
