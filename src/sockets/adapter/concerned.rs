//! The sockets that would have got messages to certain places, and may have missed them.

use std::time::Instant;

use socketioxide_core::{Sid, adapter::BroadcastOptions};

use super::{Adapter, members::Member};
use crate::cluster::{
    marks::{Places, PlacesOf},
    message::Selection,
};

/// How many sockets are checked under one lock.
const AT_ONCE: usize = 128;

impl Adapter {
    /// The connections of sockets that were here before `until` and get messages to `places`;
    /// without places, all of them.
    pub(crate) fn concerned(&self, until: Instant, places: Option<&Places>) -> Vec<Sid> {
        let places = places.map(|places| places.of(self.namespace()));
        let everybody: BroadcastOptions = Selection::default().into();
        let all = self.local.sockets(everybody);
        let mut concerned = Vec::new();
        // In steps: a socket that enters or leaves meanwhile waits for one step at most.
        for step in all.chunks(AT_ONCE) {
            let members = self.members.read();
            // An unlisted socket is in a namespace without a gateway.
            let was_here = |sid: &&Sid| members.get(**sid).is_none_or(|it| it.entered <= until);
            concerned.extend(step.iter().filter(was_here).copied());
        }
        if let Some(places) = places.filter(|places| !places.have_all()) {
            concerned.retain(|sid| self.gets(*sid, places));
        }
        concerned
    }

    /// Clients that are away may have missed messages to `places`; without places, all messages.
    /// They get a new session.
    pub(crate) fn kept_have_missed(&self, places: Option<&Places>) {
        let places = places.map(|places| places.of(self.namespace()));
        // Each session is in a room: that of its own id.
        self.kept_end_in(|room| match &places {
            Some(places) if !places.have_all() => places.have(room),
            _ => true,
        });
    }

    fn gets(&self, sid: Sid, places: PlacesOf<'_>) -> bool {
        let is_named = |member: &Member| {
            places.have(member.id.as_str())
                || (member.is_known_by_connection && places.have(&self.name_by_connection(sid)))
        };
        if self.members.read().get(sid).is_some_and(is_named) {
            return true;
        }
        self.rooms_of(sid).iter().any(|room| places.have(room))
    }
}
