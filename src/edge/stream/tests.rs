use std::{collections::VecDeque, net::Ipv4Addr, task::Waker, time::Instant};

use proptest::prelude::*;
use serde_json::json;
use socketioxide_core::Sid;

use super::*;
use crate::edge::{admission::Admission, frames::CLOSE};

/// A client's connection: takes writes in pieces of these sizes (0: not now), and gives what the
/// client sent in pieces.
#[derive(Default)]
struct Pieces {
    accepts: VecDeque<usize>,
    /// Takes nothing, ever.
    deaf: bool,
    written: Vec<u8>,
    sent: VecDeque<Vec<u8>>,
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Pending;
        }
        let n = this.accepts.pop_front().unwrap_or(usize::MAX).min(bytes.len());
        if n == 0 && !bytes.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.written.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(piece) = this.sent.front_mut() else { return Poll::Pending };
        let n = piece.len().min(buf.remaining());
        buf.put_slice(&piece[..n]);
        piece.drain(..n);
        if piece.is_empty() {
            this.sent.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

fn edge_io(inner: Pieces) -> EdgeIo<Pieces> {
    let peer = Ipv4Addr::LOCALHOST.into();
    let permit = Admission::default().admit(peer, Instant::now()).expect("no limits");
    let wire = Arc::new(Wire::websocket(false, peer, permit));
    EdgeIo::new(inner, wire, Wires::default(), Bytes::new(), Duration::from_secs(3600))
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Writes everything, in pieces of these sizes.
fn write_all(io: &mut EdgeIo<Pieces>, bytes: &[u8], sizes: &[usize]) {
    let mut sizes = sizes.iter().copied().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece = &rest[..sizes.next().unwrap_or(usize::MAX).max(1).min(rest.len())];
        if let Poll::Ready(written) = Pin::new(&mut *io).poll_write(&mut cx(), piece) {
            rest = &rest[written.expect("written")..];
        }
    }
    while Pin::new(&mut *io).poll_flush(&mut cx()).is_pending() {}
}

/// Reads everything that is there, into buffers of these sizes.
fn read_all(io: &mut EdgeIo<Pieces>, sizes: &[usize]) -> Vec<u8> {
    let mut sizes = sizes.iter().copied().cycle();
    let mut all = Vec::new();
    loop {
        let mut memory = vec![0; sizes.next().unwrap_or(4096).max(1)];
        let mut buf = ReadBuf::new(&mut memory);
        match Pin::new(&mut *io).poll_read(&mut cx(), &mut buf) {
            Poll::Ready(read) => read.expect("read"),
            Poll::Pending => return all,
        }
        all.extend_from_slice(buf.filled());
    }
}

fn server(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::server_frame(opcode, payload, &mut frame);
    frame
}

fn client(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::client_frame(opcode, payload, &mut frame);
    if !fin {
        frame[0] &= 0x7f;
    }
    frame
}

fn open_packet() -> String {
    format!(r#"0{{"sid":"{}","upgrades":[]}}"#, Sid::new())
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (120_usize..135).prop_map(|n| vec![b'x'; n]),
        1 => (65_530_usize..65_545).prop_map(|n| vec![b'y'; n]),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![3 => 1_usize..8, 1 => 8_usize..5000], 1..12)
}

/// Messages of a client: whole, or in fragments with a control frame between them.
fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let whole = payload().prop_map(|payload| client(true, 1, &payload));
    let parts = (payload(), payload(), any::<bool>()).prop_map(|(first, last, ping)| {
        let between = if ping { client(true, 9, b"ping") } else { Vec::new() };
        [client(false, 2, &first), between, client(true, 0, &last)].concat()
    });
    prop::collection::vec(prop_oneof![whole, parts], 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the pieces in which the engine writes and the connection takes them: the client gets
    /// every frame but the first ping, a refusal with its data, and all else byte for byte.
    #[test]
    fn any_split_of_the_engines_bytes_gives_the_client_the_same(
        before in prop::collection::vec(payload(), 0..4),
        after in prop::collection::vec(payload(), 0..4),
        writes in sizes(),
        accepts in prop::collection::vec(0_usize..70, 0..200),
    ) {
        // a writer that waits has a timer
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let _entered = runtime.enter();
        let mut io = edge_io(Pieces { accepts: accepts.into(), ..Pieces::default() });
        io.wire.refuse("/chat", json!({ "code": "forbidden" }));
        let open = server(1, open_packet().as_bytes());
        let event = |payload: &Vec<u8>| server(2, payload);
        let before: Vec<u8> = before.iter().flat_map(event).collect();
        let after: Vec<u8> = after.iter().flat_map(event).collect();
        let refusal = server(1, br#"44/chat,{"message":"no"}"#);
        let bytes = [&open, &before, &server(1, b"2"), &refusal, &after, &server(1, b"2")];
        write_all(&mut io, &bytes.map(Vec::as_slice).concat(), &writes);
        let spliced = server(1, br#"44/chat,{"message":"no","data":{"code":"forbidden"}}"#);
        let expected = [&open, &before, &spliced, &after, &server(1, b"2")].map(Vec::as_slice).concat();
        prop_assert_eq!(&io.inner.written, &expected);
        prop_assert!(io.slow.as_ref().is_none_or(|slow| !slow.answers.is_empty()));
        prop_assert!(!io.wire.has_interest());
    }

    /// The answer in the client's name comes between two of its messages, never inside one, and
    /// nothing of the client's is changed, lost or moved.
    #[test]
    fn any_split_of_the_clients_bytes_gives_the_engine_the_same_and_the_answer_between(
        messages in messages(),
        read_before in 0_usize..200,
        pieces in sizes(),
        reads in sizes(),
    ) {
        let stream: Vec<u8> = messages.concat();
        let mut sent = VecDeque::new();
        let (mut rest, mut size) = (stream.as_slice(), pieces.iter().copied().cycle());
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(size.next().unwrap_or(1).min(rest.len()));
            sent.push_back(piece.to_vec());
            rest = left;
        }
        let mut io = edge_io(Pieces { sent, ..Pieces::default() });
        // read a part before the engine pings, so that the answer may fall inside of anything
        let mut memory = vec![0; read_before + 1];
        let mut buf = ReadBuf::new(&mut memory);
        let mut read = Vec::new();
        if Pin::new(&mut io).poll_read(&mut cx(), &mut buf).is_ready() {
            read.extend_from_slice(buf.filled());
        }
        write_all(&mut io, &server(1, open_packet().as_bytes()), &[usize::MAX]);
        write_all(&mut io, &server(1, b"2"), &[usize::MAX]);
        read.extend(read_all(&mut io, &reads));
        let answer = client(true, 1, b"3");
        let fits = (0..=messages.len()).any(|at| {
            read == [messages[..at].concat(), answer.clone(), messages[at..].concat()].concat()
        });
        prop_assert!(fits, "{} bytes sent, {} read", stream.len(), read.len());
    }
}

#[test]
fn in_the_steady_state_nothing_is_kept() {
    let mut io = edge_io(Pieces::default());
    write_all(&mut io, &server(1, open_packet().as_bytes()), &[3]);
    write_all(&mut io, &server(1, b"2"), &[1]);
    assert_eq!(read_all(&mut io, &[64]), client(true, 1, b"3"));
    write_all(&mut io, &server(2, &[7; 100_000]), &[1000]);
    assert!(io.slow.is_none() && io.stalled.is_none() && io.ahead.is_empty());
}

#[test]
fn a_cut_wire_is_a_reset_connection_both_ways() {
    let mut io = edge_io(Pieces::default());
    assert!(io.wires.kill_wire(&io.wire, KillReason::Requested));
    let mut memory = [0; 8];
    let read = Pin::new(&mut io).poll_read(&mut cx(), &mut ReadBuf::new(&mut memory));
    assert!(
        matches!(read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset)
    );
    let written = Pin::new(&mut io).poll_write(&mut cx(), &server(CLOSE, b""));
    assert!(
        matches!(written, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_for_too_long_is_cut() {
    let mut io = edge_io(Pieces { deaf: true, ..Pieces::default() });
    io.stall_timeout = Duration::from_secs(30);
    let started = tokio::time::Instant::now();
    let frame = server(1, b"x");
    // one frame is taken, to be judged; nothing more while it waits for the client
    let taken = std::future::poll_fn(|cx| Pin::new(&mut io).poll_write(cx, &frame)).await;
    assert_eq!(taken.expect("taken"), frame.len());
    let next = std::future::poll_fn(|cx| Pin::new(&mut io).poll_write(cx, &frame)).await;
    assert_eq!(next.expect_err("cut").kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() >= Duration::from_secs(30));
    assert!(io.wire.is_killed());
}
