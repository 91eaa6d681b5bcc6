//! Events as they are kept: the name, and the arguments as an array in MessagePack.

use bytes::Bytes;
use socketioxide_core::Value;

use super::{Payload, PayloadError};
use crate::{msgpack, packet::ReadError};

impl Payload {
    /// The arguments, without the event's name.
    ///
    /// # Errors
    /// `Decode` if the payload came from a client and is malformed.
    pub(crate) fn to_stored(&self) -> Result<Bytes, PayloadError> {
        let mut stored = Vec::with_capacity(self.size());
        match &self.value {
            Value::Str(..) => msgpack::write_array(&mut stored, &self.tree()?),
            Value::Bytes(bytes) => {
                let (length, arguments) = self.arguments_of(bytes)?;
                msgpack::array_header(&mut stored, length);
                stored.extend_from_slice(arguments);
            }
        }
        Ok(stored.into())
    }

    /// The event with its stored arguments, and with this number behind them if there is one.
    ///
    /// # Errors
    /// If what was stored is no event for clients.
    pub(crate) fn from_stored(
        event: &str,
        args: &[u8],
        sequence: Option<u64>,
    ) -> Result<Self, PayloadError> {
        let (length, args) = msgpack::array(args).ok_or(ReadError::NoList)?;
        let mut all = Vec::with_capacity(args.len() + event.len() + 16);
        msgpack::array_header(&mut all, length + 1 + usize::from(sequence.is_some()));
        msgpack::text(&mut all, event);
        all.extend_from_slice(args);
        if let Some(sequence) = sequence {
            msgpack::write(&mut all, &sequence.into());
        }
        Ok(Self::of_packet(Value::Bytes(all.into()), true).checked()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Parser;

    #[test]
    fn arguments_are_what_they_were_whatever_the_parser() {
        let payload = Payload::event("move", &(3, Bytes::from_static(b"\0\x01"), "north"))
            .expect("it can be encoded");
        let packed = payload.clone().into_wire(Parser::MsgPack).expect("it can be converted");
        let stored = payload.to_stored().expect("it can be stored");
        assert_eq!(Payload::of_packet(packed, true).to_stored().expect("so can this"), stored);
        let back = Payload::from_stored("move", &stored, None).expect("it can be read");
        type Args = (u8, Bytes, String);
        assert_eq!(back.decode::<Args>().unwrap(), payload.decode::<Args>().unwrap());
        assert_eq!(back.event_name().as_deref(), Some("move"));
        let numbered = Payload::from_stored("move", &stored, Some(70_000)).expect("it can be read");
        assert_eq!(numbered.decode::<(u8, Bytes, String, u64)>().unwrap().3, 70_000);
    }

    #[test]
    fn no_arguments_are_none() {
        let event = Payload::event("ping!", &()).expect("it can be encoded");
        let stored = event.to_stored().expect("it can be stored");
        let back = |sequence| Payload::from_stored("ping!", &stored, sequence).expect("an event");
        assert!(back(None).is_empty());
        assert_eq!(back(Some(1)).decode::<u64>().unwrap(), 1);
    }

    #[test]
    fn what_is_no_event_for_clients_is_refused() {
        assert!(Payload::from_stored("ping!", b"\x01", None).is_err());
        assert!(Payload::from_stored("disconnect", b"\x90", None).is_err());
    }
}
