//! The reasons a client may see when its token is refused. They are constant and never hold any
//! part of the token.

use crate::fault::{Code, Fault};

pub(super) const EXPIRED: &str = "token expired";
pub(super) const NOT_YET_VALID: &str = "token not yet valid";
pub(super) const AUDIENCE: &str = "token has the wrong audience";
pub(super) const ISSUER: &str = "token has the wrong issuer";
pub(super) const SIGNATURE: &str = "token signature is not valid";
pub(super) const ALGORITHM: &str = "token algorithm is not allowed";
pub(super) const UNKNOWN_KEY: &str = "token key is not known";
pub(super) const MALFORMED: &str = "token is malformed";
pub(super) const TOO_LONG: &str = "token is too long";
pub(super) const EXTENSION: &str = "token needs an extension that is not supported";
pub(super) const NO_USER: &str = "token has no user id";
pub(super) const USER_TYPE: &str = "token user id must be a string";
pub(super) const USER_FORM: &str = "token user id is not valid";
pub(super) const ROOMS: &str = "token rooms must be a list of names";
pub(super) const MAY_JOIN: &str = "token may_join must be a list of patterns";
pub(super) const REQUIRED: &str = "token is required";
pub(super) const NOT_TEXT: &str = "token must be a string";
pub(super) const EMPTY: &str = "token is empty";
pub(super) const SCHEME: &str = "authorization must be a bearer token";

pub(super) fn refuse(sentence: &'static str) -> Fault {
    Fault::unauthorized(sentence)
}

/// The keys cannot be fetched. Nothing speaks against the token, so trying again may help.
pub(super) fn keys_unavailable() -> Fault {
    Fault::new(Code::Unavailable, "keys to verify the token cannot be fetched")
}
