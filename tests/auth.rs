//! Which tokens are accepted, and in which words the others are refused.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use switchboard::{
    Identity, Jwt,
    auth::{AuthMode, TokenSources, identify, sign_hs256},
    config::Config,
};

const SECRET: &str = "a secret of more than thirty-two bytes";
const NOW: u64 = 1_800_000_000;

/// A private key of `tests/keys` and its public half.
macro_rules! key_pair {
    ($name:literal) => {
        (
            include_bytes!(concat!("keys/", $name, ".private.pem")).as_slice(),
            include_bytes!(concat!("keys/", $name, ".public.pem")).as_slice(),
        )
    };
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn alice() -> Map<String, Value> {
    let Value::Object(claims) = json!({"sub": "alice", "exp": NOW + 60}) else { unreachable!() };
    claims
}

fn signed(algorithm: Algorithm, private_pem: &[u8]) -> String {
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(private_pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(private_pem),
        _ => EncodingKey::from_rsa_pem(private_pem),
    };
    jsonwebtoken::encode(&Header::new(algorithm), &alice(), &key.unwrap()).unwrap()
}

fn signed_with_header(header: &Value, secret: &[u8]) -> String {
    let header = URL_SAFE_NO_PAD.encode(header.to_string());
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(json!(alice()).to_string()));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

async fn accepts(jwt: &Jwt, token: &str) {
    let identity = jwt.verify_at(token, now()).await.unwrap_or_else(|f| panic!("refused: {f}"));
    assert_eq!(identity.user_id().map(|id| &**id), Some("alice"));
}

async fn refusal(jwt: &Jwt, token: &str) -> String {
    jwt.verify_at(token, now()).await.expect_err("accepted").to_string()
}

#[tokio::test]
async fn a_token_of_a_configured_secret_is_accepted() {
    let token = sign_hs256(&alice(), SECRET.as_bytes());
    accepts(&Jwt::hs256(SECRET), &token).await;
    assert_eq!(
        refusal(&Jwt::hs256("another secret"), &token).await,
        "unauthorized: token signature is not valid"
    );
}

#[tokio::test]
async fn secrets_can_be_exchanged_without_an_interruption() {
    let both = Jwt::hs256("new").and_hs256("old");
    accepts(&both, &sign_hs256(&alice(), b"new")).await;
    accepts(&both, &sign_hs256(&alice(), b"old")).await;
    assert!(refusal(&both, &sign_hs256(&alice(), b"older")).await.contains("signature"));
}

#[tokio::test]
async fn every_algorithm_of_a_public_key_is_accepted() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let rsa = key_pair!("rsa");
    for (algorithm, (private, public)) in [
        (RS256, rsa),
        (RS384, rsa),
        (RS512, rsa),
        (PS256, rsa),
        (PS384, rsa),
        (PS512, rsa),
        (ES256, key_pair!("p256")),
        (ES384, key_pair!("p384")),
        (EdDSA, key_pair!("ed25519")),
    ] {
        accepts(&Jwt::public_key_pem(public).unwrap(), &signed(algorithm, private)).await;
    }
}

#[tokio::test]
async fn keys_of_several_kinds_stand_beside_each_other() {
    let (rsa, p256) = (key_pair!("rsa"), key_pair!("p256"));
    let pem = [rsa.1, p256.1].concat();
    let jwt = Jwt::hs256(SECRET).and_public_key_pem(pem).unwrap();
    accepts(&jwt, &sign_hs256(&alice(), SECRET.as_bytes())).await;
    accepts(&jwt, &signed(Algorithm::PS256, rsa.0)).await;
    accepts(&jwt, &signed(Algorithm::ES256, p256.0)).await;
    let foreign = signed(Algorithm::RS256, key_pair!("rsa2").0);
    assert_eq!(refusal(&jwt, &foreign).await, "unauthorized: token signature is not valid");
}

