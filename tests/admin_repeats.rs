//! Requests of the administration API that are repeated, and several in one.

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{Client, RedisServer, Server, admin::Admin, by_name, until, within};
use switchboard::{
    Config, Gateway, Reply, Switchboard,
    config::SecretUrl,
    server::{Builder, LocalCluster},
};

fn builder(configure: impl FnOnce(&mut Config)) -> Builder {
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::from_millis(50);
    configure(&mut config);
    let gateway = Gateway::new("/").on("marker", async || Reply::ack(&()));
    Switchboard::builder().config(config).global_middleware(by_name).gateway(gateway)
}

/// Nodes that are one server, each with its administration.
struct Scene {
    nodes: Vec<Server>,
    admins: Vec<Admin>,
}

impl Scene {
    async fn of(builders: impl IntoIterator<Item = Builder>) -> Self {
        let (mut nodes, mut admins) = (Vec::new(), Vec::new());
        for builder in builders {
            let node = Server::start(builder).await;
            admins.push(Admin::of(&node.switchboard).await);
            nodes.push(node);
        }
        Self { nodes, admins }
    }

    async fn in_process() -> Self {
        let cluster = LocalCluster::default();
        Self::of([builder(|_| {}).cluster(&cluster), builder(|_| {}).cluster(&cluster)]).await
    }

    async fn on(redis: &RedisServer) -> Self {
        let on = || {
            let url = SecretUrl::new(redis.url());
            builder(|config| config.redis.url = Some(url))
        };
        Self::of([on(), on()]).await
    }
}

/// The numbers that a client has heard with the event `n`, up to now.
async fn numbers(admin: &Admin, client: &mut Client) -> Vec<Value> {
    admin.post("/emit", json!({ "all": true, "event": "end" })).await.with(202);
    within("the end", client.hears("end")).await;
    let heard = client.heard_before("marker").await;
    heard.into_iter().filter(|(name, _)| name == "n").map(|(_, mut args)| args.remove(0)).collect()
}

fn keyed(key: &str, n: u32) -> Value {
    json!({ "users": ["ada"], "event": "n", "args": [n, { "a": 1, "b": 2 }], "idempotency_key": key })
}

async fn repeats_are_answered(scene: &Scene) {
    let mut ada = scene.nodes[1].client_of("ada").await;
    let [one, other] = scene.admins.as_slice() else { panic!("two nodes") };
    assert_eq!(one.post("/emit", keyed("a", 1)).await.with(202), json!({}));
    for admin in [one, other, one] {
        let again = admin.post("/emit", keyed("a", 1)).await;
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert_eq!(again.with(202), json!({}));
    }
    let written_otherwise = r#"{"args":[1,{"b":2,"a":1}], "namespace":"/", "idempotency_key":"a",
        "event":"n", "users":["ada"], "volatile":false}"#;
    let request = other.request(reqwest::Method::POST, "/api/v1/emit");
    let request = request.header("content-type", "application/json").body(written_otherwise);
    assert_eq!(other.send(request).await.with(202), json!({}));

    let at_once = (0..20).map(|n| scene.admins[n % 2].post("/emit", keyed("b", 2)));
    for answer in join_all(at_once).await {
        assert_eq!(answer.with(202), json!({}));
    }
    for admin in [one, other] {
        let another = admin.post("/emit", keyed("a", 3)).await;
        assert_eq!(another.problem(), (409, "bad_request"));
    }
    // Nothing was sent for it, so the key is free.
    let mut reserved = keyed("c", 4);
    reserved["event"] = json!("disconnect");
    assert_eq!(one.post("/emit", reserved).await.problem(), (400, "bad_request"));
    assert_eq!(other.post("/emit", keyed("c", 4)).await.with(202), json!({}));
    let odd = "'\"\u{1f980}\0 ".repeat(24);
    assert_eq!(one.post("/emit", keyed(&odd, 5)).await.with(202), json!({}));
    assert_eq!(other.post("/emit", keyed(&odd, 5)).await.with(202), json!({}));
    for bad in ["", &"x".repeat(257)] {
        assert_eq!(one.post("/emit", keyed(bad, 6)).await.problem(), (400, "bad_request"));
    }
    // Each node emitted some of them.
    let mut heard = Vec::new();
    until("all are heard", async || {
        heard.extend(numbers(one, &mut ada).await);
        heard.len() >= 4
    })
    .await;
    heard.sort_by_key(Value::as_u64);
    assert_eq!(heard, [1, 2, 4, 5]);
}

