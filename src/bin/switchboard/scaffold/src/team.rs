//! Who may enter, and which team they belong to.

use serde_json::Value;
use switchboard::{Fault, Handshake};

/// The team of a socket. Handlers ask for it by a parameter `Extension<Team>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Team(String);

impl Team {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The room of its members.
    pub(crate) fn room(&self) -> String {
        format!("team:{}", self.0)
    }
}

/// A middleware: runs before the client hears that it is connected. The token is verified already;
/// its claim `team` says where the user belongs. An error refuses the client, which gets it as a
/// `connect_error`.
pub(crate) async fn admit(handshake: Handshake) -> Result<(), Fault> {
    let identity = handshake.identity();
    let team = identity.claims().get("team").and_then(Value::as_str);
    let team = team.ok_or_else(|| Fault::forbidden("the token names no team"))?;
    handshake.socket().extensions().insert(Team::new(team));
    Ok(())
}
