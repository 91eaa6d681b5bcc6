//! JSON Web Tokens: the keys and rules of a server, and the verification of one token.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    Identity,
    claims::Rules,
    jwks::Jwks,
    keys::{Key, KeyError},
    refusal::{self, refuse},
};
use crate::{config, fault::Fault};

/// Longest accepted token, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// Verifies tokens. Cheap to clone; clones share their keys.
///
/// Several keys of several kinds may be held at once, so that keys can be exchanged without an
/// interruption. Of each key only the algorithms of its kind are accepted: of a secret HS256, of an
/// RSA key RS256/384/512 and PS256/384/512, of an EC key ES256 or ES384 by its curve, of an
/// Ed25519 key EdDSA.
///
/// ```
/// # use switchboard::Jwt;
/// let jwt = Jwt::hs256("the new secret").and_hs256("the one before").issuer("https://id.example");
/// ```
#[derive(Clone)]
pub struct Jwt(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    keys: Vec<Key>,
    jwks: Option<Jwks>,
    rules: Rules,
}

impl Jwt {
    /// Tokens signed with a shared secret, of at least 32 bytes if it is to withstand guessing. An
    /// empty one verifies nothing.
    ///
    /// ```
    /// use switchboard::{Authenticate, Jwt};
    ///
    /// let authenticate = Authenticate::required(Jwt::hs256("a secret of at least 32 bytes, please"));
    /// ```
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        Self::without_keys().and_hs256(secret)
    }

    /// One more secret, as [`hs256`](Self::hs256).
    ///
    /// ```
    /// use switchboard::Jwt;
    ///
    /// // While a new secret takes the place of an old one.
    /// let jwt = Jwt::hs256("the new secret, 32 bytes or more").and_hs256("a secret of at least 32 bytes, please");
    /// ```
    #[must_use]
    pub fn and_hs256(mut self, secret: impl AsRef<[u8]>) -> Self {
        if !secret.as_ref().is_empty() {
            self.inner().keys.push(Key::hs256(secret.as_ref()));
        }
        self
    }

    /// Tokens signed with the private half of one of these public keys, in PEM.
    ///
    /// ```
    /// use switchboard::Jwt;
    ///
    /// # let pem = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/ed25519.public.pem"));
    /// let jwt = Jwt::public_key_pem(pem)?;
    /// assert!(Jwt::public_key_pem("no key").is_err());
    /// # Ok::<(), switchboard::auth::KeyError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no key, or anything else than public keys of the supported kinds.
    pub fn public_key_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::without_keys().and_public_key_pem(pem)
    }

    /// More public keys, as [`public_key_pem`](Self::public_key_pem).
    ///
    /// ```
    /// use switchboard::{Jwt, auth::KeyError};
    ///
    /// /// While a new pair of keys takes the place of an old one.
    /// fn both(new: &str, old: &str) -> Result<Jwt, KeyError> {
    ///     Jwt::public_key_pem(new)?.and_public_key_pem(old)
    /// }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn and_public_key_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let keys = Key::from_pem(pem.as_ref())?;
        self.inner().keys.extend(keys);
        Ok(self)
    }

    /// Tokens signed with the keys that an identity provider publishes at this address. They are
    /// fetched when the first token asks for them, kept as long as the provider says (1 minute to
    /// 24 hours, by default 10 minutes), and fetched early, at most once in 10 seconds, for a key
    /// that is not among them. While the provider cannot be reached the old ones go on.
    ///
    /// ```
    /// use switchboard::Jwt;
    ///
    /// let jwt = Jwt::jwks("https://id.example/.well-known/jwks.json")?.audience("chat");
    /// assert!(Jwt::jwks("http://id.example/keys").is_err());
    /// # Ok::<(), switchboard::auth::KeyError>(())
    /// ```
    ///
    /// # Errors
    /// If the URL is not one, or neither https nor on loopback.
    pub fn jwks(url: &str) -> Result<Self, KeyError> {
        Self::without_keys().and_jwks(url)
    }

    /// Published keys too, as [`jwks`](Self::jwks). One address; a second replaces the first.
    ///
    /// ```
    /// use switchboard::Jwt;
    ///
    /// // The tokens of a provider, and those that services of our own sign with a secret.
    /// let jwt = Jwt::hs256("a secret of at least 32 bytes, please")
    ///     .and_jwks("https://id.example/.well-known/jwks.json")?;
    /// # Ok::<(), switchboard::auth::KeyError>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn and_jwks(mut self, url: &str) -> Result<Self, KeyError> {
        self.inner().jwks = Some(Jwks::new(url)?);
        Ok(self)
    }

    /// The keys and rules of a configuration; `None` if it has no key. Reads the key file.
    ///
    /// ```
    /// use switchboard::{Jwt, config::{Config, Secrets}};
    ///
    /// let mut config = Config::default();
    /// assert!(Jwt::from_config(&config.auth)?.is_none());
    /// config.auth.hs256_secret = Secrets::from_iter(["a secret of at least 32 bytes, please"]);
    /// assert!(Jwt::from_config(&config.auth)?.is_some());
    /// # Ok::<(), switchboard::auth::KeyConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If a key cannot be used; names the setting.
    pub fn from_config(auth: &config::Auth) -> Result<Option<Self>, KeyConfigError> {
        if !auth.has_key() {
            return Ok(None);
        }
        let mut jwt = Self::without_keys();
        for secret in &auth.hs256_secret {
            jwt = jwt.and_hs256(secret.expose());
        }
        if let Some(path) = &auth.public_key_file {
            let named = |source| KeyConfigError { key: "auth.public_key_file", source };
            jwt = jwt.and_public_key_pem(read(path).map_err(named)?).map_err(named)?;
        }
        if let Some(url) = &auth.jwks_url {
            jwt = jwt
                .and_jwks(url.expose())
                .map_err(|source| KeyConfigError { key: "auth.jwks_url", source })?;
        }
        jwt.inner().rules = Rules::from_config(auth);
        Ok(Some(jwt))
    }

    /// What `aud` must be or contain. Default: not checked.
    ///
    /// ```
    /// use switchboard::Jwt;
    ///
    /// let jwt = Jwt::hs256("a secret of at least 32 bytes, please").audience("chat").issuer("https://id.example");
    /// ```
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.inner().rules.audience = Some(audience.into());
        self
    }

    /// What `iss` must be. Default: not checked.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.inner().rules.issuer = Some(issuer.into());
        self
    }

    /// Difference between clocks that is forgiven in `exp` and `nbf`. Default 10 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::Jwt;
    ///
    /// let jwt = Jwt::hs256("a secret of at least 32 bytes, please").leeway(Duration::from_secs(30));
    /// ```
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.inner().rules.leeway = leeway;
        self
    }

    /// The claim that holds the user's id. Default `sub`.
    ///
    /// ```
    /// use switchboard::Jwt;
    ///
    /// let jwt = Jwt::hs256("a secret of at least 32 bytes, please").user_claim("email");
    /// ```
    #[must_use]
    pub fn user_claim(mut self, claim: impl Into<String>) -> Self {
        self.inner().rules.user_claim = claim.into();
        self
    }

    /// The identity that a token proves.
    ///
    /// ```
    /// use serde_json::json;
    /// use switchboard::{Jwt, auth::sign_hs256};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let secret = "a secret of at least 32 bytes, please";
    /// let claims = json!({ "sub": "ada", "exp": 4_102_444_800_u64 });
    /// let token = sign_hs256(claims.as_object().expect("an object"), secret.as_bytes());
    /// let identity = Jwt::hs256(secret).verify(&token).await?;
    /// assert_eq!(identity.user_id().map(|id| &**id), Some("ada"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `unauthorized` with the reason, in words that hold nothing of the token; `unavailable` (try
    /// again) if published keys are needed and none could be fetched yet.
    pub async fn verify(&self, token: &str) -> Result<Identity, Fault> {
        self.verify_at(token, SystemTime::now()).await
    }

    /// As [`verify`](Self::verify), as if it were `now`.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use serde_json::json;
    /// use switchboard::{Jwt, auth::sign_hs256};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let secret = "a secret of at least 32 bytes, please";
    /// let claims = json!({ "sub": "ada", "exp": 2_000_000_000 });
    /// let token = sign_hs256(claims.as_object().expect("an object"), secret.as_bytes());
    /// let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    /// let jwt = Jwt::hs256(secret);
    /// assert!(jwt.verify_at(&token, end - Duration::from_secs(1)).await.is_ok());
    /// assert!(jwt.verify_at(&token, end + Duration::from_secs(60)).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn verify_at(&self, token: &str, now: SystemTime) -> Result<Identity, Fault> {
        let token = Token::parse(token)?;
        self.check_signature(&token).await?;
        // Claims are read last: those of an unknown author are not worth reading.
        let claims: Map<String, Value> = decoded(token.payload)?;
        self.0.rules.identity(claims, now)
    }

    /// The identity that these claims would make under a configuration, if they were signed: for
    /// who makes tokens, to find out before handing one out.
    ///
    /// ```
    /// use serde_json::json;
    /// use switchboard::{Jwt, config::Config};
    ///
    /// let auth = Config::default().auth;
    /// let nobody = json!({ "plan": "pro" });
    /// assert!(Jwt::check_claims(&auth, nobody.as_object().expect("an object").clone()).is_err());
    /// ```
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn check_claims(
        auth: &config::Auth,
        claims: Map<String, Value>,
    ) -> Result<Identity, Fault> {
        Rules::from_config(auth).identity(claims, SystemTime::now())
    }

    async fn check_signature(&self, token: &Token<'_>) -> Result<(), Fault> {
        let mut is_allowed = false;
        for key in self.0.keys.iter().filter(|key| key.takes(token.algorithm)) {
            is_allowed = true;
            if key.verifies(token.message, token.signature, token.algorithm) {
                return Ok(());
            }
        }
        // A published key is never symmetric, so such a token must not cause a fetch.
        let is_symmetric = token.algorithm == Algorithm::HS256;
        let Some(jwks) = self.0.jwks.as_ref().filter(|_| !is_symmetric) else {
            return Err(refuse(if is_allowed { refusal::SIGNATURE } else { refusal::ALGORITHM }));
        };
        let published = jwks.find(token.kid.as_deref(), Instant::now()).await?;
        if published.is_empty() && !is_allowed {
            return Err(refuse(refusal::UNKNOWN_KEY));
        }
        let mut fitting = published.iter().filter(|key| key.takes(token.algorithm)).peekable();
        if fitting.peek().is_none() && !is_allowed {
            return Err(refuse(refusal::ALGORITHM));
        }
        if fitting.any(|key| key.verifies(token.message, token.signature, token.algorithm)) {
            Ok(())
        } else {
            Err(refuse(refusal::SIGNATURE))
        }
    }

    fn without_keys() -> Self {
        Self(Arc::default())
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("keys", &self.0.keys.len())
            .field("jwks", &self.0.jwks.is_some())
            .field("rules", &self.0.rules)
            .finish()
    }
}

