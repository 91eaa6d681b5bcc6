//! In the place of Redis, where the crate is built without it. The configuration refuses
//! `redis.url` then, before anything here is asked.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

#[cfg(feature = "admin")]
use super::remembered::Remembered;
use super::{
    error::BuildError,
    parts::{NewParts, Parts},
};
use crate::{
    cluster::{broker::Carrier, sessions::Sessions},
    config::{Config, redis_url::NEEDS_REDIS},
    link::LinkError,
    secret::SecretUrl,
    sockets::node::Node,
    users::NewDirectory,
};

/// There is none.
#[derive(Clone)]
pub(crate) enum RedisLink {}

impl RedisLink {
    pub(super) async fn start(&self, _: bool) -> Result<(), LinkError> {
        match *self {}
    }

    pub(super) fn stop(&self) {
        match *self {}
    }

    pub(super) fn is_down(&self) -> bool {
        match *self {}
    }

    pub(super) fn reason(&self) -> Option<String> {
        match *self {}
    }

    pub(super) fn watch_rights(&self, _: &Config, _: &Arc<Node>) {
        match *self {}
    }

    pub(super) async fn agree(
        &self,
        _: &Node,
        _: &CancellationToken,
        _: impl Fn(&[Vec<u8>]) + Send + Sync + 'static,
    ) {
        match *self {}
    }

    #[cfg(feature = "admin")]
    pub(super) fn remembered(&self, _: &Config) -> Remembered {
        match *self {}
    }

    pub(super) fn sessions(&self, _: &Config) -> Option<Arc<dyn Sessions>> {
        match *self {}
    }
}

pub(super) fn parts(
    _: NewParts<'_>,
    _: &SecretUrl,
    _: Option<NewDirectory>,
) -> Result<(Parts, RedisLink), BuildError> {
    Err(BuildError::Redis(NEEDS_REDIS.into()))
}

pub(super) fn speaking(_: &Config, _: &SecretUrl) -> Result<Arc<dyn Carrier>, String> {
    Err(NEEDS_REDIS.to_owned())
}

pub(super) fn is_cluster(_: &Config) -> bool {
    false
}

pub(super) fn file_problems(_: &Config) -> Vec<(&'static str, String)> {
    Vec::new()
}
