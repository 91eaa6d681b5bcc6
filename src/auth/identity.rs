//! The owner of a socket, and what the owner may do.

use std::{sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{millis, names::rooms::RoomPattern};

/// Who a socket belongs to: a user, or nobody in particular.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use switchboard::{Identity, names::rooms::RoomPattern};
///
/// let ada = Identity::user("ada")
///     .with_rooms(["staff"])
///     .with_may_join([RoomPattern::parse("team:*")?])
///     .with_expiry(SystemTime::now() + Duration::from_secs(3600));
/// assert_eq!(ada.user_id().map(|id| &**id), Some("ada"));
/// assert_eq!(ada.rooms(), ["staff"]);
/// assert!(ada.may_join()[0].matches("team:7"));
/// assert!(ada.expires_at().is_some_and(|end| end > SystemTime::now()));
/// assert!(Identity::anonymous().is_anonymous());
/// # Ok::<(), switchboard::names::rooms::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub(super) user: Option<Arc<str>>,
    pub(super) rooms: Vec<String>,
    pub(super) may_join: Vec<RoomPattern>,
    #[serde(with = "millis::option")]
    pub(super) expires_at: Option<SystemTime>,
    pub(super) claims: Map<String, Value>,
}

impl Identity {
    /// Nobody in particular: no user, no rooms, no end.
    ///
    /// ```
    /// use switchboard::Identity;
    ///
    /// assert!(Identity::anonymous().is_anonymous());
    /// ```
    pub fn anonymous() -> Self {
        Self {
            user: None,
            rooms: Vec::new(),
            may_join: Vec::new(),
            expires_at: None,
            claims: Map::new(),
        }
    }

    /// The user with this id. No rooms, no end.
    ///
    /// ```
    /// use switchboard::Identity;
    ///
    /// let ada = Identity::user("ada");
    /// assert_eq!(ada.user_id().map(|id| &**id), Some("ada"));
    /// ```
    pub fn user(id: impl Into<Arc<str>>) -> Self {
        Self { user: Some(id.into()), ..Self::anonymous() }
    }

    /// The same identity under another user's id, for a program that has names of its own: rooms,
    /// end and claims stay. [`claims`](Self::claims) still says what the token says.
    ///
    /// ```
    /// use switchboard::Identity;
    ///
    /// let ada = Identity::user("ada").with_rooms(["team"]);
    /// let of_tenant = ada.with_user("acme:ada");
    /// assert_eq!(of_tenant.user_id().map(|id| &**id), Some("acme:ada"));
    /// assert_eq!(of_tenant.rooms(), ["team"]);
    /// ```
    #[must_use]
    pub fn with_user(mut self, id: impl Into<Arc<str>>) -> Self {
        self.user = Some(id.into());
        self
    }

    /// Rooms to join at connect, in place of those so far.
    ///
    /// ```
    /// use switchboard::Identity;
    ///
    /// assert_eq!(Identity::user("ada").with_rooms(["team", "news"]).rooms(), ["team", "news"]);
    /// ```
    #[must_use]
    pub fn with_rooms<T: Into<String>>(mut self, rooms: impl IntoIterator<Item = T>) -> Self {
        self.rooms = rooms.into_iter().map(Into::into).collect();
        self
    }

    /// Rooms that may be joined later, in place of those so far.
    ///
    /// ```
    /// use switchboard::Identity;
    ///
    /// let ada = Identity::user("ada").with_may_join(["team:*".parse()?]);
    /// assert!(ada.may_join()[0].matches("team:7"));
    /// # Ok::<_, switchboard::names::rooms::PatternError>(())
    /// ```
    #[must_use]
    pub fn with_may_join(mut self, patterns: impl IntoIterator<Item = RoomPattern>) -> Self {
        self.may_join = patterns.into_iter().collect();
        self
    }

    /// When the identity ends.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use switchboard::Identity;
    ///
    /// let end = SystemTime::now() + Duration::from_secs(3600);
    /// assert_eq!(Identity::user("ada").with_expiry(end).expires_at(), Some(end));
    /// ```
    #[must_use]
    pub fn with_expiry(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// The user's id, unless anonymous.
    pub fn user_id(&self) -> Option<&Arc<str>> {
        self.user.as_ref()
    }

    /// Whether there is no user.
    pub fn is_anonymous(&self) -> bool {
        self.user.is_none()
    }

    /// Rooms to join at connect.
    pub fn rooms(&self) -> &[String] {
        &self.rooms
    }

    /// Rooms that may be joined, beyond those that everybody may.
    pub fn may_join(&self) -> &[RoomPattern] {
        &self.may_join
    }

    /// When the identity ends: `exp` of the token, without any leeway. Without it, never.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// Whether a client with this identity may continue a session that began with `earlier`: it is
    /// the same user, with the same rights. A renewed token has other times and nothing else.
    pub(crate) fn may_continue(&self, earlier: &Self) -> bool {
        const TIMES: [&str; 4] = ["exp", "iat", "nbf", "jti"];
        let rights = |identity: &Self| -> Map<String, Value> {
            let claims = identity.claims.iter().filter(|(name, _)| !TIMES.contains(&name.as_str()));
            claims.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        self.user == earlier.user
            && self.rooms == earlier.rooms
            && self.may_join == earlier.may_join
            && rights(self) == rights(earlier)
    }

    /// All claims of the token, the ones above included.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Handshake};
    ///
    /// let gateway = Gateway::new("/pro").middleware(async |handshake: Handshake| {
    ///     match handshake.identity().claims().get("plan") {
    ///         Some(plan) if plan == "pro" => Ok(()),
    ///         _ => Err(Fault::forbidden("for the plan `pro` only")),
    ///     }
    /// });
    /// ```
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}
