//! The questions of other nodes, answered for the sockets of this one.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use rmpv::Value as Tree;
use socketioxide_core::adapter::BroadcastOptions;

use super::Relay;
use crate::{
    cluster::message::{Answer, Flags, RequestId, Selection},
    payload::{Payload, PayloadError, to_packet},
    sockets::adapter::Adapter,
};

/// How long acknowledgements for another node are collected if it gives no time.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

impl Relay {
    pub(super) fn answer(
        &self,
        adapter: &Adapter,
        asker: Option<&str>,
        request: RequestId,
        answer: Answer,
    ) {
        self.peers.answer(adapter.namespace(), asker, request, answer);
    }

    /// Describes sockets or rooms, perhaps very many, on a thread of its own, so that later frames
    /// do not wait. One such question runs after the other. Of too many, the last ones are not
    /// answered, and the asker counts this node as silent.
    pub(super) fn describe(
        &self,
        adapter: &Arc<Adapter>,
        asker: Option<String>,
        request: RequestId,
        answer: impl FnOnce(&Adapter) -> Answer + Send + 'static,
    ) {
        let Ok(place) = self.describing.clone().try_acquire_owned() else { return };
        let (adapter, peers, turn) = (adapter.clone(), self.peers.clone(), self.turn.clone());
        self.node.tasks.spawn(async move {
            let _turn = turn.lock().await;
            let described = tokio::task::spawn_blocking(move || {
                let answer = answer(&adapter);
                peers.answer(adapter.namespace(), asker.as_deref(), request, answer);
            });
            if described.await.is_err() {
                tracing::error!("the sockets of this node cannot be described");
            }
            drop(place);
        });
    }

    /// Acts on one socket if it is here, and confirms it: the form of nodes before version 8.
    pub(super) fn of_one(
        &self,
        adapter: &Adapter,
        asker: Option<&str>,
        request: RequestId,
        socket: &str,
        act: impl FnOnce(BroadcastOptions),
    ) {
        let sid = adapter.socket_known_as(socket).and_then(|id| adapter.sid_of(id));
        if let Some(sid) = sid {
            act(BroadcastOptions::new(sid));
            self.answer(adapter, asker, request, Answer::Done);
        }
    }

    /// Asks clients of this node on behalf of another one, and passes on each answer.
    pub(super) fn ask_clients(
        &self,
        adapter: &Arc<Adapter>,
        asker: Option<String>,
        request: RequestId,
        event: &[Tree],
        to: Selection,
        flags: Flags,
    ) -> Result<(), PayloadError> {
        let timeout = flags.timeout.unwrap_or(ACK_TIMEOUT).min(ACK_TIMEOUT);
        let packet = self.packet(to_packet(event))?;
        let (acks, count) = adapter.ask_here(packet, adapter.selected(to), timeout);
        let count = Answer::ClientCount(count);
        self.answer(adapter, asker.as_deref(), request.clone(), count);
        let (peers, adapter) = (self.peers.clone(), adapter.clone());
        let stop = self.node.stop.clone();
        let forward = async move {
            let mut acks = std::pin::pin!(acks);
            while let Some(ack) = acks.next().await {
                let answer = Answer::ClientAck(first_of(&ack));
                peers.answer(adapter.namespace(), asker.as_deref(), request.clone(), answer);
            }
        };
        self.node.tasks.spawn(async move { stop.run_until_cancelled(forward).await });
        Ok(())
    }

    pub(super) fn server_side(
        &self,
        adapter: &Arc<Adapter>,
        asker: Option<String>,
        request: Option<RequestId>,
        event: &[Tree],
    ) {
        let Some(name) = event.first().and_then(Tree::as_str) else { return };
        let namespace = adapter.namespace().clone();
        let handlers = self.server_side.at(&namespace).ok().map(|matched| matched.value);
        let Some(handler) = handlers.and_then(|handlers| handlers.get(name)).cloned() else {
            // Node.js waits for every server, and after its timeout drops the answers that it has.
            // So a server without a handler for the event answers, in the only possible way.
            if let Some(request) = request {
                self.answer(adapter, asker.as_deref(), request, Answer::ServerSide(None));
            }
            return;
        };
        let Ok(value) = to_packet(event) else { return };
        let peers = self.peers.clone();
        self.node.tasks.spawn(async move {
            let answer = handler(Payload::of_packet(value, true)).await;
            if let Some(request) = request {
                let first = answer.as_ref().and_then(first_of);
                peers.answer(&namespace, asker.as_deref(), request, Answer::ServerSide(first));
            }
        });
    }
}

/// The first argument of an acknowledgement. Nothing else travels between nodes.
fn first_of(ack: &Payload) -> Option<Tree> {
    ack.tree().ok()?.into_iter().next()
}
