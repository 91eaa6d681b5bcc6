//! A client that comes back to its session: what it says in CONNECT, and its socket as it was.

use std::sync::Arc;

use serde_json::Value as Json;
use socketioxide::{ProtocolVersion, socket::Socket as RawSocket};
use socketioxide_core::Sid;

use crate::{
    recovery::Pid,
    sockets::{
        adapter::{Adapter, Claim, NewSession, Return},
        handover::Handover,
        record::SocketRecord,
        socket::Socket,
    },
    telemetry::meters::NotRecovered,
};

/// Begins the session of a socket that has passed the middleware: its former one, if the client
/// comes back to one and may. `None` if the client cannot recover.
pub(super) async fn begin(
    raw: &RawSocket<Adapter>,
    socket: &Socket,
    auth: &Json,
    handover: Option<&Arc<Handover>>,
) -> Option<NewSession> {
    let adapter = socket.adapter();
    // In version 2 CONNECT tells the client nothing.
    if !adapter.recovers() || raw.protocol() != ProtocolVersion::V5 {
        return None;
    }
    let Some(back) = said(auth) else { return Some(NewSession::Fresh) };
    let claimed = match back {
        // Boxed: few come back, and it is the largest part of every CONNECT.
        Ok(back) => Box::pin(find(handover, socket, &back, raw.id)).await,
        Err(reason) => Err(reason),
    };
    let session = match claimed {
        Ok((record, claim)) => {
            socket.restore(*record);
            NewSession::Back(claim)
        }
        Err(reason) => {
            adapter.node().meters().not_recovered(reason);
            tracing::debug!(
                socket.id = %socket.id(),
                namespace = socket.namespace(),
                reason = reason.name(),
                "session not recovered"
            );
            NewSession::Fresh
        }
    };
    Some(session)
}

/// The session, which may have to come from another node first.
async fn find(
    handover: Option<&Arc<Handover>>,
    socket: &Socket,
    back: &Return,
    sid: Sid,
) -> Result<(Box<SocketRecord>, Claim), NotRecovered> {
    let (adapter, identity) = (socket.adapter(), socket.identity());
    match (adapter.claim(back, Some(&identity), Some(sid)).await, handover) {
        (Err(NotRecovered::Unknown), Some(handover)) => {
            // On a task of its own: the session must not be lost on its way when the client breaks off.
            let fetch = handover.clone().fetch(adapter.clone(), back.clone(), identity.clone());
            let fetched = tokio::spawn(fetch).await;
            fetched.unwrap_or(Err(NotRecovered::OtherNode))?;
            adapter.claim(back, Some(&identity), Some(sid)).await
        }
        (found, _) => found,
    }
}

/// What the client says of its session. `None` if it does not come back to one.
pub(crate) fn said(auth: &Json) -> Option<Result<Return, NotRecovered>> {
    let pid = match auth.get("pid")? {
        // Clients in other languages may always send the member.
        Json::Null => return None,
        Json::String(pid) => Pid::said(pid),
        _ => None,
    };
    let Some(pid) = pid else { return Some(Err(NotRecovered::Unknown)) };
    let offset = match auth.get("offset") {
        // An undefined member in MessagePack is no member by now.
        None | Some(Json::Null) => None,
        Some(Json::String(offset)) => Some(offset.clone()),
        Some(_) => return Some(Err(NotRecovered::BadOffset)),
    };
    Some(Ok(Return { pid, offset }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_that_does_not_come_back_is_a_new_one() {
        for auth in [json!({}), json!({ "token": "x" }), json!({ "pid": null, "offset": "x" })] {
            assert!(said(&auth).is_none(), "{auth}");
        }
    }

    #[test]
    fn nonsense_recovers_nothing() {
        for pid in [json!(1), json!({}), json!(""), json!("a b"), json!("a".repeat(1000))] {
            let said = said(&json!({ "pid": pid })).expect("it comes back");
            assert_eq!(said.expect_err("no pid"), NotRecovered::Unknown, "{pid}");
        }
        for offset in [json!(1), json!([]), json!({ "a": 1 })] {
            let said = said(&json!({ "pid": "abc", "offset": offset })).expect("it comes back");
            assert_eq!(said.expect_err("no offset"), NotRecovered::BadOffset, "{offset}");
        }
    }

    #[test]
    fn a_client_without_an_offset_comes_back_too() {
        for auth in [json!({ "pid": "abc" }), json!({ "pid": "abc", "offset": null })] {
            let back = said(&auth).expect("it comes back").expect("it can");
            assert_eq!((back.pid.reveal(), back.offset), ("abc", None));
        }
        let auth = json!({ "pid": "abc", "offset": "o.1", "token": "x" });
        let back = said(&auth).expect("it comes back").expect("it can");
        assert_eq!(back.offset.as_deref(), Some("o.1"));
    }
}
