//! The configuration as the engine and the edge take it.

use std::sync::Arc;

use socketioxide::{ParserConfig, SocketIo, SocketIoBuilder, TransportType};

use super::{error::BuildError, parts::Meeting};
use crate::{
    config::{self, Config, Limits, Transport},
    edge::{self, EdgeOptions, Hop, HopOptions},
    packet::MAX_ATTACHMENTS,
    payload::Parser,
    sockets::node::Node,
};

/// How many bytes tungstenite reads at once. The number is small, because each idle connection keeps
/// a buffer of this size, and not smaller, because most events come in one read.
const WS_READ_BUFFER: usize = 512;

pub(super) fn engine(config: &Config, parser: Parser) -> SocketIoBuilder {
    let engine = &config.engine;
    let has = |transport| engine.transports.contains(&transport);
    let builder = SocketIo::builder()
        .req_path(config.path.trim_end_matches('/').to_owned())
        .ping_interval(engine.ping_interval)
        .ping_timeout(engine.ping_timeout)
        .connect_timeout(engine.connect_timeout)
        .max_payload(engine.max_payload)
        .max_buffer_size(engine.max_buffered_packets)
        .ws_read_buffer_size(WS_READ_BUFFER)
        // the edge has checked the size; a rewritten message may be longer than the client's
        .ws_max_message_size(usize::MAX)
        .ws_max_frame_size(usize::MAX);
    let builder = match (has(Transport::Polling), has(Transport::Websocket)) {
        (true, true) => builder,
        (true, false) => builder.transports([TransportType::Polling]),
        (false, _) => builder.transports([TransportType::Websocket]),
    };
    let max_payload = usize::try_from(engine.max_payload).unwrap_or(usize::MAX);
    // Node.js limits the size and number of attachments, and waits for them as long as the client
    // lives. Each attachment may take as long as a client may be silent.
    let attachments = ParserConfig::common()
        .max_incoming_binaries(MAX_ATTACHMENTS)
        .max_incoming_binary_buf_size(max_payload.saturating_mul(MAX_ATTACHMENTS))
        .packet_completion_timeout(
            (engine.ping_interval + engine.ping_timeout).saturating_mul(MAX_ATTACHMENTS as u32),
        );
    match parser {
        Parser::Json => builder.with_parser(attachments),
        Parser::MsgPack => builder.with_parser(ParserConfig::msgpack()),
    }
}

pub(super) fn edge_options(
    config: &Config,
    node: &Node,
    meeting: Option<&Meeting>,
) -> Result<EdgeOptions, BuildError> {
    let engine = &config.engine;
    let mut secrets = secrets(config);
    if let Some(meeting) = meeting.filter(|_| secrets.is_empty()) {
        secrets.clone_from(&meeting.secrets);
    }
    let hop = meeting.map(|meeting| {
        let hop = Hop::new(HopOptions {
            node: node.id().to_string(),
            path: config.path.clone(),
            secrets: secrets.clone(),
            limit: engine.ping_interval + engine.ping_timeout,
            handshake_timeout: config.edge.handshake_timeout,
        });
        hop.find_by(meeting.addresses.clone());
        hop
    });
    let client = engine.client_file.as_ref().map(|path| {
        let failed = |source| BuildError::ClientFile { path: path.clone(), source };
        edge::ClientFiles::read(path).map(Arc::new).map_err(failed)
    });
    Ok(EdgeOptions {
        path: config.path.clone(),
        node_id: node.id().to_string(),
        secrets,
        hop,
        ping_interval: engine.ping_interval,
        ping_timeout: engine.ping_timeout,
        connect_timeout: engine.connect_timeout,
        upgrade_timeout: std::time::Duration::from_secs(10),
        max_payload: engine.max_payload,
        max_bodies: edge::BodyLimits {
            node: bytes(config.edge.max_bodies),
            address: bytes(config.edge.max_bodies_per_address),
        },
        polling: engine.transports.contains(&Transport::Polling),
        websocket: engine.transports.contains(&Transport::Websocket),
        legacy: legacy(engine.legacy),
        cors_origins: engine.cors_origins.clone(),
        compression: engine.http_compression,
        client: client.transpose()?,
        cookie: engine.cookie.as_ref().map(|cookie| (cookie.name.clone(), cookie.attributes())),
        limits: admission(&config.limits),
        trusted_proxies: config.edge.trusted_proxies.clone(),
        handshake_timeout: config.edge.handshake_timeout,
        stall_timeout: config.edge.stall_timeout,
        min_read_rate: config.edge.min_read_rate,
    })
}

fn legacy(legacy: config::Legacy) -> edge::Legacy {
    match legacy {
        config::Legacy::Off => edge::Legacy::Off,
        config::Legacy::Websocket => edge::Legacy::Websocket,
        config::Legacy::All => edge::Legacy::All,
    }
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

pub(super) fn secrets(config: &Config) -> Vec<Vec<u8>> {
    config.edge.secrets.iter().map(|secret| secret.expose().into()).collect()
}

pub(super) fn admission(limits: &Limits) -> edge::Limits {
    edge::Limits {
        max_connections: limits.max_connections,
        connections_per_second: limits.connections_per_second,
        connections_per_address: limits.connections_per_address,
    }
}
