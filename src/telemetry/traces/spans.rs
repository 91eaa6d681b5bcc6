//! The spans, made with the interface of OpenTelemetry and not through `tracing`. So it is known
//! whether a trace is sampled before anything is built for it, each server has a provider of its
//! own, and the log stays as it is. Names and attributes are those of the instrumentation of
//! Socket.IO for Node.js, where it has any.

use std::{future::Future, str::FromStr, sync::Arc};

use futures_util::future::Either;
use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    context::FutureExt,
    trace::{
        Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde_json::Value as Json;

use super::{Receiver, TracesError, export};
use crate::{
    config::{Config, Traces},
    fault::Code,
    id::{NodeId, SocketId, UserId},
    payload::Payload,
    telemetry::traceparent::TraceParent,
};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Starts spans, if there is a provider for them.
#[derive(Clone, Default)]
pub(crate) struct Tracer(Option<Arc<Enabled>>);

struct Enabled {
    tracer: SdkTracer,
    /// The server's own provider. `None` if the program owns it.
    provider: Option<SdkTracerProvider>,
    from_clients: bool,
    user_ids: bool,
}

impl Tracer {
    /// Exports to `traces.endpoint`, if it is set.
    pub(crate) fn new(config: &Config, node: &NodeId) -> Result<Self, TracesError> {
        let Some(endpoint) = &config.traces.endpoint else { return Ok(Self::default()) };
        let provider = export::start(endpoint.expose(), config.traces.sample_ratio, node)?;
        Ok(Self::with(&provider, Some(provider.clone()), &config.traces))
    }

    /// Gives the spans to the program's provider.
    pub(crate) fn foreign(provider: &SdkTracerProvider, traces: &Traces) -> Self {
        Self::with(provider, None, traces)
    }

    fn with(provider: &SdkTracerProvider, own: Option<SdkTracerProvider>, traces: &Traces) -> Self {
        let Traces { from_clients, user_ids, .. } = *traces;
        let tracer = export::tracer(provider);
        Self(Some(Arc::new(Enabled { tracer, provider: own, from_clients, user_ids })))
    }

    /// A socket asks to be let into a namespace. The client may name the trace in the CONNECT
    /// payload (`auth.traceparent`) or, as only some clients can set headers, in the header of the
    /// request that opened the connection. Otherwise the trace is a new one.
    pub(crate) fn connect<'a>(
        &self,
        headers: impl FnOnce() -> &'a HeaderMap,
        auth: &Json,
        namespace: &str,
        socket: SocketId,
    ) -> (Span, Origin) {
        let Some(enabled) = &self.0 else { return (Span::none(), Origin(None)) };
        let told = if enabled.from_clients { told_by(headers(), Some(auth)) } else { None };
        let is_parent = told.is_some();
        let span = enabled.start("connect", SpanKind::Server, told, None);
        span.describe("connect", namespace, None, |attributes| {
            attributes.push(KeyValue::new("messaging.socket.io.socket_id", socket.to_string()));
        });
        let origin = Origin::of(&span, is_parent);
        (span, origin)
    }

    /// An event is handled. `event` is its name if the gateway declares it. Other names are left
    /// out, because clients choose them.
    pub(crate) fn receive(
        &self,
        socket: &Receiver<'_>,
        user: impl FnOnce() -> Option<UserId>,
        event: impl FnOnce() -> Option<String>,
    ) -> Span {
        let Some(enabled) = &self.0 else { return Span::none() };
        let (parent, link) = socket.origin.parent_and_link();
        let span = enabled.start("receive", SpanKind::Consumer, parent, link);
        if span.is_recording() {
            let event = event();
            let shown = event.as_deref().unwrap_or("other");
            span.rename(format!("receive {shown}"));
            span.describe("process", socket.namespace, event.as_deref(), |attributes| {
                let id = socket.id.to_string();
                attributes.push(KeyValue::new("messaging.socket.io.socket_id", id));
                if let Some(user) = enabled.user_ids.then(user).flatten() {
                    attributes.push(KeyValue::new("user.id", user.to_string()));
                }
            });
        }
        span
    }

    /// An event is emitted. The span exists only inside of a sampled one: an emit starts no trace.
    pub(crate) fn emit(
        &self,
        namespace: &str,
        payload: &Payload,
        target: impl FnOnce() -> &'static str,
    ) -> Span {
        let Some(enabled) = &self.0 else { return Span::none() };
        let parent = Context::map_current(|current| {
            current.span().span_context().is_sampled().then(|| current.clone())
        });
        let Some(parent) = parent else { return Span::none() };
        let target = target();
        let builder = SpanBuilder::from_name(format!("emit {target}"));
        let span = enabled.start_in(builder.with_kind(SpanKind::Producer), &parent);
        span.describe("send", namespace, payload.event_name().as_deref(), |attributes| {
            attributes.push(KeyValue::new("messaging.socket.io.target", target));
        });
        span
    }

    /// An event of another node is delivered here. The span exists only if that node sent a
    /// context.
    pub(crate) fn deliver<'a>(
        &self,
        namespace: &str,
        event: impl FnOnce() -> Option<&'a str>,
        from: Option<&str>,
        context: Option<TraceParent>,
    ) -> Span {
        let (Some(enabled), Some(context)) = (&self.0, context) else { return Span::none() };
        let parent = context_of(context, TraceState::default());
        let span = enabled.start("deliver", SpanKind::Consumer, Some(parent), None);
        span.describe("receive", namespace, event(), |attributes| {
            let from = from.map(|from| KeyValue::new("messaging.socket.io.from", from.to_owned()));
            attributes.extend(from);
        });
        span
    }

    /// A request of the admin API, in the trace that its header names.
    pub(crate) fn request(&self, method: &'static str, route: &str, headers: &HeaderMap) -> Span {
        let Some(enabled) = &self.0 else { return Span::none() };
        let span = enabled.start("request", SpanKind::Server, told_by(headers, None), None);
        if span.is_recording() {
            span.rename(format!("{method} {route}"));
            span.set([
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route.to_owned()),
            ]);
        }
        span
    }

    /// The work of the current span ended in this error.
    pub(crate) fn failed(&self, code: Code) {
        if self.0.is_some() {
            Context::map_current(|current| {
                let span = current.span();
                span.set_attribute(KeyValue::new("error.type", code.as_str()));
                if is_ours(code) {
                    span.set_status(Status::error(code.as_str()));
                }
            });
        }
    }

    /// Exports the remaining spans, if the provider is the server's own.
    pub(crate) async fn shutdown(&self) {
        let provider = self.0.as_ref().and_then(|enabled| enabled.provider.clone());
        if let Some(provider) = provider {
            export::shutdown(provider).await;
        }
    }
}

