//! The metrics as Prometheus sees them: values that move, names that are written down, and no
//! label that a client has chosen.

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use reqwest::Method;
use serde_json::{Value, json};
use support::{
    DEADLINE, RedisServer, Server,
    admin::{Admin, Metrics},
    by_name, until, within,
};
use switchboard::{
    Config, Fault, Gateway, Handshake, Reply, Switchboard,
    config::{AdminUi, AdminUiMode, RoomHistory, SecretUrl},
    server::Builder,
};
use test_kit::postgres::PostgresServer;

fn builder(configure: impl FnOnce(&mut Config)) -> Builder {
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::from_millis(50);
    configure(&mut config);
    let main = Gateway::new("/")
        .on("marker", async || Reply::ack(&()))
        .on("two", async || (Reply::event("one", &1), Reply::event("two", &2).to_all()));
    let any = Gateway::new("/any/{name}").fallback(async || Reply::ack(&()));
    Switchboard::builder()
        .config(config)
        .global_middleware(by_name)
        .global_middleware(async |handshake: Handshake| {
            let auth: Value = handshake.auth()?;
            match auth["user"] == "mallory" {
                true => Err(Fault::forbidden("not this one")),
                false => Ok(()),
            }
        })
        .gateway(main)
        .gateway(any)
}

async fn start(builder: Builder) -> (Server, Admin) {
    let server = Server::start(builder).await;
    let admin = Admin::of(&server.switchboard).await;
    (server, admin)
}

/// By how much a counter has grown.
fn grown(before: &Metrics, after: &Metrics, name: &str, labels: &[(&str, &str)]) -> f64 {
    after.value(name, labels) - before.value(name, labels)
}

#[tokio::test]
async fn sockets_are_counted_as_they_come_and_go() {
    let (server, admin) = start(builder(|_| {})).await;
    let none = admin.scrape().await;
    for name in ["switchboard_sockets", "switchboard_users", "switchboard_connects_total"] {
        assert_eq!(none.value(name, &[]), 0.0, "{name}");
    }
    let mut ada = server.client_of("ada").await;
    let ada_too = server.client_of("ada").await;
    let guest = server.client().await;
    assert!(server.ask("/", json!({ "user": "mallory" })).await.1.is_err());
    let some = admin.scrape().await;
    for (name, labels, count) in [
        ("switchboard_sockets", &[][..], 3.0),
        ("socket_io_connected", &[], 3.0),
        ("switchboard_users", &[], 1.0),
        ("switchboard_connects_total", &[], 3.0),
        ("socket_io_connect_total", &[], 3.0),
        ("switchboard_connects_refused_total", &[("code", "forbidden")], 1.0),
        ("switchboard_connections", &[("transport", "polling")], 0.0),
    ] {
        assert_eq!(some.value(name, labels), count, "{name}");
    }
    assert!(some.value("switchboard_connections", &[("transport", "websocket")]) >= 3.0);

    ada.send("41").await;
    server.switchboard.of("/").socket_named(&ada_too.id).disconnect(false);
    guest.close().await;
    until("all have left", async || server.switchboard.socket_count() == 0).await;
    let gone = admin.scrape().await;
    let left = |reason| gone.value("switchboard_disconnects_total", &[("reason", reason)]);
    assert_eq!(left("client namespace disconnect"), 1.0);
    assert_eq!(left("server namespace disconnect"), 1.0);
    assert_eq!(left("transport close") + left("transport error"), 1.0);
    let theirs = ("socket_io_disconnect_total", [("reason", "client namespace disconnect")]);
    assert_eq!(gone.value(theirs.0, &theirs.1), 1.0);
    assert_eq!(gone.value("switchboard_sockets", &[]), 0.0);
}

/// A socket whose id the test knows as text.
trait SocketNamed {
    fn socket_named(self, id: &str) -> Self;
}

impl SocketNamed for switchboard::sockets::emitter::Emitter {
    fn socket_named(self, id: &str) -> Self {
        self.to(id.parse::<switchboard::id::SocketId>().expect("the id of a socket"))
    }
}

