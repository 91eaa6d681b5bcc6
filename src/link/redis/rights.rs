//! Whether Redis allows this node all commands that it needs.
//!
//! A user of Redis may lack the right to a command, a key or a channel. Some of that shows only
//! when the command is needed, and some never: a refused `PUBLISH` is an emit that other nodes do
//! not hear. So all commands are tried, at the start and again and again, in forms that change
//! nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::{Cmd, RedisError, Value};

use super::{
    commands::Commands,
    refusal::{is_of_connection, is_of_rights},
};

/// The time between two rounds of trials, at most. With a refusal the rounds come more often.
const EVERY: Duration = Duration::from_secs(5);
const EVERY_WHILE_REFUSED: Duration = Duration::from_secs(1);

/// A command that the node needs, in a harmless form.
pub(crate) struct Try {
    /// The command, as the documentation of rights names it.
    name: &'static str,
    command: Cmd,
}

impl Try {
    pub(crate) fn new(name: &'static str, arguments: &[&str]) -> Self {
        let mut command = Cmd::new();
        for word in name.split('|') {
            command.arg(word);
        }
        command.arg(arguments);
        Self { name, command }
    }
}

/// The commands refused to this node.
#[derive(Debug)]
pub(crate) struct Rights {
    user: String,
    address: String,
    refused: Mutex<Refused>,
}

/// How a refusal was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// A trial was refused.
    Trying,
    /// A needed command was refused at this time. A trial stands for all channels, and this may be
    /// another one, so the refusal is believed for a while.
    Needing(Instant),
}

/// How long such a refusal is believed.
const BELIEVED: Duration = Duration::from_secs(10);

type Refused = BTreeMap<&'static str, By>;

impl Rights {
    /// The rights of a user, before any refusal.
    pub(crate) fn new(user: &str, address: String) -> Self {
        Self { user: user.to_owned(), address, refused: Mutex::default() }
    }

    /// The refused commands, in a sentence. `None`: all are allowed.
    pub(crate) fn trouble(&self) -> Option<String> {
        let refused = self.refused();
        let named = refused.join(", ");
        (!refused.is_empty()).then(|| format!("redis refuses {named} to the user {:?}", self.user))
    }

