//! Spans as a collector gets them: what belongs to which trace, in one node and across nodes, and
//! what is never told.
#![cfg(feature = "otlp")]

#[path = "support/collector.rs"]
mod collector;
mod support;

use std::time::{Duration, Instant};

use collector::{Collector, Span};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Client, RedisServer, Server, admin::Admin, by_name, within};
use switchboard::{
    Code, Config, Data, Fault, Gateway, Handshake, Reply, Socket, Switchboard,
    config::{SecretUrl, WireProtocol},
    server::{Builder, LocalCluster},
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const SECRET: &str = "nobody-may-read-this";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

fn gateway() -> Gateway {
    Gateway::new("/")
        .middleware(async |handshake: Handshake| {
            match handshake.auth::<Value>()?["token"].as_str() {
                Some("expired") => Err(Fault::unauthorized("token expired")),
                _ => Ok(()),
            }
        })
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        })
        .on("say", async |socket: Socket, Data(words): Data<String>| {
            tokio::task::yield_now().await;
            socket.to("lobby").emit("said", &words)?;
            Ok::<_, Fault>(Reply::ack(&true))
        })
        .on("ask", async |socket: Socket, Data(timeout_ms): Data<u64>| {
            let timeout = Duration::from_millis(timeout_ms);
            let asked = socket.broadcast().emit_with_ack("question", &(), timeout).await?;
            Ok::<_, Fault>(Reply::ack(&asked.acks.len()))
        })
        .on("broken", async || Err::<Reply, _>(Fault::new(Code::Internal, "broken")))
        .on("which", async || {
            tokio::task::yield_now().await;
            let context = opentelemetry::Context::current();
            Reply::ack(&context.span().span_context().trace_id().to_string())
        })
        .on("work", async || {
            async { tokio::task::yield_now().await }.instrument(tracing::info_span!("query")).await;
            Reply::ack(&true)
        })
}

fn config(collector: &Collector) -> Config {
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::from_millis(10);
    config.traces.endpoint = Some(collector.endpoint.as_str().into());
    config
}

fn builder(config: Config) -> Builder {
    Switchboard::builder().config(config).global_middleware(by_name).gateway(gateway())
}

async fn one_node(collector: &Collector, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = config(collector);
    change(&mut config);
    Server::start(builder(config)).await
}

/// Ends the node, which exports what is left.
async fn stop(server: Server) {
    server.stop().await.expect("a clean drain");
}

fn is_child_of(child: &Span, parent: &Span) {
    assert_eq!(
        (&child.trace, &child.parent),
        (&parent.trace, &parent.id),
        "{child:#?} {parent:#?}"
    );
}

