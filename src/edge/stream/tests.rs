use std::{
    future::Future,
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
        reasons::KillReason,
        rewrite::{Answer, Kind},
        size::Size,
    },
    *,
};

#[path = "tests/past_engine.rs"]
mod past_engine;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    transports: Transports,
    transport: Arc<Transport>,
    io: EdgeIo<DuplexStream>,
    client: DuplexStream,
}

/// A stream over a pipe that holds `buffer` bytes.
fn rig(transport: Transport, buffer: usize, ahead: &[u8], stall_timeout: Duration) -> Rig {
    let (client, server) = duplex(buffer);
    let (transports, transport) = (Transports::default(), Arc::new(transport));
    let before = Before { to_engine: ahead.to_vec(), ..Before::default() };
    let io = EdgeIo::new(
        server,
        Arc::clone(&transport),
        transports.clone(),
        pace(stall_timeout).into(),
        before,
    );
    Rig { transports, transport, io, client }
}

/// Any byte will do.
fn pace(stall_timeout: Duration) -> Pace {
    let ping_timeout = Duration::from_secs(20);
    let connect_timeout = Duration::from_secs(45);
    let patience = Patience { timeout: stall_timeout, min_rate: 0 };
    Pace { max_message: 100_000, patience, connect_timeout, ping_timeout }
}

fn permit() -> super::super::admission::Permit {
    Admission::default().admit(PEER, Instant::now()).expect("no limits")
}

/// In the steady state from the start.
fn steady() -> Transport {
    Transport::polling(false, PEER, permit())
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
        let rig = rig(Transport::websocket(false, PEER, permit()), buffer, b"", PATIENCE);
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
            let Rig { transport, mut io, mut client, transports: _transports } = rig(steady(), buffer, b"", PATIENCE);
            let write = async {
                io.write_all(&bytes[..at]).await.expect("written");
                transport.expect_answer("/", Answer::Refused(json!(1)));
                io.write_all(&bytes[at..]).await.expect("written");
                io.flush().await.expect("flushed");
                assert!(!transport.expects_anything() && io.slow.is_none(), "back to the steady state");
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
            let Rig { mut io, client: mut peer, transport: _transport, transports: _transports } =
                rig(Transport::websocket(false, PEER, permit()), 10_000, b"", PATIENCE);
            let mut read = Vec::new();
            let mut chunk = vec![0; piece];
            peer.write_all(&bytes[..sent]).await.expect("sent");
            // the engine is somewhere in the client's bytes when its ping is answered
            if let Ok(n) = tokio::time::timeout(PATIENCE, io.read(&mut chunk)).await {
                read.extend_from_slice(&chunk[..n.expect("read")]);
            }
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
        let mut packets = vec![b"42[\"first\"]".to_vec(), b"42[\"second\"]".to_vec()];
        packets.extend(std::iter::repeat_n(b"3".to_vec(), before));
        let possible: Vec<Vec<u8>> = (0..=packets.len())
            .map(|place| {
                let mut packets = packets.clone();
                packets.insert(place, b"3".to_vec());
                packets.iter().flat_map(|packet| client(&[(frames::TEXT, packet)])).collect()
            })
            .collect();
        prop_assert!(possible.contains(&read), "{:?}", String::from_utf8_lossy(&read));
    }
}

#[test]
fn what_is_ahead_is_read_first() {
    run(async {
        let Rig { mut io, mut client, transports: _transports, transport: _transport } =
            rig(steady(), 100, &self::client(&[(frames::TEXT, b"5")]), PATIENCE);
        client.write_all(&self::client(&[(frames::TEXT, b"3")])).await.expect("sent");
        drop(client);
        let mut read = Vec::new();
        io.read_to_end(&mut read).await.expect("read");
        assert_eq!(read, self::client(&[(frames::TEXT, b"5"), (frames::TEXT, b"3")]));
    });
}

