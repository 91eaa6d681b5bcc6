//! Who is online: a list for who asks, and news for everybody else.
//!
//! `PORT=3000 cargo run --example presence`. A client comes with `auth: { name }`, asks `who`, and
//! hears `presence` with `{user, online}`. A user with several tabs comes once and goes once, and the
//! reload of a page is no news: a user is offline when `OFFLINE_AFTER` milliseconds (5000) have
//! passed without a socket.
//!
//! With `REDIS_URL` the list, the news and the time to come back are those of all nodes.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard::{
    Config, Data, Fault, Gateway, Handshake, Identity, Switchboard, config::SecretUrl,
    users::Presence,
};

/// Users in one answer. Where there may be more, give the client a page at a time.
const MOST: usize = 1000;

/// Everybody is who they say. Elsewhere a token or a session says who they are.
async fn named(handshake: Handshake) -> Result<(), Fault> {
    let auth: Value = handshake.auth()?;
    match auth["name"].as_str() {
        Some(name) if (1..=40).contains(&name.len()) => {
            handshake.set_identity(Identity::user(name));
            Ok(())
        }
        _ => Err(Fault::bad_request("auth.name is to be a name of 1 to 40 letters")),
    }
}

/// Users with the number of their tabs, sorted by name.
async fn who(server: Switchboard) -> Result<Value, Fault> {
    let page = server.users(None, MOST).await?;
    let mut users = page.users;
    users.sort();
    Ok(json!({ "users": users, "complete": page.next.is_none() }))
}

/// Whether friends are there, without the whole list.
async fn friends(server: Switchboard, Data(names): Data<Vec<String>>) -> Result<Vec<bool>, Fault> {
    if names.len() > MOST {
        return Err(Fault::bad_request("so many friends"));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    server.online(&names).await
}

/// In a cluster a change is told on one node, once; the emit reaches the clients of all.
async fn tell(change: Presence, server: Switchboard) -> Result<(), Fault> {
    let (user, online) = match &change {
        Presence::Online(user) => (user, true),
        Presence::Offline(user) => (user, false),
    };
    let news = json!({ "user": user, "online": online });
    Ok(server.of("/").except_user(user.clone()).emit("presence", &news)?)
}

fn gateway() -> Gateway {
    Gateway::new("/").middleware(named).on("who", who).on("friends", friends)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    if let Ok(millis) = std::env::var("OFFLINE_AFTER") {
        config.users.offline_after = Duration::from_millis(millis.parse()?);
    }
    config.redis.url = std::env::var("REDIS_URL").ok().map(SecretUrl::new);
    let server =
        Switchboard::builder().config(config).gateway(gateway()).on_presence(tell).build()?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
