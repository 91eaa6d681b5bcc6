//! The server that the official Socket.IO v5 protocol test suite expects.
//!
//! On connection it emits `auth` with the CONNECT payload (namespaces `/` and `/custom`); `message`
//! is answered by `message-back` with the same arguments; `message-with-ack` is acknowledged with
//! its arguments. Heartbeats every 300 ms with 200 ms to answer, payloads of 1,000,000 bytes. The
//! port comes from `PORT`, 3000 by default.

use std::time::Duration;

use switchboard::{Config, Event, Fault, Gateway, Handshake, Payload, Reply, Socket, Switchboard};

fn gateway(namespace: &str) -> Gateway {
    Gateway::new(namespace)
        .middleware(async |handshake: Handshake| {
            handshake.socket().set("auth", &handshake.auth::<serde_json::Value>()?)
        })
        .on_connect(async |socket: Socket| {
            let auth: Option<serde_json::Value> = socket.get("auth").unwrap_or_default();
            if let Err(error) = socket.emit("auth", &auth) {
                eprintln!("cannot emit `auth`: {error}");
            }
        })
        .on("message", async |event: Event| Reply::event_payload("message-back", event.payload()))
        .on("message-with-ack", async |payload: Payload| {
            Ok::<_, Fault>(Reply::ack_payload(payload.into_ack()?))
        })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let mut config = Config::default();
    config.engine.ping_interval = Duration::from_millis(300);
    config.engine.ping_timeout = Duration::from_millis(200);
    config.engine.max_payload = 1_000_000;
    let bound = Switchboard::builder()
        .config(config)
        .gateway(gateway("/"))
        .gateway(gateway("/custom"))
        .build()?
        .bind(("0.0.0.0", port))
        .await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
