//! What the edge and the adapter rely on inside engineioxide and socketioxide, one test for each
//! entry of the list in `src/edge.rs`. When the pinned versions move, this file says what moved.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde::{Serialize, Serializer};
use socketioxide::{
    ParserConfig, SendError, SocketError, SocketIo, SocketIoBuilder,
    adapter::LocalAdapter,
    extract::SocketRef,
    handler::{ConnectHandler, MessageHandler},
    service::SocketIoService,
    socket::{DisconnectReason, Socket},
};
use socketioxide_core::Value;
use test_kit::{
    waiting::{eventually, within},
    websocket::WebSocket,
};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;
use tower_service::Service as _;

type Engine = SocketIoService<engineioxide::service::NotFoundService>;

/// An engine whose `/` counts who leaves.
fn engine_of(builder: SocketIoBuilder) -> (Engine, SocketIo, Arc<AtomicUsize>) {
    let (engine, io) = builder.build_svc();
    let left = Arc::new(AtomicUsize::new(0));
    let counter = left.clone();
    io.ns("/", async move |socket: SocketRef| {
        socket.on_disconnect(async move |_: DisconnectReason| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
    });
    (engine, io, left)
}

fn engine() -> (Engine, SocketIo, Arc<AtomicUsize>) {
    engine_of(SocketIo::builder())
}

fn request(
    method: &str,
    version: u8,
    sid: Option<&str>,
    body: &'static str,
) -> Request<Full<Bytes>> {
    let sid = sid.map_or(String::new(), |sid| format!("&sid={sid}"));
    Request::builder()
        .method(method)
        .uri(format!("/socket.io/?EIO={version}&transport=polling{sid}"))
        .body(Full::from(body))
        .expect("a request")
}

async fn bytes<B>(response: Response<B>) -> Bytes
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    response.into_body().collect().await.expect("in memory").to_bytes()
}

async fn ask(engine: &Engine, request: Request<Full<Bytes>>) -> (u16, String) {
    let response = within("an answer", engine.clone().call(request)).await.expect("infallible");
    let status = response.status().as_u16();
    (status, String::from_utf8(bytes(response).await.to_vec()).expect("text"))
}

async fn poll(engine: &Engine, sid: &str) -> String {
    ask(engine, request("GET", 4, Some(sid), "")).await.1
}

async fn post(engine: &Engine, sid: &str, body: &'static str) -> u16 {
    ask(engine, request("POST", 4, Some(sid), body)).await.0
}

fn sid_of(open: &str) -> String {
    let at = open.find("0{\"sid\":\"").expect("OPEN") + 9;
    open[at..at + 16].to_owned()
}

/// A polling session that is in `/`.
async fn polling_session(engine: &Engine) -> String {
    let (status, open) = ask(engine, request("GET", 4, None, "")).await;
    assert_eq!(status, 200);
    let sid = sid_of(&open);
    assert_eq!(poll(engine, &sid).await, "2");
    assert_eq!(post(engine, &sid, "3").await, 200);
    assert_eq!(post(engine, &sid, "40").await, 200);
    assert!(poll(engine, &sid).await.starts_with("40{"));
    sid
}

fn websocket(engine: &Engine, sid: Option<&str>) -> impl Future<Output = Client> + use<> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let sid = sid.map_or(String::new(), |sid| format!("&sid={sid}"));
    let uri = format!("/socket.io/?EIO=4&transport=websocket{sid}");
    let request = Request::builder().uri(uri).body(()).expect("a request");
    let accepted = engine.clone().call((theirs, request));
    async move {
        accepted.await.expect("accepted");
        WebSocket::over(ours).await
    }
}

type Client = WebSocket<DuplexStream>;

/// The next packet in binary; none of those before it counts.
async fn binary(client: &mut Client) -> Bytes {
    loop {
        let message = client.next().await.expect("open");
        if message.is_binary() {
            return message.into_data();
        }
    }
}

#[tokio::test]
async fn entry_1_open_comes_first_and_names_the_session_first() {
    let (engine, ..) = engine();
    let open = websocket(&engine, None).await.hears().await;
    assert!(open.starts_with("0{\"sid\":\""), "{open}");
    assert_eq!(sid_of(&open).len(), 16);
    let (_, open) = ask(&engine, request("GET", 4, None, "")).await;
    assert!(open.starts_with("0{\"sid\":\"") && open.ends_with('}'), "{open}");
    let (_, open) = ask(&engine, request("GET", 3, None, "")).await;
    let (length, packet) = open.split_once(':').expect("a length");
    assert_eq!(length, packet.len().to_string());
    assert!(packet.starts_with("0{\"sid\":\""), "{open}");
}

