//! The database of a server, and its tables without a server.

use super::error::{BuildError, ServeError};
use crate::{
    config::{self, Config},
    secret::SecretUrl,
    store::{OpenError, Stores, inbox::InboxRules},
};

/// The database, if there is one.
pub(super) fn stores(config: &Config) -> Result<Option<Stores>, BuildError> {
    let Some(url) = &config.store.url else { return Ok(None) };
    if url.expose() == "sqlite::memory:" {
        tracing::info!(
            "the store is in memory: what it keeps is gone when the server ends, and the next one \
             numbers the messages of each user from 1 again"
        );
    }
    open(url, config, config.store.migrate).map(Some).map_err(BuildError::Store)
}

fn open(url: &SecretUrl, config: &Config, migrate: bool) -> Result<Stores, OpenError> {
    let config::Inbox { ttl, max_messages, max_bytes, .. } = config.inbox;
    let rules = InboxRules { ttl, max_messages, max_bytes };
    Stores::open(url, migrate, rules)
}

/// Brings the tables of `store.url` up to date, whatever `store.migrate` says. Several may do this at
/// once. Does nothing without a store.
///
/// ```
/// use switchboard::{Config, config::SecretUrl, server::migrate};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// migrate(&Config::with(|config| config.store.url = Some(SecretUrl::new("sqlite::memory:")))).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the database cannot be reached, or its tables are of a later version.
pub async fn migrate(config: &Config) -> Result<(), ServeError> {
    let Some(url) = &config.store.url else { return Ok(()) };
    let stores = open(url, config, true).map_err(ServeError::Store)?;
    stores.prepare().await.map_err(ServeError::Store)
}
