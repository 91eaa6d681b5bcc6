//! Against bytes that the Node.js packages wrote (`tests/vectors`).

mod frames;
mod limits;
mod properties;

use base64::{Engine, prelude::BASE64_STANDARD};
use rmpv::Value as Tree;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    cluster::{
        log::StreamNames,
        message::{Answer, Event},
    },
    telemetry::traceparent::TraceParent,
};

struct Vector {
    name: String,
    json: Json,
    frame: Bytes,
    /// Set if the frame is the data of an entry of a stream.
    entry: Option<Entry>,
}

impl Vector {
    fn text(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap_or_default()
    }

    /// What a node called `node` makes of it.
    fn read(&self, node: &str) -> Result<Option<Envelope>, DecodeError> {
        let codec = self.codec(node);
        if let Some(entry) = &self.entry {
            return codec.read_entry(entry);
        }
        let channel = self.text("channel");
        let namespace = codec.namespaces(channel).next().unwrap_or_default();
        codec.decode(namespace, channel, &self.frame, &|_| true)
    }

    fn codec(&self, node: &str) -> Codec {
        let kind = match () {
            () if self.name.starts_with("sharded") => Kind::Sharded,
            () if self.is_of_streams() => Kind::Streams,
            () => Kind::Classic,
        };
        let channel = self.text("channel");
        let prefix = channel.split('#').next().unwrap_or_default();
        let prefix = prefix.trim_end_matches("-request").trim_end_matches("-response");
        Codec::new(kind, prefix, node, !self.name.starts_with("sharded-static"))
    }
}

impl Vector {
    fn is_of_streams(&self) -> bool {
        self.name.starts_with("streams") || self.name.starts_with("csr-streams")
    }

    /// Whether the members of the message are in `data`.
    fn is_framed(&self) -> bool {
        self.is_of_streams() || self.name.starts_with("sharded")
    }

    /// The message that was added to a stream, with the frame that a published one has.
    fn in_stream(mut self) -> Self {
        if self.json["command"] != "XADD" {
            return self;
        }
        let field = |name: &str| self.json["fields"][name].as_str().unwrap().to_owned();
        self.entry = Some(Entry {
            at: Some("1-1".parse().unwrap()),
            from: Some(field("uid").into()),
            namespace: field("nsp").into(),
            kind: field("type").into(),
            data: self.frame.clone(),
        });
        let (uid, nsp) = (field("uid"), field("nsp"));
        let kind: u8 = field("type").parse().unwrap();
        let data = self.json["decoded"].take();
        self.json["decoded"] = json!({ "type": kind, "data": data, "uid": uid, "nsp": nsp });
        self
    }
}

/// Every vector that carries a message.
fn vectors() -> Vec<Vector> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let mut vectors: Vec<Vector> = std::fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let json: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let frame = BASE64_STANDARD.decode(json["payload_base64"].as_str()?).unwrap().into();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let vector = Vector { name, json, frame, entry: None };
            Some(vector.in_stream())
        })
        .collect();
    // Written by a parser of the application's own: JSON where everybody else writes MessagePack.
    vectors.retain(|vector| vector.name != "emitter-parser-option");
    // The record of a client that may come back.
    vectors.retain(|vector| vector.name != "csr-streams-session-set");
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(vectors.len(), 308, "a vector is missing, or one is new");
    vectors
}

/// The value that a vector says its payload holds, see section 11.1 of the wire specification.
fn stated(view: &Json) -> Tree {
    let bytes = |text: &Json| BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap();
    match view {
        Json::Object(members) => {
            if let Some(binary) = members.get("$bin") {
                return Tree::Binary(bytes(binary));
            }
            if let Some([kind, data]) =
                members.get("$ext").and_then(Json::as_array).map(Vec::as_slice)
            {
                return Tree::Ext(kind.as_i64().unwrap() as i8, bytes(data));
            }
            if let Some(integer) = members.get("$int").and_then(Json::as_str) {
                return match (integer.parse::<u64>(), integer.parse::<i64>()) {
                    (Ok(integer), _) => Tree::from(integer),
                    (_, Ok(integer)) => Tree::from(integer),
                    _ => Tree::F64(integer.parse().unwrap()),
                };
            }
            if let Some(float) = members.get("$f64").and_then(Json::as_str) {
                return Tree::F64(float.replace("Infinity", "inf").parse().unwrap());
            }
            if let Some(units) = members.get("$utf16").and_then(Json::as_array) {
                let units: Vec<u16> =
                    units.iter().map(|unit| unit.as_u64().unwrap() as u16).collect();
                return Tree::from(String::from_utf16_lossy(&units));
            }
            let members = members.iter().map(|(k, v)| (Tree::from(k.as_str()), stated(v)));
            Tree::Map(members.collect())
        }
        Json::Array(values) => Tree::Array(values.iter().map(stated).collect()),
        Json::String(text) => Tree::from(text.as_str()),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Tree::from(number),
            (_, Some(number)) => Tree::from(number),
            _ => Tree::F64(number.as_f64().unwrap()),
        },
        Json::Bool(value) => Tree::from(*value),
        Json::Null => Tree::Nil,
    }
}

