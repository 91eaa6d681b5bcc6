//! A node on socketioxide and its own Redis adapter, as their documentation shows them.
//!
//! What it does is in `benches/support/src/yardstick.rs`. `THREADS=0` puts it on a current-thread
//! runtime instead of tokio's default.

use std::env;

use bench_support::{result::Result, yardstick};
use socketioxide::{SocketIo, handler::ConnectHandler};
use socketioxide_redis::{RedisAdapter, RedisAdapterConfig, RedisAdapterCtr};

async fn serve() -> Result<()> {
    let client = redis::Client::open(format!("{}?protocol=resp3", env::var("REDIS_URL")?))?;
    // As for the connections: the default loses deliveries under load.
    let config = RedisAdapterConfig::new().with_stream_buffer(65_536);
    let adapter = RedisAdapterCtr::new_with_redis_config(&client, config).await?;
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(yardstick::BUFFER)
        .with_adapter::<RedisAdapter<_>>(adapter)
        .build_layer();
    io.ns("/", yardstick::connected.with(yardstick::register)).await?;
    yardstick::serve(layer).await
}

fn main() -> Result<()> {
    let mut runtime = match env::var("THREADS").as_deref() {
        Ok("0") => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(serve())
}
