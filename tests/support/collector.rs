//! A collector that takes spans by OTLP over HTTP, as an OpenTelemetry Collector does.

#![allow(unreachable_pub, reason = "as its neighbours")]

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span as Exported, span::SpanKind, status::StatusCode},
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;

/// Keeps everything that was exported to it.
pub struct Collector {
    pub endpoint: String,
    taken: Taken,
}

type Taken = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A span as it was exported.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub name: String,
    /// `service.instance.id` of the resource.
    pub node: String,
    pub service: String,
    pub trace: String,
    pub id: String,
    /// Empty: none.
    pub parent: String,
    /// The ids of the spans that it is linked with.
    pub links: Vec<String>,
    pub kind: SpanKind,
    pub took: Duration,
    pub is_error: bool,
    attributes: Vec<(String, String)>,
}

impl Span {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Collector {
    pub async fn start() -> Self {
        let taken = Taken::default();
        let take = async |State(taken): State<Taken>, headers: HeaderMap, body: Bytes| {
            taken.lock().push((headers, body));
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(taken.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { endpoint, taken }
    }

    /// Everything as it travelled.
    pub fn bytes(&self) -> Vec<u8> {
        self.taken.lock().iter().flat_map(|(_, body)| body.to_vec()).collect()
    }

    /// The spans so far, in the order of their starts.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for (headers, body) in self.taken.lock().iter() {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(body.clone()).expect("OTLP");
            for of_resource in request.resource_spans {
                let resource = texts(of_resource.resource.expect("a resource").attributes);
                let of = |name: &str| {
                    let found = resource.iter().find(|(key, _)| key == name);
                    found.map(|(_, value)| value.clone()).unwrap_or_default()
                };
                let (node, service) = (of("service.instance.id"), of("service.name"));
                for scope in of_resource.scope_spans {
                    let shown = |span| (start_of(&span), shown(&node, &service, span));
                    spans.extend(scope.spans.into_iter().map(shown));
                }
            }
        }
        spans.sort_by_key(|(start, _)| *start);
        spans.into_iter().map(|(_, span)| span).collect()
    }

    /// The one span of this name.
    pub fn span(&self, name: &str) -> Span {
        let mut named = self.named(name);
        assert_eq!(named.len(), 1, "{name} among {:#?}", self.spans());
        named.remove(0)
    }

    pub fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }
}

fn start_of(span: &Exported) -> u64 {
    span.start_time_unix_nano
}

fn shown(node: &str, service: &str, span: Exported) -> Span {
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
    let is_error = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    Span {
        kind: span.kind(),
        took: Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano),
        name: span.name,
        node: node.to_owned(),
        service: service.to_owned(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        is_error,
        attributes: texts(span.attributes),
    }
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|kv| (kv.key, text(kv.value.and_then(|v| v.value)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
