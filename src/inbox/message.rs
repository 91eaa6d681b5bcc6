//! A message as the store has it, and as a client gets it.

use bytes::Bytes;
use socketioxide_core::Value;

use crate::{
    fault::Fault,
    msgpack,
    payload::{Parser, Payload, PayloadError},
};

/// The arguments of an event, as the store keeps them: an array in MessagePack.
pub(super) fn to_stored(payload: &Payload) -> Result<Bytes, PayloadError> {
    match payload.clone().into_ack()?.into_wire(Parser::MsgPack)? {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Str(..) => unreachable!("MessagePack is bytes"),
    }
}

/// The event with the stored arguments, and with its number behind them if it is wanted.
pub(super) fn from_stored(
    event: &str,
    args: &[u8],
    sequence: Option<u64>,
) -> Result<Payload, PayloadError> {
    let unreadable = || PayloadError::Decode("the store has no list of arguments".into());
    let (length, args) = msgpack::array(args).ok_or_else(unreadable)?;
    let mut all = Vec::with_capacity(args.len() + event.len() + 16);
    msgpack::array_header(&mut all, length + 1 + usize::from(sequence.is_some()));
    msgpack::text(&mut all, event);
    all.extend_from_slice(args);
    if let Some(sequence) = sequence {
        msgpack::write(&mut all, &sequence.into());
    }
    Ok(Payload::of_packet(Value::Bytes(all.into()), true).checked()?)
}

/// Refuses a name that no store keeps.
///
/// # Errors
/// `bad_request`, with what the name is for.
pub(super) fn check_name(what: &str, name: &str, longest: usize) -> Result<(), Fault> {
    match name {
        "" => Err(Fault::bad_request(format!("{what}: must not be empty"))),
        _ if name.contains('\0') => Err(Fault::bad_request(format!("{what}: must not have a NUL"))),
        _ if name.len() > longest => {
            Err(Fault::bad_request(format!("{what}: at most {longest} bytes")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_they_were() {
        let payload = Payload::event("move", &(3, bytes::Bytes::from_static(b"\0\x01"), "north"))
            .expect("it can be encoded");
        let stored = to_stored(&payload).expect("it can be stored");
        let back = from_stored("move", &stored, None).expect("it can be read");
        type Args = (u8, bytes::Bytes, String);
        assert_eq!(back.decode::<Args>().unwrap(), payload.decode::<Args>().unwrap());
        assert_eq!(back.event_name().as_deref(), Some("move"));
        let numbered = from_stored("move", &stored, Some(70_000)).expect("it can be read");
        assert_eq!(numbered.decode::<(u8, bytes::Bytes, String, u64)>().unwrap().3, 70_000);
    }

    #[test]
    fn no_arguments_are_none() {
        let stored = to_stored(&Payload::event("ping!", &()).expect("it can be encoded")).unwrap();
        assert!(from_stored("ping!", &stored, None).expect("it can be read").is_empty());
        assert_eq!(from_stored("ping!", &stored, Some(1)).unwrap().decode::<u64>().unwrap(), 1);
        assert!(from_stored("ping!", b"\x01", None).is_err());
    }
}
