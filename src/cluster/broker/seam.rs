//! The broker as a program may bring it.

use std::{
    error::Error,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Disconnected, Inbound,
    dispatcher::{DispatchHandle, Dispatcher},
    lapses::Lapses,
};
use crate::link::Link;

/// Carries opaque frames between the nodes of a cluster: NATS, `LISTEN` of Postgres, whatever there
/// is. It is given to [`Builder::broker`](crate::server::Builder::broker), together with a
/// [`UserDirectory`](crate::users::UserDirectory) that all nodes share.
///
/// A broker never looks into a frame. It knows channels, whose names are any text up to some
/// kilobytes (they hold names of namespaces and rooms), and nodes that listen to them. Frames are as
/// large as the messages of the program, unless [`largest`](Broker::largest) says how large they may be.
///
/// # What is guaranteed
/// - **At most once.** A frame arrives at each node that listens, or it does not. It never arrives
///   twice.
/// - **In order.** The frames that one node publishes on one channel arrive at another in the order
///   of the calls. What is lost leaves a gap and no disorder. Nothing is promised between channels,
///   nor between nodes.
/// - **A node hears itself** where it listens to a channel on which it publishes.
/// - **A loss is told.** A node that may have missed frames, or whose frames may not have left, hears
///   so by its [`Receiver`]. The server then looks after its clients: see `redis.missed`. A broker
///   that keeps a loss to itself makes clients miss events and not know it.
///
/// # Who may wait
/// [`publish`](Self::publish), [`listen`](Self::listen) and [`unlisten`](Self::unlisten) are called
/// while an event is handled and must return at once: they put what is to be done into a queue. The
/// queue must be bounded, in bytes as well as in frames; what does not fit is dropped and told by
/// [`Receiver::unsent`]. Everything else may wait, and is waited for as long as
/// `redis.request_timeout` says.
///
/// Whether a broker keeps to this is tested by the suite behind the feature `conformance`,
/// `switchboard::cluster::conformance`. `tests/seams.rs` in the repository has a small broker.
///
/// ```
/// use std::{
///     collections::HashSet,
///     sync::{Arc, Mutex, OnceLock},
///     time::Instant,
/// };
/// use bytes::Bytes;
/// use switchboard::cluster::{Broker, BrokerError, Disconnected, Receiver, conformance};
///
/// /// Where the nodes of one process meet.
/// #[derive(Clone, Default)]
/// struct Hall(Arc<Mutex<Vec<Arc<Seat>>>>);
///
/// #[derive(Default)]
/// struct Seat {
///     channels: Mutex<HashSet<String>>,
///     receiver: OnceLock<Receiver>,
/// }
///
/// struct HallBroker {
///     hall: Hall,
///     seat: Arc<Seat>,
/// }
///
/// impl HallBroker {
///     fn is_there(&self) -> Result<(), Disconnected> {
///         let seats = self.hall.0.lock().unwrap();
///         seats.iter().any(|seat| Arc::ptr_eq(seat, &self.seat)).then_some(()).ok_or(Disconnected)
///     }
///
///     fn listening(&self, channel: &str) -> Vec<Receiver> {
///         let seats = self.hall.0.lock().unwrap();
///         let listening = seats.iter().filter(|seat| seat.channels.lock().unwrap().contains(channel));
///         listening.filter_map(|seat| seat.receiver.get().cloned()).collect()
///     }
/// }
///
/// impl Broker for HallBroker {
///     async fn start(&self, receiver: Receiver) -> Result<(), BrokerError> {
///         self.seat.receiver.set(receiver).map_err(|_| "it has started already")?;
///         self.hall.0.lock().unwrap().push(self.seat.clone());
///         Ok(())
///     }
///
///     fn publish(&self, channel: &str, frame: Bytes) {
///         if self.is_there().is_ok() {
///             self.listening(channel).iter().for_each(|receiver| receiver.frame(channel, &frame));
///         } else if let Some(receiver) = self.seat.receiver.get() {
///             receiver.unsent(1, Instant::now());
///         }
///     }
///
///     async fn flush(&self) -> Result<(), Disconnected> {
///         self.is_there()
///     }
///
///     fn listen(&self, channel: &str) {
///         self.seat.channels.lock().unwrap().insert(channel.to_owned());
///     }
///
///     fn unlisten(&self, channel: &str) {
///         self.seat.channels.lock().unwrap().remove(channel);
///     }
///
///     async fn settled(&self) {}
///
///     async fn listeners(&self, channels: Vec<String>) -> Result<Vec<usize>, Disconnected> {
///         self.is_there()?;
///         Ok(channels.iter().map(|channel| self.listening(channel).len()).collect())
///     }
///
///     async fn stop(&self) {
///         self.hall.0.lock().unwrap().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let hall = Hall::default();
/// conformance::all(async || HallBroker { hall: hall.clone(), seat: Arc::default() }).await;
/// # }
/// ```
pub trait Broker: Send + Sync + 'static {
    /// Connects, and keeps the connection from then on: a lost one is made anew, and everything that
    /// is listened to is listened to again. Called once, and once more after an error. When it ends,
    /// every earlier [`listen`](Self::listen) is in force.
    ///
    /// `receiver` takes what comes, and the state of the connection.
    ///
    /// # Errors
    /// If it cannot connect. A server that [waits](crate::server::Builder::wait_for_redis) calls
    /// again after a pause.
    fn start(&self, receiver: Receiver) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Sends a frame to the nodes that listen to a channel. Never waits and never fails: while there
    /// is no connection the frame waits for a while, or is dropped and told.
    fn publish(&self, channel: &str, frame: Bytes);

    /// The size of the largest frame that it can carry, in bytes: `max_payload` of NATS for instance.
    /// A larger one is never published. It counts as lost, and whoever waits for it hears that
    /// trying again is of no use: the outbox sets such an event aside. Asked before each frame.
    ///
    /// ```
    /// # use switchboard::cluster::{Broker, BrokerError, Disconnected, Receiver};
    /// /// Sends frames as packets of UDP.
    /// struct ByPackets {
    ///     socket: std::net::UdpSocket,
    /// }
    ///
    /// impl Broker for ByPackets {
    ///     fn largest(&self) -> usize {
    ///         65_507
    ///     }
    /// #   async fn start(&self, _: Receiver) -> Result<(), BrokerError> { Ok(()) }
    /// #   fn publish(&self, _: &str, frame: bytes::Bytes) { _ = self.socket.send(&frame); }
    /// #   async fn flush(&self) -> Result<(), Disconnected> { Ok(()) }
    /// #   fn listen(&self, _: &str) {}
    /// #   fn unlisten(&self, _: &str) {}
    /// #   async fn settled(&self) {}
    /// #   async fn listeners(&self, c: Vec<String>) -> Result<Vec<usize>, Disconnected> { Ok(vec![0; c.len()]) }
    /// #   async fn stop(&self) {}
    ///     // and the other methods
    /// }
    /// ```
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// Ends when every frame that was published before this call has been taken by the system that
    /// carries it.
    ///
    /// # Errors
    /// If one of them is lost, or that is not known.
    fn flush(&self) -> impl Future<Output = Result<(), Disconnected>> + Send;

    /// Listens to a channel until [`unlisten`](Self::unlisten). Each channel is listened to once at
    /// a time. It may be called before [`start`](Self::start). Never waits; it is in force when a
    /// later [`settled`](Self::settled) ends.
    fn listen(&self, channel: &str);

    /// Listens to a channel no more. Frames that are under way may still come.
    fn unlisten(&self, channel: &str);

    /// Ends when every earlier [`listen`](Self::listen) is in force: whatever another node publishes
    /// from then on is heard. While there is no connection it ends at once.
    fn settled(&self) -> impl Future<Output = ()> + Send;

    /// How many nodes listen to each of these channels, this one counted. So the server knows how
    /// many answers to wait for when it asks the other nodes. It asks about few channels: those of
    /// namespaces and nodes, never those of rooms. A node that is gone must not be counted for much
    /// longer than the directory lists it.
    ///
    /// A system that does not count by itself needs a table of the nodes and what they listen to.
    ///
    /// # Errors
    /// While it cannot be said.
    fn listeners(
        &self,
        channels: Vec<String>,
    ) -> impl Future<Output = Result<Vec<usize>, Disconnected>> + Send;

    /// Sends what waits and disconnects; from then on nothing is heard, sent or counted. Called once,
    /// by a node that leaves.
    fn stop(&self) -> impl Future<Output = ()> + Send;
}

