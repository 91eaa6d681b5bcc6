//! What the servers on plain socketioxide do, with its own adapter or one for Redis: the events of
//! `examples/bench_server.rs` as socketioxide's documentation shows them, nothing of Switchboard.
//!
//! One choice here is not the default, so that the comparison is about the same service:
//! `TCP_NODELAY` is set, as Switchboard does. The other is [`BUFFER`].

use std::convert::Infallible;

use axum::serve::ListenerExt;
use serde::Deserialize;
use serde_json::Value;
use socketioxide::{
    SocketIo,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
    layer::SocketIoLayer,
};

use crate::result::Result;

/// How many packets wait for a connection, as many as Switchboard has room for. The default of 128
/// loses deliveries under load.
pub const BUFFER: usize = 8192;

/// The payload of CONNECT.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Auth {
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
pub async fn connected<A: Adapter>(_: SocketRef<A>) {}

/// A middleware, because it has run before the client hears that it is connected: a handler that the
/// connect handler registers may come after the first event.
///
/// # Errors
/// None: everybody is welcome.
pub async fn register<A: Adapter>(
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
///
/// # Errors
/// If the port cannot be listened on.
pub async fn serve<A: Adapter>(layer: SocketIoLayer<A>) -> Result<()> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, axum::Router::new().layer(layer)).await?;
    Ok(())
}
