//! Packets of Socket.IO as a client writes and reads them, in the text format.

use std::collections::VecDeque;

use bytes::Bytes;
use socketioxide_core::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::payload::Payload;

/// What a server says to a client.
#[derive(Debug)]
pub(super) enum Packet {
    Connect(String),
    Disconnect,
    Event { payload: Payload, ack: Option<u64> },
    Ack { id: u64, payload: Payload },
    Refused(String),
}

/// The packets of one namespace. Those of others are not for this client.
pub(super) struct Reader {
    namespace: String,
    /// A packet whose attachments have not come yet, and how many are missing.
    begun: Option<(String, VecDeque<Bytes>, usize)>,
}

impl Reader {
    pub(super) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), begun: None }
    }

    /// The packet of a text frame, behind the `4` of Engine.IO, if it is whole.
    pub(super) fn text(&mut self, packet: &str) -> Option<Packet> {
        let kind = packet.get(..1)?;
        if !matches!(kind, "5" | "6") {
            return self.whole(packet, &VecDeque::new());
        }
        let (attachments, rest) = packet[1..].split_once('-')?;
        let attachments = attachments.parse().ok()?;
        let plain = if kind == "5" { "2" } else { "3" };
        self.begun = Some((format!("{plain}{rest}"), VecDeque::new(), attachments));
        self.finished()
    }

    /// An attachment, and the packet if it was the last one.
    pub(super) fn binary(&mut self, attachment: Bytes) -> Option<Packet> {
        self.begun.as_mut()?.1.push_back(attachment);
        self.finished()
    }

    fn finished(&mut self) -> Option<Packet> {
        let (packet, attachments, _) =
            self.begun.take_if(|(_, attachments, all)| attachments.len() == *all)?;
        self.whole(&packet, &attachments)
    }

    fn whole(&self, packet: &str, attachments: &VecDeque<Bytes>) -> Option<Packet> {
        let (kind, rest) = packet.split_at_checked(1)?;
        let (namespace, rest) = match rest.starts_with('/') {
            true => rest.split_once(',').unwrap_or((rest, "")),
            false => ("/", rest),
        };
        // A client may name its namespace with a query.
        if namespace != self.namespace.split('?').next()? {
            return None;
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (id, rest) = rest.split_at(digits);
        let (id, arguments) = (id.parse().ok(), rest.to_owned());
        let value = || Value::Str(arguments.clone().into(), Some(attachments.clone()));
        match kind {
            "0" => Some(Packet::Connect(arguments)),
            "1" => Some(Packet::Disconnect),
            "2" => Some(Packet::Event { payload: Payload::received(value()), ack: id }),
            "3" => Some(Packet::Ack { id: id?, payload: Payload::acknowledged(value()).ok()? }),
            "4" => Some(Packet::Refused(arguments)),
            _ => None,
        }
    }
}

/// The frames of a packet without attachments.
pub(super) fn bare(kind: char, namespace: &str, body: &str) -> Vec<Message> {
    vec![Message::text(format!("4{kind}{}{body}", prefix(namespace)))]
}

/// The frames of an event or an acknowledgement.
pub(super) fn frames(namespace: &str, payload: &Payload, kind: Kind) -> Vec<Message> {
    let (text, attachments) = match payload.value() {
        Value::Str(text, attachments) => (text.as_str(), attachments.clone().unwrap_or_default()),
        // The payload is one that this module has had encoded, as text.
        Value::Bytes(_) => ("[]", VecDeque::new()),
    };
    let (plain, binary, id) = match kind {
        Kind::Event(id) => (2, 5, id),
        Kind::Ack(id) => (3, 6, Some(id)),
    };
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    let prefix = prefix(namespace);
    let head = match attachments.len() {
        0 => format!("4{plain}{prefix}{id}{text}"),
        count => format!("4{binary}{count}-{prefix}{id}{text}"),
    };
    let attachments = attachments.into_iter().map(Message::Binary);
    std::iter::once(Message::text(head)).chain(attachments).collect()
}

/// What a client says with a payload.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// An event, and the id of the acknowledgement that it asks for.
    Event(Option<u64>),
    Ack(u64),
}

fn prefix(namespace: &str) -> String {
    if namespace == "/" { String::new() } else { format!("{namespace},") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(reader: &mut Reader, packet: &str) -> Option<(String, Option<u64>)> {
        match reader.text(packet)? {
            Packet::Event { payload, ack } => Some((payload.event_name()?.into_owned(), ack)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_is_read_with_its_namespace_and_its_id() {
        let mut reader = Reader::new("/chat");
        assert_eq!(event(&mut reader, r#"2/chat,["a",1]"#), Some(("a".into(), None)));
        assert_eq!(event(&mut reader, r#"2/chat,17["b"]"#), Some(("b".into(), Some(17))));
        assert_eq!(event(&mut reader, r#"2["of another namespace"]"#), None);
        assert!(matches!(reader.text("1/chat,"), Some(Packet::Disconnect)));
        assert!(matches!(reader.text("1/chat"), Some(Packet::Disconnect)));
    }

    #[test]
    fn what_is_written_is_read_with_its_attachments() {
        let bytes = serde_bytes::ByteBuf::from([1, 2, 3]);
        let payload =
            Payload::event("picture", &("cat", bytes.clone())).expect("it can be encoded");
        let mut reader = Reader::new("/");
        let mut read = None;
        for frame in frames("/", &payload, Kind::Event(Some(3))) {
            assert!(read.is_none(), "not before the last one");
            read = match frame {
                Message::Text(text) => reader.text(&text[1..]),
                Message::Binary(bytes) => reader.binary(bytes),
                other => panic!("{other:?}"),
            };
        }
        let Some(Packet::Event { payload, ack: Some(3) }) = read else { panic!("{read:?}") };
        let (name, picture): (String, serde_bytes::ByteBuf) = payload.decode().expect("as it was");
        assert_eq!((&*name, picture), ("cat", bytes));
    }
}
