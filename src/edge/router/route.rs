//! Which way a request goes: by its query, its session id and its method.

use std::sync::atomic::Ordering;

use http::{Method, request::Parts};
use socketioxide::adapter::Adapter;
use socketioxide_core::Sid;

use super::Edge;
use crate::edge::{options::Legacy, refusal::Refusal, request::Query, session_id::Owner};

/// A request whose query and session id are valid.
pub(super) struct Route {
    pub(super) transport: TransportName,
    pub(super) v3: bool,
    pub(super) session: Session,
}

/// The session of a request.
pub(super) enum Session {
    New,
    Here(Sid),
    /// The name of the node that holds it, and the client's id for it.
    Elsewhere(Box<str>, Box<str>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TransportName {
    Polling,
    Websocket,
}

impl<A: Adapter> Edge<A> {
    /// The checks of Node.js, in its order.
    pub(super) fn route(&self, parts: &Parts) -> Result<Route, Refusal> {
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let transport = match query.transport.as_deref() {
            Some("polling") if self.options.polling => TransportName::Polling,
            Some("websocket") if self.options.websocket => TransportName::Websocket,
            _ => return Err(Refusal::UnknownTransport),
        };
        if query.wants_jsonp && transport == TransportName::Polling {
            return Err(Refusal::Jsonp);
        }
        let v3 = query.is_v3();
        if let Some(id) = &query.sid {
            let sid = match self.ids.load().verify(id) {
                Some(Owner::Here(sid)) => sid,
                Some(Owner::Elsewhere { node }) if self.options.hop.is_some() => {
                    let session = Session::Elsewhere(node.into(), (&**id).into());
                    return Ok(Route { transport, v3, session });
                }
                Some(Owner::Elsewhere { .. }) | None => return Err(Refusal::UnknownSession),
            };
            // the handshake has settled the session's protocol version
            if self.transports.get(sid).ok_or(Refusal::UnknownSession)?.v3 != v3 {
                return Err(Refusal::BadRequest);
            }
            return Ok(Route { transport, v3, session: Session::Here(sid) });
        }
        if parts.method != Method::GET {
            return Err(Refusal::BadHandshakeMethod);
        }
        let welcome = match transport {
            TransportName::Polling => self.options.legacy == Legacy::All,
            TransportName::Websocket => self.options.legacy != Legacy::Off,
        };
        if v3 && !welcome {
            return Err(Refusal::UnsupportedProtocol);
        }
        if self.draining.load(Ordering::Acquire) {
            return Err(Refusal::Draining);
        }
        if self.starting.load(Ordering::Acquire) {
            return Err(Refusal::Starting);
        }
        Ok(Route { transport, v3, session: Session::New })
    }
}
