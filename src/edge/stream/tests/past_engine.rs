//! Events that go past the engine, and their order with what goes through it.

use std::sync::{OnceLock, Weak};

use parking_lot::Mutex;
use socketioxide_core::Value;

use super::{
    super::super::{inbound::Format, intake::Intake, load::Load},
    *,
};

/// A socket that writes down what it takes.
#[derive(Default)]
struct Socket {
    taken: Mutex<Vec<(String, Option<i64>)>>,
    /// Holds this many bytes from its first event on, so that the client is not read from.
    waits: OnceLock<(Arc<Load>, usize)>,
}

impl Intake for Socket {
    fn is_open(&self) -> bool {
        true
    }

    fn take(self: Arc<Self>, event: Value, ack_id: Option<i64>) {
        let Value::Str(text, None) = event else { panic!("not as the engine reads it") };
        self.taken.lock().push((text.to_string(), ack_id));
        if let Some((load, bytes)) = self.waits.get() {
            load.queued(*bytes);
        }
    }
}

impl Socket {
    fn events(&self) -> Vec<String> {
        self.taken.lock().iter().map(|(event, _)| event.clone()).collect()
    }
}

/// A client in `/` and `/chat`, whose events `/` takes.
fn in_main() -> (Rig, Arc<Socket>) {
    joined(steady())
}

fn joined(transport: Transport) -> (Rig, Arc<Socket>) {
    let mut rig = rig(transport, 100_000, b"", PATIENCE);
    rig.io.reader.expect(Format::Text);
    let socket = Arc::new(Socket::default());
    let intake: Weak<Socket> = Arc::downgrade(&socket);
    rig.transport.intakes.open("/", intake);
    (rig, socket)
}

fn texts(packets: &[&str]) -> Vec<u8> {
    let packets: Vec<_> = packets.iter().map(|packet| (frames::TEXT, packet.as_bytes())).collect();
    client(&packets)
}