impl Enabled {
    fn start(
        &self,
        name: &'static str,
        kind: SpanKind,
        parent: Option<SpanContext>,
        link: Option<SpanContext>,
    ) -> Span {
        let root = Context::new();
        let parent = match parent {
            Some(parent) => root.with_remote_span_context(parent),
            None => root,
        };
        let mut builder = SpanBuilder::from_name(name).with_kind(kind);
        if let Some(link) = link {
            builder = builder.with_links(vec![Link::with_context(link)]);
        }
        self.start_in(builder, &parent)
    }

    fn start_in(&self, builder: SpanBuilder, parent: &Context) -> Span {
        Span(Some(parent.with_span(self.tracer.build_with_context(builder, parent))))
    }
}

/// A span under way, until it is dropped; or none.
pub(crate) struct Span(Option<Context>);

impl Span {
    fn none() -> Self {
        Self(None)
    }

    fn is_recording(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.span().is_recording())
    }

    fn rename(&self, name: String) {
        if let Some(context) = &self.0 {
            context.span().update_name(name);
        }
    }

    fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Some(context) = &self.0 {
            context.span().set_attributes(attributes);
        }
    }

    /// The attributes of every messaging span, and the additions of this one.
    fn describe(
        &self,
        operation: &'static str,
        namespace: &str,
        event: Option<&str>,
        more: impl FnOnce(&mut Vec<KeyValue>),
    ) {
        if !self.is_recording() {
            return;
        }
        let mut attributes = vec![
            KeyValue::new("messaging.system", "socket.io"),
            KeyValue::new("messaging.operation.type", operation),
            KeyValue::new("messaging.destination.name", namespace.to_owned()),
            KeyValue::new("messaging.socket.io.namespace", namespace.to_owned()),
        ];
        if let Some(event) = event {
            let event = KeyValue::new("messaging.socket.io.event_name", event.to_owned());
            attributes.push(event);
        }
        more(&mut attributes);
        self.set(attributes);
    }

    /// The span of the work that is under way, for a part of it that gets a task of its own.
    #[cfg(feature = "admin")]
    pub(crate) fn present(tracer: &Tracer) -> Self {
        Self(tracer.0.is_some().then(Context::current))
    }

    /// Does the work inside of the span, so that spans started by it belong to it.
    pub(crate) fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some(context) => Either::Left(work.with_context(context.clone())),
            None => Either::Right(work),
        }
    }

    /// Notes the user of a handshake, if spans may hold it.
    pub(crate) fn of_user(&self, tracer: &Tracer, user: impl FnOnce() -> Option<UserId>) {
        if tracer.0.as_ref().is_some_and(|enabled| enabled.user_ids)
            && let Some(user) = user()
        {
            self.set([KeyValue::new("user.id", user.to_string())]);
        }
    }

    /// Notes the status of a request's answer.
    pub(crate) fn answered(&self, status: http::StatusCode) {
        let Some(context) = &self.0 else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
    }

    /// The context for other nodes, if the span is sampled.
    pub(crate) fn traceparent(&self) -> Option<TraceParent> {
        let span = self.0.as_ref()?.span().span_context().clone();
        traceparent_of(&span).filter(|_| span.is_sampled())
    }
}

