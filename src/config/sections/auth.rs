//! `[auth]`: tokens and the keys that verify them.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    config::{serde_with, units},
    secret::{SecretUrl, Secrets},
};

/// `[auth]`: who may connect. Several kinds of keys may be configured together.
///
/// ```
/// use switchboard::{Config, config::{AuthMode, Secrets}};
///
/// let config = Config::with(|config| {
///     config.auth.hs256_secret = Secrets::from_iter(["a secret of at least 32 bytes, please"]);
///     config.auth.mode = AuthMode::Required;
/// });
/// assert!(config.auth.has_key());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Auth {
    /// Whether clients need a token. Default `optional`; without any key this means `none`, see
    /// [`effective_mode`](Self::effective_mode).
    pub mode: AuthMode,
    /// Shared secrets for HS256: the first signs, all verify (rotation). A string or a list.
    /// Default none; each should have at least 32 bytes.
    #[serde(serialize_with = "Secrets::serialize_one_or_many")]
    pub hs256_secret: Secrets,
    /// PEM file with one or more public keys: RS256/384/512, PS256/384/512, ES256, ES384, EdDSA.
    /// Default unset.
    #[serde(with = "serde_with::unset")]
    pub public_key_file: Option<PathBuf>,
    /// Address of a JWKS; https, except on loopback. Default unset.
    #[serde(with = "serde_with::unset")]
    pub jwks_url: Option<SecretUrl>,
    /// Required value, or member, of a token's `aud`. Default unset: not checked.
    #[serde(with = "serde_with::unset")]
    pub audience: Option<String>,
    /// Required value of a token's `iss`. Default unset: not checked.
    #[serde(with = "serde_with::unset")]
    pub issuer: Option<String>,
    /// Tolerated difference between clocks in `exp` and `nbf`. Default 10 s.
    #[serde(with = "units::duration")]
    pub leeway: Duration,
    /// The claim that holds the user's id. Default `sub`.
    pub user_claim: String,
    /// Whether a socket ends with its token. Default true.
    pub revalidate: bool,
    /// Whether a token's claim `rooms` may name reserved rooms: those of other users, of socket
    /// ids, `authenticated`. Default false: such a token is refused.
    pub reserved_rooms: bool,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Optional,
            hs256_secret: Secrets::default(),
            public_key_file: None,
            jwks_url: None,
            audience: None,
            issuer: None,
            leeway: Duration::from_secs(10),
            user_claim: "sub".into(),
            revalidate: true,
            reserved_rooms: false,
        }
    }
}

impl Auth {
    /// Whether a key is configured.
    ///
    /// ```
    /// use switchboard::config::Config;
    ///
    /// assert!(!Config::default().auth.has_key());
    /// ```
    pub fn has_key(&self) -> bool {
        !self.hs256_secret.is_empty() || self.public_key_file.is_some() || self.jwks_url.is_some()
    }

    /// The mode in force: `optional` without a key is `none`.
    ///
    /// ```
    /// use switchboard::config::{AuthMode, Config};
    ///
    /// let auth = Config::default().auth;
    /// assert_eq!(auth.mode, AuthMode::Optional);
    /// assert_eq!(auth.effective_mode(), AuthMode::None);
    /// ```
    pub fn effective_mode(&self) -> AuthMode {
        match self.mode {
            AuthMode::Optional if !self.has_key() => AuthMode::None,
            mode => mode,
        }
    }
}

/// Whether a client must, may or need not show a token.
///
/// ```
/// use switchboard::{Config, config::AuthMode};
///
/// let config = Config::with(|config| config.auth.mode = AuthMode::Required);
/// assert_eq!(Config::default().auth.mode, AuthMode::Optional);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Tokens are ignored, every socket is anonymous.
    None,
    /// A socket without a token is anonymous. An invalid token is refused.
    Optional,
    /// Every socket needs a valid token.
    Required,
}
