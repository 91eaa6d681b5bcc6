//! The server as a parameter of handlers.

use std::sync::Weak;

use super::{Inner, Switchboard};
use crate::{
    fault::{Code, Fault},
    gateway::extract::{Context, FromContext},
};

/// The server that the handler belongs to: to emit from anywhere, to ask who is online.
///
/// ```
/// use switchboard::{Data, Fault, Gateway, Switchboard};
///
/// let gateway = Gateway::new("/").on("call", async |server: Switchboard, Data(user): Data<String>| {
///     server.of("/").to_user(&*user).emit("ringing", &())?;
///     Ok::<_, Fault>(server.online(&[&user]).await?[0])
/// });
/// ```
impl<C: Context> FromContext<C> for Switchboard {
    fn from_context(context: &C) -> Result<Self, Fault> {
        let server: Option<&Weak<Inner>> = context.app().this_node().server();
        let gone = || Fault::new(Code::Unavailable, "the server is going away");
        server.and_then(Weak::upgrade).map(Switchboard).ok_or_else(gone)
    }
}