/// Why a broker cannot connect. Its text is shown to operators, so it holds no secret.
///
/// ```
/// use switchboard::cluster::BrokerError;
/// use tokio::net::TcpStream;
///
/// async fn connect(address: &str) -> Result<TcpStream, BrokerError> {
///     let connected = TcpStream::connect(address).await;
///     connected.map_err(|error| format!("cannot reach the bus at {address}: {error}").into())
/// }
/// ```
pub type BrokerError = Box<dyn Error + Send + Sync>;

/// A node's end of a [`Broker`]: takes the frames of others, and what the broker knows of its
/// connection. Clones are the same.
///
/// The connection counts as up when [`Broker::start`] has ended. A broker whose connection cannot break
/// calls nothing but [`frame`](Self::frame); one that has said [`down`](Self::down) says
/// [`up`](Self::up) afterwards.
///
/// ```
/// use std::time::Instant;
/// use bytes::Bytes;
/// use switchboard::cluster::Receiver;
///
/// /// What the driver of a bus says.
/// enum News {
///     Frame(String, Bytes),
///     Lost(&'static str),
///     Back,
///     /// It has thrown frames of others away, because it was read too slowly.
///     Skipped(Instant),
///     /// So many frames of our own did not fit into its queue.
///     Dropped(u64, Instant),
/// }
///
/// fn pass_on(receiver: &Receiver, news: News) {
///     match news {
///         News::Frame(channel, frame) => receiver.frame(&channel, &frame),
///         News::Lost(reason) => receiver.down(reason),
///         News::Back => receiver.up(),
///         News::Skipped(since) => receiver.unheard(since),
///         News::Dropped(frames, since) => receiver.unsent(frames, since),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Receiver(Arc<Ear>);

