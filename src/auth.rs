//! Who a client is: finds its token, verifies it, and says what the token allows.
//!
//! [`Jwt`] holds the keys and turns a token into an [`Identity`]. [`identify`] applies the
//! configured [`AuthMode`] to a connection. The kind of each key decides which algorithms a token
//! may use; the token itself never does.

mod claims;
mod identity;
#[cfg(feature = "jwt")]
mod jwks;
#[cfg(feature = "jwt")]
mod jwt;
#[cfg(feature = "jwt")]
mod keys;
mod refusal;
#[cfg(feature = "jwt")]
mod sign;
mod source;

pub use crate::config::AuthMode;
pub use identity::Identity;
#[cfg(feature = "jwt")]
pub use jwt::{Jwt, KeyConfigError};
#[cfg(feature = "jwt")]
pub use keys::KeyError;
#[cfg(feature = "jwt")]
pub use sign::sign_hs256;
#[cfg(feature = "jwt")]
pub use source::identify;
pub use source::{TokenSources, find_token};
