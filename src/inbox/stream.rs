//! A stream on this node: the sockets of a device in one namespace, and what they are sent.
//!
//! One task at a time looks after a stream, the *pump*, and only while there is something to wait
//! for: it makes this node the holder, reads what is to be sent, and lets go when the last socket has
//! left. What is kept while everything before it was sent needs no pump: it is sent right away.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    Shared,
    window::{Wanted, Window},
};
use crate::{
    payload::Payload,
    sockets::{Socket, questions::Question},
    store::{
        StoreError,
        inbox::{Attached, Message, StreamKey},
    },
};

/// Bytes that are read at once for one stream.
const READ: usize = 256 * 1024;

/// A stream on this node.
pub(super) struct Stream {
    pub(super) key: StreamKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they came. The first one gets the messages.
    sockets: Vec<Listener>,
    /// What the first one has been sent and has not acknowledged.
    asked: HashMap<u64, Question>,
    hold: Hold,
    /// There is a pump. It looks at everything else once more before it ends.
    is_pumped: bool,
    /// The store has not answered the last pump. Another one begins when it answers again.
    is_stuck: bool,
}

struct Listener {
    socket: Socket,
    wants_sequence: bool,
}

#[derive(Default)]
enum Hold {
    /// Nobody has asked yet, or the answer is not known.
    #[default]
    Unknown,
    /// Another node holds it.
    Waits,
    /// The user has too many devices.
    Refused,
    Held(Window),
    /// The last socket has left. Until the store has been told, this node has the stream up to here
    /// and delivers nothing of it. If a socket comes before that, it goes on from here: the store may
    /// not know yet what was acknowledged.
    Left(u64),
}

/// What a pump does next.
enum Step {
    Attach,
    Read(Wanted),
    /// The device has everything up to here.
    Release(u64),
    /// There are no sockets, and this node does not hold it.
    Forget,
    Rest,
}

/// Why a pump ends.
pub(super) enum Rest {
    /// There is nothing to do.
    Idle,
    /// The stream is to be forgotten if there is still no socket.
    Over,
    /// The store does not answer.
    Stuck(StoreError),
}

impl Stream {
    pub(super) fn new(key: StreamKey) -> Self {
        Self { key, state: Mutex::default() }
    }

    /// A socket of the device has come. Returns whether a pump is needed.
    pub(super) fn arrived(&self, socket: Socket, wants_sequence: bool) -> bool {
        let mut state = self.state.lock();
        state.sockets.push(Listener { socket, wants_sequence });
        // The others of this device have seen to it.
        state.sockets.len() == 1 && state.needs_pump()
    }

    /// A socket of the device has left. Returns whether a pump is needed.
    pub(super) fn left(&self, socket: &Socket) -> bool {
        let mut state = self.state.lock();
        let Some(place) = state.sockets.iter().position(|it| it.socket == *socket) else {
            return false;
        };
        state.sockets.remove(place);
        if place > 0 {
            return false;
        }
        // It answers no more.
        state.asked.clear();
        let is_last = state.sockets.is_empty();
        match &mut state.hold {
            Hold::Held(window) if is_last => state.hold = Hold::Left(window.acked()),
            Hold::Held(window) => window.restart(),
            _ => {}
        }
        state.needs_pump()
    }

    /// A message was kept for the user, perhaps for this stream. Returns whether a pump is needed.
    pub(super) fn heard(self: &Arc<Self>, shared: &Arc<Shared>, message: &Message) -> bool {
        let mut state = self.state.lock();
        let State { sockets, asked, hold: Hold::Held(window), .. } = &mut *state else {
            return false;
        };
        let is_mine = *message.namespace == *self.key.namespace;
        if !is_mine {
            window.passes(message.seq);
        } else if let Some(listener) = sockets.first()
            && shared.lease.is_valid()
            && window.takes(message.seq)
        {
            match self.send(shared, listener, message, false) {
                Some(question) => _ = asked.insert(message.seq, question),
                None => self.passes_over(shared, window, message.seq),
            }
        } else {
            window.heard(message.seq);
        }
        window.wants().is_some() && state.needs_pump()
    }

