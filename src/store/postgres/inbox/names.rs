//! Texts as keys of an index.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Bytes of a text that stands for itself. Postgres takes 2,704 for all columns of an index together.
const LONGEST: usize = 512;

/// Begins what stands for a longer one.
const HASHED: &str = "sha256:";

/// What stands for a text in an index: itself, or its hash. No two texts have the same.
pub(in crate::store::postgres) fn key(text: &str) -> String {
    match text.len() > LONGEST || text.starts_with(HASHED) {
        true => {
            let mut key = HASHED.to_owned();
            for byte in Sha256::digest(text) {
                let _ = write!(key, "{byte:02x}");
            }
            key
        }
        false => text.to_owned(),
    }
}

/// The text, where its key says another one.
pub(super) fn full<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    (text != key).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_a_short_key_of_its_own() {
        let long = "ä".repeat(300);
        let hash = key(&long);
        assert_eq!((key("ada"), full("ada", &key("ada"))), ("ada".to_owned(), None));
        assert_eq!((hash.len(), full(&long, &hash)), (7 + 64, Some(&*long)));
        assert_ne!(key(&hash), hash, "who is called like a hash");
    }
}