async fn a_trace_goes_through_the_cluster(link: Option<WireProtocol>) {
    let collector = Collector::start().await;
    let local = LocalCluster::default();
    let redis = if link.is_some() { Some(RedisServer::start().await) } else { None };
    let mut nodes = Vec::new();
    for name in ["here", "there"] {
        let mut config = config(&collector);
        config.node_id = Some(name.into());
        if let (Some(redis), Some(protocol)) = (&redis, link) {
            config.redis.url = Some(SecretUrl::new(redis.url()));
            config.redis.protocol = protocol;
            nodes.push(Server::start(builder(config)).await);
        } else {
            nodes.push(Server::start(builder(config).cluster(&local)).await);
        }
    }
    let mut reader = nodes[1].client().await;
    assert_eq!(reader.ask("join", json!("lobby")).await, json!(true));
    let auth = json!({ "user": "ada", "token": SECRET, "traceparent": traceparent("01") });
    let mut ada = nodes[0].client_with("/", auth).await;
    assert_eq!(ada.ask("say", json!(SECRET)).await, json!(true));
    assert_eq!(within("said", reader.hears("said")).await, json!(SECRET));
    for node in nodes {
        stop(node).await;
    }

    let connect = collector.named("connect").into_iter().find(|span| span.node == "here");
    let connect = connect.expect("the connect of ada");
    assert_eq!((&*connect.trace, &*connect.parent), (TRACE, PARENT));
    assert_eq!(connect.kind, SpanKind::Server);
    let receive = collector.span("receive say");
    is_child_of(&receive, &connect);
    assert_eq!(receive.kind, SpanKind::Consumer);
    assert_eq!(receive.get("messaging.system"), Some("socket.io"));
    assert_eq!(receive.get("messaging.socket.io.event_name"), Some("say"));
    assert_eq!(receive.get("messaging.destination.name"), Some("/"));
    assert_eq!(receive.get("messaging.socket.io.socket_id"), Some(&*ada.id));
    let emit = collector.span("emit room");
    is_child_of(&emit, &receive);
    assert_eq!(emit.kind, SpanKind::Producer);
    assert_eq!(emit.get("messaging.socket.io.event_name"), Some("said"));
    let deliver = collector.span("deliver");
    is_child_of(&deliver, &emit);
    assert_eq!((&*emit.node, &*deliver.node), ("here", "there"));
    assert_eq!(deliver.get("messaging.socket.io.event_name"), Some("said"));
    assert_eq!(deliver.service, "switchboard");

    let exported = collector.bytes();
    let told = |what: &str| exported.windows(what.len()).any(|part| part == what.as_bytes());
    assert!(told("receive say"), "the search finds what is there");
    for hidden in [SECRET, "lobby", "ada"] {
        assert!(!told(hidden), "{hidden} was exported");
    }
    drop(redis);
}

#[tokio::test]
async fn a_trace_goes_through_the_cluster_in_memory() {
    a_trace_goes_through_the_cluster(None).await;
}

#[tokio::test]
async fn a_trace_goes_through_the_cluster_classic() {
    a_trace_goes_through_the_cluster(Some(WireProtocol::Classic)).await;
}

#[tokio::test]
async fn a_trace_goes_through_the_cluster_sharded() {
    a_trace_goes_through_the_cluster(Some(WireProtocol::Sharded)).await;
}

#[tokio::test]
async fn the_header_of_the_handshake_names_the_trace() {
    let collector = Collector::start().await;
    let server = one_node(&collector, |_| {}).await;
    let headers = [("traceparent", &*traceparent("01"))];
    let mut client = Client::open_with(server.address, &headers).await;
    client.enter("/", json!({})).await.expect("let in");
    assert_eq!(client.ask("which", json!(null)).await, json!(TRACE), "in the handler, too");
    stop(server).await;
    let connect = collector.span("connect");
    assert_eq!((&*connect.trace, &*connect.parent), (TRACE, PARENT));
    is_child_of(&collector.span("receive which"), &connect);
}

#[tokio::test]
async fn the_payload_of_connect_wins_over_the_header() {
    let collector = Collector::start().await;
    let server = one_node(&collector, |_| {}).await;
    let other = format!("00-{}-{PARENT}-01", "c".repeat(32));
    let headers = [("traceparent", &*other)];
    let mut client = Client::open_with(server.address, &headers).await;
    client.enter("/", json!({ "traceparent": traceparent("01") })).await.expect("let in");
    stop(server).await;
    assert_eq!(collector.span("connect").trace, TRACE);
}

#[tokio::test]
async fn without_a_trace_of_the_client_each_event_has_its_own_and_a_link() {
    for told in [json!({}), json!({ "traceparent": "00-no-trace-01" }), json!({ "traceparent": 1 })]
    {
        let collector = Collector::start().await;
        let server = one_node(&collector, |_| {}).await;
        let mut client = server.client_with("/", told).await;
        client.ask("which", json!(null)).await;
        client.ask("which", json!(null)).await;
        stop(server).await;
        let connect = collector.span("connect");
        assert_eq!(connect.parent, "");
        let events = collector.named("receive which");
        assert_eq!(events.len(), 2);
        assert_ne!(events[0].trace, events[1].trace);
        for event in events {
            assert_eq!(event.parent, "");
            assert_ne!(event.trace, connect.trace);
            assert_eq!(event.links, [connect.id.as_str()]);
        }
    }
}