    /// The user has numbers up to this one. Returns whether a pump is needed.
    pub(super) fn has_up_to(&self, last: u64) -> bool {
        let mut state = self.state.lock();
        let Hold::Held(window) = &mut state.hold else { return false };
        window.heard(last);
        window.wants().is_some() && state.needs_pump()
    }

    /// Whether this node holds it, and delivers it.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state.lock().hold, Hold::Held(_))
    }

    /// The other holder may be gone. Returns whether a pump is needed.
    pub(super) fn may_be_free(&self) -> bool {
        let mut state = self.state.lock();
        let waits = matches!(state.hold, Hold::Waits | Hold::Refused);
        if waits {
            state.hold = Hold::Unknown;
        }
        waits && state.needs_pump()
    }

    /// The store answers again. Returns whether a pump is needed.
    pub(super) fn goes_on(&self) -> bool {
        let mut state = self.state.lock();
        std::mem::take(&mut state.is_stuck) && state.needs_pump()
    }

    /// Something about the node has changed. Returns whether a pump is needed.
    pub(super) fn looks_again(&self) -> bool {
        self.state.lock().needs_pump()
    }

    /// Whether nobody needs it any more.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.sockets.is_empty()
            && !state.is_pumped
            && matches!(state.hold, Hold::Unknown | Hold::Refused)
    }

    fn acknowledged(self: &Arc<Self>, shared: &Arc<Shared>, seq: u64) {
        shared.meters.acknowledged.count();
        let mut state = self.state.lock();
        state.asked.remove(&seq);
        let Hold::Held(window) = &mut state.hold else { return };
        if let Some(up_to) = window.acknowledged(seq) {
            shared.acks.add(&self.key, up_to);
        }
        let needs_pump = window.wants().is_some() && state.needs_pump();
        drop(state);
        if needs_pump {
            shared.pump(self);
        }
    }

    /// Nobody can be sent this message, so nobody waits for it.
    fn passes_over(&self, shared: &Shared, window: &mut Window, seq: u64) {
        if let Some(up_to) = window.acknowledged(seq) {
            shared.acks.add(&self.key, up_to);
        }
    }

    /// Does what there is to do.
    pub(super) async fn pump(self: &Arc<Self>, shared: &Arc<Shared>) -> Rest {
        loop {
            let step = self.next_step(shared);
            let done = match step {
                Step::Attach => self.attach(shared).await,
                Step::Read(wanted) => self.read(shared, wanted).await,
                Step::Release(acked) => self.release(shared, acked).await,
                Step::Forget => return Rest::Over,
                Step::Rest => return Rest::Idle,
            };
            if let Err(error) = done {
                let mut state = self.state.lock();
                (state.is_pumped, state.is_stuck) = (false, true);
                return Rest::Stuck(error);
            }
        }
    }

    fn next_step(&self, shared: &Shared) -> Step {
        let mut state = self.state.lock();
        let is_left = state.sockets.is_empty();
        match &state.hold {
            Hold::Unknown if !is_left => Step::Attach,
            Hold::Left(_) if !is_left => Step::Attach,
            Hold::Left(acked) => Step::Release(*acked),
            Hold::Held(_) | Hold::Waits if is_left => Step::Release(0),
            Hold::Unknown | Hold::Refused if is_left => {
                state.is_pumped = false;
                Step::Forget
            }
            Hold::Held(_) if !shared.lease.is_valid() => Step::Attach,
            Hold::Held(window) => match window.wants() {
                Some(wanted) => Step::Read(wanted),
                None => state.rests(),
            },
            _ => state.rests(),
        }
    }

    async fn attach(&self, shared: &Shared) -> Result<(), StoreError> {
        // The node has to have a lease before it holds anything.
        if !shared.lease.is_valid() {
            shared.renew().await?;
        }
        let size = shared.options.window;
        let attached = shared.store.attach(&self.key, &shared.holder).await?;
        let mut state = self.state.lock();
        if let Attached::Held { after, .. } = attached {
            state.asked.retain(|seq, _| *seq > after);
        }
        match (attached, &mut state.hold) {
            (Attached::Held { after, last }, Hold::Held(window)) => window.renewed(after, last),
            (Attached::Held { after, last }, hold) => {
                let after = match hold {
                    Hold::Left(acked) => after.max(*acked),
                    _ => after,
                };
                *hold = Hold::Held(Window::new(size, after, last));
            }
            (Attached::Waits, hold) => *hold = Hold::Waits,
            (Attached::TooMany, hold) => {
                if let Some(count) = shared.too_many.next() {
                    tracing::warn!(
                        user.id = &*self.key.user,
                        count,
                        "a device gets no inbox: its user has too many devices, and all are connected"
                    );
                }
                *hold = Hold::Refused;
            }
        }
        Ok(())
    }

    async fn read(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        wanted: Wanted,
    ) -> Result<(), StoreError> {
        let read = shared.store.pending(&self.key, wanted.after, wanted.count, READ).await?;
        let mut state = self.state.lock();
        let State { sockets, asked, hold: Hold::Held(window), .. } = &mut *state else {
            return Ok(());
        };
        // Somebody has left or come meanwhile, or a message was sent past the pump.
        let (Some(listener), true) = (sockets.first(), window.wants() == Some(wanted)) else {
            return Ok(());
        };
        if !shared.lease.is_valid() {
            return Ok(());
        }
        let mut unsent = Vec::new();
        for message in &read {
            match self.send(shared, listener, message, window.was_sent(message.seq)) {
                Some(question) => _ = asked.insert(message.seq, question),
                None => unsent.push(message.seq),
            }
        }
        window.read(wanted, read.iter().map(|message| message.seq));
        unsent.into_iter().for_each(|seq| self.passes_over(shared, window, seq));
        Ok(())
    }

    /// Sends a message to a client. Its acknowledgement is heard on another task.
    fn send(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        to: &Listener,
        message: &Message,
        was_sent: bool,
    ) -> Option<Question> {
        let seq = message.seq;
        let sequence = (shared.options.sequence || to.wants_sequence).then_some(seq);
        shared.meters.delivered.count();
        if was_sent {
            shared.meters.redelivered.count();
        }
        let told = {
            let (shared, stream) = (Arc::downgrade(shared), Arc::downgrade(self));
            move || {
                if let (Some(shared), Some(stream)) = (shared.upgrade(), stream.upgrade()) {
                    stream.acknowledged(&shared, seq);
                }
            }
        };
        let question = Payload::from_stored(&message.event, &message.args, sequence)
            .and_then(|payload| to.socket.question(payload, told));
        // It was checked when it was kept.
        question
            .inspect_err(
                |error| tracing::error!(%error, seq, "a message of the inbox cannot be sent"),
            )
            .ok()
    }

    async fn release(&self, shared: &Arc<Shared>, acked: u64) -> Result<(), StoreError> {
        // Before anybody else can hold it, so that the next holder begins in the right place.
        if acked > 0 {
            shared.store.acknowledge(vec![(self.key.clone(), acked)]).await?;
        }
        let told = shared.store.detach(vec![self.key.clone()], &shared.holder).await?;
        self.state.lock().hold = Hold::Unknown;
        for (node, stream) in told {
            shared.is_free(&node, stream);
        }
        Ok(())
    }
}

impl State {
    /// Whether there is no pump; there is one from now on.
    fn needs_pump(&mut self) -> bool {
        !std::mem::replace(&mut self.is_pumped, true)
    }

    fn rests(&mut self) -> Step {
        self.is_pumped = false;
        Step::Rest
    }
}
