//! The device of a socket, as its CONNECT names it.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::fault::Fault;

/// Longest name of a device, in characters.
const LONGEST: usize = 64;

/// What a CONNECT says to the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(super) name: Arc<str>,
    /// The client wants the sequence number as the last argument.
    pub(super) wants_sequence: bool,
}

impl Device {
    /// Reads `device` and `inbox` of a CONNECT's payload. Without a device it is the one called `""`.
    ///
    /// # Errors
    /// `bad_request` if the name is no text of 1 to 64 characters without NUL.
    pub(crate) fn of(auth: &Json) -> Result<Self, Fault> {
        let wants_sequence = auth.get("inbox") == Some(&Json::Bool(true));
        let name = match auth.get("device") {
            None | Some(Json::Null) => "",
            Some(Json::String(name)) if is_fit(name) => name,
            Some(_) => {
                return Err(Fault::bad_request(format!(
                    "auth.device: must be a text of 1 to {LONGEST} characters without NUL"
                )));
            }
        };
        Ok(Self { name: name.into(), wants_sequence })
    }
}

fn is_fit(name: &str) -> bool {
    (1..=LONGEST).contains(&name.chars().count()) && !name.contains('\0')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_device_has_a_name_or_is_the_one_without() {
        let name = |auth: Json| Device::of(&auth).map(|device| device.name.to_string());
        assert_eq!(name(json!({})), Ok(String::new()));
        assert_eq!(name(json!(null)), Ok(String::new()));
        assert_eq!(name(json!({ "device": "phone" })), Ok("phone".into()));
        assert_eq!(name(json!({ "device": "\u{1f600}".repeat(64) })), Ok("\u{1f600}".repeat(64)));
        for unfit in [json!(""), json!("a".repeat(65)), json!("a\0b"), json!(7), json!(["a"])] {
            assert!(name(json!({ "device": unfit })).is_err(), "{unfit}");
        }
    }

    #[test]
    fn the_sequence_is_asked_for_by_true_alone() {
        let wants = |auth: Json| Device::of(&auth).expect("it is fit").wants_sequence;
        assert!(wants(json!({ "inbox": true })));
        assert!(!wants(json!({ "inbox": 1 })) && !wants(json!({})));
    }
}
