//! The files that a configuration names, tried before anything starts.

use super::redis;
#[cfg(feature = "jwt")]
use crate::{auth::Jwt, config::Auth};
use crate::{
    config::Config,
    edge::{ClientFiles, Tls},
};
#[cfg(feature = "postgres")]
use crate::{config::is_postgres, store::postgres::Target};

/// The faults of the files and keys that a configuration names, each with the setting to blame.
/// [`Config::check`] reads the settings alone.
///
/// ```
/// use switchboard::{Config, server::check_files};
///
/// let mut config = Config::default();
/// config.engine.client_file = Some("/no/such/socket.io.js".into());
/// let problems = check_files(&config);
/// assert_eq!(problems[0].0, "engine.client_file");
/// ```
pub fn check_files(config: &Config) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    #[cfg(feature = "jwt")]
    problems.extend(keys(&config.auth));
    if let Some(path) = &config.engine.client_file
        && let Err(error) = ClientFiles::read(path)
    {
        let message = format!("cannot read `{}`: {error}", path.display());
        problems.push(("engine.client_file", message));
    }
    if let (Some(cert), Some(key)) = (&config.tls.cert_file, &config.tls.key_file) {
        problems.extend(Tls::problems(cert, key));
    }
    problems.extend(redis::file_problems(config));
    #[cfg(feature = "postgres")]
    problems.extend(postgres(config));
    problems
}

/// The faults of the URLs of Postgres, and of the files that they name.
#[cfg(feature = "postgres")]
fn postgres(config: &Config) -> Vec<(&'static str, String)> {
    let urls = [("store.url", &config.store.url), ("outbox.listen_url", &config.outbox.listen_url)];
    let urls = urls.into_iter().filter_map(|(key, url)| Some((key, url.as_ref()?)));
    let urls = urls.filter(|(_, url)| is_postgres(url.expose()));
    let broken = urls.filter_map(|(key, url)| Some((key, Target::parse(url.expose()).err()?)));
    broken.map(|(key, error)| (key, error.to_string())).collect()
}

/// The faults of the keys for tokens. They are tried one by one, for each may have one of its own.
#[cfg(feature = "jwt")]
fn keys(auth: &Auth) -> Vec<(&'static str, String)> {
    let only_file = Auth { jwks_url: None, ..auth.clone() };
    let only_url = Auth { public_key_file: None, ..auth.clone() };
    let broken = [only_file, only_url].into_iter().filter_map(|part| Jwt::from_config(&part).err());
    broken.map(|error| (error.key(), error.reason())).collect()
}
