//! The server that the benchmarks drive; see `benches/README.md`.
//!
//! Joins each socket to `user:<auth.userId>` and to `auth.room` if given. `echo` acknowledges its
//! payload; `room:emit` {room, event, data} and `user:emit` {userId, event, data} emit; `events` is
//! that of the built-in gateway. No authentication: the client says who it is. `PORT` is the port
//! (3000 by default), `WORKERS` the number of worker threads. `REDIS_URL` makes it a node of a cluster,
//! `PROTOCOL` (`classic`, `sharded`, `streams`) and `SUBSCRIBE` (`interest`, `all`) say how it speaks there.
//! With `RECOVERY` clients that were cut off get their sessions back. With `STORE` (a URL) there is an inbox, and
//! rooms that begin with `kept:` have a history: no scenario uses either.

use serde::Deserialize;
use switchboard::{
    Config, Data, Event, Fault, Gateway, Handshake, Identity, Payload, Reply, Socket, Switchboard,
    config::{RoomHistory, SecretUrl, Subscribe, WireProtocol},
    interceptor::Propagate,
    names::rooms::RoomPattern,
};

/// As in the binary, unless `benches/owners.sh` wants to see who allocates.
#[cfg(all(target_os = "linux", not(system_allocator)))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Auth {
    user_id: Option<String>,
    room: Option<String>,
}

#[derive(Deserialize)]
struct RoomEmit {
    room: String,
    event: String,
    data: rmpv::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserEmit {
    user_id: String,
    event: String,
    data: rmpv::Value,
}

async fn identify(handshake: Handshake) -> Result<(), Fault> {
    let auth: Auth = handshake.auth()?;
    if let Some(user) = auth.user_id {
        handshake.set_identity(Identity::user(user));
    }
    handshake.socket().set("room", &auth.room)
}

async fn join(socket: Socket) {
    if let Ok(Some(room)) = socket.get::<String>("room")
        && let Err(fault) = socket.join(room).await
    {
        eprintln!("cannot join: {fault}");
    }
}

fn gateway() -> Gateway {
    Gateway::new("/")
        .middleware(identify)
        .on_connect(join)
        .on("echo", async |payload: Payload| {
            Ok::<_, Fault>(Reply::ack_payload(payload.first_as_ack()?))
        })
        .on(
            "events",
            switchboard::handle(async |event: Event| {
                let first = event.payload().first_as_ack()?;
                Ok::<_, Fault>((
                    Reply::event_payload("events", event.payload()),
                    Reply::ack_payload(first),
                ))
            })
            .intercept(Propagate),
        )
        .on("room:emit", async |Data(emit): Data<RoomEmit>| {
            Reply::event(&emit.event, &emit.data).to(emit.room)
        })
        .on("user:emit", async |Data(emit): Data<UserEmit>| {
            Reply::event(&emit.event, &emit.data).to_user(emit.user_id)
        })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name: &str| std::env::var(name).ok();
    let port: u16 = variable("PORT").map_or(Ok(3000), |port| port.parse())?;
    let mut config = Config::default();
    config.workers = variable("WORKERS").map_or(Ok(0), |workers| workers.parse())?;
    config.recovery.enabled = variable("RECOVERY").is_some();
    if let Some(url) = variable("STORE") {
        config.store.url = Some(SecretUrl::new(url));
        config.inbox.enabled = true;
        config.rooms.history = vec![RoomHistory::of(RoomPattern::parse("kept:*")?)];
    }
    if let Some(url) = variable("REDIS_URL") {
        config.redis.url = Some(SecretUrl::new(url));
        config.redis.protocol = match variable("PROTOCOL").as_deref() {
            None | Some("classic") => WireProtocol::Classic,
            Some("sharded") => WireProtocol::Sharded,
            Some("streams") => WireProtocol::Streams,
            Some(other) => return Err(format!("PROTOCOL: unknown value {other}").into()),
        };
        config.redis.subscribe = match variable("SUBSCRIBE").as_deref() {
            None | Some("interest") => Subscribe::Interest,
            Some("all") => Subscribe::All,
            Some(other) => return Err(format!("SUBSCRIBE: unknown value {other}").into()),
        };
    }
    let server = Switchboard::builder().config(config).gateway(gateway()).build()?;
    let bound = server.bind(("0.0.0.0", port)).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
