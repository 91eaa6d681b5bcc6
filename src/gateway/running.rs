//! A gateway as the server runs it.

use std::{collections::HashMap, sync::Arc};

use super::{
    event::Event,
    extract::Context,
    gateway::Gateway,
    handle::Handle,
    handler::{Handler, survive},
    handshake::Handshake,
    interceptor::Interceptor,
    lifecycle::{Connect, Disconnect, Ended, Failure, Packet, ServerSide},
    reply::{Addressee, Outcome},
};
use crate::{
    fault::Fault,
    inbox::Inbox,
    names::rooms::RoomPattern,
    payload::Payload,
    sockets::{
        node,
        relay::{ServerSideHandler, ServerSideHandlers},
        socket::Socket,
    },
    telemetry::{durations::Durations, meters::Meters},
};

/// A gateway as the server runs it.
pub(crate) struct Inner {
    pub(crate) path: String,
    middlewares: Vec<Arc<dyn Handler<Handshake>>>,
    routes: HashMap<Box<str>, Route>,
    /// The longest pattern first.
    patterns: Box<[(RoomPattern, Box<str>, Route)]>,
    fallback: Option<Route>,
    packets: Box<[Arc<dyn Handler<Packet>>]>,
    any: Box<[Arc<dyn Handler>]>,
    on_connect: Option<Arc<dyn Handler<Connect>>>,
    on_disconnect: Option<Arc<dyn Handler<Disconnect>>>,
    on_fault: Option<Arc<dyn Handler<Failure>>>,
    /// Where replies are kept, and what its sockets get of it. Set by the server, if it has one, for the
    /// gateways that are for users.
    pub(crate) inbox: Option<Inbox>,
    pub(crate) refuses_in_words: bool,
    pub(crate) refuses_unknown_events: bool,
}

/// The handler of an event inside all its interceptors.
pub(crate) struct Route {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) interceptors: Box<[Arc<dyn Interceptor>]>,
    pub(crate) durations: Arc<Durations>,
    pub(crate) concurrent: bool,
}

impl Gateway {
    /// Takes out the path and the handlers of events between servers.
    pub(crate) fn take_server_side(
        &mut self,
        node: &Arc<node::Node>,
    ) -> (String, ServerSideHandlers) {
        let handlers = std::mem::take(&mut self.server_side).into_iter();
        let handlers =
            handlers.map(|(name, handler)| (name.clone(), between_servers(node, name, handler)));
        (self.path.clone(), handlers.collect())
    }

    /// Joins the gateway with the middlewares and interceptors of the server.
    pub(crate) fn build(
        self,
        server_middlewares: &[Arc<dyn Handler<Handshake>>],
        server_interceptors: &[Arc<dyn Interceptor>],
        server_fallback: Option<&Arc<dyn Handler>>,
    ) -> Inner {
        let outer: Vec<_> = server_interceptors.iter().cloned().chain(self.interceptors).collect();
        let route = |handle: Handle| Route {
            handler: handle.handler,
            interceptors: outer.iter().cloned().chain(handle.interceptors).collect(),
            durations: Arc::default(),
            concurrent: handle.concurrent,
        };
        let mut patterns: Vec<_> = self.patterns.into_iter().collect();
        patterns.sort_by_key(|(_, name, _)| std::cmp::Reverse(name.len()));
        let patterns = patterns.into_iter().map(|(it, name, handle)| (it, name, route(handle)));
        let shared = || {
            let handler = server_fallback?.clone();
            Some(Handle { handler, interceptors: Vec::new(), concurrent: false })
        };
        Inner {
            middlewares: server_middlewares.iter().cloned().chain(self.middlewares).collect(),
            patterns: patterns.collect(),
            routes: self.handles.into_iter().map(|(name, handle)| (name, route(handle))).collect(),
            fallback: self.fallback.or_else(shared).map(route),
            packets: self.packets.into(),
            any: self.any.into(),
            on_connect: self.on_connect,
            on_disconnect: self.on_disconnect,
            on_fault: self.on_fault,
            path: self.path,
            refuses_in_words: self.refuses_in_words,
            inbox: None,
            refuses_unknown_events: self.refuses_unknown_events,
        }
    }
}

/// A handler of events between servers, in the terms of the relay.
fn between_servers(
    node: &Arc<node::Node>,
    name: String,
    handler: Arc<dyn Handler<ServerSide>>,
) -> ServerSideHandler {
    let (node, name): (_, Arc<str>) = (node.clone(), name.into());
    Arc::new(move |payload| {
        let (handler, context) = (handler.clone(), ServerSide { node: node.clone(), payload });
        let name = name.clone();
        Box::pin(async move {
            let called = async { handler.call(context).await };
            answer_of(&name, survive("a handler between servers", called).await)
        })
    })
}

