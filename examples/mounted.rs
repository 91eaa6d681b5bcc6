//! Socket.IO inside an axum application that has routes, state and a middleware of its own, and
//! serves all of it on one port.
//!
//! ```text
//! PORT=3000 cargo run --example mounted
//! curl -X POST localhost:3000/orders -d 'two coffees'
//! ```
//!
//! Whoever is in the room `kitchen` hears of the order. `TRUSTED_PROXY=127.0.0.1/32` believes what a
//! proxy there says of its clients. SIGTERM or Ctrl-C moves the clients elsewhere before it ends.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
    serve::ListenerExt as _,
};
use serde_json::json;
use switchboard::{Config, Data, Gateway, Handshake, Reply, Socket, Switchboard};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Stands for a pool of connections to a database: cheap to clone, and one for routes and handlers.
#[derive(Clone, Default)]
struct Orders(Arc<AtomicUsize>);

impl Orders {
    async fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the application's own routes work with.
#[derive(Clone)]
struct App {
    sockets: Switchboard,
    orders: Orders,
}

/// A route of the application that speaks to clients of Socket.IO.
async fn order(State(app): State<App>, what: String) -> Result<String, StatusCode> {
    let number = app.orders.add().await;
    let order = json!({ "number": number, "what": what });
    let told = app.sockets.of("/").to("kitchen").emit("ordered", &order);
    told.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(number.to_string())
}

/// A middleware around everything, Socket.IO included.
async fn signed(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-kitchen", HeaderValue::from_static("open"));
    response
}

fn gateway() -> Gateway {
    Gateway::new("/")
        .middleware(async |handshake: Handshake| {
            let address = handshake.peer_addr().map(|address| address.to_string());
            handshake.socket().set("address", &address)
        })
        .on("work", async |socket: Socket| socket.join("kitchen").await.map(|()| Reply::ack(&true)))
        .on("orders", async |switchboard::State(orders): switchboard::State<Orders>| {
            orders.count().await
        })
        .on("where", async |socket: Socket| {
            Reply::ack(&socket.get::<Option<String>>("address").ok().flatten())
        })
        .on("events", async |Data(data): Data<serde_json::Value>| {
            (Reply::event("events", &data), Reply::ack(&data))
        })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::from_secs(1);
    if let Ok(proxy) = std::env::var("TRUSTED_PROXY") {
        config.edge.trusted_proxies = vec![proxy.parse()?];
    }
    let orders = Orders::default();
    let builder = Switchboard::builder().config(config).state(orders.clone());
    let sockets = builder.gateway(gateway()).build()?;
    // With a Redis in the configuration this is where the node joins the others, or fails to.
    sockets.join().await?;

    let state = App { sockets: sockets.clone(), orders };
    let app = Router::new()
        .route("/orders", post(order))
        .route("/menu", get(async || "coffee"))
        .with_state(state)
        .merge(sockets.health())
        // Everything below /socket.io/ ends here; all else goes to the routes above.
        .layer(sockets.layer())
        .layer(middleware::from_fn(signed));

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    // Small packets leave at once.
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    let mut terminated = signal(SignalKind::terminate())?;
    let draining = sockets.clone();
    // The address of each client is in its requests, for the limits and for `peer_addr`.
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            // axum goes on accepting meanwhile, so that new clients hear that they are to go
            // elsewhere.
            if let Err(error) = draining.drain().await {
                eprintln!("{error}");
            }
        })
        .await?;
    sockets.close().await;
    Ok(())
}
