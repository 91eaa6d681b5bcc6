//! The server to compare with: socketioxide as its documentation shows it, nothing of Switchboard.
//!
//! Behaves as `examples/bench_server.rs`. Two choices are not the defaults, so that the comparison
//! is about the same service: the buffers are as large as Switchboard's, because the default of 128
//! packets loses deliveries under load, and `TCP_NODELAY` is set, as Switchboard does.

use std::convert::Infallible;

use axum::serve::ListenerExt;
use serde::Deserialize;
use serde_json::Value;
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef},
    handler::ConnectHandler,
};

use crate::Result;

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

/// A middleware, because it has run before the client hears that it is connected: a handler that the
/// connect handler registers may come after the first event.
async fn register(socket: SocketRef, Data(auth): Data<Auth>) -> Result<(), Infallible> {
    let user_room = auth.user_id.map(|user| format!("user:{user}"));
    if let Some(room) = &user_room {
        socket.join(room.clone());
    }
    if let Some(room) = auth.room {
        socket.join(room);
    }

    socket.on("echo", async |Data(data): Data<Value>, ack: AckSender| {
        let _ = ack.send(&data);
    });
    socket.on("room:emit", async |io: SocketIo, Data(emit): Data<RoomEmit>| {
        let _ = io.to(emit.room).emit(emit.event, &emit.data).await;
    });
    socket.on("user:emit", async |io: SocketIo, Data(emit): Data<UserEmit>| {
        let room = format!("user:{}", emit.user_id);
        let _ = io.to(room).emit(emit.event, &emit.data).await;
    });
    let on_events =
        move |io: SocketIo, socket: SocketRef, Data(data): Data<Value>, ack: AckSender| {
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
#[tokio::main]
pub(crate) async fn serve() -> Result<()> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let (layer, io) = SocketIo::builder().max_buffer_size(8192).build_layer();
    io.ns("/", (async || {}).with(register));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, axum::Router::new().layer(layer)).await?;
    Ok(())
}