#[tokio::test]
async fn events_are_counted_and_clients_choose_no_label() {
    let (server, admin) = start(builder(|_| {})).await;
    let mut ada = server.client_of("ada").await;
    let mut any = server.client_with("/any/hidden", json!({})).await;
    let before = admin.scrape().await;
    ada.ask("marker", json!(null)).await;
    ada.emit("two", json!(null)).await;
    within("two", ada.hears("two")).await;
    ada.emit_asking("of-my-choice", json!(null)).await;
    any.ask("also-of-my-choice", json!(null)).await;
    let after = admin.scrape().await;
    for (name, labels, more) in [
        ("switchboard_events_received_total", &[][..], 4.0),
        ("socket_io_events_received_total", &[], 4.0),
        ("switchboard_events_refused_total", &[("code", "unknown_event")], 1.0),
        ("switchboard_replies_total", &[], 4.0),
        ("switchboard_events_sent_total", &[], 2.0),
        ("socket_io_events_sent_total", &[], 2.0),
        ("switchboard_emits_total", &[("target", "socket")], 1.0),
        ("switchboard_emits_total", &[("target", "all")], 1.0),
    ] {
        assert_eq!(grown(&before, &after, name, labels), more, "{name} {labels:?}");
    }
    for (namespace, event) in [("/", "marker"), ("/", "two")] {
        let labels = [("namespace", namespace), ("event", event)];
        let name = "switchboard_handler_duration_seconds";
        assert_eq!(after.value(&format!("{name}_count"), &labels), 1.0, "{labels:?}");
        assert!(after.value(&format!("{name}_sum"), &labels) > 0.0, "{labels:?}");
    }
    // The parser cannot read labels with braces; Prometheus can.
    let others = r#"_seconds_count{namespace="/any/{name}",event="other"} 1"#;
    assert!(after.text.contains(others), "{}", after.text);
    for chosen in ["my-choice", "hidden", "ada"] {
        assert!(!after.text.contains(chosen), "{chosen}");
    }
}

#[tokio::test]
async fn what_is_sent_is_counted_for_each_socket_that_gets_it() {
    let (server, admin) = start(builder(|_| {})).await;
    let of = || server.switchboard.of("/");
    for _ in 0..10 {
        of().emit("to-nobody", &()).unwrap();
        of().to("empty").emit("to-nobody", &()).unwrap();
        of().to_user("nobody").emit("to-nobody", &()).unwrap();
    }
    let names = ["switchboard_events_sent_total", "socket_io_events_sent_total"];
    let nobody = admin.scrape().await;
    for name in names {
        assert_eq!(nobody.value(name, &[]), 0.0, "{name}");
    }
    let mut clients = Vec::new();
    for name in ["ada", "ada", "bob"] {
        clients.push(server.client_of(name).await);
    }
    let before = admin.scrape().await;
    of().emit("to-all", &()).unwrap();
    of().to_user("ada").emit("to-two", &()).unwrap();
    of().socket_named(&clients[2].id).emit("to-one", &()).unwrap();
    let (acks, ()) =
        tokio::join!(of().emit_with_ack("ask", &(), Duration::from_millis(300)), async {
            for client in &mut clients {
                while !within("the question", client.packet()).await.unwrap().contains("\"ask\"") {}
            }
        });
    assert_eq!(acks.unwrap().expected, 3);
    let after = admin.scrape().await;
    for name in names {
        assert_eq!(grown(&before, &after, name, &[]), 3.0 + 2.0 + 1.0 + 3.0, "{name}");
    }
}

#[tokio::test]
async fn who_asks_for_a_namespace_that_there_is_not_is_counted() {
    let (server, admin) = start(builder(|_| {})).await;
    let refused = async |code: &str| {
        let metrics = admin.scrape().await;
        metrics.value("switchboard_connects_refused_total", &[("code", code)])
    };
    server.client().await;
    server.client_with("/any/room", json!({})).await;
    assert_eq!(refused("unknown_namespace").await, 0.0);
    let refusal = server.ask("/nowhere", json!({})).await.1.unwrap_err();
    assert_eq!(refusal, json!({ "message": "Invalid namespace" }));
    assert_eq!(refused("unknown_namespace").await, 1.0);
    let poller = Poller::open(&server).await;
    poller.post("40/nowhere,\x1e40/nowhere/either,{}\x1e40").await;
    assert_eq!(refused("unknown_namespace").await, 3.0);
    assert!(server.ask("/", json!({ "user": "mallory" })).await.1.is_err());
    assert_eq!((refused("unknown_namespace").await, refused("forbidden").await), (3.0, 1.0));
}

/// A client that polls, by bare requests.
struct Poller {
    http: reqwest::Client,
    url: String,
}