struct Ear {
    handle: DispatchHandle,
    dispatcher: Arc<Dispatcher>,
    state: Arc<LinkToBroker>,
}

/// What is known of the connection.
#[derive(Debug)]
pub(super) struct LinkToBroker {
    pub(super) link: watch::Sender<Link>,
    pub(super) lapses: Lapses,
    outage: Mutex<Option<(Instant, String)>>,
    /// Why it could not be made at first.
    failure: Mutex<Option<String>>,
    /// The broker says itself when the link is up.
    speaks: AtomicBool,
    pub(super) unsent: AtomicU64,
    pub(super) mended: AtomicU64,
}

impl Default for LinkToBroker {
    fn default() -> Self {
        Self {
            link: watch::Sender::new(Link::Down),
            lapses: Lapses::default(),
            outage: Mutex::default(),
            failure: Mutex::default(),
            speaks: AtomicBool::new(false),
            unsent: AtomicU64::new(0),
            mended: AtomicU64::new(0),
        }
    }
}

impl LinkToBroker {
    /// Why it is down. `None` while it is up.
    pub(super) fn reason(&self) -> Option<String> {
        let outage = self.outage.lock().as_ref().map(|(_, reason)| reason.clone());
        outage.or_else(|| self.failure.lock().clone())
    }

    /// The broker has started. Unless it has said more of its connection, that is up.
    pub(super) fn has_started(&self) {
        *self.failure.lock() = None;
        if !self.speaks.load(Ordering::Acquire) {
            self.link.send_replace(Link::Up);
        }
    }

    pub(super) fn cannot_start(&self, reason: String) {
        *self.failure.lock() = Some(reason);
    }

    pub(super) fn is_over(&self) {
        self.link.send_replace(Link::Down);
    }
}

impl Receiver {
    pub(super) fn new(inbound: Inbound, state: Arc<LinkToBroker>) -> Self {
        let dispatcher = Arc::new(Dispatcher::new(inbound));
        let handle = dispatcher.handle();
        Self(Arc::new(Ear { handle, dispatcher, state }))
    }

    /// A frame has come on a channel. It returns when the node has taken it, which never takes long.
    /// Calls from several threads take turns; those for one channel must be in order already.
    pub fn frame(&self, channel: &str, frame: &Bytes) {
        self.0.handle.dispatch(channel, frame);
    }

    /// The connection is there, and everything is listened to. Tells the node that it may have missed
    /// what came since [`down`](Self::down).
    pub fn up(&self) {
        let state = &self.0.state;
        state.speaks.store(true, Ordering::Release);
        let outage = state.outage.lock().take();
        if let Some((since, _)) = outage {
            state.mended.fetch_add(1, Ordering::Relaxed);
            state.lapses.unheard(since);
            tracing::info!(
                outage_ms = since.elapsed().as_millis() as u64,
                "the link to the other nodes is back"
            );
        }
        state.link.send_replace(Link::Up);
    }

    /// The connection is lost, for this reason. The node is not ready meanwhile, and says the reason
    /// to operators; it must hold no secret.
    pub fn down(&self, reason: &str) {
        let state = &self.0.state;
        state.speaks.store(true, Ordering::Release);
        state.link.send_replace(Link::Down);
        let mut outage = state.outage.lock();
        if let Some((_, before)) = &mut *outage {
            reason.clone_into(before);
            return;
        }
        *outage = Some((Instant::now(), reason.to_owned()));
        drop(outage);
        tracing::warn!(error = reason, "the link to the other nodes is down");
    }

    /// Frames that other nodes have published since then may not have arrived here. To be called
    /// when later ones arrive again; not for what [`up`](Self::up) tells.
    pub fn unheard(&self, since: Instant) {
        self.0.state.lapses.unheard(since);
    }

    /// So many frames that this node has published, the first of them at this time, may not have
    /// reached the others.
    pub fn unsent(&self, frames: u64, since: Instant) {
        self.0.state.unsent.fetch_add(frames, Ordering::Relaxed);
        self.0.state.lapses.unsaid(since);
    }

    /// Afterwards the node hears nothing.
    pub(super) fn close(&self) {
        self.0.handle.close();
    }

    pub(super) fn received(&self) -> u64 {
        self.0.dispatcher.received()
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("link", &*self.0.state.link.borrow()).finish()
    }
}
