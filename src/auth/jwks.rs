//! Keys that an identity provider publishes (RFC 7517): when to fetch them, and the fetching.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header::CACHE_CONTROL};
use jsonwebtoken::jwk::Jwk;
use parking_lot::Mutex;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use super::{
    keys::{Key, KeyError},
    refusal,
};
use crate::fault::Fault;

/// Time for the provider to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// How long keys are kept when the provider does not say.
const USUAL_AGE: Duration = Duration::from_secs(10 * 60);
/// Shortest time that a provider may name. It is not to be asked for every token.
const MIN_AGE: Duration = Duration::from_secs(60);
/// Longest time that a provider may name. A key that was withdrawn has to end some day.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Rest between two fetches while there are keys. Anybody can invent unknown key ids.
const REST: Duration = Duration::from_secs(10);
/// Rest while there are no keys. Nobody can connect then.
const REST_WITHOUT_KEYS: Duration = Duration::from_secs(1);

/// The published keys, fetched when needed. Clones share them.
#[derive(Clone)]
pub(super) struct Jwks(Arc<Inner>);

struct Inner {
    url: Url,
    client: Client,
    cache: Mutex<Cache>,
    /// Held while fetching, so that one request serves all tokens that wait.
    turn: tokio::sync::Mutex<()>,
}

impl Jwks {
    pub(super) fn new(url: &str) -> Result<Self, KeyError> {
        let url: Url = url.parse().map_err(|_| KeyError::Url)?;
        let is_local = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if is_local => {}
            _ => return Err(KeyError::InsecureUrl),
        }
        let mut client = Client::builder().timeout(TIMEOUT).https_only(!is_local);
        if is_local {
            client = client.no_proxy().redirect(reqwest::redirect::Policy::none());
        }
        let client = client.build().map_err(|error| KeyError::Client(error.into()))?;
        let (cache, turn) = (Mutex::default(), tokio::sync::Mutex::new(()));
        Ok(Self(Arc::new(Inner { url, client, cache, turn })))
    }

    /// The keys with this id; without an id, all of them. None if the provider does not have it.
    pub(super) async fn find(&self, kid: Option<&str>, now: Instant) -> Result<Vec<Key>, Fault> {
        if self.0.cache.lock().knows(kid) {
            // While another task fetches, the old keys are good enough.
            if let Ok(_turn) = self.0.turn.try_lock() {
                self.fetch_if_due(kid, now).await;
            }
        } else {
            // The fetch under way may bring the key, so wait for it first.
            let _turn = self.0.turn.lock().await;
            self.fetch_if_due(kid, now).await;
        }
        self.0.cache.lock().find(kid).ok_or_else(refusal::keys_unavailable)
    }

    /// Called only by the holder of the turn.
    async fn fetch_if_due(&self, kid: Option<&str>, now: Instant) {
        {
            let mut cache = self.0.cache.lock();
            if !cache.wants_a_fetch(kid, now) {
                return;
            }
            // Set before the fetch, so that a dropped future counts as an attempt too.
            cache.attempted = Some(now);
            cache.is_outage = true;
        }
        match self.fetch().await {
            Ok((keys, age)) => self.0.cache.lock().store(keys, now + age),
            Err(error) => {
                let host = self.0.url.host_str().unwrap_or_default();
                warn!(jwks.host = host, error, "keys to verify tokens could not be fetched");
            }
        }
    }

    async fn fetch(&self) -> Result<(Vec<Published>, Duration), String> {
        // The cause says more than the error. The URL is left out: it may hold a secret.
        let plain = |error: reqwest::Error| {
            let error = error.without_url();
            match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }
        };
        let mut answer = self.0.client.get(self.0.url.clone()).send().await.map_err(plain)?;
        if !answer.status().is_success() {
            return Err(format!("status {}", answer.status()));
        }
        let age = age(answer.headers());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(plain)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err("answer larger than 1 MiB".into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok((read(&body)?, age))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

struct Published {
    kid: Option<String>,
    key: Key,
}

/// The last answer and its time. Decides; does no I/O and reads no clock.
#[derive(Default)]
struct Cache {
    keys: Option<Vec<Published>>,
    fresh_until: Option<Instant>,
    attempted: Option<Instant>,
    /// The last attempt has not brought keys (yet).
    is_outage: bool,
}

impl Cache {
    fn wants_a_fetch(&self, kid: Option<&str>, now: Instant) -> bool {
        let rest = if self.keys.is_some() { REST } else { REST_WITHOUT_KEYS };
        let is_rested = self.attempted.is_none_or(|at| now.duration_since(at) >= rest);
        let is_stale = self.fresh_until.is_none_or(|until| now >= until);
        is_rested && (is_stale || !self.knows(kid))
    }

    /// Whether there are keys that fit.
    fn knows(&self, kid: Option<&str>) -> bool {
        self.matching(kid).next().is_some()
    }

    /// `None` if it cannot be told which keys there are: nothing was fetched yet, or a key is not known
    /// and the provider, which may have published it meanwhile, has not answered.
    fn find(&self, kid: Option<&str>) -> Option<Vec<Key>> {
        self.keys.as_ref().filter(|_| self.knows(kid) || !self.is_outage)?;
        Some(self.matching(kid).map(|published| published.key.clone()).collect())
    }

    fn matching(&self, kid: Option<&str>) -> impl Iterator<Item = &Published> {
        let keys = self.keys.as_deref().unwrap_or_default();
        keys.iter().filter(move |key| kid.is_none() || key.kid.as_deref() == kid)
    }

    fn store(&mut self, keys: Vec<Published>, fresh_until: Instant) {
        self.keys = Some(keys);
        self.is_outage = false;
        self.fresh_until = Some(fresh_until);
    }
}

/// How long an answer may be kept.
fn age(headers: &HeaderMap) -> Duration {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|v| v.to_str().ok());
    for directive in directives.flat_map(|v| v.split(',')).map(str::trim) {
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache")
        {
            return MIN_AGE;
        }
        if let Some((name, seconds)) = directive.split_once('=')
            && name.eq_ignore_ascii_case("max-age")
            && let Ok(seconds) = seconds.trim_matches('"').parse()
        {
            return Duration::from_secs(seconds).clamp(MIN_AGE, MAX_AGE);
        }
    }
    USUAL_AGE
}

/// The keys of an answer that can verify tokens. All others are left out.
fn read(body: &[u8]) -> Result<Vec<Published>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(body).map_err(|_| "answer is not a JSON Web Key Set")?;
    let jwks = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    Ok(jwks
        .filter_map(|jwk| Some(Published { key: Key::from_jwk(&jwk)?, kid: jwk.common.key_id }))
        .collect())
}

#[cfg(test)]
mod tests;
