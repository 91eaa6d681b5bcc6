//! Who a client is: finds its token, verifies it, and says what the token allows.
//!
//! [`Jwt`] holds the keys and turns a token into an [`Identity`]. [`identify`] applies the
//! configured [`AuthMode`] to a connection. The kind of each key decides which algorithms a token
//! may use; the token itself never does.

mod claims;
mod identity;
mod jwks;
mod jwt;
mod keys;
pub(crate) mod millis;
mod refusal;
mod sign;
mod source;

pub use crate::config::AuthMode;
pub use identity::Identity;
pub use jwt::{Jwt, KeyConfigError};
pub use keys::KeyError;
pub use sign::sign_hs256;
pub use source::{TokenSources, find_token, identify};