/// The same whatever the order of members, and with NaN equal to itself.
fn normal(tree: &Tree) -> String {
    match tree {
        Tree::Map(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}:{}", normal(key), normal(value)))
                .collect();
            members.sort();
            format!("{{{}}}", members.join(","))
        }
        Tree::Array(values) => {
            format!("[{}]", values.iter().map(normal).collect::<Vec<_>>().join(","))
        }
        Tree::F64(number) if is_integral_and_small(*number) => format!("{}", *number as i64),
        other => format!("{other:?}"),
    }
}

fn is_integral_and_small(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 9e15
}

#[test]
fn every_payload_is_read_as_the_value_given() {
    for vector in vectors() {
        let (read, stated) = match &vector.entry {
            Some(entry) => (streams::read_data(&entry.data), &vector.json["decoded"]["data"]),
            None => (fields::read_either(&vector.frame), &vector.json["decoded"]),
        };
        let tree = read.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(normal(&tree), normal(&self::stated(stated)), "{}", vector.name);
    }
}

/// Vectors that are no message for a node of ours, and why.
fn is_ignored(name: &str) -> bool {
    // Version 8.2 leaves the namespace out; 8.3 ignores such messages, and so do we.
    name.starts_with("sharded82")
}

#[test]
fn every_message_is_understood() {
    for vector in vectors() {
        let read = vector.read("nobody");
        if is_ignored(&vector.name) {
            assert!(matches!(read, Ok(None)), "{}: {read:?}", vector.name);
            continue;
        }
        let Ok(Some(envelope)) = read else { panic!("{}: {read:?}", vector.name) };
        check_against(&vector, &envelope);
    }
}

fn values(event: &Event) -> Vec<Tree> {
    match event {
        Event::Values(values) => values.clone(),
        Event::Encoded(bytes) => msgpack::read(bytes).unwrap().as_array().unwrap().clone(),
    }
}

/// Compares a message with the members that the vector states, read by hand.
fn check_against(vector: &Vector, envelope: &Envelope) {
    let stated = &vector.json["decoded"];
    let name = &vector.name;
    let (packet, options, rest) = match stated {
        Json::Array(parts) => (&parts[1], &parts[2], &Json::Null),
        _ if vector.is_framed() => {
            (&stated["data"]["packet"], &stated["data"]["opts"], &stated["data"])
        }
        _ => (&stated["packet"], &stated["opts"], stated),
    };
    let from = stated.get("uid").or_else(|| stated.get(0)).and_then(Json::as_str);
    assert_eq!(envelope.from.as_deref(), from, "{name}");
    let event = |packet: &Json| match self::stated(packet) {
        Tree::Array(event) => event,
        other => panic!("{name}: {other} is no event"),
    };
    let same_event = |ours: &[Tree], theirs: &Json| {
        assert_eq!(
            normal(&Tree::Array(ours.to_vec())),
            normal(&Tree::Array(event(theirs))),
            "{name}"
        );
    };
    let rooms = |list: &Json| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .map(|room| match room {
                Json::String(room) => room.clone(),
                number => format!("\0{number}"),
            })
            .collect()
    };
    let same_selection = |to: &Selection| {
        assert_eq!(to.rooms, rooms(&options["rooms"]), "{name}");
        assert_eq!(to.except, rooms(&options["except"]), "{name}");
    };
    let same_flags = |flags: &Flags| {
        let theirs = &options["flags"];
        assert_eq!(flags.volatile, theirs["volatile"] == json!(true), "{name}");
        assert_eq!(flags.compress, theirs["compress"].as_bool(), "{name}");
        let timeout = flags.timeout.map(|timeout| timeout.as_millis() as u64);
        assert_eq!(timeout, theirs["timeout"].as_u64(), "{name}");
    };
    let asked = |request: &str| assert_eq!(json!(request), rest["requestId"], "{name}");
    match &envelope.message {
        Message::Broadcast { event, to, flags } => {
            assert!(rest.get("requestId").is_none(), "{name}");
            same_event(&values(event), &packet["data"]);
            same_selection(to);
            same_flags(flags);
        }
        Message::BroadcastWithAck { request, event, to, flags } => {
            asked(request);
            same_event(event, &packet["data"]);
            same_selection(to);
            same_flags(flags);
        }
        Message::Join { to, rooms: joined } | Message::Leave { to, rooms: joined } => {
            same_selection(to);
            assert_eq!(*joined, rooms(&rest["rooms"]), "{name}");
        }
        Message::Disconnect { to, close } => {
            same_selection(to);
            assert_eq!(json!(close), rest["close"], "{name}");
        }
        Message::FetchSockets { request, to } => {
            asked(request);
            same_selection(to);
        }
        Message::AllRooms { request } => asked(request),
        Message::SocketIds { request, rooms: asked_for } => {
            asked(request);
            assert_eq!(*asked_for, rooms(&rest["rooms"]), "{name}");
        }
        Message::JoinOne { request, socket, room }
        | Message::LeaveOne { request, socket, room } => {
            asked(request);
            assert_eq!((json!(socket), json!(room)), (rest["sid"].clone(), rest["room"].clone()));
        }
        Message::DisconnectOne { request, socket, close } => {
            asked(request);
            assert_eq!((json!(socket), json!(close)), (rest["sid"].clone(), rest["close"].clone()));
        }
        Message::ServerSideEmit { request, event } => {
            assert_eq!(request.as_deref(), rest["requestId"].as_str(), "{name}");
            let member = if vector.is_framed() { "packet" } else { "data" };
            same_event(event, &rest[member]);
        }
        Message::Answer { request, answer } => {
            asked(request);
            let value = if vector.is_framed() { "packet" } else { "data" };
            check_answer(name, rest, answer, value);
        }
    }
}

