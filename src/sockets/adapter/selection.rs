//! The sockets of this node that an audience selects, found in the list of members. The rules are
//! those of socketioxide's local adapter.

use std::borrow::Cow;

use socketioxide_core::{
    Sid,
    adapter::{BroadcastFlags, BroadcastOptions},
};

use super::{
    Adapter,
    members::{Members, Slot},
};

impl Adapter {
    /// The connections of the sockets that `options` select, to be called in the step in which
    /// they change. A socket that is being torn down counts until it is off the list, when its
    /// session is kept.
    pub(super) fn sids_of(&self, options: &BroadcastOptions) -> Vec<Sid> {
        // Rooms may have been joined past our list.
        let mut selected = match self.has_gateway && self.raw.is_none() {
            true => Vec::new(),
            false => self.local.sockets(options.clone()),
        };
        let members = self.members.read();
        let listed = select(&members, options);
        selected.extend(listed.iter().map(|slot| members.at(*slot).sid));
        selected.sort_unstable();
        selected.dedup();
        selected
    }

    /// The listed sockets that `options` select, each once.
    pub(super) fn select<'a>(
        &self,
        members: &'a Members,
        options: &BroadcastOptions,
    ) -> Cow<'a, [Slot]> {
        // Rooms may have been joined past our list.
        if !self.raw.is_none() {
            let selected = self.local.sockets(options.clone());
            return selected.into_iter().filter_map(|sid| members.slot_of(sid)).collect();
        }
        select(members, options)
    }
}

fn select<'a>(members: &'a Members, options: &BroadcastOptions) -> Cow<'a, [Slot]> {
    let is_broadcast = options.has_flag(BroadcastFlags::Broadcast);
    let sender = options.sid.and_then(|sid| members.slot_of(sid));
    let mut selected: Vec<Slot> = match options.rooms.as_slice() {
        [] if is_broadcast => members.all().map(|(slot, _)| slot).collect(),
        [] => return sender.into_iter().collect(),
        [room] if options.except.is_empty() && !(is_broadcast && sender.is_some()) => {
            return Cow::Borrowed(members.in_room(room));
        }
        [room] => members.in_room(room).to_vec(),
        rooms => {
            let mut selected: Vec<_> =
                rooms.iter().flat_map(|room| members.in_room(room)).copied().collect();
            selected.sort_unstable();
            selected.dedup();
            selected
        }
    };
    if is_broadcast && let Some(sender) = sender {
        selected.retain(|slot| *slot != sender);
    }
    for room in &options.except {
        let mut except = members.in_room(room).to_vec();
        if !except.is_empty() {
            except.sort_unstable();
            selected.retain(|slot| except.binary_search(slot).is_err());
        }
    }
    selected.into()
}
