//! The log: structured lines on standard error, at a level that can be changed while running.
//!
//! Only this program's own lines are written, at every level. At lower levels the libraries below
//! print the data that passes through them: tokens, passwords, messages.

use std::{env, io::IsTerminal as _};

use switchboard::config::{Log, LogFormat};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::{ParseError, filter_fn},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
};

/// Changes the level of the log.
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Sets the level of this configuration, unless `RUST_LOG` is set.
    pub(crate) fn set(&self, log: &Log) {
        if self.0.reload(filter(log)).is_err() {
            tracing::error!("the level of the log cannot be changed");
        }
    }
}

/// Starts the log.
pub(crate) fn start(log: &Log) -> Level {
    let (filter, handle) = reload::Layer::new(filter(log));
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(is_ours));
    let started = match log.format {
        LogFormat::Json => install(registry.with(lines().json().flatten_event(true))),
        LogFormat::Text => install(registry.with(lines())),
    };
    started.expect("the log is started once");
    if let Some(Err(error)) = from_environment() {
        tracing::warn!(%error, "RUST_LOG is not understood; log.level holds");
    }
    Level(handle)
}

/// Installs the subscriber without the bridge from the crate `log`. Nothing of ours uses that
/// crate, and others' lines are not wanted.
fn install(
    subscriber: impl Subscriber + Send + Sync,
) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
    tracing::subscriber::set_global_default(subscriber)
}

/// Drops a line that cannot be written because nobody reads standard error any more. Reporting that
/// to standard error would panic.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>() -> tracing_subscriber::fmt::Layer<
    S,
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    fn() -> std::io::Stderr,
> {
    tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_writer(std::io::stderr as fn() -> std::io::Stderr)
}

/// Whether a line is our own, or a warning of OpenTelemetry that spans could not be exported. Below
/// that level it prints the collector's answers.
fn is_ours(line: &Metadata<'_>) -> bool {
    let of = |name: &str| {
        let rest = line.target().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let is_warning = *line.level() <= tracing::Level::WARN;
    of("switchboard") || (is_warning && line.is_event() && of_opentelemetry(line.target()))
}

/// Whether the target is a crate of OpenTelemetry: `opentelemetry_sdk`, `opentelemetry-otlp`.
fn of_opentelemetry(target: &str) -> bool {
    target.starts_with("opentelemetry")
}

fn filter(log: &Log) -> EnvFilter {
    match from_environment() {
        Some(Ok(filter)) => filter,
        Some(Err(_)) | None => EnvFilter::new(log.level.as_str()),
    }
}

/// The filter of `RUST_LOG`, unless that is missing or empty.
fn from_environment() -> Option<Result<EnvFilter, ParseError>> {
    let text = env::var_os(EnvFilter::DEFAULT_ENV).filter(|text| !text.is_empty())?;
    Some(EnvFilter::try_new(text.to_string_lossy()))
}
