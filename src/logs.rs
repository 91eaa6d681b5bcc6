//! The log: structured lines on standard error, at a level that can be changed while running.

use std::io::IsTerminal as _;

use switchboard::config::{Log, LogFormat};
use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// Changes the level of the log.
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Takes the level of this configuration, unless `RUST_LOG` is set.
    pub(crate) fn set(&self, log: &Log) {
        if self.0.reload(filter(log)).is_err() {
            tracing::error!("the level of the log cannot be changed");
        }
    }
}

/// Starts the log.
pub(crate) fn start(log: &Log) -> Level {
    let (filter, handle) = reload::Layer::new(filter(log));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    match log.format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
        LogFormat::Text => registry.with(lines).init(),
    }
    Level(handle)
}

fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(log.level.as_str()))
}
