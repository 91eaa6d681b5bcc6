//! In the place of TLS to Redis, where the crate is built without it: `rediss://` is refused.

use std::{io, path::Path};

use redis::{ConnectionInfo, RedisResult, cluster::ClusterClientBuilder};

use super::{target_error::TargetError, tls_files::TlsFiles};

/// There is none.
pub(super) enum Tls {}

/// No file is looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {}

impl TlsError {
    pub(crate) fn path(&self) -> &Path {
        match *self {}
    }
}

impl Tls {
    pub(super) fn new(_: TlsFiles) -> Result<Self, TargetError> {
        Err(TargetError::NeedsTls)
    }

    pub(super) fn ensure_crypto(&self) {
        match *self {}
    }

    pub(super) fn problems(&self) -> Vec<TlsError> {
        match *self {}
    }

    pub(super) fn certify(&self, _: ConnectionInfo) -> RedisResult<ConnectionInfo> {
        match *self {}
    }

    pub(super) fn certify_all(&self, _: ClusterClientBuilder) -> RedisResult<ClusterClientBuilder> {
        match *self {}
    }

    pub(super) fn changed(&self) -> bool {
        match *self {}
    }
}

pub(super) fn of_certificate(_: &io::Error) -> Option<String> {
    None
}
