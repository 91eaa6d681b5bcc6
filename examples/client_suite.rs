//! The server that the official test suite of `socket.io-client` expects, on port 3210 (or `PORT`).
//!
//! ```text
//! cargo run --example client_suite
//! ```
//!
//! Each handshake is delayed by 10 ms before it is answered, the heartbeat comes every 2 s, and
//! sockets recover. Half of the suite connects to `/`; `/abc` shows each client its handshake, `/no`
//! lets nobody in.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::{
    Binary, Config, Data, Extension, Fault, Gateway, Handshake, Reply, Socket, Switchboard, handle,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A date as JSON has it.
fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

fn bytes() -> Binary {
    Binary(b"asdfasdf".as_slice().into())
}

/// Binary among other values.
#[derive(Deserialize)]
struct Mixed {
    hello: String,
    message: Binary,
    goodbye: String,
}

impl Mixed {
    fn is_whole(&self) -> bool {
        let Self { hello, message: Binary(bytes), goodbye } = self;
        hello == "lol" && !bytes.is_empty() && goodbye == "gotcha"
    }
}

/// How many of the events that come in an order have come.
#[derive(Clone, Copy, PartialEq)]
struct Step(u8);

/// The next step, if the one before it was made.
fn step(socket: &Socket, from: u8) -> bool {
    let before = socket.extensions().get::<Step>().map_or(0, |Step(step)| step);
    if before == from {
        socket.extensions().insert(Step(from + 1));
    }
    before == from
}

fn main_namespace() -> Gateway {
    const UTF8: [&str; 5] =
        ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"];
    Gateway::new("/")
        .middleware(async |handshake: Handshake| match handshake.query().get("fail") {
            Some(_) => Err(Fault::plain("Auth failed (main namespace)")),
            None => Ok(()),
        })
        .on("hi", async || Reply::event("hi", &()))
        .on("echo", async |argument: Option<Data<Value>>| argument.map(|Data(value)| value))
        .on("ack", handle(ack).concurrent())
        .on("getAckDate", async || now())
        .on("getDate", async || Reply::event("takeDate", &now()))
        .on("getDateObj", async || Reply::event("takeDateObj", &json!({ "date": now() })))
        .on("getUtf8", async || UTF8.map(|text| Reply::event("takeUtf8", text)))
        .on("false", async || Reply::event("false", &false))
        .on("doge", async || Reply::event("doge", &bytes()))
        .on("getbin", async || Reply::event("takebin", &bytes()))
        .on("buffa", async |_: Binary| Reply::event("buffack", &()))
        .on("jsonbuff", async |Data(mixed): Data<Mixed>| {
            mixed.is_whole().then(|| Reply::event("jsonbuff-ack", &()))
        })
        .on("abuff1", async |socket: Socket, _: Binary| _ = socket.extensions().insert(Step(1)))
        .on("abuff2", async |step: Option<Extension<Step>>| {
            step.map(|_| Reply::event("abuff2-ack", &()))
        })
        .on("blob", async |_: Binary| Reply::event("back", &()))
        .on("jsonblob", async |Data(mixed): Data<Mixed>| {
            mixed.is_whole().then(|| Reply::event("jsonblob-ack", &()))
        })
        .on("blob1", async |socket: Socket, _: Binary| _ = step(&socket, 0))
        .on("blob2", async |socket: Socket, Data(text): Data<String>| {
            if text == "second" {
                step(&socket, 1);
            }
        })
        .on("blob3", async |socket: Socket, _: Binary| {
            step(&socket, 2).then(|| Reply::event("blob3-ack", &()))
        })
        .on("getHandshake", async |handshake: Handshake| handshake.to_json())
        .on("getId", async |socket: Socket| socket.id())
}

/// Asks the client, and says so if its answer is the expected one.
async fn ack(socket: Socket) -> Result<Option<Reply>, Fault> {
    let answer: (Value, Value) = socket.ask("ack", &(), Duration::from_secs(10)).await?;
    let is_it = answer.0 == 5 && answer.1["test"] == true;
    Ok(is_it.then(|| Reply::event("got it", &())))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3210), |port| port.parse())?;
    let mut config = Config::default();
    config.engine.ping_interval = Duration::from_secs(2);
    config.recovery.enabled = true;
    let server = Switchboard::builder()
        .config(config)
        .allow_request(async || tokio::time::sleep(Duration::from_millis(10)).await)
        .gateway(main_namespace())
        .gateway(Gateway::new("/foo").on("getId", async |socket: Socket| socket.id()))
        .gateway(Gateway::new("/timeout_socket"))
        .gateway(Gateway::new("/valid"))
        .gateway(Gateway::new("/asd"))
        .gateway(Gateway::new("/abc").on_connect(async |handshake: Handshake| {
            Reply::event("handshake", &handshake.to_json())
        }))
        .gateway(
            Gateway::new("/no")
                .middleware(async || Err::<(), _>(Fault::plain("Auth failed (custom namespace)"))),
        )
        .build()?;
    let bound = server.bind(("0.0.0.0", port)).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
