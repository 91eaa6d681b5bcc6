//! The history of rooms on one node: what is in it, how it is read, and what a socket gets when it joins.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{
    Client, Server,
    admin::{Admin, Answer},
    by_name, rooms, until, within,
};
use switchboard::{
    Config, Data, Fault, Handshake, Identity, Reply, Socket, Switchboard,
    config::{RoomHistory, SecretUrl},
};

#[derive(serde::Deserialize)]
struct Say {
    room: String,
    said: Value,
}

struct Scene {
    node: Server,
    admin: Admin,
}

fn rule(rooms: &str, change: impl FnOnce(&mut RoomHistory)) -> RoomHistory {
    let mut rule = RoomHistory::of(rooms.parse().unwrap());
    change(&mut rule);
    rule
}

impl Scene {
    async fn with(history: Vec<RoomHistory>, change: impl FnOnce(&mut Config)) -> Self {
        let config = Config::with(|config| {
            config.store.url = Some(SecretUrl::new("sqlite::memory:"));
            config.rooms.history = history;
            config.drain.grace = Duration::ZERO;
            config.drain.spread = Duration::ZERO;
            change(config);
        });
        let gateway = rooms()
            .on("say", async |Data(Say { room, said }): Data<Say>| {
                Reply::event("said", &said).to(room).except_sender()
            })
            .on("say by itself", async |socket: Socket, Data(Say { room, said }): Data<Say>| {
                socket.to(room).emit("said", &said).map_err(Fault::from)
            })
            .on("have it said", async |server: Switchboard, Data(Say { room, said }): Data<Say>| {
                server.of("/").to(room).emit("said", &said).map_err(Fault::from)
            })
            .on_disconnect(async |socket: Socket| {
                socket.to("public:left").emit("said", "goodbye").expect("a text can be encoded");
            })
            .on("join all", async |socket: Socket, Data(rooms): Data<Vec<String>>| {
                socket.join(rooms).await.map(|()| Reply::ack(&true))
            });
        let builder = Switchboard::builder().config(config).gateway(gateway);
        let node = Server::start(builder.global_middleware(by_name_and_rooms)).await;
        let admin = Admin::of(&node.switchboard).await;
        Self { node, admin }
    }

    async fn start(history: Vec<RoomHistory>) -> Self {
        Self::with(history, |_| {}).await
    }

    async fn emit(&self, mut to: Value, n: impl Into<Value>) {
        to["event"] = json!("said");
        to["args"] = json!([n.into()]);
        self.admin.post("/emit", to).await.with(202);
    }

    async fn history(&self, room: &str) -> Answer {
        self.admin.get(&format!("/rooms/{room}/history")).await
    }

    /// The first arguments in the history of a room, the oldest first.
    async fn said(&self, room: &str) -> Vec<Value> {
        let answer = self.history(room).await.with(200);
        let events = answer["events"].as_array().unwrap();
        events.iter().rev().map(|event| event["args"][0].clone()).collect()
    }
}

/// As [`by_name`], with `{rooms}` to begin in.
async fn by_name_and_rooms(handshake: Handshake) -> Result<(), Fault> {
    let auth: Value = handshake.auth()?;
    by_name(handshake.clone()).await?;
    if let Some(room) = auth["room"].as_str() {
        handshake.set_identity(Identity::user("roomer").with_rooms([room]));
    }
    Ok(())
}

/// What a client has heard with `said`, up to now.
async fn heard(client: &mut Client) -> Vec<Value> {
    let heard = client.heard_before("marker").await;
    heard.into_iter().filter(|(name, _)| name == "said").map(|(_, mut it)| it.remove(0)).collect()
}

fn on_join(n: usize) -> Vec<RoomHistory> {
    vec![rule("public:*", |rule| rule.on_join = n)]
}