/// A key of the configuration that cannot be used.
///
/// ```
/// use switchboard::{Config, Jwt};
///
/// let config = Config::with(|config| config.auth.public_key_file = Some("no-such-file.pem".into()));
/// let error = Jwt::from_config(&config.auth).unwrap_err();
/// assert_eq!(error.key(), "auth.public_key_file");
/// assert!(error.reason().starts_with("cannot read `no-such-file.pem`"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{key}: {source}")]
pub struct KeyConfigError {
    key: &'static str,
    source: KeyError,
}

impl KeyConfigError {
    /// The setting.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// What is wrong with it.
    pub fn reason(&self) -> String {
        self.source.to_string()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path)
        .map_err(|source| KeyError::Unreadable { path: path.display().to_string(), source })
}

/// A token taken apart; nothing of it is verified.
struct Token<'a> {
    /// What is signed: header and payload.
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, 4.1.11). None is.
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    fn parse(token: &'a str) -> Result<Self, Fault> {
        if token.len() > MAX_TOKEN {
            return Err(refuse(refusal::TOO_LONG));
        }
        let malformed = || refuse(refusal::MALFORMED);
        let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = message.split_once('.').ok_or_else(malformed)?;
        if payload.contains('.') {
            return Err(malformed());
        }
        let header: Header = decoded(header)?;
        if header.crit.is_some() {
            return Err(refuse(refusal::EXTENSION));
        }
        let algorithm = header.alg.parse().map_err(|_| refuse(refusal::ALGORITHM))?;
        Ok(Self { message, payload, signature, algorithm, kid: header.kid })
    }
}

fn decoded<T: DeserializeOwned>(part: &str) -> Result<T, Fault> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| refuse(refusal::MALFORMED))?;
    serde_json::from_slice(&json).map_err(|_| refuse(refusal::MALFORMED))
}
