//! A client in one namespace: what it says, and what it hears.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::DuplexStream,
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{
    PATIENCE, Refused,
    wire::{self, Kind, Packet, Reader},
};
use crate::{id::SocketId, payload::Payload};

/// A client that was let in. When it is dropped its connection breaks, as that of a client that
/// crashes.
///
/// ```
/// use switchboard::{Data, Gateway, Reply, Switchboard, testing::Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let sums = Gateway::new("/").on("add", async |Data((a, b)): Data<(u8, u8)>| Reply::ack(&(a + b)));
/// let server = Server::start(Switchboard::builder().gateway(sums)).await;
/// let client = server.connect().await.expect("everybody may enter");
/// assert_eq!(client.ask::<u8>("add", &(1, 2)).await, 3);
///
/// server.of("/").to(client.id()).disconnect(false);
/// assert_eq!(client.disconnected().await, "io server disconnect");
/// assert!(!client.is_connected());
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    id: SocketId,
    headers: HeaderMap,
    namespace: String,
    says: mpsc::UnboundedSender<Vec<Message>>,
    shared: Arc<Shared>,
    next_ack: AtomicU64,
    connection: JoinHandle<()>,
}

/// What has come and was not asked for yet.
#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// Something has come.
    came: Notify,
}

#[derive(Debug, Default)]
struct Inbox {
    events: VecDeque<Heard>,
    acks: HashMap<u64, Payload>,
    /// Why it is over, in the words of the official client.
    over: Option<&'static str>,
}

/// An event that a client has heard.
///
/// ```
/// use switchboard::testing::{Client, Heard};
///
/// /// What was said in a room, in order.
/// fn said(client: &Client) -> Vec<String> {
///     let heard: Vec<Heard> = client.heard();
///     heard.iter().filter(|heard| heard.event == "said").map(Heard::data).collect()
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Heard {
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub payload: Payload,
    ack: Option<u64>,
}

/// An event that waits for an acknowledgement of the client.
///
/// ```
/// use switchboard::testing::{Asked, Client};
///
/// async fn says_yes(client: &Client) {
///     let question: Asked<'_, String> = client.asked("sure?").await;
///     println!("asked about {}", question.data);
///     question.answer(&true);
/// }
/// ```
#[derive(Debug)]
pub struct Asked<'a, T> {
    /// Its arguments.
    pub data: T,
    client: &'a Client,
    id: u64,
}

impl Client {
    /// Opens the session and the namespace.
    pub(super) async fn enter(
        mut stream: WebSocketStream<DuplexStream>,
        headers: HeaderMap,
        namespace: &str,
        auth: Option<&Value>,
        answers_pings: bool,
    ) -> Result<Self, Refused> {
        let gone = || Refused::said("the connection was closed".into());
        let auth = auth.map(Value::to_string).unwrap_or_default();
        for frame in wire::bare('0', namespace, &auth) {
            stream.send(frame).await.map_err(|_| gone())?;
        }
        let mut reader = Reader::new(namespace);
        let id = loop {
            let Some(Ok(frame)) = stream.next().await else { return Err(gone()) };
            let packet = match frame {
                Message::Text(text) => text.strip_prefix('4').and_then(|text| reader.text(text)),
                _ => None,
            };
            match packet {
                Some(Packet::Connect(body)) => {
                    let body: Value = serde_json::from_str(&body).unwrap_or_default();
                    let no_id = |error| Refused::said(format!("the CONNECT: {error}"));
                    break body["sid"].as_str().unwrap_or_default().parse().map_err(no_id)?;
                }
                Some(Packet::Refused(body)) => return Err(Refused::of(&body)),
                _ => {}
            }
        };
        let (says, said) = mpsc::unbounded_channel();
        let shared = Arc::<Shared>::default();
        let connection = Connection { stream, reader, said, shared: shared.clone(), answers_pings };
        Ok(Self {
            id,
            headers,
            namespace: namespace.to_owned(),
            says,
            shared,
            next_ack: AtomicU64::new(0),
            connection: tokio::spawn(connection.run()),
        })
    }

