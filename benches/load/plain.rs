//! The server to compare with: plain socketioxide on tokio's default runtime.

use bench_support::{result::Result, yardstick};
use socketioxide::{SocketIo, handler::ConnectHandler};

/// The argument that makes this program the server.
pub(crate) const ARGUMENT: &str = "serve-plain";

/// Serves on `PORT` until the process is killed.
#[tokio::main]
pub(crate) async fn serve() -> Result<()> {
    let (layer, io) = SocketIo::builder().max_buffer_size(yardstick::BUFFER).build_layer();
    io.ns("/", yardstick::connected.with(yardstick::register));
    yardstick::serve(layer).await
}