fn check_answer(name: &str, rest: &Json, answer: &Answer, of_server: &str) {
    let value = |value: &Option<Tree>, member: &str| {
        let stated = rest.get(member).map(stated);
        assert_eq!(value.as_ref().map(normal), stated.as_ref().map(normal), "{name}");
    };
    match answer {
        Answer::Sockets(sockets) => {
            let theirs = rest["sockets"].as_array().unwrap();
            assert_eq!(sockets.len(), theirs.len(), "{name}");
            for (ours, theirs) in sockets.iter().zip(theirs) {
                assert_eq!(json!(ours.id), theirs["id"], "{name}");
                assert_eq!(json!(ours.handshake), theirs["handshake"], "{name}");
                assert_eq!(ours.rooms.len(), theirs["rooms"].as_array().unwrap().len(), "{name}");
                if !theirs["data"].to_string().contains("$bin") {
                    assert_eq!(json!(ours.data), theirs["data"], "{name}");
                }
            }
        }
        Answer::SocketIds(ids) => assert_eq!(json!(ids), rest["sockets"], "{name}"),
        Answer::Rooms(rooms) => {
            assert_eq!(rooms.len(), rest["rooms"].as_array().unwrap().len(), "{name}");
        }
        Answer::Done => assert_eq!(rest.as_object().unwrap().len(), 1, "{name}"),
        Answer::ServerSide(answer) => value(answer, of_server),
        Answer::ClientCount(count) => assert_eq!(json!(count), rest["clientCount"], "{name}"),
        Answer::ClientAck(answer) => value(answer, "packet"),
    }
}

/// Vectors of which ours differ in a way that Node.js does not see, and why.
fn is_written_otherwise(name: &str) -> bool {
    // The emitter orders its options otherwise and leaves the sender out.
    name.starts_with("emitter")
        || name.starts_with("streams-emitter")
        // The dialect of notepack.io 2: another extension for dates and `undefined`.
        || name.starts_with("v7-emit")
        // A message of an option that is not offered: recovery with the classic adapter.
        || name.starts_with("classic-csr")
        // The number of an acknowledgement is the sender's own.
        || name == "csr-streams-socket-emit-ack"
        // Floats that hold a whole number beyond 53 bits; JavaScript has no such integers.
        || name.contains("numbers-beyond-safe") || name.contains("numbers-above")
        // Flags that are no business of the receiver are not kept.
        || name.contains("remote-socket-emit")
        || name == "sharded-fetch-sockets-binary.request"
        // Half a character, which no text of ours can hold.
        || name.contains("lone-surrogate")
        // The mode in which nobody's id is 20 characters long.
        || name.starts_with("sharded-dynamic-private")
        // Members in the order of an integer-like key are JavaScript's own.
        || name.contains("lossy")
}