/// The answer of a handler of events between servers. No error travels there.
fn answer_of(name: &str, outcome: Outcome) -> Option<Payload> {
    match outcome {
        Ok(replies) => {
            let mut acks = replies.list().iter().filter(|reply| reply.addressee == Addressee::Ack);
            let ack = acks.find_map(|reply| reply.payload().cloned());
            if replies.is_stream() || (ack.is_none() && !replies.list().is_empty()) {
                tracing::error!(
                    name,
                    "replies to an event between servers are dropped: only an acknowledgement goes back"
                );
            }
            ack
        }
        Err(fault) => {
            let (code, reason) = (fault.code().as_str(), fault.for_log());
            tracing::warn!(name, fault = code, reason, "an event of another server was refused");
            None
        }
    }
}

impl Inner {
    pub(crate) fn route(&self, event: &str) -> Option<&Route> {
        if let Some(route) = self.routes.get(event) {
            return Some(route);
        }
        let fitting = self.patterns.iter().find(|(pattern, ..)| pattern.matches(event));
        fitting.map(|(.., route)| route).or(self.fallback.as_ref())
    }

    /// Whether the gateway has a handler of its own for this event.
    pub(crate) fn declares(&self, event: &str) -> bool {
        self.routes.contains_key(event)
    }

    pub(crate) fn has_disconnect_handler(&self) -> bool {
        self.on_disconnect.is_some()
    }

    /// Shows how long the handlers take. Only declared names are shown, for clients choose the
    /// others.
    pub(crate) fn measure(&mut self, meters: &Meters) {
        const OTHER: &str = "other";
        for (event, route) in &self.routes {
            meters.show(&self.path, event, route.durations.clone());
        }
        for (_, pattern, route) in &mut self.patterns {
            match self.routes.get(pattern) {
                // One series cannot appear twice.
                Some(declared) => route.durations = declared.durations.clone(),
                None => meters.show(&self.path, pattern, route.durations.clone()),
            }
        }
        match (&mut self.fallback, self.routes.get(OTHER)) {
            (Some(fallback), Some(declared)) => fallback.durations = declared.durations.clone(),
            (Some(fallback), None) => meters.show(&self.path, OTHER, fallback.durations.clone()),
            (None, _) => {}
        }
    }

    /// Asks the middlewares in their order. The first refusal ends it.
    pub(crate) async fn admit(&self, handshake: &Handshake) -> Result<(), Fault> {
        for middleware in &self.middlewares {
            let asked = async { middleware.call(handshake.clone()).await };
            survive("a middleware", asked).await?;
        }
        Ok(())
    }

    /// Whether anything stands before the handlers.
    pub(crate) fn looks_at_packets(&self) -> bool {
        !(self.packets.is_empty() && self.any.is_empty())
    }

    /// Asks the middlewares of packets. The first refusal ends it.
    pub(crate) async fn let_pass(&self, event: &Event) -> Result<(), Fault> {
        for middleware in &self.packets {
            let asked = async { middleware.call(Packet(event.clone())).await };
            survive("a middleware of packets", asked).await?;
        }
        Ok(())
    }

    /// Those who see every event.
    pub(crate) fn any(&self) -> &[Arc<dyn Handler>] {
        &self.any
    }

    pub(crate) async fn seen(handler: &dyn Handler, event: Event) -> Outcome {
        survive("an `on_any` handler", async { handler.call(event).await }).await
    }

    pub(crate) async fn connected(&self, socket: &Socket) -> Outcome {
        let Some(handler) = &self.on_connect else { return Ok(Default::default()) };
        let context = Connect { socket: socket.clone() };
        survive("a connect handler", async { handler.call(context).await }).await
    }

    pub(crate) async fn disconnected(&self, socket: &Socket, ended: Ended) -> Outcome {
        let Some(handler) = &self.on_disconnect else { return Ok(Default::default()) };
        let context = Disconnect { socket: socket.clone(), ended };
        survive("a disconnect handler", async { handler.call(context).await }).await
    }

    pub(crate) fn filters_faults(&self) -> bool {
        self.on_fault.is_some()
    }

    /// What becomes of a fault.
    pub(crate) async fn failed(&self, failure: Failure) -> Outcome {
        let Some(handler) = &self.on_fault else { return Failure::refused(failure.fault) };
        survive("a handler of faults", async { handler.call(failure).await }).await
    }
}
