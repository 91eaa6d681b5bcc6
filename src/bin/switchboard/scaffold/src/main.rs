//! The server as a process: its settings, its port, its end.

use std::process::ExitCode;

use switchboard::config::{Sources, load};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use my_service::{Tasks, server};

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    // Before the port is open, so that an early signal is not lost.
    let mut terminated = signal(SignalKind::terminate())?;
    let dev = std::env::args().any(|argument| argument == "--dev");
    let sources = Sources::new().file("switchboard.toml");
    let loaded = load(&sources.env(std::env::vars_os()).dev(dev))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let listen = loaded.config.listen;
    let server = server(loaded.config, Tasks::default())?.build()?;
    let bound = server.bind(listen).await?;
    tracing::info!("listening on http://{}", bound.local_addr());
    let stop = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    bound.serve(stop).await?;
    Ok(())
}
