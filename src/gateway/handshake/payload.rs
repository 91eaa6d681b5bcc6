//! A client's CONNECT payload.

use rmpv::Value as Tree;
use serde_json::{Map, Value as Json};
use socketioxide_core::Value;

use crate::{
    fault::Fault,
    javascript::json,
    msgpack,
    packet::{MAX_DEPTH, ReadError},
    payload::to_json_text,
};

/// A client's CONNECT payload as JSON.
///
/// # Errors
/// `bad_request` if it cannot be read, for it may have held a token.
pub(crate) fn connect_payload(auth: Option<&Value>) -> Result<Json, Fault> {
    let payload = match auth {
        // As in Node.js: no payload is an empty one.
        None => return Ok(Json::Object(Map::new())),
        Some(Value::Str(text, _)) => payload_of_text(text),
        Some(Value::Bytes(bytes)) => payload_of_msgpack(bytes),
    };
    payload.map_err(|error| {
        Fault::bad_request(format!("the payload of CONNECT cannot be read: {error}"))
    })
}

fn payload_of_text(text: &str) -> Result<Json, ReadError> {
    let has_infinite = json::check(text)?.has_infinite();
    let payload = serde_json::from_str(&json::mended(text)?).map_err(|_| ReadError::Malformed)?;
    match payload {
        // An infinite number is read as null, which would count as no token.
        Json::Object(auth) if has_infinite && auth.get("token").is_some_and(Json::is_null) => {
            Err(ReadError::NumberTooLarge)
        }
        Json::Object(auth) => Ok(Json::Object(auth)),
        _ => Err(ReadError::NoMap),
    }
}

/// The payload of a CONNECT in MessagePack. Undefined members are left out, and values that JSON
/// lacks are as in `JSON.stringify`.
fn payload_of_msgpack(bytes: &[u8]) -> Result<Json, ReadError> {
    let members = match msgpack::read(bytes)? {
        // The engine turns an undefined payload into this.
        Tree::Nil => Vec::new(),
        Tree::Map(members) => members,
        _ => return Err(ReadError::NoMap),
    };
    let infinite = |value: &Tree| value.as_f64().is_some_and(|number| !number.is_finite());
    if members.iter().any(|(key, value)| key.as_str() == Some("token") && infinite(value)) {
        return Err(ReadError::NumberTooLarge);
    }
    let text = to_json_text(&Tree::Map(members), MAX_DEPTH)?;
    serde_json::from_str(&text).map_err(|_| ReadError::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Result<Json, Fault> {
        connect_payload(Some(&Value::Str(text.to_owned().into(), None)))
    }

    #[test]
    fn a_payload_is_read_as_node_js_reads_it_or_refused() {
        assert_eq!(connect_payload(None).unwrap(), json!({}));
        for (payload, read) in [
            (r#"{"token":"x"}"#, json!({ "token": "x" })),
            (r#"{"token":"x","n":"\ud800"}"#, json!({ "token": "x", "n": "\u{fffd}" })),
            (r#"{"token":"x","n":1e400}"#, json!({ "token": "x", "n": null })),
            (r#"{"\u0074oken":null}"#, json!({ "token": null })),
            (" {} ", json!({})),
        ] {
            assert_eq!(text(payload).unwrap(), read, "{payload}");
        }
        let deep = format!(r#"{{"token":"x","n":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        let odd = ["{bad", r#"{"token":"x"}garbage"#, "[1]", "null", "\"x\"", r#"{"token":1e400}"#];
        for payload in odd.into_iter().chain([deep.as_str()]) {
            let refused = text(payload).expect_err(payload);
            assert_eq!(refused.code(), crate::Code::BadRequest, "{payload}");
        }
    }

    #[test]
    fn a_payload_in_messagepack_is_read_alike() {
        let read = |payload: &Tree| {
            let mut bytes = Vec::new();
            msgpack::write(&mut bytes, payload);
            connect_payload(Some(&Value::Bytes(bytes.into())))
        };
        let map = |members: &[(&str, Tree)]| {
            let members = members.iter();
            Tree::Map(members.map(|(key, value)| (Tree::from(*key), value.clone())).collect())
        };
        let undefined = Tree::Ext(0, vec![0]);
        let payload = map(&[("token", Tree::from("x")), ("pid", undefined)]);
        assert_eq!(read(&payload).unwrap(), json!({ "token": "x" }));
        assert_eq!(read(&Tree::Nil).unwrap(), json!({}));
        // A malformed token is not the same as no token.
        let token = read(&map(&[("token", Tree::Binary(b"x".to_vec()))])).unwrap();
        assert!(token["token"].is_object());
        assert!(read(&map(&[("token", Tree::F64(f64::INFINITY))])).is_err());
        assert!(read(&Tree::from("x")).is_err() && read(&Tree::Array(Vec::new())).is_err());
        assert!(connect_payload(Some(&Value::Bytes(b"\x81\xa5token".as_slice().into()))).is_err());
    }
}
