//! Replies that are kept for users.

use std::time::Duration;

use super::reply::{Addressee, Reply};
use crate::{
    fault::Fault,
    id::UserId,
    inbox::Inbox,
    sockets::{Socket, Target},
};

/// Keeps a reply for each user that it is for.
///
/// # Errors
/// The first one, at which it ends.
pub(super) async fn keep(
    inbox: Option<&Inbox>,
    socket: &Socket,
    reply: Reply,
    ttl: Duration,
) -> Result<(), Fault> {
    let payload = reply.payload.map_err(|error| Fault::from(&*error))?;
    let Some(inbox) = inbox else {
        tracing::error!("a reply is to be kept, and there is no inbox: inbox.enabled is not set");
        return Err(Fault::internal());
    };
    let is_plain =
        reply.except.is_empty() && !(reply.except_sender || reply.local || reply.volatile);
    let Some(users) = users(&reply.addressee, socket).filter(|_| is_plain) else {
        tracing::error!("a reply is to be kept, and it is for others than users");
        return Err(Fault::internal());
    };
    for user in users {
        let message = inbox.to(&*user).namespace(socket.namespace()).ttl(ttl);
        message.keep_payload(&payload).await?;
    }
    Ok(())
}

/// The users that a reply is for, if it is for nobody else.
fn users(addressee: &Addressee, socket: &Socket) -> Option<Vec<UserId>> {
    match addressee {
        Addressee::Sender => socket.user().map(|user| vec![user]),
        Addressee::Audience(audience)
            if audience.exceptions().is_empty()
                && !audience.is_local()
                && !audience.is_volatile() =>
        {
            let user = |target: &Target| match target {
                Target::User(user) => Some(user.clone()),
                _ => None,
            };
            audience.targets()?.iter().map(user).collect()
        }
        Addressee::Audience(_) | Addressee::Ack | Addressee::UserOthers => None,
    }
}
