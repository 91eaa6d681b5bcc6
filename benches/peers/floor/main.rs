//! The floor: what a delivery costs at the least on this runtime and with these crates, tokio,
//! tungstenite and redis, and nothing of Socket.IO but the few packets that the benchmark's clients need.
//!
//! One thread. An emit is encoded once; a channel and a task for each connection; what is queued
//! together leaves in one write. There are no heartbeats, no limits and no errors. Nobody should build
//! a server like this; it is the yardstick for one that does all that. With `REDIS_URL` it is a node
//! of several: each room has a channel there. `WRITES=bare` leaves tungstenite out on the way out.
//!
//! A module imports only from those above it: `remote` (Redis), `rooms` (who is where, and the packets
//! of clients), `connection` (a websocket).

mod connection;
mod remote;
mod rooms;

use std::{env, rc::Rc};

use bench_support::result::Result;
use bytes::Bytes;
use connection::Write;
use remote::Remote;
use rooms::Server;
use tokio::{net::TcpListener, task::LocalSet};
use tokio_tungstenite::tungstenite::Message;

/// Serves on `PORT` until the process is killed.
async fn serve<P: Write>() -> Result<()> {
    let port: u16 = env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let server = match env::var("REDIS_URL") {
        Ok(url) => {
            let (remote, heard) = Remote::connect(&url).await?;
            let server = Rc::new(Server::<P>::new(Some(remote)));
            tokio::task::spawn_local(rooms::hear(heard, server.clone()));
            server
        }
        Err(_) => Rc::new(Server::new(None)),
    };
    loop {
        let (stream, _) = listener.accept().await?;
        let server = server.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = connection::serve(stream, server).await {
                eprintln!("floor: {error}");
            }
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let bare = env::var("WRITES").is_ok_and(|writes| writes == "bare");
    let serve = async { if bare { serve::<Bytes>().await } else { serve::<Message>().await } };
    LocalSet::new().run_until(serve).await
}
