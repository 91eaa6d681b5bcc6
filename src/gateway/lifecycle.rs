//! What handlers are called for beside events: a socket's connect and disconnect, a packet on its
//! way, an event of another server, a failure, and a user that comes or goes.

use std::sync::Arc;

use super::{
    event::Event,
    extract::{App, Context, FromContext, OfSocket, WithArguments},
    handler::{DisconnectReason, Handler, survive},
    reply::Outcome,
    request::OpeningRequest,
};
use crate::{
    fault::Fault,
    payload::Payload,
    sockets::{node, socket::Socket},
    users::Presence,
};

/// A socket has entered its namespace; see [`Gateway::on_connect`](crate::Gateway::on_connect).
///
/// ```
/// use switchboard::{Gateway, Handshake, Socket};
///
/// let gateway = Gateway::new("/").on_connect(async |socket: Socket, handshake: Handshake| {
///     println!("{} comes from {:?}", socket.id(), handshake.peer_addr());
/// });
/// ```
#[derive(Debug, Clone)]
pub struct Connect {
    pub(crate) socket: Socket,
}

/// A socket has left its namespace; see
/// [`Gateway::on_disconnect`](crate::Gateway::on_disconnect). The [`DisconnectReason`] is a
/// parameter of its handlers.
///
/// ```
/// use switchboard::{Gateway, Socket, gateway::handler::DisconnectReason};
///
/// let gateway = Gateway::new("/").on_disconnect(async |socket: Socket, reason: DisconnectReason| {
///     println!("{} has left: {reason:?}", socket.id());
/// });
/// ```
#[derive(Debug, Clone)]
pub struct Disconnect {
    pub(crate) socket: Socket,
    pub(crate) ended: Ended,
}

/// The end of a socket: why, and what would be gone with its connection.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) reason: DisconnectReason,
    pub(crate) request: Arc<OpeningRequest>,
}

/// An event on its way to its handler; see [`Gateway::use_packet`](crate::Gateway::use_packet).
///
/// ```
/// use switchboard::{Event, Gateway, Socket};
///
/// // A middleware for packets asks for the event, the socket, and what else handlers do.
/// let gateway = Gateway::new("/")
///     .use_packet(async |socket: Socket, event: Event| println!("{} sends {}", socket.id(), event.name()));
/// ```
#[derive(Debug, Clone)]
pub struct Packet(pub(crate) Event);

/// A handler has failed; see [`Gateway::on_fault`](crate::Gateway::on_fault). The [`Fault`] is a
/// parameter of its handlers, and the [`Event`] one if it is an `Option`.
///
/// ```
/// use switchboard::{Fault, Gateway, Socket};
///
/// let gateway = Gateway::new("/").on_fault(async |socket: Socket, fault: Fault| {
///     println!("{}: {fault}", socket.id());
///     Err::<(), _>(fault)
/// });
/// ```
#[derive(Debug, Clone)]
pub struct Failure {
    pub(crate) socket: Socket,
    pub(crate) event: Option<Event>,
    pub(crate) fault: Fault,
}

/// An event of another server; see
/// [`Gateway::on_server_side`](crate::Gateway::on_server_side).
///
/// ```
/// use switchboard::{Data, Gateway, Switchboard};
///
/// let gateway = Gateway::new("/").on_server_side("who", async |server: Switchboard, Data(n): Data<u32>| {
///     format!("{} has heard {n}", server.node())
/// });
/// ```
#[derive(Clone)]
pub struct ServerSide {
    pub(crate) node: Arc<node::Node>,
    pub(crate) payload: Payload,
}

impl std::fmt::Debug for ServerSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSide").field("node", self.node.id()).finish_non_exhaustive()
    }
}

/// A user has come online or gone offline; see
/// [`Builder::on_presence`](crate::server::Builder::on_presence). The [`Presence`] is a parameter
/// of its handlers.
///
/// ```
/// use switchboard::{Gateway, Switchboard, users::Presence};
///
/// let builder = Switchboard::builder()
///     .gateway(Gateway::new("/"))
///     .on_presence(async |change: Presence| println!("{change:?}"));
/// ```
#[derive(Clone)]
pub struct PresenceChange {
    node: Arc<node::Node>,
    presence: Presence,
}

impl PresenceChange {
    pub(crate) fn new(node: &Arc<node::Node>, presence: Presence) -> Self {
        Self { node: node.clone(), presence }
    }

    /// Tells it. Nobody waits for the result, so a fault is logged.
    pub(crate) async fn tell(self, handler: &dyn Handler<Self>) {
        let told = survive("the handler of presence", async { handler.call(self).await }).await;
        if let Err(fault) = told {
            let (code, reason) = (fault.code().as_str(), fault.for_log());
            tracing::warn!(fault = code, reason, "a change of presence was not handled");
        }
    }
}

impl std::fmt::Debug for PresenceChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PresenceChange").field(&self.presence).finish()
    }
}

macro_rules! of_sockets {
    ($($context:ty: |$it:ident| $socket:expr => $output:ty;)*) => {$(
        impl Context for $context {
            type Output = $output;

            fn app(&self) -> App<'_> {
                App::new(OfSocket::socket(self).adapter().node())
            }

            fn refused(fault: Fault) -> Self::Output {
                Err(fault)
            }
        }

        impl OfSocket for $context {
            fn socket(&self) -> &Socket {
                let $it = self;
                $socket
            }
        }
    )*};
}
of_sockets! {
    Connect: |it| &it.socket => Outcome;
    Disconnect: |it| &it.socket => Outcome;
    Packet: |it| it.0.socket() => Result<(), Fault>;
    Failure: |it| &it.socket => Outcome;
}

impl Context for ServerSide {
    type Output = Outcome;

    fn app(&self) -> App<'_> {
        App::new(&self.node)
    }

    fn refused(fault: Fault) -> Outcome {
        Err(fault)
    }
}

impl Context for PresenceChange {
    type Output = Result<(), Fault>;

    fn app(&self) -> App<'_> {
        App::new(&self.node)
    }

    fn refused(fault: Fault) -> Self::Output {
        Err(fault)
    }
}

impl FromContext<PresenceChange> for Presence {
    fn from_context(context: &PresenceChange) -> Result<Self, Fault> {
        Ok(context.presence.clone())
    }
}

impl WithArguments for ServerSide {
    fn payload(&self) -> &Payload {
        &self.payload
    }
}

impl WithArguments for Packet {
    fn payload(&self) -> &Payload {
        self.0.payload()
    }
}

impl FromContext<Packet> for Event {
    fn from_context(context: &Packet) -> Result<Self, Fault> {
        Ok(context.0.clone())
    }
}

impl FromContext<Failure> for Event {
    fn from_context(context: &Failure) -> Result<Self, Fault> {
        context.event.clone().ok_or_else(|| context.fault.clone())
    }
}

impl FromContext<Failure> for Fault {
    fn from_context(context: &Failure) -> Result<Self, Fault> {
        Ok(context.fault.clone())
    }
}

impl FromContext<Disconnect> for DisconnectReason {
    fn from_context(context: &Disconnect) -> Result<Self, Fault> {
        Ok(context.ended.reason)
    }
}