impl Poller {
    async fn open(server: &Server) -> Self {
        let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.address);
        let http = reqwest::Client::new();
        let open = http.get(&url).send().await.unwrap().text().await.unwrap();
        let open: Value = serde_json::from_str(&open[1..]).unwrap();
        let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
        Self { http, url }
    }

    async fn post(&self, packets: &'static str) {
        let posted = within("a post", self.http.post(&self.url).body(packets).send()).await;
        assert_eq!(posted.unwrap().text().await.unwrap(), "ok");
    }

    async fn poll(&self) -> String {
        let polled = within("a poll", self.http.get(&self.url).send()).await;
        polled.unwrap().text().await.unwrap()
    }
}

#[tokio::test]
async fn a_connection_goes_with_its_last_socket_when_a_polling_client_has_vanished() {
    let (server, admin) = start(builder(|config| {
        config.engine.ping_interval = Duration::from_millis(300);
        config.engine.ping_timeout = Duration::from_secs(2);
    }))
    .await;
    let poller = Poller::open(&server).await;
    poller.post("40").await;
    assert!(poller.poll().await.starts_with("40"));
    let polling = ("switchboard_connections", [("transport", "polling")]);
    let before = admin.scrape().await;
    assert_eq!(before.value(polling.0, &polling.1), 1.0);
    assert_eq!(before.value("switchboard_sockets", &[]), 1.0);
    drop(poller);
    until("its socket is gone", async || {
        let metrics = admin.scrape().await;
        let sockets = metrics.value("switchboard_sockets", &[]);
        let connections = metrics.value(polling.0, &polling.1);
        assert!(connections <= sockets, "{connections} connections, {sockets} sockets");
        sockets == 0.0
    })
    .await;
    let gone = ("switchboard_disconnects_total", [("reason", "ping timeout")]);
    assert_eq!(admin.scrape().await.value(gone.0, &gone.1), 1.0);
}

#[tokio::test]
async fn users_are_counted_until_their_last_socket_has_left() {
    let (server, admin) = start(builder(|c| c.users.offline_after = Duration::from_secs(60))).await;
    let ada = server.client_of("ada").await;
    assert_eq!(admin.scrape().await.value("switchboard_users", &[]), 1.0);
    ada.close().await;
    until("she has left", async || admin.scrape().await.value("switchboard_sockets", &[]) == 0.0)
        .await;
    assert_eq!(admin.scrape().await.value("switchboard_users", &[]), 0.0);
}

#[tokio::test]
async fn a_node_filters_what_others_say_and_not_its_own_echo() {
    let redis = RedisServer::start().await;
    let node = || {
        let url = SecretUrl::new(redis.url());
        start(builder(move |config| config.redis.url = Some(url)))
    };
    let ((here, at_home), (there, away)) = (node().await, node().await);
    let _ada = here.client_of("ada").await;
    let bob = there.client_of("bob").await;
    let (home_before, away_before) = (at_home.scrape().await, away.scrape().await);
    for _ in 0..10 {
        here.switchboard.of("/").emit("to-all", &()).unwrap();
    }
    let received = "switchboard_cluster_frames_received_total";
    let (applied, filtered) = (
        "switchboard_cluster_messages_applied_total",
        "switchboard_cluster_messages_filtered_total",
    );
    until("all have come", async || {
        let (home, away) = (at_home.scrape().await, away.scrape().await);
        grown(&home_before, &home, received, &[]) >= 10.0
            && grown(&away_before, &away, applied, &[]) == 10.0
    })
    .await;
    let home = at_home.scrape().await;
    assert_eq!(grown(&home_before, &home, applied, &[]), 0.0);
    assert_eq!(grown(&home_before, &home, filtered, &[]), 0.0);
    // Nobody is left there.
    bob.close().await;
    until("he has left", async || there.switchboard.socket_count() == 0).await;
    here.switchboard.of("/").emit("to-all", &()).unwrap();
    until("it has come", async || grown(&away_before, &away.scrape().await, filtered, &[]) == 1.0)
        .await;
    assert_eq!(grown(&away_before, &away.scrape().await, applied, &[]), 10.0);
}

