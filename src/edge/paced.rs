//! Requests to the engine at the pace of the client and of its handlers. Packets taken by polls are
//! counted. The body of a POST is handed over in small parts, with pauses while too much waits.
//!
//! Two more things are here, because they need the right order of requests: packets that the engine
//! would forget in an upgrade, and the end of sessions that joined nothing.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use bytes::Bytes;
use futures_util::future::poll_fn;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use socketioxide::adapter::Adapter;
use socketioxide_core::Sid;
use tokio::{task::coop::unconstrained, time::timeout};

use super::{
    frames, packets,
    refusal::Refusal,
    request,
    router::Edge,
    transport::{Phase, Verdict, Wire},
};

/// Packets of a body that the engine gets at once.
const AT_ONCE: usize = 64;

/// Longest time for the engine to hear the farewell of a session.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

impl<A: Adapter> Edge<A> {
    /// Polls the engine for packets to the client. If the future is dropped while it waits, it has
    /// taken nothing.
    pub(super) async fn ask_for_packets(
        &self,
        wire: &Wire,
        request: Request<()>,
    ) -> Response<Bytes> {
        let _asking = Asking::new(wire);
        // Unconstrained. Otherwise the engine, which passes packets on without waiting, would take
        // its queue for empty after 128 packets.
        let mut answer = pin!(unconstrained(self.ask_engine(request.map(|()| Full::default()))));
        let at_once = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        let response = match at_once {
            Poll::Ready(response) => response,
            Poll::Pending => {
                wire.load.all_taken();
                wire.load.set_away(false);
                answer.await
            }
        };
        wire.load.taken(packets::size(response.body(), wire.v3));
        if wire.has_interest() {
            return response.map(|body| {
                packets::with_noops(&body, |packet| self.wires.takes_farewell_answer(wire, packet))
            });
        }
        response
    }

    /// Gives the engine the body of a POST. Ends when there is room for more.
    pub(super) async fn give_packets(
        &self,
        wire: &Wire,
        sid: Sid,
        kind: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Response<Bytes>, Refusal> {
        if wire.needs_farewell() && !packets::may_precede_connect(&body) {
            // whatever the engine makes of this, it must not keep the session because of it
            self.say_farewell(wire, sid).await;
            self.enforce_connect_timeout(wire, sid);
        }
        let mut rest = body;
        loop {
            self.until_calm(wire, sid).await;
            let part = packets::split_off_first(&mut rest, AT_ONCE, wire.v3);
            let request =
                request::internal(Method::POST, &self.options.path, wire.v3, "polling", sid);
            let mut request = request.ok_or(Refusal::Internal)?;
            if let Some(kind) = kind {
                request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
            }
            let response = self.ask_engine(request.map(|()| Full::new(part))).await;
            if rest.is_empty() || response.status() != StatusCode::OK {
                // the client sends more when it has its answer
                self.until_calm(wire, sid).await;
                return Ok(response);
            }
        }
    }

    /// Waits while too much waits because of this client. Its pongs wait, too, so they are given in
    /// its name as long as there are signs of life.
    async fn until_calm(&self, wire: &Wire, sid: Sid) {
        let mut progress = wire.load.progress().wrapping_sub(1);
        while wire.load.is_paused() && !wire.is_killed() {
            let patience = self.options.ping_timeout / 2;
            if timeout(patience, wire.load.unpaused()).await.is_ok() {
                return;
            }
            let now = wire.load.progress();
            if std::mem::replace(&mut progress, now) != now {
                let pong = if wire.v3 { "1:2" } else { "3" };
                // it fails if the session has ended, and then nobody waits for it
                self.post_to_engine(sid, wire.v3, pong).await.ok();
            }
        }
    }

    /// Makes the engine end its timer for a session that has joined no namespace, before the
    /// session ends. See [`crate::sockets::farewell`].
    pub(super) async fn say_farewell(&self, wire: &Wire, sid: Sid) {
        let (Some(body), Some(polling)) = (self.wires.farewell_body(wire), &wire.polling) else {
            return;
        };
        let request = request::internal(Method::POST, &self.options.path, false, "polling", sid);
        let Some(request) = request else { return };
        self.ask_engine(request.map(|()| Full::new(body))).await;
        let heard = async {
            loop {
                let moved = polling.moved.notified();
                if !wire.needs_farewell() {
                    return;
                }
                moved.await;
            }
        };
        timeout(FAREWELL_PATIENCE, heard).await.ok();
    }

    /// Replaces the engine's timer, which the farewell has ended.
    pub(super) fn enforce_connect_timeout(&self, wire: &Wire, sid: Sid) {
        if !wire.has_joined() {
            self.wires.cut_unless_joined(sid, self.options.connect_timeout);
        }
    }

    /// The packets that the engine would forget in an upgrade, as frames. A packet that did not fit
    /// into the answer to a poll is put aside for the next poll, and the engine's websockets do not
    /// look there. Also takes the packets behind it. The client's last poll must have ended.
    pub(super) async fn packets_before_upgrade(&self, wire: &Wire, sid: Sid) -> Vec<u8> {
        let mut out = Vec::new();
        self.polls_are_over(wire).await;
        loop {
            let request =
                request::internal(Method::GET, &self.options.path, wire.v3, "polling", sid);
            let Some(request) = request else { return out };
            let mut answer =
                pin!(unconstrained(self.ask_engine(request.map(|()| Full::default()))));
            let at_once = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
            let Poll::Ready(response) = at_once else { return out };
            if response.status() != StatusCode::OK || response.body().is_empty() {
                return out; // the session has ended
            }
            let is_binary = response
                .headers()
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| kind == "application/octet-stream");
            wire.load.taken(packets::size(response.body(), wire.v3));
            let Some(packets) = packets::of_body(response.body(), wire.v3, is_binary) else {
                tracing::error!("the engine's answer to a poll cannot be read");
                return out;
            };
            for (opcode, packet) in packets {
                match wire.judge(opcode, &packet) {
                    Verdict::Replace(packet) => frames::server_frame(opcode, &packet, &mut out),
                    Verdict::Pass => frames::server_frame(opcode, &packet, &mut out),
                    // a polling session has no such packets
                    Verdict::Drop | Verdict::Answer(_) | Verdict::Opened(_) => {}
                }
            }
        }
    }

    async fn polls_are_over(&self, wire: &Wire) {
        let Some(polling) = &wire.polling else { return };
        loop {
            let moved = polling.moved.notified();
            if !polling.is_asking() {
                return;
            }
            moved.await;
        }
    }
}

/// The engine is being polled for this client.
struct Asking<'a>(&'a Wire);

impl<'a> Asking<'a> {
    fn new(wire: &'a Wire) -> Self {
        if let Some(polling) = &wire.polling {
            polling.asking(true);
        }
        Self(wire)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let Self(wire) = self;
        wire.load.set_away(true);
        if wire.phase() == Phase::Websocket {
            wire.load.set_away(false); // its websocket has taken over, perhaps just now
        }
        if let Some(polling) = &wire.polling {
            polling.asking(false);
            polling.moved.notify_waiters();
        }
    }
}
