//! From a packet to a handler and back: the queue of each socket.
//!
//! A socket's events are handled one after the other in the order sent; sockets do not wait for one
//! another. A handler that is ready at once runs on the transport's own task: [`Queue::push`] polls
//! the work once, and spawns it only if it is not ready then.
//!
//! No event is refused for coming too fast. Waiting events are counted in the client's [`Load`],
//! and while that is too much the edge does not read from the client. A client that reads slower
//! than it sends has its handlers pause, for their answers sent in one go would cut it off.

mod answering;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::request::Parts;
use parking_lot::Mutex;
use socketioxide::socket::DisconnectReason;
use socketioxide_core::Value;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    edge::{Intake, KillReason, Load},
    fault::{Code, Fault},
    gateway::{
        Inner as Gateway, Route, event::Event, interceptor, lifecycle::Ended,
        request::OpeningRequest,
    },
    packet::ReadError,
    payload::{Payload, PayloadError},
    rate::Bucket,
    sockets::socket::Socket,
    telemetry::{durations::Started, meters::Meters, traces::Receiver},
};

/// The memory of a waiting event beside its own bytes.
const PLACE: usize = 128;

/// Handlers of a socket that run beside its queue.
const CONCURRENT: usize = 64;

/// Longest wait of a disconnect handler for the handlers before it.
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The events of one socket on their way to its gateway's handlers.
pub(crate) struct Queue {
    socket: Socket,
    gateway: Arc<Gateway>,
    waiting: Mutex<Waiting>,
    /// The memory that waits because of the client. Looked up when it is first needed.
    load: OnceLock<Arc<Load>>,
    /// Made for the first handler that runs beside the queue.
    concurrent: OnceLock<Arc<Semaphore>>,
}

#[derive(Default)]
struct Waiting {
    running: bool,
    /// The client has sent an unreadable packet. Its later events do not count.
    over: bool,
    jobs: VecDeque<Job>,
    bucket: Option<Box<Bucket>>,
}

impl Intake for Queue {
    fn is_open(&self) -> bool {
        self.socket.is_connected()
    }

    fn take(self: Arc<Self>, event: Value, ack_id: Option<i64>) {
        self.push(Payload::received(event), ack_id);
    }
}

enum Job {
    Connect,
    Event { payload: Payload, ack_id: Option<i64> },
    Disconnect(Ended),
}

