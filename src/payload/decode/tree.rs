//! Untyped values as typed ones, by the rules of JSON: an enum is a text, or a map with one member.

use rmpv::Value as Tree;
use serde::{
    de::{
        DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, Unexpected,
        VariantAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

pub(super) use rmpv::ext::Error as Failed;

/// A value to be read.
pub(super) struct Argument(pub(super) Tree);

impl<'de> Deserializer<'de> for Argument {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.0 {
            Tree::Array(values) => {
                let mut values = SeqDeserializer::new(values.into_iter().map(Argument));
                let read = visitor.visit_seq(&mut values)?;
                values.end()?;
                Ok(read)
            }
            Tree::Map(members) => {
                let members =
                    members.into_iter().map(|(key, value)| (Argument(key), Argument(value)));
                let mut members = MapDeserializer::new(members);
                let read = visitor.visit_map(&mut members)?;
                members.end()?;
                Ok(read)
            }
            other => other.deserialize_any(visitor),
        }
    }

    /// Binary is no text, even if its bytes are.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.0 {
            Tree::Binary(_) => Err(Failed::invalid_type(Unexpected::Other("binary"), &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.0 {
            Tree::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        match self.0 {
            extension @ Tree::Ext(..) => extension.deserialize_newtype_struct(name, visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let (variant, content) = match self.0 {
            Tree::Map(mut members) if members.len() == 1 => {
                let (variant, content) = members.remove(0);
                (variant, Some(content))
            }
            variant @ Tree::String(_) => (variant, None),
            _ => return Err(Failed::custom("expected a text or a map with one member")),
        };
        visitor.visit_enum(Enum { variant, content: Content(content) })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Failed> for Argument {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Enum {
    variant: Tree,
    content: Content,
}

impl<'de> EnumAccess<'de> for Enum {
    type Error = Failed;
    type Variant = Content;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content), Failed> {
        Ok((seed.deserialize(Argument(self.variant))?, self.content))
    }
}

struct Content(Option<Tree>);

impl Content {
    fn some(self) -> Result<Argument, Failed> {
        self.0.map(Argument).ok_or_else(|| Failed::custom("expected a variant with content"))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = Failed;

    fn unit_variant(self) -> Result<(), Failed> {
        match self.0 {
            None | Some(Tree::Nil) => Ok(()),
            Some(_) => Err(Failed::custom("expected a variant without content")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Failed> {
        seed.deserialize(self.some()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failed> {
        self.some()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.some()?.deserialize_any(visitor)
    }
}
