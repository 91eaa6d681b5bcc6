//! Recovery: whatever happens in whatever order, a client gets each event that was for it once, and
//! in order.

mod support;

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use proptest::{collection::vec, prelude::*, test_runner::Config as Cases};
use serde_json::{Value, json};
use support::{Server, by_name, rooms, within};
use switchboard::{Config, Switchboard, id::SocketId, server::LocalCluster};
use test_kit::websocket::WebSocket;
use tokio_tungstenite::tungstenite::Message;

/// A step of a story.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// An event to one of the rooms, to everybody, to the client, or to all but a room.
    Emit(Target),
    /// The server moves the client, which may be away.
    Join(u8),
    Leave(u8),
    /// The client takes some of what has come.
    Read(u8),
    /// The connection breaks. What the client has not taken is lost.
    Cut,
    /// The client connects anew, while the server may still believe in its old connection.
    Return,
    /// It does so, and breaks off at once.
    Flicker,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Room(u8),
    All,
    Itself,
    AllBut(u8),
    Volatile,
}

const ROOMS: u8 = 3;

fn step() -> impl Strategy<Value = Step> {
    let room = || 0..ROOMS;
    let target = prop_oneof![
        3 => room().prop_map(Target::Room),
        1 => Just(Target::All),
        1 => Just(Target::Itself),
        1 => room().prop_map(Target::AllBut),
        1 => Just(Target::Volatile),
    ];
    prop_oneof![
        8 => target.prop_map(Step::Emit),
        2 => room().prop_map(Step::Join),
        1 => room().prop_map(Step::Leave),
        3 => (0..6_u8).prop_map(Step::Read),
        2 => Just(Step::Cut),
        2 => Just(Step::Return),
        1 => Just(Step::Flicker),
    ]
}

/// A client by itself: what it keeps from one connection to the next.
struct Client {
    websocket: Option<WebSocket>,
    /// Old connections that nobody has closed.
    forgotten: Vec<WebSocket>,
    id: String,
    pid: Option<String>,
    offset: Option<String>,
    got: Vec<u64>,
    /// Two connections to different nodes at once may cost the session. It says so then.
    may_be_new: bool,
    is_new: bool,
}

impl Client {
    fn new(may_be_new: bool) -> Self {
        Self {
            websocket: None,
            forgotten: Vec::new(),
            id: String::new(),
            pid: None,
            offset: None,
            got: Vec::new(),
            may_be_new,
            is_new: false,
        }
    }

    fn connect_payload(&self) -> String {
        let mut auth = json!({});
        if let Some(pid) = &self.pid {
            auth["pid"] = json!(pid);
        }
        if let Some(offset) = &self.offset {
            auth["offset"] = json!(offset);
        }
        format!("40{auth}")
    }

    async fn connect(&mut self, server: &Server) {
        self.forgotten.extend(self.websocket.take());
        while !self.try_connect(server).await {}
    }

    /// `false`: another connection of this client, which has broken off meanwhile, was served later
    /// and has taken the session. As any client it tries again.
    async fn try_connect(&mut self, server: &Server) -> bool {
        let mut websocket = WebSocket::open(server.address).await;
        websocket.say(&self.connect_payload()).await;
        loop {
            let Some(Message::Text(packet)) = websocket.next().await else { return false };
            let Some(connect) = packet.as_str().strip_prefix("40") else {
                self.takes(packet.as_str());
                continue;
            };
            let connect: Value = serde_json::from_str(connect).expect("JSON");
            let (id, pid) = (connect["sid"].as_str().unwrap(), connect["pid"].as_str().unwrap());
            if let Some(before) = &self.pid {
                let has_recovered = (pid, id) == (&**before, &*self.id);
                assert!(has_recovered || self.may_be_new, "it has recovered");
                self.is_new |= !has_recovered;
            }
            (self.id, self.pid) = (id.to_owned(), Some(pid.to_owned()));
            self.websocket = Some(websocket);
            return true;
        }
    }

    async fn flicker(&mut self, server: &Server) {
        let mut websocket = WebSocket::open(server.address).await;
        websocket.say(&self.connect_payload()).await;
    }

    /// As the official client does: the last text is the offset.
    fn takes(&mut self, packet: &str) {
        let Some(event) = packet.strip_prefix("42") else { return };
        let event: Vec<Value> = serde_json::from_str(event).expect("JSON");
        if let Some(Value::String(text)) = event.last() {
            self.offset = Some(text.clone());
        }
        if event[0] == "event" {
            self.got.push(event[1].as_u64().expect("a number"));
        }
    }

    /// Takes packets that are there already.
    async fn read(&mut self, most: u8) {
        for _ in 0..most {
            let Some(websocket) = &mut self.websocket else { return };
            // What is on its way has a chance to come.
            tokio::task::yield_now().await;
            match websocket.next().now_or_never() {
                Some(Some(Message::Text(packet))) => self.takes(packet.as_str()),
                Some(None) => self.websocket = None,
                _ => return,
            }
        }
    }

    /// Takes everything up to an event of this number.
    async fn read_up_to(&mut self, number: u64, server: &Server) {
        while self.got.last() != Some(&number) {
            self.read_more(self.got.len() + 1, server).await;
        }
    }

    /// Takes packets until there are this many events.
    async fn read_more(&mut self, events: usize, server: &Server) {
        while self.got.len() < events {
            let websocket = self.websocket.as_mut().expect("connected");
            match websocket.next().await {
                Some(Message::Text(packet)) => self.takes(packet.as_str()),
                _ => self.connect(server).await,
            }
        }
    }
}

