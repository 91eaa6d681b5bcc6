//! The gateway that the binary serves on `/`, made from the library's own parts.

use serde::Deserialize;
use serde_json::json;

use crate::{
    config::Config,
    fault::{Code, Fault},
    gateway::{Gateway, authenticate::Authenticate, event::Event, extract::Data, reply::Reply},
    names::{
        events::{REFRESH, is_reserved_event, is_server_event},
        rooms::{RoomPattern, check_name},
    },
    sockets::socket::Socket,
};

/// The built-in gateway: `events`, `join`, `leave`, `publish`, `whoami` and `auth:refresh`.
///
/// `authenticate` verifies new tokens. It is the middleware that also let the socket in.
///
/// ```
/// use switchboard::{Authenticate, Config, Switchboard, builtin};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::default();
/// let authenticate = Authenticate::from_config(&config.auth)?;
/// let server = Switchboard::builder()
///     .global_middleware(authenticate.clone())
///     .gateway(builtin::gateway(&config, &authenticate))
///     .build()?;
/// # _ = server;
/// # Ok(())
/// # }
/// ```
pub fn gateway(config: &Config, authenticate: &Authenticate) -> Gateway {
    let may_join = config.rooms.may_join.clone();
    let authenticate = authenticate.clone();
    Gateway::new("/")
        .refuse_unknown_events()
        .on("events", events)
        .on("join", move |socket: Socket, Data(room): Data<String>| {
            let allowed = check_room(&socket, &room, &may_join);
            async move {
                allowed?;
                socket.join(room.clone()).await?;
                Ok::<_, Fault>(Reply::ack(&json!({ "ok": true, "room": room })))
            }
        })
        .on("leave", leave)
        .on("publish", publish)
        .on("whoami", whoami)
        .on(REFRESH, move |socket: Socket, Data(token): Data<String>| {
            refresh(authenticate.clone(), socket, token)
        })
}

/// Takes a newer token of the same user. The socket lives as long as the token.
async fn refresh(
    authenticate: Authenticate,
    socket: Socket,
    token: String,
) -> Result<Reply, Fault> {
    if !socket.may_show_token() {
        return Err(Fault::new(Code::RateLimited, "too many tokens"));
    }
    socket.refresh(authenticate.verify(&token).await?)?;
    Ok(Reply::ack(&json!({ "ok": true })))
}

/// Sends the same arguments back to the sender. The propagating interceptor sends them further.
async fn events(event: Event) -> Result<(Reply, Reply), Fault> {
    let first = event.payload().first_as_ack()?;
    Ok((Reply::event_payload("events", event.payload()), Reply::ack_payload(first)))
}

fn check_room(socket: &Socket, room: &str, may_join: &[RoomPattern]) -> Result<(), Fault> {
    check_name(room)?;
    if socket.adapter().belongs_to_server(room) {
        return Err(Fault::forbidden("this room belongs to the server"));
    }
    let identity = socket.identity();
    let mut patterns = may_join.iter().chain(identity.may_join());
    if patterns.any(|pattern| pattern.matches(room)) {
        return Ok(());
    }
    Err(Fault::forbidden("this room may not be joined"))
}

async fn leave(socket: Socket, Data(room): Data<String>) -> Result<Reply, Fault> {
    check_name(&room)?;
    if socket.adapter().belongs_to_server(&room) {
        return Err(Fault::forbidden("this room belongs to the server"));
    }
    socket.leave(&room);
    Ok(Reply::ack(&json!({ "ok": true, "room": room })))
}

#[derive(Deserialize)]
struct Publication {
    room: String,
    #[serde(default = "message")]
    event: String,
    #[serde(default = "nothing")]
    data: rmpv::Value,
}

fn message() -> String {
    "message".to_owned()
}

fn nothing() -> rmpv::Value {
    rmpv::Value::Nil
}

async fn publish(
    socket: Socket,
    Data(publication): Data<Publication>,
) -> Result<(Reply, Reply), Fault> {
    #[derive(serde::Serialize)]
    struct Message<'a> {
        room: &'a str,
        from: Option<&'a str>,
        data: &'a rmpv::Value,
    }
    let Publication { room, event, data } = publication;
    if is_reserved_event(&event) || event.is_empty() {
        return Err(Fault::bad_request("this event name cannot be published"));
    }
    if is_server_event(&event) {
        return Err(Fault::forbidden("only the server says an event of this name"));
    }
    if socket.adapter().belongs_to_server(&room) || !socket.is_in(&room) {
        return Err(Fault::forbidden("only a member may publish to a room"));
    }
    let from = socket.user();
    let message = Message { room: &room, from: from.as_deref(), data: &data };
    let published = Reply::event(&event, &message).to(room.clone()).except_sender();
    Ok((published, Reply::ack(&json!({ "ok": true }))))
}

async fn whoami(socket: Socket) -> Reply {
    Reply::ack(&json!({
        "user": socket.user(),
        "socket": socket.id(),
        "node": socket.node(),
        "namespace": socket.namespace(),
        "rooms": socket.rooms(),
    }))
}
