//! Several tenants on one server, each in a namespace of its own: `/tenants/acme`, `/tenants/zenith`.
//! No list of them is needed: the gateway's path has a parameter, and a namespace is there as soon
//! as somebody enters it.
//!
//! `JWT_SECRET=… PORT=3000 cargo run --example tenants`. A token has the claims `sub`, the user, and
//! `tenant`. A client connects by `io("http://127.0.0.1:3000/tenants/acme", { auth: { token } })`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchboard::{
    Authenticate, Data, Fault, Gateway, Handshake, Jwt, Reply, Socket, Switchboard, id::UserId,
};

#[derive(Serialize, Deserialize)]
struct Order {
    article: String,
    pieces: u32,
}

/// Lets users of the tenant in, and nobody else. `Authenticate` has verified the token before.
async fn of_this_tenant(handshake: Handshake) -> Result<(), Fault> {
    let identity = handshake.identity();
    let asked = handshake.socket().param("tenant").unwrap_or_default();
    let own = identity.claims().get("tenant").and_then(Value::as_str);
    // The same answer for a tenant that there is and for one that there is not.
    if own != Some(asked) {
        return Err(Fault::forbidden("not your tenant"));
    }
    // Two tenants may have a user of the same name. To the directory of users, which knows all
    // namespaces, they are two.
    let user = identity.user_id().ok_or_else(|| Fault::unauthorized("who are you?"))?;
    let name = format!("{asked}:{user}");
    handshake.set_identity(identity.with_user(name));
    Ok(())
}

fn gateway() -> Gateway {
    Gateway::new("/tenants/{tenant}")
        .middleware(of_this_tenant)
        .on("whoami", async |user: UserId| user.to_string())
        .on("order", async |Data(order): Data<Order>| {
            // Rooms, and "all", are those of the namespace: of this tenant.
            (Reply::event("ordered", &order).to_all().except_sender(), Reply::ack(&true))
        })
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| true)
        })
        .on("say", async |socket: Socket, Data((room, text)): Data<(String, String)>| match socket
            .is_in(&room)
        {
            true => Ok(Reply::event("said", &text).to(room)),
            false => Err(Fault::forbidden("only members speak")),
        })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("JWT_SECRET").map_err(|_| "JWT_SECRET is not set")?;
    let server = Switchboard::builder()
        .global_middleware(Authenticate::required(Jwt::hs256(&secret)))
        .gateway(gateway())
        .build()?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
