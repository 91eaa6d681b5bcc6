//! The administration API as an operator meets it: over HTTP, on one node and on two.

mod support;

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use support::{
    Client, RedisServer, Server,
    admin::{Admin, Answer},
    by_name, until, within,
};
use switchboard::{
    Config, Data, Gateway, Reply, Socket, Switchboard,
    config::SecretUrl,
    server::{Builder, LocalCluster},
};

/// Two nodes that are one server; administration is asked on the first.
struct Scene {
    nodes: Vec<Server>,
    admin: Admin,
}

fn builder(configure: impl FnOnce(&mut Config)) -> Builder {
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::from_millis(50);
    configure(&mut config);
    let gateway = Gateway::new("/").on("marker", async || Reply::ack(&())).on(
        "join",
        async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        },
    );
    Switchboard::builder().config(config).global_middleware(by_name).gateway(gateway)
}

impl Scene {
    async fn start() -> Self {
        let cluster = LocalCluster::default();
        Self::of([builder(|_| {}).cluster(&cluster), builder(|_| {}).cluster(&cluster)]).await
    }

    async fn alone(configure: impl FnOnce(&mut Config)) -> Self {
        Self::of([builder(configure)]).await
    }

    async fn of(builders: impl IntoIterator<Item = Builder>) -> Self {
        let mut nodes = Vec::new();
        for builder in builders {
            nodes.push(Server::start(builder).await);
        }
        let admin = Admin::of(&nodes[0].switchboard).await;
        Self { nodes, admin }
    }

    async fn emit(&self, body: Value) -> Answer {
        self.admin.post("/emit", body).await
    }

    async fn room_of(&self, room: &str) -> BTreeSet<String> {
        let room = self.admin.get(&format!("/rooms/{room}")).await.with(200);
        assert_eq!(room["missing_nodes"], json!([]));
        let sockets = room["sockets"].as_array().unwrap();
        sockets.iter().map(|socket| socket["id"].as_str().unwrap().to_owned()).collect()
    }
}

async fn hears(client: &mut Client, event: &str) -> Value {
    within(event, client.hears(event)).await
}

#[tokio::test]
async fn an_event_reaches_its_audience_on_both_nodes_once() {
    let scene = Scene::start().await;
    let mut ada = scene.nodes[0].client_of("ada").await;
    let mut ada_too = scene.nodes[1].client_of("ada").await;
    let mut bob = scene.nodes[1].client_of("bob").await;
    let mut guest = scene.nodes[0].client().await;
    for client in [&mut guest, &mut ada_too] {
        client.ask("join", json!("lobby")).await;
    }
    for (n, target) in [
        json!({ "users": ["ada"], "rooms": ["lobby"] }),
        json!({ "rooms": ["lobby"], "except_users": ["ada"] }),
        json!({ "sockets": [bob.id] }),
        json!({ "authenticated": true, "except_rooms": ["lobby"], "volatile": true }),
        json!({ "all": true, "users": ["bob"] }),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = json!({ "event": format!("e{n}"), "args": [{ "n": n }, "second"] });
        body.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        assert_eq!(scene.emit(body).await.with(202), json!({}));
    }
    // An event from each node comes after what both have emitted before.
    let heard = async |client: &mut Client| {
        scene.emit(json!({ "all": true, "event": "end" })).await.with(202);
        assert_eq!(hears(client, "end").await, Value::Null, "no arguments");
        let heard = client.heard_before("marker").await;
        let of_ours = heard.into_iter().filter(|(name, _)| name.starts_with('e') && name != "end");
        let mut names = Vec::new();
        for (name, arguments) in of_ours {
            let n: usize = name[1..].parse().unwrap();
            assert_eq!(arguments, [json!({ "n": n }), json!("second")]);
            names.push(n);
        }
        names
    };
    assert_eq!(heard(&mut ada).await, [0, 3, 4]);
    assert_eq!(heard(&mut ada_too).await, [0, 4]);
    assert_eq!(heard(&mut bob).await, [2, 3, 4]);
    assert_eq!(heard(&mut guest).await, [0, 1, 4]);
}

