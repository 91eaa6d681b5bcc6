//! The parts of an audience: rooms, users and sockets, as a program names them.

use smallvec::SmallVec;
use socketioxide_core::adapter::Room;

use crate::{
    id::{SocketId, UserId},
    sockets::rooms::IntoRooms,
};

/// One part of an [`Audience`](crate::Audience).
///
/// ```
/// use switchboard::{Audience, sockets::Target};
///
/// let lobby = Audience::everybody().to("lobby").except_user("bob");
/// assert_eq!(lobby.targets(), Some(&[Target::Room("lobby".into())][..]));
/// assert_eq!(lobby.exceptions(), [Target::User("bob".into())]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// One socket.
    Socket(SocketId),
    /// All sockets of a user.
    User(UserId),
    /// The members of a room.
    Room(Room),
    /// All authenticated sockets.
    Authenticated,
}

/// What `to` and `except` take: a room, a socket by its id, a [`Target`], or several of one of
/// these. A room is text, as in [`IntoRooms`].
///
/// ```
/// use switchboard::{Audience, id::SocketId, sockets::Target};
///
/// fn audience(editor: SocketId, teams: Vec<String>) -> Audience {
///     Audience::nobody().to("lobby").to(["news", "weather"]).to(teams).to(Target::Authenticated).except(editor)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` names neither rooms nor sockets",
    label = "no room, no id of a socket, and not several of one of these",
    note = "a room is text (`&str`, `String`), and several are an array, a slice or a `Vec` of it",
    note = "the sockets of a user are named by `to_user` and `except_user`"
)]
pub trait IntoTargets {
    /// The targets.
    ///
    /// ```
    /// use switchboard::sockets::{IntoTargets, Target};
    ///
    /// /// An audience as the log of the program has it.
    /// fn named(audience: impl IntoTargets) -> Vec<String> {
    ///     let targets = audience.into_targets();
    ///     let names = targets.iter().map(|target| match target {
    ///         Target::Room(room) => room.to_string(),
    ///         Target::User(user) => format!("@{user}"),
    ///         other => format!("{other:?}"),
    ///     });
    ///     names.collect()
    /// }
    ///
    /// assert_eq!(named(["lobby", "kitchen"]), ["lobby", "kitchen"]);
    /// assert_eq!(named(Target::User("ada".into())), ["@ada"]);
    /// ```
    fn into_targets(self) -> SmallVec<[Target; 1]>;
}

impl<R: IntoRooms> IntoTargets for R {
    fn into_targets(self) -> SmallVec<[Target; 1]> {
        self.into_rooms().into_iter().map(Target::Room).collect()
    }
}

impl IntoTargets for Target {
    fn into_targets(self) -> SmallVec<[Target; 1]> {
        SmallVec::from_buf([self])
    }
}

impl IntoTargets for SocketId {
    fn into_targets(self) -> SmallVec<[Target; 1]> {
        Target::Socket(self).into_targets()
    }
}

macro_rules! several {
    ($one:ty) => {
        impl IntoTargets for Vec<$one> {
            fn into_targets(self) -> SmallVec<[Target; 1]> {
                self.into_iter().flat_map(IntoTargets::into_targets).collect()
            }
        }

        impl<const N: usize> IntoTargets for [$one; N] {
            fn into_targets(self) -> SmallVec<[Target; 1]> {
                self.into_iter().flat_map(IntoTargets::into_targets).collect()
            }
        }

        impl IntoTargets for &[$one] {
            fn into_targets(self) -> SmallVec<[Target; 1]> {
                self.iter().cloned().flat_map(IntoTargets::into_targets).collect()
            }
        }
    };
}
several!(Target);
several!(SocketId);

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(named: impl IntoTargets) -> Vec<Target> {
        named.into_targets().into_vec()
    }

    #[test]
    fn rooms_and_sockets_are_named_one_by_one_or_several_at_once() {
        let room = |name: &str| Target::Room(name.to_owned().into());
        assert_eq!(targets("a"), [room("a")]);
        assert_eq!(targets(["a", "b"]), [room("a"), room("b")]);
        assert_eq!(targets(vec!["a".to_owned(), "b".to_owned()]), [room("a"), room("b")]);
        let (one, two) = (SocketId::random(), SocketId::random());
        assert_eq!(targets(one), [Target::Socket(one)]);
        assert_eq!(targets([one, two]), [Target::Socket(one), Target::Socket(two)]);
        assert_eq!(targets(&[one, two][..]), [Target::Socket(one), Target::Socket(two)]);
        let mixed = vec![room("a"), Target::Authenticated];
        assert_eq!(targets(mixed.clone()), mixed);
        assert_eq!(targets(Vec::<String>::new()), []);
    }
}