#[tokio::test]
async fn clients_name_no_trace_where_they_may_not() {
    let collector = Collector::start().await;
    let server = one_node(&collector, |config| config.traces.from_clients = false).await;
    let headers = [("traceparent", &*traceparent("01"))];
    let mut client = Client::open_with(server.address, &headers).await;
    client.enter("/", json!({ "traceparent": traceparent("01") })).await.expect("let in");
    stop(server).await;
    let connect = collector.span("connect");
    assert_ne!(connect.trace, TRACE);
    assert_eq!(connect.parent, "");
}

#[tokio::test]
async fn what_is_not_sampled_is_not_exported() {
    let collector = Collector::start().await;
    let local = LocalCluster::default();
    let node = |ratio| {
        let mut config = config(&collector);
        config.traces.sample_ratio = ratio;
        Server::start(builder(config).cluster(&local))
    };
    let (here, there) = (node(0.0).await, node(0.0).await);
    let mut reader = there.client().await;
    reader.ask("join", json!("lobby")).await;
    // One of no trace, and one of a trace that is not sampled.
    for auth in [json!({}), json!({ "traceparent": traceparent("00") })] {
        let mut client = here.client_with("/", auth).await;
        client.ask("say", json!("hello")).await;
        within("said", reader.hears("said")).await;
    }
    // The client's trace is, so it is not the silence of a broken exporter.
    let mut client = here.client_with("/", json!({ "traceparent": traceparent("01") })).await;
    client.ask("which", json!(null)).await;
    stop(here).await;
    stop(there).await;
    let names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["connect", "receive which"]);
}

#[tokio::test]
async fn errors_are_told_and_only_ours_are_failures() {
    let collector = Collector::start().await;
    let server = one_node(&collector, |_| {}).await;
    let (_client, refused) = server.ask("/", json!({ "token": "expired" })).await;
    assert!(refused.is_err());
    let mut client = server.client().await;
    client.ask("broken", json!(null)).await;
    client.emit_asking(SECRET, json!(null)).await;
    client.ask("join", json!({ "not": "a name" })).await;
    stop(server).await;
    let failed = |span: &Span| (span.get("error.type").map(str::to_owned), span.is_error);
    assert_eq!(failed(&collector.named("connect")[0]), (Some("unauthorized".into()), false));
    assert_eq!(failed(&collector.named("connect")[1]), (None, false));
    assert_eq!(failed(&collector.span("receive broken")), (Some("internal".into()), true));
    assert_eq!(failed(&collector.span("receive join")), (Some("bad_request".into()), false));
    let unknown = collector.span("receive other");
    assert_eq!(failed(&unknown), (Some("unknown_event".into()), false));
    assert_eq!(unknown.get("messaging.socket.io.event_name"), None);
    assert!(!String::from_utf8_lossy(&collector.bytes()).contains(SECRET), "a client chose it");
}

#[tokio::test]
async fn the_user_is_told_only_if_asked_for() {
    for told in [false, true] {
        let collector = Collector::start().await;
        let server = one_node(&collector, |config| config.traces.user_ids = told).await;
        let mut ada = server.client_of("ada").await;
        ada.ask("which", json!(null)).await;
        stop(server).await;
        let user = told.then_some("ada");
        assert_eq!(collector.span("connect").get("user.id"), user);
        assert_eq!(collector.span("receive which").get("user.id"), user);
    }
}

#[tokio::test]
async fn an_emit_lasts_until_its_acknowledgements_have_come() {
    let collector = Collector::start().await;
    let server = one_node(&collector, |_| {}).await;
    let _silent = server.client().await;
    let mut ada = server.client().await;
    let timeout = Duration::from_millis(300);
    assert_eq!(ada.ask("ask", json!(timeout.as_millis() as u64)).await, json!(0));
    stop(server).await;
    let emit = collector.span("emit all");
    assert!(emit.took >= timeout, "{:?}", emit.took);
    is_child_of(&emit, &collector.span("receive ask"));
}

