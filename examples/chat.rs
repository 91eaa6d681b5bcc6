//! A chat with rooms, whose last messages are kept in memory: who joins hears what was said before,
//! and then everything, nothing twice.
//!
//! `PORT=3000 cargo run --example chat`. A client sends `join` with a room, `say` with
//! `{room, text}`, and hears `said` with `{room, from, text, number}`. The history is that of this process: several nodes
//! would keep it in a database.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};
use switchboard::{Data, Fault, Gateway, Handshake, Reply, Socket, State, Switchboard};

/// Messages of a room that are kept.
const KEPT: usize = 50;

/// Rooms that are kept. A client could make up names without an end.
const ROOMS: usize = 1000;

/// Letters of a message.
const LONGEST: usize = 2000;

#[derive(Clone, Serialize)]
struct Message {
    room: String,
    from: String,
    text: String,
    number: u64,
}

#[derive(Deserialize)]
struct Said {
    room: String,
    text: String,
}

/// What was said, by room.
#[derive(Clone, Default)]
struct History(Arc<Mutex<HashMap<String, Room>>>);

#[derive(Default)]
struct Room {
    messages: VecDeque<Message>,
    next: u64,
}

impl History {
    /// Calls `act` with a room. Messages get their numbers, and leave, in the order in which it is
    /// called.
    fn with<T>(&self, room: &str, act: impl FnOnce(&mut Room) -> T) -> Result<T, Fault> {
        let mut rooms = self.0.lock().map_err(|_| Fault::internal())?;
        if !rooms.contains_key(room) && rooms.len() >= ROOMS {
            return Err(Fault::forbidden("there are too many rooms"));
        }
        Ok(act(rooms.entry(room.to_owned()).or_default()))
    }
}

/// Everybody says a name.
async fn named(handshake: Handshake) -> Result<(), Fault> {
    let auth: serde_json::Value = handshake.auth()?;
    match auth["name"].as_str().map(str::trim) {
        Some(name) if (1..=40).contains(&name.chars().count()) => {
            handshake.socket().set("name", &name)?;
            Ok(())
        }
        _ => Err(Fault::bad_request("auth.name is to be a name of 1 to 40 letters")),
    }
}

async fn join(
    socket: Socket,
    State(history): State<History>,
    Data(room): Data<String>,
) -> Result<Reply, Fault> {
    // Joined first: what is said from now on comes by itself. What was said before is in the
    // answer. A message between the two is in both, and its number tells.
    socket.join(room.clone()).await?;
    let before = history.with(&room, |room| room.messages.clone())?;
    Ok(Reply::ack(&before))
}

async fn say(
    socket: Socket,
    State(history): State<History>,
    server: Switchboard,
    Data(Said { room, text }): Data<Said>,
) -> Result<Reply, Fault> {
    if !socket.is_in(&room) {
        return Err(Fault::forbidden("only members speak"));
    }
    if text.chars().count() > LONGEST {
        return Err(Fault::bad_request("the message is too long"));
    }
    let from = socket.get::<String>("name")?.unwrap_or_default();
    let number = history.with(&room.clone(), |kept| {
        let number = kept.next;
        kept.next += 1;
        let message = Message { room: room.clone(), from, text, number };
        // While the room is locked, so that all hear the messages in the order of their numbers.
        server.of("/").to(room).emit("said", &message)?;
        kept.messages.push_back(message);
        if kept.messages.len() > KEPT {
            kept.messages.pop_front();
        }
        Ok::<_, Fault>(number)
    })??;
    Ok(Reply::ack(&number))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chat = Gateway::new("/").middleware(named).on("join", join).on("say", say);
    let server = Switchboard::builder().state(History::default()).gateway(chat).build()?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
