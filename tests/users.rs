//! The user directory in a running server: exact whatever the way of leaving.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Client, Server, by_name, until, within};
use switchboard::{
    Config, Fault, Gateway, Handshake, Reply, Switchboard, config::OverLimit, users::Presence,
};
use tokio::sync::mpsc;

fn gateway() -> Gateway {
    Gateway::new("/").on("marker", async || Reply::ack(&()))
}

fn server() -> switchboard::server::Builder {
    Switchboard::builder().global_middleware(by_name).gateway(gateway())
}

#[tokio::test]
async fn every_way_of_leaving_empties_the_directory() {
    let mut config = Config::default();
    // Who does not answer is there until all have come, and goes soon after.
    config.engine.ping_interval = Duration::from_secs(4);
    config.engine.ping_timeout = Duration::from_millis(50);
    async fn panics() {
        panic!("on leaving")
    }
    let panicking = Gateway::new("/panic").on_disconnect(panics);
    let builder = server().config(config).gateway(panicking);
    let server = Server::start(builder).await;
    let users = async || server.switchboard.users(None, 100).await.unwrap().users;

    let closes = server.client_of("closes").await;
    let vanishes = server.client_of("vanishes").await;
    let _silent = server.client_of("silent").await; // never answers a ping, as nobody reads it
    let mut leaves = server.client_of("leaves").await;
    let _kicked = server.client_of("kicked").await;
    let panics = server.client_with("/panic", json!({ "user": "panics" })).await;
    let mut garbles = server.client_of("garbles").await;
    assert_eq!(users().await.len(), 7);

    closes.close().await;
    vanishes.vanish();
    leaves.send("41").await;
    server.switchboard.disconnect_user("kicked").await.unwrap();
    panics.vanish();
    garbles.send("9 is no packet").await;
    until("nobody is listed", async || users().await.is_empty()).await;
    assert_eq!(server.switchboard.socket_count(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_while_it_is_let_in_is_not_listed() {
    let (asked, mut asking) = mpsc::unbounded_channel();
    let (let_in, gate) = (std::sync::Arc::new(tokio::sync::Notify::new()), asked);
    let opened = let_in.clone();
    let slow = Gateway::new("/slow").middleware(move |_: Handshake| {
        let (gate, opened) = (gate.clone(), opened.clone());
        async move {
            gate.send(()).expect("the test listens");
            opened.notified().await;
            Ok::<_, Fault>(())
        }
    });
    let server = Server::start(server().gateway(slow)).await;
    for _ in 0..20 {
        let mut ada = Client::open(server.address).await;
        ada.send("40/slow,{\"user\":\"ada\"}").await;
        within("the middleware is asked", asking.recv()).await;
        ada.vanish();
        let_in.notify_one();
    }
    // Whether a socket was in its namespace for a moment is up to the race; that it stays is not.
    until("nobody is listed", async || {
        server.switchboard.sockets_of("ada").await.unwrap().is_empty()
            && server.switchboard.socket_count() == 0
    })
    .await;
}

#[tokio::test]
async fn many_clients_come_and_go_and_nobody_stays() {
    let server = Server::start(server()).await;
    let mut waves = tokio::task::JoinSet::new();
    for n in 0..500 {
        let (address, user) = (server.address, format!("u{}", n % 7));
        waves.spawn(async move {
            let mut client = Client::open(address).await;
            client.enter("/", json!({ "user": user })).await.expect("let in");
            client.ask("marker", json!(null)).await;
            if n % 2 == 0 { client.close().await } else { client.vanish() }
        });
    }
    while let Some(wave) = waves.join_next().await {
        wave.expect("a client's story");
    }
    until("the directory is empty", async || {
        server.switchboard.users(None, 10).await.unwrap().users.is_empty()
            && server.switchboard.socket_count() == 0
    })
    .await;
}

#[tokio::test]
async fn one_socket_too_many_is_refused_or_takes_the_oldest_ones_place() {
    let mut config = Config::default();
    config.users.max_sockets = 2;
    let rejecting = Server::start(server().config(config.clone())).await;
    let first = rejecting.client_of("ada").await;
    let _second = rejecting.client_of("ada").await;
    let (_third, answer) = rejecting.ask("/", json!({ "user": "ada" })).await;
    assert_eq!(answer.expect_err("refused")["data"]["code"], "too_many_sockets");
    first.vanish();
    until("a place is free", async || {
        rejecting.switchboard.sockets_of("ada").await.unwrap().len() == 1
    })
    .await;
    rejecting.client_of("ada").await;

    config.users.over_limit = OverLimit::DisconnectOldest;
    let evicting = Server::start(server().config(config)).await;
    let mut first = evicting.client_of("ada").await;
    let second = evicting.client_of("ada").await;
    let third = evicting.client_of("ada").await;
    first.disconnected().await;
    let listed: Vec<_> = evicting.switchboard.sockets_of("ada").await.unwrap();
    let listed: Vec<_> = listed.iter().map(|socket| socket.id.to_string()).collect();
    assert_eq!(listed, [second.id, third.id]);
}

/// A server whose changes of presence the test hears.
async fn told_with(grace: Duration) -> (Server, mpsc::UnboundedReceiver<Presence>) {
    let mut config = Config::default();
    config.users.offline_after = grace;
    let (tell, told) = mpsc::unbounded_channel();
    let builder = server().config(config).on_presence(move |presence: Presence| {
        // the test may have heard enough
        let _ = tell.send(presence);
        std::future::ready(())
    });
    (Server::start(builder).await, told)
}

#[tokio::test]
async fn a_reload_within_the_grace_time_is_nothing_to_tell() {
    let (server, mut told) = told_with(Duration::from_secs(3_600)).await;
    let first = server.client_of("ada").await;
    let second = server.client_of("ada").await;
    first.vanish();
    second.vanish();
    until("both have left", async || {
        server.switchboard.sockets_of("ada").await.unwrap().is_empty()
    })
    .await;
    let _reloaded = server.client_of("ada").await;
    let _bob = server.client_of("bob").await;
    for user in ["ada", "bob"] {
        assert_eq!(within(user, told.recv()).await, Some(Presence::Online(user.into())));
    }
}

#[tokio::test]
async fn who_stays_away_is_offline_after_the_grace_time() {
    let (server, mut told) = told_with(Duration::from_millis(1)).await;
    let ada = server.client_of("ada").await;
    assert_eq!(within("online", told.recv()).await, Some(Presence::Online("ada".into())));
    ada.vanish();
    assert_eq!(within("offline", told.recv()).await, Some(Presence::Offline("ada".into())));
    server.client_of("ada").await;
    assert_eq!(within("online", told.recv()).await, Some(Presence::Online("ada".into())));
}
