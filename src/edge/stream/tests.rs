use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use proptest::prelude::*;
use serde_json::json;
use socketioxide_core::Sid;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{
    super::{
        admission::Admission,
        splice::{Answer, Kind},
    },
    *,
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    wires: Wires,
    wire: Arc<Wire>,
    io: EdgeIo<DuplexStream>,
    client: DuplexStream,
}

/// A stream over a pipe that holds `buffer` bytes.
fn rig(wire: Wire, buffer: usize, ahead: &[u8], stall_timeout: Duration) -> Rig {
    let (client, server) = duplex(buffer);
    let (wires, wire) = (Wires::default(), Arc::new(wire));
    let ahead = Bytes::copy_from_slice(ahead);
    let io = EdgeIo::new(server, Arc::clone(&wire), wires.clone(), ahead, stall_timeout);
    Rig { wires, wire, io, client }
}

fn permit() -> super::super::admission::Permit {
    Admission::default().admit(PEER, Instant::now()).expect("no limits")
}

/// In the steady state from the start.
fn steady() -> Wire {
    Wire::polling(false, PEER, permit())
}

fn server(packets: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    packets.iter().for_each(|(opcode, payload)| frames::server_frame(*opcode, payload, &mut out));
    out
}

fn client(packets: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    packets.iter().for_each(|(opcode, payload)| frames::client_frame(*opcode, payload, &mut out));
    out
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Writes `bytes` in pieces of `piece` and returns what the client has read.
async fn written(rig: Rig, bytes: &[u8], piece: usize) -> Vec<u8> {
    let Rig { mut io, mut client, .. } = rig;
    let write = async {
        for piece in bytes.chunks(piece) {
            io.write_all(piece).await.expect("written");
            io.flush().await.expect("flushed");
        }
        drop(io);
    };
    let mut read = Vec::new();
    let (read_result, ()) = tokio::join!(client.read_to_end(&mut read), write);
    read_result.expect("read");
    read
}

fn a_session(sid: Sid) -> (Vec<u8>, Vec<u8>) {
    let open = format!(r#"0{{"sid":"{sid}","upgrades":[]}}"#);
    let long = vec![b'x'; 70_000];
    let written = server(&[
        (frames::TEXT, open.as_bytes()),
        (frames::TEXT, b"2"),
        (frames::BINARY, &long),
        (frames::TEXT, b"42[\"2\"]"),
        (frames::TEXT, b"2"),
    ]);
    let seen = server(&[
        (frames::TEXT, open.as_bytes()),
        (frames::BINARY, &long),
        (frames::TEXT, b"42[\"2\"]"),
        (frames::TEXT, b"2"),
    ]);
    (written, seen)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_any_pieces_the_client_sees_the_same(piece in 1..200usize, buffer in 1..5000usize) {
        let sid = Sid::new();
        let (bytes, seen) = a_session(sid);
        let rig = rig(Wire::websocket(false, PEER, permit()), buffer, b"", PATIENCE);
        prop_assert!(run(written(rig, &bytes, piece)) == seen);
    }

    #[test]
    fn in_the_steady_state_any_bytes_pass(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        piece in 1..300usize,
        buffer in 1..300usize,
    ) {
        prop_assert_eq!(run(written(rig(steady(), buffer, b"", PATIENCE), &bytes, piece)), bytes);
    }

    #[test]
    fn an_interest_that_comes_in_the_middle_of_a_frame_waits_for_the_next(
        at in 1..100usize,
        buffer in 1..50usize,
    ) {
        let error: &[u8] = br#"44{"message":"no"}"#;
        let before = server(&[(frames::BINARY, &[b'.'; 200])]);
        let bytes = [&before[..], &server(&[(frames::TEXT, error)])].concat();
        let seen = [
            &before[..],
            &server(&[(frames::TEXT, br#"44{"message":"no","data":1}"#)]),
        ].concat();
        let read = run(async {
            let Rig { wire, mut io, mut client, wires: _wires } = rig(steady(), buffer, b"", PATIENCE);
            let write = async {
                io.write_all(&bytes[..at]).await.expect("written");
                wire.expect_answer("/", Answer::Refused(json!(1)));
                io.write_all(&bytes[at..]).await.expect("written");
                io.flush().await.expect("flushed");
                assert!(!wire.has_interest() && io.slow.is_none(), "back to the steady state");
                drop(io);
            };
            let mut read = Vec::new();
            let (result, ()) = tokio::join!(client.read_to_end(&mut read), write);
            result.expect("read");
            read
        });
        prop_assert_eq!(read, seen);
    }

    #[test]
    fn an_answer_goes_between_messages_and_changes_none(
        piece in 1..60usize,
        before in 0..3usize,
        sent in 1..60usize,
    ) {
        // two messages, the second one in three fragments with a ping in between
        let mut bytes = client(&[(frames::TEXT, b"42[\"first\"]")]);
        let mut fragments = client(&[
            (frames::TEXT, b"42[\"sec"), (0, b"on"), (frames::PING, b"p"), (0, b"d\"]"),
        ]);
        fragments[0] &= 0x7f;
        let second = 6 + b"42[\"sec".len();
        fragments[second] &= 0x7f;
        bytes.extend_from_slice(&fragments);
        bytes.extend_from_slice(&client(&[(frames::TEXT, b"3")]).repeat(before));
        let sent = sent.min(bytes.len());

        let read = run(async {
            let sid = Sid::new();
            let Rig { mut io, client: mut peer, wire: _wire, wires: _wires } =
                rig(Wire::websocket(false, PEER, permit()), 10_000, b"", PATIENCE);
            peer.write_all(&bytes[..sent]).await.expect("sent");
            let mut read = Vec::new();
            let mut chunk = vec![0; piece];
            // the engine is somewhere in the client's bytes when its ping is answered
            let n = io.read(&mut chunk).await.expect("read");
            read.extend_from_slice(&chunk[..n]);
            let open = format!(r#"0{{"sid":"{sid}"}}"#);
            let ping = server(&[(frames::TEXT, open.as_bytes()), (frames::TEXT, b"2")]);
            io.write_all(&ping).await.expect("written");
            peer.write_all(&bytes[sent..]).await.expect("sent");
            peer.shutdown().await.expect("shut");
            loop {
                match io.read(&mut chunk).await.expect("read") {
                    0 => break,
                    n => read.extend_from_slice(&chunk[..n]),
                }
            }
            read
        });
        let answer = client(&[(frames::TEXT, b"3")]);
        let first = 6 + b"42[\"first\"]".len();
        let places = [0, first, first + fragments.len()];
        let possible: Vec<Vec<u8>> = places
            .iter()
            .map(|place| [&bytes[..*place], &answer, &bytes[*place..]].concat())
            .collect();
        prop_assert!(possible.contains(&read), "{:?}", read);
    }
}

#[test]
fn what_is_ahead_is_read_first() {
    run(async {
        let Rig { mut io, mut client, wires: _wires, wire: _wire } =
            rig(steady(), 100, b"ahead,", PATIENCE);
        client.write_all(b"then").await.expect("sent");
        drop(client);
        let mut read = String::new();
        io.read_to_string(&mut read).await.expect("read");
        assert_eq!(read, "ahead,then");
    });
}

#[test]
fn a_kill_wakes_the_reader() {
    run(async {
        let Rig { wires, wire, mut io, client: _client } = rig(steady(), 100, b"", PATIENCE);
        let reader = tokio::spawn(async move { io.read_u8().await });
        tokio::task::yield_now().await;
        assert!(wires.kill_wire(&wire, KillReason::Requested));
        let error = reader.await.expect("joined").expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_kill_wakes_a_writer_that_waits() {
    run(async {
        let Rig { wires, wire, mut io, client: _client } = rig(steady(), 10, b"", PATIENCE);
        let writer = tokio::spawn(async move { io.write_all(&[b'.'; 100]).await });
        tokio::task::yield_now().await;
        assert!(wires.kill_wire(&wire, KillReason::Requested));
        let error = writer.await.expect("joined").expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_after_the_limit() {
    run(async {
        let Rig { wires, wire, mut io, client: _client } = rig(steady(), 10, b"", PATIENCE);
        let start = tokio::time::Instant::now();
        let error = io.write_all(&[b'.'; 100]).await.expect_err("stalled");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= PATIENCE);
        assert!(wire.is_killed());
        assert!(wires.counts().killed.contains(&(KillReason::Stalled, 1)));
        assert!(io.read_u8().await.is_err(), "the reader hears of it, too");
    });
}

#[test]
fn a_slow_client_is_not_stalled() {
    run(async {
        let Rig { wire, mut io, mut client, wires: _wires } = rig(steady(), 10, b"", PATIENCE);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            for _ in 0..10 {
                tokio::time::sleep(PATIENCE / 2).await; // paused time: costs nothing
                read += client.read(&mut [0; 10]).await.expect("read");
            }
            read
        });
        io.write_all(&[b'.'; 100]).await.expect("written, if slowly");
        assert_eq!(reader.await.expect("joined"), 100);
        assert!(!wire.is_killed() && io.stalled.is_none());
    });
}

#[test]
fn a_stream_that_ends_leaves_the_registry() {
    run(async {
        let sid = Sid::new();
        let Rig { wires, mut io, client: _client, wire: _wire } =
            rig(Wire::websocket(false, PEER, permit()), 1000, b"", PATIENCE);
        let open = format!(r#"0{{"sid":"{sid}"}}"#);
        io.write_all(&server(&[(frames::TEXT, open.as_bytes())])).await.expect("written");
        assert_eq!(wires.all(), [sid]);
        assert_eq!(wires.peer_addr(sid), Some(PEER));
        drop(io);
        assert!(wires.is_empty());
        assert!(!wires.kill(sid, KillReason::Requested));
    });
}

#[test]
fn a_refusal_made_before_the_session_is_known_waits_for_it() {
    run(async {
        let sid = Sid::new();
        let Rig { wires, mut io, client: _client, wire } =
            rig(Wire::websocket(true, PEER, permit()), 1000, b"", PATIENCE);
        wires.refuse_with(sid, "/", json!(1));
        assert_eq!(wire.take_answer(Kind::ConnectError, "/"), None);
        let open = format!(r#"0{{"sid":"{sid}"}}"#);
        io.write_all(&server(&[(frames::TEXT, open.as_bytes())])).await.expect("written");
        assert_eq!(wire.take_answer(Kind::ConnectError, "/"), Some(Answer::Refused(json!(1))));
    });
}