    /// The commands that are refused.
    pub(crate) fn refused(&self) -> Vec<&'static str> {
        self.refused.lock().keys().copied().collect()
    }

    /// Whether a refused command concerns data, and not channels alone.
    pub(crate) fn refuses_data(&self) -> bool {
        let is_of_channels = |command: &str| command.contains("PUB") || command.contains("SUB");
        self.refused.lock().keys().any(|command| !is_of_channels(command))
    }

    /// A needed command failed. The error tells whether it was refused.
    pub(crate) fn note(&self, command: &'static str, error: &RedisError) {
        if is_of_rights(error) {
            let mut refused = self.refused.lock().clone();
            refused.insert(command, By::Needing(Instant::now()));
            self.now(refused, Some(error));
        }
    }

    /// A command succeeded that has no trial.
    pub(crate) fn done(&self, command: &str) {
        let mut refused = self.refused.lock().clone();
        if refused.remove(command).is_some() {
            self.now(refused, None);
        }
    }

    /// Sets the refused commands. Logs one line when there are more, and one when there are none.
    fn now(&self, refused: Refused, error: Option<&RedisError>) {
        let (more, any) = {
            let mut before = self.refused.lock();
            let more = refused.keys().any(|command| !before.contains_key(command));
            let any = !before.is_empty();
            *before = refused;
            (more, any)
        };
        let (user, address) = (&self.user, &self.address);
        match (more, self.trouble(), error) {
            (true, Some(trouble), Some(error)) => tracing::warn!(
                redis.address = %address, redis.user = %user, %error,
                "{trouble}; the node is not ready (docs/redis.md has the rights that it needs)"
            ),
            (_, None, _) if any => tracing::info!(
                redis.address = %address, redis.user = %user,
                "redis allows this node every command that it needs"
            ),
            _ => {}
        }
    }

    /// Tries all commands. Without an answer to some, everything stays as before.
    async fn check(&self, commands: &Commands, tries: &[Try], patience: Duration) {
        let asked = tries.iter().map(|one| {
            let mut commands = commands.clone();
            async move { commands.run::<Value>(&one.command).await }
        });
        let answered = futures_util::future::join_all(asked);
        let Ok(answers) = tokio::time::timeout(patience, answered).await else { return };
        if answers.iter().any(|answer| answer.as_ref().is_err_and(is_no_answer)) {
            return;
        }
        let mut refused = self.refused.lock().clone();
        // Trials do not find out about commands that have none.
        refused.retain(|command, by| match by {
            By::Needing(since) => since.elapsed() < BELIEVED,
            By::Trying => !tries.iter().any(|one| one.name == *command),
        });
        let mut first = None;
        // Any other error comes from the harmless form: the command itself would work.
        for (one, answer) in tries.iter().zip(&answers) {
            if let Err(error) = answer
                && is_of_rights(error)
            {
                refused.entry(one.name).or_insert(By::Trying);
                first = first.or(Some(error));
            }
        }
        self.now(refused, first);
    }

    /// Tries all commands, at once and then again and again, for as long as the future lives.
    pub(crate) async fn watch(
        &self,
        commands: impl Fn() -> Option<Commands>,
        tries: &[Try],
        patience: Duration,
    ) {
        loop {
            if let Some(commands) = commands() {
                self.check(&commands, tries, patience).await;
            }
            let is_whole = self.refused.lock().is_empty();
            tokio::time::sleep(if is_whole { EVERY } else { EVERY_WHILE_REFUSED }).await;
        }
    }
}

fn is_no_answer(error: &RedisError) -> bool {
    is_of_connection(error) || error.is_timeout()
}

#[cfg(test)]
mod tests {
    use test_kit::redis::RedisServer;

    use super::*;

    #[tokio::test]
    async fn what_is_refused_is_found_out_and_named_and_so_is_that_it_is_allowed_again() {
        let server = RedisServer::start().await;
        let user = ["ACL", "SETUSER", "app", "on", ">pw", "~a", "&x", "-@all", "+hello", "+get"];
        server.command(&user).await.unwrap();
        let far = crate::link::redis::testing::target(&format!(
            "redis://app:pw@127.0.0.1:{}",
            server.port
        ));
        let commands = far.commands(&far.config()).await.unwrap();
        let rights = Rights::new(far.user(), far.address());
        let tries = [
            Try::new("GET", &["a"]),
            Try::new("GET", &["b"]),
            Try::new("ZREM", &["a", "m"]),
            Try::new("PUBSUB|NUMSUB", &["x"]),
        ];
        let check = async || rights.check(&commands, &tries, Duration::from_secs(5)).await;
        check().await;
        assert_eq!(rights.refused(), ["GET", "PUBSUB|NUMSUB", "ZREM"]);
        let trouble = "redis refuses GET, PUBSUB|NUMSUB, ZREM to the user \"app\"";
        assert_eq!(rights.trouble().as_deref(), Some(trouble));
        server.command(&["ACL", "SETUSER", "app", "~b", "+zrem", "+pubsub|numsub"]).await.unwrap();
        // A key of another kind: an error, and no refusal.
        server.command(&["SET", "a", "text"]).await.unwrap();
        check().await;
        assert_eq!(rights.trouble(), None);
        let refused = redis::make_extension_error("NOPERM".into(), Some("no".into()));
        rights.note("PUBLISH", &refused);
        check().await;
        assert_eq!(rights.refused(), ["PUBLISH"], "nobody tries it");
        rights.done("PUBLISH");
        assert_eq!(rights.trouble(), None);
    }
}
