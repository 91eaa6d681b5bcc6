//! The end of sessions that joined no namespace.
//!
//! The engine keeps each session, its request included, until its timer for the first CONNECT runs
//! out, even if the connection has long been closed. A client that opens and closes connections in
//! a row would fill the memory. Only a successful CONNECT ends the timer. So before such a session
//! ends, the edge sends one in the client's name, to a namespace whose name no client knows.

use std::{pin::Pin, sync::Arc};

use socketioxide::{SocketIo, handler::ConnectHandler, socket::Socket as RawSocket};
use socketioxide_core::{Value, packet::Packet, parser::Parse};
use socketioxide_parser_common::CommonParser;
use socketioxide_parser_msgpack::MsgPackParser;

use crate::{
    id::random_text,
    payload::Parser,
    sockets::{adapter::Adapter, node::Node},
};

/// A name for the namespace.
pub(crate) fn namespace() -> Box<str> {
    format!("/farewell-{}", random_text(32)).into()
}

/// Opens the namespace, and gives the edge the packet to send.
pub(crate) fn open(io: &SocketIo<Adapter>, namespace: &str, node: &Arc<Node>) {
    let packet = Packet::connect(namespace.to_owned(), None);
    let packet = match node.parser() {
        Parser::Json => CommonParser.encode(packet),
        Parser::MsgPack => MsgPackParser.encode(packet),
    };
    match packet {
        Value::Str(text, _) => node.transports().set_farewell(namespace, text.as_bytes(), true),
        Value::Bytes(bytes) => node.transports().set_farewell(namespace, &bytes, false),
    }
    io.ns(namespace.to_owned(), Farewell(node.clone()));
}

#[derive(Clone)]
struct Farewell(Arc<Node>);

impl ConnectHandler<Adapter, ()> for Farewell {
    fn call(&self, socket: Arc<RawSocket<Adapter>>, _: Option<Value>) {
        self.0.transports().farewell_heard(socket.id);
    }

    fn call_middleware<'a>(
        &'a self,
        _: Arc<RawSocket<Adapter>>,
        _: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn std::fmt::Display + Send>>> + Send + 'a>>
    {
        Box::pin(std::future::ready(Ok(())))
    }
}
