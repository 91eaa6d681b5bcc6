//! The secrets that sign session ids, where `edge.secrets` names none: each node brings one of its
//! own, and in Redis all agree on the one that came first.
//!
//! Redis may lose it. Then each node says again which one it uses, the first of these signs from then
//! on, and all verify all of them. So a session id stays good, whatever node it is shown to.

use std::{sync::LazyLock, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use redis::{Cmd, ErrorKind, RedisError};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::link::redis::{commands::Commands, condition::in_words, keys::own_key, script::Script};

/// As long as a node's lease: when all nodes are gone, so are their sessions.
const EXPIRY: Duration = Duration::from_secs(15);

/// The pause between two looks.
const EVERY: Duration = Duration::from_secs(3);

/// Secrets that a node verifies with, at most.
const MOST: usize = 4;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("secrets.lua")));

/// A node's part in the agreement.
pub(crate) struct Agreement {
    key: String,
    patience: Duration,
    /// The first signs, all verify.
    secrets: Vec<String>,
    /// Session ids may have been signed with it.
    in_use: bool,
    has_agreed: bool,
    /// It was logged.
    has_failed: bool,
}

impl Agreement {
    /// With a secret of this node's own, until there is an agreement.
    pub(crate) fn new(key_prefix: &str, patience: Duration) -> Self {
        Self {
            key: own_key(key_prefix, "nodes", "secrets"),
            patience,
            secrets: vec![BASE64.encode(rand::random::<[u8; 32]>())],
            in_use: false,
            has_agreed: false,
            has_failed: false,
        }
    }

    /// The secrets: the first signs, all verify.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        self.secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect()
    }

    /// Agrees once, with a Redis that answers. Otherwise the node goes on with what it has. Returns
    /// whether the secrets have changed.
    pub(crate) async fn agree(&mut self, commands: Option<Commands>) -> bool {
        let Some(mut commands) = commands else {
            self.in_use = true;
            return false;
        };
        let call = self.call();
        let asked = timeout(self.patience, commands.run_script(&SCRIPT, &call)).await;
        let late = || RedisError::from((ErrorKind::Io, "no answer in time"));
        let agreed = match asked.unwrap_or_else(|_| Err(late())) {
            Ok(agreed) => agreed,
            Err(error) => {
                self.in_use = true;
                // Once there was an agreement it holds. The directory says what Redis lacks.
                if !self.has_agreed && !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(
                        error = in_words(&error),
                        "the nodes cannot agree on the secret of session ids; until they do, \
                         requests may find their session unknown"
                    );
                }
                return false;
            }
        };
        if std::mem::take(&mut self.has_failed) {
            tracing::info!("the nodes agree on the secret of session ids now");
        }
        self.has_agreed = true;
        self.took(agreed)
    }

    /// Takes over what was agreed on.
    fn took(&mut self, agreed: Vec<String>) -> bool {
        if agreed.is_empty() {
            return false;
        }
        let mut secrets = agreed;
        if self.in_use {
            let own = self.secrets.iter().filter(|own| !secrets.contains(own)).cloned();
            secrets.extend(own.collect::<Vec<_>>());
        }
        secrets.truncate(MOST);
        self.in_use = true;
        let is_new = secrets != self.secrets;
        self.secrets = secrets;
        is_new
    }

    fn call(&self) -> Cmd {
        let mut call = SCRIPT.call(std::slice::from_ref(&self.key));
        call.arg(&self.secrets[0]).arg(u8::from(self.in_use)).arg(EXPIRY.as_millis() as u64);
        call
    }

    /// Agrees again and again, and hands over the secrets when they have changed.
    pub(crate) async fn keep(
        mut self,
        commands: impl Fn() -> Option<Commands>,
        changed: impl Fn(Vec<Vec<u8>>),
    ) {
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if self.agree(commands()).await {
                changed(self.secrets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use test_kit::redis::RedisServer;

    use super::*;
    use crate::link::redis::testing::Reached as _;

    fn node() -> Agreement {
        Agreement::new("socket.io", Duration::from_secs(5))
    }

    #[tokio::test]
    async fn nodes_that_start_at_once_agree() {
        let redis = RedisServer::start().await;
        let commands = redis.commands().await;
        let mut nodes: Vec<_> = std::iter::repeat_with(node).take(8).collect();
        let agreeing = nodes.iter_mut().map(|node| node.agree(Some(commands.clone())));
        futures_util::future::join_all(agreeing).await;
        for node in &nodes {
            assert_eq!(node.secrets, nodes[0].secrets);
            assert_eq!(node.secrets.len(), 1, "nobody has used another one");
        }
        let mut late = node();
        assert!(late.agree(Some(commands)).await);
        assert_eq!(late.secrets, nodes[0].secrets);
    }

    #[tokio::test]
    async fn a_secret_that_redis_has_lost_is_good_nevertheless() {
        let redis = RedisServer::start().await;
        let mut commands = redis.commands().await;
        let (mut old, mut older) = (node(), node());
        old.agree(Some(commands.clone())).await;
        older.agree(Some(commands.clone())).await;
        let before = old.secrets.clone();
        let _: redis::Value = commands.run(&redis::cmd("FLUSHALL")).await.expect("flushed");
        let mut new = node();
        new.agree(Some(commands.clone())).await;
        assert_ne!(new.secrets, before, "it came first, and knows nothing else");
        for node in [&mut old, &mut older, &mut new] {
            node.agree(Some(commands.clone())).await;
        }
        for node in [&old, &older, &new] {
            assert_eq!(node.secrets, [new.secrets[0].clone(), before[0].clone()]);
        }
        let _: redis::Value = commands.run(&redis::cmd("FLUSHALL")).await.expect("flushed");
        assert!(!old.agree(Some(commands)).await, "it says again what it uses");
    }

    #[tokio::test]
    async fn what_is_in_the_key_otherwise_changes_nothing() {
        let redis = RedisServer::start().await;
        let mut commands = redis.commands().await;
        let mut set = redis::cmd("SET");
        set.arg("switchboard:socket.io:{nodes}:secrets").arg("text");
        let _: redis::Value = commands.run(&set).await.expect("set");
        let mut node = node();
        let own = node.secrets.clone();
        assert!(!node.agree(Some(commands.clone())).await);
        assert!(!node.agree(None).await);
        assert_eq!(node.secrets, own);
        let _: redis::Value = commands.run(&redis::cmd("FLUSHALL")).await.expect("flushed");
        assert!(!node.agree(Some(commands)).await);
        assert_eq!(node.secrets, own, "it was in use, and is what all agree on now");
    }

    #[test]
    fn former_secrets_are_few() {
        let mut node = node();
        node.in_use = true;
        for n in 0..10 {
            node.took(vec![format!("agreed {n}")]);
        }
        assert_eq!(node.secrets, ["agreed 9", "agreed 8", "agreed 7", "agreed 6"]);
    }
}
