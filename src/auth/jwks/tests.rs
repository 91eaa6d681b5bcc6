//! Against an identity provider on this host; the time is an argument, so nothing waits.

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
    /// Its answer; without one, 503.
    answer: Mutex<Option<String>>,
    asked: AtomicUsize,
}

impl Provider {
    async fn start() -> (Self, Jwks) {
        let provider = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let router = Router::new().route("/jwks", get(Self::serve)).with_state(provider.clone());
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
    let pem = include_bytes!("../../../tests/keys/rsa.private.pem");
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

/// The provider may have published the key meanwhile: nobody is told that its token is wrong.
#[tokio::test]
async fn in_an_outage_an_unknown_key_may_be_tried_again() {
    let (provider, jwks) = Provider::start().await;
    provider.publishes(&[rsa("a")]);
    let now = Instant::now();
    assert!(finds(&jwks, "a", now).await);
    assert!(!finds(&jwks, "b", now).await);
    provider.is_out_of_order();
    for after in [20, 21] {
        let fault = jwks.find(Some("b"), later(now, after)).await.err().expect("not known");
        assert_eq!((fault.code(), fault.retry()), (crate::Code::Unavailable, true));
    }
    provider.publishes(&[rsa("b")]);
    assert!(finds(&jwks, "b", later(now, 40)).await);
    assert!(!finds(&jwks, "c", later(now, 60)).await);
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
    let pem = include_bytes!("../../../tests/keys/rsa.private.pem");
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
