//! A node of a cluster that does on request what an operator's program would do: move sockets
//! between rooms, ask clients and servers, look who is there, on every node at once.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1:6379 PORT=3000 cargo run --example cluster_node
//! ```
//!
//! `NODE_ID` names the node, `PROTOCOL=sharded` or `streams` speaks another wire format. Everybody may ask for everything: for tests and
//! for trying things out, not for the open network.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::{
    Config, Data, Fault, Gateway, Payload, Socket, Switchboard,
    config::{SecretUrl, Subscribe, WireProtocol},
    sockets::emitter::Emitter,
};

/// Who is meant, and what with.
#[derive(Deserialize)]
#[serde(default)]
struct Request {
    room: Option<String>,
    except: Option<String>,
    rooms: Vec<String>,
    event: String,
    data: Value,
    close: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            room: None,
            except: None,
            rooms: Vec::new(),
            event: "message".into(),
            data: Value::Null,
            close: false,
        }
    }
}

impl Request {
    fn of(&self, server: &Switchboard) -> Emitter {
        let mut emitter = server.of("/");
        if let Some(room) = &self.room {
            emitter = emitter.to(room.clone());
        }
        if let Some(room) = &self.except {
            emitter = emitter.except(room.clone());
        }
        emitter
    }
}

async fn fetch(server: Switchboard, Data(request): Data<Request>) -> Result<Value, Fault> {
    let found = request.of(&server).fetch_sockets().await?;
    Ok(json!({
        "sockets": found.values,
        "silent": found.missing_nodes,
        "missing": found.missing_foreign,
    }))
}

async fn ask(server: Switchboard, Data(request): Data<Request>) -> Result<Value, Fault> {
    let patience = Duration::from_secs(2);
    let acks = request.of(&server).emit_with_ack(&request.event, &request.data, patience).await?;
    Ok(json!({
        "acks": first_of(&acks.acks),
        "expected": acks.expected,
        "silent": acks.missing_nodes,
    }))
}

async fn ask_servers(server: Switchboard, Data(request): Data<Request>) -> Result<Value, Fault> {
    let asked = server.of("/");
    let answers = asked.server_side_emit_with_ack(&request.event, &request.data).await?;
    Ok(json!({
        "answers": first_of(&answers.values),
        "silent": answers.missing_nodes,
        "missing": answers.missing_foreign,
    }))
}

fn gateway() -> Gateway {
    Gateway::new("/")
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| true)
        })
        .on("emit", async |server: Switchboard, Data(request): Data<Request>| {
            request.of(&server).emit(&request.event, &request.data).map(|()| true)
        })
        .on("move", async |server: Switchboard, Data(request): Data<Request>| {
            request.of(&server).join(request.rooms);
            true
        })
        .on("remove", async |server: Switchboard, Data(request): Data<Request>| {
            request.of(&server).leave(request.rooms);
            true
        })
        .on("kick", async |server: Switchboard, Data(request): Data<Request>| {
            request.of(&server).disconnect(request.close)
        })
        .on("fetch", fetch)
        .on("ask", ask)
        .on("tell servers", async |server: Switchboard, Data(request): Data<Request>| {
            server.of("/").server_side_emit(&request.event, &request.data).map(|()| true)
        })
        .on("ask servers", ask_servers)
        .on_server_side("hey", async |Data(heard): Data<Option<Value>>| json!({ "heard": heard }))
}

fn first_of(payloads: &[Payload]) -> Vec<Value> {
    payloads.iter().map(|payload| payload.decode().unwrap_or_default()).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let env = |name: &str| std::env::var(name).ok();
    let mut config = Config::default();
    config.node_id = env("NODE_ID");
    config.redis.url = env("REDIS_URL").map(SecretUrl::new);
    config.redis.request_timeout = Duration::from_secs(2);
    config.redis.protocol = match env("PROTOCOL").as_deref() {
        Some("sharded") => WireProtocol::Sharded,
        Some("streams") => WireProtocol::Streams,
        _ => WireProtocol::Classic,
    };
    if env("SUBSCRIBE").as_deref() == Some("all") {
        config.redis.subscribe = Subscribe::All;
    }
    let port = env("PORT").unwrap_or_else(|| "3000".into());
    let server = Switchboard::builder().config(config).gateway(gateway()).build()?;
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