impl Queue {
    pub(crate) fn new(socket: Socket, gateway: Arc<Gateway>) -> Arc<Self> {
        // Events wait for the connect handler, which runs when the socket is in its namespace.
        let waiting = Waiting { running: true, ..Waiting::default() };
        let (load, concurrent) = Default::default();
        Arc::new(Self { socket, gateway, waiting: Mutex::new(waiting), load, concurrent })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What the disconnect handler is called with. `None` if there is no such handler.
    pub(crate) fn ended(&self, reason: DisconnectReason, request: &Parts) -> Option<Ended> {
        let request = || Arc::new(OpeningRequest::of(request));
        self.gateway.has_disconnect_handler().then(|| Ended { reason, request: request() })
    }

    /// The socket is in its namespace: the connect handler runs, then the events that came
    /// meanwhile.
    pub(crate) fn connected(self: &Arc<Self>) {
        self.run(Job::Connect);
    }

    /// The client's events come here past the engine from now on, where that is possible.
    pub(crate) fn open_intake(self: &Arc<Self>) {
        let intake: Weak<Self> = Arc::downgrade(self);
        let transports = self.socket.adapter().node().transports();
        transports.open_intake(self.socket.sid(), self.socket.namespace(), intake);
    }

    /// The socket has left. The disconnect handler, if there is one, runs after the handlers under
    /// way.
    pub(crate) fn disconnected(self: &Arc<Self>, ended: Option<Ended>) {
        let Some(ended) = ended else { return self.socket.forget_extensions() };
        let mut waiting = self.waiting.lock();
        if std::mem::replace(&mut waiting.running, true) {
            waiting.jobs.push_back(Job::Disconnect(ended));
            drop(waiting);
            self.disconnect_soon();
        } else {
            drop(waiting);
            self.run(Job::Disconnect(ended));
        }
    }

    /// Runs the disconnect handler even if an earlier handler hangs.
    fn disconnect_soon(self: &Arc<Self>) {
        let this = self.clone();
        // Not a task of the node: a drain waits for handlers, not for this timer.
        tokio::spawn(async move {
            tokio::time::sleep(DISCONNECT_PATIENCE).await;
            let late = {
                let mut waiting = this.waiting.lock();
                let last = waiting.jobs.iter().position(|job| matches!(job, Job::Disconnect(_)));
                last.and_then(|at| waiting.jobs.remove(at))
            };
            if let Some(job) = late {
                this.handle(job).await;
            }
        });
    }

    /// Takes an event, in the order in which the transport reads them. Never blocks.
    pub(crate) fn push(self: &Arc<Self>, payload: Payload, ack_id: Option<i64>) {
        let node = self.socket.adapter().node();
        if let Some(watch) = self.socket.adapter().watch() {
            watch.received(self.socket.adapter().namespace(), self.socket.id(), &payload);
        }
        if let Some(meters) = self.meters() {
            meters.events_received.count();
        }
        let rate = node.limits().events_per_second;
        let bytes = payload.size() + PLACE;
        let job = Job::Event { payload, ack_id };
        {
            let mut waiting = self.waiting.lock();
            if waiting.over {
                return;
            }
            let allowed = rate == 0 || {
                let now = Instant::now();
                let full = || Box::new(Bucket::full(rate, now));
                waiting.bucket.get_or_insert_with(full).take(rate, now)
            };
            if !allowed {
                drop(waiting);
                let fault = Fault::new(Code::RateLimited, "too many events");
                return self.refuse(ack_id, &fault);
            }
            if std::mem::replace(&mut waiting.running, true) {
                waiting.jobs.push_back(job);
                if let Some(load) = self.load() {
                    load.queued(bytes);
                }
                return;
            }
        }
        self.run(job);
    }

    /// The node's counts. `None` for a hidden namespace, which is not counted.
    fn meters(&self) -> Option<&Meters> {
        let adapter = self.socket.adapter();
        (!adapter.is_hidden()).then(|| adapter.node().meters())
    }

    fn load(&self) -> Option<&Arc<Load>> {
        if let Some(load) = self.load.get() {
            return Some(load);
        }
        let load = self.socket.adapter().load_of(self.socket.sid())?;
        Some(self.load.get_or_init(|| load))
    }

    /// Pauses while too much waits for the client.
    async fn uncrowded(&self) {
        if let Some(load) = self.load()
            && load.is_crowded()
        {
            tokio::select! {
                () = load.uncrowded() => {}
                () = self.socket.closed() => {}
            }
        }
    }

    /// Works off `job` and the jobs behind it, on this task as long as none has to wait.
    fn run(self: &Arc<Self>, job: Job) {
        let mut work: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(self.clone().work_off(job));
        // A waiting handler registers its waker on the task that it is spawned on next.
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => {}
            Poll::Pending => {
                self.socket.adapter().node().tasks.spawn(work);
            }
        }
    }

    async fn work_off(self: Arc<Self>, mut job: Job) {
        loop {
            self.handle(job).await;
            let mut waiting = self.waiting.lock();
            match waiting.jobs.pop_front() {
                Some(next) => {
                    if let (Job::Event { payload, .. }, Some(load)) = (&next, self.load()) {
                        load.begun(payload.size() + PLACE);
                    }
                    job = next;
                }
                None => {
                    waiting.running = false;
                    if waiting.jobs.capacity() > 32 {
                        waiting.jobs = VecDeque::new();
                    }
                    return;
                }
            }
        }
    }

    async fn handle(self: &Arc<Self>, job: Job) {
        match job {
            Job::Connect => self.connect().await,
            Job::Event { payload, ack_id } => {
                self.uncrowded().await;
                self.event(payload, ack_id).await;
            }
            Job::Disconnect(ended) => {
                let outcome = self.gateway.disconnected(&self.socket, ended).await;
                self.finish(None, outcome, None).await;
                self.socket.forget_extensions();
            }
        }
    }

    /// Runs the connect handler. A socket whose handler fails does not stay.
    async fn connect(&self) {
        let outcome = self.gateway.connected(&self.socket).await;
        let has_failed = outcome.is_err();
        self.finish(None, outcome, None).await;
        if has_failed {
            self.drop_events();
            self.socket.disconnect(false);
        }
    }

    async fn event(self: &Arc<Self>, payload: Payload, ack_id: Option<i64>) {
        let accepted = self.accept(payload, ack_id.is_some());
        match accepted {
            Ok((event, Some(route))) if route.concurrent => self.start(event, ack_id).await,
            accepted => self.spanned(accepted, ack_id).await,
        }
    }