#[tokio::test]
async fn a_request_of_a_back_end_is_part_of_its_trace() {
    let collector = Collector::start().await;
    let server = one_node(&collector, |_| {}).await;
    let admin = Admin::of(&server.switchboard).await;
    let mut ada = server.client_of("ada").await;
    let request = admin
        .request(Method::POST, "/api/v1/emit")
        .header("traceparent", traceparent("01"))
        .json(&json!({ "users": ["ada"], "event": "news", "args": [SECRET] }));
    assert_eq!(within("the answer", request.send()).await.unwrap().status(), 202);
    assert_eq!(within("news", ada.hears("news")).await, json!(SECRET));
    admin.request(Method::GET, "/metrics").send().await.expect("a scrape");
    stop(server).await;
    let request = collector.span("POST /api/v1/emit");
    assert_eq!((&*request.trace, &*request.parent), (TRACE, PARENT));
    assert_eq!(request.get("http.response.status_code"), Some("202"));
    is_child_of(&collector.span("emit user"), &request);
    assert_eq!(collector.named("GET /metrics"), []);
}

#[tokio::test]
async fn a_program_may_bring_its_own_provider() {
    let collector = Collector::start().await;
    let endpoint = format!("{}/v1/traces", collector.endpoint);
    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build().unwrap();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    // Spans of the crate `tracing` hang below those of the server by the program's own layer.
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("program"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::from_millis(10);
    let server = Server::start(builder(config).tracer_provider(provider.clone())).await;
    let mut client = server.client().await;
    client.ask("work", json!(null)).await;
    stop(server).await;
    let flushing = tokio::task::spawn_blocking(move || provider.force_flush());
    within("the flush", flushing).await.unwrap().expect("the provider was not ended");
    is_child_of(&collector.span("query"), &collector.span("receive work"));
}

/// The server itself, told by nothing but the standard variables, and ended by SIGTERM.
#[cfg(feature = "config-file")]
#[tokio::test]
async fn the_binary_takes_the_standard_variables_and_exports_at_its_end() {
    let collector = Collector::start().await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_switchboard"));
    let mut child = command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", ""])
        .env_clear()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)
        .env("OTEL_SERVICE_NAME", "chat")
        .env("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        .env("SWITCHBOARD_DRAIN__SPREAD", "10ms")
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = within("the address", async {
        loop {
            let line = lines.next_line().await.expect("a log").expect("it listens");
            let found = line.split_once(" address=").and_then(|(_, rest)| rest.split(' ').next());
            if let Some(address) = found {
                break address.parse().expect("an address");
            }
        }
    })
    .await;
    // By the sampler one of these is not sampled, and the other one is, because its trace is.
    for told in [json!({}), json!({ "traceparent": traceparent("01") })] {
        let mut client = Client::open(address).await;
        client.enter("/", told).await.expect("let in");
        client.ask("whoami", json!(null)).await;
    }
    let pid = child.id().expect("it runs").to_string();
    let kill = tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(kill.expect("kill runs").success());
    let status = within("the end", child.wait()).await.expect("a status");
    assert!(status.success(), "{status}");
    let names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["connect", "receive whoami"]);
    let receive = collector.span("receive whoami");
    assert_eq!((&*receive.trace, &*receive.service), (TRACE, "chat"));
}

#[tokio::test]
async fn a_collector_that_is_gone_holds_up_nobody() {
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::from_millis(10);
    // Taken by nobody: reserved for discarding.
    config.traces.endpoint = Some("http://127.0.0.1:9".into());
    let server = Server::start(builder(config)).await;
    let mut client = server.client().await;
    client.ask("which", json!(null)).await;
    let started = Instant::now();
    stop(server).await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}