#[tokio::test]
async fn a_repeated_emit_is_answered_on_both_nodes_and_sends_nothing() {
    repeats_are_answered(&Scene::in_process().await).await;
}

#[tokio::test]
async fn a_repeated_emit_is_answered_through_redis() {
    let mut redis = RedisServer::start().await;
    let scene = Scene::on(&redis).await;
    repeats_are_answered(&scene).await;
    let mut ada = scene.nodes[0].client_of("ada").await;
    redis.kill();
    for key in ["a", "new"] {
        let answer = scene.admins[0].post("/emit", keyed(key, 7)).await;
        assert_eq!(answer.problem(), (503, "unavailable"), "{key}");
    }
    let unkeyed = json!({ "users": ["ada"], "event": "n", "args": [8] });
    assert_eq!(scene.admins[0].post("/emit", unkeyed).await.problem().0, 503);
    assert_eq!(within("what is here", ada.hears("n")).await, json!(8), "and nothing before it");
}

#[tokio::test]
async fn the_answers_of_clients_are_remembered_too() {
    let scene = Scene::in_process().await;
    let mut ada = scene.nodes[0].client_of("ada").await;
    let mut question = keyed("asked", 1);
    question["ack"] = json!({ "timeout_ms": 10_000 });
    let ask = |n: usize| scene.admins[n].post("/emit", question.clone());
    let (first, second, ()) = tokio::join!(ask(0), ask(1), async {
        let packet = within("the question", ada.packet()).await.unwrap();
        let id: String = packet[2..].chars().take_while(char::is_ascii_digit).collect();
        ada.send(format!("43{id}[\"yes\"]")).await;
    });
    let answer = json!({ "acks": ["yes"], "expected": 1, "received": 1 });
    assert_eq!((first.with(200), second.with(200)), (answer.clone(), answer.clone()));
    assert_eq!(ask(1).await.with(200), answer, "and nobody is asked again");
    assert!(ada.heard_before("marker").await.is_empty());
}

#[tokio::test]
async fn an_emit_whose_caller_has_gone_is_carried_out_and_its_answer_known() {
    let scene = Scene::in_process().await;
    let mut ada = scene.nodes[0].client_of("ada").await;
    let mut question = keyed("left", 1);
    question["ack"] = json!({ "timeout_ms": 10_000 });
    let packet = tokio::select! {
        _ = scene.admins[0].post("/emit", question.clone()) => panic!("nobody has answered yet"),
        packet = ada.packet() => packet.unwrap(),
    };
    let id: String = packet[2..].chars().take_while(char::is_ascii_digit).collect();
    ada.send(format!("43{id}[7]")).await;
    let again = scene.admins[1].post("/emit", question).await;
    assert_eq!(again.with(200), json!({ "acks": [7], "expected": 1, "received": 1 }));
}

