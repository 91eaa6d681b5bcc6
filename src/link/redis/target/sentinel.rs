//! Asks Sentinels for the master.

use redis::{
    Client, ConnectionAddr, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError,
    RedisResult,
};

use super::{Target, open::no_node};

impl Target {
    /// Asks one Sentinel after the other for the master.
    pub(super) async fn find_master(
        &self,
        sentinels: &[ConnectionAddr],
        name: &str,
    ) -> RedisResult<ConnectionAddr> {
        self.connector.ensure_crypto();
        let mut last = no_node();
        for sentinel in sentinels {
            match self.ask_sentinel(sentinel, name).await {
                Ok(Some((host, port))) => return Ok(self.connector.node(&host, port)),
                Ok(None) => last = unknown_master(),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &ConnectionAddr,
        name: &str,
    ) -> RedisResult<Option<(String, u16)>> {
        // The first attempt has no login, for a Sentinel without a password refuses one. It uses
        // RESP2, for a Sentinel with a password refuses `HELLO 3`.
        let plain = RedisConnectionInfo::default();
        let login = self.connector.settings.clone().set_db(0).set_protocol(ProtocolVersion::RESP2);
        match self.ask_sentinel_as(sentinel, plain, name).await {
            Err(error) if error.code() == Some("NOAUTH") && login.password().is_some() => {
                self.ask_sentinel_as(sentinel, login, name).await
            }
            answer => answer,
        }
    }

    async fn ask_sentinel_as(
        &self,
        sentinel: &ConnectionAddr,
        login: RedisConnectionInfo,
        name: &str,
    ) -> RedisResult<Option<(String, u16)>> {
        let info = self.connector.info(sentinel)?.set_redis_settings(login);
        let client = Client::open(info)?;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&self.config()).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        question.query_async(&mut connection).await
    }
}

fn unknown_master() -> RedisError {
    (ErrorKind::Client, "the Sentinels know no master of this name").into()
}