#[tokio::test]
async fn emits_are_counted_by_their_target() {
    let (server, admin) = start(builder(|_| {})).await;
    let ada = server.client_of("ada").await;
    let of = || server.switchboard.of("/");
    of().emit("e", &()).unwrap();
    of().to("lobby").emit("e", &()).unwrap();
    of().to_user("ada").emit("e", &()).unwrap();
    of().to_authenticated().emit("e", &()).unwrap();
    of().socket_named(&ada.id).emit("e", &()).unwrap();
    let counted = admin.scrape().await;
    for target in ["all", "room", "user", "authenticated", "socket"] {
        let count = counted.value("switchboard_emits_total", &[("target", target)]);
        assert_eq!(count, 1.0, "{target}");
    }
}

#[tokio::test]
async fn acknowledgements_are_counted_while_they_are_awaited() {
    let (server, admin) = start(builder(|_| {})).await;
    let mut ada = server.client_of("ada").await;
    let mut bob = server.client_of("bob").await;
    let asking = server.switchboard.of("/").emit_with_ack("ask", &1, DEADLINE);
    let received = "switchboard_acks_received_total";
    let (acks, ()) = tokio::join!(asking, async {
        let mut answers = Vec::new();
        for client in [&mut ada, &mut bob] {
            let question = within("the question", client.packet()).await.unwrap();
            let id: String = question[2..].chars().take_while(char::is_ascii_digit).collect();
            answers.push(format!("43{id}[1]"));
        }
        ada.send(answers.remove(0)).await;
        until("one is received", async || admin.scrape().await.value(received, &[]) == 1.0).await;
        let during = admin.scrape().await;
        assert_eq!(during.value("switchboard_ack_waits", &[]), 1.0);
        assert_eq!(during.value("switchboard_acks_asked_total", &[]), 2.0);
        bob.send(answers.remove(0)).await;
    });
    assert_eq!(acks.unwrap().acks.len(), 2);
    let after = admin.scrape().await;
    assert_eq!(after.value("switchboard_ack_waits", &[]), 0.0);
    assert_eq!(after.value(received, &[]), 2.0);
}

#[tokio::test]
async fn refusals_and_cuts_are_counted_by_their_reason() {
    let (server, admin) = start(builder(|c| c.limits.max_connections = 1)).await;
    let mut ada = server.client_of("ada").await;
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.address);
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 503);
    assert_eq!(reqwest::get(url.replace("EIO=4", "EIO=9")).await.unwrap().status(), 400);
    let refused = admin.scrape().await;
    for reason in ["max_connections", "bad_request"] {
        let labels = [("reason", reason)];
        assert_eq!(refused.value("switchboard_requests_refused_total", &labels), 1.0, "{reason}");
    }
    assert_eq!(refused.value("switchboard_draining", &[]), 0.0);

    assert_eq!(refused.value("switchboard_drain_progress", &[]), 0.0);

    within("the drain", server.switchboard.drain()).await.unwrap();
    within("the end", ada.closed()).await;
    let drained = admin.scrape().await;
    assert_eq!(drained.value("switchboard_draining", &[]), 1.0);
    assert_eq!(drained.value("switchboard_drain_progress", &[]), 1.0);
    assert_eq!(drained.value("switchboard_sockets", &[]), 0.0);
    assert_eq!(drained.value("switchboard_connections_cut_total", &[("reason", "drain")]), 1.0);
}

#[tokio::test]
async fn the_progress_of_a_drain_is_seen_while_it_lasts() {
    let (server, admin) = start(builder(|config| {
        config.drain.grace = Duration::from_millis(300);
        config.drain.spread = Duration::from_secs(2);
    }))
    .await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(server.client().await);
    }
    let drain = server.switchboard.drain();
    let mut seen = Vec::new();
    let watched = until("the last has left", async || {
        let metrics = admin.scrape().await;
        let (left, progress) = (
            metrics.value("switchboard_sockets", &[]),
            metrics.value("switchboard_drain_progress", &[]),
        );
        if metrics.value("switchboard_draining", &[]) == 1.0 {
            assert_eq!(progress, 1.0 - left / 8.0);
            seen.push(progress);
        }
        progress == 1.0
    });
    let (drained, ()) = tokio::join!(drain, watched);
    drained.unwrap();
    assert!(seen.is_sorted() && seen.iter().any(|done| *done > 0.0 && *done < 1.0), "{seen:?}");
}

