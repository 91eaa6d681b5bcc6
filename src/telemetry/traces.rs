//! The spans of a node and their order. The cargo feature `otlp` exports them; without it there are
//! none.
//!
//! `connect` stands around the middleware of a namespace, `receive` around the handling of an
//! event, `emit` is the emit of an event, and `deliver` is the same event on another node. A
//! request of the admin API has a span, too. `deploy/traces.md` lists the content of each. No span
//! holds a payload, a token or the name of a room; the user's id only if `traces.user_ids` is set.

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
    /// The trace of its connect.
    pub(crate) origin: &'a Origin,
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TracesError {
    /// The cargo feature is missing.
    #[cfg(not(feature = "otlp"))]
    #[error("traces.endpoint is set, but this program was built without the cargo feature `otlp`")]
    NotBuilt,
    /// A variable that OpenTelemetry reads itself has an impossible value.
    #[cfg(feature = "otlp")]
    #[error("{name} is `{value}`, but only {possible} is possible")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// The possible values.
        possible: &'static str,
    },
    /// The exporter refuses its settings.
    #[cfg(feature = "otlp")]
    #[error("cannot export traces: {0}")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}
