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
/// What a provider may say at least: it is not to be asked for every token.
const MIN_AGE: Duration = Duration::from_secs(60);
/// And at most: a key that was taken back ends some day.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Rest between two fetches while there are keys: unknown key ids are free to invent.
const REST: Duration = Duration::from_secs(10);
/// Rest while there are none, so nobody can connect.
const REST_WITHOUT_KEYS: Duration = Duration::from_secs(1);

/// The published keys, fetched when needed. Clones share them.
#[derive(Clone)]
pub(super) struct Jwks(Arc<Inner>);

struct Inner {
    url: Url,
    client: Client,
    cache: Mutex<Cache>,
    /// Held while fetching, so that one question is asked for all who wait.
    turn: tokio::sync::Mutex<()>,
}

impl Jwks {
    pub(super) fn new(url: &str) -> Result<Self, KeyError> {
        let url: Url = url.parse().map_err(|_| KeyError::Url(url.to_owned()))?;
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
        let client = client.build().map_err(KeyError::Client)?;
        let (cache, turn) = (Mutex::default(), tokio::sync::Mutex::new(()));
        Ok(Self(Arc::new(Inner { url, client, cache, turn })))
    }

    /// The keys with this id; without an id, all of them. None if the provider does not have it.
    pub(super) async fn find(&self, kid: Option<&str>, now: Instant) -> Result<Vec<Key>, Fault> {
        if self.0.cache.lock().knows(kid) {
            // If somebody is fetching already, the old keys are good enough meanwhile.
            if let Ok(_turn) = self.0.turn.try_lock() {
                self.fetch_if_due(kid, now).await;
            }
        } else {
            // Whatever is being fetched may hold the key, so wait for that first.
            let _turn = self.0.turn.lock().await;
            self.fetch_if_due(kid, now).await;
        }
        self.0.cache.lock().find(kid).ok_or_else(refusal::keys_unavailable)
    }

