//! The audience of an event as one value: from a reply, an emitter or the HTTP API up to the
//! door, where it becomes rooms.

use smallvec::SmallVec;

use super::target::{IntoTargets, Target};
use crate::{id::UserId, telemetry::meters::TargetKind};

/// The audience of an event: the sockets of one namespace that belong to at least one target, each
/// once, without the exceptions. On every node, unless it is [`local`](Self::local).
///
/// ```
/// use switchboard::Audience;
///
/// let team = Audience::everybody().to("team").to_user("ada").except("muted");
/// assert_eq!(team.targets().map(<[_]>::len), Some(2));
/// assert_eq!(team.exceptions().len(), 1);
/// assert!(!team.is_local() && !team.is_volatile());
/// assert_eq!(Audience::everybody().targets(), None);
/// assert!(Audience::nobody().is_nobody());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is sent by naming who gets it"]
pub struct Audience {
    to: To,
    except: SmallVec<[Target; 1]>,
    is_local: bool,
    is_volatile: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Everybody,
    AnyOf(SmallVec<[Target; 1]>),
}

impl Audience {
    /// Every socket of the namespace. The first added target narrows the audience to that target,
    /// and each further one widens it again, as `to` does in Socket.IO.
    ///
    /// ```
    /// use switchboard::Audience;
    ///
    /// assert_eq!(Audience::everybody().targets(), None);
    /// assert_eq!(Audience::everybody().to("lobby").targets().map(<[_]>::len), Some(1));
    /// ```
    pub fn everybody() -> Self {
        Self::of(To::Everybody)
    }

    /// No socket, until a target is added.
    ///
    /// ```
    /// use switchboard::Audience;
    ///
    /// assert!(Audience::nobody().is_nobody());
    /// assert!(!Audience::nobody().to("lobby").is_nobody());
    /// ```
    pub fn nobody() -> Self {
        Self::of(To::AnyOf(SmallVec::new()))
    }

    fn of(to: To) -> Self {
        Self { to, except: SmallVec::new(), is_local: false, is_volatile: false }
    }

    /// Adds rooms or sockets. No room at all, as an empty list, leaves nobody where it would be
    /// everybody.
    ///
    /// ```
    /// use switchboard::Audience;
    ///
    /// let audience = Audience::nobody().to("lobby").to(["garden", "kitchen"]);
    /// assert_eq!(audience.targets().map(<[_]>::len), Some(3));
    /// assert!(Audience::everybody().to(Vec::<String>::new()).is_nobody());
    /// ```
    #[doc(alias("in", "within"))]
    pub fn to(mut self, targets: impl IntoTargets) -> Self {
        let new = targets.into_targets();
        match &mut self.to {
            To::Everybody => self.to = To::AnyOf(new),
            To::AnyOf(targets) => targets.extend(new),
        }
        self
    }

    /// Adds the sockets of a user.
    ///
    /// ```
    /// use switchboard::{Audience, sockets::Target};
    ///
    /// assert_eq!(Audience::nobody().to_user("ada"), Audience::nobody().to(Target::User("ada".into())));
    /// ```
    pub fn to_user(self, user: impl Into<UserId>) -> Self {
        self.to(Target::User(user.into()))
    }

    /// Adds all authenticated sockets.
    ///
    /// ```
    /// use switchboard::{Audience, sockets::Target};
    ///
    /// assert_eq!(Audience::nobody().to_authenticated(), Audience::nobody().to(Target::Authenticated));
    /// ```
    pub fn to_authenticated(self) -> Self {
        self.to(Target::Authenticated)
    }

    /// Leaves out rooms or sockets.
    ///
    /// ```
    /// use switchboard::Audience;
    ///
    /// assert_eq!(Audience::everybody().except(["muted", "away"]).exceptions().len(), 2);
    /// ```
    pub fn except(mut self, targets: impl IntoTargets) -> Self {
        self.except.extend(targets.into_targets());
        self
    }

    /// Leaves out the sockets of a user.
    ///
    /// ```
    /// use switchboard::{Audience, sockets::Target};
    ///
    /// assert_eq!(Audience::everybody().except_user("ada").exceptions(), [Target::User("ada".into())]);
    /// ```
    pub fn except_user(self, user: impl Into<UserId>) -> Self {
        self.except(Target::User(user.into()))
    }

    /// Keeps only sockets of this node.
    ///
    /// ```
    /// use switchboard::Audience;
    ///
    /// assert!(Audience::everybody().local().is_local());
    /// ```
    pub fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// Keeps only sockets that are ready: nothing waits for their client, and a polling client has
    /// an open poll. As in Node.js.
    ///
    /// ```
    /// use switchboard::Audience;
    ///
    /// assert!(Audience::everybody().volatile().is_volatile());
    /// ```
    pub fn volatile(mut self) -> Self {
        self.is_volatile = true;
        self
    }

    /// The targets. `None` if the audience is everybody.
    pub fn targets(&self) -> Option<&[Target]> {
        match &self.to {
            To::Everybody => None,
            To::AnyOf(targets) => Some(targets),
        }
    }

    /// The targets that are left out.
    pub fn exceptions(&self) -> &[Target] {
        &self.except
    }

    /// Whether it has sockets of this node only.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether sockets that are not ready are left out.
    pub fn is_volatile(&self) -> bool {
        self.is_volatile
    }

    /// Whether it is empty.
    pub fn is_nobody(&self) -> bool {
        self.targets().is_some_and(<[_]>::is_empty)
    }

    /// Its kind in metrics and spans, by its first target.
    pub(crate) fn kind(&self) -> TargetKind {
        match self.targets() {
            None => TargetKind::All,
            Some([Target::User(_), ..]) => TargetKind::User,
            Some([Target::Room(_), ..]) => TargetKind::Room,
            Some([Target::Authenticated, ..]) => TargetKind::Authenticated,
            Some([Target::Socket(_), ..] | []) => TargetKind::Socket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SocketId;

    #[test]
    fn the_first_target_narrows_and_the_next_widens() {
        let audience = Audience::everybody().to("a").to_user("ada").except("b");
        let targets = [Target::Room("a".into()), Target::User("ada".into())];
        assert_eq!(audience.targets(), Some(&targets[..]));
        assert_eq!(audience.exceptions(), [Target::Room("b".into())]);
        assert!(!audience.is_nobody() && !Audience::everybody().is_nobody());
        assert!(Audience::nobody().is_nobody());
        assert!(!Audience::nobody().to_authenticated().is_nobody());
        assert!(Audience::everybody().to(Vec::<String>::new()).is_nobody());
    }

    #[test]
    fn it_is_called_by_its_first_target() {
        let everybody = Audience::everybody;
        assert_eq!(everybody().kind(), TargetKind::All);
        assert_eq!(everybody().except_user("ada").kind(), TargetKind::All);
        assert_eq!(everybody().to(SocketId::random()).kind(), TargetKind::Socket);
        assert_eq!(everybody().to_authenticated().kind(), TargetKind::Authenticated);
        assert_eq!(everybody().to_user("ada").to("lobby").kind(), TargetKind::User);
        // A room is one, however it is spelled.
        assert_eq!(everybody().to("user:ada").to_user("ada").kind(), TargetKind::Room);
    }
}