fn traceparent_of(span: &SpanContext) -> Option<TraceParent> {
    let trace = u128::from_be_bytes(span.trace_id().to_bytes());
    let id = u64::from_be_bytes(span.span_id().to_bytes());
    TraceParent::new(trace, id, span.is_sampled())
}

/// Tasks started inside may hold the context for longer than the work lasts.
impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// The relation of a socket's events to the span of its `connect`.
pub(crate) struct Origin(Option<Box<Connected>>);

struct Connected {
    context: SpanContext,
    /// Whether the client named a trace, to which its events belong. Otherwise each event has a
    /// trace of its own, with a link: a trace as long as a connection would be too large.
    is_parent: bool,
}

impl Origin {
    fn of(span: &Span, is_parent: bool) -> Self {
        let context = span.0.as_ref().map(|context| context.span().span_context().clone());
        // A link to a span that is not exported leads nowhere.
        let worthwhile = context.filter(|context| is_parent || context.is_sampled());
        Self(worthwhile.map(|context| Box::new(Connected { context, is_parent })))
    }

    /// The trace, as it is written down with a socket.
    pub(crate) fn traceparent(&self) -> Option<TraceParent> {
        traceparent_of(&self.0.as_deref()?.context)
    }

    fn parent_and_link(&self) -> (Option<SpanContext>, Option<SpanContext>) {
        match self.0.as_deref() {
            Some(Connected { context, is_parent: true }) => (Some(context.clone()), None),
            Some(Connected { context, is_parent: false }) => (None, Some(context.clone())),
            None => (None, None),
        }
    }
}

fn is_ours(code: Code) -> bool {
    matches!(code, Code::Internal | Code::Timeout | Code::Unavailable)
}

/// The context that a client or a program names. A malformed one is ignored.
fn told_by(headers: &HeaderMap, auth: Option<&Json>) -> Option<SpanContext> {
    let in_auth = |name: &str| auth.and_then(|auth| auth.get(name)).and_then(Json::as_str);
    let in_header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let told = |find: &dyn Fn(&'static str) -> Option<String>| {
        let parent = TraceParent::parse(&find(TRACEPARENT)?)?;
        let state = find(TRACESTATE).and_then(|state| TraceState::from_str(&state).ok());
        Some(context_of(parent, state.unwrap_or_default()))
    };
    told(&|name| in_auth(name).map(str::to_owned))
        .or_else(|| told(&|name| in_header(name).map(str::to_owned)))
}

fn context_of(parent: TraceParent, state: TraceState) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from(parent.trace()), SpanId::from(parent.span()));
    SpanContext::new(trace, span, flags, true, state)
}