#[tokio::test]
async fn the_answers_of_clients_are_collected() {
    let scene = Scene::start().await;
    let mut here = scene.nodes[0].client_of("ada").await;
    let mut there = scene.nodes[1].client_of("ada").await;
    let question = |timeout: u64| json!({ "users": ["ada"], "event": "ask", "args": [1, 2], "ack": { "timeout_ms": timeout } });
    let answer = async |client: &mut Client, with: Value| {
        let packet = within("the question", client.packet()).await.unwrap();
        assert!(packet.ends_with(r#"["ask",1,2]"#), "{packet}");
        let id: String = packet[2..].chars().take_while(char::is_ascii_digit).collect();
        client.send(format!("43{id}{with}")).await;
    };
    let (all, ()) = tokio::join!(scene.emit(question(10_000)), async {
        answer(&mut here, json!([{ "b": 1, "a": 2.5 }, "more"])).await;
        answer(&mut there, json!([])).await;
    });
    let mut all = all.with(200);
    // In the order in which they came, which is anybody's guess.
    all["acks"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    let acks = json!([null, { "b": 1, "a": 2.5 }]);
    assert_eq!(all, json!({ "acks": acks, "expected": 2, "received": 2 }));

    let (some, ()) = tokio::join!(scene.emit(question(300)), answer(&mut here, json!(["here"])));
    assert_eq!(some.with(200), json!({ "acks": ["here"], "expected": 2, "received": 1 }));
}

#[tokio::test]
async fn an_emit_that_makes_no_sense_is_refused() {
    let scene = Scene::alone(|_| {}).await;
    for (body, about) in [
        (json!({ "event": "e" }), "a target"),
        (json!({ "event": "e", "all": false, "users": [] }), "a target"),
        (json!({ "all": true }), "missing field `event`"),
        (json!({ "all": true, "event": "" }), "event"),
        (json!({ "all": true, "event": "disconnect" }), "reserved"),
        (json!({ "all": true, "event": "connect", "ack": { "timeout_ms": 5 } }), "reserved"),
        (json!({ "all": true, "event": "e", "room": "x" }), "unknown field `room`"),
        (json!({ "all": true, "event": "e", "ack": {} }), "timeout_ms"),
        (json!({ "all": true, "event": "e", "ack": { "timeout_ms": 0 } }), "1 to 60000"),
        (json!({ "all": true, "event": "e", "ack": { "timeout_ms": 60_001 } }), "1 to 60000"),
        (json!({ "all": true, "event": "e", "ack": { "timeout_ms": 5, "x": 1 } }), "unknown field"),
        (json!({ "users": [""], "event": "e" }), "users"),
        (json!({ "users": "ada", "event": "e" }), "a sequence"),
        (json!({ "all": true, "event": "e", "args": {} }), "a sequence"),
        (json!({ "all": true, "event": "e", "namespace": "chat" }), "a slash"),
    ] {
        let answer = scene.emit(body.clone()).await;
        assert_eq!(answer.problem(), (400, "bad_request"), "{body}");
        assert!(answer.message().contains(about), "{body}: {}", answer.message());
    }
}

#[tokio::test]
async fn users_are_listed_page_by_page() {
    let scene = Scene::start().await;
    let mut clients = Vec::new();
    for (node, user) in [(0, "ada"), (1, "ada"), (1, "bob"), (0, "eve")] {
        clients.push(scene.nodes[node].client_of(user).await);
    }
    let first = scene.admin.get("/users?limit=2&cursor=").await.with(200);
    let listed = json!([{ "id": "ada", "sockets": 2 }, { "id": "bob", "sockets": 1 }]);
    assert_eq!(first["users"], listed);
    let next = first["next"].as_str().expect("there is more");
    let second = scene.admin.get(&format!("/users?limit=2&cursor={next}")).await.with(200);
    assert_eq!(second, json!({ "users": [{ "id": "eve", "sockets": 1 }], "next": null }));
    assert_eq!(scene.admin.get("/users").await.with(200)["users"].as_array().unwrap().len(), 3);
    for query in ["limit=0", "limit=1001", "limit=x", "limit=-1", "page=2"] {
        let answer = scene.admin.get(&format!("/users?{query}")).await;
        assert_eq!(answer.problem(), (400, "bad_request"), "{query}");
    }
}

#[tokio::test]
async fn a_user_is_shown_whatever_the_id() {
    let scene = Scene::start().await;
    let here = scene.nodes[0].client_of("a/b ü").await;
    let there = scene.nodes[1].client_of("a/b ü").await;
    let online = scene.nodes[1].client_of("online").await;
    let user = scene.admin.get("/users/a%2Fb%20%C3%BC").await.with(200);
    assert_eq!((&user["id"], &user["online"]), (&json!("a/b ü"), &json!(true)));
    let sockets = user["sockets"].as_array().unwrap();
    for (n, (socket, client)) in sockets.iter().zip([&here, &there]).enumerate() {
        let members: Vec<&String> = socket.as_object().unwrap().keys().collect();
        assert_eq!(members, ["connected_at", "id", "namespace", "node", "transport"]);
        assert_eq!(socket["id"], json!(client.id));
        assert_eq!(socket["node"], json!(scene.nodes[n].switchboard.node()));
        assert_eq!(
            (&socket["namespace"], &socket["transport"]),
            (&json!("/"), &json!("websocket"))
        );
        assert!(socket["connected_at"].as_u64().unwrap() > 1_700_000_000_000);
    }
    let called_online = scene.admin.get("/users/online").await.with(200);
    assert_eq!(called_online["sockets"][0]["id"], json!(online.id));
    let nobody = scene.admin.get("/users/nobody").await.with(200);
    assert_eq!(nobody, json!({ "id": "nobody", "online": false, "sockets": [] }));

    let asked = json!({ "ids": ["a/b ü", "online", "nobody"] });
    let answer = scene.admin.post("/users/online", asked).await.with(200);
    let expected = json!({ "online": { "a/b ü": true, "online": true, "nobody": false } });
    assert_eq!(answer, expected);
    let too_many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    let answer = scene.admin.post("/users/online", json!({ "ids": too_many })).await;
    assert_eq!(answer.problem(), (400, "bad_request"));
}

#[tokio::test]
async fn a_user_is_moved_and_sent_away_on_both_nodes() {
    let scene = Scene::start().await;
    let mut here = scene.nodes[0].client_of("ada").await;
    let mut there = scene.nodes[1].client_of("ada").await;
    let mut bob = scene.nodes[1].client_of("bob").await;
    let both = BTreeSet::from([here.id.clone(), there.id.clone()]);

    let to = json!({ "rooms": ["moved"] });
    assert_eq!(scene.admin.post("/users/ada/join", to.clone()).await.with(200), json!({}));
    until("both have joined", async || scene.room_of("moved").await == both).await;
    assert_eq!(scene.admin.post("/users/ada/leave", to).await.with(200), json!({}));
    until("both have left", async || scene.room_of("moved").await.is_empty()).await;
    for (body, problem) in [
        (json!({ "rooms": [] }), (400, "bad_request")),
        (json!({ "rooms": [""] }), (400, "bad_request")),
        (json!({ "rooms": ["a"], "namespace": "chat" }), (400, "bad_request")),
        (json!({ "rooms": ["user:bob"] }), (403, "forbidden")),
        (json!({ "rooms": ["a", "authenticated"] }), (403, "forbidden")),
    ] {
        for action in ["join", "leave"] {
            let answer = scene.admin.post(&format!("/users/ada/{action}"), body.clone()).await;
            assert_eq!(answer.problem(), problem, "{body}");
        }
    }

    let answer = scene.admin.post("/users/ada/disconnect", json!({ "reason": "abuse" })).await;
    assert_eq!(answer.with(200), json!({ "disconnected": 2 }));
    within("here", here.disconnected()).await;
    within("there", there.disconnected()).await;
    let request = scene.admin.request(Method::POST, "/api/v1/users/ada/disconnect");
    let nobody = scene.admin.send(request).await;
    assert_eq!(nobody.with(200), json!({ "disconnected": 0 }), "without a body, too");
    assert_eq!(bob.ask("marker", Value::Null).await, Value::Null);
}

#[tokio::test]
async fn a_room_is_shown_and_sent_away_on_both_nodes() {
    let scene = Scene::start().await;
    let mut here = scene.nodes[0].client_of("ada").await;
    let mut there = scene.nodes[1].client().await;
    let mut other = scene.nodes[1].client().await;
    for client in [&mut here, &mut there] {
        client.ask("join", json!("den/1")).await;
    }
    assert_eq!(scene.room_of("den%2F1").await, [here.id.clone(), there.id.clone()].into());
    let room = scene.admin.get("/rooms/den%2F1?namespace=/").await.with(200);
    let ada = room["sockets"].as_array().unwrap().iter().find(|s| s["id"] == json!(here.id));
    assert_eq!(ada.unwrap()["rooms"].as_array().unwrap().len(), 4, "{room}");
    assert_eq!(ada.unwrap()["data"], json!({}));
    let elsewhere = scene.admin.get("/rooms/den%2F1?namespace=/chat").await.with(200);
    assert_eq!(elsewhere["sockets"], json!([]));

    let path = "/rooms/den%2F1/disconnect";
    let answer = scene.admin.post(path, json!({ "why": 1 })).await;
    assert_eq!(answer.problem(), (400, "bad_request"));
    let answer = scene.admin.post(&format!("{path}?namespace=x"), json!({})).await;
    assert_eq!(answer.problem(), (400, "bad_request"));
    assert_eq!(scene.admin.post(path, json!({})).await.with(200), json!({}));
    within("here", here.disconnected()).await;
    within("there", there.disconnected()).await;
    assert_eq!(other.ask("marker", Value::Null).await, Value::Null);
}

#[tokio::test]
async fn nodes_are_listed_and_a_lost_link_is_said() {
    let mut redis = RedisServer::start().await;
    let on = |name: &'static str| {
        let url = SecretUrl::new(redis.url());
        builder(move |config| {
            config.redis.url = Some(url);
            config.node_id = Some(name.into());
        })
    };
    let scene = Scene::of([on("north"), on("south")]).await;
    let mut here = scene.nodes[0].client_of("ada").await;
    let _guest = scene.nodes[1].client().await;
    let listed = async || scene.admin.get("/nodes").await.with(200)["nodes"].clone();
    let counted = async || {
        let mut counts: Vec<Value> = listed().await.as_array().unwrap().clone();
        counts.sort_by_key(|node| node["id"].to_string());
        counts.iter().map(|n| json!([n["id"], n["kind"], n["sockets"], n["users"]])).collect()
    };
    let expected = json!([["north", "switchboard", 1, 1], ["south", "switchboard", 1, 0]]);
    until("both are listed with their sockets", async || {
        let counted: Vec<Value> = counted().await;
        Value::from(counted) == expected
    })
    .await;
    let nodes = listed().await;
    assert!(nodes[0]["started_at"].as_u64().unwrap() > 1_700_000_000_000, "{nodes}");
    assert!(nodes[0]["last_seen_ms"].as_u64().unwrap() < 15_000, "{nodes}");
    assert!(nodes[0].get("incarnation").is_none(), "{nodes}");

    redis.kill();
    until("the link is down", async || {
        scene.admin.scrape().await.value("switchboard_cluster_link_up", &[]) == 0.0
    })
    .await;
    assert_eq!(scene.admin.get("/rooms/x").await.problem(), (503, "unavailable"));
    let answer = scene.admin.post("/users/ada/join", json!({ "rooms": ["x"] })).await;
    assert_eq!(answer.problem(), (503, "unavailable"));
    // What can be done here is done all the same.
    let answer = scene.emit(json!({ "rooms": ["x"], "event": "e" })).await;
    assert_eq!(answer.problem(), (503, "unavailable"));
    hears(&mut here, "e").await;
    let asking = json!({ "rooms": ["y"], "event": "e", "ack": { "timeout_ms": 100 } });
    assert_eq!(scene.emit(asking).await.problem(), (503, "unavailable"));
    // Nobody is called offline, or alone, because it is not known.
    for path in ["/users", "/users/ada", "/users/nobody", "/nodes"] {
        assert_eq!(scene.admin.get(path).await.problem(), (503, "unavailable"), "{path}");
    }
    let answer = scene.admin.post("/users/online", json!({ "ids": ["ada", "nobody"] })).await;
    assert_eq!(answer.problem(), (503, "unavailable"));
    // Of who is connected here it is known.
    let answer = scene.admin.post("/users/online", json!({ "ids": ["ada"] })).await.with(200);
    assert_eq!(answer, json!({ "online": { "ada": true } }));
    let answer = scene.admin.post("/users/ada/disconnect", json!({})).await;
    assert_eq!(answer.problem(), (503, "unavailable"));
    within("gone", here.disconnected()).await;
}