#[tokio::test]
async fn requests_of_the_admin_port_are_timed_by_route_and_answer() {
    let key = "a key of operators";
    let (_server, admin) = start(builder(|c| c.admin.api_keys = [key].into_iter().collect())).await;
    let ask = async |method, path: &str, key: &str| {
        let request = admin.request(method, path).bearer_auth(key);
        within("an answer", request.send()).await.unwrap().status().as_u16()
    };
    assert_eq!(ask(Method::GET, "/api/v1/users/lovelace", key).await, 200);
    assert_eq!(ask(Method::GET, "/api/v1/users/hopper", key).await, 200);
    assert_eq!(ask(Method::GET, "/api/v1/users/mallory", "guessed").await, 401);
    assert_eq!(ask(Method::POST, "/api/v1/emit", key).await, 400);
    assert_eq!(ask(Method::DELETE, "/api/v1/nodes", key).await, 405);
    assert_eq!(ask(Method::GET, "/api/v1/of-my-choice", key).await, 404);
    let text = admin.scrape().await.text;
    // The parser cannot read labels with braces; Prometheus can.
    let count = |method: &str, route: &str, status: u16, count: u32| {
        let name = "switchboard_admin_request_duration_seconds_count";
        let line = format!(
            "{name}{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line}{text}");
    };
    count("GET", "/api/v1/users/{id}", 200, 2);
    count("GET", "/api/v1/users/{id}", 401, 1);
    count("POST", "/api/v1/emit", 400, 1);
    count("other", "/api/v1/nodes", 405, 1);
    count("GET", "other", 404, 1);
    for chosen in ["lovelace", "hopper", "mallory", "my-choice", "DELETE"] {
        assert!(!text.contains(chosen), "{chosen}");
    }
    let again = admin.scrape().await.text;
    let scrapes = "{method=\"GET\",route=\"/metrics\",status=\"200\"} 1\n";
    assert!(again.contains(scrapes), "{again}");
}

#[tokio::test]
async fn what_travels_between_nodes_is_counted_on_both() {
    let redis = RedisServer::start().await;
    let node = || {
        let url = SecretUrl::new(redis.url());
        start(builder(move |config| {
            config.redis.url = Some(url);
            config.redis.pending_age = Duration::from_millis(200);
        }))
    };
    let ((here, at_home), (there, away)) = (node().await, node().await);
    let mut ada = there.client_of("ada").await;
    let (home_before, away_before) = (at_home.scrape().await, away.scrape().await);
    here.switchboard.of("/").to_user("ada").emit("hello", &()).unwrap();
    within("hello", ada.hears("hello")).await;
    let published = "switchboard_cluster_broadcasts_published_total";
    let (taken, waits) = (
        "switchboard_cluster_frames_published_total",
        "switchboard_cluster_publish_duration_seconds",
    );
    // Others may hear a frame before Redis's answer to it is read.
    let mut counted = None;
    until("Redis has answered, and both are known", async || {
        let home = at_home.scrape().await;
        let is_settled = grown(&home_before, &home, taken, &[]) >= 1.0
            && home.value(&format!("{waits}_count"), &[]) == home.value(taken, &[])
            && home.value("switchboard_cluster_nodes", &[]) == 2.0;
        counted = Some(home);
        is_settled
    })
    .await;
    let (home, away) = (counted.expect("scraped"), away.scrape().await);
    assert_eq!(grown(&home_before, &home, published, &[]), 1.0);
    let applied = "switchboard_cluster_messages_applied_total";
    assert_eq!(grown(&away_before, &away, applied, &[]), 1.0);
    assert!(grown(&away_before, &away, "switchboard_cluster_frames_received_total", &[]) >= 1.0);
    assert_eq!(home.value("switchboard_cluster_link_up", &[]), 1.0);
    assert!(home.value(&format!("{waits}_sum"), &[]) > 0.0);
    assert_eq!(
        (home.value("switchboard_users", &[]), away.value("switchboard_users", &[])),
        (0.0, 1.0)
    );

    let mut redis = redis;
    redis.kill();
    until("the link is down", async || {
        at_home.scrape().await.value("switchboard_cluster_link_up", &[]) == 0.0
    })
    .await;
    here.switchboard.of("/").to_user("ada").emit("lost", &()).unwrap();
    let dropped = ("switchboard_cluster_dropped_total", [("reason", "link_down")]);
    until("it has waited long enough", async || {
        at_home.scrape().await.value(dropped.0, &dropped.1) >= 1.0
    })
    .await;
    assert_eq!(at_home.scrape().await.value("switchboard_cluster_queue_frames", &[]), 0.0);
    redis.restart().await;
    until("the link is up again", async || {
        let metrics = at_home.scrape().await;
        metrics.value("switchboard_cluster_link_up", &[]) == 1.0
            && metrics.value("switchboard_cluster_reconnects_total", &[]) >= 1.0
    })
    .await;
}

