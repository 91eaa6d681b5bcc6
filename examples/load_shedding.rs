//! A server that refuses or drops what it cannot do in time, so that what it does stays quick.
//!
//! `PLACES=2 PORT=3000 cargo run --example load_shedding`. From the outside in:
//!
//! - `limits` of the configuration: so many connections, so many new ones in a second (HTTP 503), so
//!   many events of a socket in a second (`rate_limited`).
//! - `allow_request`: the program's own reasons against a new connection. As in Node.js that is HTTP
//!   403. The client tries again, later and later.
//! - An interceptor: work without a free place is refused at once with `unavailable`, which says
//!   that it may be tried again. Queued instead, it would be done when nobody waits for it.
//! - `Timeout`: work that takes too long is given up. So is the work of a client that has left.
//! - `volatile`: news that are worth nothing later are dropped for clients that do not keep up.
//! - A client that does not read what is not volatile is cut at `engine.max_buffered_packets`.

use std::{sync::Arc, time::Duration};

use switchboard::{
    Code, Config, Data, Event, Fault, Gateway, Socket, State, Switchboard, handle,
    interceptor::{Outcome, Rest, Timeout, from_fn},
};
use tokio::sync::Semaphore;

/// Places for work that goes on at the same time: as many as there are cores, or connections of the
/// database behind it.
#[derive(Clone)]
struct Places {
    all: usize,
    free: Arc<Semaphore>,
}

impl Places {
    fn new(all: usize) -> Self {
        Self { all, free: Arc::new(Semaphore::new(all)) }
    }

    fn taken(&self) -> usize {
        self.all - self.free.available_permits()
    }
}

fn busy() -> Fault {
    Fault::new(Code::Unavailable, "the server is busy")
}

/// Keeps newcomers away while all places are taken. Whoever is connected stays.
async fn has_room(State(places): State<Places>) -> Result<(), Fault> {
    match places.taken() < places.all {
        true => Ok(()),
        false => Err(busy()),
    }
}

/// An interceptor: the place is free again when the work is done, has failed, or was given up.
async fn in_a_place(event: Event, rest: Rest, places: Places) -> Outcome {
    let _place = places.free.try_acquire().map_err(|_| busy())?;
    rest.run(event).await
}

/// Stands for work of so many milliseconds. Nobody waits for the work of a client that has left.
async fn work(socket: Socket, Data(millis): Data<u64>) -> &'static str {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(millis)) => "done",
        () = socket.closed() => "given up",
    }
}

fn gateway(places: &Places) -> Gateway {
    let places = places.clone();
    let guarded = from_fn(move |event, rest| in_a_place(event, rest, places.clone()));
    let limit = Timeout::after(Duration::from_secs(30));
    Gateway::new("/")
        // Only what costs something needs a place.
        .on("work", handle(work).intercept(guarded).intercept(limit))
        .on("load", async |State(places): State<Places>| places.taken())
}

/// Tells everybody how busy the server is, again and again.
async fn tell(server: Switchboard, places: Places) {
    let mut every = tokio::time::interval(Duration::from_millis(200));
    loop {
        every.tick().await;
        let told = server.of("/").volatile().emit("load", &places.taken());
        if let Err(error) = told {
            eprintln!("{error}");
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let places = match std::env::var("PLACES") {
        Ok(places) => Places::new(places.parse()?),
        Err(_) => Places::new(std::thread::available_parallelism()?.get()),
    };
    let mut config = Config::default();
    config.limits.max_connections = 10_000;
    config.limits.connections_per_second = 500;
    config.limits.events_per_second = 20;
    let server = Switchboard::builder()
        .config(config)
        .state(places.clone())
        .allow_request(has_room)
        .gateway(gateway(&places))
        .build()?;
    tokio::spawn(tell(server.clone(), places));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