    /// Only for who holds the turn.
    async fn fetch_if_due(&self, kid: Option<&str>, now: Instant) {
        {
            let mut cache = self.0.cache.lock();
            if !cache.wants_a_fetch(kid, now) {
                return;
            }
            // Before the fetch, so that a dropped future counts as an attempt too.
            cache.attempted = Some(now);
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
        // The cause says more than the error alone, and the URL may hold a secret.
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

/// What was fetched and when. Decides; does no I/O and reads no clock.
#[derive(Default)]
struct Cache {
    keys: Option<Vec<Published>>,
    fresh_until: Option<Instant>,
    attempted: Option<Instant>,
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

    /// `None` if nothing was ever fetched.
    fn find(&self, kid: Option<&str>) -> Option<Vec<Key>> {
        self.keys.as_ref()?;
        Some(self.matching(kid).map(|published| published.key.clone()).collect())
    }

    fn matching(&self, kid: Option<&str>) -> impl Iterator<Item = &Published> {
        let keys = self.keys.as_deref().unwrap_or_default();
        keys.iter().filter(move |key| kid.is_none() || key.kid.as_deref() == kid)
    }

    fn store(&mut self, keys: Vec<Published>, fresh_until: Instant) {
        self.keys = Some(keys);
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

/// The keys of an answer that can verify tokens; others, of whatever kind, are left out.
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
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
    use jsonwebtoken::{Algorithm, EncodingKey};
    use serde_json::json;

    use super::*;

    /// An identity provider on this host, which counts how often it is asked.
    #[derive(Clone, Default)]
    struct Provider(Arc<ProviderState>);

    #[derive(Default)]
    struct ProviderState {
        /// What it answers; without it, 503.
        answer: Mutex<Option<String>>,
        asked: AtomicUsize,
    }

    impl Provider {
        async fn start() -> (Self, Jwks) {
            let provider = Self::default();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/jwks", listener.local_addr().unwrap());
            let router =
                Router::new().route("/jwks", get(Self::serve)).with_state(provider.clone());
            tokio::spawn(async { axum::serve(listener, router).await });
            (provider, Jwks::new(&url).unwrap())
        }

        async fn serve(State(Self(state)): State<Self>) -> axum::response::Response {
            state.asked.fetch_add(1, Ordering::SeqCst);
            match state.answer.lock().clone() {
                Some(body) => ([(CACHE_CONTROL, "public, max-age=300")], body).into_response(),
                None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }

        fn publishes(&self, keys: &[Value]) {
            *self.0.answer.lock() = Some(json!({ "keys": keys }).to_string());
        }

        fn is_out_of_order(&self) {
            *self.0.answer.lock() = None;
        }

        fn asked(&self) -> usize {
            self.0.asked.load(Ordering::SeqCst)
        }
    }

    fn rsa(kid: &str) -> Value {
        let pem = include_bytes!("../../tests/keys/rsa.private.pem");
        let key = EncodingKey::from_rsa_pem(pem).unwrap();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap();
        jwk.common.key_id = Some(kid.into());
        serde_json::to_value(jwk).unwrap()
    }

    async fn finds(jwks: &Jwks, kid: &str, now: Instant) -> bool {
        !jwks.find(Some(kid), now).await.unwrap().is_empty()
    }

    fn later(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn keys_are_fetched_once_and_kept_as_long_as_the_provider_says() {
        let (provider, jwks) = Provider::start().await;
        provider.publishes(&[rsa("a")]);
        let now = Instant::now();
        assert!(finds(&jwks, "a", now).await);
        assert!(finds(&jwks, "a", later(now, 299)).await);
        assert_eq!(provider.asked(), 1);
        assert!(finds(&jwks, "a", later(now, 300)).await);
        assert_eq!(provider.asked(), 2);
    }

    #[tokio::test]
    async fn a_new_key_is_found_but_invented_ones_do_not_flood_the_provider() {
        let (provider, jwks) = Provider::start().await;
        provider.publishes(&[rsa("a")]);
        let now = Instant::now();
        assert!(finds(&jwks, "a", now).await);
        provider.publishes(&[rsa("a"), rsa("b")]);
        assert!(!finds(&jwks, "b", later(now, 9)).await);
        assert_eq!(provider.asked(), 1);
        assert!(finds(&jwks, "b", later(now, 10)).await);
        for _ in 0..5 {
            assert!(!finds(&jwks, "invented", later(now, 19)).await);
        }
        assert_eq!(provider.asked(), 2);
        provider.publishes(&[rsa("b")]);
        assert!(!finds(&jwks, "invented", later(now, 20)).await);
        assert!(!finds(&jwks, "a", later(now, 21)).await);
    }

    #[tokio::test]
    async fn all_who_wait_share_one_fetch() {
        let (provider, jwks) = Provider::start().await;
        provider.publishes(&[rsa("a")]);
        let now = Instant::now();
        let found = futures_util::future::join_all((0..20).map(|_| finds(&jwks, "a", now))).await;
        assert_eq!(found, [true; 20]);
        assert_eq!(provider.asked(), 1);
    }

    #[tokio::test]
    async fn an_outage_leaves_the_keys_as_they_are() {
        let (provider, jwks) = Provider::start().await;
        provider.publishes(&[rsa("a")]);
        let now = Instant::now();
        assert!(finds(&jwks, "a", now).await);
        provider.is_out_of_order();
        assert!(finds(&jwks, "a", later(now, 100_000)).await);
        assert_eq!(provider.asked(), 2);
        assert!(finds(&jwks, "a", later(now, 100_009)).await);
        assert_eq!(provider.asked(), 2);
    }

    #[tokio::test]
    async fn without_any_keys_a_client_may_try_again() {
        let (provider, jwks) = Provider::start().await;
        let now = Instant::now();
        let fault = jwks.find(Some("a"), now).await.err().unwrap();
        assert_eq!((fault.code(), fault.retry()), (crate::Code::Unavailable, true));
        assert!(jwks.find(Some("a"), now).await.is_err());
        assert_eq!(provider.asked(), 1);
        provider.publishes(&[rsa("a")]);
        assert!(finds(&jwks, "a", later(now, 1)).await);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_or_no_key_set_is_an_outage() {
        let (provider, jwks) = Provider::start().await;
        let now = Instant::now();
        *provider.0.answer.lock() = Some("x".repeat(MAX_ANSWER + 1));
        assert!(jwks.find(None, now).await.is_err());
        *provider.0.answer.lock() = Some("<html>".into());
        assert!(jwks.find(None, later(now, 1)).await.is_err());
        assert_eq!(provider.asked(), 2);
    }

    #[tokio::test]
    async fn a_token_is_verified_with_the_published_key_of_its_id() {
        let (provider, jwks) = Provider::start().await;
        provider.publishes(&[rsa("a")]);
        let jwt = crate::Jwt::jwks(jwks.0.url.as_str()).unwrap().and_hs256("secret");
        let pem = include_bytes!("../../tests/keys/rsa.private.pem");
        let key = EncodingKey::from_rsa_pem(pem).unwrap();
        let token = |algorithm, kid: Option<&str>| {
            let mut header = jsonwebtoken::Header::new(algorithm);
            header.kid = kid.map(Into::into);
            jsonwebtoken::encode(&header, &json!({"sub": "alice"}), &key).unwrap()
        };
        assert!(jwt.verify(&token(Algorithm::RS256, Some("a"))).await.is_ok());
        assert!(jwt.verify(&token(Algorithm::RS256, None)).await.is_ok());
        let refusal = async |token: String| jwt.verify(&token).await.unwrap_err().to_string();
        // The key says `"alg": "RS256"`, so nothing else will do.
        assert!(refusal(token(Algorithm::PS256, Some("a"))).await.contains("algorithm"));
        assert!(refusal(token(Algorithm::RS256, Some("b"))).await.contains("key is not known"));
        let forged = crate::auth::sign_hs256(&serde_json::Map::new(), b"forged");
        assert!(refusal(forged).await.contains("signature"));
        assert_eq!(provider.asked(), 1);
    }

    #[test]
    fn keys_that_are_not_for_verifying_tokens_are_left_out() {
        let with = |name: &str, value: Value| {
            let mut key = rsa("a");
            key[name] = value;
            key
        };
        let keys = [
            rsa("good"),
            with("use", json!("enc")),
            with("key_ops", json!(["encrypt"])),
            with("alg", json!("RSA-OAEP")),
            with("n", json!("AQAB")),
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}),
            json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"}),
            json!({"kty": "quantum"}),
            json!(null),
            with("use", json!("sig")),
        ];
        let read = read(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        let kids: Vec<_> = read.iter().map(|key| key.kid.as_deref().unwrap()).collect();
        assert_eq!(kids, ["good", "a"]);
    }

    #[test]
    fn the_age_is_what_the_provider_says_within_reason() {
        for (value, seconds) in [
            ("max-age=300", 300),
            ("public, Max-Age=7200, must-revalidate", 7200),
            ("max-age=0", 60),
            ("max-age=9999999", 86_400),
            ("no-store", 60),
            ("private", 600),
            ("max-age=soon", 600),
        ] {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, value.parse().unwrap())]);
            assert_eq!(age(&headers), Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(age(&HeaderMap::new()), USUAL_AGE);
    }

    #[test]
    fn keys_come_over_tls_except_from_this_host() {
        for url in
            ["https://id.example/jwks", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost/"]
        {
            assert!(Jwks::new(url).is_ok(), "{url}");
        }
        for url in ["http://id.example/jwks", "http://127.0.0.1.example/", "file:///etc/jwks"] {
            assert!(matches!(Jwks::new(url), Err(KeyError::InsecureUrl)), "{url}");
        }
    }
}
