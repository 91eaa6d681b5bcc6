//! Keys that verify tokens, each with the only algorithms that it is used for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    crypto::aws_lc,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};

const HS256: &[Algorithm] = &[Algorithm::HS256];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

/// Why a key cannot be used.
///
/// ```
/// use switchboard::{Jwt, auth::KeyError};
///
/// assert!(matches!(Jwt::public_key_pem("no key"), Err(KeyError::NoKey)));
/// assert!(matches!(Jwt::jwks("http://id.example/keys"), Err(KeyError::InsecureUrl)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file is not there, or not readable.
    #[error("cannot read `{path}`: {source}")]
    Unreadable {
        /// As it was configured.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No PEM block at all.
    #[error("holds no public key in PEM form (`-----BEGIN PUBLIC KEY-----`)")]
    NoKey,
    /// A certificate. It says more than a key, and all of that would be ignored.
    #[error(
        "holds a certificate, which is not supported: take its key with \
         `openssl x509 -pubkey -noout`"
    )]
    Certificate,
    /// A private key. It belongs to the issuer of the tokens alone.
    #[error("holds a private key, but only public keys belong here")]
    PrivateKey,
    /// A PEM block of another kind, or a broken one.
    #[error("holds a block `{0}` that is not a public key, or is damaged")]
    Malformed(String),
    /// A key that no supported algorithm uses.
    #[error("holds a key that is none of RSA (2048 to 8192 bits), EC P-256, EC P-384 and Ed25519")]
    Unsupported,
    /// Not a URL. The message does not repeat it, for it may hold a password.
    #[error("is not a URL")]
    Url,
    /// Not TLS. Anybody who can change the answer could make tokens.
    #[error("must start with https:// (http:// is for loopback only)")]
    InsecureUrl,
    /// The TLS client cannot be set up, for example because the system has no root certificates.
    #[error("cannot set up an HTTPS client: {0}")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A key, and the algorithms it verifies.
#[derive(Clone)]
pub(super) struct Key {
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Key {
    pub(super) fn hs256(secret: &[u8]) -> Self {
        Self::new(DecodingKey::from_secret(secret), HS256)
    }

    /// All keys of a PEM file. Other text between the blocks is ignored.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Vec<Self>, KeyError> {
        let text = String::from_utf8_lossy(pem);
        let mut keys = Vec::new();
        let mut rest = &*text;
        while let Some(start) = rest.find("-----BEGIN ") {
            let label = rest[start + 11..].split("-----").next().unwrap_or_default();
            let end_line = format!("-----END {label}-----");
            let end = rest[start..]
                .find(&end_line)
                .ok_or_else(|| KeyError::Malformed(label.to_owned()))?;
            let (block, after) = rest[start..].split_at(end + end_line.len());
            keys.push(Self::from_pem_block(label, block)?);
            rest = after;
        }
        if keys.is_empty() { Err(KeyError::NoKey) } else { Ok(keys) }
    }

    fn from_pem_block(label: &str, block: &str) -> Result<Self, KeyError> {
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                return Err(KeyError::Certificate);
            }
            _ if label.ends_with("PRIVATE KEY") => return Err(KeyError::PrivateKey),
            _ => return Err(KeyError::Malformed(label.to_owned())),
        }
        let block = block.as_bytes();
        let key = DecodingKey::from_rsa_pem(block)
            .ok()
            .filter(has_a_supported_rsa_size)
            .map(|key| Self::new(key, RSA))
            .or_else(|| DecodingKey::from_ec_pem(block).ok().and_then(Self::ec))
            .or_else(|| Some(Self::new(DecodingKey::from_ed_pem(block).ok()?, ED25519)));
        key.ok_or(KeyError::Unsupported)
    }

    /// A key of a JWKS, or `None` if it does not verify tokens. Symmetric keys never do: a
    /// published secret is no secret.
    pub(super) fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        if common.key_operations.as_ref().is_some_and(|ops| !ops.contains(&KeyOperations::Verify)) {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        let mut key = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) => {
                let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
                is_supported_rsa_size(&modulus).then(|| Self::new(key, RSA))?
            }
            AlgorithmParameters::EllipticCurve(_) => Self::ec(key)?,
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Self::new(key, ED25519)
            }
            _ => return None,
        };
        if let Some(only) = common.key_algorithm {
            key.algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
        }
        (!key.algorithms.is_empty()).then_some(key)
    }

    /// The length of the uncompressed point tells the curve.
    fn ec(key: DecodingKey) -> Option<Self> {
        match key.try_get_as_bytes().ok()?.len() {
            65 => Some(Self::new(key, P256)),
            97 => Some(Self::new(key, P384)),
            _ => None,
        }
    }

    fn new(key: DecodingKey, algorithms: &[Algorithm]) -> Self {
        Self { algorithms: algorithms.to_vec(), key }
    }

    /// Whether this key verifies tokens of `algorithm`.
    pub(super) fn takes(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether this key made the signature (in base64), with an algorithm that the key allows.
    pub(super) fn verifies(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        self.takes(algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm)
                .unwrap_or(false)
    }
}

fn has_a_supported_rsa_size(key: &DecodingKey) -> bool {
    let components = aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
    let modulus = key.try_get_as_bytes().and_then(|der| Ok(components(der)?.0));
    modulus.is_ok_and(|modulus| is_supported_rsa_size(&modulus))
}

/// Whether keys of this length are supported.
fn is_supported_rsa_size(modulus: &[u8]) -> bool {
    (256..=1024).contains(&modulus.iter().skip_while(|byte| **byte == 0).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pem: &[u8]) -> String {
        Key::from_pem(pem).err().expect("accepted").to_string()
    }

    #[test]
    fn a_key_takes_the_algorithms_of_its_kind_alone() {
        for (pem, algorithms) in [
            (include_str!("../../tests/keys/rsa.public.pem"), RSA),
            (include_str!("../../tests/keys/p256.public.pem"), P256),
            (include_str!("../../tests/keys/p384.public.pem"), P384),
            (include_str!("../../tests/keys/ed25519.public.pem"), ED25519),
        ] {
            assert_eq!(Key::from_pem(pem.as_bytes()).unwrap()[0].algorithms, algorithms);
        }
        assert_eq!(Key::hs256(b"secret").algorithms, HS256);
    }

    #[test]
    fn a_pem_file_may_hold_several_keys() {
        let both = concat!(
            "the old one\n",
            include_str!("../../tests/keys/rsa.public.pem"),
            include_str!("../../tests/keys/p256.public.pem"),
        );
        assert_eq!(Key::from_pem(both.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_a_public_key_is_refused_with_the_reason() {
        assert!(refused(b"").contains("holds no public key"));
        assert!(
            refused(include_bytes!("../../tests/keys/rsa.certificate.pem"))
                .contains("holds a certificate")
        );
        assert!(
            refused(include_bytes!("../../tests/keys/p256.private.pem")).contains("private key")
        );
        assert!(
            refused(include_bytes!("../../tests/keys/rsa1024.public.pem")).contains("2048 to 8192")
        );
        assert!(refused(b"-----BEGIN PUBLIC KEY-----\nAAAA\n").contains("damaged"));
        assert!(
            refused(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
                .contains("none of")
        );
    }
}