#[tokio::test]
async fn entry_2_a_session_is_pinged_at_once() {
    let (engine, ..) = engine();
    let mut client = websocket(&engine, None).await;
    client.hears().await;
    assert_eq!(client.hears().await, "2");
    let (_, open) = ask(&engine, request("GET", 4, None, "")).await;
    assert_eq!(poll(&engine, &sid_of(&open)).await, "2", "and nothing with it");
}

#[tokio::test]
async fn entry_3_a_poll_that_is_dropped_while_it_waits_has_taken_nothing() {
    let (engine, io, _) = engine();
    let sid = polling_session(&engine).await;
    for n in 0..10 {
        let mut waiting = Box::pin(engine.clone().call(request("GET", 4, Some(&sid), "")));
        let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        io.emit("n", &n).await.expect("emitted");
        drop(waiting);
        assert_eq!(poll(&engine, &sid).await, format!("42[\"n\",{n}]"));
    }
}

#[tokio::test]
async fn entry_4_a_close_packet_ends_a_session_and_harms_no_other() {
    let (engine, _, left) = engine();
    let (first, second) = (polling_session(&engine).await, polling_session(&engine).await);
    let waiting = engine.clone().call(request("GET", 4, Some(&first), ""));
    post(&engine, &first, "1").await;
    within("the poll ends", waiting).await.expect("infallible");
    eventually("the disconnect handler has run", || left.load(Ordering::SeqCst) == 1).await;
    assert_eq!(post(&engine, &first, "1").await, 400, "a session that has ended");
    // in the middle of an upgrade
    let mut probe = websocket(&engine, Some(&second)).await;
    probe.say("2probe").await;
    assert_eq!(probe.hears().await, "3probe");
    post(&engine, &second, "1").await;
    eventually("the disconnect handler has run", || left.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn entry_5_an_upgrade_is_probed_and_then_frames_are_read() {
    let (engine, io, _) = engine();
    let sid = polling_session(&engine).await;
    let mut client = websocket(&engine, Some(&sid)).await;
    for packet in ["2probe", "5", "2", "42[\"early\"]"] {
        client.say(packet).await;
    }
    assert_eq!(client.hears().await, "3probe");
    io.emit("hello", &1).await.expect("emitted");
    assert_eq!(client.hears().await, "42[\"hello\",1]");
    assert_ne!(ask(&engine, request("GET", 4, Some(&sid), "")).await.0, 200, "polling is over");
}

#[tokio::test]
async fn entry_6_the_end_of_the_reader_ends_the_session() {
    let (engine, _, left) = engine();
    let mut client = websocket(&engine, None).await;
    client.hears().await;
    client.say("40").await;
    while !client.hears().await.starts_with("40{") {}
    drop(client);
    eventually("the disconnect handler has run", || left.load(Ordering::SeqCst) == 1).await;
}

async fn refuse(_: SocketRef) -> Result<(), std::fmt::Error> {
    Err(std::fmt::Error)
}

#[tokio::test]
async fn entry_7_a_refusal_is_a_message_and_nothing_else() {
    let (engine, io, _) = engine();
    io.ns("/no", (async || {}).with(refuse));
    let mut client = websocket(&engine, None).await;
    client.hears().await;
    client.say("40/no,").await;
    let refusal = loop {
        let packet = client.hears().await;
        if packet != "2" {
            break packet;
        }
    };
    let reason = std::fmt::Error.to_string();
    assert_eq!(refusal, format!("44/no,{{\"message\":\"{reason}\"}}"));

    let (engine, io) = SocketIo::builder().with_parser(ParserConfig::msgpack()).build_svc();
    io.ns("/no", (async || {}).with(refuse));
    let mut client = websocket(&engine, None).await;
    client.hears().await;
    let connect = b"\x82\xa4type\x00\xa3nsp\xa3/no";
    client.send(Message::binary(connect.to_vec())).await;
    let refusal = binary(&mut client).await;
    let mut expected = b"\x83\xa4type\x04\xa3nsp\xa3/no\xa4data\x81\xa7message".to_vec();
    let length = u8::try_from(reason.len()).expect("short");
    if length < 32 {
        expected.push(0xa0 | length);
    } else {
        expected.extend([0xd9, length]);
    }
    expected.extend(reason.as_bytes());
    assert_eq!(refusal, expected);
}

#[tokio::test]
async fn entry_7_a_connect_is_the_engines_id_and_nothing_else() {
    let (engine, io, _) = engine();
    io.ns("/in", async || {});
    let mut client = websocket(&engine, None).await;
    let sid = sid_of(&client.hears().await);
    client.say("40/in,").await;
    let admitted = loop {
        let packet = client.hears().await;
        if packet != "2" {
            break packet;
        }
    };
    assert_eq!(admitted, format!("40/in,{{\"sid\":\"{sid}\"}}"));

    let (engine, io) = SocketIo::builder().with_parser(ParserConfig::msgpack()).build_svc();
    io.ns("/in", async || {});
    let mut client = websocket(&engine, None).await;
    let sid = sid_of(&client.hears().await);
    let connect = b"\x82\xa4type\x00\xa3nsp\xa3/in";
    client.send(Message::binary(connect.to_vec())).await;
    let admitted = binary(&mut client).await;
    let mut expected = b"\x83\xa4type\x00\xa3nsp\xa3/in\xa4data\x81\xa3sid\xb0".to_vec();
    expected.extend(sid.as_bytes());
    assert_eq!(admitted, expected);
}

#[tokio::test]
async fn entry_8_attachments_of_old_polling_clients_are_written_as_those_of_new_ones() {
    let (engine, io, _) = engine();
    let (_, open) = ask(&engine, request("GET", 3, None, "")).await;
    let sid = sid_of(&open);
    let old = |method, body| request(method, 3, Some(&sid), body);
    let (_, connected) = ask(&engine, old("GET", "")).await;
    assert!(connected.contains(":40"), "{connected}");
    io.emit("b", &serde_bytes::Bytes::new(&[1, 2, 3])).await.expect("emitted");
    let response = within("a poll", engine.clone().call(old("GET", ""))).await.expect("infallible");
    let packets = bytes(response).await;
    // a string of five characters, in the framing of old clients that take binary
    assert!(packets.ends_with(b"\x00\x05\xffbAQID"), "{packets:?}");
}

#[tokio::test]
async fn entry_9_an_unknown_session_is_an_error_with_code_1() {
    let (engine, ..) = engine();
    for method in ["GET", "POST"] {
        let unknown = request(method, 4, Some("AAAAAAAAAAAAAAAA"), "");
        let (status, body) = ask(&engine, unknown).await;
        assert_ne!(status, 200);
        assert!(body.starts_with("{\"code\":\"1\""), "{body}");
    }
}

/// What [`entry_10_a_full_queue_shows_before_anything_is_serialized`] tries to send.
struct Unserializable;

impl Serialize for Unserializable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a probe, never sent"))
    }
}

