//! Targets by their names, as programs outside give them: in the body of a request, or in a row of the
//! outbox.

use super::emitter::Emitter;

/// The targets of an event, and who is left out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Named<'a> {
    pub(crate) all: bool,
    pub(crate) authenticated: bool,
    pub(crate) users: &'a [String],
    pub(crate) rooms: &'a [String],
    pub(crate) sockets: &'a [String],
    pub(crate) except_users: &'a [String],
    pub(crate) except_rooms: &'a [String],
    pub(crate) volatile: bool,
}

impl Named<'_> {
    /// Whether there is a target.
    pub(crate) fn has_target(&self) -> bool {
        self.all
            || self.authenticated
            || !(self.users.is_empty() && self.rooms.is_empty() && self.sockets.is_empty())
    }

    /// Makes these the audience of an emitter that has none yet.
    pub(crate) fn of(self, mut to: Emitter) -> Emitter {
        // An emitter without a target means everybody, which includes all other targets.
        if !self.all {
            to = self.users.iter().fold(to, |to, user| to.to_user(user.as_str()));
            to = self.rooms.iter().fold(to, |to, room| to.to(room.clone()));
            to = self.sockets.iter().fold(to, |to, id| to.to_known_as(id));
            if self.authenticated {
                to = to.to_authenticated();
            }
        }
        to = self.except_users.iter().fold(to, |to, user| to.except_user(user.as_str()));
        to = self.except_rooms.iter().fold(to, |to, room| to.except(room.clone()));
        if self.volatile { to.volatile() } else { to }
    }
}