    /// `socket.id`.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// The headers of the answer that opened the connection, cookies for instance.
    ///
    /// ```
    /// use switchboard::testing::Client;
    ///
    /// fn has_a_cookie(client: &Client) -> bool {
    ///     client.headers().contains_key("set-cookie")
    /// }
    /// ```
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Emits an event. A tuple gives several arguments.
    ///
    /// ```
    /// use switchboard::testing::Client;
    ///
    /// async fn says(client: &Client) {
    ///     client.emit("move", &(3, "north"));
    /// }
    /// ```
    ///
    /// # Panics
    /// If the arguments cannot be encoded, or Socket.IO reserves the name.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) {
        self.say(&encoded(event, data), Kind::Event(None));
    }

    /// Emits an event, waits for its acknowledgement, and gives its first argument, or a tuple of all.
    ///
    /// ```
    /// use switchboard::testing::Client;
    ///
    /// async fn sums(client: &Client) {
    ///     assert_eq!(client.ask::<i64>("add", &(1, 2)).await, 3);
    /// }
    /// ```
    ///
    /// # Panics
    /// If there is none in time, or it is of another shape.
    pub async fn ask<A: DeserializeOwned>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> A {
        let payload = self.ask_payload(event, data).await;
        decoded(event, &payload)
    }

    /// The same, with the acknowledgement as it came.
    ///
    /// ```
    /// use switchboard::testing::Client;
    ///
    /// async fn asks(client: &Client) {
    ///     let answer = client.ask_payload("sum", &(1, 2)).await;
    ///     assert_eq!(answer.decode::<i64>().expect("a number"), 3);
    /// }
    /// ```
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn ask_payload(&self, event: &str, data: &(impl Serialize + ?Sized)) -> Payload {
        let id = self.next_ack.fetch_add(1, Ordering::Relaxed);
        self.say(&encoded(event, data), Kind::Event(Some(id)));
        let what = format!("the acknowledgement of `{event}`");
        self.wait(&what, |inbox| inbox.acks.remove(&id)).await
    }

    /// Waits for the next event of this name, and gives its first argument, or a tuple of all. Others
    /// stay for later.
    ///
    /// ```
    /// use switchboard::testing::Client;
    ///
    /// async fn is_greeted(client: &Client) {
    ///     assert_eq!(client.hears::<String>("welcome").await, "hello");
    /// }
    /// ```
    ///
    /// # Panics
    /// If there is none in time, or it is of another shape.
    pub async fn hears<T: DeserializeOwned>(&self, event: &str) -> T {
        decoded(event, &self.next_of(event).await.payload)
    }

    /// Waits for the next event of this name that asks for an acknowledgement.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Gateway, Switchboard, testing::Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = Server::start(Switchboard::builder().gateway(Gateway::new("/"))).await;
    /// let client = server.connect().await.expect("everybody may enter");
    /// let everybody = server.of("/");
    /// let asked = everybody.emit_with_ack("ready?", &7, Duration::from_secs(5));
    /// let answering = async {
    ///     let question = client.asked::<u8>("ready?").await;
    ///     assert_eq!(question.data, 7);
    ///     question.answer("yes");
    /// };
    /// let (answers, ()) = tokio::join!(asked, answering);
    /// assert_eq!(answers.expect("one node").acks.len(), 1);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If there is none in time, it is of another shape, or it asks for nothing.
    pub async fn asked<T: DeserializeOwned>(&self, event: &str) -> Asked<'_, T> {
        let heard = self.next_of(event).await;
        let id = heard.ack.unwrap_or_else(|| panic!("`{event}` asks for no acknowledgement"));
        Asked { data: decoded(event, &heard.payload), client: self, id }
    }

    /// Everything that was heard up to now and not asked for, in order.
    ///
    /// ```
    /// use switchboard::testing::Client;
    ///
    /// async fn hears_nothing_else(client: &Client) {
    ///     client.ask::<()>("sync", &()).await;
    ///     assert!(client.heard().is_empty());
    /// }
    /// ```
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.inbox.lock().events.drain(..).collect()
    }

    /// The same, after so much time. On a paused clock this is all that was on its way.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::testing::Client;
    ///
    /// /// With `#[tokio::test(start_paused = true)]` this takes no time.
    /// async fn hears_nothing_for_an_hour(client: &Client) {
    ///     assert!(client.heard_within(Duration::from_secs(3600)).await.is_empty());
    /// }
    /// ```
    pub async fn heard_within(&self, time: Duration) -> Vec<Heard> {
        tokio::time::sleep(time).await;
        self.heard()
    }

    /// Waits until the client is no longer connected: `io server disconnect` if the server has
    /// disconnected it from its namespace, else `transport close`, as the official client says.
    ///
    /// ```
    /// use switchboard::testing::Client;
    ///
    /// async fn is_thrown_out(client: &Client) {
    ///     assert_eq!(client.disconnected().await, "io server disconnect");
    /// }
    /// ```
    ///
    /// # Panics
    /// If it still is after some time.
    pub async fn disconnected(&self) -> &'static str {
        self.wait("the end of the connection", |inbox| inbox.over).await
    }

    /// Whether it is connected, as far as it knows.
    pub fn is_connected(&self) -> bool {
        self.shared.inbox.lock().over.is_none()
    }

    /// Leaves the namespace, and closes the connection: `socket.disconnect()`. The server sees `client
    /// namespace disconnect`.
    ///
    /// ```
    /// use switchboard::testing::Client;
    ///
    /// async fn leaves(client: Client) {
    ///     client.disconnect().await;
    /// }
    /// ```
    ///
    /// # Panics
    /// If the server does not close its side in time.
    pub async fn disconnect(mut self) {
        let mut last = wire::bare('1', &self.namespace, "");
        last.push(Message::Close(None));
        self.says.send(last).ok();
        let ended = timeout(PATIENCE, &mut self.connection).await;
        assert!(ended.is_ok(), "the server does not close the connection");
    }

    async fn next_of(&self, event: &str) -> Heard {
        let what = format!("the event `{event}`");
        self.wait(&what, |inbox| {
            let at = inbox.events.iter().position(|heard| heard.event == event)?;
            inbox.events.remove(at)
        })
        .await
    }

    /// Waits until `look` finds something.
    async fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut Inbox) -> Option<T>) -> T {
        let found = async {
            loop {
                let came = self.shared.came.notified();
                tokio::pin!(came);
                // Before the look: what comes right after it is not missed.
                came.as_mut().enable();
                if let Some(found) = look(&mut self.shared.inbox.lock()) {
                    return found;
                }
                came.await;
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => {
                let inbox = self.shared.inbox.lock();
                let heard: Vec<_> = inbox.events.iter().map(|heard| &heard.event).collect();
                panic!("{what} does not come; heard: {heard:?}, over: {:?}", inbox.over)
            }
        }
    }

    fn say(&self, payload: &Payload, kind: Kind) {
        // Whoever is gone says nothing. A test sees that by what it waits for.
        self.says.send(wire::frames(&self.namespace, payload, kind)).ok();
    }
}

