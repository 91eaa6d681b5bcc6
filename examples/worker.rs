//! A process without clients that speaks to those of the servers: a worker, a cron job, a script.
//! It takes jobs, one a line, and tells their users when they are done, through Redis.
//!
//! ```text
//! echo '{"user": "ada", "job": 7}' | REDIS_URL=redis://127.0.0.1:6379 cargo run --example worker
//! ```
//!
//! The servers are nodes of Switchboard or of Node.js that share this Redis. `PROTOCOL=sharded` or
//! `streams` is for those that speak one of the other two formats.

use serde::Deserialize;
use serde_json::Value;
use switchboard::{
    Config,
    config::{SecretUrl, WireProtocol},
    server::Publisher,
};

#[derive(Deserialize)]
struct Job {
    user: String,
    job: Value,
}

fn config() -> Result<Config, Box<dyn std::error::Error>> {
    let mut config = Config::default();
    let url = std::env::var("REDIS_URL").map_err(|_| "REDIS_URL is not set")?;
    config.redis.url = Some(SecretUrl::new(url));
    config.redis.protocol = match std::env::var("PROTOCOL").as_deref() {
        Ok("sharded") => WireProtocol::Sharded,
        Ok("streams") => WireProtocol::Streams,
        _ => WireProtocol::Classic,
    };
    Ok(config)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let publisher = Publisher::connect(&config()?).await?;
    // Reading blocks this thread alone: what is emitted leaves on another one.
    for line in std::io::stdin().lines() {
        let line = line?;
        let Ok(Job { user, job }) = serde_json::from_str(&line) else {
            eprintln!("no job: {line}");
            continue;
        };
        // Here the work would be done. An emit does not wait for Redis.
        publisher.of("/").to_user(user).emit("job:done", &job)?;
    }
    // Waits until Redis has everything; an error says that something was lost.
    match publisher.close().await? {
        Some(nodes) => println!("{nodes} nodes heard of it"),
        None => println!("Redis does not say who heard of it"),
    }
    Ok(())
}
