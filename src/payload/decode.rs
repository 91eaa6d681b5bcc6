//! Arguments as typed values. Text without attachments is read straight into its type; arguments
//! with binary parts go through untyped values.

mod tree;

use std::{borrow::Cow, fmt, marker::PhantomData};

use rmpv::Value as Tree;
use serde::{
    de::{DeserializeOwned, Deserializer, Error, IgnoredAny, SeqAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{de::StrRead, value::RawValue};

use crate::{javascript::json::mended, packet::ReadError};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Reads `["name",…]`, or a list without a name if it is not `named`.
pub(super) fn text<T: DeserializeOwned>(text: &str, named: bool) -> Result<T, Failed> {
    strictly(text, named).or_else(|error| match mended(text) {
        // JavaScript cut the text in the middle of a character. That is rare, so it is mended
        // afterwards.
        Ok(Cow::Owned(mended)) => strictly(&mended, named).map_err(Failed::from),
        _ => Err(error.into()),
    })
}

fn strictly<T: DeserializeOwned>(text: &str, named: bool) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    if is_tuple::<T>() {
        T::deserialize(All { reader: &mut reader, named })
    } else {
        reader.deserialize_seq(First { named, of: PhantomData })
    }
}

/// Reads arguments without a name.
pub(super) fn values<T: DeserializeOwned>(arguments: Vec<Tree>) -> Result<T, Failed> {
    let argument = if is_tuple::<T>() {
        Tree::Array(arguments)
    } else {
        let first = arguments.into_iter().next();
        first.ok_or_else(|| tree::Failed::invalid_length(0, &"an argument"))?
    };
    Ok(T::deserialize(tree::Argument(argument))?)
}

/// The first argument as it is written; empty if there is none. `rest` follows the name and its
/// comma.
pub(super) fn first_of_text(rest: &str) -> Result<&str, ReadError> {
    if rest.trim_ascii_start().starts_with(']') {
        return Ok("");
    }
    // Only the first argument is read. The rest does not matter here.
    let mut reader = serde_json::Deserializer::from_str(rest);
    let first: &RawValue =
        serde::Deserialize::deserialize(&mut reader).map_err(|_| ReadError::Malformed)?;
    Ok(first.get())
}

/// The first argument of a list.
struct First<T> {
    named: bool,
    of: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> Visitor<'de> for First<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an argument")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        if self.named {
            list.next_element::<IgnoredAny>()?;
        }
        let first = list.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

/// All arguments of a list, for a type that is a tuple.
struct All<'a, 'de> {
    reader: &'a mut serde_json::Deserializer<StrRead<'de>>,
    named: bool,
}

impl<'de> Deserializer<'de> for All<'_, 'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.reader.deserialize_seq(BehindTheName { visitor, named: self.named })
    }

    /// A newtype is read like its inner type.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct BehindTheName<V> {
    visitor: V,
    named: bool,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for BehindTheName<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<V::Value, A::Error> {
        if self.named {
            list.next_element::<IgnoredAny>()?;
        }
        self.visitor.visit_seq(list)
    }
}

/// Whether a type wants all arguments: a tuple, or a type around one.
fn is_tuple<'de, T: serde::Deserialize<'de>>() -> bool {
    matches!(T::deserialize(Shape), Err(IsTuple(true)))
}

/// Asks a type what it wants to read, and gives it nothing.
struct Shape;

#[derive(Debug, thiserror::Error)]
#[error("a question and no error")]
struct IsTuple(bool);

impl serde::de::Error for IsTuple {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Self(false)
    }
}

impl<'de> Deserializer<'de> for Shape {
    type Error = IsTuple;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, IsTuple> {
        Err(IsTuple(false))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, IsTuple> {
        Err(IsTuple(true))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, IsTuple> {
        Err(IsTuple(true))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, IsTuple> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq map struct enum identifier ignored_any
    }
}
