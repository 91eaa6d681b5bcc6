//! Sockets that outlive their connection: a client that comes back within two minutes is the same
//! socket, with its rooms and data, and gets what it has missed.
//!
//! ```text
//! PORT=3000 cargo run --example recovery_server
//! ```
//!
//! In the namespaces `/` and `/custom`: `join` a room, `remember` a value and `recall` it, `say`
//! something to everybody, ask `whoami`, and `end` by the server's hand. `PARSER=msgpack` speaks to
//! clients with socket.io-msgpack-parser.

use serde_json::{Value, json};
use switchboard::{
    Config, Data, Event, Fault, Gateway, Reply, Socket, Switchboard, config::Parser,
};

fn gateway(namespace: &str) -> Gateway {
    Gateway::new(namespace)
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        })
        .on("remember", async |socket: Socket, Data(value): Data<Value>| {
            socket.set("remembered", &value)?;
            Ok::<_, Fault>(Reply::ack(&true))
        })
        .on("recall", async |socket: Socket| {
            Ok::<_, Fault>(Reply::ack(&socket.get::<Value>("remembered")?))
        })
        .on("say", async |event: Event| Reply::event_payload("said", event.payload()).to_all())
        .on("whoami", async |socket: Socket| {
            Reply::ack(&json!({
                "socket": socket.id(),
                "rooms": socket.rooms(),
                "recovered": socket.recovered(),
            }))
        })
        .on("end", async |socket: Socket| socket.disconnect(false))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let mut config = Config::default();
    config.recovery.enabled = true;
    if std::env::var("PARSER").as_deref() == Ok("msgpack") {
        config.engine.parser = Parser::MsgPack;
    }
    let server = Switchboard::builder()
        .config(config)
        .gateway(gateway("/"))
        .gateway(gateway("/custom"))
        .build()?;
    let bound = server.bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
