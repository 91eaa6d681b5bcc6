//! What becomes of a handler's result: its replies are sent, a fault is answered.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, future::OptionFuture};

use super::Queue;
use crate::{
    fault::Fault,
    future::BoxFuture,
    gateway::{
        event::Event,
        kept,
        lifecycle::Failure,
        reply::{Addressee, Outcome, Parts, Replies, Reply},
    },
    payload::Payload,
    sockets::audience::Audience,
};

impl Queue {
    /// Sends the replies of an event, or of a connect or disconnect. A fault is shown to the
    /// program's filter first, if there is one.
    ///
    /// Replies at hand are sent when it is called. What has to wait is in a box: it would be most of the future
    /// of every event, which is moved several times.
    pub(super) fn finish(
        &self,
        event: Option<Event>,
        outcome: Outcome,
        mut ack_id: Option<i64>,
    ) -> OptionFuture<BoxFuture<'_, ()>> {
        let outcome = match outcome.map(Replies::into_parts) {
            Ok(Parts::List(replies)) if replies.iter().all(|reply| reply.kept.is_none()) => {
                replies.into_iter().for_each(|reply| self.send(reply, &mut ack_id));
                return None.into();
            }
            Err(fault) if !self.gateway.filters_faults() => {
                self.refuse(ack_id, &fault);
                return None.into();
            }
            outcome => outcome,
        };
        Some(self.finish_later(event, outcome, ack_id).boxed()).into()
    }

    async fn finish_later(
        &self,
        event: Option<Event>,
        outcome: Result<Parts, Fault>,
        mut ack_id: Option<i64>,
    ) {
        let fault = match outcome {
            Ok(replies) => match self.reply(replies, &mut ack_id).await {
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

    /// Sends a handler's replies.
    ///
    /// # Errors
    /// The fault that ended a stream.
    pub(super) async fn reply(
        &self,
        replies: Parts,
        ack_id: &mut Option<i64>,
    ) -> Result<(), Fault> {
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
        // Boxed: it is large and rare, and streams of replies would carry it about.
        let keeping = kept::keep(self.gateway.inbox.as_ref(), &self.socket, reply, ttl);
        match Box::pin(keeping).await {
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
    pub(super) fn refuse(&self, ack_id: Option<i64>, fault: &Fault) {
        self.count_refused(fault);
        self.refuse_to(ack_id, fault);
    }

    fn count_refused(&self, fault: &Fault) {
        let node = self.socket.adapter().node();
        if let Some(meters) = self.meters() {
            meters.event_refused(fault.code());
        }
        node.tracer().failed(fault.code());
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
