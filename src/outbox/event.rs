//! One event of the outbox, and how it is sent.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;

use super::{Ways, table::Queued};
use crate::{
    cluster::peers::reaching::Moment,
    fault::Fault,
    inbox::Inbox,
    payload::{Arguments, Payload},
    sockets::named::Named,
};

/// The target, as `switchboard_emit` has checked it.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct To {
    namespace: String,
    users: Vec<String>,
    rooms: Vec<String>,
    sockets: Vec<String>,
    authenticated: bool,
    all: bool,
    except_users: Vec<String>,
    except_rooms: Vec<String>,
    volatile: bool,
}

impl Default for To {
    fn default() -> Self {
        Self {
            namespace: "/".into(),
            users: vec![],
            rooms: vec![],
            sockets: vec![],
            authenticated: false,
            all: false,
            except_users: vec![],
            except_rooms: vec![],
            volatile: false,
        }
    }
}

/// From when until when it was sent to the other nodes.
pub(super) type When = [Moment; 2];

/// From so many bytes on an event may be larger than what Redis passes on.
const LARGE: usize = 64 << 10;

/// Why an event was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// It never will be.
    Never(String),
    /// It is tried again.
    Later(String),
}

impl Queued {
    /// Sends it, on its way to everybody when this returns. Of a large one it is told when.
    pub(super) async fn send(&self, ways: &Ways) -> Result<Option<When>, Unsent> {
        let never = |error: &dyn std::fmt::Display| Unsent::Never(error.to_string());
        let to: To = serde_json::from_str(&self.target).map_err(|error| never(&error))?;
        let args = serde_json::from_str(&self.args).map_err(|error| never(&error))?;
        let payload =
            Payload::event(&self.event, &Arguments(args)).map_err(|error| never(&error))?;
        let mut named = Named {
            all: to.all,
            authenticated: to.authenticated,
            users: &to.users,
            rooms: &to.rooms,
            sockets: &to.sockets,
            except_users: &to.except_users,
            except_rooms: &to.except_rooms,
            volatile: to.volatile,
        };
        let mut except = vec![];
        let mut kept = Ok(());
        if let Some(ttl) = self.kept {
            let Some(inbox) = &ways.inbox else {
                return Err(Unsent::Never("it is to be kept, and there is no inbox".into()));
            };
            kept = self.keep(inbox, &to, ttl, &payload).await;
            if let Err(Unsent::Later(why)) = kept {
                return Err(Unsent::Later(why));
            }
            // They get it out of their inbox.
            except = [to.except_users.as_slice(), to.users.as_slice()].concat();
            named = Named { users: &[], except_users: &except, ..named };
        }
        let mut when = None;
        if named.has_target() {
            let emitter = named.of(ways.of(&to.namespace));
            let peers = ways.peers.as_ref().filter(|_| self.size() >= LARGE);
            let since = peers.map(|peers| peers.now());
            emitter.emit_payload(payload).map_err(|error| never(&error))?;
            when = since.zip(peers).map(|(since, peers)| [since, peers.now()]);
        }
        kept.map(|()| when)
    }

    fn size(&self) -> usize {
        self.target.len() + self.event.len() + self.args.len()
    }

    /// Keeps it for its users. One that refuses it does not keep it from the others.
    async fn keep(
        &self,
        inbox: &Inbox,
        to: &To,
        ttl: i64,
        payload: &Payload,
    ) -> Result<(), Unsent> {
        // More than the inbox keeps messages for is as long as it keeps them.
        let ttl = match u64::try_from(ttl) {
            Ok(0) | Err(_) => inbox.longest(),
            Ok(millis) => Duration::from_millis(millis).min(inbox.longest()),
        };
        // The same one, however often it is tried.
        let id = format!("outbox:{}", self.place.1);
        let users = to.users.iter().filter(|user| !to.except_users.contains(user));
        let keep = users.map(async |user| {
            let message = inbox.to(user.as_str()).namespace(&*to.namespace).id(&*id).ttl(ttl);
            message.keep_payload(payload).await
        });
        let refused: Vec<Fault> =
            join_all(keep).await.into_iter().filter_map(Result::err).collect();
        let in_words =
            |fault: &Fault| format!("the inbox: {}: {}", fault.code().as_str(), fault.message());
        if let Some(fault) = refused.iter().find(|fault| fault.retry()) {
            return Err(Unsent::Later(in_words(fault)));
        }
        match refused.first() {
            Some(fault) => Err(Unsent::Never(format!(
                "{} (for {} of {} users)",
                in_words(fault),
                refused.len(),
                to.users.len()
            ))),
            None => Ok(()),
        }
    }
}