#[test]
fn events_go_to_their_socket_and_all_else_to_the_engine() {
    run(async {
        let (Rig { mut io, client, transport: _transport, transports: _transports }, socket) =
            in_main();
        let mut client = client;
        let rounds: [(&[&str], &[&str]); 7] = [
            (&[r#"42["a"]"#, r#"4217["b",{"c":[1]}]"#, "3"], &["3"]),
            (&["431[1]"], &["431[1]"]),
            (&["40/chat,", r#"42/chat,["elsewhere"]"#], &["40/chat,", r#"42/chat,["elsewhere"]"#]),
            (
                &[r#"451-["d",{"_placeholder":true,"num":0}]"#],
                &[r#"451-["d",{"_placeholder":true,"num":0}]"#],
            ),
            (&[r#"420000000000000000001["long"]"#], &[r#"420000000000000000001["long"]"#]),
            (&[r"42[1]"], &["42[\"\u{e000}\",[1]]"]),
            (&[r#"42["e"]"#, "41", r#"42["behind"]"#], &["41", r#"42["behind"]"#]),
        ];
        for (said, read) in rounds {
            client.write_all(&texts(said)).await.expect("sent");
            let read = texts(read);
            let mut seen = vec![0; read.len()];
            let reading = io.read_exact(&mut seen);
            tokio::time::timeout(PATIENCE, reading).await.expect("in time").expect("read");
            assert_eq!(seen, read, "{said:?}");
            if said[0].starts_with("451-") {
                let attachment = self::client(&[(frames::BINARY, b"x")]);
                client.write_all(&attachment).await.expect("sent");
                let mut seen = vec![0; attachment.len()];
                io.read_exact(&mut seen).await.expect("read");
                assert_eq!(seen, attachment);
            }
        }
        let event = |text: &str, id| (text.to_owned(), id);
        assert_eq!(
            *socket.taken.lock(),
            [
                event(r#"["a"]"#, None),
                event(r#"["b",{"c":[1]}]"#, Some(17)),
                event(r#"["e"]"#, None)
            ]
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the pieces in which it comes: what the engine has not read yet is overtaken by nothing.
    #[test]
    fn nothing_overtakes(packets in prop::collection::vec(any::<bool>(), 1..30), piece in 1..80usize) {
        let packets: Vec<String> = packets
            .iter()
            .enumerate()
            .map(|(n, is_event)| if *is_event { format!("42[\"{n}\"]") } else { format!("43{n}[]") })
            .collect();
        let all = texts(&packets.iter().map(String::as_str).collect::<Vec<_>>());
        let heard = run(async {
            let (Rig { mut io, mut client, transport: _transport, transports: _transports }, socket) =
                in_main();
            let (mut heard, mut engine) = (Vec::new(), Vec::new());
            let mut chunk = [0; 64];
            for piece in all.chunks(piece) {
                client.write_all(piece).await.expect("sent");
                while let Ok(n) = tokio::time::timeout(Duration::from_millis(1), io.read(&mut chunk)).await {
                    // what a call hands on past the engine comes before what it gives the engine
                    heard.append(&mut socket.taken.lock().drain(..).map(|(event, _)| event).collect());
                    engine.extend_from_slice(&chunk[..n.expect("read")]);
                    heard.append(&mut whole_packets(&mut engine));
                }
                heard.append(&mut socket.taken.lock().drain(..).map(|(event, _)| event).collect());
            }
            heard
        });
        let sent: Vec<String> = packets
            .iter()
            .map(|packet| packet.strip_prefix("42").unwrap_or(packet).to_owned())
            .collect();
        prop_assert_eq!(heard, sent);
    }
}

/// Takes the whole frames from the front of what the engine has read. Events are as a socket takes them.
fn whole_packets(bytes: &mut Vec<u8>) -> Vec<String> {
    let mut packets = Vec::new();
    while let Some(header) = frames::Header::parse(bytes) {
        let end = header.len + usize::try_from(header.payload).expect("short");
        if bytes.len() < end {
            break;
        }
        let mut frame: Vec<u8> = bytes.drain(..end).collect();
        let payload = &mut frame[header.len..];
        frames::mask(payload, header.mask.expect("a client's frame"));
        let packet = String::from_utf8(payload.to_vec()).expect("text");
        packets.push(packet.strip_prefix("42").map(str::to_owned).unwrap_or(packet));
    }
    packets
}

#[test]
fn a_client_whose_events_wait_is_not_read_from_in_the_middle_of_a_piece() {
    run(async {
        let (Rig { mut io, mut client, transport, transports: _transports }, socket) = in_main();
        let bytes = 100_000_000; // more than may wait
        socket.waits.set((Arc::clone(&transport.load), bytes)).expect("set once");
        client
            .write_all(&texts(&[r#"42["1"]"#, r#"42["2"]"#, "43[]", r#"42["3"]"#]))
            .await
            .expect("sent");
        let nothing = tokio::time::timeout(Duration::from_millis(1), io.read_u8()).await;
        assert!(nothing.is_err(), "the engine has nothing to read");
        assert_eq!(socket.events(), [r#"["1"]"#]);

        transport.load.begun(bytes);
        let nothing = tokio::time::timeout(Duration::from_millis(1), io.read_u8()).await;
        assert!(nothing.is_err(), "the next event pauses it again");
        assert_eq!(socket.events(), [r#"["1"]"#, r#"["2"]"#]);

        transport.load.begun(bytes);
        let nothing = tokio::time::timeout(Duration::from_millis(1), io.read_u8()).await;
        assert!(nothing.is_err(), "an answer to nothing is for nobody");
        assert_eq!(socket.events(), [r#"["1"]"#, r#"["2"]"#, r#"["3"]"#]);
    });
}

#[test]
fn a_handler_that_ends_the_connection_is_the_last_one() {
    struct Cutting(Arc<Transport>, Transports, Mutex<u32>);

    impl Intake for Cutting {
        fn is_open(&self) -> bool {
            true
        }

        fn take(self: Arc<Self>, _: Value, _: Option<i64>) {
            *self.2.lock() += 1;
            self.1.kill_transport(&self.0, KillReason::Requested);
        }
    }

    run(async {
        let (Rig { mut io, mut client, transport, transports }, _socket) = in_main();
        let cutting =
            Arc::new(Cutting(Arc::clone(&transport), transports.clone(), Mutex::default()));
        let intake: Weak<Cutting> = Arc::downgrade(&cutting);
        transport.intakes.open("/", intake);
        client.write_all(&texts(&[r#"42["1"]"#, r#"42["2"]"#, "3"])).await.expect("sent");
        let error = io.read_u8().await.expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(*cutting.2.lock(), 1);
    });
}

/// An answer leaves with the next turn of the task that reads, without another waking.
#[test]
fn what_a_handler_sends_is_written() {
    struct Answering(Arc<Load>);

    impl Intake for Answering {
        fn is_open(&self) -> bool {
            true
        }

        fn take(self: Arc<Self>, _: Value, _: Option<i64>) {
            let frame = crate::edge::outgoing::Frame::text("30[]", &[]);
            self.0.send(&frame, 1, false, |_| true);
        }
    }

    run(async {
        let (Rig { mut io, mut client, transport, transports: _transports }, _socket) =
            joined(Transport::websocket(false, PEER, permit()));
        let answering = Arc::new(Answering(Arc::clone(&transport.load)));
        let intake: Weak<Answering> = Arc::downgrade(&answering);
        transport.intakes.open("/", intake);
        let engine = tokio::spawn(async move { io.read_u8().await });
        for _ in 0..3 {
            client.write_all(&texts(&[r#"420["q"]"#])).await.expect("sent");
            let answer = server(&[(frames::TEXT, b"430[]")]);
            let mut seen = vec![0; answer.len()];
            let read = client.read_exact(&mut seen);
            tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("answered");
            assert_eq!(seen, answer);
        }
        engine.abort();
    });
}
