//! The spans of a node and how they hang together; exported by OTLP with the cargo feature `otlp`,
//! nothing at all without it.
//!
//! `connect` stands around the middleware of a namespace, `receive` around the handling of an
//! event, `emit` is an event that somebody sends, `deliver` the same event on another node, and a
//! request of the admin API has a span, too. `deploy/traces.md` says what each one holds. Never a
//! payload, a token or a name of a room; the user's id only if `traces.user_ids` is set.

#[cfg(feature = "otlp")]
mod export;
#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod spans;

#[cfg(not(feature = "otlp"))]
pub(crate) use off::{Origin, Span, Tracer};
#[cfg(feature = "otlp")]
pub(crate) use spans::{Origin, Span, Tracer};

use crate::id::SocketId;

/// The socket whose event is handled.
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "nothing is told of it"))]
pub(crate) struct Receiver<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) id: SocketId,
    /// The trace in which it connected.
    pub(crate) origin: &'a Origin,
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TracesError {
    /// The feature is not there.
    #[cfg(not(feature = "otlp"))]
    #[error("traces.endpoint is set, but this program was built without the cargo feature `otlp`")]
    NotBuilt,
    /// One of the variables that OpenTelemetry reads itself.
    #[cfg(feature = "otlp")]
    #[error("{name} is `{value}`, but only {possible} is possible")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        possible: &'static str,
    },
    /// The exporter refuses its settings.
    #[cfg(feature = "otlp")]
    #[error("cannot export traces: {0}")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}
