//! Makes tokens: for the command line, for development and for tests.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

/// A token with these claims, signed with HS256. The claims are taken as they are: who wants `exp`
/// or `iat` puts them in.
///
/// ```
/// use serde_json::json;
/// use switchboard::auth::sign_hs256;
///
/// let claims = json!({ "sub": "ada", "exp": 4_102_444_800_u64 });
/// let token = sign_hs256(claims.as_object().expect("an object"), b"a secret of at least 32 bytes, please");
/// assert_eq!(token.split('.').count(), 3);
/// ```
pub fn sign_hs256(claims: &Map<String, Value>, secret: &[u8]) -> String {
    // Fails only for claims that JSON cannot express, and for keys of another family.
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret))
        .expect("JSON can be signed with any secret")
}