async fn server() -> Server {
    let config = Config::with(|config| config.recovery.enabled = true);
    let builder = Switchboard::builder().config(config);
    Server::start(builder.global_middleware(by_name).gateway(rooms())).await
}

/// Tells a story, and holds what the client has got against what was for it.
async fn tell(server: &Server, steps: &[Step]) {
    let mut client = Client::new(false);
    client.connect(server).await;
    // Stories run side by side, each in rooms of its own.
    let room = |id: &str, number: u8| format!("{id}/{number}");
    let id = client.id.clone();
    let (mut inside, mut expected, mut number) = (BTreeSet::new(), Vec::new(), 0);
    let emit = |target: Target, number: u64| {
        let root = server.switchboard.of("/");
        let to = match target {
            Target::Room(n) => root.to(room(&id, n)),
            Target::All => root.to(id.clone()).to(room(&id, 9)),
            Target::Itself => root.to(id.parse::<SocketId>().expect("an id")),
            Target::AllBut(n) => root.to(id.clone()).except(room(&id, n)),
            // Text at the end, which must not become the client's offset.
            Target::Volatile => {
                return root.to(id.clone()).volatile().emit("tick", "tock").expect("sent");
            }
        };
        to.emit("event", &number).expect("sent");
    };
    for step in steps {
        match *step {
            Step::Emit(target) => {
                number += 1;
                let is_for_it = match target {
                    Target::Room(n) => inside.contains(&n),
                    Target::All | Target::Itself => true,
                    Target::AllBut(n) => !inside.contains(&n),
                    Target::Volatile => false,
                };
                expected.extend(is_for_it.then_some(number));
                emit(target, number);
            }
            Step::Join(n) => {
                inside.insert(n);
                server.switchboard.of("/").to(id.clone()).join([room(&id, n)]);
            }
            Step::Leave(n) => {
                inside.remove(&n);
                server.switchboard.of("/").to(id.clone()).leave([room(&id, n)]);
            }
            Step::Read(most) => client.read(most).await,
            Step::Cut => client.websocket = None,
            Step::Return => client.connect(server).await,
            Step::Flicker => client.flicker(server).await,
        }
    }
    client.connect(server).await;
    number += 1;
    expected.push(number);
    emit(Target::Itself, number);
    within("the last event", client.read_up_to(number, server)).await;
    assert_eq!(client.got, expected);
}

/// A story on three nodes: each connection goes to another one, and each event comes from another
/// one. The rooms stay, for nodes have no common time in which a join comes before an event.
async fn tell_to_a_cluster(servers: &[Server; 3], steps: &[(Step, usize)]) {
    let mut client = Client::new(steps.iter().any(|(step, _)| matches!(step, Step::Flicker)));
    client.connect(&servers[0]).await;
    let id = client.id.clone();
    let mut expected: [Vec<u64>; 3] = Default::default();
    let mut number = 0;
    let mut emit = |node: usize| {
        // The number tells the sender, too.
        number += 1;
        let number = number * 3 + node as u64;
        servers[node].switchboard.of("/").to(id.clone()).emit("event", &number).expect("sent");
        expected[node].push(number);
        number
    };
    for (step, node) in steps {
        match *step {
            Step::Emit(_) => _ = emit(*node),
            Step::Join(_) | Step::Leave(_) => tokio::task::yield_now().await,
            Step::Read(most) => client.read(most).await,
            Step::Cut => client.websocket = None,
            Step::Return => client.connect(&servers[*node]).await,
            Step::Flicker => client.flicker(&servers[*node]).await,
        }
        if client.is_new {
            return;
        }
    }
    client.connect(&servers[0]).await;
    let last = [emit(0), emit(1), emit(2)];
    within("the last events", async {
        while !client.is_new && !last.iter().all(|number| client.got.contains(number)) {
            let next = client.got.len() + 1;
            client.read_more(next, &servers[0]).await;
        }
    })
    .await;
    if client.is_new {
        return;
    }
    for (node, expected) in expected.iter().enumerate() {
        let of_node = |number: &&u64| **number % 3 == node as u64;
        let got: Vec<u64> = client.got.iter().filter(of_node).copied().collect();
        assert_eq!(got, *expected, "of node {node}, all: {:?}", client.got);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build().expect("a runtime")
}

#[test]
fn on_whatever_nodes_it_happens_each_event_comes_once_and_in_order() {
    let runtime = runtime();
    let cluster = LocalCluster::default();
    let servers = runtime.block_on(async {
        let start = |name: &'static str| {
            let config = Config::with(|config| {
                config.recovery.enabled = true;
                config.node_id = Some(name.into());
            });
            let builder = Switchboard::builder().config(config).cluster(&cluster);
            Server::start(builder.global_middleware(by_name).gateway(rooms()))
        };
        [start("one").await, start("two").await, start("three").await]
    });
    let story = || vec((step(), 0..3_usize), 1..40);
    proptest!(Cases::with_cases(cases(40)), |(stories in vec(story(), 1..4))| {
        runtime.block_on(async {
            let stories = stories.iter().map(|steps| tell_to_a_cluster(&servers, steps));
            futures_util::future::join_all(stories).await;
        });
    });
}

fn cases(few: u32) -> u32 {
    std::env::var("CASES").ok().and_then(|number| number.parse().ok()).unwrap_or(few)
}

#[test]
fn whatever_happens_each_event_comes_once_and_in_order() {
    let runtime = runtime();
    let server = runtime.block_on(server());
    proptest!(Cases::with_cases(cases(150)), |(stories in vec(vec(step(), 1..60), 1..4))| {
        runtime.block_on(async {
            let stories = stories.iter().map(|steps| tell(&server, steps));
            futures_util::future::join_all(stories).await;
        });
    });
}
