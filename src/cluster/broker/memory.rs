//! A cluster inside one process: every broker of a hub hears the others, as through Redis.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Broker, BrokerCounts, Channel, Disconnected, Inbound, Link, LinkError, Topic};
use crate::handler::BoxFuture;

/// Where the brokers of one process meet.
#[derive(Clone, Default)]
pub(crate) struct MemoryHub(Arc<Mutex<Vec<Weak<Node>>>>);

impl MemoryHub {
    /// One more node.
    pub(crate) fn join(&self) -> MemoryBroker {
        let (sender, receiver) = mpsc::unbounded_channel();
        let node = Arc::new(Node {
            topics: Mutex::default(),
            inbox: sender,
            link: watch::Sender::new(Link::Down),
        });
        let mut nodes = self.0.lock();
        nodes.retain(|node| node.strong_count() > 0);
        nodes.push(Arc::downgrade(&node));
        MemoryBroker { hub: self.clone(), node, receiver: Mutex::new(Some(receiver)) }
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for MemoryHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHub").field("nodes", &self.nodes().len()).finish()
    }
}

enum Delivery {
    Frame(Channel, Bytes),
    /// Everything before it has been delivered.
    Flush(oneshot::Sender<()>),
}

struct Node {
    topics: Mutex<HashMap<Topic, usize>>,
    inbox: mpsc::UnboundedSender<Delivery>,
    link: watch::Sender<Link>,
}

impl Node {
    fn hears(&self, channel: &Channel) -> bool {
        let topics = self.topics.lock();
        topics.contains_key(&Topic::Channel(channel.clone()))
            || topics.keys().any(
                |topic| matches!(topic, Topic::Prefix(prefix) if channel.starts_with(&**prefix)),
            )
    }

    fn is_up(&self) -> bool {
        *self.link.borrow() == Link::Up
    }
}

/// One node's end of a [`MemoryHub`].
pub(crate) struct MemoryBroker {
    hub: MemoryHub,
    node: Arc<Node>,
    /// Taken at the start.
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Delivery>>>,
}

impl Broker for MemoryBroker {
    fn start(&self, inbound: Inbound, _: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            if let Some(mut receiver) = self.receiver.lock().take() {
                tokio::spawn(async move {
                    while let Some(delivery) = receiver.recv().await {
                        match delivery {
                            Delivery::Frame(channel, frame) => inbound(&channel, &frame),
                            Delivery::Flush(done) => _ = done.send(()),
                        }
                    }
                });
            }
            self.node.link.send_replace(Link::Up);
            Ok(())
        })
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        if !self.node.is_up() {
            return;
        }
        let channel: Channel = channel.into();
        for node in self.hub.nodes() {
            if node.is_up() && node.hears(&channel) {
                // A node whose task has ended hears nothing.
                let _ = node.inbox.send(Delivery::Frame(channel.clone(), frame.clone()));
            }
        }
    }

    fn listen(&self, topic: Topic) {
        *self.node.topics.lock().entry(topic).or_default() += 1;
    }

    fn unlisten(&self, topic: &Topic) {
        let mut topics = self.node.topics.lock();
        if let Some(count) = topics.get_mut(topic) {
            *count -= 1;
            if *count == 0 {
                topics.remove(topic);
            }
        }
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn listeners(&self, channels: Vec<Channel>) -> BoxFuture<'_, Result<Vec<usize>, Disconnected>> {
        let nodes = self.hub.nodes();
        let counted = channels.into_iter().map(|channel| {
            let topic = Topic::Channel(channel);
            nodes
                .iter()
                .filter(|node| node.is_up() && node.topics.lock().contains_key(&topic))
                .count()
        });
        let counted = if self.node.is_up() { Ok(counted.collect()) } else { Err(Disconnected) };
        Box::pin(std::future::ready(counted))
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.node.link.subscribe()
    }

    fn counts(&self) -> BrokerCounts {
        BrokerCounts::default()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.node.link.send_replace(Link::Down);
            let (done, flushed) = oneshot::channel();
            if self.node.inbox.send(Delivery::Flush(done)).is_ok() && self.receiver.lock().is_none()
            {
                let _ = flushed.await;
            }
        })
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("link", &*self.node.link.borrow()).finish()
    }
}