    /// Starts the handler in a task of its own, if there are not too many.
    async fn start(self: &Arc<Self>, event: Event, ack_id: Option<i64>) {
        let places = self.concurrent.get_or_init(|| Arc::new(Semaphore::new(CONCURRENT)));
        // Never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (queue, bytes) = (self.clone(), event.payload().size() + PLACE);
        if let Some(load) = self.load() {
            load.queued(bytes);
        }
        self.socket.adapter().node().tasks.spawn(async move {
            let route = queue.gateway.route(event.name());
            queue.spanned(Ok((event, route)), ack_id).await;
            if let Some(load) = queue.load() {
                load.begun(bytes);
            }
            drop(place);
        });
    }

    async fn spanned(&self, accepted: Result<(Event, Option<&Route>), Fault>, ack_id: Option<i64>) {
        let declared = || {
            let name = accepted.as_ref().ok()?.0.name();
            self.gateway.declares(name).then(|| name.to_owned())
        };
        let receiver = Receiver {
            namespace: self.socket.namespace(),
            id: self.socket.id(),
            origin: self.socket.origin(),
        };
        let tracer = self.socket.adapter().node().tracer();
        let span = tracer.receive(&receiver, || self.socket.user(), declared);
        span.around(self.work(accepted, ack_id)).await;
    }

    async fn work(
        &self,
        accepted: Result<(Event, Option<&Route>), Fault>,
        mut ack_id: Option<i64>,
    ) {
        let (event, route) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => return self.refuse(ack_id, &fault),
        };
        let failing = self.gateway.filters_faults().then(|| event.clone());
        if self.gateway.looks_at_packets() {
            let seen = Box::pin(self.look(&event, &mut ack_id)).await;
            if let Err(fault) = seen {
                self.finish(failing, Err(fault), ack_id).await;
                return;
            }
        }
        let Some(route) = route else {
            let fault = Fault::new(Code::UnknownEvent, "no handler has this event");
            match self.gateway.refuses_unknown_events {
                true => _ = self.finish(failing, Err(fault), ack_id).await,
                false => self.refuse(None, &fault),
            }
            return;
        };
        let started = Started::now();
        let outcome = interceptor::run(&route.interceptors, &route.handler, event).await;
        route.durations.record_since(started);
        self.finish(failing, outcome, ack_id).await;
    }

    /// Shows the event to what stands before its handler.
    async fn look(&self, event: &Event, ack_id: &mut Option<i64>) -> Result<(), Fault> {
        self.gateway.let_pass(event).await?;
        for handler in self.gateway.any() {
            let outcome = Gateway::seen(&**handler, event.clone()).await?;
            self.reply(outcome.into_parts(), ack_id).await?;
        }
        Ok(())
    }

    /// The event, and its way to the handler if it has one.
    fn accept(&self, payload: Payload, wants_ack: bool) -> Result<(Event, Option<&Route>), Fault> {
        let payload = payload.checked().map_err(|error| self.unreadable(error, wants_ack))?;
        let name = payload.event_name().ok_or_else(|| Fault::bad_request("an event has a name"))?;
        let limit = self.socket.adapter().node().limits().max_event_name;
        if limit > 0 && name.len() > limit {
            let message = format!("an event name has {limit} bytes at most");
            return Err(Fault::new(Code::TooLarge, message));
        }
        let route = self.gateway.route(&name);
        let name = name.into_owned();
        Ok((Event::new(self.socket.clone(), &name, payload, wants_ack), route))
    }

    /// Reports an unreadable event to a client that asked for an acknowledgement. Another client
    /// would believe that the event was handled, so its connection is closed where Node.js closes
    /// it.
    fn unreadable(&self, error: ReadError, wants_ack: bool) -> Fault {
        if error.is_violation() && !wants_ack {
            self.drop_events();
            let transports = self.socket.adapter().node().transports();
            transports.kill(self.socket.sid(), KillReason::BadRequest);
        }
        PayloadError::from(error).into()
    }

    /// Drops the waiting events of this client and all that come before its transport has ended, as
    /// in Node.js.
    fn drop_events(&self) {
        let mut waiting = self.waiting.lock();
        waiting.over = true;
        waiting.jobs.retain(|job| {
            let Job::Event { payload, .. } = job else { return true };
            if let Some(load) = self.load() {
                load.begun(payload.size() + PLACE);
            }
            false
        });
    }
}
