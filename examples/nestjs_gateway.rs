//! A gateway as NestJS has it, in Rust: the right side of `docs/from-nestjs.md`, which shows the same
//! in TypeScript.
//!
//! `PORT=3000 cargo run --example nestjs_gateway`. A client comes with `auth: { name }`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard::{
    Data, Event, Fault, Gateway, Handshake, Identity, Replies, Reply, Socket, State, Switchboard,
    gateway::handler::DisconnectReason,
    handle,
    interceptor::{Outcome, Rest, from_fn},
};

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateCat {
    name: String,
    age: u8,
}

impl CreateCat {
    fn check(&self) -> Result<(), Fault> {
        match (1..=40).contains(&self.name.chars().count()) && self.age <= 40 {
            true => Ok(()),
            false => Err(Fault::bad_request("a cat has a name, and at most 40 years")),
        }
    }
}

#[derive(Clone, Default)]
struct CatsService(Arc<Mutex<Vec<CreateCat>>>);

impl CatsService {
    async fn create(&self, cat: CreateCat) -> usize {
        let mut cats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cats.push(cat);
        cats.len()
    }
}

async fn create(
    State(cats): State<CatsService>,
    Data(cat): Data<CreateCat>,
    server: Switchboard,
) -> Result<Value, Fault> {
    cat.check()?;
    let id = cats.create(cat.clone()).await;
    server.of("/cats").to("watchers").emit("created", &cat)?;
    Ok(json!({ "id": id }))
}

async fn watch(socket: Socket) -> Result<Reply, Fault> {
    socket.join("watchers").await?;
    Ok(Reply::event("watching", &true))
}

async fn count(Data(to): Data<u32>) -> Replies {
    let numbers = (1..=to.min(100)).map(|number| Ok(Reply::event("count", &number)));
    Replies::stream(stream::iter(numbers))
}

async fn named(handshake: Handshake) -> Result<(), Fault> {
    let auth: Value = handshake.auth()?;
    let name = auth["name"].as_str().ok_or_else(|| Fault::plain("who are you?"))?;
    handshake.set_identity(Identity::user(name));
    Ok(())
}

async fn admins_only(event: Event, rest: Rest) -> Outcome {
    match event.socket().user().as_deref() {
        Some("admin") => rest.run(event).await,
        _ => Err(Fault::forbidden("for admins only")),
    }
}

async fn logging(event: Event, rest: Rest) -> Outcome {
    let started = Instant::now();
    let outcome = rest.run(event.clone()).await;
    println!("{} took {:?}", event.name(), started.elapsed());
    outcome
}

async fn exception(fault: Fault) -> (Reply, Reply) {
    let error = json!({ "status": "error", "message": fault.message() });
    (Reply::event("exception", &error), Reply::ack(&json!({ "error": fault.to_json() })))
}

fn cats() -> Gateway {
    Gateway::new("/cats")
        .middleware(named)
        .intercept(from_fn(logging))
        .on_fault(exception)
        .on_connect(async |socket: Socket| println!("{} has come", socket.id()))
        .on_disconnect(async |socket: Socket, reason: DisconnectReason| {
            println!("{} has gone: {reason:?}", socket.id());
        })
        .on("create", create)
        .on("watch", watch)
        .on("count", count)
        .on("remove", handle(async || "removed").intercept(from_fn(admins_only)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Switchboard::builder().state(CatsService::default()).gateway(cats()).build()?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
