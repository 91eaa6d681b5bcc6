//! From a packet to a handler and back: the queue of each socket.
//!
//! A socket's events are handled one after the other in the order sent; sockets do not wait for one
//! another. A handler that is ready at once runs on the transport's own task: [`Inbox::push`] polls
//! the work once, and spawns it only if it is not ready then.
//!
//! No event is refused for coming too fast. Waiting events are counted in the client's [`Load`],
//! and while that is too much the edge does not read from the client. A client that reads slower
//! than it sends has its handlers pause, for their answers sent in one go would cut it off.

use std::{
    collections::VecDeque,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use socketioxide::socket::DisconnectReason;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    edge::{KillReason, Load},
    fault::{Code, Fault},
    gateway::{
        Inner as Gateway, Route,
        event::Event,
        interceptor, kept,
        lifecycle::Failure,
        reply::{Addressee, Outcome, Parts, Reply},
    },
    packet::ReadError,
    payload::{Payload, PayloadError},
    rate::Bucket,
    sockets::{audience::Audience, socket::Socket},
    telemetry::{durations::Started, meters::Meters, traces::Receiver},
};

/// The memory of a waiting event beside its own bytes.
const PLACE: usize = 128;

/// Handlers of a socket that run beside its queue.
const CONCURRENT: usize = 64;

/// Longest wait of a disconnect handler for the handlers before it.
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The events of one socket on their way to its gateway's handlers.
pub(crate) struct Inbox {
    socket: Socket,
    gateway: Arc<Gateway>,
    queue: Mutex<Queue>,
    /// The memory that waits because of the client. Looked up when it is first needed.
    load: OnceLock<Arc<Load>>,
    /// Made for the first handler that runs beside the queue.
    concurrent: OnceLock<Arc<Semaphore>>,
}

#[derive(Default)]
struct Queue {
    running: bool,
    /// The client has sent an unreadable packet. Its later events do not count.
    over: bool,
    jobs: VecDeque<Job>,
    bucket: Option<Box<Bucket>>,
}

enum Job {
    Connect,
    Event { payload: Payload, ack_id: Option<i64> },
    Disconnect(DisconnectReason),
}

