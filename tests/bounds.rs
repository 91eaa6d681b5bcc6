//! What somebody outside can make grow: one claim for each, opened, measured, closed, and back to
//! where it was.

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use support::{Client, DEADLINE, RedisServer, Server, admin::Admin, by_name, until, within};
use switchboard::{
    Authenticate, Config, Data, Fault, Gateway, Handshake, Identity, Jwt, Reply, Socket,
    Switchboard, builtin, config::SecretUrl,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Numbers by which growth shows. A claim looks at those that it is about.
type Counts = BTreeMap<&'static str, f64>;

/// A server, and the counts of what it holds.
struct Watched {
    server: Server,
    admin: Admin,
    redis: Option<RedisServer>,
}

impl Watched {
    async fn alone(gateway: Gateway, configure: impl FnOnce(&mut Config)) -> Self {
        Self::start(gateway, configure, None).await
    }

    async fn on_redis(gateway: Gateway, configure: impl FnOnce(&mut Config)) -> Self {
        let redis = RedisServer::start().await;
        Self::start(gateway, configure, Some(redis)).await
    }

    async fn start(
        gateway: Gateway,
        configure: impl FnOnce(&mut Config),
        redis: Option<RedisServer>,
    ) -> Self {
        let mut config = Config::default();
        config.drain.grace = Duration::ZERO;
        config.drain.spread = Duration::ZERO;
        config.redis.url = redis.as_ref().map(|redis| SecretUrl::new(redis.url()));
        configure(&mut config);
        let server = Server::start(Switchboard::builder().config(config).gateway(gateway)).await;
        let admin = Admin::of(&server.switchboard).await;
        Self { server, admin, redis }
    }

    async fn counts(&self) -> Counts {
        let metrics = self.admin.scrape().await;
        let gauge = |name| metrics.value(name, &[]);
        let mut listed = match &self.redis {
            Some(redis) => redis.ask(&["PUBSUB", "CHANNELS", "socket.io*"]).await,
            None => Vec::<String>::new(),
        };
        // By these a link hears itself; each has a name of its own, and they change.
        listed.retain(|name| !name.starts_with("socket.io#here-"));
        let channels = listed.len();
        BTreeMap::from([
            ("connections", {
                let of = |transport| {
                    metrics.value("switchboard_connections", &[("transport", transport)])
                };
                of("websocket") + of("polling")
            }),
            ("sockets", gauge("switchboard_sockets")),
            ("namespaces", gauge("switchboard_namespaces")),
            ("deadlines", gauge("switchboard_token_deadlines")),
            ("tasks", gauge("switchboard_tasks")),
            ("channels", channels as f64),
        ])
    }

    /// Waits until every count is what it was.
    async fn is_back_to(&self, before: &Counts) {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let now = self.counts().await;
            if now == *before {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "before: {before:?}, and then: {now:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Lets in who has a name.
async fn named(handshake: Handshake) -> Result<(), Fault> {
    by_name(handshake.clone()).await?;
    match handshake.identity().is_anonymous() {
        true => Err(Fault::unauthorized("say who you are")),
        false => Ok(()),
    }
}

fn chat() -> Gateway {
    Gateway::new("/chat/{room}")
        .middleware(named)
        .on("echo", async |Data(it): Data<Value>| Reply::ack(&it))
}

/// The answer to the next CONNECT: the packet's type and what follows it.
async fn answer(client: &mut Client) -> (String, Value) {
    loop {
        let packet = within("an answer to CONNECT", client.packet()).await.expect("connected");
        if packet.starts_with("40") || packet.starts_with("44") {
            let (kind, rest) = packet.split_at(2);
            let body =
                rest.split_once(",{").map_or(rest.to_owned(), |(_, rest)| format!("{{{rest}"));
            return (kind.to_owned(), serde_json::from_str(&body).expect("JSON"));
        }
    }
}

#[tokio::test]
async fn namespaces_that_nobody_is_let_into_cost_other_nodes_nothing_and_go() {
    let watched = Watched::on_redis(chat(), |_| {}).await;
    let mut stranger = Client::open(watched.server.address).await;
    until("it is counted", async || watched.counts().await["connections"] == 1.0).await;
    let before = watched.counts().await;
    for room in 0..150 {
        stranger.send(format!("40/chat/{room},{{}}")).await;
    }
    for _ in 0..150 {
        let (kind, body) = answer(&mut stranger).await;
        assert_eq!((kind.as_str(), body["data"]["code"].as_str()), ("44", Some("unauthorized")));
    }
    let after = watched.counts().await;
    assert_eq!(after["channels"], before["channels"], "others hear nothing of it");
    assert_eq!(after["sockets"], 0.0);
    watched.is_back_to(&before).await;
    stranger.close().await;
    watched.server.stop().await.expect("a clean drain");
}

#[tokio::test]
async fn a_namespace_goes_with_its_last_socket() {
    let watched = Watched::on_redis(chat(), |_| {}).await;
    let mut ada = Client::open(watched.server.address).await;
    until("it is counted", async || watched.counts().await["connections"] == 1.0).await;
    let before = watched.counts().await;
    for room in 0..100 {
        ada.send(format!(r#"40/chat/{room},{{"user":"ada"}}"#)).await;
        assert_eq!(answer(&mut ada).await.0, "40");
    }
    let full = watched.counts().await;
    assert_eq!(full["namespaces"], before["namespaces"] + 100.0);
    assert!(full["channels"] >= before["channels"] + 300.0, "{full:?}");
    for room in 0..100 {
        ada.send(format!("41/chat/{room},")).await;
    }
    watched.is_back_to(&before).await;
    // And it comes back as if nothing had been.
    ada.enter("/chat/7", json!({ "user": "ada" })).await.expect("let in");
    assert_eq!(ada.ask("echo", json!("again")).await, json!("again"));
    watched.server.switchboard.of("/chat/7").emit("heard", &1).expect("an event");
    assert_eq!(within("the event", ada.hears("heard")).await, json!(1));
    ada.close().await;
    watched.server.stop().await.expect("a clean drain");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let gateway = Gateway::new("/").middleware(by_name);
    let watched = Watched::alone(gateway, |config| {
        config.engine.max_payload = 30_000_000;
        config.edge.stall_timeout = Duration::from_millis(300);
    })
    .await;
    let before = watched.counts().await;
    let url = "/socket.io/?EIO=4&transport=polling";
    let address = watched.server.address;
    let http = reqwest::Client::new();
    let ask = async |request: reqwest::RequestBuilder| {
        within("an answer", request.send()).await.expect("HTTP").text().await.expect("text")
    };
    let open = ask(http.get(format!("http://{address}{url}"))).await;
    let open: Value = serde_json::from_str(&open[1..]).expect("an OPEN packet");
    let url = format!("{url}&sid={}", open["sid"].as_str().expect("an id"));
    ask(http.post(format!("http://{address}{url}")).body("40")).await;
    assert!(ask(http.get(format!("http://{address}{url}"))).await.starts_with("40"));
    // More than the system keeps for it.
    let text = "x".repeat(1_000_000);
    for _ in 0..24 {
        watched.server.switchboard.of("/").emit("text", &text).expect("an event");
    }
    let mut silent = TcpStream::connect(address).await.expect("connected");
    let poll = format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n");
    silent.write_all(poll.as_bytes()).await.expect("sent");
    let stalled = ("switchboard_connections_cut_total", [("reason", "stalled")]);
    until("it is cut", async || watched.admin.scrape().await.value(stalled.0, &stalled.1) == 1.0)
        .await;
    watched.is_back_to(&before).await;
    drop(silent);
    watched.server.stop().await.expect("a clean drain");
}

/// An emitter may be kept, and a namespace has another adapter when it comes back.
#[tokio::test]
async fn an_emitter_outlives_a_namespace() {
    let watched = Watched::alone(chat(), |_| {}).await;
    let before = watched.counts().await;
    let ada = watched.server.client_with("/chat/1", json!({ "user": "ada" })).await;
    let kept = watched.server.switchboard.of("/chat/1");
    ada.close().await;
    watched.is_back_to(&before).await;
    let mut bob = watched.server.client_with("/chat/1", json!({ "user": "bob" })).await;
    kept.clone().emit("heard", &"by who came later").expect("an event");
    assert_eq!(within("the event", bob.hears("heard")).await, json!("by who came later"));
    assert_eq!(kept.clone().fetch_sockets().await.expect("alone").values.len(), 1);
    kept.disconnect(false);
    within("the end", bob.disconnected()).await;
}

#[tokio::test]
async fn there_are_as_many_namespaces_as_there_may_be() {
    let watched = Watched::alone(chat(), |config| config.limits.max_namespaces = 3).await;
    let before = watched.counts().await;
    let mut inside = Vec::new();
    for room in 0..3 {
        let namespace = format!("/chat/{room}");
        inside.push(watched.server.client_with(&namespace, json!({ "user": "ada" })).await);
    }
    for attempt in 0..10 {
        let namespace = format!("/chat/one-more-{attempt}");
        let (_, refused) = watched.server.ask(&namespace, json!({ "user": "bob" })).await;
        let refused = refused.expect_err("one too many");
        assert_eq!(refused["data"]["code"], "unavailable", "{refused}");
        assert_eq!(refused["data"]["retry"], true);
    }
    assert_eq!(watched.counts().await["namespaces"], before["namespaces"] + 3.0);
    // Who is let into one that there is, is; and who is gone makes room.
    let mut second = watched.server.client_with("/chat/0", json!({ "user": "bob" })).await;
    assert_eq!(second.ask("echo", json!(1)).await, json!(1));
    inside.pop().expect("three").close().await;
    until("there is room again", async || {
        let (client, let_in) = watched.server.ask("/chat/new", json!({ "user": "bob" })).await;
        client.close().await;
        let_in.is_ok()
    })
    .await;
    second.close().await;
    for client in inside {
        client.close().await;
    }
    watched.is_back_to(&before).await;
}

/// A CONNECT that is on its way while the namespace is removed finds it, or its client comes back:
/// nobody sits in a namespace that no packet reaches.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_comes_while_a_namespace_goes_is_not_lost() {
    let watched = Watched::alone(chat(), |config| {
        // So that namespaces go at once, again and again.
        config.limits.max_namespaces = 1;
    })
    .await;
    let before = watched.counts().await;
    let address = watched.server.address;
    let visitors = (0..16).map(|number: usize| {
        tokio::spawn(async move {
            let (mut served, mut turned_away, mut cut) = (0, 0, 0);
            for round in 0..60 {
                let mut client = Client::open(address).await;
                let namespace = format!("/chat/{}", (number + round) % 3);
                client.send(format!(r#"40{namespace},{{"user":"ada"}}"#)).await;
                let answer = loop {
                    match within("an answer", client.packet()).await {
                        Some(packet) if packet.starts_with("40") => break Some(true),
                        Some(packet) if packet.starts_with("44") => break Some(false),
                        Some(_) => {}
                        None => break None,
                    }
                };
                match answer {
                    None => cut += 1,
                    Some(false) => turned_away += 1,
                    Some(true) => {
                        client.send(format!(r#"42{namespace},1["echo",{round}]"#)).await;
                        match within("an echo", client.packet()).await {
                            Some(echo) => {
                                assert_eq!(echo, format!("43{namespace},1[{round}]"));
                                served += 1;
                            }
                            None => cut += 1,
                        }
                    }
                }
                client.close().await;
            }
            (served, turned_away, cut)
        })
    });
    let mut all = (0, 0, 0);
    for visitor in visitors.collect::<Vec<_>>() {
        let (served, turned_away, cut) = visitor.await.expect("no visitor is stuck");
        all = (all.0 + served, all.1 + turned_away, all.2 + cut);
    }
    assert_eq!(all.0 + all.1 + all.2, 16 * 60);
    assert!(all.0 > 0 && all.1 > 0, "{all:?}");
    watched.is_back_to(&before).await;
}

fn binary(secret: &str) -> (Gateway, impl Fn(&str, u64) -> String) {
    let jwt = Jwt::hs256(secret);
    let authenticate = Authenticate::optional(jwt);
    let gateway = builtin::gateway(&Config::default(), &authenticate).middleware(authenticate);
    let secret = secret.to_owned();
    let token = move |user: &str, seconds: u64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let exp = now.expect("after 1970").as_secs() + seconds;
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        let claims = json!({ "sub": user, "exp": exp });
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
    };
    (gateway, token)
}

#[tokio::test]
async fn a_token_is_waited_for_once_and_as_long_as_its_socket_is_there() {
    let (gateway, token) = binary("a secret of thirty-two bytes or so");
    let watched = Watched::alone(gateway, |_| {}).await;
    let before = watched.counts().await;
    let mut clients = Vec::new();
    for number in 0..10 {
        let auth = json!({ "token": token(&format!("user {number}"), 3_600) });
        clients.push(watched.server.client_with("/", auth).await);
    }
    assert_eq!(watched.counts().await["deadlines"], 10.0);
    for round in 1..20 {
        let newer = json!(token("user 0", 3_600 + round));
        assert_eq!(clients[0].ask("auth:refresh", newer).await["ok"], true);
    }
    assert_eq!(watched.counts().await["deadlines"], 10.0, "a newer one takes the place of the old");
    for client in clients {
        client.close().await;
    }
    watched.is_back_to(&before).await;
}

#[tokio::test]
async fn tokens_are_not_verified_as_often_as_a_client_likes() {
    let (gateway, token) = binary("a secret of thirty-two bytes or so");
    let watched = Watched::alone(gateway, |_| {}).await;
    let auth = json!({ "token": token("ada", 3_600) });
    let mut ada = watched.server.client_with("/", auth.clone()).await;
    let mut answers = BTreeMap::<String, usize>::new();
    let mut asked = Vec::new();
    for _ in 0..3_000 {
        asked.push(ada.emit_asking("auth:refresh", auth["token"].clone()).await);
    }
    for id in asked {
        let answer = ada.acknowledged(id).await;
        let code = answer["error"]["code"].as_str().unwrap_or("ok").to_owned();
        *answers.entry(code).or_default() += 1;
    }
    assert!(answers["ok"] >= 199, "a burst is fine: {answers:?}");
    assert!(answers["rate_limited"] > 0, "{answers:?}");
    assert_eq!(answers.len(), 2, "{answers:?}");
}

#[tokio::test]
async fn sockets_that_come_and_go_on_one_connection_leave_nothing() {
    let watched = Watched::on_redis(Gateway::new("/"), |_| {}).await;
    let mut client = Client::open(watched.server.address).await;
    until("it is counted", async || watched.counts().await["connections"] == 1.0).await;
    let before = watched.counts().await;
    for _ in 0..150 {
        client.send("40{}").await;
        assert_eq!(answer(&mut client).await.0, "40");
        client.send("41").await;
    }
    watched.is_back_to(&before).await;
    client.close().await;
}

#[tokio::test]
async fn a_client_does_not_ask_as_often_as_it_likes_to_be_let_in() {
    const ASKS: usize = 3_000;
    let watched = Watched::alone(chat(), |_| {}).await;
    let mut stranger = Client::open(watched.server.address).await;
    until("it is counted", async || watched.counts().await["connections"] == 1.0).await;
    let before = watched.counts().await;
    for number in 0..ASKS {
        stranger.send(format!("40/chat/{number},{{}}")).await;
    }
    let mut answers = BTreeMap::<String, usize>::new();
    for _ in 0..ASKS {
        let (_, body) = answer(&mut stranger).await;
        let code = body["data"]["code"].as_str().expect("a code").to_owned();
        *answers.entry(code).or_default() += 1;
    }
    assert!(answers["unauthorized"] >= 200, "a burst is fine: {answers:?}");
    assert!(answers["rate_limited"] > 0, "{answers:?}");
    assert_eq!(answers.len(), 2, "{answers:?}");
    watched.is_back_to(&before).await;
    stranger.close().await;
}

#[tokio::test]
async fn rooms_that_are_left_are_not_listened_to() {
    let gateway = Gateway::new("/")
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        })
        .on("leave", async |socket: Socket, Data(room): Data<String>| {
            socket.leave(&room);
            Reply::ack(&true)
        });
    let watched = Watched::on_redis(gateway, |_| {}).await;
    let mut ada = watched.server.client().await;
    let before = watched.counts().await;
    for room in 0..100 {
        ada.ask("join", json!(format!("room {room}"))).await;
    }
    assert_eq!(watched.counts().await["channels"], before["channels"] + 100.0);
    for room in 0..100 {
        ada.ask("leave", json!(format!("room {room}"))).await;
    }
    watched.is_back_to(&before).await;
    ada.close().await;
}

/// A refusal may have any words, and its data comes with them.
#[tokio::test]
async fn a_long_refusal_keeps_its_data() {
    let words = Arc::new("no ".repeat(40_000));
    let said = words.clone();
    let gateway = Gateway::new("/").middleware(move |handshake: Handshake| {
        let said = said.clone();
        async move {
            handshake.set_identity(Identity::anonymous());
            Err(Fault::forbidden((*said).clone()))
        }
    });
    let watched = Watched::alone(gateway, |_| {}).await;
    for _ in 0..2 {
        let (_, refused) = watched.server.ask("/", json!({})).await;
        let refused = refused.expect_err("refused");
        assert_eq!(refused["message"], format!("forbidden: {words}"));
        assert_eq!(refused["data"]["code"], "forbidden");
        assert_eq!(refused["data"]["message"], *words);
    }
}
