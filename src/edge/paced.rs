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
    transport::{Phase, Transport, Verdict},
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
        transport: &Transport,
        request: Request<()>,
    ) -> Response<Bytes> {
        let _asking = Asking::new(transport);
        // Unconstrained. Otherwise the engine, which passes packets on without waiting, would take
        // its queue for empty after 128 packets.
        let mut answer = pin!(unconstrained(self.ask_engine(request.map(|()| Full::default()))));
        let at_once = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        let response = match at_once {
            Poll::Ready(response) => response,
            Poll::Pending => {
                transport.load.all_taken();
                transport.load.set_away(false);
                answer.await
            }
        };
        transport.load.taken(packets::size(response.body(), transport.v3));
        if transport.expects_anything() {
            return response.map(|body| {
                packets::with_noops(&body, |packet| {
                    self.transports.takes_farewell_answer(transport, packet)
                })
            });
        }
        response
    }

    /// Gives the engine the body of a POST. Ends when there is room for more.
    pub(super) async fn give_packets(
        &self,
        transport: &Transport,
        sid: Sid,
        kind: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Response<Bytes>, Refusal> {
        if transport.needs_farewell() && !packets::may_precede_connect(&body) {
            // whatever the engine makes of this, it must not keep the session because of it
            self.say_farewell(transport, sid).await;
            self.enforce_connect_timeout(transport, sid);
        }
        let mut rest = body;
        let mut excused = false;
        loop {
            self.until_calm(transport, sid, &mut excused).await;
            let part = packets::split_off_first(&mut rest, AT_ONCE, transport.v3);
            let request =
                request::internal(Method::POST, &self.options.path, transport.v3, "polling", sid);
            let mut request = request.ok_or(Refusal::Internal)?;
            if let Some(kind) = kind {
                request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
            }
            let response = self.ask_engine(request.map(|()| Full::new(part))).await;
            if rest.is_empty() || response.status() != StatusCode::OK {
                // the client sends more when it has its answer
                self.until_calm(transport, sid, &mut excused).await;
                return Ok(response);
            }
        }
    }

    /// Waits while too much waits because of this client. Its pongs wait, too, so they are given in
    /// its name as long as there are signs of life.
    ///
    /// A client that upgrades does not poll before its POST is answered: it would take nothing, and
    /// both would wait for each other. So this POST is `excused`, one until all is calm again.
    async fn until_calm(&self, transport: &Transport, sid: Sid, excused: &mut bool) {
        let Some(polling) = &transport.polling else { return };
        let mut progress = transport.load.progress().wrapping_sub(1);
        while !*excused && transport.load.is_paused() && !transport.is_killed() {
            let moved = polling.moved.notified();
            if transport.phase() == Phase::Probing && polling.excuse_once() {
                *excused = true;
                return;
            }
            let patience = self.options.ping_timeout / 2;
            tokio::select! {
                () = transport.load.unpaused() => break,
                () = moved => continue,
                () = tokio::time::sleep(patience) => {}
            }
            let now = transport.load.progress();
            if std::mem::replace(&mut progress, now) != now {
                let pong = if transport.v3 { "1:2" } else { "3" };
                // it fails if the session has ended, and then nobody waits for it
                self.post_to_engine(sid, transport.v3, pong).await.ok();
            }
        }
        if !*excused {
            polling.calmed();
        }
    }

    /// Makes the engine end its timer for a session that has joined no namespace, before the
    /// session ends. See [`crate::sockets::farewell`].
    pub(super) async fn say_farewell(&self, transport: &Transport, sid: Sid) {
        let (Some(body), Some(polling)) =
            (self.transports.farewell_body(transport), &transport.polling)
        else {
            return;
        };
        let request = request::internal(Method::POST, &self.options.path, false, "polling", sid);
        let Some(request) = request else { return };
        self.ask_engine(request.map(|()| Full::new(body))).await;
        let heard = async {
            loop {
                let moved = polling.moved.notified();
                if !transport.needs_farewell() {
                    return;
                }
                moved.await;
            }
        };
        timeout(FAREWELL_PATIENCE, heard).await.ok();
    }

    /// Replaces the engine's timer, which the farewell has ended.
    pub(super) fn enforce_connect_timeout(&self, transport: &Transport, sid: Sid) {
        if !transport.has_joined() {
            self.transports.cut_unless_joined(sid, self.options.connect_timeout);
        }
    }

    /// The packets that the engine would forget in an upgrade, as frames. A packet that did not fit
    /// into the answer to a poll is put aside for the next poll, and the engine's websockets do not
    /// look there. Also takes the packets behind it. The client's last poll must have ended.
    pub(super) async fn packets_before_upgrade(&self, transport: &Transport, sid: Sid) -> Vec<u8> {
        let mut out = Vec::new();
        self.polls_are_over(transport).await;
        loop {
            let request =
                request::internal(Method::GET, &self.options.path, transport.v3, "polling", sid);
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
            transport.load.taken(packets::size(response.body(), transport.v3));
            let Some(packets) = packets::of_body(response.body(), transport.v3, is_binary) else {
                tracing::error!("the engine's answer to a poll cannot be read");
                return out;
            };
            for (opcode, packet) in packets {
                match transport.judge(opcode, &packet) {
                    Verdict::Replace(packet) => frames::server_frame(opcode, &packet, &mut out),
                    Verdict::Pass => frames::server_frame(opcode, &packet, &mut out),
                    // a polling session has no such packets
                    Verdict::Drop | Verdict::Answer(_) | Verdict::Opened(_) => {}
                }
            }
        }
    }

    async fn polls_are_over(&self, transport: &Transport) {
        let Some(polling) = &transport.polling else { return };
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
struct Asking<'a>(&'a Transport);

impl<'a> Asking<'a> {
    fn new(transport: &'a Transport) -> Self {
        if let Some(polling) = &transport.polling {
            polling.asking(true);
        }
        Self(transport)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let Self(transport) = self;
        transport.load.set_away(true);
        if transport.phase() == Phase::Websocket {
            transport.load.set_away(false); // its websocket has taken over, perhaps just now
        }
        if let Some(polling) = &transport.polling {
            polling.asking(false);
            polling.moved.notify_waiters();
        }
    }
}