impl Heard {
    /// Its first argument, or a tuple of all.
    ///
    /// # Panics
    /// If they are of another shape.
    pub fn data<T: DeserializeOwned>(&self) -> T {
        decoded(&self.event, &self.payload)
    }
}

impl<T> Asked<'_, T> {
    /// Acknowledges the event. A tuple gives several arguments.
    ///
    /// # Panics
    /// If the arguments cannot be encoded.
    pub fn answer(self, data: &(impl Serialize + ?Sized)) {
        let payload = Payload::ack(data).expect("the answer can be encoded");
        self.client.say(&payload, Kind::Ack(self.id));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn encoded<T: Serialize + ?Sized>(event: &str, data: &T) -> Payload {
    Payload::event(event, data).unwrap_or_else(|error| panic!("`{event}` cannot be sent: {error}"))
}

fn decoded<T: DeserializeOwned>(event: &str, payload: &Payload) -> T {
    let decoded = payload.decode();
    decoded.unwrap_or_else(|error| panic!("`{event}` brings something else: {error}: {payload:?}"))
}

/// The task of a client.
struct Connection {
    stream: WebSocketStream<DuplexStream>,
    reader: Reader,
    said: mpsc::UnboundedReceiver<Vec<Message>>,
    shared: Arc<Shared>,
    answers_pings: bool,
}

impl Connection {
    async fn run(mut self) {
        loop {
            tokio::select! {
                frame = self.stream.next() => {
                    let Some(Ok(frame)) = frame else { break };
                    if self.hear(frame).await.is_none() {
                        break;
                    }
                }
                Some(frames) = self.said.recv() => {
                    for frame in frames {
                        if self.stream.send(frame).await.is_err() {
                            break;
                        }
                    }
                }
            }
        }
        self.is_over("transport close");
    }

    /// `None` if the connection is at its end.
    async fn hear(&mut self, frame: Message) -> Option<()> {
        let packet = match frame {
            Message::Text(text) if text == "2" => {
                if self.answers_pings {
                    self.stream.send(Message::text("3")).await.ok()?;
                }
                None
            }
            Message::Text(text) => text.strip_prefix('4').and_then(|text| self.reader.text(text)),
            Message::Binary(bytes) => self.reader.binary(bytes),
            Message::Close(_) => return None,
            _ => None,
        };
        match packet {
            Some(Packet::Event { payload, ack }) => {
                let event = payload.event_name().map(|name| name.into_owned()).unwrap_or_default();
                self.shared.inbox.lock().events.push_back(Heard { event, payload, ack });
            }
            Some(Packet::Ack { id, payload }) => {
                self.shared.inbox.lock().acks.insert(id, payload);
            }
            Some(Packet::Disconnect) => self.is_over("io server disconnect"),
            Some(Packet::Connect(_) | Packet::Refused(_)) | None => {}
        }
        self.shared.came.notify_waiters();
        Some(())
    }

    fn is_over(&self, why: &'static str) {
        self.shared.inbox.lock().over.get_or_insert(why);
        self.shared.came.notify_waiters();
    }
}
