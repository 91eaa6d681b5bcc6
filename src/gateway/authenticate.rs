//! The middleware that identifies a client by its token.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    auth::{AuthMode, Identity, Jwt, KeyConfigError, identify},
    config,
    fault::Fault,
    future::BoxFuture,
    gateway::{handler::Handler, handshake::Handshake},
};

/// The middleware that identifies a client by its token. Clones share their keys.
///
/// The token is looked for in the CONNECT payload's `auth.token`, the query parameter `token` and
/// the header `Authorization: Bearer`, in this order. An invalid token is always refused.
///
/// ```
/// use switchboard::{Authenticate, Gateway, Jwt};
///
/// let jwt = Jwt::hs256("a secret of at least 32 bytes, please");
/// let gateway = Gateway::new("/").middleware(Authenticate::required(jwt));
/// ```
#[derive(Debug, Clone)]
pub struct Authenticate(Arc<ArcSwap<Keys>>);

#[derive(Debug)]
struct Keys {
    mode: AuthMode,
    jwt: Option<Jwt>,
}

impl Authenticate {
    /// Admits only clients with a valid token.
    ///
    /// ```
    /// use switchboard::{Authenticate, Gateway, Jwt};
    ///
    /// // A guest is refused.
    /// let gateway = Gateway::new("/").middleware(Authenticate::required(Jwt::hs256("a secret of at least 32 bytes, please")));
    /// ```
    pub fn required(jwt: Jwt) -> Self {
        Self::new(Keys { mode: AuthMode::Required, jwt: Some(jwt) })
    }

    /// Admits clients without a token as anonymous.
    ///
    /// ```
    /// use switchboard::{Authenticate, Gateway, Jwt};
    ///
    /// // A guest may enter, and has no user.
    /// let gateway = Gateway::new("/").middleware(Authenticate::optional(Jwt::hs256("a secret of at least 32 bytes, please")));
    /// ```
    pub fn optional(jwt: Jwt) -> Self {
        Self::new(Keys { mode: AuthMode::Optional, jwt: Some(jwt) })
    }

    /// Follows the `auth` section of a configuration.
    ///
    /// ```
    /// use switchboard::{Authenticate, Config};
    ///
    /// let authenticate = Authenticate::from_config(&Config::default().auth)?;
    /// # _ = authenticate;
    /// # Ok::<(), switchboard::auth::KeyConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If one of the keys cannot be used.
    pub fn from_config(auth: &config::Auth) -> Result<Self, KeyConfigError> {
        Keys::from_config(auth).map(Self::new)
    }

    /// Uses the mode and the keys of this configuration from now on. Connected sockets stay.
    ///
    /// ```
    /// use switchboard::{Authenticate, Config, Jwt, config::Secrets};
    ///
    /// let authenticate = Authenticate::required(Jwt::hs256("the secret of last year, 32 bytes long"));
    /// let mut auth = Config::default().auth;
    /// auth.hs256_secret = Secrets::from_iter(["the secret of this year, 32 bytes long"]);
    /// authenticate.reload(&auth)?;
    /// # Ok::<(), switchboard::auth::KeyConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If a key cannot be used. Nothing is changed then.
    pub fn reload(&self, auth: &config::Auth) -> Result<(), KeyConfigError> {
        self.0.store(Arc::new(Keys::from_config(auth)?));
        Ok(())
    }

    fn new(keys: Keys) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys)))
    }

    /// The identity behind a token.
    ///
    /// ```
    /// use switchboard::{Authenticate, Jwt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let authenticate = Authenticate::optional(Jwt::hs256("a secret of at least 32 bytes, please"));
    /// assert!(authenticate.verify("no token").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `unauthorized` if it is not valid or tokens are not taken at all; `unavailable` if the keys
    /// to verify it cannot be fetched.
    pub async fn verify(&self, token: &str) -> Result<Identity, Fault> {
        let keys = self.0.load_full();
        match (&keys.jwt, keys.mode) {
            (None, _) | (_, AuthMode::None) => {
                Err(Fault::unauthorized("this server does not take tokens"))
            }
            (Some(jwt), _) => jwt.verify(token).await,
        }
    }
}

impl Keys {
    fn from_config(auth: &config::Auth) -> Result<Self, KeyConfigError> {
        Ok(Self { mode: auth.effective_mode(), jwt: Jwt::from_config(auth)? })
    }
}

impl Handler<Handshake> for Authenticate {
    fn call(&self, handshake: Handshake) -> BoxFuture<'static, Result<(), Fault>> {
        let keys = self.0.load_full();
        Box::pin(async move {
            let sources = handshake.token_sources();
            let identity = identify(keys.mode, keys.jwt.as_ref(), sources).await?;
            handshake.set_identity(identity);
            Ok(())
        })
    }
}