#[tokio::test]
async fn entry_10_a_full_queue_shows_before_anything_is_serialized() {
    let (engine, io, _) = engine_of(SocketIo::builder().max_buffer_size(8));
    polling_session(&engine).await;
    let socket = io.sockets().pop().expect("one socket");
    let probe = || socket.emit("", &Unserializable);
    let mut sent = 0;
    while socket.emit("x", &sent).is_ok() {
        sent += 1;
        assert!(sent <= 8, "the queue has its size");
        if sent < 8 {
            assert!(matches!(probe(), Err(SendError::Serialize(_))), "room for more");
        }
    }
    assert!(matches!(probe(), Err(SendError::Socket(SocketError::InternalChannelFull))));
}

#[tokio::test]
async fn entry_11_a_packet_put_aside_comes_with_the_next_poll_at_once_and_with_no_websocket() {
    let (engine, io, _) = engine_of(SocketIo::builder().max_payload(40));
    let sids = [polling_session(&engine).await, polling_session(&engine).await];
    for n in [1, 2] {
        io.emit("n", &(n, "x".repeat(10))).await.expect("emitted");
    }
    for sid in &sids {
        assert!(poll(&engine, sid).await.starts_with("42[\"n\",1"), "one does not fit any more");
    }
    let mut second = Box::pin(engine.clone().call(request("GET", 4, Some(&sids[0]), "")));
    let polled = second.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(response) = polled else { panic!("what was put aside is there at once") };
    assert!(bytes(response.expect("infallible")).await.starts_with(b"42[\"n\",2"));
    // This is the fault that the edge goes around. If it is mended, so much the better.
    let mut client = websocket(&engine, Some(&sids[1])).await;
    client.say("2probe").await;
    client.say("5").await;
    assert_eq!(client.hears().await, "3probe");
    io.emit("n", &3).await.expect("emitted");
    assert_eq!(client.hears().await, "42[\"n\",3]", "and the second one never comes");
}