impl Inbox {
    pub(crate) fn new(socket: Socket, gateway: Arc<Gateway>) -> Arc<Self> {
        // Events wait for the connect handler, which runs when the socket is in its namespace.
        let queue = Queue { running: true, ..Queue::default() };
        let (load, concurrent) = Default::default();
        Arc::new(Self { socket, gateway, queue: Mutex::new(queue), load, concurrent })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket is in its namespace: the connect handler runs, then the events that came
    /// meanwhile.
    pub(crate) fn connected(self: &Arc<Self>) {
        self.run(Job::Connect);
    }

    /// The socket has left. The disconnect handler runs after the handlers under way.
    pub(crate) fn disconnected(self: &Arc<Self>, reason: DisconnectReason) {
        if !self.gateway.has_disconnect_handler() {
            return self.socket.forget_extensions();
        }
        let running = {
            let mut queue = self.queue.lock();
            let running = std::mem::replace(&mut queue.running, true);
            if running {
                queue.jobs.push_back(Job::Disconnect(reason));
            }
            running
        };
        if running {
            self.disconnect_soon();
        } else {
            self.run(Job::Disconnect(reason));
        }
    }

    /// Runs the disconnect handler even if an earlier handler hangs.
    fn disconnect_soon(self: &Arc<Self>) {
        let inbox = self.clone();
        // Not a task of the node: a drain waits for handlers, not for this timer.
        tokio::spawn(async move {
            tokio::time::sleep(DISCONNECT_PATIENCE).await;
            let late = {
                let mut queue = inbox.queue.lock();
                let last = queue.jobs.iter().position(|job| matches!(job, Job::Disconnect(_)));
                last.and_then(|at| queue.jobs.remove(at))
            };
            if let Some(job) = late {
                inbox.handle(job).await;
            }
        });
    }

    /// Takes an event, in the order in which the transport reads them. Never blocks.
    pub(crate) fn push(self: &Arc<Self>, payload: Payload, ack_id: Option<i64>) {
        let context = self.socket.adapter().context();
        if let Some(watch) = self.socket.adapter().watch() {
            watch.received(self.socket.adapter().namespace(), self.socket.id(), &payload);
        }
        if let Some(meters) = self.meters() {
            meters.events_received.count();
        }
        let rate = context.limits().events_per_second;
        let bytes = payload.size() + PLACE;
        let job = Job::Event { payload, ack_id };
        {
            let mut queue = self.queue.lock();
            if queue.over {
                return;
            }
            let allowed = rate == 0 || {
                let now = Instant::now();
                let full = || Box::new(Bucket::full(rate, now));
                queue.bucket.get_or_insert_with(full).take(rate, now)
            };
            if !allowed {
                drop(queue);
                let fault = Fault::new(Code::RateLimited, "too many events");
                return self.refuse(ack_id, &fault);
            }
            if std::mem::replace(&mut queue.running, true) {
                queue.jobs.push_back(job);
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
        (!adapter.is_hidden()).then(|| adapter.context().meters())
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
                self.socket.adapter().context().tasks.spawn(work);
            }
        }
    }

    async fn work_off(self: Arc<Self>, mut job: Job) {
        loop {
            self.handle(job).await;
            let mut queue = self.queue.lock();
            match queue.jobs.pop_front() {
                Some(next) => {
                    if let (Job::Event { payload, .. }, Some(load)) = (&next, self.load()) {
                        load.begun(payload.size() + PLACE);
                    }
                    job = next;
                }
                None => {
                    queue.running = false;
                    if queue.jobs.capacity() > 32 {
                        queue.jobs = VecDeque::new();
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
            Job::Disconnect(reason) => {
                let outcome = self.gateway.disconnected(&self.socket, reason).await;
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
        let (inbox, bytes) = (self.clone(), event.payload().size() + PLACE);
        if let Some(load) = self.load() {
            load.queued(bytes);
        }
        self.socket.adapter().context().tasks.spawn(async move {
            let route = inbox.gateway.route(event.name());
            inbox.spanned(Ok((event, route)), ack_id).await;
            if let Some(load) = inbox.load() {
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
        let tracer = self.socket.adapter().context().tracer();
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
            let seen = self.look(&event, &mut ack_id).await;
            if let Err(fault) = seen {
                return self.finish(failing, Err(fault), ack_id).await;
            }
        }
        let Some(route) = route else {
            let fault = Fault::new(Code::UnknownEvent, "no handler has this event");
            return match self.gateway.refuses_unknown_events {
                true => self.finish(failing, Err(fault), ack_id).await,
                false => self.refuse(None, &fault),
            };
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

    /// Sends the replies of an event, or of a connect or disconnect. A fault is shown to the
    /// program's filter first, if there is one.
    async fn finish(&self, event: Option<Event>, outcome: Outcome, mut ack_id: Option<i64>) {
        let fault = match outcome {
            Ok(replies) => match self.reply(replies.into_parts(), &mut ack_id).await {
                Ok(()) => return,
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        if !self.gateway.filters_faults() {
            return self.refuse(ack_id, &fault);
        }
        self.count_refused(&fault);
        let failure = Failure { socket: self.socket.clone(), event, fault };
        let replied = match self.gateway.failed(failure).await {
            Ok(replies) => self.reply(replies.into_parts(), &mut ack_id).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = replied {
            self.refuse_to(ack_id, &fault);
        }
    }

    /// The event, and its way to the handler if it has one.
    fn accept(&self, payload: Payload, wants_ack: bool) -> Result<(Event, Option<&Route>), Fault> {
        let payload = payload.checked().map_err(|error| self.unreadable(error, wants_ack))?;
        let name = payload.event_name().ok_or_else(|| Fault::bad_request("an event has a name"))?;
        let limit = self.socket.adapter().context().limits().max_event_name;
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
            let transports = self.socket.adapter().context().transports();
            transports.kill(self.socket.sid(), KillReason::BadRequest);
        }
        PayloadError::from(error).into()
    }

    /// Drops the waiting events of this client and all that come before its transport has ended, as
    /// in Node.js.
    fn drop_events(&self) {
        let mut queue = self.queue.lock();
        queue.over = true;
        queue.jobs.retain(|job| {
            let Job::Event { payload, .. } = job else { return true };
            if let Some(load) = self.load() {
                load.begun(payload.size() + PLACE);
            }
            false
        });
    }

    /// Sends a handler's replies.
    ///
    /// # Errors
    /// The fault that ended a stream.
    async fn reply(&self, replies: Parts, ack_id: &mut Option<i64>) -> Result<(), Fault> {
        match replies {
            Parts::List(replies) => {
                for reply in replies {
                    self.send_or_keep(reply, ack_id).await;
                }
                Ok(())
            }
            Parts::Stream(mut items) => loop {
                let next = async {
                    tokio::select! {
                        biased;
                        item = AssertUnwindSafe(items.next()).catch_unwind() => item,
                        () = self.socket.closed() => Ok(None),
                    }
                };
                self.uncrowded().await;
                match next.await {
                    Ok(Some(Ok(reply))) => self.send_or_keep(reply, ack_id).await,
                    Ok(Some(Err(fault))) => return Err(fault),
                    Ok(None) => return Ok(()),
                    Err(_) => {
                        tracing::error!("a stream of replies panicked");
                        return Err(Fault::internal());
                    }
                }
            },
        }
    }

    async fn send_or_keep(&self, reply: Reply, ack_id: &mut Option<i64>) {
        let Some(ttl) = reply.kept else { return self.send(reply, ack_id) };
        match kept::keep(self.gateway.inbox.as_ref(), &self.socket, reply, ttl).await {
            Err(fault) => self.refuse(ack_id.take(), &fault),
            Ok(()) => self.meters().into_iter().for_each(|meters| meters.replies.count()),
        }
    }

    fn send(&self, reply: Reply, ack_id: &mut Option<i64>) {
        if reply.addressee == Addressee::Ack && ack_id.is_none() {
            return;
        }
        match self.send_out(reply, ack_id) {
            Err(fault) => self.refuse(ack_id.take(), &fault),
            Ok(()) => self.meters().into_iter().for_each(|meters| meters.replies.count()),
        }
    }

    fn send_out(&self, reply: Reply, ack_id: &mut Option<i64>) -> Result<(), Fault> {
        let payload = reply.payload.map_err(|error| Fault::from(&*error))?;
        let me = self.socket.id();
        let audience = match reply.addressee {
            Addressee::Ack => {
                let Some(id) = ack_id.take() else { return Ok(()) };
                return Ok(self.socket.acknowledge(id, payload)?);
            }
            Addressee::Sender if reply.except_sender => return Ok(()),
            Addressee::Sender => Audience::nobody().to(me),
            Addressee::UserOthers => {
                let Some(user) = self.socket.user() else { return Ok(()) };
                Audience::nobody().to_user(user).except(me)
            }
            Addressee::Audience(audience) if reply.except_sender => audience.except(me),
            Addressee::Audience(audience) => audience,
        };
        let audience = reply.except.into_iter().fold(audience, Audience::except);
        let audience = if reply.local { audience.local() } else { audience };
        let audience = if reply.volatile { audience.volatile() } else { audience };
        Ok(self.socket.send(payload, &audience)?)
    }

    /// Reports a fault to the client, if it waits for an acknowledgement.
    fn refuse(&self, ack_id: Option<i64>, fault: &Fault) {
        self.count_refused(fault);
        self.refuse_to(ack_id, fault);
    }

    fn count_refused(&self, fault: &Fault) {
        let context = self.socket.adapter().context();
        if let Some(meters) = self.meters() {
            meters.event_refused(fault.code());
        }
        context.tracer().failed(fault.code());
        tracing::debug!(
            socket.id = %self.socket.id(),
            fault = fault.code().as_str(),
            reason = fault.for_log(),
            "event refused"
        );
    }

    fn refuse_to(&self, ack_id: Option<i64>, fault: &Fault) {
        let Some(ack_id) = ack_id else { return };
        let sent = Payload::ack(&serde_json::json!({ "error": fault.to_json() }))
            .and_then(|payload| self.socket.acknowledge(ack_id, payload));
        if let Err(error) = sent {
            tracing::error!(%error, "an error acknowledgement cannot be sent");
        }
    }
}