#[test]
fn a_kill_wakes_the_reader() {
    run(async {
        let Rig { transports, transport, mut io, client: _client } =
            rig(steady(), 100, b"", PATIENCE);
        let reader = tokio::spawn(async move { io.read_u8().await });
        tokio::task::yield_now().await;
        assert!(transports.kill_transport(&transport, KillReason::Requested));
        let error = reader.await.expect("joined").expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_kill_wakes_a_writer_that_waits() {
    run(async {
        let Rig { transports, transport, mut io, client: _client } =
            rig(steady(), 10, b"", PATIENCE);
        let writer = tokio::spawn(async move { io.write_all(&[b'.'; 100]).await });
        tokio::task::yield_now().await;
        assert!(transports.kill_transport(&transport, KillReason::Requested));
        let error = writer.await.expect("joined").expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_after_the_limit() {
    run(async {
        let Rig { transports, transport, mut io, client: _client } =
            rig(steady(), 10, b"", PATIENCE);
        let start = tokio::time::Instant::now();
        let error = io.write_all(&[b'.'; 100]).await.expect_err("stalled");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= PATIENCE);
        assert!(transport.is_killed());
        assert!(transports.counts().killed.contains(&(KillReason::Stalled, 1)));
        assert!(io.read_u8().await.is_err(), "the reader hears of it, too");
    });
}

#[test]
fn a_slow_client_is_not_stalled() {
    run(async {
        let Rig { transport, mut io, mut client, transports: _transports } =
            rig(steady(), 10, b"", PATIENCE);
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
        assert!(!transport.is_killed());
    });
}

#[test]
fn a_stream_that_ends_leaves_the_registry() {
    run(async {
        let sid = Sid::new();
        let Rig { transports, mut io, client: _client, transport: _transport } =
            rig(Transport::websocket(false, PEER, permit()), 1000, b"", PATIENCE);
        let open = format!(r#"0{{"sid":"{sid}"}}"#);
        io.write_all(&server(&[(frames::TEXT, open.as_bytes())])).await.expect("written");
        assert_eq!(transports.all(), [sid]);
        assert_eq!(transports.peer_addr(sid), Some(PEER));
        drop(io);
        assert!(transports.is_empty());
        assert!(!transports.kill(sid, KillReason::Requested));
    });
}

#[test]
fn a_refusal_made_before_the_session_is_known_waits_for_it() {
    run(async {
        let sid = Sid::new();
        let Rig { transports, mut io, client: _client, transport } =
            rig(Transport::websocket(true, PEER, permit()), 1000, b"", PATIENCE);
        transports.refuse_with(sid, "/", json!(1));
        assert_eq!(transport.take_answer(Kind::ConnectError, "/"), None);
        let open = format!(r#"0{{"sid":"{sid}"}}"#);
        io.write_all(&server(&[(frames::TEXT, open.as_bytes())])).await.expect("written");
        assert_eq!(transport.take_answer(Kind::ConnectError, "/"), Some(Answer::Refused(json!(1))));
    });
}

/// What the engine reads until the end, and how that came.
async fn read_to_end(io: &mut EdgeIo<DuplexStream>) -> (Vec<u8>, io::Result<usize>) {
    let mut read = Vec::new();
    let end = io.read_to_end(&mut read).await;
    (read, end)
}

#[test]
fn what_no_client_may_send_is_answered_with_a_close_frame_and_the_end() {
    let mut unmasked = server(&[(frames::TEXT, b"4x")]);
    unmasked.extend_from_slice(&client(&[(frames::TEXT, b"3")]));
    let cases = [
        (client(&[(frames::BINARY, &[0; 100_001])]), 1009_u16),
        (client(&[(frames::TEXT, b"4\xff")]), 1007),
        (unmasked, 1002),
    ];
    for (bytes, status) in cases {
        run(async {
            let Rig { mut io, client: mut peer, transports: _transports, transport: _transport } =
                rig(steady(), 200_000, b"", PATIENCE);
            let first = client(&[(frames::TEXT, b"42[\"x\"]")]);
            peer.write_all(&first).await.expect("sent");
            peer.write_all(&bytes).await.expect("sent");
            let (read, end) = read_to_end(&mut io).await;
            assert_eq!(read, first, "{status}: what came before is read");
            end.expect("no error");
            let mut closed = vec![0; 4];
            peer.read_exact(&mut closed).await.expect("closed");
            assert_eq!(closed, server(&[(frames::CLOSE, &status.to_be_bytes())]));
        });
    }
}

#[test]
fn what_a_client_says_before_its_last_is_read_whatever_its_size() {
    let close = client(&[(frames::CLOSE, &1000_u16.to_be_bytes())]);
    let too_large = client(&[(frames::BINARY, &[0; 100_001])]);
    // what it says in the end, and what of that the engine reads
    let lasts = [(close.clone(), close), (Vec::new(), Vec::new()), (too_large, Vec::new())];
    for ((last, read_of_it), size) in lasts.iter().flat_map(|it| [(it, 10), (it, 600), (it, 4000)])
    {
        run(async {
            let Rig { mut io, client: mut peer, transports: _transports, transport: _transport } =
                rig(steady(), 400_000, b"", PATIENCE);
            let event = [b"42[\"", &*vec![b'x'; size], b"\"]"].concat();
            let said = client(&[(frames::TEXT, &event), (frames::BINARY, &event)]);
            peer.write_all(&[&said[..], last].concat()).await.expect("sent");
            peer.shutdown().await.expect("ended");
            let (read, end) = read_to_end(&mut io).await;
            end.expect("no error");
            assert!(read == [&said[..], read_of_it].concat(), "{size}, {} bytes", read.len());
        });
    }
}

#[test]
fn pings_of_a_client_that_does_not_read_are_not_piled_up() {
    run(async {
        let Rig { mut io, client: peer, transports: _transports, transport: _transport } =
            rig(steady(), 64, b"", PATIENCE);
        let (mut reads, mut writes) = tokio::io::split(peer);
        let ping = |n: u32| client(&[(frames::PING, &n.to_be_bytes())]);
        let pings: Vec<u8> = (0..100).flat_map(ping).collect();
        let writing = tokio::spawn(async move {
            writes.write_all(&pings).await.expect("sent");
            writes.write_all(&client(&[(frames::TEXT, b"42[\"x\"]")])).await.expect("sent");
            writes
        });
        let packet = client(&[(frames::TEXT, b"42[\"x\"]")]);
        let mut read = vec![0; packet.len()];
        tokio::select! {
            _ = io.read_exact(&mut read) => panic!("it is not read from while a pong waits"),
            () = tokio::time::sleep(PATIENCE / 2) => {}
        }
        assert!(!writing.is_finished(), "the client feels that");
        // when it reads again it goes on, and the last ping has its answer
        let listening = tokio::spawn(async move {
            let mut pongs = Vec::new();
            let last = server(&[(frames::PONG, &99_u32.to_be_bytes())]);
            while !pongs.ends_with(&last) {
                pongs.push(reads.read_u8().await.expect("a pong"));
            }
            pongs.len() / last.len()
        });
        io.read_exact(&mut read).await.expect("read");
        assert_eq!(read, packet);
        assert!(listening.await.expect("joined") <= 100);
    });
}

#[test]
fn a_client_that_reads_slower_than_it_must_is_a_slow_consumer() {
    run(async {
        let (client, server) = duplex(10);
        let (transports, transport) = (Transports::default(), Arc::new(steady()));
        let pace = Pace { patience: Patience { timeout: PATIENCE, min_rate: 1 }, ..pace(PATIENCE) };
        let mut io = EdgeIo::new(
            server,
            Arc::clone(&transport),
            transports.clone(),
            pace.into(),
            Before::default(),
        );
        let mut client = client;
        let reader = tokio::spawn(async move {
            // 20 bytes in the time in which it has to take 60
            while client.read(&mut [0; 10]).await.is_ok_and(|n| n > 0) {
                tokio::time::sleep(PATIENCE / 2).await;
            }
        });
        io.write_all(&[b'.'; 1000]).await.expect_err("too slow");
        assert!(transports.counts().killed.contains(&(KillReason::SlowConsumer, 1)));
        drop(io);
        reader.await.expect("joined");
    });
}

#[test]
fn a_client_is_not_read_from_while_too_much_waits_and_seems_alive_to_the_engine() {
    run(async {
        let Rig { mut io, client: mut peer, transports: _transports, transport } =
            rig(steady(), 1000, b"", PATIENCE);
        let packet = client(&[(frames::TEXT, b"42[\"x\"]")]);
        peer.write_all(&packet).await.expect("sent");
        (0..1000).for_each(|_| transport.load.queued(1));
        let mut read = vec![0; packet.len()];
        let pong = client(&[(frames::TEXT, b"3")]);
        io.read_exact(&mut read[..pong.len()]).await.expect("read");
        assert_eq!(read[..pong.len()], pong, "a sign of life: something came");
        tokio::select! {
            _ = io.read_u8() => panic!("no event was handled meanwhile"),
            () = tokio::time::sleep(PATIENCE) => {}
        }
        transport.load.begun(1);
        io.read_exact(&mut read[..pong.len()]).await.expect("read");
        assert_eq!(read[..pong.len()], pong, "an event was");
        (0..999).for_each(|_| transport.load.begun(1));
        io.read_exact(&mut read).await.expect("read");
        assert_eq!(read, packet);
    });
}

#[test]
fn what_is_written_is_taken_and_after_a_flush_that_did_not_wait_nothing_is_left() {
    run(async {
        let Rig { mut io, client: _peer, transports: _transports, transport } =
            rig(steady(), 1000, b"", PATIENCE);
        let size = |packets, bytes| Size { packets, bytes };
        transport.load.submit(size(3, 10), 1);
        let bytes = server(&[(frames::TEXT, b"12345"), (frames::BINARY, b"678")]);
        io.write_all(&bytes).await.expect("written");
        assert!(transport.load.is_waited_for(), "two of three");
        io.flush().await.expect("flushed");
        assert!(!transport.load.is_waited_for(), "the third one was never sent");
    });
}