#[tokio::test]
async fn the_key_decides_the_algorithm_and_not_the_token() {
    const NOT_ALLOWED: &str = "unauthorized: token algorithm is not allowed";
    let rsa = key_pair!("rsa");
    let public = Jwt::public_key_pem(rsa.1).unwrap();
    // The public key, which everybody has, as an HMAC secret; with and without its last newline.
    for secret in [rsa.1, rsa.1.trim_ascii_end()] {
        assert_eq!(refusal(&public, &sign_hs256(&alice(), secret)).await, NOT_ALLOWED);
    }
    let secret = Jwt::hs256(SECRET);
    assert_eq!(refusal(&secret, &signed(Algorithm::RS256, rsa.0)).await, NOT_ALLOWED);
    assert_eq!(refusal(&public, &signed(Algorithm::ES256, key_pair!("p256").0)).await, NOT_ALLOWED);
    let p384 = Jwt::public_key_pem(key_pair!("p384").1).unwrap();
    assert_eq!(refusal(&p384, &signed(Algorithm::ES256, key_pair!("p256").0)).await, NOT_ALLOWED);
    for alg in ["none", "None", "HS384", "HS512", "ES512", "dir", "hs256", ""] {
        let token = signed_with_header(&json!({"alg": alg}), SECRET.as_bytes());
        assert_eq!(refusal(&secret, &token).await, NOT_ALLOWED, "{alg}");
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(refusal(&secret, &unsigned).await, NOT_ALLOWED, "{alg}");
    }
}

