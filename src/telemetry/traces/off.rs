//! The same names without the feature: they do nothing.

use std::future::Future;

use http::HeaderMap;
use serde_json::Value as Json;

use super::{Receiver, TracesError};
use crate::{
    config::Config,
    fault::Code,
    id::{NodeId, SocketId, UserId},
    payload::Payload,
    telemetry::traceparent::TraceParent,
};

/// Starts no spans.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tracer(());

#[allow(clippy::unused_self, clippy::unused_async, reason = "as with the feature")]
impl Tracer {
    pub(crate) fn new(config: &Config, _: &NodeId) -> Result<Self, TracesError> {
        match config.traces.endpoint {
            Some(_) => Err(TracesError::NotBuilt),
            None => Ok(Self::default()),
        }
    }

    pub(crate) fn connect<'a>(
        &self,
        _: impl FnOnce() -> &'a HeaderMap,
        _: &Json,
        _: &str,
        _: SocketId,
    ) -> (Span, Origin) {
        (Span, Origin)
    }

    pub(crate) fn receive(
        &self,
        socket: &Receiver<'_>,
        _: impl FnOnce() -> Option<UserId>,
        _: impl FnOnce() -> Option<String>,
    ) -> Span {
        let Origin = socket.origin;
        Span
    }

    pub(crate) fn emit(&self, _: &str, _: &Payload, _: impl FnOnce() -> &'static str) -> Span {
        Span
    }

    pub(crate) fn deliver<'a>(
        &self,
        _: &str,
        _: impl FnOnce() -> Option<&'a str>,
        _: Option<&str>,
        _: Option<TraceParent>,
    ) -> Span {
        Span
    }

    pub(crate) fn request(&self, _: &'static str, _: &str, _: &HeaderMap) -> Span {
        Span
    }

    pub(crate) fn failed(&self, _: Code) {}

    pub(crate) async fn shutdown(&self) {}
}

/// No span.
pub(crate) struct Span;

#[allow(clippy::unused_self, reason = "as with the feature")]
impl Span {
    #[cfg(feature = "admin")]
    pub(crate) fn present(_: &Tracer) -> Self {
        Self
    }

    pub(crate) fn around<F: Future>(&self, work: F) -> F {
        work
    }

    pub(crate) fn of_user(&self, _: &Tracer, _: impl FnOnce() -> Option<UserId>) {}

    pub(crate) fn answered(&self, _: http::StatusCode) {}

    pub(crate) fn traceparent(&self) -> Option<TraceParent> {
        None
    }
}

/// No context.
pub(crate) struct Origin;

#[allow(clippy::unused_self, reason = "as with the feature")]
impl Origin {
    pub(crate) fn traceparent(&self) -> Option<TraceParent> {
        None
    }
}
