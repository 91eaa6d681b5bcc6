//! `POST /emit`: an event from outside, delivered as the events of handlers are.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::{
    Done, Problem, body::Body, check_namespace, everywhere, main_namespace, missing, once::once,
};
use crate::{
    payload::{Arguments, Payload},
    server::{
        Switchboard,
        remembered::{Digested, digest},
    },
    sockets::named::Named,
};

/// The longest that clients may be given for an acknowledgement.
pub(super) const MAX_ACK_TIMEOUT_MS: u64 = 60_000;

/// An event and its audience. Several targets make one audience: no socket gets the event twice.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmitRequest {
    /// The namespace of the sockets.
    #[serde(default = "main_namespace")]
    #[schema(default = "/")]
    namespace: String,
    /// All sockets of these users.
    #[serde(default)]
    users: Vec<String>,
    /// The members of these rooms.
    #[serde(default)]
    rooms: Vec<String>,
    /// These sockets, by id.
    #[serde(default)]
    sockets: Vec<String>,
    /// All authenticated sockets.
    #[serde(default)]
    authenticated: bool,
    /// All sockets.
    #[serde(default)]
    all: bool,
    /// Not the sockets of these users.
    #[serde(default)]
    except_users: Vec<String>,
    /// Not the members of these rooms.
    #[serde(default)]
    except_rooms: Vec<String>,
    /// The name of the event. Names that Socket.IO reserves are refused.
    event: String,
    /// Its arguments.
    #[serde(default)]
    #[schema(value_type = Vec<serde_json::Value>)]
    args: Vec<rmpv::Value>,
    /// Dropped for sockets that are not ready to take it.
    #[serde(default)]
    volatile: bool,
    /// Waits for the acknowledgements of the clients.
    #[serde(default)]
    ack: Option<AckRequest>,
    /// Names this emit: for five minutes the same key, on whichever node, is answered with the first
    /// answer, and nothing is sent. 1 to 256 bytes. The keys belong to the cluster, not to an API key.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AckRequest {
    /// How long to wait, in milliseconds.
    #[schema(minimum = 1, maximum = 60_000)]
    timeout_ms: u64,
}

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 256;

/// The clients' answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AckReply {
    /// The first argument of each acknowledgement, in the order in which they came.
    #[schema(value_type = Vec<serde_json::Value>)]
    acks: Vec<Box<RawValue>>,
    /// The number of clients that were asked, as far as their nodes reported it.
    expected: usize,
    /// The number of clients that answered in time.
    received: usize,
    /// Nodes that did not report how many clients they asked; `(node.js)` for each nameless one.
    /// Left out if all did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_nodes: Vec<String>,
}

impl EmitRequest {
    fn check(&self) -> Result<(), Problem> {
        check_namespace(&self.namespace)?;
        let lists = [
            ("users", &self.users),
            ("rooms", &self.rooms),
            ("sockets", &self.sockets),
            ("except_users", &self.except_users),
            ("except_rooms", &self.except_rooms),
        ];
        for (name, list) in lists {
            if list.iter().any(String::is_empty) {
                return Err(Problem::bad_request(format!("{name}: a name must not be empty")));
            }
        }
        if !self.named().has_target() {
            return Err(Problem::bad_request(
                "a target is needed: users, rooms, sockets, authenticated or all",
            ));
        }
        if self.event.is_empty() {
            return Err(Problem::bad_request("event: a name must not be empty"));
        }
        let in_range = |ack: &AckRequest| (1..=MAX_ACK_TIMEOUT_MS).contains(&ack.timeout_ms);
        if !self.ack.as_ref().is_none_or(in_range) {
            let message = format!("ack.timeout_ms: must be 1 to {MAX_ACK_TIMEOUT_MS}");
            return Err(Problem::bad_request(message));
        }
        let is_key = |key: &String| (1..=MAX_KEY).contains(&key.len());
        if !self.idempotency_key.as_ref().is_none_or(is_key) {
            let message = format!("idempotency_key: must have 1 to {MAX_KEY} bytes");
            return Err(Problem::bad_request(message));
        }
        Ok(())
    }

    fn named(&self) -> Named<'_> {
        Named {
            all: self.all,
            authenticated: self.authenticated,
            users: &self.users,
            rooms: &self.rooms,
            sockets: &self.sockets,
            except_users: &self.except_users,
            except_rooms: &self.except_rooms,
            volatile: self.volatile,
        }
    }

    /// The same for the same request, however its JSON is written.
    fn digest(&self) -> Digested {
        // Its objects are in the order of their keys. It cannot fail: it has just been read from JSON.
        let json = serde_json::to_value(self).unwrap_or_default();
        digest(json.to_string().as_bytes())
    }

    fn patience(&self) -> Duration {
        PATIENCE + Duration::from_millis(self.ack.as_ref().map_or(0, |ack| ack.timeout_ms))
    }

    async fn carry_out(self, server: &Switchboard) -> Result<Response, Problem> {
        let audience = self.named().of(server.of(&self.namespace));
        let (event, arguments) = (self.event, Arguments(self.args));
        let Some(AckRequest { timeout_ms }) = self.ack else {
            everywhere(server, || audience.emit(&event, &arguments)).await??;
            return Ok((StatusCode::ACCEPTED, Json(Done {})).into_response());
        };
        let timeout = Duration::from_millis(timeout_ms);
        let answered = audience.emit_with_ack(&event, &arguments, timeout).await?;
        if !answered.cluster_asked {
            return Err(Problem::unavailable(
                "emitted, but the other nodes are not known, so acknowledgements may be missing",
            ));
        }
        let missing_nodes = missing(&answered.missing_nodes, answered.missing_foreign);
        let acks: Vec<_> = answered.acks.iter().map(first_argument).collect();
        let received = acks.len();
        Ok(Json(AckReply { acks, expected: answered.expected, received, missing_nodes })
            .into_response())
    }
}

/// Emits an event to sockets of the whole cluster.
#[utoipa::path(post, path = "/api/v1/emit", tag = "emit", request_body = EmitRequest, responses(
    (status = 200, description = "With `ack`: the clients' answers", body = AckReply),
    (status = 202, description = "Emitted", body = Done),
    (status = 400, description = "Not understood, no target, or a reserved event", body = Problem),
    (status = 409, description = "The idempotency key belongs to another emit, or its answer was too long to be kept",
        body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
    (status = 503, description = "Emitted on this node, but perhaps not on the others; or, with an idempotency key, it \
        is not known whether this was done before, and nothing was sent now", body = Problem),
))]
pub(super) async fn emit(
    State(server): State<Switchboard>,
    Body(mut request): Body<EmitRequest>,
) -> Result<Response, Problem> {
    request.check()?;
    let Some(key) = request.idempotency_key.take() else { return request.carry_out(&server).await };
    let (digest, patience) = (request.digest(), request.patience());
    let at = server.clone();
    once(&server, &key, digest, patience, async move { request.carry_out(&at).await }).await
}

/// For how long a repeated emit waits for the answer of the first, besides the time that clients have.
const PATIENCE: Duration = Duration::from_secs(10);

/// The argument as JSON, with null for anything that JSON cannot express.
fn first_argument(ack: &Payload) -> Box<RawValue> {
    let first = ack.decode::<rmpv::Value>().unwrap_or(rmpv::Value::Nil);
    to_raw_value(&first).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
