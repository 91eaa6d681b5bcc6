//! The Admin UI in a program of one's own, and in clusters: by the builder, with data of sockets, and
//! silent while nobody looks.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, Server, admin::Admin, by_name, until};
use switchboard::{
    Config, Data, Gateway, Reply, Socket, Switchboard,
    config::{AdminUi, AdminUiMode},
    server::{BuildError, Builder, LocalCluster},
};

fn admin_ui() -> AdminUi {
    let mut admin_ui = AdminUi::new("ops", "correct horse battery");
    admin_ui.mode = AdminUiMode::Development;
    admin_ui
}

fn builder(name: &str) -> Builder {
    let mut config = Config::default();
    config.node_id = Some(name.into());
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::from_millis(50);
    let chat = Gateway::new("/chat/{room}").on(
        "paint",
        async |socket: Socket, Data(color): Data<String>| {
            socket.set("color", &color)?;
            Ok::<_, switchboard::Fault>(Reply::ack(&true))
        },
    );
    Switchboard::builder()
        .config(config)
        .global_middleware(by_name)
        .gateway(chat)
        .admin_ui(admin_ui())
}

async fn page(server: &Server) -> Client {
    let auth = json!({ "username": "ops", "password": "correct horse battery" });
    let mut page = server.client_with("/admin", auth).await;
    page.hears("all_sockets").await;
    page
}

#[tokio::test]
async fn the_data_of_a_socket_is_shown_as_it_changes() {
    let server = Server::start(builder("one")).await;
    let mut page = page(&server).await;
    let mut ada = server.client_with("/chat/garden", json!({ "user": "ada" })).await;
    let connected = page.hears("socket_connected").await;
    assert_eq!((&connected["nsp"], &connected["id"]), (&json!("/chat/garden"), &json!(ada.id)));
    assert_eq!(connected["data"], json!({ "user": "ada" }));
    ada.ask("paint", json!("green")).await;
    let data = json!({ "user": "ada", "color": "green" });
    let updated = page.hears("socket_updated").await;
    assert_eq!(updated, json!({ "id": ada.id, "nsp": "/chat/garden", "data": data }));
    let mut late = self::page(&server).await;
    let _ = ada.ask("paint", json!("red")).await;
    assert_eq!(late.hears("socket_updated").await["data"]["color"], "red");

    let sockets = server.switchboard.of("/chat/garden").fetch_sockets().await.expect("the node");
    let data: Vec<_> =
        sockets.values.into_iter().map(|socket| Value::Object(socket.data)).collect();
    assert_eq!(data, [json!({ "color": "red" })], "a program sees what it has set");
    server.stop().await.expect("a drain");
}

#[tokio::test]
async fn programs_without_credentials_are_not_built_and_the_namespace_is_taken() {
    let mut nobody = admin_ui();
    nobody.password = None;
    let built = builder("one").admin_ui(nobody).build();
    let Err(BuildError::AdminUi(reason)) = built else { panic!("built without a password") };
    assert_eq!(reason, "a username and a password must be set");
    let built = builder("one").gateway(Gateway::new("/admin")).build();
    assert!(matches!(built, Err(BuildError::Gateway { path, .. }) if path == "/admin"));
}

#[tokio::test]
async fn a_namespace_for_everything_is_no_way_into_the_hidden_one() {
    let any = Gateway::new("/{anything}").on("ping", async || Reply::ack(&"pong"));
    let server = Server::start(builder("one").gateway(any)).await;
    let (_, refused) = server.ask("/admin", json!({ "user": "ada" })).await;
    assert_eq!(refused.expect_err("no admin")["message"], "invalid credentials");
    let mut ada = server.client_with("/anything", json!({ "user": "ada" })).await;
    assert_eq!(ada.ask("ping", json!(null)).await, "pong");
    server.stop().await.expect("a drain");
}

#[tokio::test]
async fn a_node_tells_while_somebody_looks_at_another_one_and_no_longer() {
    const PATIENCE: Duration = Duration::from_secs(25);
    let cluster = LocalCluster::default();
    let one = Server::start(builder("one").cluster(&cluster)).await;
    let two = Server::start(builder("two").cluster(&cluster)).await;
    let operator = Admin::of(&two.switchboard).await;
    let told = async || {
        let metrics = operator.scrape().await;
        metrics.value("switchboard_cluster_broadcasts_published_total", &[])
    };

    let ada = two.client_with("/chat/garden", json!({ "user": "ada" })).await;
    assert_eq!(told().await, 0.0, "nobody looks");
    let mut page = page(&one).await;
    while page.hears("server_stats").await["serverId"] != "two" {}
    let bob = two.client_with("/chat/garden", json!({ "user": "bob" })).await;
    while page.hears("socket_connected").await["id"] != bob.id {}
    assert!(told().await >= 2.0);

    page.vanish();
    // Two looks at the numbers, and nothing was told in between.
    let (left, mut silent_since, mut last) = (Instant::now(), Instant::now(), told().await);
    while silent_since.elapsed() < Duration::from_secs(5) {
        assert!(left.elapsed() < PATIENCE, "still told: {last}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = told().await;
        if now != last {
            (silent_since, last) = (Instant::now(), now);
        }
    }
    drop(ada);
    let carol = two.client_with("/chat/garden", json!({ "user": "carol" })).await;
    until("ada has gone", async || two.switchboard.sockets_of("ada").await.unwrap().is_empty())
        .await;
    assert_eq!(told().await, last, "nobody looks any more");
    drop((bob, carol));
}