#[tokio::test]
async fn it_holds_what_was_sent_to_the_room_and_nothing_else() {
    let scene = Scene::start(vec![rule("public:*", |_| {}), rule("other", |_| {})]).await;
    let mut ada = scene.node.client_of("ada").await;
    let mut guest = scene.node.client().await;
    for client in [&mut ada, &mut guest] {
        client.ask("join", json!("public:a")).await;
    }
    ada.emit("say", json!({ "room": "public:a", "said": 1 })).await;
    ada.ask("marker", Value::Null).await;
    guest.emit("say", json!({ "room": "public:a", "said": 2 })).await;
    guest.ask("marker", Value::Null).await;
    scene.emit(json!({ "rooms": ["public:a", "other"] }), 3).await;
    for to in [
        json!({ "users": ["ada"] }),
        json!({ "all": true }),
        json!({ "authenticated": true }),
        json!({ "sockets": [ada.id] }),
        json!({ "rooms": ["private:a"] }),
        json!({ "rooms": ["public:a"], "volatile": true }),
        json!({ "rooms": ["public:a"], "namespace": "/elsewhere" }),
        json!({ "users": ["ada"], "except_rooms": ["public:a"] }),
    ] {
        scene.emit(to, "not there").await;
    }
    scene
        .emit(json!({ "rooms": ["public:a"], "except_users": ["ada"], "users": ["bob"] }), 4)
        .await;

    let all = scene.history("public:a").await.with(200);
    assert_eq!(all["next"], Value::Null);
    let events = all["events"].as_array().unwrap();
    let shown: Vec<_> =
        events.iter().map(|it| json!([it["event"], it["args"], it["from"]])).collect();
    let expected = json!([
        ["said", [4], null],
        ["said", [3], null],
        ["said", [2], null],
        ["said", [1], "ada"]
    ]);
    assert_eq!(Value::from(shown), expected);
    for event in events {
        let members: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(members, ["args", "at", "event", "from", "id"]);
        let at = event["at"].as_str().unwrap();
        assert!(at.starts_with("20") && at.ends_with('Z') && at.contains('T'), "{at}");
    }
    assert_eq!(scene.said("other").await, [3]);
    let elsewhere = scene.admin.get("/rooms/public:a/history?namespace=/elsewhere").await.with(200);
    assert_eq!(elsewhere["events"].as_array().unwrap().len(), 1);
    assert_eq!(scene.said("public:empty").await, [] as [Value; 0]);
    let metrics = scene.admin.scrape().await;
    assert_eq!(metrics.value("switchboard_history_kept_total", &[]), 6.0);
    assert_eq!(metrics.value("switchboard_history_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn it_is_read_page_by_page_and_has_its_bounds() {
    let rules = vec![
        rule("few", |rule| rule.count = 3),
        rule("short", |rule| rule.ttl = Duration::from_millis(200)),
        rule("*", |_| {}),
    ];
    let scene = Scene::start(rules).await;
    for n in 0..10 {
        scene.emit(json!({ "rooms": ["few", "short", "many"] }), n).await;
    }
    assert_eq!(scene.said("few").await, [7, 8, 9]);
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let page = scene.admin.get(&format!("/rooms/many/history?limit=4{before}")).await.with(200);
        let events = page["events"].as_array().unwrap().clone();
        assert!(events.len() <= 4);
        all.extend(events.iter().map(|event| event["args"][0].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(Some(next), events.last().unwrap()["id"].as_str());
        before = format!("&before={next}");
    }
    assert_eq!(all, (0..10).rev().collect::<Vec<_>>());
    until("it is too old", async || scene.said("short").await.is_empty()).await;
    for query in ["limit=0", "limit=1001", "limit=x", "namespace=chat", "after=1", "before=%00"] {
        let answer = scene.admin.get(&format!("/rooms/many/history?{query}")).await;
        assert_eq!(answer.problem(), (400, "bad_request"), "{query}");
    }
    assert_eq!(scene.history("a%00b").await.problem(), (400, "bad_request"));
    let unknown = scene.admin.get("/rooms/many/history?before=nothing").await.with(200);
    assert_eq!(unknown, json!({ "events": [], "next": null }));
}

#[tokio::test]
async fn a_room_without_a_rule_has_none() {
    for rules in [vec![], vec![rule("public:*", |_| {})]] {
        let scene = Scene::start(rules).await;
        let mut client = scene.node.client().await;
        client.ask("join", json!("private")).await;
        scene.emit(json!({ "rooms": ["private"] }), 1).await;
        assert_eq!(heard(&mut client).await, [1]);
        assert_eq!(scene.history("private").await.problem(), (404, "bad_request"));
    }
}

#[tokio::test]
async fn any_text_and_any_bytes_are_kept() {
    let scene = Scene::start(vec![rule("*", |rule| rule.on_join = 10)]).await;
    let crab = "\u{1f980}".repeat(60);
    for room in ["'", "\"", "'; DROP TABLE history; --", "%", "a/b ü", &crab] {
        let argument = json!({ "quoted": room, "n": [1.5, -3, null, true] });
        scene.emit(json!({ "rooms": [room] }), argument.clone()).await;
        let path: String = form_urlencoded::byte_serialize(room.as_bytes()).collect();
        assert_eq!(
            scene.said(&path.replace('+', "%20")).await,
            std::slice::from_ref(&argument),
            "{room}"
        );
        let mut client = scene.node.client().await;
        client.ask("join", json!(room)).await;
        assert_eq!(heard(&mut client).await, [argument], "{room}");
    }
    let event = "\u{1f980}'\"".repeat(700);
    let body = json!({ "rooms": ["e"], "event": event, "args": [] });
    scene.admin.post("/emit", body).await.with(202);
    let all = scene.history("e").await.with(200);
    assert_eq!(
        (&all["events"][0]["event"], &all["events"][0]["args"]),
        (&json!(event), &json!([]))
    );

    let bytes = switchboard::bytes::Bytes::from_static(b"\x00\xff");
    scene.node.switchboard.of("/").to("bytes").emit("said", &(bytes, "text")).unwrap();
    let all = scene.history("bytes").await.with(200);
    let expected = json!([{ "type": "Buffer", "data": [0, 255] }, "text"]);
    assert_eq!(all["events"][0]["args"], expected);
    // What no database takes is sent, and not kept.
    let odd = json!({ "rooms": ["e"], "event": "a\0b" });
    scene.admin.post("/emit", odd).await.with(202);
    assert_eq!(scene.history("e").await.with(200)["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn it_names_the_user_whose_socket_has_sent_something() {
    let scene = Scene::start(vec![rule("public:*", |_| {})]).await;
    let mut ada = scene.node.client_of("ada").await;
    let mut guest = scene.node.client().await;
    for event in ["say", "say by itself", "have it said"] {
        for client in [&mut ada, &mut guest] {
            client.emit(event, json!({ "room": "public:a", "said": event })).await;
            client.ask("marker", Value::Null).await;
        }
    }
    let from = async |room: &str| {
        let all = scene.history(room).await.with(200);
        let events = all["events"].as_array().unwrap().iter().rev();
        events.map(|it| json!([it["args"][0], it["from"]])).collect::<Vec<_>>()
    };
    let expected = [
        json!(["say", "ada"]),
        json!(["say", null]),
        json!(["say by itself", "ada"]),
        json!(["say by itself", null]),
        json!(["have it said", null]),
        json!(["have it said", null]),
    ];
    assert_eq!(from("public:a").await, expected);
    ada.close().await;
    until("the socket has said goodbye", async || !from("public:left").await.is_empty()).await;
    assert_eq!(from("public:left").await, [json!(["goodbye", "ada"])]);
}

#[tokio::test]
async fn a_socket_that_joins_gets_the_last_events_first() {
    let scene = Scene::start(on_join(3)).await;
    for n in 0..5 {
        scene.emit(json!({ "rooms": ["public:a"] }), n).await;
    }
    let mut client = scene.node.client().await;
    client.ask("join", json!("public:a")).await;
    let before_the_answer = client.heard_before("marker").await;
    assert_eq!(before_the_answer.len(), 3);
    scene.emit(json!({ "rooms": ["public:a"] }), 5).await;
    let numbers: Vec<_> =
        before_the_answer.into_iter().map(|(_, mut args)| args.remove(0)).collect();
    assert_eq!(numbers, [2, 3, 4]);
    assert_eq!(heard(&mut client).await, [5]);
    client.ask("join", json!("public:a")).await;
    assert_eq!(heard(&mut client).await, [] as [Value; 0], "it is there already");
    client.ask("leave", json!("public:a")).await;
    client.ask("join", json!("public:a")).await;
    assert_eq!(heard(&mut client).await, [3, 4, 5]);

    // Whoever joins it, and however many at once.
    let mut bob = scene.node.client_of("bob").await;
    scene.emit(json!({ "rooms": ["public:b"] }), "b").await;
    scene.emit(json!({ "rooms": ["public:a", "public:b"] }), "both").await;
    let rooms = json!({ "rooms": ["public:a", "public:b", "x"] });
    scene.admin.post("/users/bob/join", rooms).await.with(200);
    let mut got = Vec::new();
    until("bob has the history", async || {
        got.extend(heard(&mut bob).await);
        got.len() >= 4
    })
    .await;
    assert_eq!(got, [json!(4), json!(5), json!("both"), json!("b")], "each once");
}

#[tokio::test]
async fn rooms_of_the_connect_bring_their_history_after_it() {
    let scene = Scene::with(on_join(2), |_| {}).await;
    scene.emit(json!({ "rooms": ["public:a"] }), 1).await;
    let mut client = scene.node.client_with("/", json!({ "room": "public:a" })).await;
    assert_eq!(within("it", client.hears("said")).await, json!(1));
}

/// Clients join while others speak: each hears a stretch without a gap, and nothing twice.
async fn joins_under_load(scene: &Scene) {
    let server = scene.node.switchboard.clone();
    let speaking = tokio::spawn(async move {
        for n in 0.. {
            server.of("/").to("public:a").emit("said", &n).unwrap();
            if n % 5 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 0..30 {
        let mut client = scene.node.client().await;
        let joining = client.emit_asking("join", json!("public:a")).await;
        let mut all: Vec<u64> = Vec::new();
        while all.len() < 60 {
            all.push(within("more", client.hears("said")).await.as_u64().unwrap());
        }
        within("the answer", client.acknowledged(joining)).await;
        let first = all[0];
        let expected: Vec<u64> = (first..first + all.len() as u64).collect();
        assert_eq!(all, expected, "round {round}");
    }
    speaking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_missing_and_nothing_comes_twice_while_others_speak() {
    joins_under_load(&Scene::start(on_join(20)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_with_recovery() {
    let recovers = |config: &mut Config| {
        config.recovery.enabled = true;
    };
    joins_under_load(&Scene::with(on_join(20), recovers).await).await;
}
