//! The client's session id: `<node>.<32 characters>`, signed, so that knowing a socket's public id
//! is not enough to speak for it.
//!
//! The 32 characters are base64url of the engine's 12 bytes and of 12 bytes of HMAC-SHA256(secret,
//! node, id). The node's name is readable on purpose: a load balancer can route by it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use socketioxide_core::Sid;
use subtle::ConstantTimeEq;

const SID_BYTES: usize = 12;
const TAG_BYTES: usize = 12;
const SIGNED_CHARS: usize = 32;

/// Names the purpose in the signed text, so that a signature for another purpose is no session id.
const PURPOSE: &[u8] = b"switchboard session id\0";

/// The owner of a valid id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// This node.
    Here(Sid),
    /// Another node that signs with the same secrets.
    Elsewhere {
        /// Its name.
        node: &'a str,
    },
}

/// Signs and verifies the ids of one node.
pub(super) struct SessionIds {
    node: Box<str>,
    /// The first key signs, all verify.
    keys: Vec<Hmac<Sha256>>,
}

impl SessionIds {
    /// `secrets`: the first signs, all verify. Without any, a random one is made.
    pub(super) fn new(node: &str, secrets: &[Vec<u8>]) -> Self {
        let made_up = [rand::random::<[u8; 32]>().to_vec()];
        let secrets = if secrets.is_empty() { &made_up } else { secrets };
        Self { node: node.into(), keys: secrets.iter().map(|secret| key(secret)).collect() }
    }

    /// The client's id for the session.
    pub(super) fn sign(&self, sid: Sid) -> String {
        let mut signed = [0; SID_BYTES + TAG_BYTES];
        // a `Sid` is 16 url-safe characters by its type, which are 12 bytes
        signed[..SID_BYTES].copy_from_slice(&BASE64.decode(sid.as_str()).unwrap_or_default());
        signed[SID_BYTES..].copy_from_slice(&tag(&self.keys[0], &self.node, sid));
        format!("{}.{}", self.node, BASE64.encode(signed))
    }

    /// The owner of the id. `None` if none of our keys has signed it.
    pub(super) fn verify<'a>(&self, id: &'a str) -> Option<Owner<'a>> {
        let (node, signed) = id.rsplit_once('.')?;
        if signed.len() != SIGNED_CHARS {
            return None;
        }
        let signed = BASE64.decode(signed).ok()?;
        let (sid, given) = signed.split_at_checked(SID_BYTES)?;
        let sid: Sid = BASE64.encode(sid).parse().ok()?;
        // every key is tried, so that the time tells nothing
        let fits = self
            .keys
            .iter()
            .fold(0, |fits, key| fits | tag(key, node, sid).as_slice().ct_eq(given).unwrap_u8());
        (fits == 1).then(|| match node == &*self.node {
            true => Owner::Here(sid),
            false => Owner::Elsewhere { node },
        })
    }
}

fn key(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")
}

fn tag(key: &Hmac<Sha256>, node: &str, sid: Sid) -> [u8; TAG_BYTES] {
    let mut mac = key.clone();
    for part in [PURPOSE, node.as_bytes(), b"\0", sid.as_str().as_bytes()] {
        mac.update(part);
    }
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG_BYTES]);
    tag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(node: &str, secrets: &[&str]) -> SessionIds {
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect();
        SessionIds::new(node, &secrets)
    }

    #[test]
    fn a_signed_id_names_its_session() {
        let ids = ids("n1", &["secret"]);
        let sid = Sid::new();
        let signed = ids.sign(sid);
        assert_eq!(signed.len(), "n1.".len() + SIGNED_CHARS);
        assert_eq!(ids.verify(&signed), Some(Owner::Here(sid)));
    }

    #[test]
    fn the_public_id_opens_nothing() {
        let ids = ids("n1", &["secret"]);
        let sid = Sid::new();
        for guess in [sid.to_string(), format!("n1.{sid}"), format!("n1.{sid}{sid}")] {
            assert_eq!(ids.verify(&guess), None, "{guess}");
        }
    }

    #[test]
    fn empty_cut_and_lengthened_ids_are_unknown() {
        let ids = ids("n1", &["secret"]);
        let signed = ids.sign(Sid::new());
        for cut in 0..signed.len() {
            assert_eq!(ids.verify(&signed[..cut]), None, "cut at {cut}");
        }
        for wrong in [format!("{signed}A"), format!("x{signed}"), ".".into(), "n1.".into()] {
            assert_eq!(ids.verify(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_id_of_another_node_with_our_secret_is_known_as_such() {
        let signed = ids("n2", &["secret"]).sign(Sid::new());
        assert_eq!(ids("n1", &["secret"]).verify(&signed), Some(Owner::Elsewhere { node: "n2" }));
    }

    #[test]
    fn an_id_moved_to_another_node_is_forged() {
        let signed = ids("n2", &["secret"]).sign(Sid::new()).replace("n2.", "n1.");
        assert_eq!(ids("n1", &["secret"]).verify(&signed), None);
    }

    #[test]
    fn a_node_may_have_dots_in_its_name() {
        let ids = ids("eu.west.1", &["secret"]);
        let sid = Sid::new();
        assert_eq!(ids.verify(&ids.sign(sid)), Some(Owner::Here(sid)));
    }

    #[test]
    fn while_secrets_rotate_both_old_and_new_ids_are_good() {
        let (old, new) = (ids("n1", &["old"]), ids("n1", &["new", "old"]));
        let sid = Sid::new();
        assert_eq!(new.verify(&old.sign(sid)), Some(Owner::Here(sid)));
        assert_eq!(old.verify(&new.sign(sid)), None);
        assert_eq!(ids("n1", &["new"]).verify(&new.sign(sid)), Some(Owner::Here(sid)));
        assert_eq!(ids("n1", &["new"]).verify(&old.sign(sid)), None);
    }

    #[test]
    fn without_secrets_two_nodes_do_not_trust_each_other() {
        let (one, two) = (ids("n1", &[]), ids("n1", &[]));
        let signed = one.sign(Sid::new());
        assert!(one.verify(&signed).is_some());
        assert_eq!(two.verify(&signed), None);
    }

    proptest! {
        #[test]
        fn one_changed_character_makes_it_forged(at in 0..35usize, to in "[A-Za-z0-9_.-]") {
            let ids = ids("n1", &["secret"]);
            let signed = ids.sign(Sid::new());
            let forged = format!("{}{to}{}", &signed[..at], &signed[at + 1..]);
            prop_assume!(forged != signed);
            prop_assert_eq!(ids.verify(&forged), None);
        }

        #[test]
        fn anything_else_is_unknown_and_harmless(id in ".{0,80}") {
            prop_assert_eq!(ids("n1", &["secret"]).verify(&id), None);
        }
    }
}