#[tokio::test]
async fn entry_12_a_session_that_has_joined_nothing_is_kept_until_a_connect_succeeds() {
    let (engine, io, _) = engine();
    io.ns("/other", async || {});
    let kept = async |joins: bool| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let mark = Arc::new(());
        let held = Arc::downgrade(&mark);
        let request = Request::builder()
            .uri("/socket.io/?EIO=4&transport=websocket")
            .extension(mark)
            .body(())
            .expect("a request");
        engine.clone().call((theirs, request)).await.expect("accepted");
        let mut client = WebSocket::over(ours).await;
        client.hears().await;
        if joins {
            client.say("40/other,").await;
            while !client.hears().await.starts_with("40/other,") {}
        }
        drop(client);
        held
    };
    let (joined, not) = (kept(true).await, kept(false).await);
    eventually("the engine lets go", || joined.upgrade().is_none()).await;
    assert!(not.upgrade().is_some(), "mended: the edge need not say farewell any more");
}

/// A client's stream that counts what the engine has read, and compares it with what it has handled.
struct Compared {
    inner: DuplexStream,
    read: usize,
    counted: Counted,
}

#[derive(Clone, Default)]
struct Counted {
    /// Events that have come to their handler.
    handled: Arc<AtomicUsize>,
    /// Bytes of whole events that the engine had read and not handled when it read again, at most.
    behind: Arc<AtomicUsize>,
    /// The bytes of an event, once there is nothing but events.
    event: Arc<AtomicUsize>,
}

impl tokio::io::AsyncRead for Compared {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let event = self.counted.event.load(Ordering::SeqCst);
        if event > 0 {
            let handled = self.counted.handled.load(Ordering::SeqCst) * event;
            let whole = self.read / event * event;
            self.counted.behind.fetch_max(whole.saturating_sub(handled), Ordering::SeqCst);
        }
        let before = buf.filled().len();
        let read = std::pin::Pin::new(&mut self.inner).poll_read(cx, buf);
        if event > 0 {
            self.read += buf.filled().len() - before;
        }
        read
    }
}

impl tokio::io::AsyncWrite for Compared {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

struct Counting(Arc<AtomicUsize>);

impl MessageHandler<LocalAdapter, ()> for Counting {
    fn call(&self, _: Arc<Socket>, _: Value, _: Option<i64>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn entry_13_a_stream_is_read_again_when_all_before_is_handled() {
    const EVENTS: usize = 500;
    let counted = Counted::default();
    let (engine, io) = SocketIo::builder().build_svc();
    let handled = counted.handled.clone();
    let listens = Arc::new(AtomicUsize::new(0));
    let is_set = listens.clone();
    io.ns("/", async move |socket: SocketRef| {
        socket.on_fallback(Counting(handled));
        is_set.store(1, Ordering::SeqCst);
    });
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let theirs = Compared { inner: theirs, read: 0, counted: counted.clone() };
    let uri = "/socket.io/?EIO=4&transport=websocket";
    let request = Request::builder().uri(uri).body(()).expect("a request");
    engine.clone().call((theirs, request)).await.expect("accepted");
    let mut client = WebSocket::over(ours).await;
    client.say("40").await;
    while !client.hears().await.starts_with("40{") {}
    eventually("the connect handler has run", || listens.load(Ordering::SeqCst) == 1).await;
    let event = "42[\"e\"]";
    counted.event.store(event.len() + 6, Ordering::SeqCst);
    for _ in 0..EVENTS {
        client.say(event).await;
    }
    eventually("all are handled", || counted.handled.load(Ordering::SeqCst) == EVENTS).await;
    assert_eq!(counted.behind.load(Ordering::SeqCst), 0);
}
