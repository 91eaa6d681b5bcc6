//! Session ids: a returning page shows one instead of the password, on any node.
//!
//! Nothing is stored. An id holds its own end and is signed with a key that every node makes from
//! its configuration. So a login on one node holds on all, and ends everywhere when the password
//! changes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

const EXPIRY_BYTES: usize = 8;
const NONCE_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// Names the purpose in the signed text, so that a signature for another purpose is no session id.
const PURPOSE: &[u8] = b"switchboard admin ui session\0";

/// Signs and verifies session ids.
pub(crate) struct Sessions {
    /// The first key signs, all verify.
    keys: Vec<Hmac<Sha256>>,
    ttl: Duration,
}

impl Sessions {
    /// `secrets` are those of the cluster (there may be none); `hash` is the password's.
    pub(crate) fn new(secrets: &[Vec<u8>], username: &str, hash: &str, ttl: Duration) -> Self {
        let none = [Vec::new()];
        let secrets = if secrets.is_empty() { &none } else { secrets };
        let key = |secret: &Vec<u8>| {
            let mut mac = keyed(secret);
            for part in [PURPOSE, username.as_bytes(), b"\0", hash.as_bytes()] {
                mac.update(part);
            }
            keyed(&mac.finalize().into_bytes())
        };
        Self { keys: secrets.iter().map(key).collect(), ttl }
    }

    /// A session id that is valid from now on.
    pub(crate) fn sign(&self, now: SystemTime) -> String {
        let mut signed = [0; EXPIRY_BYTES + NONCE_BYTES + TAG_BYTES];
        let expiry = seconds(now).saturating_add(self.ttl.as_secs().max(1));
        signed[..EXPIRY_BYTES].copy_from_slice(&expiry.to_be_bytes());
        signed[EXPIRY_BYTES..][..NONCE_BYTES].copy_from_slice(&rand::random::<[u8; NONCE_BYTES]>());
        let (said, tag) = signed.split_at_mut(EXPIRY_BYTES + NONCE_BYTES);
        tag.copy_from_slice(&sign(&self.keys[0], said));
        BASE64.encode(signed)
    }

    /// Whether the id is signed by a node of ours and still valid.
    pub(crate) fn holds(&self, id: &str, now: SystemTime) -> bool {
        let Ok(signed) = BASE64.decode(id) else { return false };
        if signed.len() != EXPIRY_BYTES + NONCE_BYTES + TAG_BYTES {
            return false;
        }
        let (said, tag) = signed.split_at(EXPIRY_BYTES + NONCE_BYTES);
        // every key is tried, so that the time tells nothing
        let fits =
            self.keys.iter().fold(0, |fits, key| fits | sign(key, said).ct_eq(tag).unwrap_u8());
        let mut expiry = [0; EXPIRY_BYTES];
        expiry.copy_from_slice(&said[..EXPIRY_BYTES]);
        fits == 1 && seconds(now) < u64::from_be_bytes(expiry)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn sign(key: &Hmac<Sha256>, said: &[u8]) -> [u8; TAG_BYTES] {
    let mut mac = key.clone();
    mac.update(said);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn sessions(secrets: &[&str], user: &str, hash: &str) -> Sessions {
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect();
        Sessions::new(&secrets, user, hash, HOUR)
    }

    #[test]
    fn an_id_of_one_node_holds_on_another_until_it_ends() {
        let (one, other) = (sessions(&[], "admin", "hash"), sessions(&[], "admin", "hash"));
        let now = SystemTime::now();
        let id = one.sign(now);
        assert_ne!(id, one.sign(now), "two logins have two ids");
        assert!(other.holds(&id, now));
        assert!(other.holds(&id, now + HOUR - Duration::from_secs(1)));
        assert!(!other.holds(&id, now + HOUR));
    }

    #[test]
    fn an_id_ends_with_the_password_the_user_and_the_secrets() {
        let now = SystemTime::now();
        let id = sessions(&["new"], "admin", "hash").sign(now);
        assert!(sessions(&["newer", "new"], "admin", "hash").holds(&id, now));
        for other in [
            sessions(&["newer"], "admin", "hash"),
            sessions(&[], "admin", "hash"),
            sessions(&["new"], "root", "hash"),
            sessions(&["new"], "admin", "other"),
        ] {
            assert!(!other.holds(&id, now));
        }
    }

    #[test]
    fn an_id_that_was_touched_does_not_hold() {
        let sessions = sessions(&[], "admin", "hash");
        let now = SystemTime::now();
        let signed = BASE64.decode(sessions.sign(now)).expect("base64");
        for at in 0..signed.len() {
            let mut touched = signed.clone();
            touched[at] ^= 1;
            assert!(!sessions.holds(&BASE64.encode(touched), now), "byte {at}");
        }
        for rubbish in ["", "x", "=", &BASE64.encode(&signed[1..]), &"A".repeat(75), "\0"] {
            assert!(!sessions.holds(rubbish, now), "{rubbish}");
        }
    }
}