#[tokio::test]
async fn a_changed_or_missing_signature_is_refused() {
    let jwt = Jwt::hs256(SECRET);
    let token = sign_hs256(&alice(), SECRET.as_bytes());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let mallory = URL_SAFE_NO_PAD.encode(r#"{"sub":"mallory"}"#);
    for forged in [
        format!("{message}."),
        format!("{message}.{}", &signature[1..]),
        format!("{message}.@@@"),
        format!("{header}.{mallory}.{signature}"),
    ] {
        let refusal = refusal(&jwt, &forged).await;
        assert_eq!(refusal, "unauthorized: token signature is not valid", "{forged}");
    }
}

#[tokio::test]
async fn what_is_no_token_is_malformed() {
    let jwt = Jwt::hs256(SECRET);
    let token = sign_hs256(&alice(), SECRET.as_bytes());
    let header = URL_SAFE_NO_PAD.encode(r#"{"kid":"no alg"}"#);
    for text in
        ["", "token", "a.b", "a.b.c", "...", &format!("{token}.x"), &format!("{header}.e30.x")]
    {
        assert_eq!(refusal(&jwt, text).await, "unauthorized: token is malformed", "{text}");
    }
    let not_an_object = jsonwebtoken::encode(
        &Header::default(),
        &json!(["alice"]),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    );
    assert_eq!(refusal(&jwt, &not_an_object.unwrap()).await, "unauthorized: token is malformed");
    let critical = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    let critical = signed_with_header(&critical, SECRET.as_bytes());
    assert!(refusal(&jwt, &critical).await.contains("extension that is not supported"));
}

#[tokio::test]
async fn a_token_longer_than_8_kib_is_not_looked_at() {
    let mut claims = alice();
    claims.insert("padding".into(), "x".repeat(8 * 1024).into());
    let token = sign_hs256(&claims, SECRET.as_bytes());
    assert_eq!(refusal(&Jwt::hs256(SECRET), &token).await, "unauthorized: token is too long");
}

#[tokio::test]
async fn the_rules_hold_for_every_token() {
    let token = sign_hs256(&alice(), SECRET.as_bytes());
    let jwt = Jwt::hs256(SECRET).leeway(Duration::ZERO);
    accepts(&jwt, &token).await;
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let late = jwt.verify_at(&token, at(NOW + 60)).await.unwrap_err();
    assert_eq!(late.to_string(), "unauthorized: token expired");
    assert!(!late.retry());
    let audience = refusal(&jwt.clone().audience("chat"), &token).await;
    assert_eq!(audience, "unauthorized: token has the wrong audience");
    let issuer = refusal(&jwt.clone().issuer("https://id.example"), &token).await;
    assert_eq!(issuer, "unauthorized: token has the wrong issuer");
    let user = refusal(&jwt.user_claim("uid"), &token).await;
    assert_eq!(user, "unauthorized: token has no user id");
}

#[tokio::test]
async fn an_empty_secret_verifies_nothing() {
    let token = sign_hs256(&alice(), b"");
    assert!(refusal(&Jwt::hs256(""), &token).await.contains("not allowed"));
}

#[tokio::test]
async fn a_configuration_makes_the_same_judge() {
    let mut auth = Config::default().auth;
    assert!(Jwt::from_config(&auth).unwrap().is_none());
    auth.hs256_secret = [SECRET].into_iter().collect();
    auth.public_key_file = Some("tests/keys/ed25519.public.pem".into());
    auth.audience = Some("chat".into());
    let jwt = Jwt::from_config(&auth).unwrap().unwrap();
    let mut claims = alice();
    claims.insert("aud".into(), "chat".into());
    accepts(&jwt, &sign_hs256(&claims, SECRET.as_bytes())).await;
    let ed25519 = signed(Algorithm::EdDSA, key_pair!("ed25519").0);
    assert!(refusal(&jwt, &ed25519).await.contains("audience"));
}

#[test]
fn a_key_that_cannot_be_used_names_its_setting() {
    let refused = |change: fn(&mut switchboard::config::Auth)| {
        let mut auth = Config::default().auth;
        change(&mut auth);
        Jwt::from_config(&auth).expect_err("accepted").to_string()
    };
    let missing = refused(|auth| auth.public_key_file = Some("nowhere.pem".into()));
    assert!(missing.starts_with("auth.public_key_file: cannot read `nowhere.pem`: "), "{missing}");
    let certificate =
        refused(|auth| auth.public_key_file = Some("tests/keys/rsa.certificate.pem".into()));
    assert!(certificate.starts_with("auth.public_key_file: holds a certificate"), "{certificate}");
    let open = refused(|auth| auth.jwks_url = Some("http://id.example/jwks".into()));
    assert_eq!(open, "auth.jwks_url: must start with https:// (http:// is for loopback only)");
    assert!(refused(|auth| auth.jwks_url = Some("jwks".into())).contains("is not a URL"));
}

/// What `identify` says of a client that sends this as its `auth`.
async fn connect(mode: AuthMode, jwt: Option<&Jwt>, auth: Value) -> Result<Identity, String> {
    let headers = HeaderMap::new();
    let sources = TokenSources { connect_auth: Some(&auth), query: None, headers: &headers };
    identify(mode, jwt, sources).await.map_err(|fault| fault.to_string())
}

#[tokio::test]
async fn the_mode_decides_what_a_missing_token_means() {
    let jwt = Jwt::hs256(SECRET);
    let anonymous = Ok(Identity::anonymous());
    assert_eq!(connect(AuthMode::Optional, Some(&jwt), json!({})).await, anonymous);
    assert_eq!(
        connect(AuthMode::Required, Some(&jwt), json!({})).await,
        Err("unauthorized: token is required".into())
    );
    for mode in [AuthMode::None, AuthMode::Optional] {
        assert_eq!(connect(mode, None, json!({"token": "x"})).await, anonymous);
    }
    assert_eq!(connect(AuthMode::None, Some(&jwt), json!({"token": 1})).await, anonymous);
    assert!(connect(AuthMode::Required, None, json!({"token": "x"})).await.is_err());
}

#[tokio::test]
async fn a_token_that_is_not_valid_never_becomes_anonymous() {
    let jwt = Jwt::hs256(SECRET);
    let mut claims = alice();
    claims.insert("exp".into(), 1.into());
    let expired = sign_hs256(&claims, SECRET.as_bytes());
    for mode in [AuthMode::Optional, AuthMode::Required] {
        let refusal = connect(mode, Some(&jwt), json!({"token": expired})).await;
        assert_eq!(refusal, Err("unauthorized: token expired".into()));
        assert!(connect(mode, Some(&jwt), json!({"token": ""})).await.is_err());
        assert!(connect(mode, Some(&jwt), json!({"token": 7})).await.is_err());
    }
    claims.remove("exp");
    let valid = sign_hs256(&claims, SECRET.as_bytes());
    let identity = connect(AuthMode::Optional, Some(&jwt), json!({"token": valid})).await.unwrap();
    assert_eq!(identity.user_id().map(|id| &**id), Some("alice"));
}
