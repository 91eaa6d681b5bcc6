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
    Config, Data, Fault, Gateway, Payload, Reply, Socket, Switchboard,
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
            emitter = emitter.room(room.clone());
        }
        if let Some(room) = &self.except {
            emitter = emitter.except_room(room.clone());
        }
        emitter
    }
}

/// The server, for handlers that are declared before it is built.
type Late = std::sync::Arc<std::sync::OnceLock<Switchboard>>;

fn gateway(late: &Late) -> Gateway {
    let on = |act: fn(Switchboard, Request) -> Answer| {
        let late = late.clone();
        move |Data(request): Data<Request>| {
            let server = late.get().cloned();
            async move {
                let server = server.ok_or_else(Fault::internal)?;
                Ok::<_, Fault>(Reply::ack(&act(server, request).await?))
            }
        }
    };
    Gateway::new("/")
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        })
        .on(
            "emit",
            on(|server, request| {
                Box::pin(async move {
                    request.of(&server).emit(&request.event, &request.data)?;
                    Ok(json!(true))
                })
            }),
        )
        .on(
            "move",
            on(|server, request| {
                Box::pin(async move {
                    request.of(&server).join(request.rooms);
                    Ok(json!(true))
                })
            }),
        )
        .on(
            "remove",
            on(|server, request| {
                Box::pin(async move {
                    request.of(&server).leave(request.rooms);
                    Ok(json!(true))
                })
            }),
        )
        .on(
            "kick",
            on(|server, request| {
                Box::pin(async move { Ok(json!(request.of(&server).disconnect(request.close))) })
            }),
        )
        .on(
            "fetch",
            on(|server, request| {
                Box::pin(async move {
                    let found = request.of(&server).fetch_sockets().await?;
                    Ok(json!({
                        "sockets": found.values,
                        "silent": found.missing_nodes,
                        "missing": found.missing_foreign,
                    }))
                })
            }),
        )
        .on(
            "ask",
            on(|server, request| {
                Box::pin(async move {
                    let patience = Duration::from_secs(2);
                    let asked = request.of(&server);
                    let acks = asked.emit_with_ack(&request.event, &request.data, patience).await?;
                    Ok(json!({
                        "acks": first_of(&acks.acks),
                        "expected": acks.expected,
                        "silent": acks.missing_nodes,
                    }))
                })
            }),
        )
        .on(
            "tell servers",
            on(|server, request| {
                Box::pin(async move {
                    server.of("/").server_side_emit(&request.event, &request.data)?;
                    Ok(json!(true))
                })
            }),
        )
        .on(
            "ask servers",
            on(|server, request| {
                Box::pin(async move {
                    let asked = server.of("/");
                    let answers = asked.server_side_emit_with_ack(&request.event, &request.data);
                    let answers = answers.await?;
                    Ok(json!({
                        "answers": first_of(&answers.values),
                        "silent": answers.missing_nodes,
                        "missing": answers.missing_foreign,
                    }))
                })
            }),
        )
        .on_server_side("hey", async |payload: Payload| {
            Payload::ack(&json!({ "heard": payload.decode::<Value>().ok() })).ok()
        })
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Value, Fault>> + Send>>;

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
    let late = Late::default();
    let server = Switchboard::builder().config(config).gateway(gateway(&late)).build()?;
    // The only one to set it.
    let _ = late.set(server.clone());
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
