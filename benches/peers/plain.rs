//! Plain socketioxide with the events of `examples/bench_server.rs`, as its documentation shows them:
//! nothing of Switchboard. With `REDIS_URL` it is a node on its own Redis adapter.
//!
//! It runs on tokio's default runtime; `THREADS=0` puts it on a current-thread one instead. The
//! allocator is mimalloc, which suits it better than the system's. `TCP_NODELAY` is set, as
//! Switchboard does, so that the comparison is about the same service.

use std::{convert::Infallible, env};

use axum::serve::ListenerExt;
use bench_support::result::Result;
use mimalloc::MiMalloc;
use serde::Deserialize;
use serde_json::Value;
use socketioxide::{
    SocketIo,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
    handler::ConnectHandler,
    layer::SocketIoLayer,
};
use socketioxide_redis::{RedisAdapter, RedisAdapterConfig, RedisAdapterCtr};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How many packets wait for a connection, as many as Switchboard has room for. The default of 128
/// loses deliveries under load.
const BUFFER: usize = 8192;

/// The payload of CONNECT.
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
    data: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserEmit {
    user_id: String,
    event: String,
    data: Value,
}

/// The handler of CONNECT; all is done in [`register`].
async fn connected<A: Adapter>(_: SocketRef<A>) {}

/// A middleware, because it has run before the client hears that it is connected: a handler that the
/// connect handler registers may come after the first event.
async fn register<A: Adapter>(
    socket: SocketRef<A>,
    Data(auth): Data<Auth>,
) -> Result<(), Infallible> {
    let user_room = auth.user_id.map(|user| format!("user:{user}"));
    if let Some(room) = &user_room {
        socket.join(room.clone());
    }
    if let Some(room) = auth.room {
        socket.join(room);
    }

    socket.on("echo", async |Data(data): Data<Value>, ack: AckSender<A>| {
        let _ = ack.send(&data);
    });
    socket.on("room:emit", async |io: SocketIo<A>, Data(emit): Data<RoomEmit>| {
        let _ = io.to(emit.room).emit(emit.event, &emit.data).await;
    });
    socket.on("user:emit", async |io: SocketIo<A>, Data(emit): Data<UserEmit>| {
        let room = format!("user:{}", emit.user_id);
        let _ = io.to(room).emit(emit.event, &emit.data).await;
    });
    let on_events =
        move |io: SocketIo<A>, socket: SocketRef<A>, Data(data): Data<Value>, ack: AckSender<A>| {
            let user_room = user_room.clone();
            async move {
                match user_room {
                    Some(room) => {
                        let _ = io.to(room).emit("events", &data).await;
                    }
                    None => {
                        let _ = socket.emit("events", &data);
                    }
                }
                let _ = ack.send(&data);
            }
        };
    socket.on("events", on_events);
    Ok(())
}

/// Serves on `PORT` until the process is killed.
async fn listen<A: Adapter>(layer: SocketIoLayer<A>) -> Result<()> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, axum::Router::new().layer(layer)).await?;
    Ok(())
}

async fn serve() -> Result<()> {
    let builder = SocketIo::builder().max_buffer_size(BUFFER);
    let Ok(url) = env::var("REDIS_URL") else {
        let (layer, io) = builder.build_layer();
        io.ns("/", connected.with(register));
        return listen(layer).await;
    };
    let client = redis::Client::open(format!("{url}?protocol=resp3"))?;
    // As for the connections: the default loses deliveries under load.
    let config = RedisAdapterConfig::new().with_stream_buffer(65_536);
    let adapter = RedisAdapterCtr::new_with_redis_config(&client, config).await?;
    let (layer, io) = builder.with_adapter::<RedisAdapter<_>>(adapter).build_layer();
    io.ns("/", connected.with(register)).await?;
    listen(layer).await
}

fn main() -> Result<()> {
    let mut runtime = match env::var("THREADS").as_deref() {
        Ok("0") => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(serve())
}