#[tokio::test]
async fn a_batch_is_carried_out_in_order_and_answered_in_order() {
    let scene = Scene::in_process().await;
    let admin = &scene.admins[0];
    let mut ada = scene.nodes[0].client_of("ada").await;
    let id = ada.id.clone();
    let part = |method: &str, path: &str, body: Value| json!({ "method": method, "path": path, "body": body });
    let requests = json!([
        part("POST", "/emit", keyed("k", 1)),
        part("post", "/api/v1/emit", keyed("k", 1)),
        part("POST", "/users/ada/join", json!({ "rooms": ["r"] })),
        { "method": "GET", "path": "/rooms/r?namespace=%2F" },
        part("POST", "/emit", json!({ "rooms": ["r"], "event": "n", "args": [2] })),
        { "method": "GET", "path": "/users/ada" },
        part("POST", "/nothing", json!({})),
        part("POST", "/batch", json!({ "requests": [] })),
        part("GET", "/emit", Value::Null),
        part("POST", "/emit", json!({ "event": "n" })),
        part("POST", "/emit", json!([1])),
        { "method": "GET", "path": "/metrics" },
        { "method": "GET", "path": "/../metrics" },
        { "method": "GET", "path": "users" },
        { "method": "GET", "path": "/a b" },
        { "method": "", "path": "/users" },
        { "method": "GET", "path": "/api/v1" },
        part("POST", "/emit", json!({ "users": ["ada"], "event": "n", "args": [3] })),
    ]);
    let answer = admin.post("/batch", json!({ "requests": requests })).await.with(200);
    let responses = answer["responses"].as_array().unwrap();
    let statuses: Vec<_> = responses.iter().map(|it| it["status"].as_u64().unwrap()).collect();
    let expected =
        [202, 202, 200, 200, 202, 200, 404, 400, 405, 400, 400, 404, 404, 400, 400, 400, 404, 202];
    assert_eq!(statuses, expected, "{answer:#}");
    for response in responses {
        let members: Vec<&String> = response.as_object().unwrap().keys().collect();
        assert_eq!(members, ["body", "status"]);
        let is_refused = response["status"].as_u64().unwrap() >= 400;
        assert_eq!(response["body"]["error"]["code"].is_string(), is_refused, "{response}");
    }
    assert_eq!(responses[3]["body"]["sockets"][0]["id"], json!(id));
    assert_eq!(responses[5]["body"]["online"], json!(true));
    let message = responses[7]["body"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("batch"), "{message}");
    assert_eq!(numbers(admin, &mut ada).await, [1, 2, 3]);

    let metrics = admin.scrape().await;
    let count = |route: &str, status: &str| {
        let labels = [("method", "POST"), ("route", route), ("status", status)];
        metrics.value("switchboard_admin_request_duration_seconds_count", &labels)
    };
    assert_eq!(count("/api/v1/batch", "200"), 1.0);
    assert_eq!(count("/api/v1/batch", "400"), 1.0, "the one in the batch");
    // And the one of `numbers`.
    assert_eq!(count("/api/v1/emit", "202"), 5.0);
}

#[tokio::test]
async fn a_batch_that_cannot_be_is_refused_as_a_whole() {
    let scene = Scene::of([builder(|_| {})]).await;
    let mut ada = scene.nodes[0].client_of("ada").await;
    let admin = &scene.admins[0];
    let one = json!({ "method": "POST", "path": "/emit",
        "body": { "all": true, "event": "n", "args": [1] } });
    for (body, about) in [
        (json!({ "requests": vec![one.clone(); 101] }), "at most 100"),
        (json!({ "requests": [one.clone(), { "path": "/users" }] }), "missing field `method`"),
        (
            json!({ "requests": [one.clone(), { "method": "GET", "path": "/", "x": 1 }] }),
            "unknown field",
        ),
        (json!({ "requests": [one.clone(), 7] }), "expected"),
        (json!({}), "missing field `requests`"),
    ] {
        let answer = admin.post("/batch", body).await;
        assert_eq!(answer.problem(), (400, "bad_request"), "{about}");
        assert!(answer.message().contains(about), "{}", answer.message());
    }
    let long =
        json!({ "requests": [one.clone(), { "method": "GET", "path": "/".repeat(1 << 20) }] });
    assert_eq!(admin.post("/batch", long).await.problem(), (413, "too_large"));
    assert!(numbers(admin, &mut ada).await.is_empty(), "none was carried out");
    let none = admin.post("/batch", json!({ "requests": [] })).await.with(200);
    assert_eq!(none, json!({ "responses": [] }));
    let all = admin.post("/batch", json!({ "requests": vec![one; 100] })).await.with(200);
    assert_eq!(all["responses"].as_array().unwrap().len(), 100);
    assert_eq!(numbers(admin, &mut ada).await.len(), 100);
}
