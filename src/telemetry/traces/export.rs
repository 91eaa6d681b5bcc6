//! The export to the collector: OTLP over HTTP, in batches, on a thread of its own. Serving never
//! waits for it; spans that it cannot keep up with are dropped.
//!
//! OpenTelemetry's own variables apply where the configuration has no key: `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`,
//! `OTEL_BSP_*`, and `OTEL_TRACES_SAMPLER`, which wins over `traces.sample_ratio`.

use std::{env, time::Duration};

use opentelemetry::{InstrumentationScope, KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};

use super::TracesError;
use crate::id::NodeId;

const SERVICE_NAME: &str = "service.name";

/// The default name of the service.
const SWITCHBOARD: &str = "switchboard";

/// Longest wait at the end of the server for a silent collector.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts to export to a URL.
pub(super) fn start(
    endpoint: &str,
    sample_ratio: f64,
    node: &NodeId,
) -> Result<SdkTracerProvider, TracesError> {
    check_variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")?;
    check_variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url(endpoint))
        .build()
        .map_err(TracesError::Exporter)?;
    let mut builder =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(node));
    // The provider reads the variable itself. A sampler given here would win over it.
    if !is_set("OTEL_TRACES_SAMPLER") {
        let of_roots = Box::new(Sampler::TraceIdRatioBased(sample_ratio));
        builder = builder.with_sampler(Sampler::ParentBased(of_roots));
    }
    Ok(builder.build())
}

/// The URL with the usual path if it has none.
fn url(endpoint: &str) -> String {
    let path = endpoint.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    match path {
        None | Some((_, "")) => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
        Some(_) => endpoint.to_owned(),
    }
}

/// The source of this library's spans.
pub(super) fn tracer(provider: &SdkTracerProvider) -> SdkTracer {
    let scope = InstrumentationScope::builder(SWITCHBOARD).with_version(env!("CARGO_PKG_VERSION"));
    provider.tracer_with_scope(scope.build())
}

/// Exports the remaining spans. Blocks no other task.
pub(super) async fn shutdown(provider: SdkTracerProvider) {
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE)).await;
    if let Ok(Err(error)) = ended {
        tracing::warn!(%error, "the last spans may not have been exported");
    }
}

fn resource(node: &NodeId) -> Resource {
    let named = is_set("OTEL_SERVICE_NAME")
        || env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|given| given.contains(SERVICE_NAME));
    let resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", node.to_string()),
    ]);
    match named {
        true => resource.build(),
        false => resource.with_service_name(SWITCHBOARD).build(),
    }
}

fn is_set(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| !value.is_empty())
}

fn check_variable(name: &'static str, possible: &'static str) -> Result<(), TracesError> {
    match env::var(name) {
        Ok(value) if !value.is_empty() && value != possible => {
            Err(TracesError::Variable { name, value, possible })
        }
        _ => Ok(()),
    }
}