#[tokio::test]
async fn the_process_is_described() {
    let (_server, admin) = start(builder(|_| {})).await;
    let metrics = admin.scrape().await;
    assert!(metrics.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(metrics.value("process_open_fds", &[]) > 3.0);
    assert!(metrics.value("process_cpu_seconds_total", &[]) >= 0.0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - metrics.value("process_start_time_seconds", &[]);
    assert!((-5.0..3_600.0).contains(&age), "started {age} s ago");
    // What concerns other nodes is not shown by one that stands alone.
    assert!(!metrics.names().iter().any(|name| name.starts_with("switchboard_cluster")));
}

/// A scrape that has everything there is.
async fn all_metrics() -> Metrics {
    let redis = RedisServer::start().await;
    let url = SecretUrl::new(redis.url());
    let mut admin_ui = AdminUi::new("admin", "a long password");
    admin_ui.mode = AdminUiMode::Development;
    let store = SecretUrl::new(PostgresServer::shared().database());
    let builder = builder(move |config| {
        config.redis.url = Some(url);
        config.recovery.enabled = true;
        config.store.url = Some(store);
        config.inbox.enabled = true;
        config.outbox.enabled = true;
        config.rooms.history = vec![RoomHistory::of("public:*".parse().unwrap())];
    })
    .admin_ui(admin_ui);
    let (server, admin) = start(builder).await;
    let mut ada = server.client_of("ada").await;
    ada.ask("marker", json!(null)).await;
    // The first one is a request that the second one shows.
    admin.scrape().await;
    admin.scrape().await
}

#[tokio::test]
async fn the_dashboard_asks_only_for_what_there_is() {
    const DASHBOARD: &str = include_str!("../deploy/grafana/switchboard.json");
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let names = all_metrics().await.names();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array();
        assert!(targets.is_some() || panel["type"] == "row", "{panel}");
        for target in targets.into_iter().flatten() {
            let found = metrics_in(target["expr"].as_str().unwrap());
            assert!(!found.is_empty(), "{target}");
            asked.extend(found);
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    asked.extend(variables.iter().flat_map(|v| metrics_in(v["definition"].as_str().unwrap_or(""))));
    let unknown: Vec<_> = asked.difference(&names).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

fn metrics_in(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| {
        ["switchboard_", "socket_io_", "process_"].iter().any(|start| word.starts_with(start))
    };
    words.filter(ours).map(str::to_owned).collect()
}

/// Name, type and meaning of each metric in the tables of `deploy/metrics.md`.
fn written_down() -> Vec<[String; 3]> {
    const TABLE: &str = include_str!("../deploy/metrics.md");
    let (_, tables) = TABLE.split_once("## Metrics").unwrap();
    let rows = tables.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        [cells[0].trim_end_matches('`'), cells[1], cells[3]].map(str::to_owned)
    })
    .collect()
}

#[tokio::test]
async fn every_metric_is_written_down_as_it_describes_itself() {
    let metrics = all_metrics().await;
    let written: BTreeSet<_> =
        written_down().into_iter().map(|[name, kind, _]| (name, kind)).collect();
    let mut there = metrics.families();
    // Only where the system has a limit.
    there.insert(("process_max_fds".into(), "gauge".into()));
    let differ: Vec<_> = written.symmetric_difference(&there).collect();
    assert!(differ.is_empty(), "{differ:?}");
    let bare = |text: &str| text.replace('`', "").trim_end_matches('.').to_lowercase();
    let is_there = |name: &str| there.iter().any(|(there, _)| there == name);
    let differ: Vec<_> = written_down()
        .into_iter()
        .filter(|[name, ..]| is_there(name) && name != "process_max_fds")
        .filter(|[name, _, meaning]| !bare(meaning).starts_with(&bare(metrics.help(name))))
        .map(|[name, _, meaning]| format!("{name}: {} / {meaning}", metrics.help(&name)))
        .collect();
    assert!(differ.is_empty(), "the page may say more than the help, and not less: {differ:#?}");
}
