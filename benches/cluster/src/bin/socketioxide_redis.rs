//! A node on socketioxide and its own Redis adapter, as their documentation shows them.
//!
//! Behaves as `examples/bench_server.rs`. As in `benches/load/plain.rs` the buffers are larger than
//! the defaults, which lose deliveries under load, and `TCP_NODELAY` is set. `THREADS=0` puts it on
//! a current-thread runtime instead of tokio's default.

use std::{convert::Infallible, env, error::Error};

use axum::serve::ListenerExt;
use serde::Deserialize;
use serde_json::Value;
use socketioxide::{
    SocketIo,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
    handler::ConnectHandler,
};
use socketioxide_redis::{RedisAdapter, RedisAdapterConfig, RedisAdapterCtr};

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

async fn register<A: Adapter>(
    socket: SocketRef<A>,
    Data(auth): Data<Auth>,
) -> Result<(), Infallible> {
    if let Some(user) = auth.user_id {
        socket.join(format!("user:{user}"));
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
    Ok(())
}

async fn connected<A: Adapter>(_: SocketRef<A>) {}

async fn serve() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("PORT")?.parse()?;
    let client = redis::Client::open(format!("{}?protocol=resp3", env::var("REDIS_URL")?))?;
    let config = RedisAdapterConfig::new().with_stream_buffer(65_536);
    let adapter = RedisAdapterCtr::new_with_redis_config(&client, config).await?;
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(8192)
        .with_adapter::<RedisAdapter<_>>(adapter)
        .build_layer();
    io.ns("/", connected.with(register)).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, axum::Router::new().layer(layer)).await?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut runtime = match env::var("THREADS").as_deref() {
        Ok("0") => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(serve())
}