#[test]
fn what_is_written_is_what_node_writes() {
    let mut compared = 0;
    for vector in vectors() {
        if is_ignored(&vector.name) || is_written_otherwise(&vector.name) {
            continue;
        }
        let Ok(Some(mut envelope)) = vector.read("nobody") else { panic!("{}", vector.name) };
        if let Message::Broadcast { event, .. } = &mut envelope.message {
            // what was not taken apart would be written as it was
            *event = Event::Values(values(event));
        }
        let node = envelope.from.as_deref().unwrap_or("ours");
        let codec = vector.codec(node);
        let channel = vector.text("channel");
        let namespace = codec.namespaces(channel).next().unwrap_or_default();
        let asker = channel.trim_end_matches('#').rsplit('#').next();
        if let Some(entry) = &vector.entry {
            compare_entry(&vector, entry, &codec, &envelope.message);
            compared += 1;
            continue;
        }
        let (ours, frame) = codec.encode(namespace, &envelope.message, asker).unwrap();
        let is_answer = matches!(envelope.message, Message::Answer { .. });
        // Where an answer goes is up to who answers.
        if !is_answer || vector.is_framed() {
            assert_eq!(&*ours, channel, "{}", vector.name);
        }
        let theirs = fields::read_either(&vector.frame).unwrap();
        let written = fields::read_either(&frame).unwrap();
        if is_answer && !vector.is_framed() || envelope.from.is_none() {
            // Ours name the sender.
            assert_eq!(normal(&without_sender(written)), normal(&theirs), "{}", vector.name);
        } else if vector.frame.first() == Some(&b'{') {
            // Whatever has a serde_json map in it has its members sorted.
            let (ours, theirs) =
                (String::from_utf8_lossy(&frame), String::from_utf8_lossy(&vector.frame));
            if envelope.from.is_some() && !vector.name.contains("fetch-sockets") {
                assert_eq!(ours, theirs, "{}", vector.name);
            }
            assert_eq!(normal(&written), normal(&fields::read_either(&vector.frame).unwrap()));
        } else if !vector.name.contains("fetch-sockets") {
            assert_eq!(frame, vector.frame, "{}", vector.name);
        }
        compared += 1;
    }
    assert_eq!(compared, 227, "a vector is missing, or one is new");
}

/// Broadcasts have two ways: from values, and from a packet in its form for clients.
fn compare_entry(vector: &Vector, entry: &Entry, codec: &Codec, message: &Message) {
    let namespace = &entry.namespace;
    let mut written = vec![codec.entry(namespace, message).unwrap().unwrap()];
    if let Message::Broadcast { event, to, flags } = message {
        let packet = event_to_packet(event).unwrap();
        // A date is text for clients, and no binary.
        if !vector.name.contains("and-date") {
            let entry = codec.broadcast_entry(namespace, &packet, to, *flags);
            written.push(entry.unwrap().unwrap());
        }
    }
    let stream = vector.text("channel");
    let names = match stream.starts_with("socket.io-") {
        true => StreamNames::new("socket.io", 4),
        false => StreamNames::new(stream, 1),
    };
    // Nobody reads where Node.js writes for negative hashes.
    if !names.astray().iter().any(|name| **name == *stream) {
        assert_eq!(&*names.shared()[names.of(namespace)], stream, "{}", vector.name);
    }
    for ours in written {
        let kind = ours.kind.to_string();
        assert_eq!((&*ours.namespace, &*kind), (&**namespace, &*entry.kind), "{}", vector.name);
        assert_eq!(Some(&*ours.from), entry.from.as_deref(), "{}", vector.name);
        let ours = String::from_utf8(ours.data).unwrap();
        assert_eq!(ours, String::from_utf8_lossy(&entry.data), "{}", vector.name);
    }
}

fn without_sender(tree: Tree) -> Tree {
    let Tree::Map(mut members) = tree else { return tree };
    members.retain(|(key, _)| key.as_str() != Some("uid"));
    Tree::Map(members)
}

#[test]
fn clients_get_the_frames_that_node_gives_them() {
    let mut compared = 0;
    for vector in vectors() {
        let Some(frames) = vector.json["client_frames"].as_array() else { continue };
        let Some(text) = frames.first().and_then(Json::as_str) else { continue };
        let Ok(Some(envelope)) = vector.read("nobody") else { panic!("{}", vector.name) };
        let Message::Broadcast { event, .. } = envelope.message else { continue };
        let Value::Str(ours, attachments) = event_to_packet(&event).unwrap() else { panic!() };
        // `42[…]`, or `45<count>-[…]`.
        let theirs = &text[text.find('[').unwrap()..];
        // What JavaScript writes as half a character is the replacement character here.
        if ["sharded", "streams"]
            .map(|format| format!("{format}-emit-lone-surrogate"))
            .contains(&vector.name)
        {
            assert_eq!(ours.as_str(), "[\"u\",\"\u{fffd}x\"]");
        } else {
            assert_eq!(ours.as_str(), theirs, "{}", vector.name);
        }
        let attachments: Vec<Json> = attachments
            .iter()
            .flatten()
            .map(|bytes| json!({ "$bin": BASE64_STANDARD.encode(bytes) }))
            .collect();
        assert_eq!(attachments, frames[1..], "{}", vector.name);
        compared += 1;
    }
    assert_eq!(compared, 73, "a vector with frames is missing, or one is new");
}
