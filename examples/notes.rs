//! The README's example: a note reaches all tabs of its author, and the team hears of it.
//!
//! `cargo run --example notes`, then connect with a token that is signed with the secret below.

use switchboard::{
    Authenticate, Data, Gateway, Jwt, Reply, Socket, Switchboard, interceptor::Propagate,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let notes =
        Gateway::new("/").on("note:add", async |socket: Socket, Data(text): Data<String>| {
            let note = (socket.user(), text);
            // to all tabs of the user, by `Propagate`; to the rest of the team; the acknowledgement
            (
                Reply::event("note:added", &note),
                Reply::event("note:news", &note).to("team"),
                Reply::ack(&true),
            )
        });
    let server = Switchboard::builder()
        .global_middleware(Authenticate::required(Jwt::hs256(
            "a secret of at least 32 bytes, please",
        )))
        .global_interceptor(Propagate)
        .gateway(notes)
        .build()?;
    let bound = server.bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
