//! A question to one client.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Serialize, de::DeserializeOwned};

use super::Socket;
use crate::{
    payload::{Payload, PayloadError},
    sockets::{
        asking::AskError,
        audience::Audience,
        door::{self, Sender, Start},
        questions::Question,
    },
};

impl Socket {
    /// Sends an event and awaits the client's acknowledgement, `emitWithAck` with a `timeout` in
    /// Socket.IO. The answer is read as [`Payload::decode`] does: a tuple takes all arguments,
    /// another type the first one.
    ///
    /// The socket's next event waits for a handler that awaits this, unless the handler is
    /// [`concurrent`](crate::gateway::handle::Handle::concurrent).
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Fault, Gateway, Socket, handle};
    ///
    /// let gateway = Gateway::new("/").on(
    ///     "start",
    ///     handle(async |socket: Socket| {
    ///         let name: String = socket.ask("name?", &(), Duration::from_secs(5)).await?;
    ///         Ok::<_, Fault>(format!("hello {name}"))
    ///     })
    ///     .concurrent(),
    /// );
    /// ```
    ///
    /// # Errors
    /// If the client does not answer in time, leaves, or answers in another shape; if `data` cannot
    /// be encoded.
    #[doc(alias("emitWithAck", "timeout"))]
    pub async fn ask<T: DeserializeOwned>(
        &self,
        name: &str,
        data: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<T, AskError> {
        Ok(self.ask_payload(Payload::event(name, data)?, timeout).await?.decode()?)
    }

    /// As [`ask`](Self::ask), with encoded arguments and the answer as it came.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Fault, Payload, Socket};
    ///
    /// async fn ask(socket: &Socket) -> Result<(String, u32), Fault> {
    ///     let question = Payload::event("who?", &())?;
    ///     Ok(socket.ask_payload(question, Duration::from_secs(5)).await?.decode()?)
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn ask_payload(
        &self,
        payload: Payload,
        timeout: Duration,
    ) -> Result<Payload, AskError> {
        self.0.adapter.turn().await;
        let start = Start::Here(&self.0.adapter);
        let me = Audience::nobody().to(self.id());
        let sender = Sender { id: self.id(), sid: self.0.sid };
        // The span of the emit lasts until the answer.
        let submitted = door::submit(start, payload, &me, Some(sender))?;
        let _waiting = start.node().meters().awaits_acks();
        let asked = submitted.as_ref().and_then(|it| door::deliver_asking(start, it, timeout));
        let Some((answers, 1..)) = asked else { return Err(AskError::Disconnected) };
        let mut answers = std::pin::pin!(answers);
        tokio::select! {
            biased;
            answer = answers.next() => match answer {
                Some(answer) => Ok(answer),
                None if self.is_connected() => Err(AskError::Timeout),
                None => Err(AskError::Disconnected),
            },
            () = self.closed() => Err(AskError::Disconnected),
        }
    }

    /// Sends an event at once, in the order of the calls. `told` is called when the client acknowledges
    /// exactly this event; not if the socket has left, or the question is dropped, before.
    ///
    /// # Errors
    /// If the payload cannot be sent.
    pub(crate) fn question(
        &self,
        payload: Payload,
        told: impl FnOnce() + Send + Sync + 'static,
    ) -> Result<Question, PayloadError> {
        let (adapter, sid) = (&self.0.adapter, self.0.sid);
        let me = Audience::nobody().to(self.id());
        let sender = Sender { id: self.id(), sid };
        let submitted = door::submit(Start::Here(adapter), payload, &me, Some(sender))?;
        let mut question = adapter.node().questions().ask(sid, self.namespace(), told);
        if let Some(submitted) = submitted {
            let span = door::deliver_question(adapter, submitted, sid, question.id());
            question.lasts(span);
        }
        Ok(question)
    }
}
