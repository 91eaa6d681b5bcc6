//! The arguments of an event as parameters of its handler.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};

use super::{FromContext, WithArguments};
use crate::{fault::Fault, payload::Payload};

/// The arguments of an event as `T`: all of them if `T` is a tuple, else the first one. If they do
/// not have this shape, the client gets `bad_request`.
///
/// A parameter `Option<Data<T>>` is `None` if there are no arguments; others have to have the shape.
///
/// ```
/// use switchboard::{Data, Gateway, Reply};
///
/// let gateway = Gateway::new("/")
///     .on("one", async |Data(text): Data<String>| Reply::ack(&text.len()))
///     .on("two", async |Data((x, y)): Data<(f64, f64)>| Reply::ack(&x.hypot(y)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data<T>(pub T);

fn decoded<T: DeserializeOwned>(payload: &Payload) -> Result<T, Fault> {
    payload.decode().map_err(|error| Fault::bad_request(error.to_string()))
}

impl<C: WithArguments, T: DeserializeOwned> FromContext<C> for Data<T> {
    fn from_context(context: &C) -> Result<Self, Fault> {
        decoded(context.payload()).map(Data)
    }

    fn optional(context: &C) -> Result<Option<Self>, Fault> {
        match context.payload().is_empty() {
            true => Ok(None),
            false => Self::from_context(context).map(Some),
        }
    }
}

/// As [`Data`], and the handler is called even if the arguments have another shape: it decides what
/// becomes of that.
///
/// ```
/// use switchboard::{Gateway, TryData};
///
/// let gateway = Gateway::new("/").on("age", async |TryData(age): TryData<u8>| match age {
///     Ok(age) => format!("{age} years"),
///     Err(_) => "nobody is as old as that".to_owned(),
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TryData<T>(pub Result<T, Fault>);

impl<C: WithArguments, T: DeserializeOwned> FromContext<C> for TryData<T> {
    fn from_context(context: &C) -> Result<Self, Fault> {
        Ok(Self(decoded(context.payload())))
    }
}

/// Bytes: as a parameter the first argument, which has to be binary; inside of [`Data`] any part; as
/// a result of a handler an acknowledgement. In JavaScript a `Buffer` or an `ArrayBuffer`.
///
/// ```
/// use switchboard::{Binary, Data, Gateway};
///
/// let gateway = Gateway::new("/")
///     .on("upload", async |Binary(bytes): Binary| bytes.len())
///     .on("named", async |Data((name, Binary(bytes))): Data<(String, Binary)>| {
///         println!("{name} has {} bytes", bytes.len());
///         Binary(bytes)
///     });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Binary(pub Bytes);

impl From<Vec<u8>> for Binary {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl<C: WithArguments> FromContext<C> for Binary {
    fn from_context(context: &C) -> Result<Self, Fault> {
        decoded(context.payload())
    }

    fn optional(context: &C) -> Result<Option<Self>, Fault> {
        Data::optional(context).map(|data| data.map(|Data(bytes)| bytes))
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl de::Visitor<'_> for Read {
            type Value = Binary;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Binary, E> {
                Ok(Binary(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Binary, E> {
                Ok(Binary(bytes.into()))
            }
        }

        // Asked for bytes, JSON gives those of a text.
        deserializer.deserialize_any(Read)
    }
}
