//! A script in Lua: its code, and the name under which a Redis knows it once it has been loaded there.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};

/// A script. One of these is made for each, and kept: its name is a hash of the code.
pub(crate) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// A call of it; arguments are added behind the keys.
    pub(crate) fn call(&self, keys: &[String]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len()).arg(keys);
        call
    }

    /// The command that makes it known.
    pub(crate) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.code);
        load
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// Its name in Redis.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

/// Whether Redis does not know the script: it was not loaded yet, or Redis has begun anew since.
pub(crate) fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
